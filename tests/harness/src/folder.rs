//! A folder of resources: a gateway in front of backends, with the built-in filters.

use crate::ports::free as free_port;
use crate::process::{RunningProcess, UnreadProcess, tamis};
use crate::{eventually, get};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder of resources with a gateway; removed when dropped.
pub struct Folder {
    folder: TempDir,
    /// Address of the gateway's clear-text listener.
    pub http: String,
    /// Address of its TLS listener.
    pub https: String,
    /// Address of its admin listener.
    pub admin: String,
}

/// What the documents of a folder say. The texts are YAML, in the notation of their place; empty: nothing more.
#[derive(Debug, Clone, Copy)]
pub struct FolderOptions<'a> {
    /// Fields of the clear-text listener: `reasons: Hide`.
    pub listener: &'a str,
    /// Lines of the gateway, each with an indentation of two.
    pub gateway: &'a str,
    /// Lines of the service, each with an indentation of two.
    pub service: &'a str,
    /// Protocol of the service's port.
    pub protocol: &'a str,
    /// Fields of every endpoint besides its address: `sidecar: "127.0.0.1:9000"`.
    pub endpoint: &'a str,
    /// Lines of the route, each with an indentation of two.
    pub route: &'a str,
    /// Lines of its one rule, each with an indentation of six.
    pub rule: &'a str,
    /// Attempts of the retry filter.
    pub attempts: u32,
    /// Longest backoff of the retry filter.
    pub max_backoff: &'a str,
    /// Failures in sequence that open a circuit; 0: none does.
    pub consecutive_failures: u32,
    /// Requests from which on the ratio of failures may open a circuit.
    pub minimum_requests: u32,
}

impl Default for FolderOptions<'_> {
    fn default() -> Self {
        Self {
            listener: "",
            gateway: "",
            service: "",
            protocol: "http",
            endpoint: "",
            route: "",
            rule: "",
            attempts: 3,
            max_backoff: "5ms",
            consecutive_failures: 5,
            minimum_requests: 1000,
        }
    }
}

impl FolderOptions<'_> {
    fn attachments(&self) -> String {
        ATTACHMENTS
            .replace("@ATTEMPTS@", &self.attempts.to_string())
            .replace("@MAX_BACKOFF@", self.max_backoff)
            .replace("@CONSECUTIVE@", &self.consecutive_failures.to_string())
            .replace("@MINIMUM@", &self.minimum_requests.to_string())
    }

    /// The documents, but for the ports.
    fn mesh(&self, endpoints: &[SocketAddr]) -> String {
        let fields = |more: &str| if more.is_empty() { String::new() } else { format!(", {more}") };
        let endpoint = |address: &SocketAddr| match self.endpoint {
            "" => format!("    - address: {address}\n"),
            more => format!("    - {{ address: \"{address}\", {more} }}\n"),
        };
        let endpoints: String = endpoints.iter().map(endpoint).collect();
        MESH.replace("@LISTENER@", &fields(self.listener))
            .replace("@GATEWAY@", self.gateway)
            .replace("@SERVICE@", self.service)
            .replace("@PROTOCOL@", self.protocol)
            .replace("@ROUTE@", self.route)
            .replace("@RULE@", self.rule)
            .replace("@ENDPOINTS@", &endpoints)
    }
}

impl Folder {
    /// A gateway that sends everything to one service with these endpoints; keys and filters are made.
    pub fn gateway(endpoints: &[SocketAddr]) -> Self {
        Self::gateway_with(endpoints, &FolderOptions::default())
    }

    /// The same, with options.
    pub fn gateway_with(endpoints: &[SocketAddr], options: &FolderOptions<'_>) -> Self {
        let folder = Self::documents_with(endpoints, options);
        folder.prepare();
        folder
    }

    /// Documents only: no keys, no certificates, no filters.
    pub fn documents(endpoints: &[SocketAddr]) -> Self {
        Self::documents_with(endpoints, &FolderOptions::default())
    }

    /// The same, with options.
    pub fn documents_with(endpoints: &[SocketAddr], options: &FolderOptions<'_>) -> Self {
        let (http, https, admin) = (free_port(), free_port(), free_port());
        let folder = Self {
            folder: TempDir::new().unwrap(),
            http: format!("127.0.0.1:{http}"),
            https: format!("127.0.0.1:{https}"),
            admin: format!("127.0.0.1:{admin}"),
        };
        folder.write(
            "mesh.yaml",
            &options
                .mesh(endpoints)
                .replace("@HTTP@", &http.to_string())
                .replace("@HTTPS@", &https.to_string())
                .replace("@ADMIN@", &admin.to_string()),
        );
        folder.write("attachments.yaml", &options.attachments());
        folder.write("grants.yaml", GRANTS);
        folder
    }

    /// Makes keys, certificates, signed filters and pins.
    pub fn prepare(&self) {
        let done = tamis(self.path(), &["up", ".", "--prepare"]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file as editors do: a temporary file, then renamed.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.file(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let beside = path.with_extension("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, path).unwrap();
    }

    /// Reads a file.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    /// Replaces text in a file, as somebody edits the documents of a mesh that runs. What a mesh starts with is a matter
    /// of [`FolderOptions`].
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no {from:?}:\n{text}");
        self.write(name, &text.replace(from, to));
    }

    /// Starts its gateway and waits until it serves.
    pub fn start(&self, arguments: &[&str]) -> RunningProcess {
        let running = RunningProcess::start(self.path(), &Self::gateway_arguments(arguments));
        running.event("the gateway serves", |event| event["event"] == "ready");
        running
    }

    /// Starts its gateway with a stderr that nobody reads, and waits until its admin listener answers.
    pub fn start_unread(&self, arguments: &[&str]) -> UnreadProcess {
        let running = UnreadProcess::start(self.path(), &Self::gateway_arguments(arguments));
        eventually("the gateway's admin listener answers", || {
            (get(&self.admin, "/filters").status == 200).then_some(())
        });
        running
    }

    fn gateway_arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec![
            "proxy",
            "--node",
            "gateway:test/edge",
            "--documents",
            ".",
            "--store",
            ".tamis/store",
            "--cache",
            ".tamis/cache",
            "--access-log-file",
            "access.jsonl",
            "--run-folder",
            "run",
        ];
        all.extend_from_slice(more);
        all
    }

    /// Drains its gateway; the listeners close after that many seconds.
    pub fn drain(&self, seconds: &str) {
        let arguments =
            ["proxy", "drain", "gateway:test/edge", "--run-folder", "run", "--seconds", seconds];
        let done = tamis(self.path(), &arguments);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Access records so far.
    pub fn records(&self) -> Vec<Value> {
        let text = self.read("access.jsonl");
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a record.
    pub fn record(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || self.records().into_iter().rev().find(|record| is(record)))
    }

    /// The slot of an attachment, from `/filters`.
    pub fn slot(&self, attachment: &str) -> Option<Value> {
        let filters = get(&self.admin, "/filters").json();
        let slots = filters["filters"].as_array().cloned().unwrap_or_default();
        slots.into_iter().find(|slot| slot["attachment"] == attachment)
    }

    /// Waits until the slot of an attachment is in a state.
    pub fn slot_state(&self, attachment: &str, state: &str) -> Value {
        let mut last = Value::Null;
        eventually(&format!("{attachment} is {state}"), || {
            let slot = self.slot(attachment)?;
            if slot["state"] == state {
                return Some(slot);
            }
            last = slot;
            None
        })
    }

    /// Generation in use.
    pub fn generation(&self) -> u64 {
        get(&self.admin, "/config").json()["generation"].as_u64().unwrap()
    }

    /// Value of a metric whose series contains all of `parts`.
    pub fn metric(&self, parts: &[&str]) -> Option<f64> {
        let text = get(&self.admin, "/metrics").body;
        let line = text
            .lines()
            .find(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    /// Attaches one more filter to the gateway, with its grant.
    pub fn attach(&self, name: &str, filter: &str, config: &str, grant: &str, more: &str) {
        self.write(
            &format!("{name}.yaml"),
            &format!(
                "kind: Filter\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {short}, namespace: {namespace} }}\n\
                 spec: {{ world: everything }}\n---\n\
                 kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: test }}\n\
                 spec:\n  targetRefs: [{{ kind: Gateway, name: edge }}]\n  filter: {filter}\n  phase: transform\n  order: 77\n  config: {config}\n{more}\
                 ---\nkind: Grant\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: security }}\n\
                 spec:\n  filter: {filter}\n{grant}\n",
                namespace = filter.split('/').next().unwrap_or_default(),
                short = filter.split('/').nth(1).unwrap_or_default(),
            ),
        );
    }
}

const MESH: &str = "\
kind: Gateway
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: edge, namespace: test }
spec:
@GATEWAY@  addresses: [{ type: IPAddress, value: 127.0.0.1 }]
  listeners:
    - { name: http, port: @HTTP@, protocol: HTTP@LISTENER@ }
    - name: https
      port: @HTTPS@
      protocol: HTTPS
      tls: { certificate: .tamis/certs/server.crt, key: .tamis/certs/server.key }
  admin: 127.0.0.1:@ADMIN@
---
kind: Service
apiVersion: tamis.dev/v1alpha1
metadata: { name: app, namespace: test }
spec:
  ports: [{ port: 80, protocol: @PROTOCOL@ }]
@SERVICE@  endpoints:
@ENDPOINTS@
---
kind: HTTPRoute
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: all, namespace: test }
spec:
  parentRefs: [{ kind: Gateway, name: edge }]
@ROUTE@  rules:
    - name: all
      matches: [{ path: { type: PathPrefix, value: / } }]
@RULE@      backendRefs: [{ name: app, port: 80 }]
---
kind: TrustPolicy
apiVersion: tamis.dev/v1alpha1
metadata: { name: local, namespace: security }
spec:
  namespaces: [\"*\"]
  keys: [{ name: local-dev, publicKeyFile: .tamis/keys/local-dev.pub }]
  threshold: 1
";

const ATTACHMENTS: &str = "\
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: route, namespace: test }
spec: { targetRefs: [{ kind: Mesh }], filter: tamis/route, phase: traffic, order: 10 }
---
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: retry, namespace: test }
spec:
  targetRefs: [{ kind: Mesh }]
  filter: tamis/retry
  phase: traffic
  order: 20
  config: { attempts: @ATTEMPTS@, statuses: [502, 503, 504], backoff: { base: 1ms, max: @MAX_BACKOFF@ } }
---
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: circuit-breaker, namespace: test }
spec:
  targetRefs: [{ kind: Mesh }]
  filter: tamis/circuit-breaker
  phase: traffic
  order: 30
  config: { consecutiveFailures: @CONSECUTIVE@, failureRatio: 1.0, minimumRequests: @MINIMUM@, openFor: 500ms, maxOpenFor: 1s, probes: 2 }
---
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: telemetry, namespace: test }
spec: { targetRefs: [{ kind: Mesh }], filter: tamis/telemetry, phase: observe, order: 10, onFailure: open }
---
kind: Filter
apiVersion: tamis.dev/v1alpha1
metadata: { name: route, namespace: tamis }
spec: { world: route-policy }
---
kind: Filter
apiVersion: tamis.dev/v1alpha1
metadata: { name: retry, namespace: tamis }
spec: { world: retry-policy }
---
kind: Filter
apiVersion: tamis.dev/v1alpha1
metadata: { name: circuit-breaker, namespace: tamis }
spec: { world: breaker-policy }
---
kind: Filter
apiVersion: tamis.dev/v1alpha1
metadata: { name: telemetry, namespace: tamis }
spec: { world: telemetry-policy }
";

const GRANTS: &str = "\
kind: Grant
apiVersion: tamis.dev/v1alpha1
metadata: { name: route, namespace: security }
spec:
  filter: tamis/route
  request: { readHeaders: [\"*\"], writeHeaders: [\"*\", \":path\", \":authority\"], attributes: [\"*\"] }
  response: { writeHeaders: [\"*\"] }
  imports: { log: {} }
  limits: { time: 50ms }
---
kind: Grant
apiVersion: tamis.dev/v1alpha1
metadata: { name: retry, namespace: security }
spec:
  filter: tamis/retry
  request: { attributes: [route.name] }
  imports: { random: {}, log: {} }
  limits: { time: 50ms }
---
kind: Grant
apiVersion: tamis.dev/v1alpha1
metadata: { name: circuit-breaker, namespace: security }
spec: { filter: tamis/circuit-breaker, imports: { log: {} }, limits: { time: 50ms } }
---
kind: Grant
apiVersion: tamis.dev/v1alpha1
metadata: { name: telemetry, namespace: security }
spec: { filter: tamis/telemetry, imports: { metrics: { series: 1000 }, log: {} }, limits: { time: 50ms } }
";

//! A gateway for a suite: documents in a folder of its own, processes that end with it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use tamis_harness::Process;
use tamis_harness::Workspace;
use tamis_harness::shell;

/// A gateway that sends everything to one backend.
pub(super) struct Gateway {
    processes: Vec<Process>,
    folder: TempDir,
    /// Clear text, HTTP/1.1 and HTTP/2 by prior knowledge.
    pub(super) http: String,
    /// TLS.
    pub(super) https: String,
}

/// How a gateway reaches its backend.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Directly, over HTTP/1.1.
    Http1,
    /// gRPC, over mTLS through two sidecars.
    GrpcThroughSidecars,
}

impl Gateway {
    /// Starts one in front of `backend`.
    pub(super) fn start(backend: &str, way: Way) -> Result<Self> {
        let folder = TempDir::new()?;
        let (http, https, admin) = (
            tamis_harness::ports::free(),
            tamis_harness::ports::free(),
            tamis_harness::ports::free(),
        );
        let mut documents = FILTERS.to_owned()
            + &GATEWAY
                .replace("@HTTP@", &http.to_string())
                .replace("@HTTPS@", &https.to_string())
                .replace("@ADMIN@", &admin.to_string());
        let mut nodes = vec!["gateway:test/edge".to_owned()];
        match way {
            Way::Http1 => documents.push_str(&DIRECT.replace("@BACKEND@", backend)),
            Way::GrpcThroughSidecars => {
                let outbound = format!("127.0.0.1:{}", tamis_harness::ports::free());
                let application = relay(outbound.clone())?;
                documents.push_str(&service("front", &application, &outbound)?);
                documents.push_str(&service(
                    "back",
                    backend,
                    &format!("127.0.0.1:{}", tamis_harness::ports::free()),
                )?);
                documents.push_str(RELAY);
                nodes.extend(["sidecar:test/front/0", "sidecar:test/back/0"].map(str::to_owned));
            }
        }
        fs::write(folder.path().join("mesh.yaml"), documents)?;
        let binary = Workspace::load()?.target_directory.join("debug/tamis");
        let mut prepare = shell::command(&binary);
        prepare.args(["up", ".", "--prepare"]).current_dir(folder.path());
        shell::read(&mut prepare)?;
        let mut gateway = Self {
            processes: Vec::new(),
            folder,
            http: format!("127.0.0.1:{http}"),
            https: format!("127.0.0.1:{https}"),
        };
        for node in nodes {
            let process = gateway.proxy(&binary, &node)?;
            gateway.processes.push(process);
        }
        Ok(gateway)
    }

    /// Starts a proxy and waits until it says that it serves.
    fn proxy(&self, binary: &Path, node: &str) -> Result<Process> {
        let folder = self.folder.path();
        let events = folder.join(format!("{}.events", node.replace([':', '/'], "-")));
        let out = fs::File::create(&events)?;
        let mut command = Command::new(binary);
        command
            .args(["proxy", "--node", node, "--documents", ".", "--store", ".tamis/store"])
            .args(["--cache", ".tamis/cache", "--access-log", "off", "--no-watch"])
            .args(["--output", "json"])
            .current_dir(folder)
            .stdout(Stdio::from(out));
        let mut process = Process(command.spawn()?);
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            let said = fs::read_to_string(&events).unwrap_or_default();
            if said.contains("\"event\":\"ready\"") {
                return Ok(process);
            }
            if let Some(status) = process.0.try_wait()? {
                bail!("{node} ended ({status}): {said}");
            }
            if Instant::now() > until {
                bail!("{node} does not serve: {said}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Most memory the gateway had, in KiB.
    pub(super) fn peak_kib(&self) -> Result<u64> {
        let gateway = self.processes.first().context("there is no gateway")?;
        let status = fs::read_to_string(format!("/proc/{}/status", gateway.0.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmHWM"));
        let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        number.context("the system does not tell the memory of a process")
    }
}

/// Sends bytes over a connection and reads what comes until the other side closes or is silent for a while.
pub(super) fn exchange(address: &str, octets: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    let Ok(mut stream) = TcpStream::connect(address) else { return reply };
    let patience = Some(Duration::from_millis(1500));
    if stream.set_read_timeout(patience).is_ok() && stream.write_all(octets).is_ok() {
        // What came before a reset or the silence counts.
        let _ = stream.read_to_end(&mut reply);
    }
    reply
}

/// An application that sends the octets of each connection to `target`, until this process ends. Returns its address.
fn relay(target: String) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A client whose connection cannot be sent on is disconnected.
            if let Ok(upstream) = TcpStream::connect(&target) {
                let both = [client.try_clone().ok(), upstream.try_clone().ok()];
                let [Some(client_again), Some(upstream_again)] = both else { continue };
                std::thread::spawn(move || carry(client, upstream));
                std::thread::spawn(move || carry(upstream_again, client_again));
            }
        }
    });
    Ok(address)
}

/// Sends what one side sends to the other, and its end.
fn carry(mut from: TcpStream, mut to: TcpStream) {
    // Either side may end the connection at any time.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

fn service(name: &str, address: &str, outbound: &str) -> Result<String> {
    Ok(SERVICE
        .replace("@NAME@", name)
        .replace("@ADDRESS@", address)
        .replace("@OUTBOUND@", outbound)
        .replace("@SIDECAR@", &format!("127.0.0.1:{}", tamis_harness::ports::free()))
        .replace("@ADMIN@", &format!("127.0.0.1:{}", tamis_harness::ports::free())))
}

const GATEWAY: &str = "\
kind: Gateway
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: edge, namespace: test }
spec:
  addresses: [{ type: IPAddress, value: 127.0.0.1 }]
  listeners:
    - { name: http, port: @HTTP@, protocol: HTTP }
    - name: https
      port: @HTTPS@
      protocol: HTTPS
      tls: { certificate: .tamis/certs/server.crt, key: .tamis/certs/server.key }
  identity: spiffe://test.example/gateway
  tls: { certificate: .tamis/certs/edge.crt, key: .tamis/certs/edge.key, ca: .tamis/certs/ca.crt }
  admin: 127.0.0.1:@ADMIN@
---
kind: TrustPolicy
apiVersion: tamis.dev/v1alpha1
metadata: { name: local, namespace: security }
spec:
  namespaces: [\"*\"]
  keys: [{ name: local-dev, publicKeyFile: .tamis/keys/local-dev.pub }]
  threshold: 1
---
";

const DIRECT: &str = "\
kind: Service
apiVersion: tamis.dev/v1alpha1
metadata: { name: app, namespace: test }
spec:
  ports: [{ port: 80, protocol: http }]
  endpoints: [{ address: \"@BACKEND@\" }]
---
kind: HTTPRoute
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: all, namespace: test }
spec:
  parentRefs: [{ kind: Gateway, name: edge }]
  rules: [{ name: all, backendRefs: [{ name: app, port: 80 }] }]
";

/// The application of `front` sends all its requests on: so a request meets two sidecars on its way to `back`.
const RELAY: &str = "\
kind: HTTPRoute
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: all, namespace: test }
spec:
  parentRefs: [{ kind: Gateway, name: edge }]
  rules:
    - name: all
      filters: [{ type: URLRewrite, urlRewrite: { hostname: back } }]
      backendRefs: [{ name: front, port: 80 }]
";

const SERVICE: &str = "\
kind: Service
apiVersion: tamis.dev/v1alpha1
metadata: { name: @NAME@, namespace: test }
spec:
  ports: [{ port: 80, protocol: grpc }]
  identity: spiffe://test.example/@NAME@
  tls: { certificate: .tamis/certs/@NAME@.crt, key: .tamis/certs/@NAME@.key, ca: .tamis/certs/ca.crt }
  endpoints: [{ address: \"@ADDRESS@\", sidecar: \"@SIDECAR@\", outbound: \"@OUTBOUND@\", admin: \"@ADMIN@\" }]
---
";

/// The router of a namespace `test`, for all of its mesh; it ends with a separator.
pub(super) const FILTERS: &str = "\
kind: Filter
apiVersion: tamis.dev/v1alpha1
metadata: { name: route, namespace: tamis }
spec: { world: route-policy }
---
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: route, namespace: test }
spec: { targetRefs: [{ kind: Mesh }], filter: tamis/route, phase: traffic, order: 10 }
---
kind: Grant
apiVersion: tamis.dev/v1alpha1
metadata: { name: route, namespace: security }
spec:
  filter: tamis/route
  request: { readHeaders: [\"*\"], writeHeaders: [\"*\", \":path\", \":authority\"], attributes: [\"*\"] }
  response: { writeHeaders: [\"*\"] }
  limits: { time: 1s }
---
";

//! A registry, the gateways that follow it over a relay, and what a test does to them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use tamis_e2e::{
    Backend, Folder, FolderOptions, Relay, Reply, RunningProcess, eventually, eventually_or,
    free_port, get, request, tamis,
};

use crate::guests::{self, GRANT};

/// The slot of the guest on a gateway.
pub(super) const SLOT: &str = "test/guest";
/// The first gateway.
pub(super) const EDGE: &str = "gateway:test/edge";

const GUEST: &str = "{ do: edit, reads: [\":path\"], writes: [x-path] }";
const IDENTITY: &str = "  identity: spiffe://test.example/gateway/edge\n  \
    tls: { certificate: .tamis/certs/edge.crt, key: .tamis/certs/edge.key, ca: .tamis/certs/ca.crt }\n";

const SECOND: &str = "\
kind: Gateway
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: @NAME@, namespace: test }
spec:
  identity: spiffe://test.example/gateway/@NAME@
  tls: { certificate: .tamis/certs/@NAME@.crt, key: .tamis/certs/@NAME@.key, ca: .tamis/certs/ca.crt }
  addresses: [{ type: IPAddress, value: 127.0.0.1 }]
  listeners: [{ name: http, port: @PORT@, protocol: HTTP }]
  admin: 127.0.0.1:@ADMIN@
";

/// A mesh in a folder, and the registry it is directed from.
pub(super) struct Plane {
    pub(super) folder: Folder,
    pub(super) backend: Backend,
    /// Between proxies and registries.
    pub(super) relay: Relay,
}

/// A registry that serves.
pub(super) struct Registry {
    folder: PathBuf,
    data: String,
    running: RunningProcess,
    asker: Asker,
    pub(super) proxies: String,
}

/// The admin of a registry, which may have ended.
#[derive(Clone)]
pub(super) struct Asker {
    folder: PathBuf,
    url: String,
    token: String,
}

impl Plane {
    /// Documents of one gateway with the built-in filters and a guest, changed as a test likes, with keys and certificates.
    pub(super) fn new(change: impl FnOnce(&Folder)) -> Self {
        let backend = Backend::start();
        let folder = Folder::documents_with(
            &[backend.address],
            &FolderOptions { gateway: IDENTITY, ..FolderOptions::default() },
        );
        folder.attach("guest", "test/guest", GUEST, GRANT, "");
        change(&folder);
        folder.prepare();
        let made = tamis(
            folder.path(),
            &[
                "keys",
                "certificate",
                "registry",
                "--authority",
                ".tamis/certs/ca.crt",
                "--id",
                "spiffe://test.example/registry",
                "--host",
                "127.0.0.1",
            ],
        );
        assert!(made.status.success(), "{}", said(&made));
        Self { folder, backend, relay: Relay::start() }
    }

    /// Adds a second gateway to a folder, without the guest, and returns its address.
    pub(super) fn second_gateway(folder: &Folder, name: &str) -> String {
        let (port, admin) = (free_port(), free_port());
        folder.write(
            &format!("{name}.yaml"),
            &SECOND
                .replace("@NAME@", name)
                .replace("@PORT@", &port.to_string())
                .replace("@ADMIN@", &admin.to_string()),
        );
        let first = "{ kind: Gateway, name: edge }";
        folder.edit("mesh.yaml", first, &format!("{first}, {{ kind: Gateway, name: {name} }}"));
        format!("127.0.0.1:{port}")
    }

    /// Such a plane, a registry with everything in force and guest 1.0.0 pinned, and a gateway that serves.
    pub(super) fn running(
        change: impl FnOnce(&Folder),
    ) -> (Self, Registry, RunningProcess, String) {
        let plane = Self::new(change);
        let registry = plane.registry("data", &[]);
        let first = registry.ready();
        plane.relay.to(&[&registry.proxies]);
        let gateway = plane.gateway(EDGE, "edge");
        registry.serves(EDGE, SLOT, &first);
        eventually("the gateway serves", || plane.edited("/first").then_some(()));
        (plane, registry, gateway, first)
    }

    /// Starts a registry with its own data folder.
    pub(super) fn registry(&self, data: &str, arguments: &[&str]) -> Registry {
        Registry::start(self.folder.path(), data, arguments)
    }

    /// Starts a gateway that follows the registry behind the relay, with its own state folder.
    pub(super) fn gateway(&self, node: &str, name: &str) -> RunningProcess {
        self.follower(self.relay.address(), node, name)
    }

    /// The same, with directors to follow.
    pub(super) fn follower(&self, directors: &str, node: &str, name: &str) -> RunningProcess {
        let (state, cache) = (format!("state-{name}"), format!(".tamis/cache-{name}"));
        let pem = |ending: &str| format!(".tamis/certs/{name}.{ending}");
        let (certificate, key) = (pem("crt"), pem("key"));
        RunningProcess::start(
            self.folder.path(),
            &[
                "proxy",
                "--node",
                node,
                "--follow",
                directors,
                "--state",
                &state,
                "--director-keys",
                "data/director.json",
                "--director-id",
                "spiffe://test.example/registry",
                "--certificate",
                &certificate,
                "--key",
                &key,
                "--ca",
                ".tamis/certs/ca.crt",
                "--cache",
                &cache,
                "--access-log",
                "off",
                "--report-seconds",
                "1",
            ],
        )
    }

    /// Starts the first gateway again and waits until it serves.
    pub(super) fn again(&self) -> RunningProcess {
        let gateway = self.gateway(EDGE, "edge");
        gateway.event("the gateway serves", |event| event["event"] == "ready");
        gateway
    }

    /// Whether a request comes through the gateway, and through the guest.
    pub(super) fn edited(&self, path: &str) -> bool {
        get(&self.folder.http, path).status == 200
            && self.backend.last().is_some_and(|seen| {
                let path = seen.line.strip_prefix("GET ");
                seen.headers.iter().any(|(name, value)| name == "x-path" && Some(&**value) == path)
            })
    }

    /// Waits until the gateway itself reports this state for the slot of an attachment.
    pub(super) fn slot_says(&self, attachment: &str, state: &str) -> Value {
        self.folder.slot_state(attachment, state)
    }

    /// The component of a manifest's digest in the gateway's state folder.
    pub(super) fn kept(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        self.folder.file(&format!("state-edge/store/{hex}.wasm"))
    }
}

impl Registry {
    fn start(folder: &Path, data: &str, arguments: &[&str]) -> Self {
        let mut all = vec![
            "registry",
            "--data",
            data,
            "--listen",
            "127.0.0.1:0",
            "--proxies",
            "127.0.0.1:0",
            "--proxies-certificate",
            "registry.crt",
            "--proxies-key",
            "registry.key",
            "--proxies-ca",
            ".tamis/certs/ca.crt",
        ];
        all.extend_from_slice(arguments);
        let running = RunningProcess::start(folder, &all);
        let ready = running.event("the registry serves", |event| event["event"] == "ready");
        let word = |name: &str| ready[name].as_str().unwrap().to_owned();
        let (address, proxies) = (word("address"), word("proxies"));
        let (folder, url) = (folder.to_owned(), format!("http://{address}"));
        let asker = Asker { folder: folder.clone(), url, token: format!("{data}/admin.token") };
        Self { folder, data: data.to_owned(), running, asker, proxies }
    }

    /// Kills it, without a chance to prepare.
    pub(super) fn kill(self) {
        assert!(!self.running.end("-KILL").success());
    }

    /// Ends it with a signal.
    pub(super) fn end(self) {
        assert!(self.running.end("-INT").success());
    }

    /// Puts all documents in force, pushes and pins the built-in filters and guest 1.0.0, and returns the
    /// digest of the latter.
    pub(super) fn ready(&self) -> String {
        self.did(&["apply", "-f", ".", "--confirm"]);
        for name in ["route", "retry", "circuit-breaker", "telemetry"] {
            let store = fs::read_dir(self.folder.join(".tamis/store")).unwrap();
            let mut files = store.map(|entry| entry.unwrap().path().display().to_string());
            let start = format!("/tamis-{name}-");
            let file = files.find(|path| path.contains(&start) && path.ends_with(".wasm"));
            let pushed = self.did(&["filter", "push", &file.unwrap()]);
            let release = format!("tamis/{name}@{}", pushed["tag"].as_str().unwrap());
            self.did(&["pin", "*", &release, "--confirm"]);
        }
        let first = self.release(1);
        self.did(&["pin", "*", "test/guest@1.0.0", "--confirm"]);
        first
    }

    /// Signs and pushes a version of the guest with its own bytes; returns its digest.
    pub(super) fn release(&self, major: u8) -> String {
        let mut component = fs::read(guests::behaviour()).unwrap();
        // A custom section named `v` that contains the version.
        component.extend([0, 3, 1, b'v', major]);
        let file = format!("guest-{major}.wasm");
        fs::write(self.folder.join(&file), component).unwrap();
        self.release_of(&file, "test/guest", major, "local-dev")
    }

    /// The same for any component, with any key.
    pub(super) fn release_of(&self, component: &str, name: &str, major: u8, key: &str) -> String {
        let (version, key) = (format!("{major}.0.0"), format!(".tamis/keys/{key}.key"));
        let store = format!("{}-store", self.data);
        let signed = tamis(
            &self.folder,
            &[
                "filter",
                "sign",
                component,
                "--name",
                name,
                "--version",
                &version,
                "--key",
                &key,
                "--store",
                &store,
                "--output",
                "json",
            ],
        );
        let pushed = self.did(&["filter", "push", json(&signed)["file"].as_str().unwrap()]);
        pushed["digest"].as_str().unwrap().to_owned()
    }

    /// Its address, and the credentials of its admin as its API takes them.
    pub(super) fn admin(&self) -> (String, String) {
        let address = self.asker.url.strip_prefix("http://").unwrap();
        let token = fs::read_to_string(self.folder.join(&self.asker.token)).unwrap();
        (address.to_owned(), format!("Bearer {}", token.trim()))
    }

    /// Its admin.
    pub(super) fn asker(&self) -> Asker {
        self.asker.clone()
    }

    /// Runs a command against it as its admin.
    pub(super) fn ask(&self, arguments: &[&str]) -> Output {
        self.asker.ask(arguments)
    }

    /// Runs a command against it as its admin, who reads the output.
    pub(super) fn tells(&self, arguments: &[&str]) -> Output {
        self.asker.tells(arguments)
    }

    /// The output of a command that succeeds.
    pub(super) fn did(&self, arguments: &[&str]) -> Value {
        let done = self.ask(arguments);
        assert!(done.status.success(), "{arguments:?}: {}", said(&done));
        json(&done)
    }

    /// Pins a version of the guest for all.
    pub(super) fn pin(&self, major: u8) {
        self.did(&["pin", "*", &format!("test/guest@{major}.0.0"), "--confirm"]);
    }

    /// Waits until `status` reports a state of a proxy's slot.
    pub(super) fn slot(
        &self,
        node: &str,
        slot: &str,
        what: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Value {
        eventually_or(&format!("{slot} of {node} {what}"), || {
            let status = self.did(&["status"]);
            let every = |value: &Value| value.as_array().cloned().unwrap_or_default();
            let proxy = every(&status["proxies"]).into_iter().find(|one| one["node"] == node);
            let slots = every(&proxy.unwrap_or_default()["slots"]);
            let found = slots.into_iter().find(|one| one["slot"] == slot && is(one));
            found.ok_or_else(|| format!("{status}; the registry wrote {}", self.running.errors()))
        })
    }

    /// Waits until a slot serves a digest.
    pub(super) fn serves(&self, node: &str, slot: &str, digest: &str) {
        self.slot(node, slot, &format!("serves {digest}"), |one| {
            one["state"] == "serving" && one["running"]["digest"] == digest
        });
    }

    /// Waits until a slot keeps its last good version, and reports why.
    pub(super) fn keeps(&self, node: &str, slot: &str, good: &str, code: &str) {
        let kept = self.slot(node, slot, "keeps its last good version", |one| {
            one["state"] == "kept-last-good"
        });
        let why = &kept["refusal"]["code"];
        assert_eq!((&kept["running"]["digest"], why), (&good.into(), &code.into()));
    }

    /// Its lines of a metric, as its admin reads them.
    pub(super) fn metric(&self, name: &str) -> Vec<String> {
        let reply = self.send("GET", "/metrics", "text/plain", b"");
        assert_eq!(reply.status, 200, "{}", reply.body);
        let lines = reply.body.lines().filter(|line| line.starts_with(name));
        lines.map(str::to_owned).collect()
    }

    /// Sends a request of its admin.
    pub(super) fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Reply {
        let address = self.asker.url.strip_prefix("http://").unwrap();
        let token = fs::read_to_string(self.folder.join(&self.asker.token)).unwrap();
        let bearer = format!("Bearer {}", token.trim());
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        request(address, method, path, &headers, body)
    }

    /// The file of a blob.
    pub(super) fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let spread = fs::read_dir(self.folder.join(&self.data).join("blobs/sha256")).unwrap();
        let mut files = spread.map(|folder| folder.unwrap().path().join(hex));
        files.find(|file| file.exists()).unwrap()
    }

    /// The file of the component of a manifest.
    pub(super) fn component(&self, manifest: &str) -> PathBuf {
        let manifest: Value =
            serde_json::from_slice(&fs::read(self.blob(manifest)).unwrap()).unwrap();
        self.blob(manifest["layers"][0]["digest"].as_str().unwrap())
    }

    /// Runs while all its blobs are elsewhere.
    pub(super) fn without_blobs<T>(&self, act: impl FnOnce() -> T) -> T {
        let blobs = self.folder.join(&self.data).join("blobs");
        let elsewhere = blobs.with_extension("elsewhere");
        fs::rename(&blobs, &elsewhere).unwrap();
        let done = act();
        // Changes that it made meanwhile are discarded.
        let _ = fs::remove_dir_all(&blobs);
        fs::rename(&elsewhere, &blobs).unwrap();
        done
    }
}

impl Asker {
    /// Runs a command against the registry.
    pub(super) fn ask(&self, arguments: &[&str]) -> Output {
        self.tells(&[arguments, &["--output", "json"]].concat())
    }

    /// The same, with the output for people.
    fn tells(&self, arguments: &[&str]) -> Output {
        let at = ["--registry", &self.url, "--token-file", &self.token];
        tamis(&self.folder, &[arguments, &at].concat())
    }
}

/// Changes the byte in the middle of a file; returns the old content.
pub(super) fn alter(file: &Path) -> Vec<u8> {
    let before = fs::read(file).unwrap();
    let mut altered = before.clone();
    altered[before.len() / 2] ^= 1;
    fs::write(file, altered).unwrap();
    before
}

pub(super) fn said(done: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    format!("{out}{err}")
}

pub(super) fn json(done: &Output) -> Value {
    let read = serde_json::from_slice(&done.stdout);
    assert!(read.is_ok(), "{}", said(done));
    read.unwrap()
}

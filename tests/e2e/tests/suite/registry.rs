//! The registry, with real processes: acknowledged changes stay, tenants are separated, and excess is
//! refused.
//!
//! A test named `gNN_…` checks the guarantee of that number.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use tamis_e2e::{Reply, RunningProcess, request, tamis};

mod backup;
mod crashes;
mod guide;
mod health;
mod limits;
mod replicas;
mod rights;
mod tampering;
mod tenants;

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const EMPTY: &[u8] = b"{}";

/// A registry that serves, on a port the system chose.
struct Registry {
    running: RunningProcess,
    address: String,
}

impl Registry {
    /// Starts one whose journal and blobs are in `data` below `folder`, and waits until it serves.
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut all = vec!["registry", "--data", "data", "--listen", "127.0.0.1:0"];
        all.extend_from_slice(arguments);
        let running = RunningProcess::start(folder, &all);
        let ready = running.event("the registry serves", |event| event["event"] == "ready");
        Self { running, address: ready["address"].as_str().unwrap().to_owned() }
    }

    fn caller<'a>(&'a self, token: &'a str) -> Caller<'a> {
        Caller { address: &self.address, token: Some(token) }
    }

    fn anonymous(&self) -> Caller<'_> {
        Caller { address: &self.address, token: None }
    }

    /// Kills it, without a chance to prepare.
    fn kill(self) {
        assert!(!self.running.end("-KILL").success());
    }

    fn stop(self) {
        assert!(self.running.end("-INT").success());
    }
}

/// Makes a token on the machine itself.
fn token(
    folder: &Path,
    arguments: &[&str],
    name: &str,
    repositories: &str,
    verbs: &[&str],
) -> String {
    let mut all = vec!["registry", "token", "create", name, "--repository", repositories];
    for verb in verbs {
        all.extend(["--verb", verb]);
    }
    all.extend(["--data", "data", "--output", "json"]);
    all.extend_from_slice(arguments);
    let made = tamis(folder, &all);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    made["token"].as_str().unwrap().to_owned()
}

/// A client of a registry.
#[derive(Clone, Copy)]
struct Caller<'a> {
    address: &'a str,
    token: Option<&'a str>,
}

impl Caller<'_> {
    fn send(self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let bearer = self.token.map(|token| format!("Bearer {token}"));
        let mut all = headers.to_vec();
        all.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        request(self.address, method, path, &all, body)
    }

    fn get(self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    /// Pushes a blob in one request; returns whether that was acknowledged.
    fn push_blob(self, repository: &str, bytes: &[u8]) -> bool {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={}", sha256(bytes));
        self.send("POST", &path, &[], bytes).status == 201
    }

    fn put(self, repository: &str, reference: &str, manifest: &str) -> Reply {
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.send("PUT", &path, &[("content-type", IMAGE)], manifest.as_bytes())
    }

    /// Pushes an artifact with one layer; returns whether all of it was acknowledged.
    fn push(self, repository: &str, tag: &str, layer: &[u8]) -> bool {
        self.push_blob(repository, EMPTY)
            && self.push_blob(repository, layer)
            && self.put(repository, tag, &image(layer).to_string()).status == 201
    }

    /// Whether the complete artifact is there: by its tag, by its digest, and its layer.
    fn has(self, repository: &str, tag: &str, layer: &[u8]) -> bool {
        let manifest = image(layer).to_string();
        [tag, &sha256(manifest.as_bytes())].into_iter().all(|reference| {
            let reply = self.get(&format!("/v2/{repository}/manifests/{reference}"));
            reply.status == 200 && reply.body == manifest
        }) && {
            let reply = self.get(&format!("/v2/{repository}/blobs/{}", sha256(layer)));
            reply.status == 200 && reply.body.as_bytes() == layer
        }
    }
}

/// The error code of a refusal.
fn code(reply: &Reply) -> String {
    reply.json()["errors"][0]["code"].as_str().unwrap().to_owned()
}

fn image(layer: &[u8]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": descriptor("application/vnd.oci.empty.v1+json", EMPTY),
        "layers": [descriptor("application/wasm", layer)],
    })
}

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": sha256(bytes), "size": bytes.len() })
}

fn sha256(bytes: &[u8]) -> String {
    let hash = digest(&SHA256, bytes);
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

//! The requests of a proxy for its identity, as bytes that a test may change.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use serde_json::{Value, json};
use tamis_transport::{Address, ClientTls, MeshIdentity, OwnCertificate, TrustBundles, connect};

const REGISTRY: &str = "spiffe://shop.example/registry";

/// A request with the key that it is for.
pub(super) struct Asked {
    path: &'static str,
    pub(super) body: Value,
    bundles: Value,
    key: KeyPair,
}

/// A proxy with an SVID.
pub(super) struct Member {
    pub(super) chain: String,
    bundles: Value,
    identity: MeshIdentity,
}

impl Clone for Asked {
    fn clone(&self) -> Self {
        let (path, body, bundles) = (self.path, self.body.clone(), self.bundles.clone());
        Self { path, body, bundles, key: KeyPair::from_pem(&self.key.serialize_pem()).unwrap() }
    }
}

impl Asked {
    /// To join with the token of a join file.
    pub(super) fn join(file: &Value) -> Self {
        let (key, request) = request();
        let body = json!({ "node": file["node"], "token": file["token"], "request": request });
        Self { path: "/v1/identity/join", body, bundles: file["bundles"].clone(), key }
    }

    /// To renew as that proxy.
    pub(super) fn renewal(node: &str, bundles: &Value) -> Self {
        let (key, request) = request();
        let body = json!({ "node": node, "request": request });
        Self { path: "/v1/identity/renew", body, bundles: bundles.clone(), key }
    }

    /// The same with a request whose signature was changed.
    pub(super) fn forged(mut self) -> Self {
        let text = self.body["request"].as_str().unwrap().to_owned();
        let lines: Vec<&str> = text.lines().collect();
        // The last line of Base64 ends with the signature.
        let at = lines.len() - 2;
        let line = lines[at];
        let place = line.len() / 2;
        let other = if &line[place..=place] == "A" { "B" } else { "A" };
        let changed = format!("{}{other}{}", &line[..place], &line[place + 1..]);
        let mut lines = lines;
        lines[at] = &changed;
        self.body["request"] = json!(lines.join("\n") + "\n");
        self
    }

    /// Sends it to the listener for proxies, with the SVID of a member or without one.
    pub(super) fn send(&self, address: &str, shown: Option<&Member>) -> (u16, Value) {
        let tls = match shown {
            Some(member) => member.tls(),
            None => {
                let bundles = bundles(&self.bundles);
                ClientTls::from_bundles(bundles, REGISTRY.parse().unwrap(), "registry").unwrap()
            }
        };
        send(address, &tls, "POST", self.path, self.body.to_string())
    }

    /// The member that an answer makes of whoever asked.
    pub(super) fn member(self, answer: &Value) -> Member {
        let chain = answer["chain"].as_str().unwrap().to_owned();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let trusted = bundles(&answer["bundles"]);
        let identity = MeshIdentity::new(&chain, key, trusted, UnixTime::now()).unwrap();
        Member { chain, bundles: answer["bundles"].clone(), identity }
    }
}

impl Member {
    pub(super) fn bundles(&self) -> &Value {
        &self.bundles
    }

    /// The certificate that signed its SVID.
    pub(super) fn intermediate(&self) -> &str {
        self.chain.rsplit("-----BEGIN").next().unwrap()
    }

    pub(super) fn get(&self, address: &str, path: &str) -> (u16, Value) {
        send(address, &self.tls(), "GET", path, String::new())
    }

    pub(super) fn post(&self, address: &str, path: &str) -> (u16, Value) {
        send(address, &self.tls(), "POST", path, String::new())
    }

    /// The status of a request to another member, over a connection of its own.
    pub(super) fn call(&self, address: &str, expected: &str) -> u16 {
        let expected = Some(expected.parse().unwrap());
        let tls = ClientTls::from_identity(&self.identity, expected, "pay").unwrap();
        send(address, &tls, "GET", "/direct", String::new()).0
    }

    pub(super) fn tls(&self) -> ClientTls {
        let expected = Some(REGISTRY.parse().unwrap());
        ClientTls::from_identity(&self.identity, expected, "registry").unwrap()
    }
}

/// A request with the identity of certificate files, to a registry that one of the authorities in `ca` signed.
pub(super) fn with_files(
    address: &str,
    (certificate, key, ca): (&Path, &Path, &Path),
    (method, path, body): (&str, &str, String),
) -> (u16, Value) {
    let own = OwnCertificate { certificate, key };
    let expected = Some(REGISTRY.parse().unwrap());
    let tls = ClientTls::from_files(Some(own), ca, expected, "registry").unwrap();
    send(address, &tls, method, path, body)
}

fn request() -> (KeyPair, String) {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    (key, request)
}

fn bundles(texts: &Value) -> TrustBundles {
    let texts: BTreeMap<String, String> = serde_json::from_value(texts.clone()).unwrap();
    let texts = texts.iter().map(|(domain, text)| (domain.parse().unwrap(), text.as_str()));
    TrustBundles::from_pem(texts).unwrap()
}

fn send(address: &str, tls: &ClientTls, method: &str, path: &str, body: String) -> (u16, Value) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tls = tls.clone().with_alpn(&[b"http/1.1"]);
    runtime.block_on(async {
        let address: Address = address.parse().unwrap();
        let stream = connect(&address, Some(&tls), Duration::from_secs(20)).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "registry")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        connection.abort();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    })
}

//! Filters that call services of the mesh from the hooks that their grants name, in a running proxy.

use super::live::LiveProxy;
use super::*;
use crate::MeshCalls;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::mpsc;
use tamis_engine::{FetchFuture, FetchRequest, HttpClientGrant, HttpFetch};

/// The client of a proxy's filters, for services alone.
struct Client(MeshCalls);

impl HttpFetch for Client {
    fn fetch(&self, request: FetchRequest) -> FetchFuture {
        self.0.call(request)
    }
}

/// A filter that calls from a hook, and the router after it.
fn calling(mesh: &MeshCalls, at: &str, url: &str, grant: HttpClientGrant) -> Vec<Attachment> {
    let rules = json!([["/", "all"]]);
    let config = json!({
        "reads": [":path"], "writes": ["x-called"], "whole_up_to": 10_000, "rules": rules,
        "calls_at": at, "calls": url,
    });
    let mut all = Grant::everything();
    all.imports.http_client = Some(grant);
    let options = FilterOptions {
        admission: Admission::of_grant("test/walk", walk().inspection(), all).unwrap(),
        fetch: Some(Arc::new(Client(mesh.clone()))),
        ..options(&config, "sha256:00")
    };
    let filter = Filter::new(walk(), options).unwrap();
    vec![Attachment {
        occupant: SlotOccupant::Running(filter),
        ..attached(&json!({}), None, OnFailure::Closed)
    }]
}

const URL: &str = "http://app.test.mesh/policy";

fn granted(hooks: &[&str]) -> HttpClientGrant {
    HttpClientGrant {
        services: vec!["test/app".into()],
        during_requests: hooks.contains(&"request"),
        hooks: hooks.iter().filter(|hook| **hook != "request").map(ToString::to_string).collect(),
        timeout_ms: 10_000,
        per_minute: 60_000,
        ..HttpClientGrant::default()
    }
}

#[test]
fn a_filter_calls_a_service_from_every_hook_that_its_grant_names_and_from_no_other() {
    let hooks = ["request", "router", "request-body", "response", "response-body"];
    for at in hooks {
        for (granted_hooks, url, says) in [
            (&hooks[..], URL, "200"),
            (&[at], URL, "200"),
            (&[at], "http://app.test.mesh:80/", "200"),
            (&[at], "http://app.test.mesh:81/", "has no port 81"),
            (&[], URL, "may not send requests under its Grant"),
            (&[at], "http://other.test.mesh/", "imports.http-client.services"),
        ] {
            let mesh = MeshCalls::default();
            let filters = calling(&mesh, at, url, granted(granted_hooks));
            let options = ProxyOptions { mesh_calls: mesh, ..ProxyOptions::default() };
            let live = LiveProxy::start(filters, options);
            let (status, head, body) = live.client().post("/a", &[], "hello");
            assert_eq!(status, 200, "{at}, {granted_hooks:?}, {url}: {head}{body}");
            // The upstream answers with what it received.
            let shown = if at.starts_with("response") { head } else { body };
            let said = shown.lines().find(|line| line.starts_with("x-called: "));
            let said = said.unwrap_or_else(|| panic!("{at}, {granted_hooks:?}: {shown}"));
            assert!(said.contains(says), "{at}, {granted_hooks:?}, {url}: {said}");
        }
    }
}

/// An upstream that answers at once, except requests with `/policy` in their path: those wait until the test opens the gate.
fn gated() -> (SocketAddr, mpsc::Sender<()>, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (open, gate) = mpsc::channel::<()>();
    let (arrived, arrivals) = mpsc::channel();
    let gate = Arc::new(std::sync::Mutex::new(gate));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (gate, arrived) = (Arc::clone(&gate), arrived.clone());
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut text = Vec::new();
                let mut buffer = [0; 4096];
                loop {
                    match stream.read(&mut buffer) {
                        Ok(0) | Err(_) => return,
                        Ok(read) => text.extend_from_slice(&buffer[..read]),
                    }
                    let head = String::from_utf8_lossy(&text).into_owned();
                    if !head.contains("\r\n\r\n") {
                        continue;
                    }
                    text.clear();
                    if head.contains("/policy") {
                        let _ = arrived.send(());
                        let _ = gate.lock().unwrap().recv();
                    }
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, open, arrivals)
}

#[test]
fn a_call_that_waits_delays_its_exchange_and_no_other_of_its_worker() {
    for at in ["request", "router", "response", "response-body"] {
        let (address, open, arrivals) = gated();
        let mesh = MeshCalls::default();
        let filters = calling(&mesh, at, URL, granted(&[at]));
        let workers = NonZeroUsize::new(1);
        let options = ProxyOptions { mesh_calls: mesh, workers, ..ProxyOptions::default() };
        let live = LiveProxy::before(address, filters, options);
        let (mut first, mut second) = (live.client(), live.client());
        first.begin("/a", &[]);
        arrivals.recv().unwrap();
        // The only worker goes on: the call of the next exchange arrives while that of the first waits.
        second.begin("/b", &[]);
        arrivals.recv().unwrap();
        open.send(()).unwrap();
        open.send(()).unwrap();
        for client in [&mut first, &mut second] {
            assert_eq!(client.receive().0, 200, "{at}");
        }
    }
}

#[test]
fn what_does_not_serve_yet_is_said_to_whoever_calls() {
    let mesh = MeshCalls::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let request = FetchRequest {
        method: "GET".into(),
        url: URL.into(),
        headers: vec![],
        body: vec![],
        timeout: std::time::Duration::from_secs(10),
        max_bytes: 100,
        target: tamis_engine::FetchTarget::Service { service: "test/app".into(), port: None },
    };
    let failure = runtime.block_on(mesh.call(request.clone())).unwrap_err();
    assert!(failure.to_string().contains("does not serve yet"), "{failure}");
    let filters = calling(&mesh, "tick", URL, granted(&[]));
    let options = ProxyOptions { mesh_calls: mesh.clone(), ..ProxyOptions::default() };
    let live = LiveProxy::start(filters, options);
    let answer = runtime.block_on(mesh.call(request.clone())).unwrap();
    assert!(answer.status == 200 && answer.body.starts_with(b"GET /policy HTTP/1.1\r\n"));
    let long = FetchRequest { max_bytes: 3, ..request.clone() };
    let failure = runtime.block_on(mesh.call(long)).unwrap_err();
    assert_eq!(failure, tamis_engine::FetchFailure::TooLarge);
    let silent = FetchRequest {
        headers: vec![("x-hang".into(), b"1".to_vec())],
        timeout: std::time::Duration::from_millis(50),
        ..request.clone()
    };
    let failure = runtime.block_on(mesh.call(silent)).unwrap_err();
    assert_eq!(failure, tamis_engine::FetchFailure::Timeout);
    drop(live);
    let failure = runtime.block_on(mesh.call(request)).unwrap_err();
    assert!(failure.to_string().contains("this proxy stops"), "{failure}");
}

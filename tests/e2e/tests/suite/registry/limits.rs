//! Requests above the limits of a registry get a clear error, and the next request is served.

use std::time::{Duration, Instant};

use serde_json::json;
use tamis_e2e::Reply;
use tempfile::TempDir;

use super::{Caller, IMAGE, Registry, code, descriptor, image, sha256, token};

/// A registry with small limits, and what every test of them wants of it.
fn with_small_limits(test: impl FnOnce(Caller<'_>)) {
    let folder = TempDir::new().unwrap();
    let secret = token(folder.path(), &[], "ci", "*", &["pull", "push"]);
    let limits = ["--max-blob-bytes", "65536", "--max-referrers", "2"];
    let registry = Registry::start(folder.path(), &limits);
    let caller = registry.caller(&secret);
    assert!(caller.push("acme/filter", "edge", b"layer"));
    test(caller);
    assert!(caller.has("acme/filter", "edge", b"layer"));
    let said = registry.running.errors();
    assert!(!said.contains("panicked"), "{said}");
    registry.stop();
}

fn refused(reply: &Reply, status: u16, expected: &str) {
    assert_eq!((reply.status, code(reply).as_str()), (status, expected), "{reply:?}");
    let message = reply.json()["errors"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.len() > 20, "that helps nobody: {message}");
}

#[test]
fn g20_a_blob_that_is_too_large_is_refused_before_it_is_sent_and_while_it_is() {
    with_small_limits(|caller| {
        let path = format!("/v2/acme/filter/blobs/uploads/?digest={}", sha256(b"x"));
        // Nothing follows the head: the response does not wait for a body.
        let said = caller.send("POST", &path, &[("content-length", "65537")], b"");
        refused(&said, 413, "SIZE_INVALID");
        let absurd = [("content-length", "18446744073709551615")];
        assert!(matches!(caller.send("POST", &path, &absurd, b"").status, 400 | 413));

        let begun = caller.send("POST", "/v2/acme/filter/blobs/uploads/", &[], b"");
        let location = begun.header("location").unwrap();
        let chunk = vec![b'a'; 40_000];
        assert_eq!(caller.send("PATCH", location, &[], &chunk).status, 202);
        refused(&caller.send("PATCH", location, &[], &chunk), 413, "SIZE_INVALID");
        // An upload that can never be completed is discarded.
        refused(&caller.get(location), 404, "BLOB_UPLOAD_UNKNOWN");
        assert!(caller.push_blob("acme/filter", &vec![b'a'; 65_536]));
    });
}

#[test]
fn g20_a_manifest_that_is_too_large_or_says_too_much_is_refused() {
    with_small_limits(|caller| {
        let path = "/v2/acme/filter/manifests/large";
        let headers = [("content-type", IMAGE), ("content-length", "4194305")];
        refused(&caller.send("PUT", path, &headers, b""), 413, "SIZE_INVALID");

        let mut many = image(b"layer");
        let layers = (0..400_u32).map(|n| descriptor("application/wasm", &n.to_le_bytes()));
        many["layers"] = layers.collect();
        let many = many.to_string();
        refused(&caller.put("acme/filter", "many", &many), 400, "MANIFEST_INVALID");

        let deep = "[".repeat(100_000);
        refused(&caller.put("acme/filter", "deep", &deep), 400, "MANIFEST_INVALID");

        let tags: String = (0..33).map(|number| format!("tag=t{number}&")).collect();
        let digest = sha256(image(b"layer").to_string().as_bytes());
        let reference = format!("{digest}?{tags}");
        let reply = caller.put("acme/filter", &reference, &image(b"layer").to_string());
        refused(&reply, 400, "UNSUPPORTED");
    });
}

#[test]
fn g20_a_subject_has_so_many_referrers_and_no_more() {
    with_small_limits(|caller| {
        let mut referrer = image(b"layer");
        referrer["subject"] = descriptor(IMAGE, image(b"layer").to_string().as_bytes());
        for number in 0..3 {
            referrer["annotations"] = json!({ "number": number.to_string() });
            let reply = caller.put("acme/filter", "about", &referrer.to_string());
            match number {
                0 | 1 => assert_eq!(reply.status, 201, "{reply:?}"),
                _ => refused(&reply, 403, "DENIED"),
            }
        }
    });
}

#[test]
fn g20_names_and_numbers_that_cannot_be_are_refused() {
    with_small_limits(|caller| {
        let long = "a".repeat(300);
        for name in [long.as_str(), "Acme/filter", "acme//filter", "acme/..", "acme/fil%00ter"] {
            let path = format!("/v2/{name}/tags/list");
            assert_eq!(caller.get(&path).status, 400, "{name}");
        }
        for tag in ["-edge", &"t".repeat(129), "t%20t"] {
            let reply = caller.put("acme/filter", tag, &image(b"layer").to_string());
            refused(&reply, 400, "MANIFEST_INVALID");
        }
        for number in ["-1", "many", "99999999999999999999999"] {
            let path = format!("/v2/acme/filter/tags/list?n={number}");
            refused(&caller.get(&path), 400, "UNSUPPORTED");
        }
        for digest in ["sha256:", "sha256:zz", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256"] {
            let path = format!("/v2/acme/filter/blobs/{digest}");
            refused(&caller.get(&path), 400, "DIGEST_INVALID");
        }
        // Too long for the transport, which refuses it before the handler.
        let endless = "x".repeat(300_000);
        let reply = caller.send("GET", "/v2/", &[("x-endless", &endless)], b"");
        assert!(matches!(reply.status, 431 | 400 | 0), "{reply:?}");
    });
}

#[test]
fn a_large_change_of_one_token_makes_nobody_else_wait() {
    let folder = TempDir::new().unwrap();
    let tenant = token(folder.path(), &[], "tenant", "acme/*", &["operate", "observe"]);
    let other = token(folder.path(), &[], "other", "shop/*", &["observe"]);
    let registry = Registry::start(folder.path(), &[]);
    let (tenant, other) = (registry.caller(&tenant), registry.caller(&other));
    let service = |at: usize| {
        format!(
            "---\nkind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: s{at}, namespace: acme }}\n\
             spec:\n  ports: [{{ port: 80, protocol: http }}]\n  endpoints: [{{ address: 10.0.0.1:80 }}]\n"
        )
    };
    let text: String = (0..3_000).map(service).collect();
    let sources = json!([{ "source": "a.yaml", "text": text }]);
    let body = json!({ "sources": sources, "confirm": true }).to_string();
    for path in ["/v1/plan", "/v1/apply"] {
        let ((reply, took), longest) = std::thread::scope(|scope| {
            let large = scope.spawn(|| {
                let began = Instant::now();
                let json = [("content-type", "application/json")];
                let reply = tenant.send("POST", path, &json, body.as_bytes());
                (reply, began.elapsed())
            });
            let mut longest = Duration::ZERO;
            while !large.is_finished() {
                let began = Instant::now();
                assert_eq!(other.get("/v1/pins").status, 200);
                longest = longest.max(began.elapsed());
            }
            (large.join().unwrap(), longest)
        });
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        println!("{path}: {took:?}, others {longest:?}");
        assert!(longest < took / 3, "{path} took {took:?}, and others waited for {longest:?}");
    }
}

/// So many Services of a namespace, with this port, and with an address that no other namespace has.
fn services(namespace: &str, count: usize, port: u16) -> String {
    let host = namespace.bytes().fold(0_u8, u8::wrapping_add);
    let service = |at: usize| {
        format!(
            "---\nkind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: s{at}, namespace: {namespace} }}\n\
             spec:\n  ports: [{{ port: {port}, protocol: http }}]\n  endpoints: [{{ address: 10.0.0.{host}:80 }}]\n"
        )
    };
    let all: Vec<String> = (0..count).map(service).collect();
    let sources = all.chunks(5_000).enumerate().map(
        |(file, services)| json!({ "source": format!("{file}.yaml"), "text": services.concat() }),
    );
    json!({ "sources": sources.collect::<Vec<_>>(), "confirm": true }).to_string()
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

#[test]
fn no_small_change_waits_for_a_large_one_that_others_overtake() {
    let folder = TempDir::new().unwrap();
    let tenant = token(folder.path(), &[], "tenant", "acme/*", &["operate", "observe"]);
    let other = token(folder.path(), &[], "other", "shop/*", &["operate", "observe"]);
    let registry = Registry::start(folder.path(), &[]);
    let (tenant, other) = (registry.caller(&tenant), registry.caller(&other));
    let reply = tenant.send("POST", "/v1/apply", JSON, services("acme", 1_500, 80).as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.body);
    let (large, small, longest) = std::thread::scope(|scope| {
        let large = scope.spawn(|| {
            let body = services("acme", 1_500, 81);
            tenant.send("POST", "/v1/apply", JSON, body.as_bytes())
        });
        let (mut longest, mut small) = (Duration::ZERO, 0);
        while !large.is_finished() {
            let began = Instant::now();
            let body = services("shop", 1, small + 1);
            let reply = other.send("POST", "/v1/apply", JSON, body.as_bytes());
            assert_eq!(reply.status, 200, "{}", reply.body);
            longest = longest.max(began.elapsed());
            small += 1;
        }
        (large.join().unwrap(), small, longest)
    });
    println!("{small} small ones, each in at most {longest:?}: {}", large.status);
    assert!(
        small > 3,
        "{small} small changes while a large one was made, the longest in {longest:?}"
    );
    // It is made between two of the others, or refused with the way out.
    let parts = large.body.contains("in parts of at most");
    assert!(large.status == 200 || large.status == 503 && parts, "{}", large.body);
}

#[test]
fn a_namespace_has_only_so_many_documents_and_a_tenant_sends_no_more() {
    let folder = TempDir::new().unwrap();
    let tenant = token(folder.path(), &[], "tenant", "acme/*", &["operate", "observe"]);
    let registry = Registry::start(folder.path(), &[]);
    let tenant = registry.caller(&tenant);
    for path in ["/v1/plan", "/v1/apply"] {
        let reply = tenant.send("POST", path, JSON, services("acme", 10_001, 80).as_bytes());
        assert_eq!(reply.status, 409, "{path}: {}", reply.body);
        assert_eq!(reply.json()["refusals"][0]["code"], "documents.no-room", "{path}");
        let length = [JSON, &[("content-length", "9000000")]].concat();
        assert_eq!(tenant.send("POST", path, &length, b"").status, 413, "{path}");
    }
    let list = tenant.get("/v1/resources").json();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(0), "{list}");
}

//! Two tenants of one registry: neither can read, write, mount, list or detect what belongs to the other.

use tamis_e2e::Reply;
use tempfile::TempDir;

use super::{Caller, Registry, code, image, sha256, token};

/// Every kind of request to a repository: method, the path after its name, body. `@U` is an upload.
fn requests() -> Vec<(&'static str, String, &'static [u8])> {
    let blob = sha256(b"layer");
    let manifest = sha256(image(b"layer").to_string().as_bytes());
    let mut all: Vec<(&str, String, &[u8])> = Vec::new();
    for method in ["GET", "HEAD", "DELETE"] {
        for reference in ["edge", &manifest] {
            all.push((method, format!("manifests/{reference}"), b""));
        }
        all.push((method, format!("blobs/{blob}"), b""));
    }
    for reference in ["edge", "new", &manifest] {
        all.push(("PUT", format!("manifests/{reference}"), b"{}"));
    }
    all.push(("POST", "blobs/uploads/".to_owned(), b""));
    all.push(("POST", format!("blobs/uploads/?digest={blob}"), b"layer"));
    all.push(("POST", format!("blobs/uploads/?mount={blob}&from=bob/own"), b""));
    for (method, body) in [("GET", &b""[..]), ("HEAD", b""), ("PATCH", b"more"), ("DELETE", b"")] {
        all.push((method, "blobs/uploads/@U".to_owned(), body));
    }
    all.push(("PUT", format!("blobs/uploads/@U?digest={blob}"), b"layer"));
    all.push(("GET", "tags/list".to_owned(), b""));
    all.push(("GET", format!("referrers/{manifest}"), b""));
    all
}

/// The visible parts of a response, without the name that the caller himself used.
fn seen(reply: &Reply, repository: &str) -> (u16, Vec<(String, String)>, String) {
    let mut headers = reply.headers.clone();
    // `date` is the time, and `content-length` depends on the length of the name.
    headers.retain(|(name, _)| name != "date" && name != "content-length");
    (reply.status, headers, reply.body.replace(repository, "NAME"))
}

#[test]
fn g21_no_request_to_a_repository_of_another_tenant_does_or_tells_anything() {
    let folder = TempDir::new().unwrap();
    let verbs = ["pull", "push", "delete"];
    let alice = token(folder.path(), &[], "alice", "alice/*", &verbs);
    let bob = token(folder.path(), &[], "bob", "bob/*", &verbs);
    let registry = Registry::start(folder.path(), &[]);
    let (alice, bob) = (registry.caller(&alice), registry.caller(&bob));
    assert!(alice.push("alice/secret", "edge", b"layer"));
    assert!(bob.push("bob/own", "edge", b"layer"));
    let upload = alice.send("POST", "/v2/alice/secret/blobs/uploads/", &[], b"");
    let location = upload.header("location").unwrap().to_owned();
    assert_eq!(alice.send("PATCH", &location, &[], b"begun").status, 202);
    let id = location.rsplit('/').next().unwrap();

    let guessed = registry.caller("tamis_guessed");
    for (method, path, body) in requests() {
        let path = path.replace("@U", id);
        let ask = |caller: Caller<'_>, repository: &str| {
            let path = format!("/v2/{repository}/{path}");
            let reply = caller.send(method, &path, &[("content-type", super::IMAGE)], body);
            seen(&reply, repository)
        };
        for (caller, status, refusal) in [
            (bob, 403, "DENIED"),
            (registry.anonymous(), 401, "UNAUTHORIZED"),
            (guessed, 401, "UNAUTHORIZED"),
        ] {
            let there = ask(caller, "alice/secret");
            assert_eq!(there.0, status, "{method} {path}: {there:?}");
            if method != "HEAD" {
                assert!(there.2.contains(refusal), "{method} {path}: {there:?}");
            }
            assert_eq!(there, ask(caller, "alice/nothing"), "{method} {path} tells them apart");
        }
    }

    assert!(alice.has("alice/secret", "edge", b"layer"));
    let tags = alice.get("/v2/alice/secret/tags/list").json();
    assert_eq!(tags["tags"], serde_json::json!(["edge"]));
    assert_eq!(alice.get(&location).header("range"), Some("0-4"));
}

#[test]
fn g21_a_blob_is_not_mounted_from_where_the_caller_may_not_pull() {
    let folder = TempDir::new().unwrap();
    let verbs = ["pull", "push"];
    let alice = token(folder.path(), &[], "alice", "alice/*", &verbs);
    let bob = token(folder.path(), &[], "bob", "bob/*", &verbs);
    let blind = token(folder.path(), &[], "blind", "alice/*", &["push"]);
    let registry = Registry::start(folder.path(), &[]);
    assert!(registry.caller(&alice).push("alice/secret", "edge", b"secret"));
    let (secret, nobodys) = (sha256(b"secret"), sha256(b"nobody has it"));
    for (who, to) in [(&bob, "bob/own"), (&blind, "alice/other")] {
        let caller = registry.caller(who);
        let answers: Vec<_> = [
            format!("mount={secret}&from=alice/secret"),
            format!("mount={secret}"),
            format!("mount={nobodys}&from=alice/secret"),
            format!("mount={secret}&from=alice/nothing"),
        ]
        .iter()
        .map(|query| {
            let reply = caller.send("POST", &format!("/v2/{to}/blobs/uploads/?{query}"), &[], b"");
            let location = reply.header("location").unwrap();
            assert!(location.starts_with(&format!("/v2/{to}/blobs/uploads/")), "{location}");
            reply.status
        })
        .collect();
        // An upload begins, as for a blob that exists nowhere.
        assert_eq!(answers, [202; 4], "{to}");
        let reply = registry.caller(&alice).get(&format!("/v2/alice/other/blobs/{secret}"));
        assert_eq!((reply.status, code(&reply).as_str()), (404, "BLOB_UNKNOWN"));
    }
    let reply = registry.caller(&bob).get(&format!("/v2/bob/own/blobs/{secret}"));
    assert_eq!((reply.status, code(&reply).as_str()), (404, "BLOB_UNKNOWN"));
}

#[test]
fn g21_a_token_does_only_the_verbs_it_was_made_for_until_it_is_revoked() {
    let folder = TempDir::new().unwrap();
    let all = token(folder.path(), &[], "all", "*", &["pull", "push", "delete"]);
    let pull = token(folder.path(), &[], "reader", "acme/*", &["pull"]);
    let push = token(folder.path(), &[], "writer", "acme/*", &["push"]);
    let delete = token(folder.path(), &[], "cleaner", "acme/*", &["delete"]);
    let registry = Registry::start(folder.path(), &[]);
    assert!(registry.caller(&all).push("acme/filter", "edge", b"layer"));
    let path = "/v2/acme/filter/manifests/edge";
    let uploads = "/v2/acme/filter/blobs/uploads/";
    for (who, may) in [(&pull, "GET"), (&push, "POST"), (&delete, "DELETE")] {
        for (method, path) in [("GET", path), ("POST", uploads), ("DELETE", path)] {
            let reply = registry.caller(who).send(method, path, &[], b"");
            assert_eq!(reply.status != 403, method == may, "{method} with {may}: {reply:?}");
        }
    }
    let revoked = tamis_e2e::tamis(
        folder.path(),
        &["registry", "token", "revoke", "reader", "--data", "data"],
    );
    assert!(revoked.status.success());
    // The serving process learns of it from the journal.
    tamis_e2e::eventually("the token opens nothing any more", || {
        (registry.caller(&pull).get(path).status == 401).then_some(())
    });
}

#[test]
fn a_registry_that_others_reach_in_clear_text_does_not_start() {
    let folder = TempDir::new().unwrap();
    let arguments = ["registry", "--data", "data", "--listen", "0.0.0.0:0"];
    let started = tamis_e2e::tamis(folder.path(), &arguments);
    let said = String::from_utf8_lossy(&started.stderr).into_owned();
    assert!(!started.status.success(), "{said}");
    assert!(said.contains("tokens travel in clear text"), "{said}");
    assert!(!folder.path().join("data/admin.token").exists());
}

/// A proxy may stand before a registry, and a tenant's route may lead to it: neither adds a right to what the token has.
#[test]
fn a_request_that_came_through_a_proxy_has_the_rights_of_its_token_and_no_others() {
    let folder = TempDir::new().unwrap();
    let observer = token(folder.path(), &[], "watch", "*", &["observe"]);
    let pusher = token(folder.path(), &[], "ci", "acme/*", &["pull", "push"]);
    let registry = Registry::start(folder.path(), &[]);
    let mut seen = 0;
    for (method, path) in [
        ("GET", "/healthz"),
        ("GET", "/metrics"),
        ("GET", "/v1/status"),
        ("GET", "/v1/resources"),
        ("GET", "/v1/tokens"),
        ("POST", "/v1/apply"),
        ("GET", "/v2/"),
        ("GET", "/v2/acme/a/tags/list"),
    ] {
        let all = [
            registry.anonymous(),
            registry.caller("tamis_guessed"),
            registry.caller(&observer),
            registry.caller(&pusher),
        ];
        for (number, caller) in all.into_iter().enumerate() {
            let direct = caller.send(method, path, &[], b"").status;
            for field in [
                ("via", "1.1 tamis"),
                ("via", "1.1 tamis, 2 tamis"),
                ("forwarded", "for=127.0.0.1;host=localhost"),
                ("x-forwarded-for", "127.0.0.1"),
            ] {
                let through = caller.send(method, path, &[field], b"").status;
                assert_eq!(through, direct, "{method} {path} {number} {field:?}");
                seen += 1;
            }
            let public = ["/healthz"].contains(&path);
            assert!(public || number > 1 || direct == 401, "{method} {path} {number}: {direct}");
        }
    }
    assert_eq!(seen, 8 * 4 * 4);
}

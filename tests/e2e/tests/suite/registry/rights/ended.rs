//! A token that ends while its request is on the way.

use serde_json::json;
use tamis_e2e::held_back;

use super::*;

/// A write: its address, its body, and the status that it has with a token that holds.
struct Write {
    method: &'static str,
    path: String,
    kind: &'static str,
    body: Vec<u8>,
    status: u16,
}

fn json_write(method: &'static str, path: &str, body: &Value, status: u16) -> Write {
    let (path, kind) = (path.to_owned(), "application/json");
    Write { method, path, kind, body: body.to_string().into_bytes(), status }
}

/// How a token ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Revoked,
    Replaced,
    GivenAgain,
}

impl Write {
    /// Sends it with a token; `between` its head and its body something happens.
    fn send(&self, registry: &Registry, token: &str, between: impl FnOnce()) -> Reply {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", self.kind)];
        held_back(&registry.address, self.method, &self.path, &headers, &self.body, between)
    }
}

/// The entries of the journal that name this actor.
fn written_by(admin: Caller<'_>, actor: &str) -> usize {
    let log = admin.get("/v1/log?limit=1000").json();
    log["entries"].as_array().unwrap().iter().filter(|one| one["actor"] == actor).count()
}

/// A token for everything, made by the admin, with its name.
fn made(admin: Caller<'_>, name: &str) -> String {
    let verbs = ["pull", "push", "delete", "observe", "operate"];
    let asks = json!({ "name": name, "repositories": ["*"], "verbs": verbs });
    let made = admin.post("/v1/tokens", &asks);
    assert_eq!(made.status, 200, "{}", made.body);
    made.json()["token"].as_str().unwrap().to_owned()
}

fn end(admin: Caller<'_>, name: &str, how: End) {
    let path = format!("/v1/tokens/{name}");
    let ended = match how {
        End::Revoked | End::GivenAgain => admin.send("DELETE", &path, &[], b""),
        End::Replaced => admin.post(&format!("{path}/rotate"), &json!({})),
    };
    assert_eq!(ended.status, 200, "{}", ended.body);
    if matches!(how, End::GivenAgain) {
        made(admin, name);
    }
}

/// Sends each write with a token that ends before its body comes, in each way, and then with one that holds.
fn check(registry: &Registry, admin: Caller<'_>, writes: impl Fn(&str) -> Vec<Write>) {
    for at in 0..writes("").len() {
        for how in [End::Revoked, End::Replaced, End::GivenAgain] {
            let name = format!("late-{at}-{how:?}").to_lowercase();
            let token = made(admin, &name);
            let write = writes(&name).swap_remove(at);
            let reply = write.send(registry, &token, || end(admin, &name, how));
            let what = format!("{} {} {how:?}", write.method, write.path);
            assert_eq!(reply.status, 401, "{what}: {}", reply.body);
            assert!(reply.header("www-authenticate").is_some(), "{what}");
            assert!(reply.body.contains("was revoked or replaced"), "{what}: {}", reply.body);
            assert_eq!(written_by(admin, &name), 0, "{what}");
        }
        let name = format!("holds-{at}");
        let token = made(admin, &name);
        let write = writes(&name).swap_remove(at);
        let reply = write.send(registry, &token, || ());
        assert_eq!(reply.status, write.status, "{} {}: {}", write.method, write.path, reply.body);
        assert!(written_by(admin, &name) > 0, "{} {} is a write", write.method, write.path);
    }
}

fn service(name: &str) -> Value {
    let spec = json!({ "ports": [{ "port": 80, "protocol": "http" }] });
    let text = document("Service", "acme", name, spec).to_string();
    json!({ "sources": [{ "source": "a.yaml", "text": text }], "confirm": true })
}

#[test]
fn a_token_that_ends_while_its_request_comes_writes_nothing() {
    let folder = TempDir::new().unwrap();
    let admin =
        token(folder.path(), &[], "root", "*", &["pull", "push", "delete", "observe", "operate"]);
    let registry = Registry::start(folder.path(), &[]);
    let admin = registry.caller(&admin);
    let gateway = json!({ "listeners": [{ "name": "http", "port": 8080, "protocol": "HTTP" }] });
    assert_eq!(admin.apply(&[document("Gateway", "acme", "edge", gateway)]).status, 200);
    assert!(admin.push("acme/x", "edge", b"layer"));
    made(admin, "other");
    // With the name of the token in what it writes, so that each write changes something.
    check(&registry, admin, |name| {
        let (blob, manifest) = (name.as_bytes().to_vec(), image(b"layer").to_string().into_bytes());
        let blobs = format!("/v2/acme/x/blobs/uploads/?digest={}", sha256(&blob));
        let token =
            json!({ "name": format!("of-{name}"), "repositories": ["*"], "verbs": ["pull"] });
        let digest = sha256(name.as_bytes());
        vec![
            json_write("POST", "/v1/apply", &service(name), 200),
            json_write("POST", "/v1/tokens", &token, 200),
            json_write("POST", "/v1/tokens/other/rotate", &json!({}), 200),
            json_write("POST", &format!("/v1/tokens/{name}/rotate"), &json!({}), 200),
            json_write(
                "POST",
                "/v1/revocations",
                &json!({ "digest": digest, "reason": "lost" }),
                200,
            ),
            json_write("POST", "/v1/reassign", &json!({ "service": "acme/edge" }), 200),
            Write {
                method: "POST",
                path: blobs,
                kind: "application/octet-stream",
                body: blob,
                status: 201,
            },
            Write {
                method: "PUT",
                path: format!("/v2/acme/x/manifests/{}", if name.is_empty() { "t" } else { name }),
                kind: IMAGE,
                body: manifest,
                status: 201,
            },
        ]
    });
}

#[test]
fn a_token_that_ends_while_its_request_comes_asks_for_nothing() {
    let folder = TempDir::new().unwrap();
    let admin =
        token(folder.path(), &[], "root", "*", &["pull", "push", "delete", "observe", "operate"]);
    let registry = Registry::start(folder.path(), &["--approvals", "1"]);
    let admin = registry.caller(&admin);
    // What is refused until somebody agrees is a proposal in the journal.
    check(&registry, admin, |name| {
        vec![
            json_write("POST", "/v1/plan", &service(name), 200),
            json_write("POST", "/v1/apply", &service(name), 409),
        ]
    });
}

/// A token whose name is given to another one while a request about it comes is not the one that was asked about.
#[test]
fn a_name_that_is_given_again_while_a_rotation_comes_is_of_somebody_else() {
    let folder = TempDir::new().unwrap();
    let all = ["pull", "push", "delete", "observe", "operate", "approve"];
    let admin = token(folder.path(), &[], "root", "*", &all[..5]);
    let mallory = token(folder.path(), &[], "mallory", "acme/*", &["operate", "observe"]);
    let registry = Registry::start(folder.path(), &[]);
    let admin = registry.caller(&admin);
    let own = json!({ "repositories": ["acme/*"], "verbs": ["operate", "observe"] });
    let (more, fewer) = (json!({ "repositories": ["*"] }), json!({ "verbs": ["observe"] }));
    let with_approve = |name: &str| {
        // On the machine itself: no token with `approve` is made from afar.
        token(folder.path(), &[], name, "acme/*", &["operate", "approve"])
    };
    let make = |name: &str, changed: &Value| {
        let mut asks = own.clone();
        asks["name"] = json!(name);
        asks.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
        let made = admin.post("/v1/tokens", &asks);
        assert_eq!(made.status, 200, "{}", made.body);
        made.json()["token"].as_str().unwrap().to_owned()
    };
    // `None`: a token with `approve`.
    let rows = [
        ("wider", Some(&more)),
        ("with-approve", None),
        ("narrower", Some(&fewer)),
        ("the-same", Some(&json!({}))),
    ];
    for (name, changed) in rows {
        let again = |name: &str| changed.map_or_else(|| with_approve(name), |it| make(name, it));
        make(name, &json!({}));
        let write = json_write("POST", &format!("/v1/tokens/{name}/rotate"), &json!({}), 200);
        let second = std::cell::OnceCell::new();
        let reply = write.send(&registry, &mallory, || {
            assert_eq!(admin.send("DELETE", &format!("/v1/tokens/{name}"), &[], b"").status, 200);
            second.set(again(name)).unwrap();
        });
        assert_eq!(reply.status, 404, "{name}: {}", reply.body);
        assert!(reply.body.contains("no such token within your rights"), "{name}: {}", reply.body);
        let holds = registry.caller(second.get().unwrap()).get("/v2/").status;
        assert_eq!(holds, 200, "{name}: its secret is what it was");
    }
}

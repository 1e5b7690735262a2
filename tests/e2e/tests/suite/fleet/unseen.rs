//! Whether something of others is there: whoever has no right at it gets one answer, whatever the truth is.

use serde_json::{Value, json};
use tamis_e2e::{Reply, request, tamis};

use super::plane::{Plane, Registry, json as parsed, said};
use crate::guests;

const JSON: (&str, &str) = ("content-type", "application/json");
/// A digest that nothing has.
const NOWHERE: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A caller of a registry.
struct Caller {
    address: String,
    bearer: String,
}

impl Caller {
    fn send(&self, method: &str, path: &str, body: &Value) -> Reply {
        let headers = [JSON, ("authorization", self.bearer.as_str())];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        request(&self.address, method, path, &headers, body.as_bytes())
    }

    fn token(plane: &Plane, registry: &Registry, name: &str, places: &str, verbs: &[&str]) -> Self {
        let mut all = vec!["registry", "token", "create", name, "--repository", places];
        verbs.iter().for_each(|verb| all.extend(["--verb", verb]));
        all.extend(["--data", "data", "--output", "json"]);
        let made = tamis(plane.folder.path(), &all);
        assert!(made.status.success(), "{}", said(&made));
        let bearer = format!("Bearer {}", parsed(&made)["token"].as_str().unwrap());
        Self { address: registry.admin().0, bearer }
    }
}

/// A question about something: its method and path, its body, and the status that callers without a right get.
struct Question {
    method: &'static str,
    path: &'static str,
    body: Value,
    status: u16,
}

fn ask(method: &'static str, path: &'static str, body: Value, status: u16) -> Question {
    Question { method, path, body, status }
}

/// Questions in which `@` stands for what is asked about, with something that is there and something that is not.
fn questions(hidden: &str, subject: &str) -> Vec<(&'static str, String, String, Vec<Question>)> {
    let pin = |filter: &str, more: Value| {
        let mut body = json!({ "service": "acme/edge", "filter": filter, "confirm": true });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask("POST", "/v1/pins", body, 403)
    };
    let rollout = |name: &str, filter: &str, services: Value, more: Value, status: u16| {
        let waves = json!([{ "percent": 100, "bakeMs": 1_000 }]);
        let mut body =
            json!({ "name": name, "filter": filter, "services": services, "waves": waves });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask("POST", "/v1/rollouts", body, status)
    };
    let version = || json!({ "version": "@" });
    let digest = || json!({ "digest": "@" });
    let edge = || json!(["acme/edge"]);
    let pair = |there: &str, gone: &str| (there.to_owned(), gone.to_owned());
    let row = |what, (there, gone): (String, String), all| (what, there, gone, all);
    vec![
        row(
            "a version",
            pair("1.0.0", "1.0.1"),
            vec![
                pin("hidden/guest", version()),
                pin("hidden/guest", json!({ "version": "@", "dryRun": true })),
                rollout("acme.x", "hidden/guest", edge(), version(), 403),
                rollout("acme.x", "hidden/guest", json!([]), version(), 403),
            ],
        ),
        row(
            "a filter",
            pair("hidden/guest", "hidden/other"),
            vec![
                pin("@", json!({ "version": "1.0.0" })),
                rollout("acme.x", "@", edge(), json!({ "version": "1.0.0" }), 403),
                ask("GET", "/v2/@/tags/list", Value::Null, 403),
                ask("GET", "/v2/@/manifests/1.0.0", Value::Null, 403),
            ],
        ),
        row(
            "a digest",
            pair(hidden, NOWHERE),
            vec![
                pin("hidden/guest", digest()),
                rollout("acme.x", "hidden/guest", edge(), digest(), 403),
                ask("GET", "/v2/hidden/guest/referrers/@", Value::Null, 403),
                // In the name of a filter of one's own, and of one that is offered to all.
                Question { status: 404, ..pin("acme/own", digest()) },
                Question { status: 404, ..pin("test/guest", digest()) },
                rollout(
                    "acme.x",
                    "acme/own",
                    edge(),
                    json!({ "digest": "@", "from": NOWHERE }),
                    404,
                ),
            ],
        ),
        row(
            "the beginning of a pinned digest",
            pair(hidden.get(..20).unwrap(), NOWHERE.get(..20).unwrap()),
            vec![pin("hidden/guest", digest())],
        ),
        row(
            "a rollout",
            pair("guest-next", "guest-none"),
            vec![
                rollout("@", "acme/own", edge(), json!({ "version": "1.0.0" }), 400),
                ask("GET", "/v1/rollouts/@", Value::Null, 403),
                ask("POST", "/v1/rollouts/@/move", json!({ "action": "abort" }), 403),
            ],
        ),
        row(
            "a token",
            pair("bob", "nobody"),
            vec![
                ask(
                    "POST",
                    "/v1/tokens",
                    json!({ "name": "@", "repositories": ["acme/*"], "verbs": ["observe"] }),
                    400,
                ),
                ask("POST", "/v1/tokens/@/rotate", json!({}), 404),
                ask("DELETE", "/v1/tokens/@", Value::Null, 404),
            ],
        ),
        row(
            "a change to approve",
            pair(subject, NOWHERE),
            vec![ask("POST", "/v1/approvals", json!({ "subject": "@" }), 403)],
        ),
        row(
            "a service",
            pair("test/edge", "test/none"),
            vec![
                ask("GET", "/v1/status?service=@", Value::Null, 403),
                ask("GET", "/v1/history?service=@", Value::Null, 403),
                ask("GET", "/v1/who-ran?service=@&atMs=1", Value::Null, 403),
                ask("GET", "/v1/resources/Gateway/@", Value::Null, 403),
                ask("GET", "/v1/resources/Gateway/@/versions", Value::Null, 403),
                ask("GET", "/v1/resources/Gateway/@/at/3", Value::Null, 403),
                ask("DELETE", "/v1/pins", json!({ "service": "@", "filter": "test/guest" }), 403),
                ask("POST", "/v1/rollback", json!({ "service": "@", "filter": "test/guest" }), 403),
                ask("POST", "/v1/reassign", json!({ "service": "@" }), 403),
                ask("POST", "/v1/identity/tokens", json!({ "node": "gateway:@" }), 403),
                ask(
                    "POST",
                    "/v1/identity/revocations",
                    json!({ "node": "gateway:@", "reason": "x" }),
                    403,
                ),
                ask("POST", "/v1/apply", json!({ "sources": [], "removed": ["Gateway/@"] }), 403),
                ask("POST", "/v1/plan", json!({ "sources": [], "removed": ["Gateway/@"] }), 403),
            ],
        ),
    ]
}

#[test]
fn whether_something_of_others_is_there_is_not_for_whoever_has_no_right_at_it() {
    let plane = Plane::new(|_| ());
    let registry = plane.registry("data", &[]);
    registry.ready();
    let hidden = guests::brittle().display().to_string();
    let hidden = registry.release_of(&hidden, "hidden/guest", 1, "local-dev");
    registry.did(&["pin", "test/edge", "hidden/guest@1.0.0", "--confirm"]);
    // A change that waits for an agreement, and a rollout.
    registry.release_of(&guests::brittle().display().to_string(), "test/guest", 2, "local-dev");
    registry.pin(2);
    let waits = registry.ask(&["pin", "*", "test/guest@1.0.0", "--allow-older", "--confirm"]);
    assert!(!waits.status.success(), "{}", said(&waits));
    let subject = parsed(&waits)["problem"]["subject"].as_str().unwrap().to_owned();
    registry.release_of(&guests::brittle().display().to_string(), "test/guest", 3, "local-dev");
    let next = ["rollout", "start", "guest-next", "test/guest@3.0.0", "--service", "test/edge"];
    registry.did(&[&next[..], &["--wave", "100:1h"]].concat());
    Caller::token(&plane, &registry, "bob", "hidden/*", &["operate"]);

    let verbs = ["pull", "push", "observe", "operate", "approve"];
    let acme = Caller::token(&plane, &registry, "acme", "acme/*", &verbs);
    let (address, bearer) = registry.admin();
    let admin = Caller { address, bearer };
    for (what, there, gone, all) in questions(&hidden, &subject) {
        for Question { method, path, body, status } in all {
            let send = |caller: &Caller, about: &str| {
                let body = match body.to_string().replace('@', about) {
                    null if null == "null" => Value::Null,
                    text => serde_json::from_str(&text).unwrap(),
                };
                let reply = caller.send(method, &path.replace('@', about), &body);
                (reply.status, reply.body.replace(about, "IT"))
            };
            let (seen, none) = (send(&acme, &there), send(&acme, &gone));
            let question = format!("{what}: {method} {path} {body}");
            assert_eq!(seen, none, "{question} tells them apart");
            assert_eq!(seen.0, status, "{question}: {seen:?}");
            if method == "GET" && !path.contains("/at/") {
                let (seen, none) = (send(&admin, &there), send(&admin, &gone));
                assert_ne!(seen, none, "{question}: who may know learns it");
            }
        }
    }

    // What is offered to all is not hidden, and who has a right learns what is missing.
    let pin = |filter: &str, version: &str| {
        let service = "acme/edge";
        json!({ "service": service, "filter": filter, "version": version, "dryRun": true })
    };
    let rows = [
        (&acme, pin("test/guest", "3.0.0"), 200, "signers"),
        (&acme, pin("test/guest", "7.0.0"), 404, "test/guest:7.0.0 does not exist"),
        (&acme, pin("acme/own", "7.0.0"), 404, "acme/own:7.0.0 does not exist"),
        (&admin, pin("hidden/guest", "7.0.0"), 404, "hidden/guest:7.0.0 does not exist"),
        (&admin, pin("hidden/guest", "1.0.0"), 200, "signers"),
    ];
    for (caller, body, status, words) in rows {
        let reply = caller.send("POST", "/v1/pins", &body);
        assert_eq!(reply.status, status, "{body}: {}", reply.body);
        assert!(reply.body.contains(words), "{body}: {}", reply.body);
    }
}

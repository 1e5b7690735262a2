//! A token that ends while its request about pins is on the way.

use serde_json::{Value, json};
use tamis_e2e::{Reply, held_back, request};

use super::plane::Plane;

const JSON: (&str, &str) = ("content-type", "application/json");

/// The admin of a registry, over its API.
struct Admin {
    address: String,
    bearer: String,
}

impl Admin {
    fn send(&self, method: &str, path: &str, body: &Value) -> Reply {
        let headers = [JSON, ("authorization", self.bearer.as_str())];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        request(&self.address, method, path, &headers, body.as_bytes())
    }

    /// A token for everything; returns how its holder says so.
    fn token(&self, name: &str) -> String {
        let asks = json!({ "name": name, "repositories": ["*"], "verbs": ["observe", "operate"] });
        let made = self.send("POST", "/v1/tokens", &asks);
        assert_eq!(made.status, 200, "{}", made.body);
        format!("Bearer {}", made.json()["token"].as_str().unwrap())
    }

    fn written_by(&self, actor: &str) -> usize {
        let log = self.send("GET", "/v1/log?limit=1000", &Value::Null).json();
        log["entries"].as_array().unwrap().iter().filter(|one| one["actor"] == actor).count()
    }
}

#[test]
fn a_pin_of_a_token_that_ends_while_its_request_comes_is_not_made() {
    let plane = Plane::new(|_| ());
    let registry = plane.registry("data", &[]);
    registry.ready();
    registry.release(2);
    let (address, bearer) = registry.admin();
    let admin = Admin { address, bearer };
    let (all, guest) = ("*", "test/guest");
    let of = |more: Value| {
        let mut body = json!({ "service": all, "filter": guest, "confirm": true });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let begin = json!({
        "name": "next", "filter": guest, "version": "2.0.0", "services": [all],
        "waves": [{ "percent": 100, "bakeMs": 3_600_000 }],
    });
    let reason = json!({ "service": all, "reason": "a test" });
    let rows = [
        ("POST", "/v1/pins", of(json!({ "version": "2.0.0" }))),
        ("POST", "/v1/rollback", of(json!({}))),
        ("POST", "/v1/rollouts", begin),
        ("POST", "/v1/rollouts/next/move", json!({ "action": "abort" })),
        ("POST", "/v1/reassign", reason),
        ("DELETE", "/v1/pins", of(json!({}))),
    ];
    for (at, (method, path, body)) in rows.iter().enumerate() {
        let body = body.to_string();
        let send = |bearer: &str, between: &dyn Fn()| {
            let headers = [JSON, ("authorization", bearer)];
            held_back(&admin.address, method, path, &headers, body.as_bytes(), between)
        };
        let late = format!("late-{at}");
        let token = admin.token(&late);
        let refused = send(&token, &|| {
            let ended = admin.send("DELETE", &format!("/v1/tokens/{late}"), &Value::Null);
            assert_eq!(ended.status, 200, "{}", ended.body);
        });
        assert_eq!(refused.status, 401, "{method} {path}: {}", refused.body);
        assert_eq!(admin.written_by(&late), 0, "{method} {path}");
        let holds = format!("holds-{at}");
        let made = send(&admin.token(&holds), &|| ());
        assert_eq!(made.status, 200, "{method} {path}: {}", made.body);
        assert!(admin.written_by(&holds) > 0, "{method} {path} is a write");
    }
}

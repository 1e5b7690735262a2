//! Who may use, make and end tokens, and what is decided from them.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use tamis_e2e::command;

use super::*;

/// The status of the answer to a head whose body never comes.
fn answer_to_head(
    registry: &Registry,
    method: &str,
    path: &str,
    token: Option<&str>,
    length: usize,
) -> u16 {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(&registry.address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let bearer =
        token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\n{bearer}content-type: application/json\r\n\
         content-length: {length}\r\n\r\n",
        registry.address
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut reply = [0; 12];
    match stream.read_exact(&mut reply) {
        Ok(()) => std::str::from_utf8(&reply).unwrap()[9..].parse().unwrap(),
        Err(_) => 0,
    }
}

#[test]
fn rights_are_decided_from_the_head_and_bodies_that_nobody_may_send_are_not_waited_for() {
    let folder = TempDir::new().unwrap();
    let observer = token(folder.path(), &[], "observer", "acme/*", &["observe"]);
    let operator = token(folder.path(), &[], "worker", "acme/*", &["operate"]);
    let registry = Registry::start(folder.path(), &[]);
    let large = 60_000_000;
    let writes = [
        ("POST", "/v1/apply"),
        ("POST", "/v1/pins"),
        ("DELETE", "/v1/pins"),
        ("POST", "/v1/rollback"),
        ("POST", "/v1/approvals"),
        ("POST", "/v1/revocations"),
        ("POST", "/v1/rollouts"),
        ("POST", "/v1/rollouts/x/move"),
        ("POST", "/v1/tokens"),
        ("POST", "/v1/tokens/x/rotate"),
        ("PUT", "/v2/acme/x/manifests/latest"),
        ("POST", "/v2/acme/x/blobs/uploads/"),
        ("PATCH", "/v2/acme/x/blobs/uploads/00000000000000000000000000000000"),
    ];
    for (method, path) in writes {
        assert_eq!(answer_to_head(&registry, method, path, None, large), 401, "{method} {path}");
        let guessed = answer_to_head(&registry, method, path, Some("tamis_guessed"), large);
        assert_eq!(guessed, 401, "{method} {path}");
        let found = answer_to_head(&registry, method, path, Some(&observer), large);
        assert_eq!(found, 403, "{method} {path} by an observer");
    }
    assert_eq!(answer_to_head(&registry, "POST", "/v1/plan", None, large), 401);
    // An authorised caller is told at once that the body is too large.
    for (method, path) in [("POST", "/v1/pins"), ("POST", "/v1/rollback"), ("POST", "/v1/tokens")] {
        for length in [65_537, large] {
            let found = answer_to_head(&registry, method, path, Some(&operator), length);
            assert_eq!(found, 413, "{method} {path} {length}");
        }
    }
    let found = answer_to_head(&registry, "POST", "/v1/apply", Some(&operator), 70_000_000);
    assert_eq!(found, 413);
}

#[test]
fn everything_of_a_registry_is_for_its_owner_alone() {
    let folder = TempDir::new().unwrap();
    let admin = token(folder.path(), &[], "root", "*", &["pull", "push", "operate", "observe"]);
    let registry = Registry::start(folder.path(), &[]);
    assert!(registry.caller(&admin).push("acme/x", "latest", b"layer"));
    assert_eq!(registry.caller(&admin).apply(&seeds()[..1]).status, 200);
    let mut todo = vec![folder.path().join("data")];
    let mut files = 0;
    while let Some(path) = todo.pop() {
        let metadata = std::fs::metadata(&path).unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        if metadata.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        files += 1;
        // The public halves of keys are for everybody, within a folder that is not.
        let public = path.ends_with("director.json") || path.ends_with("log.pub");
        assert!(public || mode == 0o600, "{} is {mode:o}", path.display());
    }
    assert!(files >= 6, "{files}");
}

#[test]
fn tokens_are_made_listed_renewed_and_ended_from_afar_by_those_who_hold_as_much() {
    let folder = TempDir::new().unwrap();
    let admin = token(folder.path(), &[], "root", "*", &["pull", "push", "operate", "observe"]);
    let acme =
        token(folder.path(), &[], "acme", "acme/*", &["operate", "observe", "pull", "approve"]);
    let second = token(folder.path(), &[], "second", "acme/*", &["approve", "operate"]);
    let registry = Registry::start(folder.path(), &[]);
    let (admin, acme) = (registry.caller(&admin), registry.caller(&acme));
    let asks = |name: &str, place: &str, verb: &str, hours: Option<u64>| json!({ "name": name, "repositories": [place], "verbs": [verb], "hours": hours });
    for (place, verb) in [
        ("shop/*", "pull"),
        ("*", "pull"),
        ("acme/*", "push"),
        ("acme/*", "approve"),
        ("mesh", "operate"),
    ] {
        let reply = acme.post("/v1/tokens", &asks("more", place, verb, None));
        assert_eq!(reply.status, 403, "{place} {verb}: {}", reply.body);
    }
    let named = acme.post("/v1/tokens", &asks("director", "acme/x", "observe", None));
    assert_eq!(named.status, 400, "the registry's own name: {}", named.body);
    let made = acme.post("/v1/tokens", &asks("acme-ci", "acme/x", "observe", Some(1)));
    assert_eq!(made.status, 200, "{}", made.body);
    let made = made.json();
    assert!(made["expiresMs"].is_u64());
    let first = made["token"].as_str().unwrap().to_owned();
    assert_eq!(registry.caller(&first).get("/v1/pins").status, 200);
    let names = |caller: Caller<'_>| -> Vec<String> {
        let list = caller.get("/v1/tokens").json();
        let all = list.as_array().unwrap().iter();
        all.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(acme), ["acme", "acme-ci", "second"]);
    // A rotated token must not count as the second person of an approval.
    assert_eq!(acme.post("/v1/tokens/second/rotate", &json!({})).status, 403);
    assert_eq!(registry.caller(&second).get("/v1/tokens").status, 200);
    assert!(!admin.get("/v1/tokens").body.contains("tamis_"));
    let renewed = acme.post("/v1/tokens/acme-ci/rotate", &json!({ "hours": 2 })).json();
    assert_eq!(registry.caller(&first).get("/v1/pins").status, 401);
    let second = renewed["token"].as_str().unwrap().to_owned();
    assert_eq!(registry.caller(&second).get("/v1/pins").status, 200);
    assert_eq!(acme.send("DELETE", "/v1/tokens/root", &[], b"").status, 404);
    assert_eq!(acme.send("DELETE", "/v1/tokens/acme-ci", &[], b"").status, 200);
    assert_eq!(registry.caller(&second).get("/v1/pins").status, 401);
}

/// Whoever has named a registry once, by the variable, does not make tokens of another in a new folder.
#[test]
fn the_registry_whose_tokens_are_managed_is_the_one_that_is_named() {
    let folder = TempDir::new().unwrap();
    let admin = token(folder.path(), &[], "root", "*", &["pull", "operate", "observe"]);
    let registry = Registry::start(folder.path(), &[]);
    let url = format!("http://{}", registry.address);
    let create = ["create", "ci", "--repository", "acme/*", "--verb", "pull"];
    let list = ["list"];
    let named = ["list", "--registry", url.as_str()];
    let kept = ["list", "--data", "data"];
    let both = ["list", "--registry", url.as_str(), "--data", "data"];
    let elsewhere = ["list", "--data", "nowhere"];
    let rotate = ["rotate", "ci", "--data", "nowhere"];
    let revoke = ["revoke", "ci", "--data", "nowhere"];
    let rows: [(&[&str], bool, Result<&str, &str>); 12] = [
        (&list, true, Ok("root")),
        (&named, false, Ok("root")),
        (&kept, false, Ok("root")),
        (&kept, true, Ok("root")),
        (&create, true, Ok("tamis_")),
        (&list, true, Ok("ci")),
        (&both, false, Err("two registries are named")),
        (
            &list,
            false,
            Err("no registry is named, and .tamis/registry has none; name one: --registry"),
        ),
        (&create, false, Err("no registry is named")),
        (&elsewhere, true, Err("nowhere has no registry")),
        (&rotate, true, Err("nowhere has no registry")),
        (&revoke, true, Err("nowhere has no registry")),
    ];
    for (arguments, by_variable, expected) in rows {
        let mut command = command(folder.path(), &["registry", "token"]);
        command.args(arguments).env("TAMIS_TOKEN", &admin);
        if by_variable {
            command.env("TAMIS_REGISTRY", &url);
        }
        let done = command.output().unwrap();
        let (out, err) =
            (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        match expected {
            Ok(part) => {
                assert!(done.status.success() && out.contains(part), "{arguments:?}: {out}{err}");
            }
            Err(part) => {
                assert!(!done.status.success() && err.contains(part), "{arguments:?}: {out}{err}");
            }
        }
        assert!(!folder.path().join(".tamis").exists(), "{arguments:?} made a registry");
        assert!(!folder.path().join("nowhere").exists(), "{arguments:?} made a registry");
    }
}

#[test]
fn nobody_agrees_with_himself_by_another_token_or_after_a_restart() {
    let folder = TempDir::new().unwrap();
    let shop = token(folder.path(), &[], "shop", "shop/*", &ALL);
    let other = token(folder.path(), &[], "shop-too", "shop/*", &["approve", "operate"]);
    let arguments = ["--approvals", "1"];
    let own = document(
        "Service",
        "shop",
        "own",
        json!({ "ports": [{ "port": 80, "protocol": "http" }] }),
    );
    let registry = Registry::start(folder.path(), &arguments);
    let made = registry.caller(&shop).post(
        "/v1/tokens",
        &json!({ "name": "shop-ci", "repositories": ["shop/*"], "verbs": ["operate"] }),
    );
    assert_eq!(made.status, 200, "{}", made.body);
    let child = made.json()["token"].as_str().unwrap().to_owned();
    // Asked for by what one made oneself.
    let asked = registry.caller(&child).apply(std::slice::from_ref(&own));
    assert_eq!(asked.status, 409, "{}", asked.body);
    let subject = json!({ "subject": asked.json()["subject"] });
    let agreed = registry.caller(&shop).post("/v1/approvals", &subject);
    assert_eq!(agreed.status, 409, "{}", agreed.body);
    assert_eq!(agreed.json()["refusals"][0]["code"], "approval.own");
    registry.stop();
    // Who asked is in the journal: another process knows it too.
    let registry = Registry::start(folder.path(), &arguments);
    let (shop, other, child) =
        (registry.caller(&shop), registry.caller(&other), registry.caller(&child));
    assert_eq!(shop.post("/v1/approvals", &subject).status, 409);
    assert_eq!(shop.apply(std::slice::from_ref(&own)).status, 409);
    assert_eq!(shop.post("/v1/approvals", &subject).status, 409, "both tokens are one person");
    // Somebody else asks too, so that it may be agreed to; for the same person it still does not count.
    assert_eq!(other.apply(std::slice::from_ref(&own)).status, 409);
    assert_eq!(shop.post("/v1/approvals", &subject).status, 200);
    for caller in [shop, child] {
        let refused = caller.apply(std::slice::from_ref(&own));
        assert_eq!(refused.status, 409, "{}", refused.body);
    }
    let applied = other.apply(&[own]);
    assert_eq!(applied.status, 200, "{}", applied.body);
    // An agreement is used up: the same change again asks again.
    assert_eq!(other.apply_with(&[], &[], &["Service/shop/own"]).status, 409);
}

#[test]
fn nobody_agrees_by_a_token_that_he_renewed_or_in_the_name_of_one_that_is_gone() {
    let folder = TempDir::new().unwrap();
    let ada = token(folder.path(), &[], "ada", "shop/*", &["approve", "operate", "observe"]);
    token(folder.path(), &[], "bob", "shop/*", &["operate", "observe"]);
    let eve = token(folder.path(), &[], "eve", "shop/*", &["approve"]);
    let arguments = ["--approvals", "1"];
    let registry = Registry::start(folder.path(), &arguments);
    let service = |name: &str| {
        document("Service", "shop", name, json!({ "ports": [{ "port": 80, "protocol": "http" }] }))
    };
    let renewed = registry.caller(&ada).post("/v1/tokens/bob/rotate", &json!({}));
    assert_eq!(renewed.status, 200, "{}", renewed.body);
    let bob = renewed.json()["token"].as_str().unwrap().to_owned();
    let (first, second) = (service("first"), service("second"));
    let asked = registry.caller(&bob).apply(std::slice::from_ref(&first));
    assert_eq!(asked.status, 409, "{}", asked.body);
    let subject = json!({ "subject": asked.json()["subject"] });
    let agreed = registry.caller(&ada).post("/v1/approvals", &subject);
    assert_eq!(agreed.status, 409, "she has the secret of who asked: {}", agreed.body);
    assert_eq!(registry.caller(&bob).apply(&[first]).status, 409);
    // Somebody agrees and goes; another gets the name.
    let asked = registry.caller(&ada).apply(std::slice::from_ref(&second));
    let subject = json!({ "subject": asked.json()["subject"] });
    assert_eq!(registry.caller(&eve).post("/v1/approvals", &subject).status, 200);
    registry.stop();
    let revoke = ["registry", "token", "revoke", "eve", "--data", "data"];
    assert!(command(folder.path(), &revoke).status().unwrap().success());
    token(folder.path(), &[], "eve", "shop/*", &["approve"]);
    let registry = Registry::start(folder.path(), &arguments);
    let applied = registry.caller(&ada).apply(&[second]);
    assert_eq!(applied.status, 409, "{}", applied.body);
}

#[test]
fn no_token_outlives_the_one_that_made_it() {
    let folder = TempDir::new().unwrap();
    let admin = token(folder.path(), &[], "root", "*", &ALL);
    let acme = token(folder.path(), &[], "acme", "acme/*", &["operate", "observe"]);
    let registry = Registry::start(folder.path(), &[]);
    let admin = registry.caller(&admin);
    let make = |by: &str, name: &str| -> String {
        let asks =
            json!({ "name": name, "repositories": ["acme/*"], "verbs": ["operate", "observe"] });
        let made = registry.caller(by).post("/v1/tokens", &asks);
        assert_eq!(made.status, 200, "{}", made.body);
        made.json()["token"].as_str().unwrap().to_owned()
    };
    let child = make(&acme, "acme-child");
    let grandchild = make(&child, "acme-child-too");
    let renewed =
        registry.caller(&grandchild).post("/v1/tokens/acme-child-too/rotate", &json!({})).json();
    let renewed = renewed["token"].as_str().unwrap().to_owned();
    let opens = |token: &str| registry.caller(token).get("/v1/pins").status;
    assert_eq!([&acme, &child, &renewed].map(|it| opens(it)), [200; 3]);
    assert_eq!(admin.send("DELETE", "/v1/tokens/acme", &[], b"").status, 200);
    assert_eq!([&acme, &child, &grandchild, &renewed].map(|it| opens(it)), [401; 4]);
    // The name given again is somebody new, to whom nothing goes back.
    let again = make(admin.token.unwrap(), "acme");
    assert_eq!((opens(&again), opens(&child)), (200, 401));
}

/// Two tokens that rotate each other go back to whoever made them, however often they do.
#[test]
fn no_token_shakes_off_the_one_that_it_was_made_by() {
    let folder = TempDir::new().unwrap();
    let admin = token(folder.path(), &[], "root", "*", &ALL);
    let mallory =
        token(folder.path(), &[], "mallory", "acme/*", &["operate", "approve", "observe"]);
    let second = token(folder.path(), &[], "second", "acme/*", &["approve"]);
    let registry = Registry::start(folder.path(), &["--approvals", "1"]);
    let secret = |reply: Reply| -> String {
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.json()["token"].as_str().unwrap().to_owned()
    };
    let make = |name: &str| {
        let asks =
            json!({ "name": name, "repositories": ["acme/*"], "verbs": ["operate", "observe"] });
        secret(registry.caller(&mallory).post("/v1/tokens", &asks))
    };
    let rotate = |by: &str, name: &str| {
        secret(registry.caller(by).post(&format!("/v1/tokens/{name}/rotate"), &json!({})))
    };
    let (mut one, mut two) = (make("mallory-a"), make("mallory-b"));
    for _ in 0..2 {
        two = rotate(&one, "mallory-b");
        one = rotate(&two, "mallory-a");
    }
    for (at, asker) in [&one, &two].into_iter().enumerate() {
        let spec = json!({ "ports": [{ "port": 80, "protocol": "http" }] });
        let own = [document("Service", "acme", &format!("own-{at}"), spec)];
        let asked = registry.caller(asker).apply(&own);
        assert_eq!(asked.status, 409, "{}", asked.body);
        let subject = json!({ "subject": asked.json()["subject"] });
        let agreed = registry.caller(&mallory).post("/v1/approvals", &subject);
        assert_eq!(agreed.status, 409, "{}", agreed.body);
        assert_eq!(agreed.json()["refusals"][0]["code"], "approval.own");
        assert_eq!(registry.caller(asker).apply(&own).status, 409);
        // By another person it goes through: it was refused for who approved it.
        assert_eq!(registry.caller(&second).post("/v1/approvals", &subject).status, 200);
        assert_eq!(registry.caller(asker).apply(&own).status, 200);
    }
    let admin = registry.caller(&admin);
    assert_eq!(admin.send("DELETE", "/v1/tokens/mallory", &[], b"").status, 200);
    let opens = |token: &str| registry.caller(token).get("/v1/pins").status;
    assert_eq!([&mallory, &one, &two].map(|it| opens(it)), [401; 3]);
    assert!(!admin.get("/v1/tokens").body.contains("mallory"));
}

#[test]
fn a_tenant_makes_only_so_many_tokens_and_each_stores_nothing_twice() {
    const MOST: usize = 200;
    let folder = TempDir::new().unwrap();
    let admin = token(folder.path(), &[], "root", "*", &ALL);
    let acme = token(folder.path(), &[], "acme", "acme/*", &["operate", "observe"]);
    let registry = Registry::start(folder.path(), &[]);
    let (admin, acme) = (registry.caller(&admin), registry.caller(&acme));
    let asks = |name: &str| json!({ "name": name, "repositories": vec!["acme/*"; 100], "verbs": vec!["operate"; 100] });
    let child = acme.post("/v1/tokens", &asks("acme-0"));
    assert_eq!(child.status, 200, "{}", child.body);
    let child = child.json()["token"].as_str().unwrap().to_owned();
    for number in 1..MOST {
        // Its own tokens make no more of them.
        let (by, name) = if number % 2 == 0 {
            (acme, format!("acme-{number}"))
        } else {
            (registry.caller(&child), format!("acme-0-{number}"))
        };
        let made = by.post("/v1/tokens", &asks(&name));
        assert_eq!(made.status, 200, "{name}: {}", made.body);
    }
    for (by, name) in [(acme, "acme-more"), (registry.caller(&child), "acme-0-more")] {
        let full = by.post("/v1/tokens", &asks(name));
        assert_eq!(full.status, 409, "{}", full.body);
        let problem = full.json();
        assert_eq!(problem["refusals"][0]["code"], "token.no-room");
        assert_eq!(problem["title"], "200 tokens go back to the token \"acme\", which is the most");
        assert!(
            problem["refusals"][0]["remedy"]
                .as_str()
                .unwrap()
                .contains("tamis registry token list")
        );
    }
    let list = acme.get("/v1/tokens").json();
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), MOST + 1);
    for one in list.iter().filter(|one| one["name"] != "acme") {
        assert_eq!(
            (&one["repositories"], &one["verbs"]),
            (&json!(["acme/*"]), &json!(["operate"]))
        );
    }
    // Whoever has everything makes tokens for others, and one that ends makes room.
    assert_eq!(admin.post("/v1/tokens", &asks("of-root")).status, 200);
    assert_eq!(acme.send("DELETE", "/v1/tokens/acme-2", &[], b"").status, 200);
    assert_eq!(acme.post("/v1/tokens", &asks("acme-more")).status, 200);
    for (field, times) in [("repositories", 101), ("verbs", 101), ("verbs", 0)] {
        let mut request = asks("acme-bad");
        let word = if field == "verbs" { "operate" } else { "acme/*" };
        request[field] = json!(vec![word; times]);
        assert_eq!(acme.post("/v1/tokens", &request).status, 400, "{times} {field}");
    }
    assert_eq!(admin.send("DELETE", "/v1/tokens/acme", &[], b"").status, 200);
    assert_eq!(admin.get("/v1/tokens").json().as_array().unwrap().len(), 2);
}

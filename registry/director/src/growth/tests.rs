use serde_json::{Value, json};
use tamis_trust::PrivateKey;

use crate::fixture::{World, applied, document, removed};
use crate::record::AppliedDocument;

fn grant(spec: &Value) -> AppliedDocument {
    let mut spec = spec.clone();
    spec["filter"] = json!("acme/x");
    document("Grant", "security/x", &spec)
}

fn grown(world: &World, document: AppliedDocument) -> Vec<String> {
    let grown = world.state.growth(&applied([document])).unwrap();
    grown.into_iter().map(|(_, what)| what).collect()
}

#[test]
fn a_grant_that_allows_more_grows_and_one_that_allows_less_does_not() {
    let before = json!({
        "signedBy": { "keys": ["k", "l"], "threshold": 2 },
        "request": { "readHeaders": ["a", "b"], "body": "replace" },
        "imports": { "http-client": { "hosts": ["x"], "timeout": "1s" }, "log": {} },
        "limits": { "time": "5ms", "memory": "8MiB" },
    });
    let mut world = World::empty();
    assert!(grown(&world, grant(&before)).is_empty(), "the first is no growth");
    world.append("ada", applied([grant(&before)]));
    for (pointer, value, wanted) in [
        ("/signedBy", Value::Null, Some("signedBy was removed")),
        ("/signedBy/threshold", json!(1), Some("signedBy requires fewer keys")),
        ("/signedBy/keys", json!(["k", "l", "m"]), Some("signedBy m")),
        ("/request/readHeaders", json!(["a"]), None),
        ("/request/readHeaders", json!(["a", "c"]), Some("request.readHeaders c")),
        ("/request/writeHeaders", json!(["*"]), Some("request.writeHeaders *")),
        ("/request/body", json!("none"), None),
        ("/response", json!({ "body": "replace" }), Some("response.body")),
        ("/imports/http-client/hosts", json!([]), None),
        ("/imports/http-client/hosts", json!(["x", "y"]), Some("imports.http-client.hosts y")),
        ("/imports/http-client/timeout", json!("500ms"), None),
        ("/imports/http-client/timeout", json!("2s"), Some("imports.http-client.timeout")),
        (
            "/imports/http-client/duringRequests",
            json!(true),
            Some("imports.http-client.duringRequests"),
        ),
        ("/imports/http-client/duringRequests", json!(false), None),
        ("/imports/crypto", json!({}), Some("imports.crypto")),
        ("/imports/log/perSecond", json!(1000), Some("imports.log.perSecond")),
        ("/imports", json!({}), None),
        ("/limits/time", json!("4ms"), None),
        ("/limits/time", json!("6ms"), Some("limits.time")),
        ("/limits/memory", json!("16MiB"), Some("limits.memory")),
        ("/limits/configure", json!("3s"), Some("limits.configure")),
    ] {
        let mut after = before.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        if after.pointer(parent).is_none() {
            after[parent.trim_start_matches('/')] = json!({});
        }
        let parent = after.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            parent.remove(name);
        } else {
            parent.insert(name.to_owned(), value.clone());
        }
        let found = grown(&world, grant(&after));
        assert_eq!(
            found,
            wanted.map(str::to_owned).into_iter().collect::<Vec<_>>(),
            "{pointer} {value}"
        );
    }
}

#[test]
fn a_grant_taken_out_and_put_back_wider_has_grown() {
    let mut world = World::empty();
    world.append("ada", applied([grant(&json!({ "imports": { "log": {} } }))]));
    world.append("ada", removed("Grant/security/x"));
    assert_eq!(grown(&world, grant(&json!({ "imports": { "crypto": {} } }))), ["imports.crypto"]);
    assert!(grown(&world, grant(&json!({}))).is_empty());
}

#[test]
fn a_trust_policy_that_believes_more_grows_and_one_that_believes_less_does_not() {
    let pem = || PrivateKey::generate().unwrap().public_key().to_pem();
    let (one, two, three) = (pem(), pem(), pem());
    let keys = |keys: &[&String]| -> Value {
        let keys = keys.iter().enumerate();
        keys.map(|(at, key)| json!({ "name": format!("k{at}"), "publicKey": key })).collect()
    };
    let digest = format!("sha256:{}", "a".repeat(64));
    let spec = json!({
        "namespaces": ["*"], "keys": keys(&[&one, &two]), "threshold": 2,
        "floorVersions": { "acme/x": "1.2.0" }, "revokedDigests": [digest], "revokedKeys": ["k1"],
        "stalenessBound": "1h",
    });
    let policy =
        |name: &str, spec: &Value| document("TrustPolicy", &format!("security/{name}"), spec);
    let mut world = World::empty();
    assert!(grown(&world, policy("x", &spec)).is_empty(), "the first is no growth");
    world.append("ada", applied([policy("x", &spec)]));
    for (member, value, grows) in [
        ("keys", keys(&[&one, &two]), false),
        ("keys", keys(&[&one, &two, &three]), true),
        ("keys", keys(&[&one, &three]), true),
        ("threshold", json!(1), true),
        ("floorVersions", json!({}), true),
        ("floorVersions", json!({ "acme/x": "1.1.0" }), true),
        ("floorVersions", json!({ "acme/x": "1.3.0" }), false),
        ("revokedDigests", json!([]), true),
        ("revokedKeys", json!([]), true),
        ("revokedKeys", json!([{ "key": "k1", "fromIndex": 3 }]), true),
        ("revokedKeys", json!(["k1", "k0"]), false),
        ("stalenessBound", json!("2h"), true),
        ("stalenessBound", json!("30m"), false),
    ] {
        let mut after = spec.clone();
        after[member] = value.clone();
        assert_eq!(!grown(&world, policy("x", &after)).is_empty(), grows, "{member} {value}");
    }
    // A more specific policy takes a filter away from the one that decided before.
    let mut closer = spec.clone();
    closer["namespaces"] = json!(["acme/*"]);
    closer["keys"] = keys(&[&three]);
    closer["threshold"] = json!(1);
    closer["revokedKeys"] = json!([]);
    assert!(!grown(&world, policy("y", &closer)).is_empty());
    // Trusting no key any more is not growth; trusting one again is.
    assert!(world.state.growth(&removed("TrustPolicy/security/x")).unwrap().is_empty());
    world.append("ada", removed("TrustPolicy/security/x"));
    assert!(!grown(&world, policy("x", &spec)).is_empty());
}

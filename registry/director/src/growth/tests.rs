use serde_json::{Value, json};
use tamis_trust::PrivateKey;

use crate::fixture::{World, applied, document, removed};
use crate::record::{ApplyRecord, DocumentRecord};
use crate::state::State;

fn grant(spec: &Value) -> DocumentRecord {
    let mut spec = spec.clone();
    spec["filter"] = json!("acme/x");
    document("Grant", "security/x", &spec)
}

fn grown(world: &World, document: DocumentRecord) -> Vec<String> {
    let grown = world.state.growth(&applied([document])).unwrap();
    grown.into_iter().map(|(_, what)| what).collect()
}

#[test]
fn a_grant_that_allows_more_grows_and_one_that_allows_less_does_not() {
    let before = json!({
        "signedBy": { "keys": ["k", "l"], "threshold": 2 },
        "request": { "readHeaders": ["a", "b"], "body": "replace" },
        "imports": { "http-client": { "hosts": ["x"], "timeout": "1s" }, "log": {}, "counters": {} },
        "limits": { "time": "5ms", "memory": "8MiB" },
    });
    let mut world = World::guarded();
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
        ("/imports/counters/scope", json!("proxy"), None),
        ("/imports/counters/scope", json!("fleet"), Some("imports.counters.scope")),
        ("/imports", json!({}), None),
        // What is bounded no longer by what was written has its default, which may be more.
        ("/limits/time", Value::Null, Some("limits.time, which has its default again")),
        (
            "/imports/http-client/timeout",
            Value::Null,
            Some("imports.http-client.timeout, which has its default again"),
        ),
        ("/imports/http-client", Value::Null, None),
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
fn a_sidecar_that_is_the_service_for_the_whole_network_grows() {
    let service = |listens: &Value| {
        let mut endpoint = json!({ "address": "127.0.0.1:1", "sidecar": "10.0.0.1:2" });
        for (field, value) in listens.as_object().unwrap() {
            endpoint[field] = value.clone();
        }
        let ports = json!([{ "port": 80, "protocol": "http" }]);
        let spec = json!({ "ports": ports, "identity": "spiffe://m/ns/shop/pay", "endpoints": [endpoint] });
        document("Service", "shop/pay", &spec)
    };
    let tcp = |address: &str| json!({ "outboundTcp": [{ "address": address, "name": "db.shop", "port": 5432 }] });
    let own = json!({ "outbound": "127.0.0.1:15001" });
    // Before, after, and which field of after is more; `None` as what is before: there is no such Service.
    for (before, after, grows) in [
        (None, own.clone(), None),
        (None, json!({ "outbound": "10.0.0.1:15001" }), None),
        (None, json!({ "outbound": "0.0.0.0:15001" }), Some("outbound: 0.0.0.0:15001")),
        (Some(own.clone()), json!({ "outbound": "[::]:15001" }), Some("outbound: [::]:15001")),
        (
            Some(own.clone()),
            json!({ "outbound": "[::ffff:0.0.0.0]:15001" }),
            Some("outbound: [::ffff:0.0.0.0]:15001"),
        ),
        (Some(own.clone()), tcp("0.0.0.0:5432"), Some("outboundTcp: 0.0.0.0:5432")),
        (Some(own.clone()), tcp("127.0.0.1:5432"), None),
        (
            Some(json!({ "outbound": "0.0.0.0:15001" })),
            json!({ "outbound": "0.0.0.0:15001" }),
            None,
        ),
        (Some(json!({ "outbound": "0.0.0.0:15001" })), own.clone(), None),
        (
            Some(json!({ "outbound": "0.0.0.0:15001" })),
            json!({ "outbound": "0.0.0.0:15002" }),
            Some("outbound: 0.0.0.0:15002"),
        ),
    ] {
        let mut world = World::guarded();
        if let Some(before) = &before {
            world.append("ada", applied([service(before)]));
        }
        let found = world.state.growth(&applied([service(&after)])).unwrap();
        let wanted: Vec<_> = grows.into_iter().collect();
        assert_eq!(found.len(), wanted.len(), "{before:?} {after}: {found:?}");
        for ((what, more), wanted) in found.iter().zip(wanted) {
            assert_eq!(what, "Service shop/pay");
            assert!(more.contains(wanted), "{after}: {more}");
        }
    }
}

#[test]
fn a_service_that_takes_plain_text_grows_and_one_that_takes_it_no_longer_does_not() {
    let service = |mtls: Option<&str>, port: u16| {
        let mut spec = json!({
            "ports": [{ "port": port, "protocol": "http" }], "identity": "spiffe://m/ns/shop/pay",
            "endpoints": [{ "address": "127.0.0.1:1", "sidecar": "127.0.0.1:2" }],
        });
        if let Some(mtls) = mtls {
            spec["mtls"] = json!(mtls);
        }
        document("Service", "shop/pay", &spec)
    };
    let what = (
        "Service shop/pay".to_owned(),
        "plain text of callers without an identity (mtls: permissive)".to_owned(),
    );
    // Before, after, and whether that is more; `None` as what is before: there is no such Service.
    for (before, after, grows) in [
        (None, None, false),
        (None, Some("strict"), false),
        (None, Some("permissive"), true),
        (Some(None), Some("permissive"), true),
        (Some(Some("strict")), Some("permissive"), true),
        (Some(Some("permissive")), Some("permissive"), false),
        (Some(Some("permissive")), Some("strict"), false),
        (Some(Some("permissive")), None, false),
    ] {
        let mut world = World::guarded();
        if let Some(before) = before {
            world.append("ada", applied([service(before, 80)]));
        }
        let found = world.state.growth(&applied([service(after, 81)])).unwrap();
        let wanted = if grows { vec![what.clone()] } else { Vec::new() };
        assert_eq!(found, wanted, "{before:?} {after:?}");
    }
    // Who takes it out and puts it back needs agreement again.
    let mut world = World::guarded();
    world.append("ada", applied([service(Some("permissive"), 80)]));
    assert!(world.state.growth(&removed("Service/shop/pay")).unwrap().is_empty());
    world.append("ada", removed("Service/shop/pay"));
    assert_eq!(grown(&world, service(Some("permissive"), 80)), [what.1]);
}

#[test]
fn a_grant_taken_out_and_put_back_wider_has_grown() {
    let mut world = World::guarded();
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
    let mut world = World::guarded();
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
    // Whatever closer policies decide meanwhile, a pattern is judged by names that no other decides about.
    let mut shadows =
        vec!["any-0/*".to_owned(), "any-1/any-1".to_owned(), "zz-any/zz-any".to_owned()];
    for pattern in ["*", "acme/*", "acme/deep/*"] {
        let base = pattern.trim_end_matches('*');
        shadows.extend(
            (0..3).map(|number| format!("{base}any-{number}")).filter(|it| it.contains('/')),
        );
        let mut shadowed = World::guarded();
        let mut believed = spec.clone();
        believed["namespaces"] = json!([pattern]);
        shadowed.append("ada", applied([policy("x", &believed)]));
        let mut shadow = spec.clone();
        shadow["namespaces"] = json!(shadows);
        believed["keys"] = keys(&[&three, &two]);
        let both = applied([policy("x", &believed), policy("shadow", &shadow)]);
        let found = shadowed.state.growth(&both).unwrap();
        assert!(found.iter().any(|(about, _)| about == pattern), "{pattern}: {found:?}");
    }
    // Trusting no key any more is not growth; trusting one again is.
    assert!(world.state.growth(&removed("TrustPolicy/security/x")).unwrap().is_empty());
    world.append("ada", removed("TrustPolicy/security/x"));
    assert!(!grown(&world, policy("x", &spec)).is_empty());
}

#[test]
fn a_grant_of_a_tenant_decides_nothing_and_asks_for_agreement_when_it_takes_away_less() {
    let mut world = World::guarded();
    let whole = json!({ "filter": "acme/x", "imports": { "log": {}, "crypto": {} } });
    let (less, none) = (
        json!({ "filter": "acme/x", "imports": { "log": {} } }),
        json!({ "filter": "acme/x", "imports": {} }),
    );
    let own = |spec: &Value| document("Grant", "shop/x", spec);
    // One that says everything, in force before and after: it adds nothing, and security's is compared with security's.
    let all = json!({ "filter": "acme/x", "imports": { "log": {}, "crypto": {}, "kv": {} }, "limits": { "time": "9s" } });
    assert!(grown(&world, own(&all)).is_empty());
    world.append("ada", applied([document("Grant", "security/x", &less)]));
    world.append("ben", applied([own(&all)]));
    assert_eq!(grown(&world, document("Grant", "security/x", &whole)), ["imports.crypto"]);
    world.append("ben", removed("Grant/shop/x"));
    world.append("ada", removed("Grant/security/x"));
    assert_eq!(grown(&world, document("Grant", "security/x", &whole)), ["imports.crypto"]);
    world.append("ada", applied([document("Grant", "security/x", &whole)]));
    // To take away is nobody else's business; to give back what was taken away is.
    assert!(grown(&world, own(&less)).is_empty());
    world.append("ben", applied([own(&less)]));
    assert!(grown(&world, own(&none)).is_empty());
    assert_eq!(grown(&world, own(&whole)), ["imports.crypto, where shop attaches it"]);
    let gone = world.state.growth(&removed("Grant/shop/x")).unwrap();
    assert_eq!(gone.len(), 1, "{gone:?}");
}

#[test]
fn a_trust_policy_of_a_tenant_decides_nothing_and_asks_for_agreement_when_it_asks_for_less() {
    let pem = || PrivateKey::generate().unwrap().public_key().to_pem();
    let (one, two) = (pem(), pem());
    let spec = |patterns: &[&str], keys: &[&String], threshold: u32| {
        let keys: Vec<Value> = keys
            .iter()
            .enumerate()
            .map(|(at, key)| json!({ "name": format!("k{at}"), "publicKey": key }))
            .collect();
        json!({ "namespaces": patterns, "keys": keys, "threshold": threshold })
    };
    let mut world = World::guarded();
    world
        .append("ada", applied([document("TrustPolicy", "security/x", &spec(&["*"], &[&one], 1))]));
    let own = |spec: &Value| document("TrustPolicy", "acme/x", spec);
    let strict = spec(&["acme/*"], &[&one, &two], 2);
    // Closer than security's, and it decides nothing.
    assert!(grown(&world, own(&spec(&["acme/x"], &[&two], 1))).is_empty());
    world.append("ben", applied([own(&strict)]));
    for (after, grows) in [
        (spec(&["acme/*"], &[&one, &two], 2), false),
        (spec(&["acme/*"], &[&one, &two], 1), true),
        (spec(&["acme/*"], &[&one], 1), true),
        (spec(&["acme/y"], &[&one, &two], 2), true),
    ] {
        assert_eq!(!grown(&world, own(&after)).is_empty(), grows, "{after}");
    }
    assert!(!world.state.growth(&removed("TrustPolicy/acme/x")).unwrap().is_empty());
}

#[test]
fn a_grant_that_gave_way_to_another_is_no_measure_whichever_namespace_it_was_in() {
    let (wide, narrow) = (json!({ "imports": { "log": {}, "crypto": {} } }), json!({}));
    let grant = |space: &str, spec: &Value| {
        let mut spec = spec.clone();
        spec["filter"] = json!("acme/x");
        document("Grant", &format!("{space}/x"), &spec)
    };
    for (first, second, third) in [
        ("security", "sec2", "sec2"),
        ("security", "sec2", "security"),
        ("security", "security", "sec2"),
        ("sec2", "security", "security"),
    ] {
        let spaces = ["security".to_owned(), "sec2".to_owned()];
        let mut world = World { state: State::under(&spaces), ..World::guarded() };
        world.append("ada", applied([grant(first, &wide)]));
        // In one change, so that there is always one.
        let mut replaced = applied([grant(second, &narrow)]);
        if first != second {
            replaced.removed = vec![format!("Grant/{first}/x")];
        }
        world.append("ada", replaced);
        world.append("ada", removed(&format!("Grant/{second}/x")));
        assert!(grown(&world, grant(third, &narrow)).is_empty(), "{first} {second} {third}");
        let found = grown(&world, grant(third, &wide));
        assert_eq!(found, ["imports.log", "imports.crypto"], "{first} {second} {third}");
    }
    // Two that were taken out together were in force together.
    let spaces = ["security".to_owned(), "sec2".to_owned()];
    let mut world = World { state: State::under(&spaces), ..World::guarded() };
    world.append("ada", applied([grant("security", &wide), grant("sec2", &narrow)]));
    let both = vec!["Grant/security/x".to_owned(), "Grant/sec2/x".to_owned()];
    world.append("ada", ApplyRecord { removed: both, ..ApplyRecord::default() });
    assert!(grown(&world, grant("sec2", &wide)).is_empty());
}

#[test]
fn no_key_takes_the_name_by_which_a_grant_asks_for_another_without_agreement() {
    let pem = || PrivateKey::generate().unwrap().public_key().to_pem();
    let (one, two) = (pem(), pem());
    let policy = |patterns: &[&str], keys: &[(&str, &String)]| {
        let keys: Vec<Value> =
            keys.iter().map(|(name, key)| json!({ "name": name, "publicKey": key })).collect();
        let spec = json!({ "namespaces": patterns, "keys": keys, "threshold": 1 });
        document("TrustPolicy", &format!("security/{}", patterns[0].len()), &spec)
    };
    let before = [("lead", &one), ("junior", &two)];
    let asks = |name: &str| grant(&json!({ "signedBy": { "keys": [name] } }));
    // Where the grant asks for `lead`: a later policy, and whether it is more.
    type Row<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a String)], bool);
    let rows: [Row<'_>; 8] = [
        ("the same, in another order", &["*"], &[("junior", &two), ("lead", &one)], false),
        ("names exchanged", &["*"], &[("lead", &two), ("junior", &one)], true),
        ("a name twice", &["*"], &[("lead", &one), ("lead", &two)], false),
        ("the name alone", &["*"], &[("lead", &two)], true),
        ("a name that nobody asks for", &["*"], &[("lead", &one), ("trainee", &two)], false),
        ("a name gone", &["*"], &[("former", &one), ("junior", &two)], false),
        ("a closer policy", &["acme/*"], &[("lead", &two), ("junior", &one)], true),
        ("a closer policy with the same", &["acme/*"], &[("lead", &one), ("junior", &two)], false),
    ];
    for (what, patterns, keys, grows) in rows {
        let mut world = World::guarded();
        world.append("ada", applied([policy(&["*"], &before), asks("lead")]));
        let found = grown(&world, policy(patterns, keys));
        assert_eq!(!found.is_empty(), grows, "{what}: {found:?}");
        // A grant that is away for a moment asks again when it is back.
        world.append("ada", removed("Grant/security/x"));
        let found = grown(&world, policy(patterns, keys));
        assert_eq!(!found.is_empty(), grows, "{what}, without the grant: {found:?}");
    }
    // In two steps it is the second one.
    let mut world = World::guarded();
    world.append("ada", applied([policy(&["*"], &before), asks("lead")]));
    world.append("ada", applied([policy(&["*"], &[("former", &one), ("junior", &two)])]));
    let found = grown(&world, policy(&["*"], &[("former", &one), ("lead", &two)]));
    assert_eq!(found, ["key lead, by which grants ask for another one"]);
    // Nobody asked for any.
    let mut world = World::guarded();
    world.append("ada", applied([policy(&["*"], &before)]));
    assert!(grown(&world, policy(&["*"], &[("lead", &two), ("junior", &one)])).is_empty());
}

#[test]
fn a_star_covers_the_names_that_it_means_and_no_others() {
    /// The lists of a view.
    const ALL: [&str; 6] = [
        "readHeaders",
        "writeHeaders",
        "readTrailers",
        "writeTrailers",
        "attributes",
        "writeAttributes",
    ];
    const HEADERS: &[&str] = &["readHeaders", "writeHeaders"];
    const WRITTEN: &[&str] = &["writeHeaders"];
    const NAMES: &[&str] = &["readHeaders", "writeHeaders", "readTrailers", "writeTrailers"];
    // Before, after, and the lists in which that is more.
    for (before, after, grows) in [
        (json!(["*"]), json!(["x-team"]), &[][..]),
        (json!(["*"]), json!(["x-team", "x-user", "*"]), &[]),
        (json!(["*"]), json!([]), &[]),
        (json!(["*"]), json!(["*", "x-forwarded-for"]), WRITTEN),
        (json!(["*"]), json!(["x-team", "via"]), WRITTEN),
        // In any spelling of the host's names.
        (json!(["*"]), json!(["Via"]), WRITTEN),
        (json!(["*"]), json!(["x_forwarded_for"]), WRITTEN),
        (json!(["*"]), json!(["X-Tamis-Peer"]), WRITTEN),
        (json!(["*"]), json!(["*", ":path"]), HEADERS),
        (json!(["*", "via"]), json!(["*"]), &[]),
        (json!(["*", "via"]), json!(["VIA", "x-team"]), &[]),
        (json!(["a", "b"]), json!(["b"]), &[]),
        (json!(["a"]), json!(["*"]), &ALL),
        // Headers and trailers have no case, and attributes have.
        (json!(["x-team"]), json!(["X-Team"]), &["attributes", "writeAttributes"]),
        (json!(["team"]), json!(["@team"]), NAMES),
        // There are no stars behind a beginning: such a name is one name, which nothing has.
        (json!(["*"]), json!(["x-team-*"]), &[]),
        (json!(["*"]), json!(["x-forwarded-*"]), WRITTEN),
        (json!(["x-team-*"]), json!(["x-team-a"]), &ALL),
        (json!(["x-*"]), json!(["*"]), &ALL),
        (json!(["**"]), json!(["x-team"]), &ALL),
    ] {
        for (side, field) in ["request", "response"].iter().flat_map(|s| ALL.map(|f| (s, f))) {
            let spec = |names: &Value| grant(&json!({ *side: { field: names } }));
            let mut world = World::guarded();
            world.append("ada", applied([spec(&before)]));
            let found = grown(&world, spec(&after));
            let grows = grows.contains(&field);
            assert_eq!(!found.is_empty(), grows, "{side}.{field} {before} {after}: {found:?}");
        }
    }
}

#[test]
fn a_star_means_nothing_where_names_are_exact() {
    for (capability, field) in [("http-client", "hosts"), ("secrets", "names")] {
        let spec = |name: &str| grant(&json!({ "imports": { capability: { field: [name] } } }));
        let mut world = World::guarded();
        world.append("ada", applied([spec("*")]));
        let wanted = format!("imports.{capability}.{field} shop.example");
        assert_eq!(grown(&world, spec("shop.example")), [wanted], "{capability}.{field}");
    }
}

/// Two authorities of `partner.example`, whose keys nobody has.
const ROOT_A: &str = "\
-----BEGIN CERTIFICATE-----
MIIB5zCCAY2gAwIBAgIUVrLNE36IKTs1Hf8ixC1+4opkP64wCgYIKoZIzj0EAwIw
KzEYMBYGA1UECgwPcGFydG5lci5leGFtcGxlMQ8wDQYDVQQDDAZyb290LTEwIBcN
MjYxMjAxMTA1MjE4WhgPMjEyNjExMDcxMDUyMThaMCsxGDAWBgNVBAoMD3BhcnRu
ZXIuZXhhbXBsZTEPMA0GA1UEAwwGcm9vdC0xMFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAEOiJodlt+92hOkmDxZf64oX8efztM1AjXaGXtzqnFOIGhupv7TL5Ns+2s
CtM5VsTlTcPE2+XxkfNma1ROlepY+aOBjDCBiTAdBgNVHQ4EFgQUPSR21v5CFuP4
3e1PdcXeQcYZHfAwHwYDVR0jBBgwFoAUPSR21v5CFuP43e1PdcXeQcYZHfAwEgYD
VR0TAQH/BAgwBgEB/wIBATAOBgNVHQ8BAf8EBAMCAQYwIwYDVR0RBBwwGoYYc3Bp
ZmZlOi8vcGFydG5lci5leGFtcGxlMAoGCCqGSM49BAMCA0gAMEUCIQCsMbv5Z7Kt
Ux9KImgQzxFPEv13/SLXQojAHgFwAB9/LQIgIWLt8FZxtRXVRMHBJVGsJqxKCX30
8d0IpdW3sJSsRqo=
-----END CERTIFICATE-----
";
const ROOT_B: &str = "\
-----BEGIN CERTIFICATE-----
MIIB5zCCAY2gAwIBAgIUIXxdvowSn9ZKffiu63sKlAvc71cwCgYIKoZIzj0EAwIw
KzEYMBYGA1UECgwPcGFydG5lci5leGFtcGxlMQ8wDQYDVQQDDAZyb290LTIwIBcN
MjYxMjAxMTA1MjE4WhgPMjEyNjExMDcxMDUyMThaMCsxGDAWBgNVBAoMD3BhcnRu
ZXIuZXhhbXBsZTEPMA0GA1UEAwwGcm9vdC0yMFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAED2bgHEpCyNTMKQEcy8sTNs1fkVenOHSGVVBuObJVnatXF0hvKkq8dhrO
tE2qGNpbIO9qtz86nRK7MJLzBNQE1aOBjDCBiTAdBgNVHQ4EFgQUBfjbZ9qvt3ar
48bbhsAQZUtc9eQwHwYDVR0jBBgwFoAUBfjbZ9qvt3ar48bbhsAQZUtc9eQwEgYD
VR0TAQH/BAgwBgEB/wIBATAOBgNVHQ8BAf8EBAMCAQYwIwYDVR0RBBwwGoYYc3Bp
ZmZlOi8vcGFydG5lci5leGFtcGxlMAoGCCqGSM49BAMCA0gAMEUCIDFZ9qhOkv2s
aFLT0ZL1nh/8OEtGhnM87BMQhmMKAtNiAiEA0lchjbrBLKyigxS27V0k59yi+ffj
cBCkmGwy/Ypk1LM=
-----END CERTIFICATE-----
";

#[test]
fn another_trust_domain_and_another_authority_of_it_grow_and_fewer_do_not() {
    let (one, two) = (ROOT_A, ROOT_B);
    let written = |name: &str, pem: &str| {
        document(
            "FederatedTrustDomain",
            &format!("security/{name}"),
            &json!({ "trustDomain": "partner.example", "bundle": pem }),
        )
    };
    let both = format!("{one}{two}");
    let first = grown(&World::guarded(), written("partner", one));
    assert_eq!(first.len(), 1, "the first is growth: nothing was recognised");
    assert!(first[0].contains("partner.example") && first[0].contains("sha256:"), "{first:?}");
    let mut world = World::guarded();
    world.append("ada", applied([written("partner", one)]));
    for (after, more) in [(one, 0), (&*both, 1), (two, 1)] {
        assert_eq!(grown(&world, written("partner", after)).len(), more, "{after}");
    }
    world.append("ada", applied([written("partner", &both)]));
    assert!(grown(&world, written("partner", two)).is_empty());
    assert!(
        world.state.growth(&removed("FederatedTrustDomain/security/partner")).unwrap().is_empty()
    );
    world.append("ada", removed("FederatedTrustDomain/security/partner"));
    assert_eq!(grown(&world, written("partner", two)).len(), 1, "it comes back");
}

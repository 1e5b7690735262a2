//! Who may write and see documents.

use serde_json::{Value, json};

use super::*;

#[test]
fn a_document_is_written_by_whoever_holds_a_right_to_everything_it_speaks_of_and_nobody_else() {
    let folder = TempDir::new().unwrap();
    let tokens = SPACES.map(|space| {
        (Who::Space(space), token(folder.path(), &[], space, &format!("{space}/*"), &ALL))
    });
    let admin = token(folder.path(), &[], "root", "*", &ALL);
    let growth = ["--growth-approvals", "0"];
    let registry = Registry::start(folder.path(), &growth);
    let admin = registry.caller(&admin);
    let files: Vec<(String, &str)> = SPACES.map(|space| (format!("{space}.json"), "{}")).into();
    let files: Vec<(&str, &str)> =
        files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let seeded = admin.apply_with(&seeds(), &files, &[]);
    assert_eq!(seeded.status, 200, "{}", seeded.body);
    let (mut count, mut passed) = (0, 0);
    for (kind, _) in schemas() {
        for (pattern, rule) in names(kind).unwrap() {
            for (own, far) in
                SPACES.iter().flat_map(|own| SPACES.iter().map(move |far| (*own, *far)))
            {
                let Some(case) = case(kind, &pattern, rule, own, far) else { continue };
                let mut callers: Vec<(Who, Caller<'_>)> =
                    tokens.iter().map(|(who, token)| (*who, registry.caller(token))).collect();
                callers.push((Who::Nobody, registry.anonymous()));
                for (who, caller) in callers {
                    let reply = caller.apply(std::slice::from_ref(&case.document));
                    let holds = |need: &&'static str| who == Who::Space(need);
                    let may = case.needs.as_ref().is_some_and(|needs| needs.iter().all(holds));
                    let wanted = match who {
                        Who::Nobody => 401,
                        Who::Space(_) if case.beyond => 422,
                        Who::Space(_) if may => 200,
                        Who::Space(_) => 403,
                    };
                    let token = match who {
                        Who::Space(space) => space,
                        Who::Nobody => "nobody",
                    };
                    // What is wrong with it is no business of those who have no right to it.
                    let hidden = case.beyond && !may && reply.status == 403;
                    let fits = reply.status == wanted || hidden;
                    assert!(fits, "{} by {token}: {wanted}, {}", case.what, reply.body);
                    count += 1;
                    if wanted == 200 {
                        passed += 1;
                        // Whoever may write it may remove it, and nobody else.
                        let key = format!("{kind}/{own}/example");
                        for (other, token) in tokens.iter().filter(|(other, _)| *other != who) {
                            let gone = registry.caller(token).apply_with(&[], &[], &[&key]);
                            let name = matches!(other, Who::Space(space) if *space == own);
                            assert!(gone.status == 403 || name, "{key}: {}", gone.body);
                        }
                        let gone = caller.apply_with(&[], &[], &[&key]);
                        assert_eq!(gone.status, 200, "{key}: {}", gone.body);
                    }
                }
            }
        }
    }
    assert!(count >= 300 && passed >= 50, "{count} combinations, {passed} of them permitted");
}

#[test]
fn a_token_of_one_namespace_changes_nothing_that_holds_for_others() {
    let folder = TempDir::new().unwrap();
    let acme = token(folder.path(), &[], "acme", "acme/*", &["operate", "observe", "push", "pull"]);
    let mesh = token(folder.path(), &[], "mesher", "mesh", &["operate"]);
    let admin = token(folder.path(), &[], "root", "*", &ALL);
    let registry = Registry::start(folder.path(), &[]);
    let (acme, mesh, admin) =
        (registry.caller(&acme), registry.caller(&mesh), registry.caller(&admin));
    let seeded = admin.apply_with(&seeds(), &[("security.json", "{}"), ("shop.json", "{}")], &[]);
    assert_eq!(seeded.status, 200, "{}", seeded.body);
    let trust = |space: &str| {
        let keys = json!([{ "name": "k", "publicKeyFile": "own.pub" }]);
        let spec = json!({ "namespaces": ["tamis/route"], "keys": keys, "threshold": 1 });
        document("TrustPolicy", space, "x", spec)
    };
    let everywhere = document(
        "FilterAttachment",
        "acme",
        "x",
        json!({ "targetRefs": [{ "kind": "Mesh" }], "filter": "acme/x", "phase": "authn", "order": 5 }),
    );
    let grant =
        |space: &str, filter: &str| document("Grant", space, "x", json!({ "filter": filter }));
    let opens = |space: &str, target: Value| {
        let spec = json!({ "targetRefs": [target], "allow": [{}] });
        document("AuthorizationPolicy", space, "x", spec)
    };
    for (what, reply) in [
        ("a file of others", acme.apply_with(&[], &[("shop.json", "{\"keys\":[]}")], &[])),
        ("a file of security", acme.apply_with(&[], &[("security.json", "{}")], &[])),
        ("the same file of others", acme.apply_with(&[], &[("shop.json", "{}")], &[])),
        ("the same document of others", acme.apply(&seeds()[4..5])),
        ("a file of nobody", acme.apply_with(&[], &[("new.json", "{}")], &[])),
        ("trust in the place of security", acme.apply(&[trust("security")])),
        ("the mesh", acme.apply(std::slice::from_ref(&everywhere))),
        ("a grant in the place of security", acme.apply(&[grant("security", "acme/x")])),
        ("a grant of others", acme.apply(&[grant("shop", "acme/x")])),
        ("a policy that opens the mesh", acme.apply(&[opens("acme", json!({ "kind": "Mesh" }))])),
        (
            "a policy that opens a service of others",
            acme.apply(&[opens("shop", json!({ "kind": "Service", "name": "seed" }))]),
        ),
        ("what is there", acme.apply_with(&[], &[], &["Service/shop/seed"])),
        ("what is not there", acme.apply_with(&[], &[], &["Service/shop/nothing"])),
        (
            "a pin of all",
            acme.post(
                "/v1/pins",
                &json!({ "service": "*", "filter": "acme/x", "version": "1.0.0" }),
            ),
        ),
        (
            "a pin of others",
            acme.post(
                "/v1/pins",
                &json!({ "service": "shop/seed", "filter": "acme/x", "version": "1.0.0" }),
            ),
        ),
        ("a revocation", acme.post("/v1/revocations", &json!({ "key": "k", "reason": "so" }))),
        ("the mesh without the document", mesh.apply(std::slice::from_ref(&everywhere))),
    ] {
        assert_eq!(reply.status, 403, "{what}: {}", reply.body);
        let said = reply.json();
        assert!(said["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{what}: {said}");
    }
    // About others it says nothing at all, whoever asks; about its own it takes away.
    for caller in [acme, admin] {
        let beyond = caller.apply(&[trust("acme")]);
        assert_eq!(beyond.status, 422, "{}", beyond.body);
        assert_eq!(beyond.json()["problems"][0]["code"], "trust.beyond");
    }
    for filter in ["tamis/jwt", "acme/x"] {
        assert_eq!(acme.apply(&[grant("acme", filter)]).status, 200, "{filter}");
        let there = acme.get("/v1/resources/Grant/acme/x").json();
        assert_eq!(there["problems"][0]["code"], "grant.narrows", "{there}");
    }
    let gone = acme.apply_with(&[], &[], &["Grant/acme/x"]);
    assert_eq!(gone.status, 200, "security grants it nothing, so nothing grows: {}", gone.body);
    // An existing and a missing name are refused with the same response.
    let gone =
        |key: &str| acme.apply_with(&[], &[], &[key]).json()["title"].as_str().unwrap().to_owned();
    let (there, nowhere) = (gone("Service/shop/seed"), gone("Service/shop/never"));
    assert_eq!(there.replace("seed", "never"), nowhere);
    // A prune removes the caller's own documents, and nothing of others.
    let own = document(
        "Service",
        "acme",
        "own",
        json!({ "ports": [{ "port": 80, "protocol": "http" }] }),
    );
    assert_eq!(acme.apply(&[own]).status, 200);
    let pruned = acme.post("/v1/apply", &json!({ "prune": true, "confirm": true }));
    assert_eq!(pruned.status, 200, "{}", pruned.body);
    let list = admin.get("/v1/resources").json();
    let keys: Vec<String> = list["items"].as_array().unwrap().iter().map(key).collect();
    assert!(!keys.iter().any(|key| key.contains("/acme/")), "{keys:?}");
    assert!(keys.contains(&"Service/shop/seed".to_owned()), "{keys:?}");
    // With both rights it is allowed.
    let both = token(folder.path(), &[], "both", "acme/*", &["operate"]);
    drop(both);
    let made = admin.post(
        "/v1/tokens",
        &json!({ "name": "acme-mesh", "repositories": ["acme/*", "mesh"], "verbs": ["operate"], "hours": 1 }),
    );
    assert_eq!(made.status, 200, "{}", made.body);
    let made = made.json();
    let both = registry.caller(made["token"].as_str().unwrap());
    let written = both.apply(&[everywhere]);
    assert_eq!(written.status, 200, "{}", written.body);
}

#[test]
fn a_token_of_one_name_closes_nothing_else_of_its_namespace() {
    let folder = TempDir::new().unwrap();
    let one = token(folder.path(), &[], "one", "acme/x", &["operate", "observe"]);
    let all = token(folder.path(), &[], "all", "acme/*", &["operate", "observe"]);
    let registry = Registry::start(folder.path(), &[]);
    let (one, all) = (registry.caller(&one), registry.caller(&all));
    let listener = json!({ "name": "http", "port": 8080, "protocol": "HTTP" });
    let edge = document("Gateway", "acme", "edge", json!({ "listeners": [listener] }));
    assert_eq!(all.apply(&[edge]).status, 200);
    let target = |kind: &str| json!([{ "kind": kind, "name": "x" }]);
    let guard = |kind: &str, phase: &str| {
        let spec =
            json!({ "targetRefs": target(kind), "filter": "acme/x", "phase": phase, "order": 1 });
        document("FilterAttachment", "acme", "x", spec)
    };
    let stub = |mut document: Value, annotations: Value| {
        document["metadata"]["annotations"] = annotations;
        document
    };
    let stands = json!({ "tamis.dev/stands-in": "x" });
    let closes = json!({ "tamis.dev/stands-in": "x", "tamis.dev/closes": "namespace" });
    let mut wide = Vec::new();
    for kind in ["Gateway", "Service", "HTTPRoute", "GRPCRoute"] {
        let policy = json!({ "targetRefs": target(kind), "allow": [{}] });
        wide.push(document("AuthorizationPolicy", "acme", "x", policy));
        wide.extend(["authn", "authz"].map(|phase| guard(kind, phase)));
        wide.extend(["authn", "traffic"].map(|phase| stub(guard(kind, phase), stands.clone())));
        wide.extend(["authn", "traffic"].map(|phase| stub(guard(kind, phase), closes.clone())));
    }
    for document in &wide {
        let refused = one.apply(std::slice::from_ref(document));
        assert_eq!(refused.status, 403, "{document}: {}", refused.body);
        assert!(refused.body.contains("acme/*"), "{document}: {}", refused.body);
        let taken = all.apply(std::slice::from_ref(document));
        assert_eq!(taken.status, 200, "{document}: {}", taken.body);
        let key = format!("{}/acme/x", document["kind"].as_str().unwrap());
        let removed = |caller: Caller<'_>| caller.apply_with(&[], &[], &[&key]).status;
        assert_eq!((removed(one), removed(all)), (403, 200), "{document}");
    }
    // What it may touch it may guard, and not take away from under the guard afterwards.
    let service =
        document("Service", "acme", "x", json!({ "ports": [{ "port": 80, "protocol": "http" }] }));
    let both = one.apply(&[service, guard("Service", "authn")]);
    assert_eq!(both.status, 200, "{}", both.body);
    assert_eq!(one.apply_with(&[], &[], &["Service/acme/x"]).status, 403);
    let gone = one.apply_with(&[], &[], &["Service/acme/x", "FilterAttachment/acme/x"]);
    assert_eq!(gone.status, 200, "{}", gone.body);
    // What guards nothing closes nothing.
    let traffic = one.apply(&[guard("Service", "traffic")]);
    assert_eq!(traffic.status, 200, "{}", traffic.body);
    // A guard of something that is not there closes all of its kind, or all there is while there is nothing of it: with the
    // first of a kind everything else opens, and without the last it closes.
    let mut stray = guard("Service", "authn");
    stray["metadata"]["name"] = json!("stray");
    stray["spec"]["targetRefs"] = json!([{ "kind": "Service", "name": "gone" }]);
    assert_eq!(all.apply(&[stray]).status, 200);
    let service =
        document("Service", "acme", "x", json!({ "ports": [{ "port": 80, "protocol": "http" }] }));
    let first = one.apply(std::slice::from_ref(&service));
    let says = |reply: &Reply| reply.status == 403 && reply.body.contains("the namespace acme");
    assert!(says(&first), "{}", first.body);
    assert_eq!(all.apply(&[service]).status, 200);
    let last = one.apply_with(&[], &[], &["Service/acme/x"]);
    assert!(says(&last), "{}", last.body);
    assert_eq!(all.apply_with(&[], &[], &["Service/acme/x"]).status, 200);
}

#[test]
fn a_token_of_one_name_takes_no_address_of_others() {
    let folder = TempDir::new().unwrap();
    let one = token(folder.path(), &[], "one", "acme/x", &["operate", "observe"]);
    let admin = token(folder.path(), &[], "root", "*", &ALL);
    let registry = Registry::start(folder.path(), &[]);
    let (one, admin) = (registry.caller(&one), registry.caller(&admin));
    let service = |namespace: &str, name: &str, endpoint: Value| {
        let ports = json!([{ "port": 80, "protocol": "http" }]);
        let identity = format!("spiffe://m/ns/{namespace}/{name}");
        let spec = json!({ "ports": ports, "identity": identity, "endpoints": [endpoint] });
        document("Service", namespace, name, spec)
    };
    let outside = json!({
        "hosts": ["pay.example"], "ports": [{ "port": 443, "protocol": "tcp" }], "addresses": ["203.0.113.5"],
    });
    let held = [
        service("beta", "db", json!({ "address": "10.9.0.9:80" })),
        document("ExternalService", "beta", "pay", outside),
    ];
    assert_eq!(admin.apply(&held).status, 200);
    for (address, status, says) in [
        ("240.107.13.115:80", 422, "240.0.0.0/5"),
        ("10.9.0.9:80", 403, "another namespace has"),
        ("203.0.113.5:443", 403, "another namespace has"),
        ("10.9.0.10:80", 200, ""),
    ] {
        for endpoint in [
            json!({ "address": address }),
            json!({ "address": "127.0.0.1:80", "sidecar": address }),
        ] {
            let reply = one.apply(&[service("acme", "x", endpoint.clone())]);
            assert_eq!(reply.status, status, "{endpoint}: {}", reply.body);
            assert!(reply.body.contains(says), "{endpoint}: {}", reply.body);
        }
    }
}

#[test]
fn whoever_may_observe_one_namespace_sees_nothing_of_another() {
    let folder = TempDir::new().unwrap();
    let acme = token(folder.path(), &[], "acme", "acme/*", &["observe"]);
    let admin = token(folder.path(), &[], "root", "*", &ALL);
    let registry = Registry::start(folder.path(), &[]);
    let (acme, admin) = (registry.caller(&acme), registry.caller(&admin));
    let files = [("shop.json", "{\"hidden\":1}"), ("acme.json", "{}"), ("security.json", "{}")];
    let seeded = admin.apply_with(&seeds(), &files, &[]);
    assert_eq!(seeded.status, 200, "{}", seeded.body);
    for path in
        ["/v1/resources", "/v1/status", "/v1/log", "/v1/pins", "/v1/rollouts", "/v1/revocations"]
    {
        let reply = acme.get(path);
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        for word in ["shop", "security", "infra", "hidden"] {
            // The owner of a route may learn the gateway that it is attached to.
            let own = word == "infra" && reply.body.contains("HTTPRoute/acme/seed");
            assert!(own || !reply.body.contains(word), "{path} tells {word}: {}", reply.body);
        }
    }
    assert!(acme.get("/v1/resources").body.contains("seed"));
    assert!(acme.get("/v1/log").body.contains("Service/acme/seed"));
    for (there, nowhere) in [
        ("/v1/resources/Service/shop/seed", "/v1/resources/Service/shop/none"),
        ("/v1/status?service=shop/seed", "/v1/status?service=shop/none"),
        ("/v1/who-ran?service=shop/seed&atMs=1", "/v1/who-ran?service=shop/none&atMs=1"),
        ("/v1/history?service=shop/seed", "/v1/history?service=shop/none"),
    ] {
        let (one, other) = (acme.get(there), acme.get(nowhere));
        assert_eq!((one.status, other.status), (403, 403), "{there}");
        assert_eq!(one.body.replace("seed", "none"), other.body, "{there}");
    }
    for path in ["/log/tile/entries/000.p/1", "/log/tile/0/000.p/1", "/v1/history?service=*"] {
        assert_eq!(acme.get(path).status, 403, "{path}");
    }
    // Secrets in files are taken from nobody, and the way out is said.
    let set = "{\"keys\":[{\"kty\":\"oct\",\"k\":\"aHVudGVyMg\"}]}";
    let nested = json!({ "issuers": { "x": set } }).to_string();
    let private = "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"aHVudGVyMg\",\"d\":\"aHVudGVyMg\"}";
    for text in [set, &nested, private] {
        let refused = admin.apply_with(&[], &[("shop.json", text)], &[]);
        assert_eq!(refused.status, 400, "{text}: {}", refused.body);
        assert!(refused.json()["remedy"].as_str().unwrap().contains("public key"), "{text}");
    }
    assert!(!admin.get("/v1/log").body.contains("aHVudGVyMg"));
    assert_eq!(acme.get("/v1/openapi.json").status, 200);
}

#[test]
fn an_approval_counts_only_from_whoever_could_make_the_change_and_only_for_what_was_proposed() {
    let folder = TempDir::new().unwrap();
    let acme = token(folder.path(), &[], "acme", "acme/*", &["approve"]);
    let shop = token(folder.path(), &[], "shop", "shop/*", &ALL);
    let other = token(folder.path(), &[], "shop-too", "shop/*", &["approve"]);
    let registry = Registry::start(folder.path(), &["--approvals", "1"]);
    let (acme, shop, other) =
        (registry.caller(&acme), registry.caller(&shop), registry.caller(&other));
    let own = document(
        "Service",
        "shop",
        "own",
        json!({ "ports": [{ "port": 80, "protocol": "http" }] }),
    );
    let never = json!({ "subject": format!("sha256:{}", "0".repeat(64)) });
    assert_eq!(other.post("/v1/approvals", &never).status, 403);
    let asked = shop.apply(std::slice::from_ref(&own));
    assert_eq!(asked.status, 409, "{}", asked.body);
    let subject = json!({ "subject": asked.json()["subject"] });
    let denied = acme.post("/v1/approvals", &subject);
    assert_eq!(denied.status, 403, "{}", denied.body);
    assert_eq!(shop.post("/v1/approvals", &subject).status, 409, "nobody agrees with himself");
    assert_eq!(
        shop.apply(std::slice::from_ref(&own)).status,
        409,
        "one's own approval does not count"
    );
    assert_eq!(other.post("/v1/approvals", &subject).status, 200);
    let applied = shop.apply(&[own]);
    assert_eq!(applied.status, 200, "{}", applied.body);
}

#[test]
fn a_grant_or_a_trust_policy_that_allows_more_asks_for_the_approval_that_a_pin_would() {
    let folder = TempDir::new().unwrap();
    let one = token(folder.path(), &[], "one", "security/*", &ALL);
    let two = token(folder.path(), &[], "two", "security/*", &["approve"]);
    let registry = Registry::start(folder.path(), &[]);
    let (one, two) = (registry.caller(&one), registry.caller(&two));
    let grant = |imports: Value| {
        document("Grant", "security", "x", json!({ "filter": "acme/x", "imports": imports }))
    };
    assert_eq!(one.apply(&[grant(json!({ "log": {} }))]).status, 200);
    assert_eq!(one.apply(&[grant(json!({}))]).status, 200, "less asks nobody");
    let more = grant(json!({ "log": {}, "crypto": {} }));
    let asked = one.apply(std::slice::from_ref(&more));
    assert_eq!(asked.status, 409, "{}", asked.body);
    assert!(asked.body.contains("imports.crypto"), "{}", asked.body);
    // The rule cannot be bypassed in two steps.
    assert_eq!(one.apply_with(&[], &[], &["Grant/security/x"]).status, 200);
    let asked = one.apply(std::slice::from_ref(&more));
    assert_eq!(asked.status, 409, "{}", asked.body);
    let subject = json!({ "subject": asked.json()["subject"] });
    assert_eq!(two.post("/v1/approvals", &subject).status, 200);
    let applied = one.apply(&[more]);
    assert_eq!(applied.status, 200, "{}", applied.body);
}

/// Bodies and addresses by which somebody of `acme` would reach what is not his: each is refused, and changes nothing.
#[test]
fn no_way_to_write_a_name_leads_to_what_belongs_to_others() {
    let folder = TempDir::new().unwrap();
    let acme = token(folder.path(), &[], "acme", "acme/*", &ALL);
    let one = token(folder.path(), &[], "one", "acme/one", &ALL);
    let admin = token(folder.path(), &[], "root", "*", &ALL);
    let registry = Registry::start(folder.path(), &["--growth-approvals", "0"]);
    let (acme, one, admin) =
        (registry.caller(&acme), registry.caller(&one), registry.caller(&admin));
    let files = [("shop.json", "{\"keys\":[]}"), ("acme.json", "{}"), ("security.json", "{}")];
    assert_eq!(admin.apply_with(&seeds(), &files, &[]).status, 200);
    let list = || {
        let all = admin.get("/v1/resources").json();
        let keys = all["items"].as_array().unwrap().iter();
        keys.map(|one| format!("{} {}", key(one), one["digest"])).collect::<Vec<_>>()
    };
    let before = list();
    let send = |caller: Caller<'_>, text: &str| {
        let sources = json!([{ "source": "test.yaml", "text": text }]);
        caller.post("/v1/apply", &json!({ "sources": sources, "confirm": true }))
    };
    let service = |metadata: &str| {
        format!(
            "kind: Service\napiVersion: {TAMIS_API}\nmetadata: {metadata}\nspec: {{ ports: [{{ port: 81, protocol: http }}] }}\n"
        )
    };
    let own = service("{ name: own, namespace: acme }");
    let far = service("{ name: seed, namespace: shop }");
    let texts = [
        ("no namespace", service("{ name: seed }")),
        ("an empty namespace", service("{ name: seed, namespace: '' }")),
        ("no text", service("{ name: seed, namespace: ~ }")),
        ("a number", service("{ name: seed, namespace: 1 }")),
        ("a list", service("{ name: seed, namespace: [acme, shop] }")),
        ("upper case", service("{ name: seed, namespace: ACME }")),
        ("mixed case", service("{ name: seed, namespace: Shop }")),
        ("a letter that looks like another", service("{ name: seed, namespace: \u{430}cme }")),
        ("a letter that folds", service("{ name: seed, namespace: \u{17f}hop }")),
        ("a space", service("{ name: seed, namespace: 'acme ' }")),
        ("a mark of no width", service("{ name: seed, namespace: \"acme\\u200b\" }")),
        ("a NUL", service("{ name: seed, namespace: \"acme\\0\" }")),
        ("a line", service("{ name: seed, namespace: \"acme\\nshop\" }")),
        ("a path", service("{ name: seed, namespace: acme/../shop }")),
        ("a path in the name", service("{ name: ../shop/seed, namespace: acme }")),
        ("everything", service("{ name: seed, namespace: '*' }")),
        ("a key twice", service("{ name: seed, namespace: acme, namespace: shop }")),
        ("a key twice, the other way round", service("{ name: seed, namespace: shop, namespace: acme }")),
        ("a key in two spellings", service("{ name: seed, namespace: acme, Namespace: shop }")),
        ("a merge", service("{ <<: { namespace: shop }, name: seed, namespace: acme }")),
        (
            "a merge of an anchor",
            format!("kind: Service\napiVersion: {TAMIS_API}\nx: &far {{ namespace: shop }}\nmetadata: {{ <<: *far, name: seed }}\nspec: {{ ports: [] }}\n"),
        ),
        (
            "an alias for the namespace",
            format!("kind: Service\napiVersion: {TAMIS_API}\nmetadata: {{ labels: {{ a: &far shop }}, name: seed, namespace: *far }}\nspec: {{ ports: [] }}\n"),
        ),
        ("two of which one is of others", format!("{own}---\n{far}")),
        ("two, the other way round", format!("{far}---\n{own}")),
        ("one behind the end of another", format!("{own}...\n{far}")),
        ("one behind a directive", format!("{own}...\n%YAML 1.2\n---\n{far}")),
        ("one in a text of another", format!("{own}  x: |\n---\n{far}")),
        ("carriage returns", format!("{own}---\r{far}")),
        ("JSON with a key twice", "{\"kind\":\"Service\",\"apiVersion\":\"tamis.dev/v1alpha1\",\"metadata\":{\"name\":\"seed\",\"namespace\":\"acme\",\"namespace\":\"shop\"},\"spec\":{\"ports\":[]}}".to_owned()),
        ("a list of documents", format!("[{}, {}]", document("Service", "acme", "own", json!({ "ports": [] })), document("Service", "shop", "seed", json!({ "ports": [] })))),
        ("a List of documents", "kind: List\napiVersion: v1\nitems: []\n".to_owned()),
    ];
    for (what, text) in texts {
        let reply = send(acme, &text);
        assert!((400..500).contains(&reply.status), "{what}: {} {}", reply.status, reply.body);
        assert_eq!(list(), before, "{what}");
    }
    for removed in [
        "Service/shop/seed",
        "service/shop/seed",
        "Service//shop/seed",
        "Service/acme/../shop/seed",
        "Service/acme/own/../../shop/seed",
        "/Service/shop/seed",
        "Service/shop",
        "Service/*/seed",
        "*",
        "",
    ] {
        let reply = acme.apply_with(&[], &[], &[removed]);
        assert!(reply.status == 403 || reply.status == 400, "{removed}: {}", reply.body);
        assert_eq!(list(), before, "{removed}");
    }
    for path in [
        "shop.json",
        "./shop.json",
        "x/../shop.json",
        "SHOP.json",
        "shop.json ",
        "shop.json/",
        "/shop.json",
        "shop\u{2024}json",
        "shop.json\u{0}",
        "\u{ff53}hop.json",
        "",
    ] {
        let reply = acme.apply_with(&[], &[(path, "{\"keys\":[1]}")], &[]);
        assert!(reply.status == 403 || reply.status == 400, "{path:?}: {}", reply.body);
        // To name it as one's own is no way to it either.
        let config = json!({ "issuers": [{ "jwks": { "file": path } }] });
        let spec = json!({
            "targetRefs": [{ "kind": "Service", "name": "seed" }], "filter": "acme/x", "phase": "authn",
            "order": 3, "config": config,
        });
        let names = document("FilterAttachment", "acme", "names", spec);
        drop(acme.apply_with(&[names], &[(path, "{\"keys\":[1]}")], &[]));
        drop(acme.apply_with(&[], &[], &["FilterAttachment/acme/names"]));
    }
    // The file of the others is what it was: the same again changes nothing.
    let same = admin.apply_with(&[], &[("shop.json", files[0].1)], &[]).json();
    assert_eq!(same["diff"]["documentsChanged"], json!([]), "{same}");
    for service in [
        "*",
        " *",
        "* ",
        "**",
        "acme/*",
        "shop/*",
        "shop/seed",
        "SHOP/seed",
        "acme/../shop/seed",
        "mesh",
        "acme",
        "",
    ] {
        for (method, path, body) in [
            (
                "POST",
                "/v1/pins",
                json!({ "service": service, "filter": "acme/x", "version": "1.0.0" }),
            ),
            ("DELETE", "/v1/pins", json!({ "service": service, "filter": "acme/x" })),
            ("POST", "/v1/rollback", json!({ "service": service, "filter": "acme/x" })),
            ("POST", "/v1/reassign", json!({ "service": service, "reason": "so" })),
            (
                "POST",
                "/v1/rollouts",
                json!({ "name": "r", "filter": "acme/x", "version": "1.0.0", "services": ["acme/seed", service], "waves": [{ "percent": 100 }] }),
            ),
        ] {
            let reply = acme.send(method, path, JSON, body.to_string().as_bytes());
            assert!(
                (400..500).contains(&reply.status),
                "{method} {path} {service:?}: {}",
                reply.body
            );
        }
    }
    // Whoever holds one document of a namespace decides nothing for the others in it.
    for kind in ["Grant", "TrustPolicy"] {
        let mut narrow = example(kind, "acme").unwrap();
        narrow["metadata"]["name"] = json!("one");
        assert_eq!(one.apply(&[narrow]).status, 403, "{kind}");
    }
    assert_eq!(list(), before);
}

#[test]
fn whoever_observes_one_namespace_learns_nothing_of_others_by_asking_for_what_is_not_there() {
    let folder = TempDir::new().unwrap();
    let acme = token(folder.path(), &[], "acme", "acme/*", &["observe", "operate"]);
    let admin = token(folder.path(), &[], "root", "*", &ALL);
    let registry = Registry::start(folder.path(), &[]);
    let (acme, admin) = (registry.caller(&acme), registry.caller(&admin));
    let files = [("shop.json", "{}"), ("acme.json", "{}"), ("security.json", "{}")];
    assert_eq!(admin.apply_with(&seeds(), &files, &[]).status, 200);
    // A wrong document of others, in a source that is called as one's own is.
    let spec = json!({
        "targetRefs": [{ "kind": "Service", "name": "hidden" }], "filter": "shop/hidden", "phase": "authn", "order": 1,
    });
    assert_eq!(admin.apply(&[document("FilterAttachment", "shop", "hidden", spec)]).status, 200);
    let ports = json!({ "ports": [{ "port": 80, "protocol": "http" }] });
    let mut replies = vec![
        acme.get("/v1/who-ran?service=acme/none&atMs=1"),
        acme.get("/v1/history?service=acme/none"),
        acme.get("/v1/rollouts/none"),
        acme.get("/v1/resources/Service/acme/none"),
        acme.get("/v1/resources/FilterAttachment/acme/seed"),
    ];
    for path in ["/v1/plan", "/v1/apply"] {
        let text = document("Service", "acme", "fresh", ports.clone()).to_string();
        let body = json!({ "sources": [{ "source": "test.yaml", "text": text }] });
        replies.push(acme.post(path, &body));
    }
    for reply in replies {
        for word in ["shop", "security", "hidden"] {
            assert!(!reply.body.contains(word), "{word}: {}", reply.body);
        }
    }
}

/// What a namespace may have is judged before anything is computed from the documents, and told to nobody else.
#[test]
fn too_many_documents_are_refused_before_it_is_computed_whose_rights_they_need() {
    let folder = TempDir::new().unwrap();
    let acme = token(folder.path(), &[], "acme", "acme/*", &["operate"]);
    let seer = token(folder.path(), &[], "seer", "acme/*", &["observe"]);
    let other = token(folder.path(), &[], "other", "shop/*", &["operate", "observe"]);
    let registry = Registry::start(folder.path(), &[]);
    let service = |at: usize, bytes: usize| {
        let spec = json!({ "ports": [{ "port": 80, "protocol": "http" }] });
        let text = document("Service", "acme", &format!("s{at}"), spec).to_string();
        let text = format!("{text}\n#{}", "x".repeat(bytes));
        json!({ "source": format!("{at}.yaml"), "text": text })
    };
    let mesh = || {
        let spec = json!({ "targetRefs": [{ "kind": "Mesh" }], "filter": "acme/x", "phase": "authz", "order": 1 });
        let text = document("FilterAttachment", "acme", "wide", spec).to_string();
        json!({ "source": "mesh.yaml", "text": text })
    };
    let few = || vec![service(0, 10), mesh()];
    let many = || (0..100).map(|at| service(at, 45_000)).chain([mesh()]).collect::<Vec<_>>();
    let (room, rights) = ("documents.no-room", "denied");
    let rows = [
        ("acme", &acme, "/v1/apply", few(), 403, rights),
        ("acme", &acme, "/v1/apply", many(), 409, room),
        ("acme", &acme, "/v1/plan", many(), 409, room),
        ("somebody who sees it", &seer, "/v1/plan", many(), 409, room),
        ("somebody else", &other, "/v1/apply", few(), 403, rights),
        ("somebody else", &other, "/v1/apply", many(), 403, rights),
        ("somebody else", &other, "/v1/plan", many(), 403, rights),
    ];
    for (who, token, path, sources, status, code) in rows {
        let count = sources.len();
        let reply = registry.caller(token).post(path, &json!({ "sources": sources }));
        let what = format!("{who} {path} {count}: {}", reply.body);
        assert_eq!(reply.status, status, "{what}");
        let json = reply.json();
        let found = if status == 409 { &json["refusals"][0]["code"] } else { &json["code"] };
        assert_eq!(found, code, "{what}");
        assert!(status == 409 || !reply.body.contains("4194304"), "{what}");
    }
}

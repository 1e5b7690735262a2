//! Grants and trust policies outside the namespaces of security take away, for their own namespace, and never add.

use serde_json::{Value, json};

use super::codes;
use crate::plan::NodePlan;
use crate::{Document, FoldResult, NEW, Security, fold_under, parse, trust_policies};

const MESH: &str = "
kind: Service
apiVersion: tamis.dev/v1alpha1
metadata: { name: s, namespace: NS }
spec:
  ports: [{ port: 80, protocol: http }]
  identity: spiffe://m/NS/s
  tls: { certificate: c, key: k, ca: a }
  endpoints: [{ address: '127.0.0.1:9001', sidecar: '127.0.0.1:15006' }]
---
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: guard, namespace: NS }
spec: { targetRefs: [{ kind: Service, name: s }], filter: acme/x, phase: authn, order: 1 }
---
kind: Filter
apiVersion: tamis.dev/v1alpha1
metadata: { name: x, namespace: acme }
spec: { world: authorizer }
---
kind: FiltersLock
apiVersion: tamis.dev/v1alpha1
filters:
  - { service: '*', filter: acme/x, version: 1.0.0, digest: 'sha256:0000000000000000000000000000000000000000000000000000000000000000' }
";

fn document(kind: &str, key: &str, spec: Value) -> String {
    let (namespace, name) = key.split_once('/').unwrap();
    let metadata = json!({ "name": name, "namespace": namespace });
    json!({ "kind": kind, "apiVersion": "tamis.dev/v1alpha1", "metadata": metadata, "spec": spec })
        .to_string()
}

fn grant(key: &str, imports: Value) -> String {
    document("Grant", key, json!({ "filter": "acme/x", "imports": imports }))
}

fn security() -> Vec<String> {
    vec!["security".to_owned()]
}

/// The plan of the service of a namespace; the documents are in force, one after the other.
fn folded(namespace: &str, texts: &[String]) -> FoldResult {
    let mut texts = texts.to_vec();
    texts.push(MESH.replace("NS", namespace));
    let (mut documents, problems) = parse("t", &texts.join("\n---\n"));
    assert!(problems.is_empty(), "{problems:?}");
    for (at, document) in documents.iter_mut().enumerate() {
        document.since = u64::try_from(at).unwrap();
    }
    let node = format!("sidecar:{namespace}/s/0").parse().unwrap();
    fold_under(&documents, &node, &|_| Ok(b"{}".to_vec()), Security::Namespaces(&security()))
}

fn plan(folded: &FoldResult) -> &NodePlan {
    folded.plan.as_ref().unwrap()
}

fn imports(folded: &FoldResult) -> Vec<&str> {
    plan(folded).filters[0].grant.imports.keys().map(String::as_str).collect()
}

#[test]
fn a_grant_of_a_tenant_takes_away_from_what_it_attaches_itself_and_adds_nothing() {
    let whole = || grant("security/x", json!({ "log": {}, "kv": { "entries": 100 } }));
    let rows: Vec<(Vec<String>, &[&str], &[&str])> = vec![
        (vec![whole()], &["kv", "log"], &["kv", "log"]),
        (
            vec![whole(), grant("acme/x", json!({ "log": {}, "crypto": {} }))],
            &["log"],
            &["kv", "log"],
        ),
        // Written earlier it decides no more than written later, whatever it is called.
        (vec![grant("aaa/x", json!({ "crypto": {} })), whole()], &["kv", "log"], &["kv", "log"]),
        (vec![grant("acme/x", json!({ "crypto": {} })), whole()], &[], &["kv", "log"]),
        // Two of them both count.
        (
            vec![
                whole(),
                grant("acme/x", json!({ "log": {} })),
                grant("acme/y", json!({ "kv": {} })),
            ],
            &[],
            &["kv", "log"],
        ),
        (
            vec![
                whole(),
                grant("acme/x", json!({ "log": {} })),
                grant("acme/x", json!({ "kv": {} })),
            ],
            &[],
            &["kv", "log"],
        ),
        // Its namespace is its own, not one that looks like security's.
        (
            vec![whole(), grant("security.acme/x", json!({ "crypto": {} }))],
            &["kv", "log"],
            &["kv", "log"],
        ),
    ];
    for (texts, own, others) in rows {
        let (acme, shop) = (folded("acme", &texts), folded("shop", &texts));
        assert_eq!((imports(&acme), imports(&shop)), (own.to_vec(), others.to_vec()), "{texts:?}");
        assert!(plan(&acme).filters[0].refused.is_none(), "{texts:?}");
    }
    let numbers =
        folded("acme", &[whole(), grant("acme/x", json!({ "kv": { "entries": 1_000_000 } }))]);
    assert_eq!(plan(&numbers).filters[0].grant.imports["kv"]["entries"], 100);
}

#[test]
fn a_scope_that_no_proxy_can_keep_is_refused_where_it_is_written() {
    let quota = |scope: &str| json!({ "quota": { "classes": {}, "scope": scope } });
    let counters = |scope: &str| json!({ "counters": { "scope": scope } });
    let both = || json!({ "quota": { "classes": {}, "scope": "fleet" }, "counters": { "scope": "service" } });
    for (imports, refused) in [
        (json!({ "quota": { "classes": {} }, "counters": {} }), 0),
        (quota("proxy"), 0),
        (counters("proxy"), 0),
        (quota("service"), 1),
        (quota("fleet"), 1),
        (counters("service"), 1),
        (counters("fleet"), 1),
        (both(), 2),
    ] {
        let whole = json!({ "quota": { "classes": {} }, "counters": {} });
        // Security's own Grant, and one of a tenant that narrows it.
        let texts = [
            vec![grant("security/x", imports.clone())],
            vec![grant("security/x", whole), grant("acme/x", imports.clone())],
        ];
        for texts in texts {
            let folded = folded("acme", &texts);
            let found = folded.problems.iter().filter(|one| one.code == "grant.scope");
            let found: Vec<_> = found.collect();
            assert_eq!(found.len(), refused, "{texts:?}");
            for problem in found {
                let help = problem.help.as_deref().unwrap_or_default();
                assert!(help.starts_with("write `scope: proxy`"), "{help}");
            }
            let filter = &plan(&folded).filters[0];
            // A tenant's quota of a wider scope reaches the proxy, which refuses it.
            let scope = |import: &str| filter.grant.imports.get(import)?.get("scope").cloned();
            let runs = filter.refused.is_none() && scope("quota").is_none();
            let narrows_counters_alone = texts.len() == 2 && imports.get("quota").is_none();
            assert_eq!(runs, refused == 0 || narrows_counters_alone, "{texts:?}");
        }
    }
}

#[test]
fn a_grant_of_a_tenant_alone_lets_nothing_run() {
    for texts in [vec![], vec![grant("acme/x", json!({ "log": {} }))]] {
        let folded = folded("acme", &texts);
        let filter = &plan(&folded).filters[0];
        assert_eq!(filter.refused.as_ref().unwrap().code, "grant.missing");
        assert_eq!(codes(&folded.problems).contains(&"grant.narrows"), !texts.is_empty());
        let missing = folded.problems.iter().find(|one| one.code == "grant.missing").unwrap();
        let help = missing.help.as_deref().unwrap_or_default();
        let (says, way) = match texts.as_slice() {
            [] => {
                ("no Grant exists for acme/x", "write a Grant with `filter: acme/x` in a namespace")
            }
            _ => ("it only takes away", "move it to a namespace of security"),
        };
        assert!(missing.message.contains(says) && help.starts_with(way), "{missing}: {help}");
    }
}

#[test]
fn who_must_have_signed_by_two_grants_is_who_satisfies_both() {
    let by = |key: &str, keys: Value, threshold: u32| {
        let signed_by = json!({ "keys": keys, "threshold": threshold });
        document("Grant", key, json!({ "filter": "acme/x", "signedBy": signed_by }))
    };
    let signed = |texts: &[String]| {
        let folded = folded("acme", texts);
        let by = plan(&folded).filters[0].signed_by.clone().unwrap();
        (by.keys, by.threshold, codes(&folded.problems).contains(&"grant.narrows"))
    };
    let keys = |all: &[&str]| -> Vec<String> { all.iter().map(|it| (*it).to_owned()).collect() };
    let whole = by("security/x", json!(["a", "b"]), 1);
    assert_eq!(
        signed(&[whole.clone(), by("acme/x", json!(["b", "c"]), 1)]),
        (keys(&["b"]), 1, false)
    );
    // Nothing satisfies both, and so nothing runs.
    assert_eq!(signed(&[whole.clone(), by("acme/x", json!(["c"]), 1)]), (keys(&[]), 1, true));
    let (_, threshold, _) = signed(&[whole, by("acme/x", json!(["a"]), 2)]);
    assert_eq!(threshold, 2);
}

#[test]
fn a_trust_policy_of_a_tenant_asks_for_more_about_its_own_filters_and_decides_nothing() {
    let policy = |key: &str, patterns: &[&str]| {
        let keys = json!([{ "name": "k", "publicKey": "PEM" }]);
        document(
            "TrustPolicy",
            key,
            json!({ "namespaces": patterns, "keys": keys, "threshold": 1 }),
        )
    };
    let found = |texts: &[String], since: fn(usize) -> u64| -> Vec<(String, Value, Value)> {
        let (mut documents, problems): (Vec<Document>, _) = parse("t", &texts.join("\n---\n"));
        assert!(problems.is_empty(), "{problems:?}");
        for (at, document) in documents.iter_mut().enumerate() {
            document.since = since(at);
        }
        let all = trust_policies(&documents, &|_| Ok(vec![]), Security::Namespaces(&security()));
        let row = |one: &Value| {
            (
                one["name"].as_str().unwrap().to_owned(),
                one["namespaces"].clone(),
                one["narrows"].clone(),
            )
        };
        all.iter().map(row).collect()
    };
    let decides = ("security/all".to_owned(), json!(["*"]), Value::Null);
    let narrows = |name: &str, patterns: Value| (name.to_owned(), patterns, json!(true));
    let all = policy("security/all", &["*"]);
    for since in [(|at| at as u64) as fn(usize) -> u64, |_| NEW] {
        let texts = [
            policy("acme/x", &["acme/*", "acme/x"]),
            all.clone(),
            policy("acme/x", &["acme/x"]),
            policy("shop/x", &["acme/*"]),
            policy("shop/y", &["*", "shop/f", "shop/**", "tamis/route"]),
        ];
        let mut all = found(&texts, since);
        all.sort_by_key(|(name, patterns, _)| (name.clone(), patterns.to_string()));
        let wanted = vec![
            narrows("acme/x", json!(["acme/*", "acme/x"])),
            narrows("acme/x", json!(["acme/x"])),
            decides.clone(),
            narrows("shop/y", json!(["shop/f"])),
        ];
        assert_eq!(all, wanted);
    }
}

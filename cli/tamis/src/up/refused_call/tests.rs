//! Which call is suggested, and when none is.

use super::*;
use std::path::Path;

/// The documents of the example.
fn shop() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop");
    let mut texts = Vec::new();
    for name in ["services", "filters", "attachments", "policies"] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap();
        texts.extend(text.split("\n---\n").map(str::to_owned));
    }
    texts
}

fn call(texts: &[String]) -> Option<RefusedCall> {
    let read = tamis_resources::read("mesh.yaml", &texts.join("\n---\n"));
    assert!(read.problems.is_empty(), "{:?}", read.problems);
    RefusedCall::of(&read.documents)
}

#[test]
fn the_catalogue_of_the_shop_may_not_call_payments() {
    let found = call(&shop()).unwrap();
    assert_eq!(found.command(), "curl -si -H 'host: payments' http://127.0.0.1:15031/");
    assert!(found.what().starts_with("catalog calls payments"), "{}", found.what());
    let line = r#"- { identities: ["spiffe://shop.example/ns/shop/service/catalog"], methods: ["GET"], paths: [{ type: Exact, value: "/" }] }"#;
    let (policy, file) = ("shop/payments".to_owned(), "mesh.yaml".to_owned());
    assert_eq!(found.missing, MissingRule { policy, file, line: line.to_owned() });
}

#[test]
fn nothing_is_suggested_that_may_pass() {
    let everybody = "identities: [\"*\"]";
    let gateway = "identities: [spiffe://shop.example/ns/shop/gateway/edge]";
    let catalog = "spiffe://shop.example/ns/shop/service/catalog";
    let policy = "kind: AuthorizationPolicy\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: payments, namespace: shop }\nspec:\n  targetRefs: [{ kind: Service, name: payments }]\n";
    let only_payments = |texts: Vec<String>| -> Vec<String> {
        let other =
            |text: &&String| !text.contains("kind: AuthorizationPolicy") || text.contains(policy);
        texts.iter().filter(other).cloned().collect()
    };
    let edited = |from: &str, to: &str| {
        let texts = only_payments(shop());
        assert!(texts.iter().any(|text| text.contains(from)), "{from}");
        texts.iter().map(|text| text.replace(from, to)).collect::<Vec<_>>()
    };
    let mesh = "kind: AuthorizationPolicy\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: all, namespace: shop }\nspec: { targetRefs: [{ kind: Mesh }], allow: [{}] }\n";
    let rows = [
        ("no filter", edited(", receives: AuthorizationPolicy", "")),
        ("audit", edited("  phase: authz\n", "  phase: authz\n  config: { mode: audit }\n")),
        ("not the whole mesh", {
            let texts = edited("filter: tamis/authz", "filter: tamis/authz ");
            let here = |text: &String| match text.contains("filter: tamis/authz ") {
                true => text.replace("kind: Mesh", "kind: Service, name: payments"),
                false => text.clone(),
            };
            texts.iter().map(here).collect()
        }),
        ("a policy in audit", edited(policy, &format!("{policy}  mode: audit\n"))),
        ("a rule for everybody", edited(gateway, everybody)),
        ("a rule without identities", edited(gateway, "addresses: [10.0.0.0/8]")),
        ("its own rule", edited(gateway, &format!("identities: [{catalog}]"))),
        ("a deny", edited(policy, &format!("{policy}  deny: [{{ methods: [PUT] }}]\n"))),
        ("cedar", {
            let cedar = "  cedar: { policies: \"permit (principal, action, resource);\" }\n";
            edited(policy, &format!("{policy}{cedar}"))
        }),
        ("a policy of the mesh", {
            let mut texts = only_payments(shop());
            texts.push(mesh.to_owned());
            texts
        }),
        ("no outbound", edited("      outbound: 127.0.0.1:15031\n", "")),
        ("no port for requests", {
            let mut texts = only_payments(shop());
            for text in &mut texts {
                if text.contains("metadata: { name: payments") && text.contains("kind: Service\n") {
                    *text = text.replace("protocol: http", "protocol: tcp");
                }
            }
            texts
        }),
        ("no sidecar", {
            let mut texts = only_payments(shop());
            for text in &mut texts {
                if text.contains("metadata: { name: payments") && text.contains("kind: Service\n") {
                    let keep = |line: &&str| {
                        !["sidecar:", "outbound:", "admin:"].iter().any(|it| line.contains(it))
                    };
                    *text = text.lines().filter(keep).collect::<Vec<_>>().join("\n");
                }
            }
            texts
        }),
    ];
    assert!(call(&only_payments(shop())).is_some());
    for (what, texts) in rows {
        let found = call(&texts).map(|found| found.what());
        assert_eq!(found, None, "{what}");
    }
}

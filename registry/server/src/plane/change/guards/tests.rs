//! Protection that a change takes away is asked about, by plan, apply and delete alike.

use tamis_api::{ApplyRequest, SourceText};

use crate::plane::fixture::World;

const CODE: &str = "guard.protection";

/// A service with a guard in its sidecar.
const GUARDED: &str = r#"
{ kind: Filter, apiVersion: tamis.dev/v1alpha1, metadata: { name: jwt, namespace: tamis }, spec: { world: authorizer } }
---
{ kind: Grant, apiVersion: tamis.dev/v1alpha1, metadata: { name: jwt, namespace: security }, spec: { filter: tamis/jwt } }
---
{ kind: Filter, apiVersion: tamis.dev/v1alpha1, metadata: { name: route, namespace: tamis }, spec: { world: route-policy } }
---
{ kind: Grant, apiVersion: tamis.dev/v1alpha1, metadata: { name: route, namespace: security }, spec: { filter: tamis/route } }
---
{ kind: FilterAttachment, apiVersion: tamis.dev/v1alpha1, metadata: { name: route, namespace: acme },
  spec: { targetRefs: [{ kind: Mesh }], filter: tamis/route, phase: traffic, order: 10 } }
---
{ kind: Service, apiVersion: tamis.dev/v1alpha1, metadata: { name: pay, namespace: acme },
  spec: { ports: [{ port: 80, protocol: http }], identity: "spiffe://acme.example/pay",
    tls: { certificate: c.crt, key: c.key, ca: ca.crt },
    endpoints: [{ address: "127.0.0.1:9000", sidecar: "127.0.0.1:15000" }] } }
"#;

fn guard(name: &str, phase: &str) -> String {
    format!(
        "{{ kind: FilterAttachment, apiVersion: tamis.dev/v1alpha1, metadata: {{ name: {name}, namespace: acme }}, spec: {{ targetRefs: [{{ kind: Service, name: pay }}], filter: tamis/jwt, phase: {phase}, order: 10 }} }}\n"
    )
}

fn applying(text: String) -> ApplyRequest {
    let source = SourceText { source: "a.yaml".to_owned(), text };
    ApplyRequest { sources: vec![source], ..ApplyRequest::default() }
}

#[tokio::test]
async fn protection_goes_only_with_a_confirmation_and_is_named_by_plan_apply_and_delete() {
    let world = World::new().await;
    let (control, root) = (&world.control, world.holder("root"));
    let text = format!("{GUARDED}---\n{}", guard("jwt", "authn"));
    let first = ApplyRequest { confirm: true, ..applying(text) };
    control.apply(&root, &first).await.unwrap();
    let key = || vec!["FilterAttachment/acme/jwt".to_owned()];
    let deleting = ApplyRequest { removed: key(), ..ApplyRequest::default() };
    let words = "\"acme/jwt\" (tamis/jwt) no longer guards listener \"inbound\"";
    let lost = [
        ("it is deleted", deleting.clone()),
        ("its phase is no guard's", applying(guard("jwt", "transform"))),
    ];
    for (what, request) in &lost {
        let before = control.state().head();
        let planned = control.plan(&root, request).await.unwrap();
        let told: Vec<&String> = planned.diff.unguarded["acme/pay"].iter().collect();
        assert_eq!(told, [words], "{what}");
        let refused: Vec<_> = planned.refusals.iter().filter(|one| one.code == CODE).collect();
        let [refused] = &refused[..] else { panic!("{what}: {:?}", planned.refusals) };
        assert_eq!(refused.rule, format!("{words} in acme/pay"), "{what}");
        assert!(!refused.set_by.is_empty() && refused.remedy.contains("confirm"), "{what}");
        let problem = control.apply(&root, request).await.unwrap_err();
        assert!(problem.refusals.iter().any(|one| one.code == CODE), "{what}: {problem:?}");
        assert_eq!(control.state().head(), before, "{what}: nothing was written");
    }
    let renamed = ApplyRequest { removed: key(), ..applying(guard("renamed", "authn")) };
    let planned = control.plan(&root, &renamed).await.unwrap();
    assert!(planned.diff.unguarded.is_empty(), "{:?}", planned.diff.unguarded);
    assert!(planned.refusals.iter().all(|one| one.code != CODE), "{:?}", planned.refusals);
    let confirmed = ApplyRequest { confirm: true, ..deleting };
    let planned = control.plan(&root, &confirmed).await.unwrap();
    assert!(planned.refusals.is_empty() && !planned.diff.unguarded.is_empty());
    let applied = control.apply(&root, &confirmed).await.unwrap();
    assert!(applied.diff.unguarded["acme/pay"].contains(words));
    let gone = control.plan(&root, &applying(guard("other", "authz"))).await.unwrap();
    assert!(gone.diff.unguarded.is_empty(), "a guard more");
}

//! Policies reach the filter that enforces them; a mistake closes what the policy was to guard, and nothing else.

use super::*;
use crate::plan::FilterPlan;

const SWITCH: &str = r#"
---
{ kind: Filter, apiVersion: tamis.dev/v1alpha1, metadata: { name: authz, namespace: tamis }, spec: { world: authorizer, receives: AuthorizationPolicy } }
---
{ kind: Grant, apiVersion: tamis.dev/v1alpha1, metadata: { name: authz, namespace: security }, spec: { filter: tamis/authz } }
"#;

fn attachment(name: &str, targets: &str) -> String {
    format!(
        "\n---\n{{ kind: FilterAttachment, apiVersion: tamis.dev/v1alpha1, metadata: {{ name: {name}, namespace: shop }}, spec: {{ targetRefs: [{targets}], filter: tamis/authz, phase: authz, order: 10 }} }}\n"
    )
}

fn policy(name: &str, targets: &str, rest: &str) -> String {
    format!(
        "\n---\n{{ kind: AuthorizationPolicy, apiVersion: tamis.dev/v1alpha1, metadata: {{ name: {name}, namespace: shop }}, spec: {{ targetRefs: [{targets}], {rest} }} }}\n"
    )
}

/// The example with these policies in the place of its own.
fn with(more: &str) -> String {
    let example = example();
    let others = example.split("\n---\n").filter(|text| {
        let switch = text.contains("tamis/authz") && !text.contains("FiltersLock");
        let entry = text.contains("{ name: authz, namespace: tamis }");
        !switch && !entry && !text.contains("kind: AuthorizationPolicy")
    });
    let others: Vec<&str> = others.collect();
    format!("{}{SWITCH}{more}", others.join("\n---\n"))
}

#[test]
fn the_sidecars_of_the_example_refuse_what_its_policies_do_not_allow() {
    for (name, rules) in [("storefront", 1), ("payments", 2), ("catalog", 2)] {
        let (guards, problems) = guards(&example(), &format!("sidecar:shop/{name}/0"));
        assert!(problems.is_empty(), "{problems:?}");
        let [guard] = &guards[..] else { panic!("{name} has {} guards", guards.len()) };
        let policies = guard.config["policies"].as_array().unwrap();
        assert_eq!(policies.len(), 1, "{name}: its own policy and no other");
        assert_eq!(policies[0]["name"], format!("shop/{name}"));
        let allow = policies[0]["allow"].as_array().unwrap();
        assert_eq!(allow.len(), rules, "{name}");
        assert!(allow.iter().all(|rule| rule["identities"].as_array().unwrap().len() == 1));
        assert_eq!(guard.grant.reads, ["@peer.spiffe-id", "@listener.name"], "{name}");
    }
    assert!(guards(&example(), "gateway:shop/edge").0.is_empty());
}

const PAYMENTS: &str = "{ kind: Service, name: payments }";
const MESH: &str = "{ kind: Mesh }";
const ALLOW: &str = "allow: [{ methods: [GET] }]";

/// Guards of the inbound listener of a sidecar, or of the first listener of the gateway, in the phase authz.
fn guards(text: &str, node: &str) -> (Vec<FilterPlan>, Vec<String>) {
    let folded = folded(text, node);
    let plan = folded.plan.unwrap();
    let listener = &plan.listeners[0];
    let all = listener.chain.attachments.iter().map(|at| plan.filters[*at].as_ref().clone());
    let guards = all.filter(|one| one.phase == crate::plan::Phase::Authz).collect();
    (guards, folded.problems.into_iter().map(|one| one.code).collect())
}

#[test]
fn a_policy_reaches_the_sidecars_of_its_service_and_no_other() {
    let text = with(&(attachment("authz", MESH) + &policy("pay", PAYMENTS, ALLOW)));
    for (node, policies) in [("sidecar:shop/payments/0", 1), ("sidecar:shop/catalog/0", 0)] {
        let (guards, problems) = guards(&text, node);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(guards.len(), 1, "{node}");
        assert!(guards[0].receives && guards[0].refused.is_none());
        assert_eq!(guards[0].config["policies"].as_array().unwrap().len(), policies, "{node}");
        assert_eq!(guards[0].config["ports"]["inbound"], 80);
    }
    assert_eq!(guards(&text, "gateway:shop/edge"), (vec![], vec![]));
    let edge = with(
        &(attachment("authz", MESH) + &policy("edge", "{ kind: Gateway, name: edge }", ALLOW)),
    );
    assert_eq!(guards(&edge, "gateway:shop/edge").0.len(), 1);
}

#[test]
fn a_mistake_closes_its_own_target_and_nothing_else() {
    let bad = |rest: &str| attachment("authz", MESH) + &policy("bad", PAYMENTS, rest);
    for (more, code) in [
        (bad("allow: [{ identities: [storefront] }]"), "authorization.rule"),
        (bad("allow: [{ paths: [{ value: /a//b }] }]"), "authorization.rule"),
        (bad("allow: [{ methods: [GET] }], deny: [{ methods: [GET] }]"), "authorization.conflict"),
        (bad("allow: [{ name: a }, { name: a, methods: [GET] }]"), "authorization.conflict"),
        (bad("deny: [{ headers: [{ name: host, values: [a] }] }]"), "authorization.rule"),
        (bad("deny: [{ headers: [{ name: upgrade, values: [a] }] }]"), "authorization.rule"),
        (bad("deny: [{ headers: [{ name: content-length, values: [a] }] }]"), "authorization.rule"),
        (
            bad("cedar: { policies: 'permit (principal, action, resource);', headers: [te] }"),
            "authorization.rule",
        ),
        (bad("cedar: { file: nowhere.cedar }"), "file.unreadable"),
        (bad("cedar: {}"), "authorization.rule"),
        (policy("alone", PAYMENTS, ALLOW), "authorization.unguarded"),
        (
            attachment("a", MESH) + &attachment("b", PAYMENTS) + &policy("two", PAYMENTS, ALLOW),
            "authorization.second",
        ),
    ] {
        let text = with(&more);
        let (closed, problems) = guards(&text, "sidecar:shop/payments/0");
        assert!(problems.iter().any(|one| one == code), "{code}: {problems:?}");
        let refused = closed.iter().filter_map(|one| one.refused.as_ref());
        assert!(refused.clone().any(|one| one.code == code), "{code}: {closed:?}");
        let (others, _) = guards(&text, "sidecar:shop/catalog/0");
        assert!(others.iter().all(|one| one.refused.is_none()), "{code}: {others:?}");
    }
    // In audit mode there is nothing to close.
    let (open, problems) =
        guards(&with(&policy("alone", PAYMENTS, "mode: audit")), "sidecar:shop/payments/0");
    assert_eq!((open, problems), (vec![], vec!["authorization.unguarded".to_owned()]));
}

#[test]
fn what_enforces_a_policy_is_said_for_its_target() {
    const EDGE: &str = "{ kind: Gateway, name: edge }";
    const ROUTE: &str = "{ kind: HTTPRoute, name: shop }";
    // Where the filter is attached, the target, the node, what the help advises.
    for (attached, target, node, advice) in [
        ("", PAYMENTS, "sidecar:shop/payments/0", Some("to the Mesh, or to this target")),
        ("", EDGE, "gateway:shop/edge", Some("to the Mesh, or to this target")),
        ("", ROUTE, "gateway:shop/edge", Some("to this target itself: one")),
        (MESH, ROUTE, "gateway:shop/edge", Some("to this target itself: one")),
        (EDGE, ROUTE, "gateway:shop/edge", Some("to this target itself: one")),
        (ROUTE, ROUTE, "gateway:shop/edge", None),
        (MESH, PAYMENTS, "sidecar:shop/payments/0", None),
    ] {
        let filter = if attached.is_empty() { String::new() } else { attachment("a", attached) };
        let folded = folded(&with(&(filter + &policy("p", target, ALLOW))), node);
        let unguarded = folded.problems.iter().find(|one| one.code == "authorization.unguarded");
        let help = unguarded.and_then(|one| one.help.as_deref());
        assert_eq!(help.is_some(), advice.is_some(), "{attached} {target}: {help:?}");
        assert!(
            help.unwrap_or_default().contains(advice.unwrap_or_default()),
            "{target}: {help:?}"
        );
    }
}

#[test]
fn a_missing_target_and_an_unknown_field_close_as_those_of_a_guard() {
    let missing = with(
        &(attachment("authz", MESH) + &policy("pay", "{ kind: Service, name: paymnts }", ALLOW)),
    );
    let (closed, problems) = guards(&missing, "sidecar:shop/payments/0");
    assert_eq!(problems, ["attachment.target"]);
    assert!(closed.iter().any(|one| one.refused.is_some()));
    let unknown = with(&(attachment("authz", MESH) + &policy("pay", PAYMENTS, "allows: []")));
    let read = crate::read("shop.yaml", &unknown);
    let documents = [read.documents, read.stubs].concat();
    assert_eq!(codes(&read.problems), ["field.unknown"]);
    for (node, refused) in [("sidecar:shop/payments/0", true), ("sidecar:shop/catalog/0", false)] {
        let plan = fold(&documents, &node.parse().unwrap(), &files).plan.unwrap();
        assert_eq!(plan.filters.iter().any(|one| one.refused.is_some()), refused, "{node}");
    }
}

#[test]
fn an_empty_list_of_a_rule_is_no_condition_and_is_refused() {
    for list in ["identities", "addresses", "methods", "paths", "ports", "headers", "claims"] {
        for rules in ["allow", "deny"] {
            let text = policy("bad", PAYMENTS, &format!("{rules}: [{{ {list}: [] }}]"));
            let read = crate::read("shop.yaml", &text);
            let codes: Vec<&str> = read.problems.iter().map(|one| one.code.as_str()).collect();
            assert_eq!(codes, ["field.empty"], "{rules} {list}");
        }
    }
}

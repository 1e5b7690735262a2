//! Routers of a chain: one decides, one may extend it, and each is configured with the routes and its own settings.

use serde_json::{Value, json};

use super::{codes, example, folded};
use crate::plan::FilterPlan;

/// An attachment of a router to the example's gateway, with some of its fields; a filter on the rules of a route of it.
fn with(name: &str, more: &str) -> String {
    format!(
        "\n---\nkind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: shop }}\n\
         spec: {{ targetRefs: [{{ kind: Gateway, name: edge }}], filter: tamis/route, phase: traffic{more} }}\n"
    )
}

/// A planned router: name, whether it extends, its settings and whether rules have to be covered.
type PlannedRouter = (String, bool, Value, bool);

/// The routers on a gateway, and the codes of the problems.
fn routers(text: &str) -> (Vec<PlannedRouter>, Vec<String>) {
    let folded = folded(text, "gateway:shop/edge");
    let plan = folded.plan.unwrap();
    let mut routers: Vec<_> = plan
        .filters
        .iter()
        .filter(|one| one.filter == "tamis/route" && one.refused.is_none())
        .map(|one: &std::sync::Arc<FilterPlan>| {
            assert!(one.config["routes"].is_array(), "{}: every router has the routes", one.filter);
            let settings = one.config.get("config").cloned().unwrap_or_default();
            (one.attachment.clone(), one.extend, settings, !one.covers.is_empty())
        })
        .collect();
    routers.sort_by(|a, b| a.0.cmp(&b.0));
    routers.dedup();
    (routers, codes(&folded.problems).into_iter().map(str::to_owned).collect())
}

#[test]
fn a_router_that_extends_stands_beside_the_one_that_it_extends_and_has_settings() {
    let own = with("canary", ", order: 3, extend: true, config: { permille: 5 }");
    let (routers, problems) = routers(&(example() + &own));
    assert_eq!(problems, [""; 0]);
    let canary = ("shop/canary".to_owned(), true, json!({ "permille": 5 }), false);
    assert_eq!(routers.first(), Some(&canary), "only the other one has to cover the rules");
    let other = routers.iter().find(|one| one.0 == "shop/route").unwrap();
    assert_eq!((other.1, &other.2, other.3), (false, &Value::Null, true));
}

#[test]
fn what_a_router_cannot_be_is_refused_and_the_others_stay() {
    let extending = with("one", ", order: 3, extend: true");
    let two = extending.clone() + &with("two", ", order: 4, extend: true");
    let not_a_router =
        with("one", ", order: 3, extend: true").replace("tamis/route", "tamis/retry");
    for (what, text, code) in [
        ("two that extend", two, "attachment.second"),
        ("two that decide", with("one", ", order: 3"), "attachment.second"),
        (
            "settings that are no object",
            with("one", ", order: 3, extend: true, config: 5"),
            "attachment.config",
        ),
        ("another world that extends", not_a_router, "attachment.extend"),
    ] {
        let (_, problems) = routers(&(example() + &text));
        assert!(problems.iter().any(|found| found == code), "{what}: {problems:?}");
    }
}

#[test]
fn what_is_asked_at_a_place_of_its_own_is_in_one_phase_and_all_else_in_any() {
    let own = ["route", "retry", "hedge", "breaker", "balance"].map(|one| format!("{one}-policy"));
    let others = ["authorizer", "head-policy", "transformer", "telemetry-policy", "everything"];
    let worlds = own.iter().map(|one| (one.as_str(), true));
    for (world, alone) in worlds.chain(others.map(|one| (one, false))) {
        for phase in ["connection", "authn", "authz", "traffic", "transform", "observe"] {
            let text = format!(
                "{}\n---\nkind: Filter\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: it, namespace: shop }}\n\
                 spec: {{ world: {world} }}\n---\nkind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\n\
                 metadata: {{ name: it, namespace: shop }}\n\
                 spec: {{ targetRefs: [{{ kind: Gateway, name: edge }}], filter: shop/it, phase: {phase}, order: 99 }}\n",
                example()
            );
            let folded = folded(&text, "gateway:shop/edge");
            let problem = folded.problems.iter().find(|one| one.code == "attachment.phase");
            assert_eq!(problem.is_some(), alone && phase != "traffic", "{world} in {phase}");
            let words = format!("of the world {world} ");
            assert!(problem.is_none_or(|one| {
                one.message.contains(&words) && one.message.contains("write `phase: traffic`")
            }));
            // Where a guard may have been meant, the proxy refuses it in the same words.
            let guards = problem.filter(|_| phase.starts_with("auth"));
            let plan = folded.plan.unwrap();
            let planned = plan.filters.iter().find(|one| one.attachment == "shop/it");
            let refusal = planned.and_then(|one| one.refused.as_ref());
            assert!(guards.is_none_or(|one| refusal.is_some_and(|it| it.rule == one.message)));
        }
    }
}

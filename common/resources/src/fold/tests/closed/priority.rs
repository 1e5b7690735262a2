//! Expressions and conditions of one namespace take no request that another namespace asked for before.

use super::*;

/// The names of the routes that have rules in the plan, sorted: of one route in each of two namespaces, with the times since which they are in force.
fn served(
    route: &dyn Fn(&str, &str, &str) -> String,
    routes: [(&str, &str); 2],
    since: [u64; 2],
) -> Vec<String> {
    let [one, other] = routes;
    let text = [MESH, &route("one", one.0, one.1), &route("two", other.0, other.1)].concat();
    let mut documents = read("mesh.yaml", &text).documents;
    for (space, since) in ["one", "two"].into_iter().zip(since) {
        let of = documents.iter_mut().filter(|document| document.metadata.namespace == space);
        of.for_each(|document| document.since = since);
    }
    let plan = folded(&documents).plan.unwrap();
    let router = plan.filters.iter().find(|one| one.filter == "tamis/route").unwrap();
    let routes = router.config["routes"].as_array().unwrap().clone();
    let rules = routes.iter().filter(|route| !route["rules"].as_array().unwrap().is_empty());
    let mut names: Vec<String> =
        rules.map(|route| route["name"].as_str().unwrap().replace("/r", "")).collect();
    names.sort();
    names
}

#[test]
fn no_expression_takes_what_another_namespace_asked_for_before() {
    let route = |space: &str, kind: &str, value: &str| {
        format!(
            "\n---\nkind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\n\
             metadata: {{ name: r, namespace: {space} }}\nspec:\n  parentRefs: [{{ name: edge, namespace: f }}]\n\
             \x20 hostnames: [a.example]\n  rules: [{{ matches: [{{ path: {{ type: {kind}, value: '{value}' }} }}], \
             filters: [{{ type: RequestRedirect, requestRedirect: {{ port: 1 }} }}] }}]\n"
        )
    };
    let (expression, prefix, exact) = ("RegularExpression", "PathPrefix", "Exact");
    for (one, other, first, unknown) in [
        // The longer one would have them, and neither has.
        (
            (expression, "/a/.*"),
            (expression, "(/.*|/aaaaaaaaaaaaaaaaaaaaa)"),
            "one",
            "contested: contested:",
        ),
        ((expression, "/a/.*"), (expression, "/a/[0-9]+"), "one", "contested: contested:"),
        ((expression, "/ab*c"), (expression, "/ac+"), "one", "contested: contested:"),
        ((expression, "/(?i)x"), (expression, "/y"), "one", "contested: contested:"),
        ((prefix, "/a"), (expression, "/.*"), "one", "one two"),
        ((prefix, "/"), (expression, "/b/.*"), "one", "one two"),
        ((prefix, "/a/"), (expression, "/a"), "one", "one two"),
        // An expression that is there already comes before a prefix, as it does within a namespace.
        ((expression, "/.*"), (prefix, "/a"), "one two", "one two"),
        ((exact, "/a"), (expression, "/.*"), "one two", "one two"),
        ((expression, "/a/.*"), (expression, "/b/.*"), "one two", "one two"),
        ((prefix, "/a"), (expression, "/b/.*"), "one two", "one two"),
    ] {
        assert_eq!(served(&route, [one, other], [3, 9]).join(" "), first, "{one:?} {other:?}");
        assert_eq!(
            served(&route, [one, other], [crate::NEW; 2]).join(" "),
            unknown,
            "{one:?} {other:?}"
        );
    }
}

#[test]
fn no_condition_on_calls_takes_what_another_namespace_asked_for_before() {
    let route = |space: &str, kind: &str, wanted: &str| {
        let rest = match kind {
            "GRPCRoute" => format!("matches: [{{ method: {wanted} }}]"),
            _ => format!("matches: [{{ path: {wanted} }}]"),
        };
        format!(
            "\n---\nkind: {kind}\napiVersion: gateway.networking.k8s.io/v1\nmetadata: {{ name: r, namespace: {space} }}\n\
             spec:\n  parentRefs: [{{ name: edge, namespace: f }}]\n  hostnames: [a.example]\n  rules: [{{ {rest} }}]\n"
        )
    };
    let once = |routes: [(&str, &str); 2], since: [u64; 2]| {
        let mut names = served(&route, routes, since);
        names.dedup();
        names.join(" ")
    };
    let (calls, requests) = ("GRPCRoute", "HTTPRoute");
    let cart = (calls, "{ service: shop.Cart }");
    let any = (calls, "{ type: RegularExpression, service: '.*' }");
    let carts = (calls, "{ type: RegularExpression, service: 'shop[.]C.*' }");
    let adds = (calls, "{ method: Add }");
    let all_adds = (calls, "{ type: RegularExpression, method: 'Add|Del' }");
    let prefix = (requests, "{ value: /shop.Cart }");
    let exact = (requests, "{ type: Exact, value: /shop.Cart/Add }");
    let expression = (requests, "{ type: RegularExpression, value: '/shop[.].*' }");
    let everything = (requests, "{ value: / }");
    for (one, other, first, unknown) in [
        // Expressions over services come before prefixes, so they do not take what was asked for before.
        (cart, any, "one", "one two"),
        (prefix, any, "one", "one two"),
        (prefix, carts, "one", "one two"),
        (everything, any, "one", "one two"),
        (any, carts, "one", "contested:"),
        (expression, carts, "one", "contested:"),
        (carts, expression, "one", "contested:"),
        ((calls, "{ type: RegularExpression, service: 'a|b' }"), carts, "one", "contested:"),
        (any, cart, "one two", "one two"),
        // The same requests, written in two ways.
        (cart, prefix, "one", "contested:"),
        (prefix, cart, "one", "contested:"),
        (exact, (calls, "{ service: shop.Cart, method: Add }"), "one", "contested:"),
        // Methods of any service come behind prefixes, and before a prefix of everything.
        (everything, adds, "one", "one two"),
        (everything, all_adds, "one", "one two"),
        (adds, all_adds, "one", "contested:"),
        (adds, adds, "one", "contested:"),
        // What comes behind keeps its place, behind what nobody gets.
        (adds, any, "one", "contested: one"),
        (cart, adds, "one two", "one two"),
        (exact, any, "one two", "one two"),
        (any, adds, "one two", "contested: two"),
        // Others begin with other words.
        ((calls, "{ service: a.B }"), carts, "one two", "one two"),
        ((requests, "{ value: /b }"), carts, "one two", "one two"),
    ] {
        assert_eq!(once([one, other], [3, 9]), first, "{one:?} {other:?}");
        assert_eq!(once([one, other], [crate::NEW; 2]), unknown, "{one:?} {other:?}");
    }
}

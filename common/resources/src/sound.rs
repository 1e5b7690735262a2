//! Finds the routes that a router accepts: its configuration combines the routes of many owners.
//!
//! The filter itself decides; none of its rules is repeated here. A refused route is left out: its requests
//! get 500, and all other routes serve.

use std::collections::BTreeMap;

use serde_json::Value as Json;

/// What to do about a configuration that its filter refuses.
pub const CONFIG_REMEDY: &str =
    "correct `config` of the attachment, or pin a version that accepts it";

/// The result of a filter's `validate`: JSON pointer and message of every fault; empty when it accepts the
/// configuration.
pub type ValidationFaults = Vec<(String, String)>;

/// A route that a router refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteFault {
    /// Its kind.
    pub kind: String,
    /// Its `namespace/name`.
    pub route: String,
    /// The place of the fault in its document, as far as the router reports it.
    pub pointer: String,
    /// The router's message.
    pub message: String,
    /// The whole route is left out: the matches of its rules are unknown, so all of its hosts get 500.
    pub whole: bool,
    /// It is not at fault alone: the router does not take it together with the others.
    pub together: bool,
}

/// The part of a configuration that a router accepts, and what was left out.
///
/// Tries halves until the faulty routes are known: a few calls per faulty route, however many are sound.
pub fn sound_routes(
    config: &Json,
    validate: &mut dyn FnMut(&Json) -> ValidationFaults,
) -> (Json, Vec<RouteFault>) {
    let all: Vec<Json> = config.get("routes").and_then(Json::as_array).cloned().unwrap_or_default();
    let with = |routes: &[Json]| {
        let mut config = config.clone();
        if let Some(map) = config.as_object_mut() {
            map.insert("routes".to_owned(), Json::Array(routes.to_vec()));
        }
        config
    };
    // Without any route, only what is beside them can be at fault: the router's own settings.
    let more = config.as_object().is_some_and(|map| map.keys().any(|name| name != "routes"));
    if more && !validate(&with(&[])).is_empty() {
        return (config.clone(), Vec::new());
    }
    let validate = &mut |routes: &[Json]| validate(&with(routes));
    let mut faulty = Vec::new();
    seek(&all, 0, validate, &mut faulty);
    let (mut routes, mut last, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    for (at, route) in all.into_iter().enumerate() {
        let Some((_, said)) = faulty.iter().find(|(index, _)| *index == at) else {
            routes.push(route);
            continue;
        };
        let kept = reduced(&route, said, validate);
        let text =
            |name: &str| route.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        for (pointer, message) in said {
            let (kind, route, pointer) = (text("kind"), text("name"), in_document(pointer));
            let whole = !matches!(kept, Some((_, false)));
            let message = message.clone();
            left_out.push(RouteFault { kind, route, pointer, message, whole, together: false });
        }
        match kept {
            // Its matches are known, so it keeps its place.
            Some((route, false)) => routes.push(route),
            // It claims whole hosts, so routes with known matches come first.
            Some((route, true)) => last.push(route),
            None => {}
        }
    }
    routes.append(&mut last);
    let routes = close_crowds(routes, validate, &mut left_out);
    (with(&routes), left_out)
}

/// Closes routes that the router takes one by one, but not together: those of one namespace after the other, the one with
/// the most bytes first, until it takes them. A registry refuses the change that would make this necessary.
fn close_crowds(
    mut routes: Vec<Json>,
    validate: &mut dyn FnMut(&[Json]) -> ValidationFaults,
    left_out: &mut Vec<RouteFault>,
) -> Vec<Json> {
    let mut bytes = namespace_bytes(&routes);
    while let Some((_, said)) = validate(&routes).first() {
        let Some(most) = bytes.values().copied().max() else { break };
        let text = |route: &Json, name: &str| {
            route.get(name).and_then(Json::as_str).unwrap_or_default().to_owned()
        };
        let (crowd, mut others): (Vec<Json>, Vec<Json>) =
            routes.into_iter().partition(|route| bytes.get(namespace(route)) == Some(&most));
        for route in crowd {
            left_out.push(RouteFault {
                kind: text(&route, "kind"),
                route: text(&route, "name"),
                pointer: "/spec".to_owned(),
                message: format!(
                    "together with the other routes it is too much for the router: {said}"
                ),
                whole: true,
                together: true,
            });
            // It claims whole hosts, so routes with known matches come first.
            others.push(with_rules(&route, |_, rule| closed(rule, false)));
        }
        bytes.retain(|_, bytes| *bytes != most);
        routes = others;
    }
    routes
}

/// Bytes of the routes of each namespace, as JSON.
pub(crate) fn namespace_bytes(routes: &[Json]) -> BTreeMap<String, usize> {
    let mut bytes = BTreeMap::<String, usize>::new();
    for route in routes {
        let sum = bytes.entry(namespace(route).to_owned()).or_default();
        *sum = sum.saturating_add(route.to_string().len());
    }
    bytes
}

/// The namespace of a route's `namespace/name`.
pub(crate) fn namespace(route: &Json) -> &str {
    let name = route.get("name").and_then(Json::as_str).unwrap_or_default();
    name.split_once('/').map_or("", |(namespace, _)| namespace)
}

fn seek(
    routes: &[Json],
    from: usize,
    validate: &mut dyn FnMut(&[Json]) -> ValidationFaults,
    faulty: &mut Vec<(usize, ValidationFaults)>,
) {
    if routes.is_empty() {
        return;
    }
    let said = validate(routes);
    if said.is_empty() {
        return;
    }
    if routes.len() == 1 {
        faulty.push((from, said));
        return;
    }
    let (first, second) = routes.split_at(routes.len() / 2);
    seek(first, from, validate, faulty);
    seek(second, from.saturating_add(first.len()), validate, faulty);
}

/// The replacement for a route: its faulty rules without their actions, or else every rule without its
/// matches. The second value: whether it is the latter. `None` when the router accepts neither.
fn reduced(
    route: &Json,
    said: &ValidationFaults,
    validate: &mut dyn FnMut(&[Json]) -> ValidationFaults,
) -> Option<(Json, bool)> {
    let mut takes = |route: &Json| validate(std::slice::from_ref(route)).is_empty();
    let faults: Option<Vec<usize>> = said.iter().map(|(pointer, _)| rule_of(pointer)).collect();
    if let Some(faults) = faults {
        let closed =
            with_rules(
                route,
                |at, rule| {
                    if faults.contains(&at) { closed(rule, true) } else { rule.clone() }
                },
            );
        if takes(&closed) {
            return Some((closed, false));
        }
    }
    let whole = with_rules(route, |_, rule| closed(rule, false));
    takes(&whole).then_some((whole, true))
}

/// The rule that a pointer names, if the pointer is in its actions and not in its matches.
fn rule_of(pointer: &str) -> Option<usize> {
    let mut steps = pointer.strip_prefix("/routes/0/rules/")?.split('/');
    let rule = steps.next()?.parse().ok()?;
    steps.next().filter(|part| *part != "matches").map(|_| rule)
}

fn with_rules(route: &Json, rule: impl Fn(usize, &Json) -> Json) -> Json {
    let mut route = route.clone();
    if let Some(Json::Array(rules)) = route.get_mut("rules") {
        for (at, one) in rules.iter_mut().enumerate() {
            *one = rule(at, one);
        }
    }
    route
}

/// A rule without filters and backends, which responds 500. Rules keep their names: filters are attached by
/// them.
fn closed(rule: &Json, matches: bool) -> Json {
    let mut closed = serde_json::Map::new();
    let kept = if matches { &["name", "matches"][..] } else { &["name"] };
    for name in kept {
        if let Some(value) = rule.get(name) {
            closed.insert((*name).to_owned(), value.clone());
        }
    }
    Json::Object(closed)
}

/// Converts a place in a configuration with only this route to a place in the route's document.
fn in_document(pointer: &str) -> String {
    match pointer.strip_prefix("/routes/0/") {
        Some(rest) if rest.starts_with("rules") || rest.starts_with("hostnames") => {
            format!("/spec/{rest}")
        }
        _ => "/spec".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn route(name: &str, rules: Json) -> Json {
        json!({ "name": name, "kind": "HTTPRoute", "hostnames": [format!("{}.example", &name[2..])], "rules": rules })
    }

    /// A router that refuses the value `bad`, wherever it is.
    fn validate(config: &Json) -> ValidationFaults {
        fn seek(json: &Json, place: &str, found: &mut ValidationFaults) {
            match json {
                Json::Object(map) => {
                    map.iter().for_each(|(name, one)| seek(one, &format!("{place}/{name}"), found));
                }
                Json::Array(all) => {
                    all.iter()
                        .enumerate()
                        .for_each(|(at, one)| seek(one, &format!("{place}/{at}"), found));
                }
                Json::String(text) if text == "bad" => {
                    found.push((place.to_owned(), "it is bad".to_owned()));
                }
                _ => {}
            }
        }
        let mut found = Vec::new();
        seek(config, "", &mut found);
        found
    }

    #[test]
    fn settings_of_a_router_are_judged_with_each_part_and_are_no_fault_of_a_route() {
        let rules = |value: &str| json!([{ "name": "x", "backendRefs": [{ "service": value }] }]);
        let routes = json!([route("f/good", rules("a/b:80")), route("f/wrong", rules("bad"))]);
        // A router that needs its settings.
        let mut needing = |config: &Json| match config.pointer("/config/share") {
            Some(Json::String(_)) => validate(config),
            _ => vec![("/config/share".to_owned(), "it is missing".to_owned())],
        };
        for (settings, left_out) in [
            (json!({ "share": "some" }), &["f/wrong"][..]),
            (json!({ "share": "bad" }), &[]),
            (json!({ "other": "some" }), &[]),
        ] {
            let config = json!({ "routes": routes, "config": settings });
            let (sound, found) = sound_routes(&config, &mut needing);
            let found: Vec<_> = found.iter().map(|one| one.route.as_str()).collect();
            assert_eq!(found, left_out, "{settings}");
            assert_eq!(sound["config"], settings);
            assert_eq!(sound["routes"].as_array().unwrap().len(), 2);
        }
    }

    #[test]
    fn a_faulty_route_is_left_out_and_all_others_stay() {
        let good = |name: &str| {
            route(name, json!([{ "name": "all", "backendRefs": [{ "service": "a/b:80" }] }]))
        };
        let mut routes: Vec<Json> = (0..40).map(|at| good(&format!("f/r{at}"))).collect();
        routes.insert(
            7,
            route(
                "g/match",
                json!([{ "name": "admin", "matches": [{ "path": { "value": "bad" } }] }]),
            ),
        );
        routes.insert(
            23,
            route(
                "g/act",
                json!([{ "name": "one", "filters": ["bad"] }, { "backendRefs": ["x"] }]),
            ),
        );
        let asked = std::cell::Cell::new(0);
        let mut ask = |config: &Json| {
            asked.set(asked.get() + 1);
            validate(config)
        };
        let (sound, left_out) = sound_routes(&json!({ "routes": routes }), &mut ask);
        assert!(validate(&sound).is_empty());
        assert!(asked.get() < 40, "{} questions", asked.get());
        let found: Vec<(&str, &str, bool)> = left_out
            .iter()
            .map(|one| (one.route.as_str(), one.pointer.as_str(), one.whole))
            .collect();
        assert_eq!(
            found,
            [
                ("g/match", "/spec/rules/0/matches/0/path/value", true),
                ("g/act", "/spec/rules/0/filters/0", false),
            ]
        );
        let all = sound["routes"].as_array().unwrap();
        assert_eq!(all.len(), 42);
        let named = |name: &str| all.iter().find(|one| one["name"] == name).unwrap();
        assert_eq!(named("g/match")["rules"], json!([{ "name": "admin" }]));
        assert_eq!(all.last().unwrap()["name"], "g/match", "who knows what it matches comes first");
        assert_eq!(named("g/act")["rules"], json!([{ "name": "one" }, { "backendRefs": ["x"] }]));
    }

    /// A router that takes so many bytes of rules that have matches.
    fn roomy(config: &Json, room: usize) -> ValidationFaults {
        let rules = config["routes"].as_array().into_iter().flatten();
        let open = rules.flat_map(|route| route["rules"].as_array().unwrap());
        let bytes: usize = open
            .filter(|rule| rule.get("matches").is_some())
            .map(|rule| rule.to_string().len())
            .sum();
        if bytes <= room { validate(config) } else { vec![(String::new(), "no room".to_owned())] }
    }

    #[test]
    fn routes_that_do_not_fit_together_cost_the_namespace_with_the_most_and_nobody_else() {
        let some = |name: &str, count: usize| {
            let rule = json!({ "name": "one", "matches": [{ "path": { "value": "/some" } }] });
            route(name, Json::Array(vec![rule; count]))
        };
        let (one, many) = (some("a/few", 1), some("b/many", 40));
        let two = || [some("b/many", 20), some("b/more", 20), one.clone(), some("c/some", 10)];
        let bytes = |routes: &[Json]| Json::Array(routes.to_vec()).to_string().len();
        for (routes, room, closed) in [
            (vec![one.clone(), many.clone()], bytes(&[one.clone(), many.clone()]), &[][..]),
            (vec![one.clone(), many.clone()], bytes(std::slice::from_ref(&many)) / 2, &["b/many"]),
            // Neither half is too much: only together.
            (two().to_vec(), 1_900, &["b/many", "b/more"]),
            (two().to_vec(), 300, &["b/many", "b/more", "c/some"]),
        ] {
            let (sound, left_out) =
                sound_routes(&json!({ "routes": routes }), &mut |config| roomy(config, room));
            assert!(roomy(&sound, room).is_empty(), "{closed:?}");
            let found: Vec<_> = left_out.iter().map(|one| one.route.as_str()).collect();
            assert_eq!(found, closed);
            assert!(left_out.iter().all(|one| one.whole), "{left_out:?}");
            let all = sound["routes"].as_array().unwrap();
            assert_eq!(all.len(), routes.len(), "each still claims its hosts");
            assert!(all[all.len() - closed.len()..].iter().all(|one| {
                closed.contains(&one["name"].as_str().unwrap())
                    && one["rules"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .all(|rule| *rule == json!({ "name": "one" }))
            }));
        }
        // A router that takes nothing has no routes that could help it.
        let (_, left_out) = sound_routes(&json!({ "routes": two() }), &mut |_| {
            vec![(String::new(), "never".to_owned())]
        });
        assert_eq!(left_out.len(), 4);
    }

    #[test]
    fn a_configuration_that_is_wrong_beside_its_routes_is_nobodys_fault_among_them() {
        let config = json!({ "routes": [route("f/a", json!([{}]))], "more": "bad" });
        let (sound, left_out) = sound_routes(&config, &mut |config| validate(config));
        assert!(left_out.is_empty());
        assert!(!validate(&sound).is_empty());
    }
}

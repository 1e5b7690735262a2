//! Finds the routes that a router accepts: its configuration combines the routes of many owners.
//!
//! The filter itself decides; none of its rules is repeated here. A refused route is left out: its requests
//! get 500, and all other routes serve.

use std::collections::{BTreeMap, HashMap, HashSet};

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

/// The part of a configuration that a router accepts, and what was left out, as [`RouteVerdicts::sound_routes`] without
/// the earlier verdicts of a router.
pub fn sound_routes(
    config: &Json,
    validate: &mut dyn FnMut(&Json) -> ValidationFaults,
) -> (Json, Vec<RouteFault>) {
    RouteVerdicts::default().sound_routes("", config, validate)
}

/// Faulty routes of one namespace after which its others are not asked about, but closed: whoever has more would let all
/// others wait for it.
pub const MAX_FAULTY_ROUTES: usize = 100;
/// Bytes of routes whose verdicts are kept, more than those of one router. With more, only those asked about last are kept.
const MAX_KNOWN_BYTES: usize = 8 << 20;

/// What a router said about routes, so that a change of one route asks about that one.
#[derive(Debug, Default)]
pub struct RouteVerdicts {
    /// All that a verdict depends on, except the route.
    about: String,
    settings_are_sound: bool,
    /// By the text of a route.
    known: HashMap<String, RouteVerdict>,
    bytes: usize,
}

/// What a router says about a route alone.
#[derive(Debug, Clone)]
enum RouteVerdict {
    Sound,
    /// Its faults, and what stands in for it: the replacement, and whether it claims whole hosts. `None`: the router accepts
    /// no replacement.
    Faulty(ValidationFaults, Option<(Json, bool)>),
}

/// The faults of a route that its router was not asked about.
fn unasked(namespace: &str) -> ValidationFaults {
    let message = format!(
        "namespace {namespace} has {MAX_FAULTY_ROUTES} routes that the router refuses, so this one is closed without asking; correct those first"
    );
    vec![(String::new(), message)]
}

impl RouteVerdicts {
    /// The part of a configuration that a router accepts, and what was left out. `about` names everything else that its
    /// verdicts depend on: with another one, nothing that was said before counts.
    ///
    /// Asks about what is not known in halves until the faulty routes are known: a few calls per faulty route, however
    /// many are sound, and no more than for [`MAX_FAULTY_ROUTES`] of each namespace.
    pub fn sound_routes(
        &mut self,
        about: &str,
        config: &Json,
        validate: &mut dyn FnMut(&Json) -> ValidationFaults,
    ) -> (Json, Vec<RouteFault>) {
        let mut settings = config.clone();
        let taken = settings.get_mut("routes").map(Json::take);
        let Some(Json::Array(all)) = taken else { return (config.clone(), Vec::new()) };
        let with = |routes: Vec<Json>| {
            let mut config = settings.clone();
            if let Some(map) = config.as_object_mut() {
                map.insert("routes".to_owned(), Json::Array(routes));
            }
            config
        };
        self.follow(format!("{settings}\n{about}"));
        // Without any route, only the router's own settings can be at fault.
        let more = config.as_object().is_some_and(|map| map.keys().any(|name| name != "routes"));
        if more && !self.settings_are_sound && !validate(&with(Vec::new())).is_empty() {
            return (config.clone(), Vec::new());
        }
        self.settings_are_sound = true;
        let validate = &mut |routes: &[&Json]| {
            validate(&with(routes.iter().map(|route| (*route).clone()).collect()))
        };
        let verdicts = self.verdicts(&all, validate);
        let (mut routes, mut last, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        for (route, verdict) in all.into_iter().zip(verdicts) {
            let RouteVerdict::Faulty(said, kept) = verdict else {
                routes.push(route);
                continue;
            };
            left_out.extend(route_faults(&route, &said, !matches!(kept, Some((_, false)))));
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
        (with(routes), left_out)
    }

    fn follow(&mut self, about: String) {
        if self.about != about {
            *self = Self { about, ..Self::default() };
        }
    }

    /// The verdict on each route.
    fn verdicts(&mut self, routes: &[Json], validate: &mut Validate<'_>) -> Vec<RouteVerdict> {
        let texts: Vec<String> = routes.iter().map(Json::to_string).collect();
        let mut verdicts: Vec<Option<RouteVerdict>> =
            texts.iter().map(|text| self.known.get(text).cloned()).collect();
        let mut search = RouteSearch { routes, faulty: BTreeMap::new(), found: Vec::new() };
        for (route, verdict) in routes.iter().zip(&verdicts) {
            if matches!(verdict, Some(RouteVerdict::Faulty(..))) {
                search.count(route);
            }
        }
        let unknown = verdicts.iter().enumerate().filter(|(_, verdict)| verdict.is_none());
        let mut unknown: Vec<usize> = unknown.map(|(at, _)| at).collect();
        // Halves that are of one namespace end with it.
        unknown.sort_by_key(|at| routes.get(*at).map(namespace));
        search.seek(&unknown, validate);
        let RouteSearch { found, .. } = search;
        for (at, verdict) in found {
            if let (Some(place), Some(text)) = (verdicts.get_mut(at), texts.get(at)) {
                self.keep(text, &verdict);
                *place = Some(verdict);
            }
        }
        if self.bytes > MAX_KNOWN_BYTES {
            let now: HashSet<&String> = texts.iter().collect();
            self.known.retain(|text, _| now.contains(text));
            self.bytes = self.known.keys().map(String::len).sum();
        }
        closed_unasked(routes, verdicts, validate)
    }

    fn keep(&mut self, text: &str, verdict: &RouteVerdict) {
        if self.known.insert(text.to_owned(), verdict.clone()).is_none() {
            self.bytes = self.bytes.saturating_add(text.len());
        }
    }
}

/// Asks a router about some routes together.
type Validate<'v> = dyn FnMut(&[&Json]) -> ValidationFaults + 'v;

/// A search for the faulty ones among routes.
struct RouteSearch<'r> {
    routes: &'r [Json],
    /// Faulty routes, by namespace.
    faulty: BTreeMap<&'r str, usize>,
    /// Verdicts, by index.
    found: Vec<(usize, RouteVerdict)>,
}

impl<'r> RouteSearch<'r> {
    fn count(&mut self, route: &'r Json) {
        let count = self.faulty.entry(namespace(route)).or_default();
        *count = count.saturating_add(1);
    }

    /// Asks about those of these routes whose namespace has few faulty ones, in halves.
    fn seek(&mut self, indices: &[usize], validate: &mut Validate<'_>) {
        let few = |route: &Json| {
            self.faulty.get(namespace(route)).is_none_or(|count| *count < MAX_FAULTY_ROUTES)
        };
        let asked = indices.iter().filter_map(|at| Some((*at, self.routes.get(*at)?)));
        let (indices, routes): (Vec<usize>, Vec<&'r Json>) =
            asked.filter(|(_, route)| few(route)).unzip();
        let Some(first) = routes.first() else { return };
        let said = validate(&routes);
        if said.is_empty() {
            self.found.extend(indices.into_iter().map(|at| (at, RouteVerdict::Sound)));
            return;
        }
        if let [at] = indices.as_slice() {
            self.count(first);
            let kept = reduced(first, &said, validate);
            self.found.push((*at, RouteVerdict::Faulty(said, kept)));
            return;
        }
        let (one, other) = indices.split_at(indices.len() / 2);
        self.seek(one, validate);
        self.seek(other, validate);
    }
}

/// Every verdict; routes without one are closed, without their matches.
fn closed_unasked(
    routes: &[Json],
    verdicts: Vec<Option<RouteVerdict>>,
    validate: &mut Validate<'_>,
) -> Vec<RouteVerdict> {
    let whole = |route: &Json| with_rules(route, |_, rule| closed(rule, false));
    let unasked_of = routes.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_none());
    let wholes: Vec<Json> = unasked_of.map(|(route, _)| whole(route)).collect();
    let all: Vec<&Json> = wholes.iter().collect();
    // Their rules are gone. What is refused of them all the same claims nothing, without asking about each.
    let taken = all.is_empty() || validate(&all).is_empty();
    let mut wholes = wholes.into_iter();
    let verdict = |(route, verdict): (&Json, Option<RouteVerdict>)| {
        verdict.unwrap_or_else(|| {
            let kept = wholes.next().filter(|_| taken).map(|whole| (whole, true));
            RouteVerdict::Faulty(unasked(namespace(route)), kept)
        })
    };
    routes.iter().zip(verdicts).map(verdict).collect()
}

fn route_faults<'f>(
    route: &'f Json,
    said: &'f ValidationFaults,
    whole: bool,
) -> impl Iterator<Item = RouteFault> + 'f {
    let text = |name: &str| route.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
    said.iter().map(move |(pointer, message)| RouteFault {
        kind: text("kind"),
        route: text("name"),
        pointer: in_document(pointer),
        message: message.clone(),
        whole,
        together: false,
    })
}

/// Closes routes that the router takes one by one, but not together: those of one namespace after the other, the one with
/// the most bytes first, until it takes them. A registry refuses the change that would make this necessary.
fn close_crowds(
    mut routes: Vec<Json>,
    validate: &mut Validate<'_>,
    left_out: &mut Vec<RouteFault>,
) -> Vec<Json> {
    let mut bytes = namespace_bytes(&routes);
    while let Some((_, said)) = validate(&routes.iter().collect::<Vec<_>>()).first() {
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

/// The replacement for a route: its faulty rules without their actions, or else every rule without its
/// matches. The second value: whether it is the latter. `None` when the router accepts neither.
fn reduced(
    route: &Json,
    said: &ValidationFaults,
    validate: &mut Validate<'_>,
) -> Option<(Json, bool)> {
    let mut takes = |route: &Json| validate(&[route]).is_empty();
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

    #[test]
    fn faulty_routes_of_a_namespace_cost_bounded_work_and_what_was_said_is_not_asked_again() {
        let some = |namespace: &str, at: usize, value: &str| {
            route(
                &format!("{namespace}/{at}"),
                json!([{ "matches": [{ "path": { "value": value } }] }]),
            )
        };
        let of = |faulty: usize, sound: usize| -> Vec<Json> {
            let bad = (0..faulty).map(|at| some("a", at, "bad"));
            let rest = (0..sound).map(|at| some("a", faulty + at, "/a"));
            bad.chain(rest).chain((0..50).map(|at| some("b", at, "/b"))).collect()
        };
        // Routes that were asked about, in all calls.
        let asked = std::cell::Cell::new(0);
        let ask = |config: &Json| {
            asked.set(asked.get() + 1 + config["routes"].as_array().map_or(0, Vec::len));
            validate(config)
        };
        let all = MAX_FAULTY_ROUTES;
        for (faulty, sound, left_out, open) in [
            (0, 300, 0, 350),
            (1, 300, 1, 350),
            (all - 1, 300, all - 1, 350),
            (all, 300, all + 300, 50),
            (2_000, 0, 2_000, 50),
            (2_000, 300, 2_300, 50),
        ] {
            let mut verdicts = RouteVerdicts::default();
            let mut routes = of(faulty, sound);
            let config = json!({ "routes": routes });
            asked.set(0);
            let (first, faults) = verdicts.sound_routes("x", &config, &mut { ask });
            let is_open = |one: &&Json| one["rules"][0].get("matches").is_some();
            let opened =
                |sound: &Json| sound["routes"].as_array().unwrap().iter().filter(is_open).count();
            assert_eq!((faults.len(), opened(&first)), (left_out, open), "{faulty} {sound}");
            assert!(validate(&first).is_empty());
            let most = 12 * (routes.len() + 12 * all);
            assert!(asked.get() <= most, "{faulty} {sound}: {} of {most}", asked.get());
            // The same again, and with one more route of somebody else.
            routes.push(some("b", 50, "/b"));
            for (config, open) in [(config.clone(), open), (json!({ "routes": routes }), open + 1)]
            {
                asked.set(0);
                let (again, same) = verdicts.sound_routes("x", &config, &mut { ask });
                assert_eq!((same, opened(&again)), (faults.clone(), open), "{faulty} {sound}");
                let most = 3 * (routes.len() + 3);
                assert!(asked.get() <= most, "{faulty} {sound}: {} of {most}", asked.get());
            }
            // What was said about another filter, or with other settings, does not count.
            for (about, settings) in [("y", json!({})), ("y", json!({ "share": "some" }))] {
                let config = json!({ "routes": routes, "config": settings });
                let (_, same) = verdicts.sound_routes(about, &config, &mut { ask });
                assert_eq!(same, faults);
                assert_eq!(
                    verdicts
                        .known
                        .values()
                        .filter(|one| matches!(one, RouteVerdict::Faulty(..)))
                        .count(),
                    faulty.min(all)
                );
            }
        }
    }

    #[test]
    fn routes_that_are_mended_are_taken_and_those_that_waited_are_asked_about() {
        let some = |at: usize, value: &str| {
            route(&format!("a/{at}"), json!([{ "matches": [{ "path": { "value": value } }] }]))
        };
        let mut routes: Vec<Json> = (0..MAX_FAULTY_ROUTES + 40).map(|at| some(at, "bad")).collect();
        routes.push(some(900, "/sound"));
        let mut verdicts = RouteVerdicts::default();
        let mut left_out = |routes: &[Json]| {
            let config = json!({ "routes": routes });
            verdicts.sound_routes("", &config, &mut |config| validate(config)).1.len()
        };
        assert_eq!(left_out(&routes), MAX_FAULTY_ROUTES + 41);
        for (at, route) in routes.iter_mut().enumerate().take(60) {
            *route = some(at, "/sound");
        }
        assert_eq!(left_out(&routes), MAX_FAULTY_ROUTES - 20);
    }

    #[test]
    fn what_is_kept_of_verdicts_is_bounded() {
        let mut verdicts = RouteVerdicts::default();
        for round in 0..5 {
            let long = "x".repeat(3 << 10);
            let routes: Vec<Json> = (0..1_000)
                .map(|at| route(&format!("a/{round}-{at}"), json!([{ "name": long }])))
                .collect();
            let config = json!({ "routes": routes });
            verdicts.sound_routes("", &config, &mut |config| validate(config));
            let bytes: usize = verdicts.known.keys().map(String::len).sum();
            assert_eq!(bytes, verdicts.bytes);
            assert!(bytes <= MAX_KNOWN_BYTES && verdicts.known.len() >= 1_000, "{bytes}");
        }
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

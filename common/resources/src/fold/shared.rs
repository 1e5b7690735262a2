//! Routes of several namespaces on one listener: decides which of them gets what both claim.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::route::{Route, object};
use super::{ACCEPTED, Fold, longest};
use crate::document::{Document, NEW};
use crate::kinds::{GrpcMethodMatch, PathMatchType, call_path};

/// A match of a rule of a route: three indices.
type MatchIndex = (usize, usize, usize);

impl Fold<'_> {
    /// The routes of a listener, as its router reads them.
    ///
    /// Two namespaces that claim the same requests contradict each other. The one longest in force keeps
    /// them, else the namespace of the gateway; if neither applies, the requests get 500. No name and no
    /// date that an author writes decides.
    pub(super) fn shared(
        &mut self,
        gateway: &Document,
        here: Vec<(&Route<'_>, Vec<String>)>,
    ) -> Vec<Json> {
        let namespace = |at: usize| here.get(at).map(|(route, _)| namespace_of(route));
        let mut lost: BTreeSet<MatchIndex> = BTreeSet::new();
        let mut nobodys: Vec<Json> = Vec::new();
        for ((host, wanted), places) in contested(&here) {
            let mut since: BTreeMap<&str, u64> = BTreeMap::new();
            for (route, _) in places.iter().filter_map(|(at, ..)| here.get(*at)) {
                let first = since.entry(namespace_of(route)).or_insert(NEW);
                *first = route.document.since.min(*first);
            }
            let own = gateway.metadata.namespace.as_str();
            let own = since.contains_key(own).then_some(own);
            let spaces: Vec<(&str, u64)> = since.into_iter().collect();
            let longest = longest(spaces.iter().map(|(_, since)| *since));
            let winner = longest.and_then(|at| spaces.get(at)).map(|(space, _)| *space).or(own);
            for place in &places {
                if winner.is_some() && namespace(place.0) == winner {
                    continue;
                }
                lost.insert(*place);
                self.contradicts(&here, *place, &places, winner, &host);
            }
            if winner.is_none() {
                nobodys.extend(closed(&host, &wanted));
            }
        }
        let same = lost.clone();
        let overtaken = overtaken(gateway, &here).into_iter();
        for CapturedRequest { place, by, winner, host, wanted } in
            overtaken.filter(|one| !same.contains(&one.place))
        {
            if winner.is_none() {
                nobodys.extend(closed(&host, &wanted));
            }
            if lost.insert(place) {
                self.contradicts(&here, place, &[place, by], winner.as_deref(), &host);
            }
        }
        let routes = here.into_iter().enumerate().map(|(at, (route, hosts))| {
            let json = route.json(hosts);
            if lost.iter().any(|(one, ..)| *one == at) { without(json, at, &lost) } else { json }
        });
        routes.chain(nobodys).collect()
    }

    fn contradicts(
        &mut self,
        here: &[(&Route<'_>, Vec<String>)],
        place: MatchIndex,
        places: &[MatchIndex],
        winner: Option<&str>,
        host: &str,
    ) {
        let of = |(at, rule, wanted): MatchIndex| {
            let (route, _) = here.get(at)?;
            Some((route.document, format!("/spec/rules/{rule}/matches/{wanted}")))
        };
        let Some((document, pointer)) = of(place) else { return };
        let other = places.iter().filter(|one| one.0 != place.0).filter_map(|one| of(*one));
        let other = other.filter(|(one, _)| {
            one.metadata.namespace != document.metadata.namespace
                && winner.is_none_or(|winner| one.metadata.namespace == winner)
        });
        let others: Vec<_> = other.collect();
        let names: Vec<String> =
            others.iter().map(|(one, _)| format!("{} {}", one.kind(), one.key())).collect();
        let hosts = if host.is_empty() { "any host" } else { host };
        let then =
            if winner.is_some() { "which is in force for longer" } else { "so neither gets them" };
        let message =
            format!("the same requests for {hosts} are routed by {}, {then}", names.join(", "));
        let problem = document.problem("route.conflict", &pointer, message);
        let problem =
            problem.help("change one of the matches, or agree on who routes these requests");
        let others = others.into_iter();
        let problem = problem.also(others.map(|(one, pointer)| one.place(&pointer, "the other")));
        if self.problems.is_new(&problem, &problem.message) {
            self.fail(document, ACCEPTED, "Conflicted", problem);
        }
    }
}

fn namespace_of<'a>(route: &Route<'a>) -> &'a str {
    &route.document.metadata.namespace
}

/// A regular expression that would take requests of another namespace.
struct CapturedRequest {
    place: MatchIndex,
    by: MatchIndex,
    /// Whose namespace has the requests; `None`: nobody.
    winner: Option<String>,
    host: String,
    wanted: String,
}

/// A path that a match asks for.
struct MatchedPath<'a> {
    place: MatchIndex,
    namespace: &'a str,
    since: u64,
    kind: PathMatchType,
    value: String,
    /// Methods of any service: the router tries them behind all prefixes but the one of everything.
    behind: bool,
    host: String,
    wanted: String,
}

/// Regular expressions that lose against what another namespace asks for on the same host. The texts of two expressions do
/// not show which requests both match, and the longer one would win: so an expression takes effect, together with the
/// expressions and prefixes of others, only where their beginnings differ or where it is longer in force.
fn overtaken(gateway: &Document, here: &[(&Route<'_>, Vec<String>)]) -> Vec<CapturedRequest> {
    let asked = asked(here);
    let own = |one: &MatchedPath<'_>| one.namespace == gateway.metadata.namespace;
    let is_expression = |one: &&MatchedPath<'_>| one.kind == PathMatchType::RegularExpression;
    let mut found = Vec::new();
    for one in asked.iter().filter(is_expression) {
        let winner = |other: &&MatchedPath<'_>| {
            let is_tried_after = is_expression(other) && !other.behind || other.is_a_prefix();
            let meets = other.namespace != one.namespace
                && other.host == one.host
                && !(one.behind && is_tried_after)
                && may_meet(&one.value, is_expression(other), &other.value);
            match (one.since.cmp(&other.since), is_expression(other)) {
                _ if !meets => None,
                (Ordering::Less, _) => None,
                (Ordering::Greater, _) => Some(Some(other.namespace.to_owned())),
                // Both are in force equally long. A prefix is matched after expressions, so it takes nothing from them.
                (Ordering::Equal, false) => None,
                (Ordering::Equal, true) if own(one) => None,
                (Ordering::Equal, true) => Some(own(other).then(|| other.namespace.to_owned())),
            }
        };
        let mut lost = asked.iter().filter_map(|other| Some((other, winner(&other)?)));
        if let Some((other, winner)) = lost.next() {
            let (host, wanted) = (one.host.clone(), one.wanted.clone());
            found.push(CapturedRequest { place: one.place, by: other.place, winner, host, wanted });
        }
    }
    found
}

/// The prefixes and expressions that routes of several namespaces ask for.
fn asked<'a>(here: &'a [(&Route<'_>, Vec<String>)]) -> Vec<MatchedPath<'a>> {
    let mut asked = Vec::new();
    let spaces: BTreeSet<&str> = here.iter().map(|(route, _)| namespace_of(route)).collect();
    // The usual case costs nothing.
    if spaces.len() < 2 {
        return asked;
    }
    for (at, (route, hosts)) in here.iter().enumerate().filter(|(_, (route, _))| !route.left_out) {
        let any = [String::new()];
        let hosts = if hosts.is_empty() { &any[..] } else { hosts };
        for (rule, json) in route.rules.iter().enumerate() {
            for (wanted, one) in matches(json).iter().enumerate() {
                let (kind, value) = path_of(one);
                // Exact paths come before expressions.
                if kind == PathMatchType::Exact {
                    continue;
                }
                let since = route.document.path_since(kind, &value);
                let behind = is_of_any_service(one);
                asked.extend(hosts.iter().map(|host| MatchedPath {
                    place: (at, rule, wanted),
                    namespace: namespace_of(route),
                    since,
                    kind,
                    value: value.clone(),
                    behind,
                    host: host.to_ascii_lowercase(),
                    wanted: canonical(one),
                }));
            }
        }
    }
    asked
}

impl MatchedPath<'_> {
    /// Whether it is a prefix of some paths, not of all.
    fn is_a_prefix(&self) -> bool {
        self.kind == PathMatchType::PathPrefix && !self.value.trim_end_matches('/').is_empty()
    }
}

/// The condition of a match on calls, if it has one.
fn call(wanted: &Json) -> Option<GrpcMethodMatch> {
    let method = wanted.get("method").filter(|method| method.is_object())?;
    serde_json::from_value(method.clone()).ok()
}

/// Whether it matches methods, whatever their service is.
fn is_of_any_service(wanted: &Json) -> bool {
    let named = |part: &Option<String>| part.as_ref().is_some_and(|name| !name.is_empty());
    call(wanted).is_some_and(|call| !named(&call.service) && named(&call.method))
}

/// What the text of such a match begins with.
const CALL: &str = "Call";

/// The path that a match asks for, whether it matches requests or calls.
pub(crate) fn path_of(wanted: &Json) -> (PathMatchType, String) {
    if let Some(call) = call(wanted) {
        return call_path(Some(&call));
    }
    let text = |pointer: &str| wanted.pointer(pointer).and_then(Json::as_str);
    let kind = match text("/path/type") {
        Some("RegularExpression") => PathMatchType::RegularExpression,
        Some("Exact") => PathMatchType::Exact,
        Some(_) | None => PathMatchType::PathPrefix,
    };
    (kind, text("/path/value").unwrap_or("/").to_owned())
}

/// Whether a request may match an expression and something else: not when they begin with different words.
pub(crate) fn may_meet(expression: &str, is_expression: bool, other: &str) -> bool {
    let one = beginning(expression);
    let other = if is_expression { beginning(other) } else { other.trim_end_matches('/') };
    one.starts_with(other) || other.starts_with(one)
}

/// What every text begins with that an expression matches: what stands before the first character that means something.
fn beginning(expression: &str) -> &str {
    let special = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '~'));
    if expression.contains('|') {
        return "";
    }
    match expression.find(special) {
        None => expression,
        Some(end) => {
            let (before, rest) = expression.split_at(end);
            // `a*`, `a?` and `a{0,2}` may have none of it.
            let repeats = rest.starts_with(['*', '?', '{']);
            if repeats {
                before.get(..before.len().saturating_sub(1)).unwrap_or("")
            } else {
                before
            }
        }
    }
}

/// What more than one namespace claims: host (empty: any) and match, with the places.
fn contested(here: &[(&Route<'_>, Vec<String>)]) -> BTreeMap<(String, String), Vec<MatchIndex>> {
    let mut spaces = here.iter().map(|(route, _)| namespace_of(route));
    let first = spaces.next();
    let mut found: BTreeMap<(String, String), Vec<MatchIndex>> = BTreeMap::new();
    // The usual case costs nothing.
    if spaces.all(|one| Some(one) == first) {
        return found;
    }
    for (at, (route, hosts)) in here.iter().enumerate().filter(|(_, (route, _))| !route.left_out) {
        let any = [String::new()];
        let hosts = if hosts.is_empty() { &any[..] } else { hosts };
        for (rule, json) in route.rules.iter().enumerate() {
            for (wanted, one) in matches(json).iter().enumerate() {
                let wanted_is = canonical(one);
                for host in hosts {
                    let key = (host.to_ascii_lowercase(), wanted_is.clone());
                    let places = found.entry(key).or_default();
                    if !places.contains(&(at, rule, wanted)) {
                        places.push((at, rule, wanted));
                    }
                }
            }
        }
    }
    let several = |places: &Vec<MatchIndex>| {
        let mut spaces =
            places.iter().filter_map(|(at, ..)| here.get(*at)).map(|(it, _)| namespace_of(it));
        let first = spaces.next();
        spaces.any(|one| Some(one) != first)
    };
    found.retain(|_, places| several(places));
    found
}

/// The matches of a rule; without any, the one that matches everything.
pub(crate) fn matches(rule: &Json) -> Vec<Json> {
    match rule.get("matches").and_then(Json::as_array) {
        Some(all) if !all.is_empty() => all.clone(),
        _ => vec![json!({})],
    }
}

/// One text for all ways to write a match.
fn canonical(wanted: &Json) -> String {
    let (kind, value) = path_of(wanted);
    let path = match kind {
        _ if is_of_any_service(wanted) => {
            let exact = wanted.pointer("/method/type").is_none_or(|kind| kind == "Exact");
            let kind = if exact { "Exact" } else { "RegularExpression" };
            let method = wanted.pointer("/method/method");
            format!("{CALL} {}", json!({ "type": kind, "method": method }))
        }
        PathMatchType::Exact => format!("Exact {value}"),
        // `/a` and `/a/` are one prefix.
        PathMatchType::PathPrefix => format!("PathPrefix {}", value.trim_end_matches('/')),
        PathMatchType::RegularExpression => format!("RegularExpression {value}"),
    };
    let values = |name: &str, lower: bool| -> BTreeSet<String> {
        let all = wanted.get(name).and_then(Json::as_array).into_iter().flatten();
        all.map(|one| {
            let field = |name: &str| one.get(name).and_then(Json::as_str);
            let name = field("name").unwrap_or_default();
            let name = if lower { name.to_ascii_lowercase() } else { name.to_owned() };
            let kind = field("type").unwrap_or("Exact");
            format!("{name} {kind} {}", field("value").unwrap_or_default())
        })
        .collect()
    };
    let method = wanted.get("method").and_then(Json::as_str);
    json!([path, method, values("headers", true), values("queryParams", false)]).to_string()
}

/// A route for contested requests: it has the contested match and no backend.
fn closed(host: &str, wanted: &str) -> Option<Json> {
    let parts: Json = serde_json::from_str(wanted).unwrap_or_default();
    let path = parts.pointer("/0").and_then(Json::as_str).unwrap_or_default();
    let mut condition = serde_json::Map::new();
    let (kind, value) = path.split_once(' ')?;
    let of = match kind {
        CALL => {
            condition.insert("method".to_owned(), serde_json::from_str(value).ok()?);
            "GRPCRoute"
        }
        "Exact" | "PathPrefix" | "RegularExpression" => {
            let value = if value.is_empty() { "/" } else { value };
            condition.insert("path".to_owned(), json!({ "type": kind, "value": value }));
            "HTTPRoute"
        }
        _ => return None,
    };
    if let Some(method) = parts.pointer("/1").filter(|method| !method.is_null()) {
        condition.insert("method".to_owned(), method.clone());
    }
    for (pointer, name) in [("/2", "headers"), ("/3", "queryParams")] {
        let all = parts.pointer(pointer).and_then(Json::as_array).into_iter().flatten();
        let values = all.filter_map(Json::as_str).filter_map(|text| {
            let mut fields = text.splitn(3, ' ');
            let (name, kind, value) = (fields.next()?, fields.next()?, fields.next()?);
            Some(json!({ "name": name, "type": kind, "value": value }))
        });
        let values: Vec<Json> = values.collect();
        if !values.is_empty() {
            condition.insert(name.to_owned(), Json::Array(values));
        }
    }
    let hosts: Vec<&str> = if host.is_empty() { vec![] } else { vec![host] };
    let rule = object([("matches", json!([condition])), ("backendRefs", json!([]))]);
    Some(object([
        // No route can have this name: names have no colon.
        ("name", "contested:".into()),
        ("kind", of.into()),
        ("hostnames", json!(hosts)),
        ("rules", Json::Array(vec![rule])),
    ]))
}

/// A route without the matches that it lost. Rules keep their names, including those named by their index.
fn without(mut route: Json, at: usize, lost: &BTreeSet<MatchIndex>) -> Json {
    let Some(Json::Array(rules)) = route.get_mut("rules") else { return route };
    let mut kept = Vec::new();
    for (index, mut rule) in std::mem::take(rules).into_iter().enumerate() {
        let all = matches(&rule);
        let left: Vec<Json> = all
            .iter()
            .enumerate()
            .filter(|(wanted, _)| !lost.contains(&(at, index, *wanted)))
            .map(|(_, one)| one.clone())
            .collect();
        if left.is_empty() {
            continue;
        }
        if let Some(map) = rule.as_object_mut() {
            map.entry("name").or_insert_with(|| index.to_string().into());
            if left.len() < all.len() {
                map.insert("matches".to_owned(), Json::Array(left));
            }
        }
        kept.push(rule);
    }
    *rules = kept;
    route
}

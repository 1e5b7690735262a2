//! The requests that a rule of a router asks for: each of its hosts with each of its matches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value as Json;

use crate::fold::{matches_of, path_of};
use crate::kinds::PathMatchType;
use crate::plan::{ListenerPlan, NodePlan};

/// A rule that leads to a backend, and the requests that it asks for: each of its hosts with each of its matches.
#[derive(Debug)]
pub(super) struct ServedRule<'a> {
    /// `namespace/route/rule`, with the number of a rule without a name.
    pub(super) name: String,
    /// In lower case; `*.` and a name: all hosts below it; empty: any. Rules of one route share them.
    pub(super) hosts: Arc<[String]>,
    /// Its matches, at least one.
    pub(super) matches: Vec<AskedPath>,
    /// The services that it leads to, each with its port.
    pub(super) backends: BTreeSet<&'a str>,
    /// The services that get copies of its requests, each with its port.
    pub(super) mirrors: BTreeSet<&'a str>,
}

/// What a match asks of a request, apart from the host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AskedPath {
    /// How the path is compared.
    pub(super) kind: PathMatchType,
    /// The path; a prefix without slashes at its end.
    pub(super) path: String,
    /// All other conditions.
    pub(super) conditions: MatchConditions,
}

/// What a match asks of a request, apart from host and path.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MatchConditions {
    method: Option<String>,
    /// Kind and value of each header (`true`) and query parameter, by name.
    fields: BTreeMap<(bool, String), (String, String)>,
}

/// The routes of the router of a listener.
pub(super) fn routes<'a>(plan: &'a NodePlan, listener: &ListenerPlan) -> &'a [Json] {
    let chain = listener.chain.attachments.iter().filter_map(|at| plan.filters.get(*at));
    let router = chain.filter(|one| one.has_routes()).find_map(|one| one.config.get("routes"));
    router.and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

/// Whether one of the rules leads to a backend.
pub(super) fn serves(routes: &[Json]) -> bool {
    routes.iter().any(|route| list(route, "rules").iter().any(|rule| !backends(rule).is_empty()))
}

/// The rules that lead to a backend. No other rule lets anybody reach anything.
pub(super) fn asked(routes: &[Json]) -> Vec<ServedRule<'_>> {
    let mut rules = Vec::new();
    for route in routes {
        let of = text(route, "name");
        let hosts = list(route, "hostnames").iter().filter_map(Json::as_str);
        let hosts: BTreeSet<String> = hosts.map(str::to_ascii_lowercase).collect();
        let any = hosts.is_empty().then(String::new);
        let hosts: Arc<[String]> = hosts.into_iter().chain(any).collect();
        for (at, rule) in list(route, "rules").iter().enumerate() {
            let backends = backends(rule);
            if backends.is_empty() {
                continue;
            }
            let name = rule.get("name").and_then(Json::as_str);
            let name = name.map_or_else(|| at.to_string(), str::to_owned);
            rules.push(ServedRule {
                name: format!("{of}/{name}"),
                hosts: Arc::clone(&hosts),
                matches: matches_of(rule).iter().map(AskedPath::of).collect(),
                backends,
                mirrors: mirrors(rule),
            });
        }
    }
    rules
}

impl AskedPath {
    fn of(wanted: &Json) -> Self {
        let (kind, path) = path_of(wanted);
        let is_prefix = kind == PathMatchType::PathPrefix;
        let path = if is_prefix { path.trim_end_matches('/').to_owned() } else { path };
        Self { kind, path, conditions: MatchConditions::of(wanted) }
    }
}

impl MatchConditions {
    fn of(wanted: &Json) -> Self {
        let mut fields = BTreeMap::new();
        for (name, is_header) in [("headers", true), ("queryParams", false)] {
            for one in list(wanted, name) {
                let name = text(one, "name");
                let name = if is_header { name.to_ascii_lowercase() } else { name.to_owned() };
                let kind = one.get("type").and_then(Json::as_str).unwrap_or(EXACT);
                fields.insert((is_header, name), (kind.to_owned(), text(one, "value").to_owned()));
            }
        }
        let method = wanted.get("method").and_then(Json::as_str).map(str::to_owned);
        Self { method, fields }
    }

    /// Whether a request can fulfil both.
    pub(super) fn meet(&self, other: &Self) -> bool {
        let methods = self.method.as_ref().zip(other.method.as_ref());
        let differ = |(name, (kind, value)): (_, &(String, String))| {
            let there = other.fields.get(name);
            there.is_some_and(|(its, other)| kind == EXACT && its == EXACT && value != other)
        };
        methods.is_none_or(|(one, other)| one == other) && !self.fields.iter().any(differ)
    }

    /// Whether every request that fulfils these fulfils the other ones.
    pub(super) fn imply(&self, other: &Self) -> bool {
        let method = other.method.is_none() || self.method == other.method;
        method && other.fields.iter().all(|(name, one)| self.fields.get(name) == Some(one))
    }

    /// Which of two matches of one path is tried first: the greater one (Gateway API, `HTTPRouteRule.matches`).
    pub(super) fn rank(&self) -> (bool, usize, usize) {
        let headers = self.fields.keys().filter(|(is_header, _)| *is_header).count();
        (self.method.is_some(), headers, self.fields.len().saturating_sub(headers))
    }
}

const EXACT: &str = "Exact";

fn backends(rule: &Json) -> BTreeSet<&str> {
    list(rule, "backendRefs").iter().map(|one| text(one, "service")).collect()
}

/// Also those of single backends.
fn mirrors(rule: &Json) -> BTreeSet<&str> {
    let backends = list(rule, "backendRefs").iter();
    let filters = backends.chain([rule]).flat_map(|one| list(one, "filters"));
    let mirrors = filters.filter_map(|one| one.pointer("/requestMirror/backendRef/service"));
    mirrors.filter_map(Json::as_str).collect()
}

fn list<'a>(json: &'a Json, name: &str) -> &'a [Json] {
    json.get(name).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(json: &'a Json, name: &str) -> &'a str {
    json.get(name).and_then(Json::as_str).unwrap_or_default()
}

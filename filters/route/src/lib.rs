//! The built-in route policy: `HTTPRoute` and `GRPCRoute` of the Gateway API, compiled into one table.
//!
//! Reads only those parts of a request that its routes look at. Refuses configurations with unknown fields.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

use tamis_sdk::{ConfigError, Filter, Interest, Router, View, router};

pub mod action;
pub mod condition;
pub mod config;
mod literal;
pub mod pattern;
pub mod table;
mod trie;

use action::{Action, RequestTarget, Services, too_long};
use condition::{RouteCondition, RoutedRequest};
use config::{Match, Route, RouteRule, RouteSettings};
use pattern::WorkBudget;
use table::RouteTable;

/// All routes, compiled.
#[derive(Debug)]
pub struct RoutePolicy {
    table: RouteTable,
    actions: Vec<Action>,
    rules: Vec<String>,
    backends: Vec<String>,
}

impl RoutePolicy {
    /// Compiles routes.
    ///
    /// # Errors
    /// All errors, each with its place.
    pub fn compile(settings: &RouteSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        let mut building = PolicyBuilder::default();
        for (index, route) in settings.routes.iter().enumerate() {
            building.route(route, &format!("/routes/{index}"));
        }
        building.finish()
    }

    /// Chooses for one request.
    #[must_use]
    pub fn route(&self, seen: View<'_>) -> router::Choice {
        let (path, query) = split_path(seen.path().unwrap_or("/"));
        let authority = seen.authority().unwrap_or_default();
        let asked = RoutedRequest { path, query, view: seen, work: WorkBudget::default() };
        let found = match self.table.find(authority, &asked) {
            Ok(Some(found)) => found,
            Ok(None) => return router::Choice::Unmatched,
            Err(part) => return router::Choice::Answer(too_long(part)),
        };
        let Some(action) = self.actions.get(found.rule) else {
            return router::Choice::Unmatched;
        };
        let target = RequestTarget {
            exchange: seen.exchange(),
            scheme: seen.text(":scheme").unwrap_or("http"),
            authority,
            path,
            query,
            prefix: found.prefix,
        };
        action.choose(u32::try_from(found.rule).unwrap_or(u32::MAX), &target)
    }
}

fn split_path(path: &str) -> (&str, &str) {
    path.split_once('?').unwrap_or((path, ""))
}

/// A policy being compiled.
#[derive(Default)]
struct PolicyBuilder {
    table: RouteTable,
    actions: Vec<Action>,
    rules: Vec<String>,
    services: Services,
    reads: Vec<String>,
    errors: Vec<ConfigError>,
}

impl PolicyBuilder {
    fn route(&mut self, route: &Route, pointer: &str) {
        if !route.hostnames.is_empty() {
            self.read(":authority");
        }
        for (index, host) in route.hostnames.iter().enumerate() {
            let name = host.strip_prefix("*.").unwrap_or(host);
            if name.is_empty() || name.contains(['*', ':', '/']) {
                let message = "a hostname must be a name without port, or \"*.\" and a name";
                self.errors.push(ConfigError::at(format!("{pointer}/hostnames/{index}"), message));
            }
        }
        for (index, rule) in route.rules.iter().enumerate() {
            self.rule(route, index, rule, &format!("{pointer}/rules/{index}"));
        }
    }

    fn rule(&mut self, route: &Route, index: usize, rule: &RouteRule, pointer: &str) {
        let number = self.actions.len();
        let name = rule.name.clone().unwrap_or_else(|| index.to_string());
        self.rules.push(format!("{}/{name}", route.name));
        let action = Action::new(rule, &mut self.services, pointer).unwrap_or_else(|errors| {
            self.errors.extend(errors);
            Action::default()
        });
        if action.reads_path() {
            self.read(":path");
        }
        if action.reads_origin() {
            self.read(":scheme");
            self.read(":authority");
        }
        self.actions.push(action);
        let everything = [Match::default()];
        let matches = if rule.matches.is_empty() { &everything[..] } else { &rule.matches };
        for (at, wanted) in matches.iter().enumerate() {
            match RouteCondition::new(route.kind, wanted, &format!("{pointer}/matches/{at}")) {
                Ok(condition) => self.condition(route, condition, number),
                Err(error) => self.errors.push(error),
            }
        }
    }

    fn condition(&mut self, route: &Route, condition: RouteCondition, rule: usize) {
        if condition.reads_path() {
            self.read(":path");
        }
        for name in condition.reads() {
            self.read(name);
        }
        self.table.insert(&route.hostnames, condition, rule);
    }

    fn read(&mut self, name: &str) {
        if !self.reads.iter().any(|known| known == name) {
            self.reads.push(name.to_owned());
        }
    }

    fn finish(mut self) -> Result<(RoutePolicy, Interest), Vec<ConfigError>> {
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        self.table.finish();
        let mut writes: Vec<String> = (self.actions.iter())
            .flat_map(|action| action.request_writes().chain(action.response_writes()))
            .map(str::to_owned)
            .collect();
        writes.sort_unstable();
        writes.dedup();
        let interest = Interest::reading(self.reads.iter().map(String::as_str))
            .writing(writes.iter().map(String::as_str));
        let policy = RoutePolicy {
            table: self.table,
            actions: self.actions,
            rules: self.rules,
            backends: self.services.into_names(),
        };
        Ok((policy, interest))
    }
}

impl Filter for RoutePolicy {
    type Settings = RouteSettings;
    const SCHEMA: &'static str = include_str!("../schema.json");

    fn check(settings: &RouteSettings) -> Result<(), Vec<ConfigError>> {
        Self::compile(settings).map(drop)
    }

    fn configure(settings: RouteSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        Self::compile(&settings)
    }
}

impl Router for RoutePolicy {
    fn backends(&self) -> Vec<String> {
        self.backends.clone()
    }

    fn rules(&self) -> Vec<String> {
        self.rules.clone()
    }

    fn on_route(&mut self, seen: View<'_>) -> router::Choice {
        self.route(seen)
    }
}

tamis_sdk::export_router!(RoutePolicy);

#[cfg(test)]
mod tests;

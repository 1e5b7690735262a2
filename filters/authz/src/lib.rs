//! The built-in `authz` policy: enforces `AuthorizationPolicy` documents with Cedar.
//!
//! Rules are compiled to Cedar ([`compile`]) and evaluated by `cedar-policy` ([`judge`]). What a set of rules looks at is
//! finite, so each combination of it is evaluated once and remembered ([`looks`], [`memory`]). What no rule allows is
//! refused.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

use std::net::IpAddr;

use tamis_sdk::{
    ConfigError, Connection, Filter, Interest, Request, View, connection, log, reply, request,
};

pub mod compile;
pub mod config;
pub mod judge;
pub mod looks;
mod members;
pub mod memory;
mod spellings;

use config::{AuthzSettings, GuardedTarget};
use judge::{Judge, Ruling};
use looks::RequestFacts;
use members::{members, text};
use memory::Memory;

const IDENTITY: &str = "@peer.spiffe-id";
const ADDRESS: &str = "@source.address";
const LISTENER: &str = "@listener.name";
const ROUTE: &str = "@route.name";
/// The claims of a verified token, as a JSON object; only a filter can set it.
const CLAIMS: &str = "@jwt.claims";
/// Longest path in a line of the log, in characters.
const MAX_SHOWN: usize = 200;

/// The policy.
#[derive(Debug)]
pub struct Authz {
    judge: Judge,
    memory: Memory,
    /// Of connections, which have combinations of their own.
    connections: Memory,
    decides_connections: bool,
    guarded: GuardedTarget,
    ports: std::collections::BTreeMap<String, u16>,
    key: Vec<u8>,
}

/// A decision, and what the log says about it.
pub struct LoggedRuling {
    /// The ruling.
    pub ruling: std::rc::Rc<Ruling>,
    /// A line for the log; `None` for a request that is allowed.
    pub line: Option<String>,
}

impl Authz {
    /// A policy of checked settings.
    ///
    /// # Errors
    /// All errors, each with its JSON pointer.
    pub fn new(settings: AuthzSettings) -> Result<Self, Vec<ConfigError>> {
        let judge = Judge::new(&settings)?;
        let memory = Memory::new(settings.config.remember);
        let connections = Memory::new(settings.config.remember);
        let AuthzSettings { guarded, ports, connections: decides_connections, .. } = settings;
        let key = Vec::new();
        Ok(Self { judge, memory, connections, decides_connections, guarded, ports, key })
    }

    /// The checked policies.
    #[must_use]
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// What it reads.
    #[must_use]
    pub fn interest(&self) -> Interest {
        let looks = self.judge.looks();
        let mut reads = vec![IDENTITY, ":method", ":path"];
        reads.extend(looks.at_addresses().then_some(ADDRESS));
        reads.extend((looks.at_ports() || self.decides_connections).then_some(LISTENER));
        reads.extend(looks.at_routes().then_some(ROUTE));
        reads.extend((!looks.claims.is_empty()).then_some(CLAIMS));
        reads.extend(looks.headers.iter().map(String::as_str));
        Interest::reading(reads)
    }

    /// Decides about a request.
    pub fn decide(&mut self, view: View<'_>) -> LoggedRuling {
        let seen = self.seen(view);
        self.judge.looks().write(&seen, &mut self.key);
        let Self { judge, memory, key, guarded, .. } = self;
        let ruling = memory.get(key, || judge.rule(&seen));
        // The self-test of the host has the number 0: nobody asked.
        let asked = view.exchange() != 0;
        let reported = !ruling.passes || ruling.reason.starts_with("authz.audit");
        let line = (asked && reported).then(|| line(guarded, &ruling, &seen));
        LoggedRuling { ruling, line }
    }

    /// Decides about a connection of a `tcp` port.
    pub fn decide_connection(&mut self, view: View<'_>) -> LoggedRuling {
        let seen = RequestFacts { method: "", path: "", ..self.seen(view) };
        self.judge.looks().write(&seen, &mut self.key);
        let Self { judge, connections, key, guarded, .. } = self;
        let ruling = connections.get(key, || judge.rule_connection(&seen));
        let asked = view.exchange() != 0;
        let reported = !ruling.passes || ruling.reason.starts_with("authz.audit");
        let line = (asked && reported).then(|| connection_line(guarded, &ruling, &seen));
        LoggedRuling { ruling, line }
    }

    fn seen<'a>(&self, view: View<'a>) -> RequestFacts<'a> {
        let looks = self.judge.looks();
        let path = view.path().unwrap_or_default();
        let address = view.attribute(ADDRESS);
        let mut crowded = false;
        let all = |name: &String| members(name, view.headers(name), &mut crowded);
        let members = looks.headers.iter().map(all).collect();
        let lines = |name: &String| view.headers(name).map(text).collect();
        let port = view.attribute(LISTENER).and_then(|name| self.ports.get(name).copied());
        let claims = match looks.claims.is_empty() {
            true => Vec::new(),
            false => claims(view.attribute(CLAIMS).unwrap_or_default(), &looks.claims),
        };
        RequestFacts {
            identity: view.attribute(IDENTITY),
            method: view.method_name(),
            path: path.split('?').next().unwrap_or_default(),
            unix: address == Some("unix"),
            address: address.and_then(|it| it.parse::<IpAddr>().ok()).map(|it| it.to_canonical()),
            port,
            route: view.attribute(ROUTE),
            headers: looks.headers.iter().map(lines).collect(),
            members,
            crowded,
            claims,
        }
    }
}

/// The values of each claim: texts, numbers and booleans, and those of lists. `scope` is a list in one text (RFC 8693 §4.2).
fn claims(text: &str, names: &std::collections::BTreeSet<String>) -> Vec<Vec<String>> {
    use serde_json::Value;
    let all: serde_json::Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    let values = |name: &String| match all.get(name) {
        Some(Value::Array(items)) => items.iter().filter_map(scalar).collect(),
        Some(Value::String(scopes)) if name == "scope" => {
            scopes.split(' ').map(str::to_owned).collect()
        }
        one => one.and_then(scalar).into_iter().collect(),
    };
    names.iter().map(values).collect()
}

/// What was refused, and the line that would allow it. Everything that a client chose is quoted.
fn line(guarded: &GuardedTarget, ruling: &Ruling, seen: &RequestFacts<'_>) -> String {
    let quoted =
        |text: &str| serde_json::Value::String(text.chars().take(MAX_SHOWN).collect()).to_string();
    let (path, method) = (quoted(seen.path), quoted(seen.method));
    let who = seen.identity.map_or_else(|| "a client without an id".to_owned(), quoted);
    let (kind, name) = (guarded.kind.as_str(), &guarded.name);
    let what = if ruling.passes { "would be refused" } else { "refused" };
    let head = format!("{kind} {name}: {method} {path} of {who} {what} ({})", ruling.reason);
    if !ruling.reason.ends_with("no-rule") {
        return head;
    }
    let from =
        seen.identity.map(|id| format!("identities: [{}], ", quoted(id))).unwrap_or_default();
    format!(
        "{head}; to allow it, add this under `allow` of an AuthorizationPolicy whose targetRefs have {kind} {name}: - {{ {from}methods: [{method}], paths: [{{ type: Exact, value: {path} }}] }}"
    )
}

/// The same for a connection.
fn connection_line(guarded: &GuardedTarget, ruling: &Ruling, seen: &RequestFacts<'_>) -> String {
    let quoted = |text: &str| serde_json::Value::String(text.to_owned()).to_string();
    let who = seen.identity.map_or_else(|| "a client without an id".to_owned(), quoted);
    let (kind, name) = (guarded.kind.as_str(), &guarded.name);
    let what = if ruling.passes { "would be refused" } else { "refused" };
    let to = seen.port.map_or_else(|| "an unknown port".to_owned(), |port| format!("port {port}"));
    let reason = &ruling.reason;
    let head = format!("{kind} {name}: a connection of {who} to {to} {what} ({reason})");
    let Some(port) = seen.port.filter(|_| reason.ends_with("no-rule")) else { return head };
    let from =
        seen.identity.map(|id| format!("identities: [{}], ", quoted(id))).unwrap_or_default();
    format!(
        "{head}; to allow it, add this under `allow` of an AuthorizationPolicy whose targetRefs have {kind} {name}: - {{ {from}ports: [{port}] }}"
    )
}

impl Filter for Authz {
    type Settings = AuthzSettings;
    const SCHEMA: &'static str = include_str!("../schema.json");

    fn check(settings: &AuthzSettings) -> Result<(), Vec<ConfigError>> {
        Judge::new(settings).map(drop)
    }

    fn configure(settings: AuthzSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        let policy = Self::new(settings)?;
        let interest = policy.interest();
        Ok((policy, interest))
    }
}

impl Request for Authz {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        let LoggedRuling { ruling, line } = self.decide(seen);
        if let Some(line) = line {
            log::write(log::Level::Warn, &line);
        }
        let decision = if ruling.passes {
            request::Decision::pass()
        } else {
            request::Decision::answer(reply(403).text("access denied\n"))
        };
        decision.because(ruling.reason.as_str())
    }
}

impl Connection for Authz {
    fn backends(&self) -> Vec<String> {
        Vec::new()
    }

    fn on_connection(&mut self, seen: View<'_>) -> connection::Decision {
        let LoggedRuling { ruling, line } = self.decide_connection(seen);
        if let Some(line) = line {
            log::write(log::Level::Warn, &line);
        }
        let verdict =
            if ruling.passes { connection::Verdict::Allow } else { connection::Verdict::Deny };
        connection::Decision::from(verdict).because(ruling.reason.as_str())
    }
}

tamis_sdk::export_connection_authorizer!(Authz);

#[cfg(test)]
mod tests;

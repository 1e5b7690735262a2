//! What a set of policies looks at. All requests that agree in it have one decision.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::{AuthzSettings, PathConditionKind, Values};
use crate::members::listed;

/// A request, as policies see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts<'a> {
    /// SPIFFE id of the client.
    pub identity: Option<&'a str>,
    /// Method.
    pub method: &'a str,
    /// Path in normal form, without query.
    pub path: &'a str,
    /// Whether it came by a Unix socket.
    pub unix: bool,
    /// Address of the connection.
    pub address: Option<IpAddr>,
    /// Port of the listener.
    pub port: Option<u16>,
    /// The rule of a route that matched.
    pub route: Option<&'a str>,
    /// Lines of the headers that policies name, in the order of [`RuleConditions::headers`].
    pub headers: Vec<Vec<&'a str>>,
    /// Members of the lists on those lines.
    pub members: Vec<Vec<Cow<'a, str>>>,
    /// One of those headers has more members than policies look at.
    pub crowded: bool,
    /// Values of the claims that policies name, in the order of [`RuleConditions::claims`].
    pub claims: Vec<Vec<String>>,
}

/// A condition on a header, as rules under `allow` and under `deny` read it.
#[derive(Clone, Debug)]
struct HeaderCondition {
    of: Values,
    /// Each value as a list.
    lists: Vec<Vec<String>>,
}

impl HeaderCondition {
    fn new(of: &Values) -> Self {
        let lists = of.values.iter().map(|value| listed(&of.name, value)).collect();
        Self { of: of.clone(), lists }
    }

    /// Whether it holds under `allow`.
    fn permits(&self, lines: &[&str], members: &[Cow<'_, str>]) -> bool {
        let is = |text: &str| self.of.values.iter().any(|it| it == text);
        let all = || lines.iter().all(|line| is(line));
        !lines.is_empty() && (all() || members.iter().all(|member| is(member)))
    }

    /// Whether it holds under `deny`.
    fn forbids(&self, members: &[Cow<'_, str>]) -> bool {
        let has = |wanted: &String| members.iter().any(|member| *member == **wanted);
        self.lists.iter().any(|list| list.iter().all(has))
    }
}

/// The conditions of all rules, each once.
#[derive(Clone, Debug, Default)]
pub struct RuleConditions {
    identities: BTreeSet<String>,
    /// The trust domain of the mesh, as the beginning of its ids; `None`: no rule asks whether a caller is of another.
    home: Option<String>,
    methods: BTreeSet<String>,
    exact: BTreeSet<String>,
    prefixes: BTreeSet<String>,
    templates: BTreeSet<String>,
    unix: bool,
    nets: BTreeSet<IpNet>,
    ports: BTreeSet<u16>,
    scopes: BTreeSet<String>,
    header_values: Vec<HeaderCondition>,
    claim_values: Vec<Values>,
    /// Headers that policies name.
    pub headers: BTreeSet<String>,
    /// Claims that policies name.
    pub claims: BTreeSet<String>,
    /// Whether there is Cedar that was not made from rules: it may look at everything.
    pub free: bool,
    /// Whether that Cedar may look at the route: it has the word, or an escape in which the word may hide.
    free_routes: bool,
}

impl RuleConditions {
    /// What the policies look at.
    #[must_use]
    pub fn of(settings: &AuthzSettings) -> Self {
        let home = settings.home.as_ref().map(|domain| format!("spiffe://{domain}/"));
        let mut looks = Self { home, ..Self::default() };
        for policy in &settings.policies {
            looks.scopes.extend(policy.scope.iter().flatten().cloned());
            for rule in policy.allow.iter().chain(&policy.deny) {
                looks.identities.extend(rule.identities.iter().cloned());
                looks.methods.extend(rule.methods.iter().cloned());
                for path in &rule.paths {
                    let of = match path.kind {
                        PathConditionKind::Exact => &mut looks.exact,
                        PathConditionKind::PathPrefix => &mut looks.prefixes,
                        PathConditionKind::Template => &mut looks.templates,
                    };
                    of.insert(path.value.clone());
                }
                looks.unix |= rule.addresses.iter().any(|one| one == "unix");
                looks.nets.extend(rule.addresses.iter().filter_map(|one| net(one)));
                looks.ports.extend(&rule.ports);
                for one in &rule.headers {
                    looks.headers.insert(one.name.clone());
                    if looks.header_values.iter().all(|known| known.of != *one) {
                        looks.header_values.push(HeaderCondition::new(one));
                    }
                }
                for one in &rule.claims {
                    looks.claims.insert(one.name.clone());
                    if !looks.claim_values.contains(one) {
                        looks.claim_values.push(one.clone());
                    }
                }
            }
            if let Some(cedar) = &policy.cedar {
                looks.free = true;
                let text = &cedar.policies;
                looks.free_routes |= text.contains("route") || text.contains('\\');
                looks.headers.extend(cedar.headers.iter().cloned());
                looks.claims.extend(cedar.claims.iter().cloned());
            }
        }
        looks
    }

    /// Whether the address of the connection matters.
    #[must_use]
    pub fn at_addresses(&self) -> bool {
        self.free || self.unix || !self.nets.is_empty()
    }

    /// Whether the port matters.
    #[must_use]
    pub fn at_ports(&self) -> bool {
        self.free || !self.ports.is_empty()
    }

    /// Whether the route matters.
    #[must_use]
    pub fn at_routes(&self) -> bool {
        self.free_routes || !self.scopes.is_empty()
    }

    /// The templates that a path matches.
    #[must_use]
    pub fn templates(&self, path: &str) -> Vec<&str> {
        let all = self.templates.iter().map(String::as_str);
        all.filter(|template| is_instance(template, path)).collect()
    }

    /// Writes the combination of a request: one bit for each condition, and the request itself where free policies may look
    /// at anything.
    pub fn write(&self, seen: &RequestFacts<'_>, key: &mut Vec<u8>) {
        key.clear();
        let mut bits = ConditionBits { key, byte: 0, count: 0 };
        bits.add(seen.identity.is_some());
        if let Some(home) = &self.home {
            bits.add(seen.identity.is_some_and(|id| id.starts_with(home.as_str())));
        }
        for pattern in &self.identities {
            bits.add(seen.identity.is_some_and(|id| match pattern.strip_suffix('*') {
                Some(prefix) => id.starts_with(prefix),
                None => id == pattern,
            }));
        }
        self.methods.iter().for_each(|one| bits.add(seen.method == one));
        self.exact.iter().for_each(|one| bits.add(seen.path == one));
        self.prefixes.iter().for_each(|one| bits.add(is_below(one, seen.path)));
        self.templates.iter().for_each(|one| bits.add(is_instance(one, seen.path)));
        bits.add(self.unix && seen.unix);
        self.nets.iter().for_each(|one| bits.add(seen.address.is_some_and(|it| one.contains(&it))));
        self.ports.iter().for_each(|one| bits.add(seen.port == Some(*one)));
        for one in &self.scopes {
            bits.add(seen.route.is_some_and(|route| {
                route == one || (one.ends_with('/') && route.starts_with(one.as_str()))
            }));
        }
        bits.add(seen.crowded);
        for one in &self.header_values {
            let at = self.headers.iter().position(|name| *name == one.of.name);
            let lines = at.and_then(|at| seen.headers.get(at)).map_or(&[][..], Vec::as_slice);
            let members = at.and_then(|at| seen.members.get(at)).map_or(&[][..], Vec::as_slice);
            bits.add(one.permits(lines, members));
            bits.add(one.forbids(members));
        }
        for one in &self.claim_values {
            let at = self.claims.iter().position(|name| *name == one.name);
            let has = at.and_then(|at| seen.claims.get(at));
            let is = |value: &String| one.values.contains(value);
            bits.add(has.is_some_and(|values| values.iter().any(is)));
        }
        bits.end();
        if self.free {
            self.write_all(seen, key);
        }
    }

    fn write_all(&self, seen: &RequestFacts<'_>, key: &mut Vec<u8>) {
        let mut text = |part: &str| {
            key.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            key.extend_from_slice(part.as_bytes());
        };
        for part in [seen.identity.unwrap_or_default(), seen.method, seen.path] {
            text(part);
        }
        text(&seen.address.map(|it| it.to_string()).unwrap_or_default());
        text(&seen.port.map(|it| it.to_string()).unwrap_or_default());
        text(if seen.unix { "unix" } else { "" });
        text(seen.route.unwrap_or_default());
        for values in &seen.headers {
            text(&values.len().to_string());
            values.iter().for_each(|value| text(value));
        }
        for values in &seen.members {
            text(&values.len().to_string());
            values.iter().for_each(|value| text(value));
        }
        for values in &seen.claims {
            text(&values.len().to_string());
            values.iter().for_each(|value| text(value));
        }
    }
}

struct ConditionBits<'a> {
    key: &'a mut Vec<u8>,
    byte: u8,
    count: u8,
}

impl ConditionBits<'_> {
    fn add(&mut self, bit: bool) {
        self.byte = self.byte << 1 | u8::from(bit);
        self.count += 1;
        if self.count == 8 {
            self.end();
        }
    }

    fn end(&mut self) {
        self.key.push(self.byte);
        (self.byte, self.count) = (0, 0);
    }
}

/// An address or a prefix; `unix` is neither.
pub(crate) fn net(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Equal to a prefix, or below it.
fn is_below(prefix: &str, path: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.is_empty())
}

/// Equal to a template, in which `{name}` is one segment that is not empty.
fn is_instance(template: &str, path: &str) -> bool {
    let (mut wanted, mut own) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), own.next()) {
            (None, None) => return true,
            (Some(wanted), Some(own)) if wanted.starts_with('{') => {
                if own.is_empty() {
                    return false;
                }
            }
            (Some(wanted), Some(own)) if wanted == own => {}
            _ => return false,
        }
    }
}

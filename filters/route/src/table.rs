//! Finds the rule that a request matches, by index: hosts and paths are hashed, so 10,000 routes cost as
//! much as 10.
//!
//! Only conditions that have to be evaluated (expressions, and several rules of one host and path) are
//! tried in turn, in the order of precedence of the Gateway API.

use std::collections::HashMap;

use crate::condition::{Asked, Condition, Place};
use crate::pattern::host_of;

/// Conditions by host, then path.
#[derive(Debug, Default)]
pub struct Table {
    conditions: Vec<(Condition, usize)>,
    exact_hosts: HashMap<String, Paths>,
    /// Key: the text after `*.`.
    wildcard_hosts: HashMap<String, Paths>,
    any_host: Paths,
    longest_wildcard: usize,
}

/// A condition that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'t> {
    /// The rule that the caller stored with it.
    pub rule: usize,
    /// The prefix that matched, for a rewrite of it.
    pub prefix: Option<&'t str>,
}

impl Table {
    /// Adds a condition that leads to a rule, for each of these hosts; empty: every host.
    ///
    /// Conditions of equal precedence keep the order in which they are added.
    pub fn insert(&mut self, hosts: &[String], condition: Condition, rule: usize) {
        let id = self.conditions.len();
        if hosts.is_empty() {
            self.any_host.insert(&condition, id);
        }
        for host in hosts {
            let host = host.to_ascii_lowercase();
            let paths = match host.strip_prefix("*.") {
                Some(suffix) => {
                    self.longest_wildcard = self.longest_wildcard.max(suffix.len());
                    self.wildcard_hosts.entry(suffix.to_owned()).or_default()
                }
                None => self.exact_hosts.entry(host).or_default(),
            };
            paths.insert(&condition, id);
        }
        self.conditions.push((condition, rule));
    }

    /// Sorts by precedence. Call it once, after the last insertion.
    pub fn finish(&mut self) {
        let conditions = &self.conditions;
        let hosts = self.exact_hosts.values_mut().chain(self.wildcard_hosts.values_mut());
        for paths in hosts.chain([&mut self.any_host]) {
            paths.sort(conditions);
        }
    }

    /// The rule with precedence: the most specific host that has a match, there the most specific path, and
    /// so on.
    #[must_use]
    pub fn find(&self, authority: &str, asked: &Asked<'_>) -> Option<Found<'_>> {
        let host = host_of(authority);
        self.exact_hosts
            .get(host.as_ref())
            .into_iter()
            .chain(self.wildcards(&host))
            .chain([&self.any_host])
            .find_map(|paths| paths.find(&self.conditions, asked))
    }

    /// Wildcards that cover the host, longest first. `*` stands for one label or more.
    fn wildcards<'t>(&'t self, host: &str) -> impl Iterator<Item = &'t Paths> {
        // Only suffixes that a wildcard could have: a hostile host of a thousand dots does not cost a
        // thousand hashes.
        let longest = self.longest_wildcard;
        host.match_indices('.').filter_map(move |(dot, _)| {
            let suffix = host.get(dot + 1..).filter(|s| dot > 0 && s.len() <= longest)?;
            self.wildcard_hosts.get(suffix)
        })
    }
}

/// Conditions of one host by path. The lists hold ids, in the order in which they are tried.
#[derive(Debug, Default)]
struct Paths {
    exact: HashMap<String, Vec<usize>>,
    /// Expressions over the path or the gRPC service: after equal paths, before prefixes.
    patterns: Vec<usize>,
    /// Key without trailing slash, never empty.
    prefixes: HashMap<String, Vec<usize>>,
    /// gRPC methods of any service.
    methods: Vec<usize>,
    everything: Vec<usize>,
    longest_prefix: usize,
}

impl Paths {
    fn insert(&mut self, condition: &Condition, id: usize) {
        match &condition.place {
            Place::Exact(path) => self.exact.entry(path.clone()).or_default(),
            Place::Prefix(prefix) if prefix.is_empty() => &mut self.everything,
            Place::Prefix(prefix) => {
                self.longest_prefix = self.longest_prefix.max(prefix.len());
                self.prefixes.entry(prefix.clone()).or_default()
            }
            Place::Path(_) | Place::Call(Some(_), _) => &mut self.patterns,
            Place::Call(None, _) => &mut self.methods,
        }
        .push(id);
    }

    fn sort(&mut self, conditions: &[(Condition, usize)]) {
        let maps = self.exact.values_mut().chain(self.prefixes.values_mut());
        for list in maps.chain([&mut self.patterns, &mut self.methods, &mut self.everything]) {
            // Stable: equal conditions keep the order of insertion.
            list.sort_by_key(|id| conditions.get(*id).map(|(condition, _)| condition.rank()));
            list.dedup();
        }
    }

    fn find<'t>(
        &'t self,
        conditions: &'t [(Condition, usize)],
        asked: &Asked<'_>,
    ) -> Option<Found<'t>> {
        let first = |list: &Vec<usize>| {
            list.iter().filter_map(|id| conditions.get(*id)).find_map(|(condition, rule)| {
                let prefix = match &condition.place {
                    Place::Prefix(prefix) => Some(prefix.as_str()),
                    Place::Exact(_) | Place::Path(_) | Place::Call(..) => None,
                };
                condition.holds(asked).then_some(Found { rule: *rule, prefix })
            })
        };
        let exact = self.exact.get(asked.path).and_then(first);
        exact
            .or_else(|| first(&self.patterns))
            .or_else(|| self.covering(asked.path).find_map(first))
            .or_else(|| first(&self.methods))
            .or_else(|| first(&self.everything))
    }

    /// Lists of the prefixes that cover the path element by element, longest first.
    fn covering<'t>(&'t self, path: &str) -> impl Iterator<Item = &'t Vec<usize>> {
        // Never longer than the longest prefix: a hostile path of slashes costs no more hashes than the
        // longest prefix.
        let end = path.len().min(self.longest_prefix);
        let whole = (path.len() <= self.longest_prefix).then_some(path);
        let bytes = path.as_bytes();
        let parts = (1..=end)
            .rev()
            .filter(|at| bytes.get(*at) == Some(&b'/'))
            .filter_map(|at| path.get(..at));
        whole.into_iter().chain(parts).filter_map(|prefix| self.prefixes.get(prefix))
    }
}

#[cfg(test)]
mod tests;

//! Finds the rule that a request matches, by index: hosts are hashed and paths are in a tree, so 10,000 routes
//! cost as much as 10.
//!
//! Only conditions that have to be evaluated are tried in turn, in the order of precedence of the Gateway API:
//! several rules of one host and path, and those expressions whose literal beginning and end fit the path.

use std::collections::HashMap;

use crate::condition::{PathPlace, RouteCondition, RoutedRequest, TooLong};
use crate::pattern::host_of;
use crate::trie::Trie;

/// Conditions by host, then path.
#[derive(Debug, Default)]
pub struct RouteTable {
    conditions: Vec<(RouteCondition, usize)>,
    exact_hosts: HashMap<String, Paths>,
    /// Key: the text after `*.`.
    wildcard_hosts: HashMap<String, Paths>,
    any_host: Paths,
    longest_wildcard: usize,
}

/// A condition that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatchedCondition<'t> {
    /// The rule that the caller stored with it.
    pub rule: usize,
    /// The prefix that matched, for a rewrite of it.
    pub prefix: Option<&'t str>,
}

impl RouteTable {
    /// Adds a condition that leads to a rule, for each of these hosts; empty: every host.
    ///
    /// Conditions of equal precedence keep the order in which they are added.
    pub fn insert(&mut self, hosts: &[String], condition: RouteCondition, rule: usize) {
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
            paths.finish(conditions);
        }
    }

    /// The rule with precedence: the most specific host that has a match, there the most specific path, and
    /// so on.
    ///
    /// # Errors
    /// A part of the request is too long to know whether a rule matches; rules that come before it do not.
    pub fn find(
        &self,
        authority: &str,
        asked: &RoutedRequest<'_>,
    ) -> Result<Option<MatchedCondition<'_>>, TooLong> {
        let host = host_of(authority);
        self.exact_hosts
            .get(host.as_ref())
            .into_iter()
            .chain(self.wildcards(&host))
            .chain([&self.any_host])
            .find_map(|paths| paths.find(&self.conditions, asked))
            .transpose()
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
    tree: Trie<PathConditions>,
    /// Conditions with expressions over the path or the gRPC service: after equal paths, before prefixes.
    patterns: Vec<ExpressionCondition>,
    /// gRPC methods of any service.
    methods: Vec<usize>,
    everything: Vec<usize>,
}

/// A condition with an expression.
#[derive(Debug)]
struct ExpressionCondition {
    id: usize,
    /// With which every path ends for which it holds.
    suffix: String,
}

/// What a path leads to when it reaches, or passes, a place in the tree.
#[derive(Debug, Default)]
struct PathConditions {
    /// Of the path that ends here.
    exact: Vec<usize>,
    /// Of paths that end here or continue with a slash.
    prefix: Vec<usize>,
    /// Positions in `patterns`, of those that match no path without this beginning.
    patterns: Vec<usize>,
}

/// The conditions that a path can fulfil.
#[derive(Default)]
struct PathCandidates<'t> {
    exact: &'t [usize],
    /// Positions in `patterns`.
    patterns: Vec<usize>,
    /// Routes of the longest prefix that covers the path, element by element.
    longest: &'t [usize],
    /// Routes of the other prefixes that cover it, shortest first.
    shorter: Vec<&'t [usize]>,
}

impl Paths {
    fn insert(&mut self, condition: &RouteCondition, id: usize) {
        match &condition.place {
            PathPlace::Exact(path) => self.tree.entry(path).exact.push(id),
            PathPlace::Prefix(prefix) if prefix.is_empty() => self.everything.push(id),
            PathPlace::Prefix(prefix) => self.tree.entry(prefix).prefix.push(id),
            PathPlace::Path(_) | PathPlace::Call(Some(_), _) => {
                self.patterns.push(ExpressionCondition { id, suffix: condition.affixes().suffix });
            }
            PathPlace::Call(None, _) => self.methods.push(id),
        }
    }

    /// Sorts by precedence; then positions are final, and the tree can refer to them.
    fn finish(&mut self, conditions: &[(RouteCondition, usize)]) {
        // Stable: equal conditions keep the order of insertion.
        let rank = |id: usize| conditions.get(id).map(|(condition, _)| condition.rank());
        let in_tree = self.tree.values_mut().flat_map(|here| [&mut here.exact, &mut here.prefix]);
        for list in in_tree.chain([&mut self.methods, &mut self.everything]) {
            list.sort_by_key(|id| rank(*id));
            list.dedup();
        }
        self.patterns.sort_by_key(|tried| rank(tried.id));
        self.patterns.dedup_by_key(|tried| tried.id);
        for (position, tried) in self.patterns.iter().enumerate() {
            if let Some((condition, _)) = conditions.get(tried.id) {
                self.tree.entry(&condition.affixes().prefix).patterns.push(position);
            }
        }
    }

    fn find<'t>(
        &'t self,
        conditions: &'t [(RouteCondition, usize)],
        asked: &RoutedRequest<'_>,
    ) -> Option<Result<MatchedCondition<'t>, TooLong>> {
        let one = |id: &usize| conditions.get(*id).and_then(|(it, rule)| found(it, *rule, asked));
        let first = |list: &[usize]| list.iter().find_map(one);
        let ways = self.ways(asked.path);
        let patterns = || ways.patterns.iter().filter_map(|position| self.patterns.get(*position));
        first(ways.exact)
            .or_else(|| {
                let mut fitting = patterns().filter(|tried| asked.path.ends_with(&tried.suffix));
                fitting.find_map(|tried| one(&tried.id))
            })
            .or_else(|| first(ways.longest))
            .or_else(|| ways.shorter.iter().rev().find_map(|list| first(list)))
            .or_else(|| first(&self.methods))
            .or_else(|| first(&self.everything))
    }

    /// One walk along the path.
    fn ways(&self, path: &str) -> PathCandidates<'_> {
        let mut ways = PathCandidates::default();
        self.tree.walk(path, |length, here| {
            let next = path.as_bytes().get(length);
            if next.is_none() {
                ways.exact = &here.exact;
            }
            if matches!(next, None | Some(b'/')) && !here.prefix.is_empty() {
                if !ways.longest.is_empty() {
                    ways.shorter.push(ways.longest);
                }
                ways.longest = &here.prefix;
            }
            ways.patterns.extend_from_slice(&here.patterns);
        });
        // Positions are in the order of precedence, whatever the beginnings are.
        ways.patterns.sort_unstable();
        ways
    }
}

/// What a condition leads to if it holds, except for an exact path or a prefix, which the index has checked.
fn found<'t>(
    condition: &'t RouteCondition,
    rule: usize,
    asked: &RoutedRequest<'_>,
) -> Option<Result<MatchedCondition<'t>, TooLong>> {
    let prefix = match &condition.place {
        PathPlace::Prefix(prefix) => Some(prefix.as_str()),
        PathPlace::Exact(_) | PathPlace::Path(_) | PathPlace::Call(..) => None,
    };
    let held = condition.holds(asked);
    held.map(|holds| holds.then_some(MatchedCondition { rule, prefix })).transpose()
}

#[cfg(test)]
mod tests;

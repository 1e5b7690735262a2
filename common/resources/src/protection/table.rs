//! What took which requests before a change, and which guards were asked about them.

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::Value as Json;

use super::asked::{AskedPath, ServedRule, asked};
use crate::fold::may_meet;
use crate::kinds::PathMatchType;

/// The requests that a listener takes, and the guards that are asked about them.
pub(super) struct GuardedRequests<'a> {
    rules: Vec<ServedRule<'a>>,
    /// The guards of each rule.
    guards: Vec<BTreeSet<usize>>,
    /// Number of different guards.
    count: usize,
    by_name: HashMap<String, usize>,
    index: OnceCell<RequestIndex>,
}

/// What a rule takes of that which others, or a rule of its name, took before.
#[derive(Debug, Default)]
pub(super) struct TakenRequests {
    /// The guards of the same requests, and of the rule of its name.
    pub(super) same: BTreeSet<usize>,
    /// The guards of other matches that lose requests to it, with the first of these requests: host and path.
    pub(super) within: BTreeMap<usize, String>,
    /// Nobody had some of its requests.
    pub(super) has_more: bool,
}

/// Rules by host, then path, as a router finds them. Rules with the same hosts are in one group, so that the index is no larger
/// than the routes are.
#[derive(Default)]
struct RequestIndex {
    groups: Vec<GuardedPaths>,
    hosts: HashMap<String, Vec<usize>>,
}

/// A match: the index of its rule, and its place there.
type MatchPlace = (usize, usize);

/// Matches of rules with the same hosts, by path.
#[derive(Default)]
struct GuardedPaths {
    exact: BTreeMap<String, Vec<MatchPlace>>,
    prefixes: BTreeMap<String, Vec<MatchPlace>>,
    expressions: BTreeMap<String, Vec<MatchPlace>>,
}

/// Groups in which a host is, and whether it is the host itself that is asked for, not a wider one.
type HostGroups = (bool, Vec<usize>);

impl<'a> GuardedRequests<'a> {
    /// The requests of these routes, with the guards of each rule by its name.
    pub(super) fn of(routes: &'a [Json], guards: impl Fn(&str) -> BTreeSet<usize>) -> Self {
        let rules = asked(routes);
        let guards: Vec<BTreeSet<usize>> = rules.iter().map(|rule| guards(&rule.name)).collect();
        let names = rules.iter().enumerate().map(|(at, rule)| (rule.name.clone(), at));
        let by_name = names.collect();
        let count = guards.iter().flatten().collect::<BTreeSet<_>>().len();
        Self { rules, guards, count, by_name, index: OnceCell::new() }
    }

    /// What a rule takes. `now`: all requests after the change, this rule's among them.
    pub(super) fn taken(&self, new: &ServedRule<'_>, now: &GuardedRequests<'_>) -> TakenRequests {
        if let Some(guards) = self.unchanged(new) {
            return TakenRequests { same: guards.clone(), ..TakenRequests::default() };
        }
        let named = self.named(new);
        let mut taken =
            TakenRequests { same: named.cloned().unwrap_or_default(), ..TakenRequests::default() };
        let mut seen: HashSet<(Vec<HostGroups>, Vec<HostGroups>)> = HashSet::new();
        for host in new.hosts.iter() {
            let (groups, beside) = (self.index().of_host(host), now.index().of_host(host));
            // Hosts of the same groups have the same matches.
            if !seen.insert((groups.clone(), beside.clone())) {
                continue;
            }
            let stays = |one: &AskedPath| now.has(&beside, one);
            for one in &new.matches {
                self.take(&mut taken, (new, one), (host.as_str(), &groups[..]), &stays);
            }
        }
        taken.has_more &= named.is_none();
        taken
    }

    /// The guards of the requests of a rule that exactly these rules ask for too, or of the rule of its name.
    pub(super) fn same(&self, new: &ServedRule<'_>) -> Option<BTreeSet<usize>> {
        if let Some(guards) = self.unchanged(new).or_else(|| self.named(new)) {
            return Some(guards.clone());
        }
        let mut found: Option<BTreeSet<usize>> = None;
        for host in new.hosts.iter() {
            let groups = self.index().of_host(host);
            let same = new.matches.iter().filter_map(|one| self.equal(&groups, new, one));
            same.for_each(|guards| found.get_or_insert_default().extend(guards));
        }
        found
    }

    /// The guards of a rule that asks for the same requests under the same name.
    fn unchanged(&self, new: &ServedRule<'_>) -> Option<&BTreeSet<usize>> {
        let at = *self.by_name.get(&new.name)?;
        let known = self.rules.get(at)?;
        let same = known.hosts == new.hosts && known.matches == new.matches;
        self.guards.get(at).filter(|_| same)
    }

    /// The guards of the rule of that name, if it leads to one of the same services.
    fn named(&self, new: &ServedRule<'_>) -> Option<&BTreeSet<usize>> {
        let at = *self.by_name.get(&new.name)?;
        let same = !self.rules.get(at)?.backends.is_disjoint(&new.backends);
        self.guards.get(at).filter(|_| same)
    }

    /// Adds what a match takes for a host.
    fn take(
        &self,
        taken: &mut TakenRequests,
        (new, one): (&ServedRule<'_>, &AskedPath),
        (host, groups): (&str, &[HostGroups]),
        stays: &dyn Fn(&AskedPath) -> bool,
    ) {
        if let Some(guards) = self.equal(groups, new, one) {
            taken.same.extend(guards);
            return;
        }
        let mut search =
            RequestSearch { of: self, new: one, stays, guards: BTreeSet::new(), is_any: false };
        for (is_same, groups) in groups {
            let paths: Vec<&GuardedPaths> =
                groups.iter().filter_map(|at| self.index().groups.get(*at)).collect();
            if search.is_full() || search.host(&paths, *is_same).is_break() {
                break;
            }
        }
        taken.has_more |= !search.is_any;
        for guard in search.guards {
            taken.within.entry(guard).or_insert_with(|| format!("{host}{}", shown(&one.path)));
        }
    }

    /// The guards of exactly these requests; of several rules that ask for them, those of the rule of that name, else all.
    fn equal(
        &self,
        groups: &[HostGroups],
        new: &ServedRule<'_>,
        one: &AskedPath,
    ) -> Option<BTreeSet<usize>> {
        let (_, groups) = groups.first().filter(|(is_same, _)| *is_same)?;
        let paths = groups.iter().filter_map(|at| self.index().groups.get(*at));
        let there = paths.filter_map(|paths| paths.of(one.kind).get(&one.path)).flatten();
        let same = there.filter(|place| self.at(place) == Some(one)).map(|(rule, _)| *rule);
        let same: BTreeSet<usize> = same.collect();
        let is_named =
            |rule: &&usize| self.rules.get(**rule).is_some_and(|known| known.name == new.name);
        let found = match same.iter().find(is_named) {
            Some(rule) => self.guards.get(*rule)?.clone(),
            None => {
                same.iter().filter_map(|rule| self.guards.get(*rule)).flatten().copied().collect()
            }
        };
        (!same.is_empty()).then_some(found)
    }

    /// Whether exactly this is asked for, for the host itself.
    fn has(&self, groups: &[HostGroups], one: &AskedPath) -> bool {
        let own = groups.first().filter(|(is_same, _)| *is_same);
        let groups = own.into_iter().flat_map(|(_, groups)| groups);
        let mut paths = groups.filter_map(|at| self.index().groups.get(*at));
        paths.any(|paths| {
            let there = paths.of(one.kind).get(&one.path);
            there.into_iter().flatten().any(|place| self.at(place) == Some(one))
        })
    }

    fn at(&self, (rule, place): &MatchPlace) -> Option<&AskedPath> {
        self.rules.get(*rule)?.matches.get(*place)
    }

    fn index(&self) -> &RequestIndex {
        self.index.get_or_init(|| RequestIndex::of(&self.rules, &self.guards))
    }
}

impl RequestIndex {
    fn of(rules: &[ServedRule<'_>], guards: &[BTreeSet<usize>]) -> Self {
        let mut index = Self::default();
        let mut known: HashMap<Arc<[String]>, usize> = HashMap::new();
        for (rule, guards) in rules.iter().enumerate().zip(guards) {
            let (rule, ServedRule { hosts, matches, .. }) = rule;
            let group = *known.entry(Arc::clone(hosts)).or_insert_with(|| {
                index.groups.push(GuardedPaths::default());
                let at = index.groups.len().saturating_sub(1);
                hosts.iter().for_each(|host| index.hosts.entry(host.clone()).or_default().push(at));
                at
            });
            let Some(paths) = index.groups.get_mut(group) else { continue };
            for (place, one) in matches.iter().enumerate() {
                // Whether an expression takes requests is not known from its text, so only guarded ones count.
                if one.kind != PathMatchType::RegularExpression || !guards.is_empty() {
                    paths.of_mut(one.kind).entry(one.path.clone()).or_default().push((rule, place));
                }
            }
        }
        index
    }

    /// The groups of a host and of those that cover it, the closest first.
    fn of_host(&self, host: &str) -> Vec<HostGroups> {
        let all = wider(host).filter_map(|one| Some((one == host, self.hosts.get(&one)?.clone())));
        all.collect()
    }
}

impl GuardedPaths {
    fn of(&self, kind: PathMatchType) -> &BTreeMap<String, Vec<MatchPlace>> {
        match kind {
            PathMatchType::Exact => &self.exact,
            PathMatchType::PathPrefix => &self.prefixes,
            PathMatchType::RegularExpression => &self.expressions,
        }
    }

    fn of_mut(&mut self, kind: PathMatchType) -> &mut BTreeMap<String, Vec<MatchPlace>> {
        match kind {
            PathMatchType::Exact => &mut self.exact,
            PathMatchType::PathPrefix => &mut self.prefixes,
            PathMatchType::RegularExpression => &mut self.expressions,
        }
    }
}

/// The search for what a new match takes away from others.
struct RequestSearch<'t, 'a> {
    of: &'t GuardedRequests<'a>,
    new: &'t AskedPath,
    /// Whether a match is there after the change too, for the same host: it is judged by itself.
    stays: &'t dyn Fn(&AskedPath) -> bool,
    guards: BTreeSet<usize>,
    is_any: bool,
}

impl RequestSearch<'_, '_> {
    /// Takes from what one host asks for, in the order in which a router tries it: exact paths, expressions, prefixes.
    /// `is_same`: it is the new match's own host; a wider one is tried after all that is new. Breaks when nothing is left
    /// for wider hosts.
    fn host(&mut self, all: &[&GuardedPaths], is_same: bool) -> ControlFlow<()> {
        let path = self.new.path.as_str();
        let is_expression = self.new.kind == PathMatchType::RegularExpression;
        let is_exact = self.new.kind == PathMatchType::Exact;
        // Exact paths are tried first: on its own host the new match takes one only if it is of the same path.
        if is_exact {
            self.covering(all.iter().filter_map(|one| one.exact.get(path)), is_same)?;
        } else if !is_same {
            let exact = all.iter().flat_map(|one| met(&one.exact, path, is_expression));
            self.part(exact);
        }
        // Which expressions match is not known from their texts. They come before prefixes.
        if is_expression || is_exact || !is_same {
            let meets = |one: &String| may_meet(one, is_expression, path);
            let expressions = all.iter().flat_map(|one| &one.expressions);
            self.part(expressions.filter(|(one, _)| meets(one)).map(|(_, places)| places));
        }
        if is_expression {
            self.part(all.iter().flat_map(|one| met(&one.prefixes, path, true)));
            return self.covering(all.iter().filter_map(|one| one.prefixes.get("")), false);
        }
        if !is_exact && !is_same {
            self.part(all.iter().flat_map(|one| met(&one.prefixes, path, false)));
        }
        for (at, prefix) in above(path).enumerate() {
            let is_tie = is_same && !is_exact && at == 0;
            self.covering(all.iter().filter_map(|one| one.prefixes.get(prefix)), is_tie)?;
        }
        ControlFlow::Continue(())
    }

    /// Takes from matches whose paths cover the new one's. `is_tie`: they have the same path on the same host, so that
    /// conditions decide which is tried first. Breaks when one of them took all.
    fn covering<'p>(
        &mut self,
        there: impl Iterator<Item = &'p Vec<MatchPlace>>,
        is_tie: bool,
    ) -> ControlFlow<()> {
        let mut there: Vec<MatchPlace> = there.flatten().copied().collect();
        // In the order in which a router tries them; those of equal rank in the order of the documents.
        there.sort_by_cached_key(|place| {
            Reverse(self.of.at(place).map(|one| one.conditions.rank()))
        });
        for place in there {
            let Some(one) = self.of.at(&place) else { continue };
            let is_first = is_tie && one.conditions.rank() > self.new.conditions.rank();
            if is_first || !self.new.conditions.meet(&one.conditions) {
                continue;
            }
            self.take(place);
            if self.new.conditions.imply(&one.conditions) {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// Takes from matches that may have a part of the new one's requests.
    fn part<'p>(&mut self, there: impl Iterator<Item = &'p Vec<MatchPlace>>) {
        for place in there.flatten() {
            if self.is_full() {
                return;
            }
            // All that is more specific than a prefix is tried before it.
            let is_prefix = self.new.kind == PathMatchType::PathPrefix;
            let meets = |one: &AskedPath| {
                self.new.conditions.meet(&one.conditions) && !(is_prefix && (self.stays)(one))
            };
            if self.of.at(place).is_some_and(meets) {
                self.take(*place);
            }
        }
    }

    fn take(&mut self, (rule, _): MatchPlace) {
        self.is_any = true;
        self.guards.extend(self.of.guards.get(rule).into_iter().flatten());
    }

    /// Whether there is nothing more to find.
    fn is_full(&self) -> bool {
        self.is_any && self.guards.len() == self.of.count
    }
}

/// A path of requests as people write it.
fn shown(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// A host and all that cover it, the closest first; `*` stands for one label or more.
fn wider(host: &str) -> impl Iterator<Item = String> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let dots = name.match_indices('.').filter_map(|(dot, _)| name.get(dot..));
    let covering = dots.map(|rest| format!("*{rest}")).collect::<Vec<_>>();
    let any = (!host.is_empty()).then(String::new);
    std::iter::once(host.to_owned()).chain(covering).chain(any)
}

/// A path without slashes at its end, and all prefixes that cover it, the longest first.
fn above(path: &str) -> impl Iterator<Item = &str> {
    let whole = path.trim_end_matches('/');
    let parents = whole.rmatch_indices('/').filter_map(|(at, _)| whole.get(..at));
    std::iter::once(whole).chain(parents)
}

/// What is asked for at paths that an expression may match, or that a prefix covers.
fn met<'p>(
    paths: &'p BTreeMap<String, Vec<MatchPlace>>,
    asked: &'p str,
    is_expression: bool,
) -> impl Iterator<Item = &'p Vec<MatchPlace>> {
    let from = if is_expression { "" } else { asked };
    let begin = paths.range(from.to_owned()..);
    let begin = begin.take_while(move |(path, _)| is_expression || path.starts_with(asked));
    let met = begin.filter(move |(path, _)| {
        let below = || {
            path.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if is_expression { may_meet(asked, false, path) } else { below() }
    });
    met.map(|(_, places)| places)
}

//! The protection that a change takes away from a proxy: what decided who may pass, and would no longer be asked.
//!
//! A guard is an attachment in the phase `authn` or `authz`, an `AuthorizationPolicy` that is enforced, or the demand of a
//! gateway's listener for client certificates. It is gone from a listener, or from those requests (by host and path) that it
//! was asked about and that still reach a backend. It is gone round where a rule of a gateway leads to a service to which
//! only rules led that it was asked about. What a guard says is not compared: a changed configuration of the same guard is
//! for people to judge.

mod asked;
mod guard;
mod led;
mod table;
mod words;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::plan::{ListenerPlan, NodePlan, TrafficDirection};
use asked::{ServedRule, asked, routes, serves};
use guard::Guard;
use led::{GuardedServices, is_of_gateway, leads};
use table::GuardedRequests;
use words::{OpenRequests, of_listener};

/// The protection that a proxy loses, each in words: at most four for each guard of each listener. `gateways`: all gateways
/// before the change, of which each may lead to services that only guarded rules of others led to.
///
/// Costs nothing without guards, little for listeners that stay as they are or whose guards all stay or all go, and else about as
/// much as reading the routes of both plans; of all gateways where a rule leads to another service than before.
#[must_use]
pub fn lost_protection(
    before: &NodePlan,
    after: &NodePlan,
    gateways: &[&NodePlan],
) -> BTreeSet<String> {
    let known: Vec<GuardedListener<'_>> =
        before.listeners.iter().map(|one| GuardedListener::of(before, one)).collect();
    let is_guarded = |plan: &&NodePlan| {
        plan.listeners.iter().any(|listener| !Guard::all(plan, listener).is_empty())
    };
    let is_gateway = after.listeners.iter().any(is_of_gateway);
    let mut lost = BTreeSet::new();
    if known.iter().any(|one| !one.guards.is_empty())
        || (is_gateway && gateways.iter().any(is_guarded))
    {
        let services = GuardedServices::of(gateways.iter().copied().chain([before]));
        for listener in &after.listeners {
            lost.extend(ComparedListener::of(after, listener, (&known, &services)).lost());
        }
    }
    lost
}

/// The guards that a new gateway does not ask about rules of others, where every listener that has such a rule asks them; each in
/// words.
#[must_use]
pub fn unguarded_gateway(others: &[&NodePlan], new: &NodePlan) -> BTreeSet<String> {
    let all = others
        .iter()
        .flat_map(|plan| plan.listeners.iter().map(|listener| GuardedListener::of(plan, listener)));
    let known: Vec<GuardedListener<'_>> = all.collect();
    let services = GuardedServices::of(others.iter().copied());
    let listeners = new.listeners.iter().map(|listener| GuardedListener::of(new, listener));
    let compared = listeners.map(|now| {
        let is_read = now.is_for_requests();
        let others = known.iter().filter(|one| is_read && one.is_for_requests()).collect();
        ComparedListener { now, was: None, others, services: &services }
    });
    compared.flat_map(|one| one.lost()).collect()
}

/// The guards of everything that arrives at the application of a sidecar before a change, for which none stands at the sidecar
/// that leads to it after the change; `None`: whoever leads to it has no sidecar. In words.
#[must_use]
pub fn lost_of_application(before: &NodePlan, after: Option<&NodePlan>) -> BTreeSet<String> {
    let guards = |plan| -> Vec<Guard<'_>> { inbound(plan).filter(Guard::is_of_all).collect() };
    let (old, new) = (guards(before), after.map(guards).unwrap_or_default());
    let gone = old.iter().filter(|was| !new.iter().any(|now| now.stands_for(was))).collect();
    without_consequences(gone).map(ToString::to_string).collect()
}

/// The guards of a proxy that are asked about everything that its clients in the mesh send, in words.
#[must_use]
pub fn inbound_guards(plan: &NodePlan) -> BTreeSet<String> {
    inbound(plan).filter(Guard::is_of_all).map(|one| one.to_string()).collect()
}

fn inbound(plan: &NodePlan) -> impl Iterator<Item = Guard<'_>> {
    let inbound = plan.listeners.iter().filter(|one| one.direction == TrafficDirection::Inbound);
    inbound.flat_map(|one| Guard::all(plan, one))
}

/// A listener before a change.
struct GuardedListener<'a> {
    plan: &'a NodePlan,
    listener: &'a ListenerPlan,
    guards: Vec<Guard<'a>>,
    requests: OnceCell<GuardedRequests<'a>>,
}

impl<'a> GuardedListener<'a> {
    fn of(plan: &'a NodePlan, listener: &'a ListenerPlan) -> Self {
        let guards = Guard::all(plan, listener);
        Self { plan, listener, guards, requests: OnceCell::new() }
    }

    fn routes(&self) -> &'a [Json] {
        routes(self.plan, self.listener)
    }

    /// Whether it is a gateway's, and reads requests.
    fn is_for_requests(&self) -> bool {
        is_of_gateway(self.listener) && self.listener.tcp.is_none()
    }

    /// Whether something reaches a backend here.
    fn serves(&self) -> bool {
        self.listener.tcp.is_some() || serves(self.routes())
    }

    /// What it takes, with its guards.
    fn requests(&self) -> &GuardedRequests<'a> {
        self.requests.get_or_init(|| {
            GuardedRequests::of(self.routes(), |rule| {
                let guards = self.guards.iter().enumerate();
                guards.filter(|(_, one)| one.covers(rule)).map(|(at, _)| at).collect()
            })
        })
    }
}

/// A listener after a change, and what there was before.
struct ComparedListener<'a, 'b> {
    now: GuardedListener<'a>,
    /// The listener of its name before.
    was: Option<&'b GuardedListener<'b>>,
    /// If it is a gateway's: the gateway's other listeners before.
    others: Vec<&'b GuardedListener<'b>>,
    /// The guards of all rules that led to a service.
    services: &'b GuardedServices<'b>,
}

impl<'a, 'b> ComparedListener<'a, 'b> {
    fn of(
        plan: &'a NodePlan,
        listener: &'a ListenerPlan,
        (known, services): (&'b [GuardedListener<'b>], &'b GuardedServices<'b>),
    ) -> Self {
        let now = GuardedListener::of(plan, listener);
        let was = known.iter().find(|one| one.listener.name == listener.name);
        let others = known.iter().filter(|one| {
            let both = one.is_for_requests() && now.is_for_requests();
            both && one.listener.name != listener.name
        });
        let others = others.collect();
        Self { now, was, others, services }
    }

    /// What it loses, each in words.
    fn lost(&self) -> Vec<String> {
        let name = &self.now.listener.name;
        let mut words = Vec::new();
        let mut told = BTreeSet::new();
        let mut open = self.others.iter().any(|other| !self.not_of_all(other).is_empty());
        if let Some(was) = self.was {
            let same_routes =
                was.routes() == self.now.routes() && was.listener.tcp == self.now.listener.tcp;
            if was.guards == self.now.guards && same_routes {
                return words;
            }
            told = self.gone(was);
            let gone = told.iter().filter_map(|at| was.guards.get(*at)).collect();
            words.extend(without_consequences(gone).map(|guard| of_listener(guard, name)));
            open |= !self.not_of_all(was).is_subset(&told);
        }
        let mut lost = BTreeMap::new();
        if open && self.now.listener.tcp.is_none() {
            lost = self.by_request(&told);
        }
        self.by_service(&told, &mut lost);
        words.extend(lost.iter().flat_map(|(guard, open)| open.words(guard, name)));
        words
    }

    /// The guards of everything that are gone as a whole.
    fn gone(&self, was: &GuardedListener<'_>) -> BTreeSet<usize> {
        let mut gone = self.not_of_all(was);
        if gone.is_empty() || !was.serves() || !self.now.serves() {
            return BTreeSet::new();
        }
        gone.retain(|at| {
            was.guards.get(*at).is_some_and(|guard| {
                // Connections that nobody reads have no rules.
                let is_tcp = self.now.listener.tcp.is_some();
                guard.is_of_all() && (is_tcp || self.stands(guard).next().is_none())
            })
        });
        gone
    }

    /// The guards for which none stands that is asked about everything.
    fn not_of_all(&self, was: &GuardedListener<'_>) -> BTreeSet<usize> {
        let open = was.guards.iter().enumerate();
        let open = open.filter(|(_, one)| !self.stands(one).any(Guard::is_of_all));
        open.map(|(at, _)| at).collect()
    }

    /// The guards here that stand for one that there was.
    fn stands(&self, was: &Guard<'_>) -> impl Iterator<Item = &Guard<'a>> {
        self.now.guards.iter().filter(|one| one.stands_for(was))
    }

    /// Compares request by request, without the guards that are told already.
    fn by_request(&self, told: &BTreeSet<usize>) -> BTreeMap<String, OpenRequests> {
        let mut lost: BTreeMap<String, OpenRequests> = BTreeMap::new();
        for rule in asked(self.now.routes()) {
            let taken = self.was.map(|was| (was, was.requests().taken(&rule, self.now.requests())));
            let is_elsewhere = taken.as_ref().is_none_or(|(_, taken)| taken.has_more);
            if let Some((was, taken)) = taken {
                let all = taken.same.iter().chain(taken.within.keys());
                let open = all.filter(|at| !told.contains(at));
                for (at, guard) in self.open(was, open, &rule) {
                    let open = lost.entry(guard).or_default();
                    match taken.within.get(&at).filter(|_| !taken.same.contains(&at)) {
                        Some(place) => drop(open.within.insert(rule.name.clone(), place.clone())),
                        None => drop(open.here.insert(rule.name.clone())),
                    }
                }
            }
            if is_elsewhere {
                for guard in self.open_elsewhere(&rule) {
                    lost.entry(guard).or_default().elsewhere.insert(rule.name.clone());
                }
            }
        }
        lost
    }

    /// Adds the rules that lead to a service to which none without a guard led, and that this guard is not asked about. A rule
    /// that led there under its name is judged by its requests.
    fn by_service(&self, told: &BTreeSet<usize>, lost: &mut BTreeMap<String, OpenRequests>) {
        if !is_of_gateway(self.now.listener) {
            return;
        }
        let told: BTreeSet<String> = self
            .was
            .into_iter()
            .flat_map(|was| told.iter().filter_map(|at| was.guards.get(*at)))
            .map(ToString::to_string)
            .collect();
        let was = self.was.into_iter().flat_map(|was| leads(was.plan, was.listener));
        let led: BTreeSet<(String, &str)> = was.map(|one| (one.rule, one.to)).collect();
        for one in leads(self.now.plan, self.now.listener) {
            if led.contains(&(one.rule.clone(), one.to)) {
                continue;
            }
            let guards = self.services.guards(one.to);
            let gone = guards.iter().map(|guard| &**guard).filter(|guard| {
                !self.stands(guard).any(|now| now.is_of_all() || now.covers(&one.rule))
            });
            for guard in without_consequences(gone.collect()) {
                let guard = guard.to_string();
                if !told.contains(&guard) {
                    let beside = &mut lost.entry(guard).or_default().beside;
                    beside.entry(one.rule.clone()).or_insert_with(|| one.to.to_owned());
                }
            }
        }
    }

    /// Those of the guards of a listener for which none stands that is asked about a rule, in words.
    fn open<'t>(
        &self,
        was: &GuardedListener<'_>,
        guards: impl Iterator<Item = &'t usize>,
        rule: &ServedRule<'_>,
    ) -> Vec<(usize, String)> {
        let guards = guards.filter_map(|at| Some((*at, was.guards.get(*at)?)));
        let gone = guards.filter(|(_, guard)| !self.stands(guard).any(|it| it.covers(&rule.name)));
        let gone: Vec<_> = gone.collect();
        let policy = gone.iter().any(|(_, guard)| guard.is_policy());
        let gone = gone.into_iter().filter(|(_, guard)| !(policy && guard.is_receiver()));
        gone.map(|(at, guard)| (at, guard.to_string())).collect()
    }

    /// The guards that all other listeners ask which take the same requests, or have the same rule, and that this one does
    /// not; in words.
    fn open_elsewhere(&self, rule: &ServedRule<'_>) -> Vec<String> {
        let mut common: Option<(&GuardedListener<'_>, BTreeSet<usize>)> = None;
        for other in &self.others {
            let Some(here) = other.requests().same(rule) else { continue };
            let Some((first, all)) = &mut common else {
                common = Some((other, here));
                continue;
            };
            all.retain(|at| {
                let here = here.iter().filter_map(|at| other.guards.get(*at));
                first.guards.get(*at).is_some_and(|one| here.into_iter().any(|it| it.is_same(one)))
            });
        }
        let open = common.map(|(first, all)| self.open(first, all.iter(), rule));
        open.unwrap_or_default().into_iter().map(|(_, guard)| guard).collect()
    }
}

/// Without receivers if a policy is among them: what is refused for lack of a policy is open because a policy went.
fn without_consequences<'g, 'a>(gone: Vec<&'g Guard<'a>>) -> impl Iterator<Item = &'g Guard<'a>> {
    let policy = gone.iter().any(|one| one.is_policy());
    gone.into_iter().filter(move |one| !(policy && one.is_receiver()))
}

#[cfg(test)]
mod tests;

//! The guards: whether a change may be made without a confirmation or an approval.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tamis_trust::{Digest, Name};

use crate::change::Change;
use crate::effect::ChangeEffect;
use crate::record::{PinRecord, UnpinRecord};
use crate::refused::{Refused, code};
use crate::rollout::Rollout;
use crate::state::{State, revoked};
use crate::words::count;

/// The limits for changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guards {
    /// Percent of the services that one change may touch without confirmation; 25.
    pub blast_radius_percent: u8,
    /// Number of services that it may always touch; 2.
    pub blast_radius_services: usize,
    /// Number of other people who must have approved; 0.
    pub approvals: usize,
    /// How long an approval is valid, in milliseconds; a day.
    pub approval_ms: u64,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            blast_radius_percent: 25,
            blast_radius_services: 2,
            approvals: 0,
            approval_ms: 24 * 3_600_000,
        }
    }
}

/// The request for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeRequest<'a> {
    /// Who asks. Their own approval does not count.
    pub actor: &'a str,
    /// When; milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// Whether they confirm its effect.
    pub consent: Consent,
    /// The people whose approval counts: they have `approve` for everything that the change touches.
    pub may_agree: &'a BTreeSet<String>,
}

/// Whether the person who asks has seen the effect of a change and confirms it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// No confirmation.
    NotGiven,
    /// Confirmed.
    Given,
}

/// Whether `change`, whose effect according to [`effect`](crate::effect) is `effect`, may be made.
///
/// A confirmation passes an emptied chain, lost protection and a wide change, and nothing else.
///
/// # Errors
/// Every rule that refuses, not only the first, each with its way out.
pub fn guard(
    state: &State,
    change: &Change,
    effect: &ChangeEffect,
    guards: &Guards,
    asked: &ChangeRequest<'_>,
) -> Result<(), Vec<Refused>> {
    let mut refused = match change {
        Change::Apply(_) => Vec::new(),
        Change::Pin(pinned) => pin(state, pinned),
        Change::Unpin(unpinned) => {
            rollout(state, &unpinned.service, &unpinned.filter).into_iter().collect()
        }
    };
    refused.extend(approvals(state, change, guards, asked));
    if asked.consent == Consent::NotGiven {
        refused.extend(empty_chain(effect));
        refused.extend(protection(effect));
        refused.extend(blast_radius(effect, guards));
    }
    if refused.is_empty() { Ok(()) } else { Err(refused) }
}

/// Whether a rollout may start: who may not pin alone may not roll out alone either.
///
/// # Errors
/// [`code::APPROVALS`] when too few people have approved [`Rollout::subject`] since the last event of its
/// filter.
pub fn guard_rollout(
    state: &State,
    rollout: &Rollout,
    guards: &Guards,
    asked: &ChangeRequest<'_>,
) -> Result<(), Refused> {
    let since = state.desired.pins.revision(&rollout.spec().filter);
    agreed(state, rollout.subject(), since, guards, asked).map_or(Ok(()), Err)
}

fn pin(state: &State, pinned: &PinRecord) -> Vec<Refused> {
    let mut refused = Vec::new();
    if let Some(revocation) = state.revoked_digests().get(&pinned.digest) {
        refused.push(revoked(&pinned.filter, &pinned.digest, revocation));
    }
    if !pinned.allow_older && state.is_older(pinned) {
        refused.push(Refused {
            code: code::PIN_OLDER.into(),
            rule: format!("{} {} is older than what is pinned", pinned.filter, pinned.version),
            set_by: "the rule that a version is lowered only on purpose".to_owned(),
            remedy: "roll back, or allow an older version".to_owned(),
        });
    }
    refused.extend(rollout(state, &pinned.service, &pinned.filter));
    refused
}

/// A pin that moves during a rollout would remove what the rollout compares with.
fn rollout(state: &State, service: &str, filter: &Name) -> Option<Refused> {
    let at_work = state.rollouts().values().find(|one| {
        let all = service == "*" || one.rollout.names(service);
        one.step().is_some() && one.rollout.spec().filter == *filter && all
    })?;
    Some(Refused {
        code: code::PIN_ROLLOUT.into(),
        rule: format!("rollout {} of {filter} is in progress", at_work.rollout.name()),
        set_by: format!("{} at revision {}", at_work.started.actor, at_work.started.revision),
        remedy: "wait until it ends, abort it, or kill it to return at once".to_owned(),
    })
}

/// An approval counts only while nothing that it is about has changed since: the same change made a second
/// time needs a second approval.
fn approvals(
    state: &State,
    change: &Change,
    guards: &Guards,
    asked: &ChangeRequest<'_>,
) -> Option<Refused> {
    let since = match change {
        Change::Apply(_) => state.desired.documents.changed,
        Change::Pin(PinRecord { filter, .. }) | Change::Unpin(UnpinRecord { filter, .. }) => {
            state.desired.pins.revision(filter)
        }
    };
    if guards.approvals == 0 {
        // The digest of a whole change, which nobody has to approve.
        return None;
    }
    agreed(state, change.subject(), since, guards, asked)
}

fn agreed(
    state: &State,
    subject: Digest,
    since: u64,
    guards: &Guards,
    asked: &ChangeRequest<'_>,
) -> Option<Refused> {
    let all = state.approvals.get(&subject);
    let valid = all.into_iter().flatten().filter(|(actor, stamp)| {
        actor.as_str() != asked.actor
            && asked.may_agree.contains(actor.as_str())
            && stamp.revision > since
            && asked.now_ms.saturating_sub(stamp.time_ms) <= guards.approval_ms
    });
    let agreed: Vec<&str> = valid.map(|(actor, _)| actor.as_str()).collect();
    (agreed.len() < guards.approvals).then(|| Refused {
        code: code::APPROVALS.into(),
        rule: format!(
            "{} other than {} must approve {subject}, {}",
            count(guards.approvals, "person", "people"),
            asked.actor,
            match agreed.as_slice() {
                [] => "nobody did".to_owned(),
                some => format!("{} did ({})", some.len(), some.join(", ")),
            }
        ),
        set_by: "the policy about approvals".to_owned(),
        remedy: format!("let {} more approve {subject}", guards.approvals - agreed.len()),
    })
}

fn empty_chain(effect: &ChangeEffect) -> Option<Refused> {
    let (node, listener) = effect.emptied.first()?;
    let more = match effect.emptied.len() {
        1 => String::new(),
        many => format!(" (and {} more)", many - 1),
    };
    Some(Refused {
        code: code::EMPTY_CHAIN.into(),
        rule: format!("listener {listener} of {node} would have no filter any more{more}"),
        set_by: "the safeguard against emptied chains".to_owned(),
        remedy: "keep an attachment, or confirm".to_owned(),
    })
}

/// Losses that a refusal names.
const LOSSES_NAMED: usize = 3;

fn protection(effect: &ChangeEffect) -> Option<Refused> {
    let mut alike: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (service, lost) in &effect.unguarded {
        lost.iter().for_each(|one| alike.entry(one).or_default().push(service));
    }
    let words = alike.iter().take(LOSSES_NAMED).map(|(lost, services)| match services.as_slice() {
        [service] => format!("{lost} in {service}"),
        many => format!("{lost} in {}", count(many.len(), "service", "services")),
    });
    let words = words.collect::<Vec<_>>().join("; ");
    let more = match alike.len().saturating_sub(LOSSES_NAMED) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    (!alike.is_empty()).then(|| Refused {
        code: code::PROTECTION.into(),
        rule: format!("{words}{more}"),
        set_by: "the safeguard of protection".to_owned(),
        remedy: "keep the guard, or let another one stand for it first, or confirm".to_owned(),
    })
}

fn blast_radius(effect: &ChangeEffect, guards: &Guards) -> Option<Refused> {
    let percent = usize::from(guards.blast_radius_percent.min(100));
    let allowed = (effect.services.saturating_mul(percent) / 100).max(guards.blast_radius_services);
    let touched = effect.touched.len();
    (touched > allowed).then(|| Refused {
        code: code::BLAST_RADIUS.into(),
        rule: format!(
            "{touched} of {} would change, at most {allowed} may change at once",
            count(effect.services, "service", "services")
        ),
        set_by: format!("the blast radius of {percent} percent"),
        remedy: "change fewer at once, use a rollout, or confirm".to_owned(),
    })
}

#[cfg(test)]
mod tests;

//! Judges whether a rollout may continue, by the counts of its nodes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Differences, GateSpec, Rollout, RolloutStage, RolloutStep, ShadowSpec};
use tamis_resources::Millis;
use tamis_sync::CallCounts;

use crate::ratio::ratio;
use crate::words::count;

/// Refusals that are listed individually.
const SHOWN: usize = 3;
/// Timings needed for a 99th percentile: with fewer it would be the slowest one.
const MIN_TIMED: u64 = 100;

/// The counts of a rollout.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RolloutTally {
    /// Of the candidate, since the step began.
    pub candidate: CallCounts,
    /// Of the current digest, since the rollout began.
    pub current: CallCounts,
    /// Slots that refused the candidate since the step began, as `NODE SLOT`, and why: code and rule.
    pub refusals: BTreeMap<String, String>,
    /// The comparisons of the shadow.
    pub differences: Differences,
}

/// Number of nodes that a rollout concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cohort {
    /// Nodes that the step moves.
    pub moved: usize,
    /// Nodes that stay.
    pub rest: usize,
}

/// What stops a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "named like the fields of the gates")]
pub enum GateBreach {
    MaxTrapRate,
    #[serde(rename = "max-5xx-delta")]
    Max5xxDelta,
    MaxDenialDelta,
    MaxAddedP99Ms,
    MaxRefusals,
    MaxDifferences,
    /// The candidate was revoked.
    Revoked,
}

/// The judgement of the gates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "judgement")]
pub enum Judgement {
    /// Not decided yet.
    Baking {
        /// What is missing.
        why: String,
    },
    /// The next step may come.
    Passed {
        /// The evidence.
        why: String,
    },
    /// There was no judgement for longer than the rollout allows; somebody has to look.
    Stalled {
        /// What is missing, and for how long.
        why: String,
    },
    /// It must not continue.
    Breached {
        /// The failed gate.
        gate: GateBreach,
        /// The evidence, and the limit.
        why: String,
    },
}

/// Judges the current step of a rollout, which began at `began_ms`. A failed gate counts at once; to pass,
/// every gate must have been able to judge, for the whole bake time. A step that could not be judged for
/// longer than [`Rollout::progress_deadline_ms`] after that is stalled. A rollout that is over is not
/// judged.
#[must_use]
pub fn judge(
    rollout: &Rollout,
    stage: RolloutStage,
    tally: &RolloutTally,
    cohort: Cohort,
    (began_ms, now_ms): (u64, u64),
) -> Judgement {
    let bake_ms = match stage {
        RolloutStage::Running(RolloutStep::Wave(at)) => {
            rollout.spec().waves.get(at).map_or(0, |wave| wave.bake_ms)
        }
        RolloutStage::Running(RolloutStep::Shadow) => 0,
        RolloutStage::Paused(_) | RolloutStage::Ended(_) => u64::MAX,
    };
    let deadline_ms = rollout.progress_deadline_ms();
    let late = began_ms.saturating_add(bake_ms).saturating_add(deadline_ms) < now_ms;
    match weigh(rollout, stage, tally, cohort, (began_ms, now_ms)) {
        Judgement::Baking { why } if late => {
            let deadline = Millis(deadline_ms);
            Judgement::Stalled { why: format!("no progress for {deadline}: {why}") }
        }
        judgement => judgement,
    }
}

fn weigh(
    rollout: &Rollout,
    stage: RolloutStage,
    tally: &RolloutTally,
    cohort: Cohort,
    (began_ms, now_ms): (u64, u64),
) -> Judgement {
    let gates = &rollout.spec().gates;
    let at = match stage {
        RolloutStage::Ended(outcome) => return baking(format!("it is {outcome}")),
        RolloutStage::Running(RolloutStep::Shadow) | RolloutStage::Paused(RolloutStep::Shadow) => {
            return rollout.spec().shadow.map_or_else(
                || passed("there is no shadow".to_owned()),
                |shadow| shadowed(shadow, &tally.differences),
            );
        }
        RolloutStage::Running(RolloutStep::Wave(at))
        | RolloutStage::Paused(RolloutStep::Wave(at)) => at,
    };
    if let Some(breach) = refused(gates, tally).or_else(|| trapped(gates, &tally.candidate)) {
        return breach;
    }
    let (candidate, current) = (&tally.candidate, &tally.current);
    let enough = |counts: &CallCounts| counts.exchanges >= gates.min_exchanges;
    if enough(candidate)
        && enough(current)
        && let Some(breach) = compared(gates, candidate, current)
    {
        return breach;
    }
    let bake_ms = rollout.spec().waves.get(at).map_or(0, |wave| wave.bake_ms);
    let left_ms = began_ms.saturating_add(bake_ms).saturating_sub(now_ms);
    if left_ms > 0 {
        // Rounded up to seconds: milliseconds would not help a reader.
        let left = Millis(left_ms.div_ceil(1_000).saturating_mul(1_000));
        return baking(format!("{left} of the bake time left"));
    }
    if cohort.moved == 0 {
        return passed("it concerns no proxies now".to_owned());
    }
    let seen = |what, counts: &CallCounts| {
        baking(format!(
            "{what} has {} of the {} exchanges that a rate needs",
            counts.exchanges, gates.min_exchanges
        ))
    };
    // A rate of too few exchanges has no meaning; where no gate judges a rate, none is needed.
    if (gates.compare() || gates.max_trap_rate.is_some()) && !enough(candidate) {
        return seen("the candidate", candidate);
    }
    if gates.compare() && !enough(current) {
        return seen("the current digest", current);
    }
    if gates.max_added_p99_ms.is_some()
        && let Some((what, few)) = [("the candidate", candidate), ("the current digest", current)]
            .into_iter()
            .find(|(_, counts)| !timed(counts))
    {
        let few = few.added.total();
        return baking(format!("{what} has {few} of the {MIN_TIMED} timings a percentile needs"));
    }
    let seen = count(candidate.exchanges, "exchange", "exchanges");
    if !gates.any() {
        let baked = Millis(bake_ms);
        return passed(format!("no gate is set; it baked for {baked}, with {seen}"));
    }
    passed(format!("all gates held over {seen}"))
}

/// Whether enough exchanges were timed for a 99th percentile: proxies time one in 16.
fn timed(counts: &CallCounts) -> bool {
    counts.added.total() >= MIN_TIMED
}

fn baking(why: String) -> Judgement {
    Judgement::Baking { why }
}

fn passed(why: String) -> Judgement {
    Judgement::Passed { why }
}

fn shadowed(shadow: ShadowSpec, seen: &Differences) -> Judgement {
    let (samples, differ) = (seen.samples, seen.count());
    if differ > shadow.max_differences {
        let why = format!(
            "{differ} of {} differ, {}",
            count(samples, "verdict", "verdicts"),
            allowed(shadow.max_differences)
        );
        return Judgement::Breached { gate: GateBreach::MaxDifferences, why };
    }
    if samples < shadow.min_samples {
        let wanted = count(shadow.min_samples, "verdict", "verdicts");
        return baking(format!("{samples} of {wanted} compared"));
    }
    passed(format!("{differ} of {} differ", count(samples, "verdict", "verdicts")))
}

fn refused(gates: &GateSpec, tally: &RolloutTally) -> Option<Judgement> {
    let (most, seen) = (gates.max_refusals?, u64::try_from(tally.refusals.len()).ok()?);
    (seen > most).then(|| Judgement::Breached {
        gate: GateBreach::MaxRefusals,
        why: format!("{}, {}", refusals(tally), allowed(most)),
    })
}

/// How many slots refuse the candidate, which and why: the first three.
fn refusals(tally: &RolloutTally) -> String {
    let seen = u64::try_from(tally.refusals.len()).unwrap_or(u64::MAX);
    let slots = count(seen, "slot refuses", "slots refuse");
    let shown: Vec<String> =
        tally.refusals.iter().take(SHOWN).map(|(place, why)| format!("{place} ({why})")).collect();
    let more = match tally.refusals.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{slots} the candidate: {}{more}", shown.join(", "))
}

fn allowed(most: u64) -> String {
    match most {
        0 => "none may".to_owned(),
        most => format!("{most} may"),
    }
}

/// Traps that are too many even for the minimum number of exchanges fail the gate before that number is
/// reached: otherwise a candidate that traps on every call would continue for as long as traffic is low.
fn trapped(gates: &GateSpec, candidate: &CallCounts) -> Option<Judgement> {
    let most = gates.max_trap_rate?;
    let rate = ratio(candidate.traps, candidate.exchanges.max(gates.min_exchanges));
    (rate > most).then(|| Judgement::Breached {
        gate: GateBreach::MaxTrapRate,
        why: format!(
            "{} in {}; a rate of at most {most} is allowed",
            count(candidate.traps, "fault", "faults"),
            count(candidate.exchanges, "exchange", "exchanges"),
        ),
    })
}

fn compared(gates: &GateSpec, candidate: &CallCounts, current: &CallCounts) -> Option<Judgement> {
    let rate = |part: fn(&CallCounts) -> u64, of: &CallCounts| ratio(part(of), of.exchanges);
    let delta = |part| rate(part, candidate) - rate(part, current);
    let errors = delta(|counts| counts.server_errors);
    let denials = delta(|counts| counts.denials).abs();
    let p99 = |counts: &CallCounts| counts.added.p99_ms().filter(|_| timed(counts));
    let added = p99(candidate).zip(p99(current)).map(|(one, other)| one - other);
    let rows = [
        (GateBreach::Max5xxDelta, "share of 5xx", Some(errors), gates.max_5xx_delta),
        (GateBreach::MaxDenialDelta, "share of denials", Some(denials), gates.max_denial_delta),
        (
            GateBreach::MaxAddedP99Ms,
            "milliseconds at the 99th percentile",
            added,
            gates.max_added_p99_ms,
        ),
    ];
    rows.into_iter().find_map(|(gate, what, seen, most)| {
        let (seen, most) = seen.zip(most).filter(|(seen, most)| seen > most)?;
        let why = format!("the {what} differs by {seen:.4}; at most {most} is allowed");
        Some(Judgement::Breached { gate, why })
    })
}

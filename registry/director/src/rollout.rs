//! A digest that takes the place of another, wave by wave.
//!
//! A rollout moves no pin until it is done: while it runs, the nodes of its waves are lifted over the
//! pin, so ending it in any other way leaves exactly the pins from before.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tamis_trust::{Digest, Name, Version, config_digest};
use thiserror::Error;

mod differences;
mod gate;
mod stage;
mod wave;

pub use differences::{Difference, Differences, MAX_CAUSES, MAX_EXAMPLES};
pub use gate::{Cohort, Gate, Judgement, Tally, judge};
pub use stage::{Event, IllegalMove, Outcome, Stage, Step};
pub use wave::{rank, share};

/// The most waves of a rollout.
pub const MAX_WAVES: usize = 16;
/// The longest bake time of a wave: 30 days, in milliseconds.
pub const MAX_BAKE_MS: u64 = 30 * 24 * 3_600_000;

/// How long a step may go without a judgement after its bake time, when nobody says so: an hour, in milliseconds.
pub const PROGRESS_MS: u64 = 3_600_000;

/// What a rollout says, before it is checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutSpec {
    /// One line of 1 to 253 bytes; every rollout of a journal has its own.
    pub name: String,
    /// The filter's name.
    pub filter: Name,
    /// The digest that is pinned now.
    pub from: Digest,
    /// The digest that takes its place.
    pub to: Digest,
    /// Version of `to`.
    pub version: Version,
    /// `namespace/name` of services and gateways, or `*`: whatever has `from` pinned.
    pub services: Vec<String>,
    /// In their order; each holds the nodes of those before. The last is 100 percent.
    pub waves: Vec<Wave>,
    /// What stops it.
    pub gates: Gates,
    /// Compare verdicts before any counts; none: begin with the first wave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    /// What a gate that does not hold does.
    #[serde(default)]
    pub on_breach: OnBreach,
    /// How long a step may go without a judgement after its bake time, before it is paused; [`PROGRESS_MS`] when none,
    /// at most [`MAX_BAKE_MS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline_ms: Option<u64>,
}

/// A part of the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// Of all nodes, 1 to 100; more than the wave before.
    pub percent: u8,
    /// How long gates must hold before the next; at most [`MAX_BAKE_MS`].
    pub bake_ms: u64,
}

/// What has to hold in every wave. A gate that is none is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gates {
    /// Exchanges that a rate needs before it says anything; 100.
    #[serde(default = "hundred")]
    pub min_exchanges: u64,
    /// Most faults per exchange of the candidate, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_trap_rate: Option<f64>,
    /// How much its share of 5xx may be above that of the current digest, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_5xx_delta: Option<f64>,
    /// How far its share of denials may be from that of the current digest, up or down, 0 to 1: a filter
    /// that suddenly lets everything pass is as wrong as one that lets nothing pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_denial_delta: Option<f64>,
    /// How much more time it may add at the 99th percentile than the current digest, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_added_p99_ms: Option<f64>,
    /// Slots that may refuse the candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_refusals: Option<u64>,
}

fn hundred() -> u64 {
    100
}

/// The comparison before the first wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    /// Verdicts to compare, at least 1.
    pub min_samples: u64,
    /// How many of them may differ.
    pub max_differences: u64,
}

/// What a breach does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnBreach {
    /// All nodes go back at once.
    #[default]
    Return,
    /// It stays where it is until somebody decides.
    Hold,
}

/// Why a rollout cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("rollout {name:?}: {rule}; {remedy}")]
pub struct BadRollout {
    /// Its name, cut to 80 characters.
    pub name: String,
    /// The rule it breaks.
    pub rule: String,
    /// What would satisfy it.
    pub remedy: &'static str,
}

/// A rollout whose numbers make sense.
///
/// Invariants: at least one service, each once; 1 to [`MAX_WAVES`] waves whose percentages rise to 100;
/// rates within 0 to 1; `from` is not `to`; where a gate compares, the first wave leaves something to
/// compare with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RolloutSpec", into = "RolloutSpec")]
pub struct Rollout(RolloutSpec);

impl From<Rollout> for RolloutSpec {
    fn from(rollout: Rollout) -> Self {
        rollout.0
    }
}

impl TryFrom<RolloutSpec> for Rollout {
    type Error = BadRollout;

    fn try_from(spec: RolloutSpec) -> Result<Self, BadRollout> {
        let broken =
            check_names(&spec).or_else(|| check_waves(&spec)).or_else(|| check_gates(&spec));
        match broken {
            Some((rule, remedy)) => {
                Err(BadRollout { name: spec.name.chars().take(80).collect(), rule, remedy })
            }
            None => Ok(Self(spec)),
        }
    }
}

impl Rollout {
    /// What it says.
    #[must_use]
    pub fn spec(&self) -> &RolloutSpec {
        &self.0
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What approvals name: the digest of all it says.
    #[must_use]
    pub fn subject(&self) -> Digest {
        config_digest(&serde_json::json!({ "rollout": self.0 }))
    }

    /// Whether it names this service.
    #[must_use]
    pub fn names(&self, service: &str) -> bool {
        self.0.services.iter().any(|one| one == "*" || one == service)
    }

    /// How many of so many nodes `step` moves; none in the shadow.
    #[must_use]
    pub fn share(&self, step: Step, nodes: usize) -> usize {
        match step {
            Step::Shadow => 0,
            Step::Wave(at) => self.0.waves.get(at).map_or(0, |wave| share(wave.percent, nodes)),
        }
    }

    /// How long a step may go without a judgement after its bake time, in milliseconds.
    #[must_use]
    pub fn progress_deadline_ms(&self) -> u64 {
        self.0.progress_deadline_ms.unwrap_or(PROGRESS_MS)
    }
}

type Broken = Option<(String, &'static str)>;

fn check_names(spec: &RolloutSpec) -> Broken {
    let one_line = !spec.name.chars().any(char::is_control);
    if spec.name.is_empty() || spec.name.len() > 253 || !one_line {
        return Some(("name must be one line of 1 to 253 bytes".to_owned(), "rename it"));
    }
    if spec.from == spec.to {
        return Some(("from and to are one digest".to_owned(), "name what is to take its place"));
    }
    let distinct: BTreeSet<&String> = spec.services.iter().collect();
    if spec.services.is_empty() || distinct.len() != spec.services.len() {
        let rule = "services must be named, each once".to_owned();
        return Some((rule, "say \"*\" to mean whatever has `from` pinned"));
    }
    None
}

fn check_waves(spec: &RolloutSpec) -> Broken {
    let percents: Vec<u8> = spec.waves.iter().map(|wave| wave.percent).collect();
    if percents.is_empty() || percents.len() > MAX_WAVES {
        return Some((
            format!("it must have 1 to {MAX_WAVES} waves"),
            "write them as [5, 25, 100]",
        ));
    }
    let rising = percents.iter().zip(percents.iter().skip(1)).all(|(one, next)| one < next);
    if !rising || percents.first() == Some(&0) || percents.last() != Some(&100) {
        let rule = format!("percentages must rise from at least 1 to 100, they are {percents:?}");
        return Some((rule, "write them as [5, 25, 100]"));
    }
    if spec.waves.iter().any(|wave| wave.bake_ms > MAX_BAKE_MS) {
        return Some(("a wave bakes for more than 30 days".to_owned(), "shorten bake_ms"));
    }
    if spec.progress_deadline_ms.is_some_and(|ms| ms == 0 || ms > MAX_BAKE_MS) {
        let rule = "the progress deadline must be more than 0 and at most 30 days".to_owned();
        return Some((rule, "an hour when left out"));
    }
    None
}

fn check_gates(spec: &RolloutSpec) -> Broken {
    let gates = &spec.gates;
    let rates = [gates.max_trap_rate, gates.max_5xx_delta, gates.max_denial_delta];
    if rates.iter().flatten().any(|rate| !(0.0..=1.0).contains(rate)) {
        return Some(("rates of gates must lie in 0 to 1".to_owned(), "0.01 is one of a hundred"));
    }
    if gates.max_added_p99_ms.is_some_and(|ms| !(ms.is_finite() && ms >= 0.0)) {
        return Some(("max_added_p99_ms must be 0 or more".to_owned(), "milliseconds, like 2.5"));
    }
    if gates.min_exchanges == 0 {
        let rule = "min_exchanges is 0, so gates would judge what never ran".to_owned();
        return Some((rule, "say 1 or more; 100 when left out"));
    }
    if spec.shadow.is_some_and(|shadow| shadow.min_samples == 0) {
        return Some((
            "min_samples of the shadow is 0".to_owned(),
            "say 1 or more, or leave shadow out",
        ));
    }
    let whole = spec.waves.first().is_some_and(|wave| wave.percent == 100);
    if gates.compare() && whole {
        let rule = "the first wave has all nodes, so nothing is left to compare with".to_owned();
        return Some((rule, "begin with less, or leave the gates out that compare"));
    }
    None
}

impl Gates {
    /// Whether any of them is asked.
    #[must_use]
    pub fn any(&self) -> bool {
        self.compare() || self.max_trap_rate.is_some() || self.max_refusals.is_some()
    }

    /// Whether any of them compares with the current digest.
    #[must_use]
    pub fn compare(&self) -> bool {
        let compared = [self.max_5xx_delta, self.max_denial_delta, self.max_added_p99_ms];
        compared.iter().any(Option::is_some)
    }
}

#[cfg(test)]
mod tests;

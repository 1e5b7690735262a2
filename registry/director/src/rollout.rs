//! Replaces a digest by another, wave by wave.
//!
//! A rollout moves no pin until it is done: meanwhile the nodes of its waves are lifted over the pin, so
//! that any other end leaves exactly the pins from before.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tamis_trust::{Digest, Name, Version, config_digest};
use thiserror::Error;

mod differences;
mod gate;
mod stage;
mod wave;

pub use differences::{CauseCount, Differences, MAX_CAUSES, MAX_EXAMPLES};
pub use gate::{Cohort, GateBreach, Judgement, RolloutTally, judge};
pub use stage::{Event, IllegalMove, RolloutOutcome, RolloutStage, RolloutStep};
pub use wave::{rank, share};

/// Most waves of a rollout.
pub const MAX_WAVES: usize = 16;
/// Most services that a new rollout names.
pub const MAX_SERVICES: usize = 256;
/// The longest bake time of a wave: 30 days, in milliseconds.
pub const MAX_BAKE_MS: u64 = 30 * 24 * 3_600_000;

/// Default for how long a step may go without a judgement after its bake time: an hour, in milliseconds.
pub const PROGRESS_MS: u64 = 3_600_000;

/// The description of a rollout, before it is checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutTerms {
    /// One line of 1 to 253 bytes; unique among the rollouts of a journal.
    pub name: String,
    /// The filter's name.
    pub filter: Name,
    /// The digest that is pinned now.
    pub from: Digest,
    /// The digest that replaces it.
    pub to: Digest,
    /// Version of `to`.
    pub version: Version,
    /// `namespace/name` of services and gateways, or `*`: all that have `from` pinned.
    pub services: Vec<String>,
    /// In order; each includes the nodes of the earlier ones. The last is 100 percent.
    pub waves: Vec<WaveSpec>,
    /// The conditions of each wave.
    pub gates: GateSpec,
    /// Comparison of verdicts before the first wave; `None`: start with the first wave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowSpec>,
    /// The reaction to a failed gate.
    #[serde(default)]
    pub on_breach: BreachAction,
    /// How long a step may go without a judgement after its bake time, before it is paused; default:
    /// [`PROGRESS_MS`], at most [`MAX_BAKE_MS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline_ms: Option<u64>,
}

/// A part of the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveSpec {
    /// Percent of all nodes, 1 to 100; more than in the wave before.
    pub percent: u8,
    /// How long gates must hold before the next wave; at most [`MAX_BAKE_MS`].
    pub bake_ms: u64,
}

/// Conditions that must hold in every wave. A gate that is `None` is not checked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GateSpec {
    /// Exchanges needed before a rate is judged; 100.
    #[serde(default = "hundred")]
    pub min_exchanges: u64,
    /// Most faults per exchange of the candidate, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_trap_rate: Option<f64>,
    /// Most by which its share of 5xx may exceed that of the current digest, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_5xx_delta: Option<f64>,
    /// Most by which its share of denials may differ from that of the current digest, up or down, 0 to 1: a
    /// filter that suddenly lets everything pass is as wrong as one that lets nothing pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_denial_delta: Option<f64>,
    /// Most milliseconds that it may add at the 99th percentile over the current digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_added_p99_ms: Option<f64>,
    /// Most slots that may refuse the candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_refusals: Option<u64>,
}

fn hundred() -> u64 {
    100
}

/// The comparison before the first wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowSpec {
    /// Verdicts to compare, at least 1.
    pub min_samples: u64,
    /// Most of them that may differ.
    pub max_differences: u64,
}

/// The reaction to a failed gate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BreachAction {
    /// All nodes return at once.
    #[default]
    Return,
    /// It stays in its wave until somebody decides.
    Hold,
}

/// Why a rollout is invalid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("rollout {name:?}: {rule}; {remedy}")]
pub struct RolloutError {
    /// Its name, cut to 80 characters.
    pub name: String,
    /// The broken rule.
    pub rule: String,
    /// The way out.
    pub remedy: &'static str,
}

/// A checked rollout.
///
/// Invariants: at least one service, each once; 1 to [`MAX_WAVES`] waves whose percentages rise to 100;
/// rates within 0 to 1; `from` is not `to`; where a gate compares, the first wave leaves something to
/// compare with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RolloutTerms", into = "RolloutTerms")]
pub struct Rollout(RolloutTerms);

impl From<Rollout> for RolloutTerms {
    fn from(rollout: Rollout) -> Self {
        rollout.0
    }
}

impl TryFrom<RolloutTerms> for Rollout {
    type Error = RolloutError;

    fn try_from(spec: RolloutTerms) -> Result<Self, RolloutError> {
        let broken =
            check_names(&spec).or_else(|| check_waves(&spec)).or_else(|| check_gates(&spec));
        match broken {
            Some((rule, remedy)) => {
                Err(RolloutError { name: spec.name.chars().take(80).collect(), rule, remedy })
            }
            None => Ok(Self(spec)),
        }
    }
}

impl Rollout {
    /// Its description.
    #[must_use]
    pub fn spec(&self) -> &RolloutTerms {
        &self.0
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The digest of the whole description, which approvals name.
    #[must_use]
    pub fn subject(&self) -> Digest {
        config_digest(&serde_json::json!({ "rollout": self.0 }))
    }

    /// Whether it names this service.
    #[must_use]
    pub fn names(&self, service: &str) -> bool {
        self.0.services.iter().any(|one| one == "*" || one == service)
    }

    /// How many of `nodes` nodes `step` moves; 0 in the shadow.
    #[must_use]
    pub fn share(&self, step: RolloutStep, nodes: usize) -> usize {
        match step {
            RolloutStep::Shadow => 0,
            RolloutStep::Wave(at) => {
                self.0.waves.get(at).map_or(0, |wave| share(wave.percent, nodes))
            }
        }
    }

    /// How long a step may go without a judgement after its bake time, in milliseconds.
    #[must_use]
    pub fn progress_deadline_ms(&self) -> u64 {
        self.0.progress_deadline_ms.unwrap_or(PROGRESS_MS)
    }
}

type RolloutFault = Option<(String, &'static str)>;

fn check_names(spec: &RolloutTerms) -> RolloutFault {
    let one_line = !spec.name.chars().any(char::is_control);
    if spec.name.is_empty() || spec.name.len() > 253 || !one_line {
        return Some(("name must be one line of 1 to 253 bytes".to_owned(), "rename it"));
    }
    if spec.from == spec.to {
        return Some(("from and to are one digest".to_owned(), "name the digest that replaces it"));
    }
    let distinct: BTreeSet<&String> = spec.services.iter().collect();
    if spec.services.is_empty() || distinct.len() != spec.services.len() {
        let rule = "services must be listed, each once".to_owned();
        return Some((rule, "write \"*\" to mean all that have `from` pinned"));
    }
    None
}

fn check_waves(spec: &RolloutTerms) -> RolloutFault {
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
        return Some((rule, "omit it for an hour"));
    }
    None
}

fn check_gates(spec: &RolloutTerms) -> RolloutFault {
    let gates = &spec.gates;
    let rates = [gates.max_trap_rate, gates.max_5xx_delta, gates.max_denial_delta];
    if rates.iter().flatten().any(|rate| !(0.0..=1.0).contains(rate)) {
        return Some(("rates of gates must lie in 0 to 1".to_owned(), "0.01 is one in a hundred"));
    }
    if gates.max_added_p99_ms.is_some_and(|ms| !(ms.is_finite() && ms >= 0.0)) {
        return Some(("max_added_p99_ms must be 0 or more".to_owned(), "milliseconds, like 2.5"));
    }
    if gates.min_exchanges == 0 {
        let rule = "min_exchanges is 0, so gates would judge without any exchange".to_owned();
        return Some((rule, "write 1 or more, or omit it for 100"));
    }
    if spec.shadow.is_some_and(|shadow| shadow.min_samples == 0) {
        return Some((
            "min_samples of the shadow is 0".to_owned(),
            "write 1 or more, or remove the shadow",
        ));
    }
    let whole = spec.waves.first().is_some_and(|wave| wave.percent == 100);
    if gates.compare() && whole {
        let rule =
            "the first wave has all nodes, so there is nothing left to compare with".to_owned();
        return Some((rule, "start with fewer nodes, or remove the gates that compare"));
    }
    None
}

impl GateSpec {
    /// Whether there is any gate.
    #[must_use]
    pub fn any(&self) -> bool {
        self.compare() || self.max_trap_rate.is_some() || self.max_refusals.is_some()
    }

    /// Whether a gate compares with the current digest.
    #[must_use]
    pub fn compare(&self) -> bool {
        let compared = [self.max_5xx_delta, self.max_denial_delta, self.max_added_p99_ms];
        compared.iter().any(Option::is_some)
    }
}

#[cfg(test)]
mod tests;

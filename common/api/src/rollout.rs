//! Rollouts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A request to replace a digest by another, wave by wave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutRequest {
    /// One line of 1 to 253 bytes; each rollout needs a new one.
    pub name: String,
    /// The filter's name.
    pub filter: String,
    /// The digest that is pinned now; by default looked up, if the services agree on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Version of the new digest; its tag is resolved once, now. Write either this or `digest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The new digest. Write either this or `version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// `namespace/name` of services and gateways; a single `*` means all that have `from` pinned.
    pub services: Vec<String>,
    /// In order; the last one is 100 percent.
    pub waves: Vec<Wave>,
    /// The conditions of each wave.
    #[serde(default)]
    pub gates: Gates,
    /// Comparison of verdicts before the first wave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowRules>,
    /// What happens when a gate fails.
    #[serde(default)]
    pub on_breach: OnBreach,
    /// How long a step may go without a judgement after its bake time, before it is paused, in
    /// milliseconds; by default an hour, at most 30 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline_ms: Option<u64>,
    /// Only report what it would do; nothing is written.
    #[serde(default)]
    pub dry_run: bool,
}

/// A part of the proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wave {
    /// Percent of all proxies, 1 to 100; more than in the wave before.
    pub percent: u8,
    /// How long gates must hold before the next, in milliseconds; at most 30 days.
    pub bake_ms: u64,
}

/// Conditions that must hold in every wave. A gate that is `None` is not checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gates {
    /// Exchanges needed before a rate is judged; by default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_exchanges: Option<u64>,
    /// Most faults per exchange of the candidate, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_trap_rate: Option<f64>,
    /// Most by which its share of 5xx may exceed that of the current digest, 0 to 1.
    #[serde(default, rename = "max5xxDelta", skip_serializing_if = "Option::is_none")]
    pub max_5xx_delta: Option<f64>,
    /// Most by which its share of denials may differ from that of the current digest, up or down, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_denial_delta: Option<f64>,
    /// Most milliseconds that it may add at the 99th percentile over the current digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_added_p99_ms: Option<f64>,
    /// Most slots that may refuse the candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_refusals: Option<u64>,
}

/// The comparison before the first wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShadowRules {
    /// Verdicts to compare, at least 1.
    pub min_samples: u64,
    /// Most of them that may differ.
    pub max_differences: u64,
}

/// The reaction to a failed gate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnBreach {
    /// All proxies return at once.
    #[default]
    Return,
    /// It stays in its wave until somebody decides.
    Hold,
}

/// A request to move a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MoveRequest {
    /// The move.
    pub action: RolloutMove,
    /// The reason, for whoever asks later.
    #[serde(default)]
    pub why: String,
}

/// A move by a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutMove {
    /// Pause it where it is.
    Pause,
    /// Resume after a pause.
    Resume,
    /// Take the next step, whatever the gates report.
    Advance,
    /// Abort it.
    Abort,
    /// Return all proxies at once, from any step.
    Kill,
}

/// A rollout and its progress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutView {
    /// Its name.
    pub name: String,
    /// The filter's name.
    pub filter: String,
    /// The digest that it replaces.
    pub from: String,
    /// The candidate.
    pub to: String,
    /// Version of the candidate.
    pub version: String,
    /// Services it names.
    pub services: Vec<String>,
    /// Its waves.
    pub waves: Vec<Wave>,
    /// Its stage, in words: `in the shadow`, `in wave 2`, `paused in wave 1`, `done`, `aborted`,
    /// `returned`.
    pub stage: String,
    /// Whether it is over.
    pub ended: bool,
    /// The reason of its stage.
    pub why: String,
    /// The current judgement of the gates; `None` when it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judgement: Option<String>,
    /// Number of proxies moved after each wave, in the order of the waves, of those that it concerns now.
    #[serde(default)]
    pub proxies: Vec<usize>,
    /// Proxies moved so far; when it is over, those that were moved.
    pub moved: usize,
    /// Proxies not moved yet.
    pub rest: usize,
    /// Counts of the candidate since the step began.
    pub candidate: RolloutSide,
    /// Counts of the current digest since the rollout began.
    pub current: RolloutSide,
    /// Verdicts that the shadow compared.
    pub samples: u64,
    /// Verdicts that differed, by cause.
    pub differences: Vec<DifferenceView>,
    /// When it began.
    pub started_ms: u64,
    /// Who began it.
    pub started_by: String,
    /// When the step began.
    pub began_ms: u64,
}

/// Counts of one digest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSide {
    /// Exchanges in which it was called.
    pub exchanges: u64,
    /// Its faults.
    pub traps: u64,
    /// Exchanges with a response status of 500 to 599.
    pub server_errors: u64,
    /// Exchanges that it denied.
    pub denials: u64,
    /// Time that it added, 99th percentile in milliseconds; `None` without measurements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_p99_ms: Option<f64>,
    /// Slots of proxies that refused it.
    pub refusals: usize,
    /// The first of them, with their reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

/// Verdicts that differed for one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DifferenceView {
    /// The cause, like `decision: allow→deny 403`.
    pub cause: String,
    /// How many.
    pub count: u64,
    /// A few of them.
    pub examples: Vec<String>,
}

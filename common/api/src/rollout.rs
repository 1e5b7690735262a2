//! Rollouts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A digest is to take the place of another, wave by wave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutRequest {
    /// One line of 1 to 253 bytes; every rollout has its own.
    pub name: String,
    /// The filter's name.
    pub filter: String,
    /// The digest that is pinned now; looked up when none is given and the services agree on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Version that takes its place; its tag is resolved once, now. This or `digest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Digest that takes its place. This or `version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// `namespace/name` of services and gateways; `*`, alone: whatever has `from` pinned.
    pub services: Vec<String>,
    /// In their order; the last is 100 percent.
    pub waves: Vec<Wave>,
    /// What stops it.
    #[serde(default)]
    pub gates: Gates,
    /// Compare verdicts before any counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    /// What a gate that does not hold does.
    #[serde(default)]
    pub on_breach: OnBreach,
    /// How long a step may go without a judgement after its bake time, before it is paused, in milliseconds; an hour when
    /// none, at most 30 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline_ms: Option<u64>,
    /// Only say what it would do; nothing is written.
    #[serde(default)]
    pub dry_run: bool,
}

/// A part of the proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wave {
    /// Of all proxies, 1 to 100; more than the wave before.
    pub percent: u8,
    /// How long gates must hold before the next, in milliseconds; at most 30 days.
    pub bake_ms: u64,
}

/// What has to hold in every wave. A gate that is none is not asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gates {
    /// Exchanges that a rate needs before it says anything; 100 when none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_exchanges: Option<u64>,
    /// Most faults per exchange of the candidate, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_trap_rate: Option<f64>,
    /// How much its share of 5xx may be above that of the current digest, 0 to 1.
    #[serde(default, rename = "max5xxDelta", skip_serializing_if = "Option::is_none")]
    pub max_5xx_delta: Option<f64>,
    /// How far its share of denials may be from that of the current digest, up or down, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_denial_delta: Option<f64>,
    /// How much more time it may add at the 99th percentile, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_added_p99_ms: Option<f64>,
    /// Slots that may refuse the candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_refusals: Option<u64>,
}

/// The comparison before the first wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shadow {
    /// Verdicts to compare, at least 1.
    pub min_samples: u64,
    /// How many of them may differ.
    pub max_differences: u64,
}

/// What a breach does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnBreach {
    /// All proxies go back at once.
    #[default]
    Return,
    /// It stays where it is until somebody decides.
    Hold,
}

/// What somebody wants of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MoveRequest {
    /// The move.
    pub action: RolloutMove,
    /// In words, for those who look later.
    #[serde(default)]
    pub why: String,
}

/// A move that somebody may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutMove {
    /// Stop where it is.
    Pause,
    /// Go on.
    Resume,
    /// Take the next step, whatever the gates say.
    Advance,
    /// Give it up.
    Abort,
    /// All proxies go back at once, from any step.
    Kill,
}

/// A rollout and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutView {
    /// Its name.
    pub name: String,
    /// The filter's name.
    pub filter: String,
    /// The digest from before.
    pub from: String,
    /// The candidate.
    pub to: String,
    /// Version of the candidate.
    pub version: String,
    /// Services it names.
    pub services: Vec<String>,
    /// Its waves.
    pub waves: Vec<Wave>,
    /// How far it is, in words: `in the shadow`, `in wave 2`, `paused in wave 1`, `done`, `aborted`, `returned`.
    pub stage: String,
    /// Whether it is over.
    pub ended: bool,
    /// Why it is there.
    pub why: String,
    /// What the gates say now; none when it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judgement: Option<String>,
    /// How many proxies each wave has moved when it is done, in the order of the waves, of those it concerns now.
    #[serde(default)]
    pub proxies: Vec<usize>,
    /// Proxies that the steps moved so far; when it is over, those that were moved.
    pub moved: usize,
    /// Proxies that they left.
    pub rest: usize,
    /// What the candidate did, since the step began.
    pub candidate: RolloutSide,
    /// What the current digest did, since the rollout began.
    pub current: RolloutSide,
    /// Verdicts the shadow compared.
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

/// What one digest did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSide {
    /// Exchanges it was asked about.
    pub exchanges: u64,
    /// Its faults.
    pub traps: u64,
    /// Exchanges that were answered with 500 to 599.
    pub server_errors: u64,
    /// Exchanges that it denied.
    pub denials: u64,
    /// Time that it added, 99th percentile in milliseconds; none without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_p99_ms: Option<f64>,
    /// Proxies' slots that refused it.
    pub refusals: usize,
    /// The first of them, and why.
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

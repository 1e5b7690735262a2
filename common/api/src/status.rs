//! Who runs what.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Refusal;

/// Every proxy and every slot of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The journal's revision that this is of.
    pub revision: u64,
    /// The server's time.
    pub now_ms: u64,
    /// The proxies that documents speak of, by name.
    pub proxies: Vec<ProxyStatus>,
}

/// A proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyStatus {
    /// Its name, like `sidecar:shop/a/0`.
    pub node: String,
    /// Its service or gateway.
    pub service: String,
    /// Whether it is connected, to this replica or, as far as the journal says, to another one.
    pub connected: bool,
    /// Since when it is not connected; `None` when it is, or never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disconnected_ms: Option<u64>,
    /// When it last said something; none when it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_ms: Option<u64>,
    /// The release it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Whether it has everything that is wanted of it now.
    pub current: bool,
    /// Why it does not take what it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What is wrong with it beside its slots, by its own words: files, certificates, sockets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProxyProblem>,
    /// Its slots, by name.
    pub slots: Vec<SlotStatus>,
}

/// Something that is wrong with a proxy, by its own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyProblem {
    /// Stable name of the rule, like `node.problem`.
    pub code: String,
    /// What is wrong, and the way out.
    pub message: String,
}

/// A slot of a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotStatus {
    /// Its name: that of its attachment, perhaps with a listener, perhaps with `~shadow`.
    pub slot: String,
    /// The filter's name.
    pub filter: String,
    /// What it is assigned; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned: Option<AssignedView>,
    /// What it runs by its own words; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<RunningView>,
    /// How it is.
    pub state: SlotState,
    /// Why it is not serving what it is assigned, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The refusal, whole, as it was said where it was made; `None` when nothing refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

/// How a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SlotState {
    /// It runs what it is assigned.
    Serving,
    /// It has not said yet.
    Pending,
    /// It refused what it is assigned and keeps its last good one.
    KeptLastGood,
    /// It refused what it is assigned and runs nothing.
    Refused,
    /// It runs something else than it is assigned, and did not say why.
    Drift,
    /// Nothing is assigned to it, for a reason.
    Unassigned,
    /// Its proxy is not connected: what it ran last is known, what it runs now is not.
    Disconnected,
}

/// What a slot is assigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssignedView {
    /// Digest of the manifest.
    pub digest: String,
    /// Digest of the configuration.
    pub config: String,
    /// Version of the assignment.
    pub assignment: u64,
    /// When it ends by itself.
    pub expires_ms: u64,
    /// The rollout that lifts this proxy over the pin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
}

/// What a slot runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunningView {
    /// Digest of the manifest.
    pub digest: String,
    /// Digest of the configuration.
    pub config: String,
    /// Version of the artifact.
    pub version: String,
    /// Version of the assignment.
    pub assignment: u64,
    /// Since when, by the proxy's clock.
    pub since_ms: u64,
}

//! What each proxy runs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Refused;

/// Every proxy and every slot of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetStatus {
    /// The journal's revision of this status.
    pub revision: u64,
    /// The server's time.
    pub now_ms: u64,
    /// The proxies that documents declare, by name.
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
    /// Since when it is not connected; `None` when it is connected, or never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disconnected_ms: Option<u64>,
    /// When its last message arrived; `None` when there was no message yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_ms: Option<u64>,
    /// The release it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Whether it has its current plan.
    pub current: bool,
    /// Why it rejects the plan that it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Its problems outside slots, as it reports them: files, certificates, sockets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProxyProblem>,
    /// Its identity inside the mesh; `None`: it has not joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<ProxyIdentity>,
    /// Its ports that are served in plain text too, as it reports them while it is connected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plaintext: Vec<PlaintextView>,
    /// Its slots, by name.
    pub slots: Vec<SlotView>,
}

/// The identity of a proxy inside the mesh: as it reports it while it is connected, else as the authority knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyIdentity {
    /// Its SPIFFE id.
    pub id: String,
    /// When its SVID expires.
    pub expires_ms: u64,
    /// When the SVID was renewed last; `None`: not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed_ms: Option<u64>,
}

/// Connections in plain text to a port of a service with `mtls: permissive`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlaintextView {
    /// The port of the service.
    pub port: u16,
    /// Open connections.
    pub open: u64,
    /// Connections since the proxy started.
    pub total: u64,
    /// When one was open last; `None`: none was since the proxy started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_ms: Option<u64>,
}

/// A problem of a proxy, as it reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyProblem {
    /// Stable name of the rule, like `node.problem`.
    pub code: String,
    /// The problem, and the way out.
    pub message: String,
}

/// A slot of a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotView {
    /// Its name: that of its attachment, with a listener if they differ, and `~shadow` for a candidate.
    pub slot: String,
    /// The filter's name.
    pub filter: String,
    /// Its assignment; `None`: nothing is assigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned: Option<AssignmentView>,
    /// What it runs, as the proxy reports; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<RunningView>,
    /// Its state.
    pub state: SlotStateView,
    /// Why it does not serve what is assigned, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The whole refusal, unchanged from where it was made; `None` when nothing is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refused>,
    /// Why what it runs is revoked, and how to end it; `None`: it is not, or it runs nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Refused>,
}

/// The state of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SlotStateView {
    /// It runs what is assigned.
    Serving,
    /// Its proxy has not reported yet.
    Pending,
    /// It refused what is assigned and keeps its last good one.
    KeptLastGood,
    /// It refused what is assigned and runs nothing.
    Refused,
    /// It runs something other than what is assigned, and reports no reason.
    Drift,
    /// Nothing is assigned to it, for a known reason.
    Unassigned,
    /// Its proxy is not connected: the last report is known, what it runs now is not.
    Disconnected,
}

/// The assignment of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssignmentView {
    /// Digest of the manifest.
    pub digest: String,
    /// Digest of the configuration.
    pub config: String,
    /// Version of the assignment.
    pub assignment: u64,
    /// When it expires.
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

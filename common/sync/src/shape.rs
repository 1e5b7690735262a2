//! The names and the contents of parts, as they are sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tamis_resources::plan::{
    AcmePlan, AddressPlan, CapturedPlan, DnsPlan, FilterPlan, ListenerRulesPlan, PlaintextPlan,
    TcpPlan, TlsPlan, TrafficDirection,
};

use crate::part::Part;

pub(crate) const NODE: &str = "node";
pub(crate) const LISTENER: &str = "listener/";
pub(crate) const UPSTREAM: &str = "upstream/";
pub(crate) const SLOT: &str = "slot/";
pub(crate) const TRUST: &str = "trust/";

/// Everything that configures and proves one slot, except the component itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Activation {
    /// The filter and its configuration; its digest is the assigned one.
    pub filter: Arc<FilterPlan>,
    /// The manifest, byte for byte; `None` when nothing may run or the manifest is not available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// Signatures of authors, each a Sigstore bundle on one line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bundles: Vec<String>,
    /// The director's signatures over the assignment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub envelopes: Vec<String>,
    /// Where the log recorded each bundle, according to the director.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logged: Vec<Option<u64>>,
}

/// The plan of a proxy without its listeners, upstreams and slots.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NodePart {
    pub(crate) node: String,
    pub(crate) identity: Option<String>,
    pub(crate) admin: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dns: Option<DnsPlan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) acme: Option<AcmePlan>,
    /// Omitted at its default, so that an older proxy can read the part.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) federated: BTreeMap<String, String>,
}

/// A listener whose chain is a list of slots in order.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ListenerPart {
    pub(crate) name: String,
    pub(crate) address: AddressPlan,
    pub(crate) tls: Option<TlsPlan>,
    pub(crate) direction: TrafficDirection,
    pub(crate) chain: Vec<String>,
    /// Omitted at its default, so that an older proxy can read the part.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) rules: ListenerRulesPlan,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tcp: Option<TcpPlan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) captured: Option<CapturedPlan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) plaintext: Option<PlaintextPlan>,
}

fn is_default(rules: &ListenerRulesPlan) -> bool {
    *rules == ListenerRulesPlan::default()
}

/// The part of a slot.
#[must_use]
pub fn slot_part(slot: &str, activation: &Activation) -> Option<Part> {
    part(format!("{SLOT}{slot}"), activation)
}

/// A part; `None` only for values that cannot be JSON, and plans consist of strings, numbers and maps with
/// string keys.
pub(crate) fn part(name: String, of: &impl Serialize) -> Option<Part> {
    Some(Part::new(name, serde_json::to_value(of).ok()?))
}

//! A plan in parts: what is sent, piece by piece.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tamis_resources::plan::{
    AddressPlan, ChainPlan, DirectionPlan, FilterPlan, ListenerPlan, NodePlan, ServicePlan, TlsPlan,
};
use tamis_trust::{Digest, config_digest};
use thiserror::Error;

use crate::slots::{SHADOW, named};

const NODE: &str = "node";
const LISTENER: &str = "listener/";
const UPSTREAM: &str = "upstream/";
const SLOT: &str = "slot/";
const TRUST: &str = "trust/";

/// A named, versioned piece of what a proxy is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name: `node`, `listener/NAME`, `upstream/NAME`, `slot/SLOT`, `trust/NAME`, or one of the caller's.
    pub name: String,
    /// [`config_digest`] of `body`.
    pub version: Digest,
    /// What is in it.
    pub body: Value,
}

impl Part {
    /// A part with the version that its body has.
    #[must_use]
    pub fn new(name: String, body: Value) -> Self {
        Self { name, version: config_digest(&body), body }
    }

    /// Whether its version is that of its body.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.version == config_digest(&self.body)
    }
}

/// All parts of a proxy, by name. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parts(BTreeMap<String, Arc<Part>>);

impl Parts {
    /// Takes a part in; one of its name is replaced.
    pub fn insert(&mut self, part: impl Into<Arc<Part>>) {
        let part = part.into();
        self.0.insert(part.name.clone(), part);
    }

    /// Takes a part out.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The part of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Part>> {
        self.0.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Part>> {
        self.0.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The version of each.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<String, Digest> {
        self.0.iter().map(|(name, part)| (name.clone(), part.version)).collect()
    }
}

impl FromIterator<Part> for Parts {
    fn from_iter<I: IntoIterator<Item = Part>>(parts: I) -> Self {
        let mut all = Self::default();
        parts.into_iter().for_each(|part| all.insert(part));
        all
    }
}

/// What configures and proves one slot, all but the component itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Activation {
    /// What runs in it and how; its digest is the one assigned.
    pub filter: FilterPlan,
    /// The manifest, byte for byte; none when nothing may run or nobody has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// Authors' signatures, a Sigstore bundle each, on one line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bundles: Vec<String>,
    /// The director's signatures over the assignment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub envelopes: Vec<String>,
    /// Where the log recorded each bundle, by the director's word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logged: Vec<Option<u64>>,
}

/// What a proxy is beside its listeners, upstreams and slots.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NodePart {
    node: String,
    identity: Option<String>,
    admin: Option<String>,
}

/// A listener whose chain is named by slots: their order is part of it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListenerPart {
    name: String,
    address: AddressPlan,
    tls: Option<TlsPlan>,
    direction: DirectionPlan,
    chain: Vec<String>,
}

/// A plan put together again.
#[derive(Debug, Clone, PartialEq)]
pub struct Assembled {
    /// The plan; each of its filters is one slot's.
    pub plan: NodePlan,
    /// The slot of each filter of the plan, in the same order.
    pub slot_of_filter: Vec<String>,
    /// What proves each slot, by slot; that of shadows is in `shadows`.
    pub slots: BTreeMap<String, Activation>,
    /// The candidates that run beside slots, by their own slots, which end with [`SHADOW`].
    pub shadows: BTreeMap<String, Activation>,
}

/// Parts that make no plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadParts {
    /// One is missing that another names, or without which there is no plan.
    #[error("part {0} is missing; connect again, and everything is sent")]
    Missing(String),
    /// One has another form than its name says.
    #[error("part {name} cannot be read: {why}")]
    Malformed {
        /// Its name.
        name: String,
        /// What is wrong, cut to 300 characters.
        why: String,
    },
}

/// Cuts a plan into parts. A slot without an activation has its filter and nothing that proves it.
#[must_use]
pub fn split(plan: &NodePlan, activations: &BTreeMap<String, Activation>) -> Parts {
    let mut parts = Parts::default();
    let mut put = |name: String, body: Result<Value, serde_json::Error>| {
        // Plans are made of strings, numbers and maps with string keys, all of which JSON has.
        if let Ok(body) = body {
            parts.insert(Part::new(name, body));
        }
    };
    let node = NodePart {
        node: plan.node.clone(),
        identity: plan.identity.clone(),
        admin: plan.admin.clone(),
    };
    put(NODE.to_owned(), serde_json::to_value(node));
    let named = named(plan);
    for listener in &plan.listeners {
        let chain = listener.chain.attachments.iter();
        let place = |at: &usize| named.get(&(listener.name.as_str(), *at)).cloned();
        let chain = chain.filter_map(place).collect();
        let part = ListenerPart {
            name: listener.name.clone(),
            address: listener.address.clone(),
            tls: listener.tls.clone(),
            direction: listener.direction,
            chain,
        };
        put(format!("{LISTENER}{}", listener.name), serde_json::to_value(part));
    }
    for service in &plan.services {
        put(format!("{UPSTREAM}{}", service.name), serde_json::to_value(service));
    }
    for (slot, planned) in crate::slots(plan) {
        if !activations.contains_key(&slot) {
            let bare = Activation {
                filter: planned.filter,
                manifest: None,
                bundles: Vec::new(),
                envelopes: Vec::new(),
                logged: Vec::new(),
            };
            put(format!("{SLOT}{slot}"), serde_json::to_value(bare));
        }
    }
    for (slot, activation) in activations {
        put(format!("{SLOT}{slot}"), serde_json::to_value(activation));
    }
    for (at, policy) in plan.trust.iter().enumerate() {
        let name = policy.get("name").and_then(Value::as_str);
        let name = name.map_or_else(|| at.to_string(), str::to_owned);
        put(format!("{TRUST}{name}"), Ok(policy.clone()));
    }
    parts
}

/// Puts a plan together again. Parts of other names are left to the caller.
///
/// # Errors
/// [`BadParts`].
pub fn assemble(parts: &Parts) -> Result<Assembled, BadParts> {
    let node: NodePart = one(parts, NODE)?;
    let mut all: BTreeMap<String, Activation> = BTreeMap::new();
    for (slot, part) in below(parts, SLOT) {
        all.insert(slot.to_owned(), read(part)?);
    }
    let (mut slots, mut shadows) = (BTreeMap::new(), BTreeMap::new());
    for (slot, activation) in all {
        let all = if slot.ends_with(SHADOW) { &mut shadows } else { &mut slots };
        all.insert(slot, activation);
    }
    let slot_of_filter: Vec<String> = slots.keys().cloned().collect();
    let filters = slots.values().map(|one| one.filter.clone()).collect();
    let mut listeners = Vec::new();
    for (_, part) in below(parts, LISTENER) {
        let listener: ListenerPart = read(part)?;
        let mut attachments = Vec::new();
        for slot in &listener.chain {
            let at = slot_of_filter.iter().position(|one| one == slot);
            attachments.push(at.ok_or_else(|| BadParts::Missing(format!("{SLOT}{slot}")))?);
        }
        listeners.push(ListenerPlan {
            name: listener.name,
            address: listener.address,
            tls: listener.tls,
            direction: listener.direction,
            chain: ChainPlan { attachments },
        });
    }
    let services = below(parts, UPSTREAM).map(|(_, part)| read::<ServicePlan>(part));
    let plan = NodePlan {
        node: node.node,
        identity: node.identity,
        listeners,
        services: services.collect::<Result<_, _>>()?,
        filters,
        admin: node.admin,
        trust: below(parts, TRUST).map(|(_, part)| part.body.clone()).collect(),
    };
    Ok(Assembled { plan, slot_of_filter, slots, shadows })
}

fn below<'a>(parts: &'a Parts, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Part)> {
    let all = parts.0.iter();
    all.filter_map(move |(name, part)| Some((name.strip_prefix(prefix)?, part.as_ref())))
}

fn one<T: for<'de> Deserialize<'de>>(parts: &Parts, name: &str) -> Result<T, BadParts> {
    read(parts.get(name).ok_or_else(|| BadParts::Missing(name.to_owned()))?)
}

fn read<T: for<'de> Deserialize<'de>>(part: &Part) -> Result<T, BadParts> {
    T::deserialize(&part.body).map_err(|error| BadParts::Malformed {
        name: part.name.clone(),
        why: error.to_string().chars().take(300).collect(),
    })
}

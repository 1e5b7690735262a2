//! A plan in parts: what is sent, piece by piece.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tamis_resources::plan::{
    AddressPlan, ChainPlan, DirectionPlan, FilterPlan, ListenerPlan, ListenerRulesPlan, NodePlan,
    ServicePlan, TlsPlan,
};
use tamis_trust::{Digest, config_digest};
use thiserror::Error;

use crate::slots::SHADOW;

pub(crate) const NODE: &str = "node";
pub(crate) const LISTENER: &str = "listener/";
pub(crate) const UPSTREAM: &str = "upstream/";
pub(crate) const SLOT: &str = "slot/";
pub(crate) const TRUST: &str = "trust/";

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
pub struct Parts(Arc<BTreeMap<Arc<str>, Arc<Part>>>);

impl Parts {
    /// Takes a part in; one of its name is replaced.
    pub fn insert(&mut self, part: impl Into<Arc<Part>>) {
        let part = part.into();
        let all = Arc::make_mut(&mut self.0);
        match all.get_mut(part.name.as_str()) {
            Some(there) => *there = part,
            None => drop(all.insert(part.name.as_str().into(), part)),
        }
    }

    /// Takes a part out.
    pub fn remove(&mut self, name: &str) {
        Arc::make_mut(&mut self.0).remove(name);
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
        self.iter().map(|part| (part.name.clone(), part.version)).collect()
    }

    /// What comes or is otherwise than in `before`, and the names of what goes. What is the same in memory is not looked
    /// at.
    pub(crate) fn since(&self, before: &Self) -> (Vec<Arc<Part>>, Vec<String>) {
        let (mut upserts, mut removes) = (Vec::new(), Vec::new());
        if Arc::ptr_eq(&self.0, &before.0) {
            return (upserts, removes);
        }
        let (mut new, mut old) = (self.iter().peekable(), before.iter().peekable());
        loop {
            let order = match (new.peek(), old.peek()) {
                (None, None) => return (upserts, removes),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(new), Some(old)) if Arc::ptr_eq(new, old) => Ordering::Equal,
                (Some(new), Some(old)) => new.name.cmp(&old.name),
            };
            let new = if order.is_le() { new.next() } else { None };
            let old = if order.is_ge() { old.next() } else { None };
            match (new, old) {
                (Some(new), Some(old)) if Arc::ptr_eq(new, old) || new.version == old.version => {}
                (Some(new), _) => upserts.push(Arc::clone(new)),
                (None, Some(old)) => removes.push(old.name.clone()),
                (None, None) => {}
            }
        }
    }
}

impl<T: Into<Arc<Part>>> FromIterator<T> for Parts {
    fn from_iter<I: IntoIterator<Item = T>>(parts: I) -> Self {
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
    pub filter: Arc<FilterPlan>,
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
pub(crate) struct NodePart {
    pub(crate) node: String,
    pub(crate) identity: Option<String>,
    pub(crate) admin: Option<String>,
}

/// A listener whose chain is named by slots: their order is part of it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ListenerPart {
    pub(crate) name: String,
    pub(crate) address: AddressPlan,
    pub(crate) tls: Option<TlsPlan>,
    pub(crate) direction: DirectionPlan,
    pub(crate) chain: Vec<String>,
    /// Left out when nothing was said, so that an older proxy reads the part.
    #[serde(default, skip_serializing_if = "says_nothing")]
    pub(crate) rules: ListenerRulesPlan,
}

fn says_nothing(rules: &ListenerRulesPlan) -> bool {
    *rules == ListenerRulesPlan::default()
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
    let filters = slots.values().map(|one| Arc::clone(&one.filter)).collect();
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
            rules: listener.rules,
        });
    }
    let services = below(parts, UPSTREAM).map(|(_, part)| read::<ServicePlan>(part).map(Arc::new));
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

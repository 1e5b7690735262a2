//! The plan of a proxy in parts; only changed parts are built again.

use std::collections::BTreeMap;
use std::sync::Arc;

use tamis_api::ApiProblem;
use tamis_director::{self as director, AssignmentRecord, StandingRevocation};
use tamis_resources::NodeName;
use tamis_resources::plan::{FilterPlan, NodePlan, RefusedPlan};
use tamis_sync::{Activation, Part, Parts, SHADOW, placed, slot_part, split_again};

use crate::plane::control::Control;
use crate::plane::policy::PolicyFolder;

/// The plan of a proxy, in parts.
#[derive(Debug, Clone)]
pub struct ProxyPlan {
    /// The journal's revision behind it.
    pub revision: u64,
    /// Its parts.
    pub parts: Parts,
    pub(crate) key: Option<Key>,
}

impl ProxyPlan {
    /// Before it is computed for the first time.
    pub(crate) fn unknown() -> Self {
        Self { revision: 0, parts: Parts::default(), key: None }
    }

    /// Whether the proxy's plan is known yet.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.key.is_some()
    }
}

/// The plan of a proxy, computed from the state.
struct ComputedPlan {
    revision: u64,
    plan: Arc<NodePlan>,
    assigned: BTreeMap<String, AssignmentRecord>,
    refused: BTreeMap<String, director::TrustRefusal>,
    key: Key,
}

impl Control {
    /// The number of times that new policy metadata was accepted.
    pub(crate) fn policy_taken(&self) -> u64 {
        self.0.policy.as_ref().map_or(0, PolicyFolder::taken)
    }

    /// The plan of a proxy in parts; `None` when no document declares the proxy, or it has that plan
    /// already.
    pub(crate) async fn wanted(
        &self,
        node: &NodeName,
    ) -> Result<Option<Arc<ProxyPlan>>, ApiProblem> {
        let Some(due) = self.due(node) else { return Ok(None) };
        let before = self.0.fleet.wanted(&node.to_string());
        let before = before.as_deref().and_then(|it| Some((it.key.as_ref()?, &it.parts)));
        if before.is_some_and(|(key, _)| *key == due.key) {
            return Ok(None);
        }
        let slots = self.slots(&due, before).await?;
        let mut plan = NodePlan::clone(&due.plan);
        withdraw(&mut plan.trust, &self.state(), |revocation| revocation.now);
        let mut parts = {
            let before = before.map(|(key, parts)| (key.plan.as_ref(), parts));
            split_again(before, &mut self.upstreams(), &plan, slots)
        };
        if let Some(policy) = &self.0.policy {
            policy.parts().into_iter().for_each(|part| parts.insert(part));
        }
        Ok(Some(Arc::new(ProxyPlan { revision: due.revision, parts, key: Some(due.key) })))
    }

    fn due(&self, node: &NodeName) -> Option<ComputedPlan> {
        let state = self.state();
        let mut plans = self.plans();
        let wants = plans.node(&state, node, self.now_secs());
        let plan = wants.plan.clone()?;
        if !wants.missing.is_empty() {
            // Slots are being assigned; until then the proxy keeps what it has.
            return None;
        }
        let assigned = wants.assigned.iter();
        let assigned: BTreeMap<String, AssignmentRecord> =
            assigned.map(|(slot, assigned)| (slot.clone(), (*assigned).clone())).collect();
        let key = Key {
            plan: Arc::clone(&plan),
            versions: assigned.iter().map(|(slot, one)| (slot.clone(), one.version)).collect(),
            revoked: {
                let digests = state.revoked_digests().values();
                digests.chain(state.revoked_keys().values()).filter(|one| one.now).count()
            },
            referrers: self.0.store.referrers_seen(),
            policy: self.policy_taken(),
        };
        Some(ComputedPlan { revision: state.head(), plan, assigned, refused: wants.refused, key })
    }

    /// The parts of all slots. Unchanged ones are taken from `before`.
    async fn slots(
        &self,
        due: &ComputedPlan,
        before: Option<(&Key, &Parts)>,
    ) -> Result<Vec<Arc<Part>>, ApiProblem> {
        let before = before.filter(|(key, _)| key.proofs() == due.key.proofs());
        let mut slots = Vec::new();
        for (name, filter) in placed(&due.plan) {
            let shadow = format!("{name}{SHADOW}");
            if let Some(assigned) = due.assigned.get(&shadow) {
                let filter = Arc::new(candidate(filter, assigned));
                let activation = self.activation(filter, assigned).await?;
                slots.extend(slot_part(&shadow, &activation).map(Arc::new));
            }
            let activation = match (due.assigned.get(&name), due.refused.get(&name)) {
                (Some(assigned), _) => {
                    let kept = before.filter(|(key, _)| key.keeps(&name, filter, assigned.version));
                    if let Some(part) =
                        kept.and_then(|(_, parts)| parts.get(&format!("slot/{name}")))
                    {
                        slots.push(Arc::clone(part));
                        continue;
                    }
                    self.activation(Arc::clone(filter), assigned).await?
                }
                (None, why) => unassigned(filter, why),
            };
            slots.extend(slot_part(&name, &activation).map(Arc::new));
        }
        Ok(slots)
    }

    async fn activation(
        &self,
        filter: Arc<FilterPlan>,
        assigned: &AssignmentRecord,
    ) -> Result<Activation, ApiProblem> {
        let artifact = self.artifact(&assigned.digest).await?;
        let envelopes = assigned.envelopes.clone();
        Ok(match artifact {
            Some(artifact) => Activation {
                filter,
                manifest: Some(artifact.manifest.clone()),
                bundles: artifact.bundles.clone(),
                envelopes,
                logged: artifact.logged.clone(),
            },
            None => Activation {
                filter,
                manifest: None,
                bundles: Vec::new(),
                envelopes,
                logged: Vec::new(),
            },
        })
    }
}

/// The plan of a slot with the candidate in it.
fn candidate(filter: &FilterPlan, assigned: &AssignmentRecord) -> FilterPlan {
    FilterPlan { digest: assigned.digest.to_string(), ..filter.clone() }
}

/// A slot without an assignment: the proxy refuses or skips, as its attachment states.
fn unassigned(filter: &FilterPlan, why: Option<&director::TrustRefusal>) -> Activation {
    let refused = why.map_or_else(
        || RefusedPlan {
            code: "assign.missing".to_owned(),
            reason: "the director has not assigned it yet".to_owned(),
            set_by: "the director".to_owned(),
            remedy: "wait: it happens automatically; `tamis status` shows when".to_owned(),
        },
        |why| RefusedPlan {
            code: why.code.to_owned(),
            reason: why.rule.clone(),
            set_by: why.set_by.clone(),
            remedy: why.remedy.clone(),
        },
    );
    let refused = filter.refused.clone().or(Some(refused));
    Activation {
        filter: Arc::new(FilterPlan { refused, ..filter.clone() }),
        manifest: None,
        bundles: Vec::new(),
        envelopes: Vec::new(),
        logged: Vec::new(),
    }
}

/// Adds later revocations to every trust policy, as far as they are in the list `counts`: a revocation
/// applies to each of them.
pub(crate) fn withdraw(
    policies: &mut [serde_json::Value],
    state: &director::State,
    counts: impl Fn(&StandingRevocation) -> bool,
) {
    let digests = state.revoked_digests().iter().filter(|(_, revocation)| counts(revocation));
    let digests: Vec<String> = digests.map(|(digest, _)| digest.to_string()).collect();
    let keys: Vec<serde_json::Value> = state
        .revoked_keys()
        .iter()
        .filter(|(_, revocation)| counts(revocation))
        .map(|(key, revocation)| match revocation.from_index {
            None => serde_json::json!(key),
            Some(from) => serde_json::json!({ "key": key, "fromIndex": from }),
        })
        .collect();
    for policy in policies {
        append(policy, "revokedDigests", digests.iter().map(|one| one.clone().into()));
        append(policy, "revokedKeys", keys.iter().cloned());
    }
}

fn append(
    policy: &mut serde_json::Value,
    member: &str,
    more: impl Iterator<Item = serde_json::Value>,
) {
    if let Some(list) = policy.get_mut(member).and_then(serde_json::Value::as_array_mut) {
        for one in more {
            if !list.contains(&one) {
                list.push(one);
            }
        }
    }
}

/// Distinguishes a proxy's plan from an earlier one, without building it.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    plan: Arc<NodePlan>,
    /// Versions of assignments, by slot.
    versions: BTreeMap<String, u64>,
    /// Revocations are never undone.
    revoked: usize,
    /// The last revision that added a signature.
    referrers: u64,
    /// The number of times that new policy metadata was accepted.
    policy: u64,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        // The same plan object: it is kept alive here, so its address cannot be reused.
        Arc::ptr_eq(&self.plan, &other.plan)
            && self.versions == other.versions
            && self.proofs() == other.proofs()
    }
}

impl Key {
    /// What slots depend on in addition to their filters and assignments.
    fn proofs(&self) -> (usize, u64, u64) {
        (self.revoked, self.referrers, self.policy)
    }

    /// Whether a slot is unchanged: the same filter object and the same assignment.
    fn keeps(&self, slot: &str, filter: &Arc<FilterPlan>, version: u64) -> bool {
        self.versions.get(slot) == Some(&version)
            && placed(&self.plan).get(slot).is_some_and(|there| Arc::ptr_eq(there, filter))
    }
}

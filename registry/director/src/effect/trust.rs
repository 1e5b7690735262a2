//! What runs now and would be refused under changed trust policies.
//!
//! A proxy verifies what it runs again whenever its trust policies change, and a slot that they refuse answers nothing. So a
//! change of them is judged by what runs: each digest is verified under the policies before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tamis_resources::plan::{FilterPlan, NodePlan};
use tamis_resources::{NodeName, Problem};
use tamis_sync::placed;
use tamis_trust::{Digest, Name, Refused, SignaturePolicy, VerificationRequest, verify_manifest};

use super::{SlotContent, digest, is_guard, side};
use crate::desired::DesiredState;

/// A change of trust policies, and the slots that run before and after it.
#[derive(Debug, Clone, Default)]
pub struct TrustChange {
    before: PoliciesInForce,
    after: PoliciesInForce,
    /// Slots with filters whose policies change.
    running: Vec<RunningSlot>,
    /// Indices of `running`, by service and slot.
    known: BTreeMap<(String, String), Vec<usize>>,
    /// Whether other policies cover a filter after the change, by its name.
    affected: BTreeMap<String, bool>,
}

/// The trust policies of a state, with the revocations that proxies have.
#[derive(Debug, Clone, Default)]
struct PoliciesInForce {
    documents: Vec<Value>,
    /// The same, read.
    policies: Vec<SignaturePolicy>,
}

/// A slot of some proxies of a service that runs before and after a change.
#[derive(Debug, Clone)]
struct RunningSlot {
    service: String,
    slot: String,
    nodes: Vec<String>,
    before: Arc<FilterPlan>,
    after: Arc<FilterPlan>,
}

/// A slot that runs now and would be refused after a change of trust policies.
#[derive(Debug, Clone, PartialEq)]
pub struct DistrustedSlot {
    /// The service.
    pub service: String,
    /// Its slot.
    pub slot: String,
    /// Its proxies in which it would be refused.
    pub nodes: Vec<String>,
    /// Whether it decides who may pass, now or then.
    pub guards: bool,
    /// Its content now.
    pub before: SlotContent,
    /// Its content after the change, refused.
    pub after: SlotContent,
    /// Why.
    pub why: Refused,
}

/// A manifest and its signatures, as a registry has them.
#[derive(Debug, Clone, Copy)]
pub struct SignedManifest<'a> {
    /// The manifest, byte for byte.
    pub manifest: &'a str,
    /// Bundles.
    pub bundles: &'a [String],
    /// Where the log recorded each of them.
    pub logged: &'a [Option<u64>],
}

/// What decides whether a filter may run, apart from its documents: its digest, and the keys that its grant asks for.
type Verdicts<'a> = BTreeMap<(Digest, Option<(&'a [String], u32)>), Result<(), Refused>>;

impl TrustChange {
    /// The trust policies of two states; `None` when they are the same.
    pub(super) fn between(before: &DesiredState, after: &DesiredState) -> Option<Self> {
        if before.documents.changed == after.documents.changed {
            return None;
        }
        let [before, after] = [before, after].map(PoliciesInForce::of);
        let differs = before.documents != after.documents;
        differs.then(|| Self { before, after, ..Self::default() })
    }

    /// Adds what a proxy runs before and after the change.
    pub(super) fn node(&mut self, node: &NodeName, before: &NodePlan, after: &NodePlan) {
        let (old, new) = (placed(before), placed(after));
        for (slot, before) in old {
            let Some(after) = new.get(&slot).copied() else { continue };
            let runs = digest(before).is_some() && digest(after).is_some();
            if runs && (self.is_affected(&before.filter) || self.is_affected(&after.filter)) {
                self.slot(node, slot, before, after);
            }
        }
    }

    /// Whether other policies cover a filter after the change.
    fn is_affected(&mut self, filter: &str) -> bool {
        if let Some(known) = self.affected.get(filter) {
            return *known;
        }
        let name: Option<Name> = filter.parse().ok();
        let differs =
            name.is_none_or(|name| self.before.covering(&name) != self.after.covering(&name));
        self.affected.insert(filter.to_owned(), differs);
        differs
    }

    fn slot(
        &mut self,
        node: &NodeName,
        slot: String,
        before: &Arc<FilterPlan>,
        after: &Arc<FilterPlan>,
    ) {
        let service = node.key().to_owned();
        let alike = self.known.entry((service.clone(), slot.clone())).or_default();
        let same = |at: &&usize| {
            let known = self.running.get(**at);
            known.is_some_and(|one| is_alike(&one.before, before) && is_alike(&one.after, after))
        };
        if let Some(known) = alike.iter().find(same).and_then(|at| self.running.get_mut(*at)) {
            known.nodes.push(node.to_string());
            return;
        }
        alike.push(self.running.len());
        let (before, after) = (Arc::clone(before), Arc::clone(after));
        let nodes = vec![node.to_string()];
        self.running.push(RunningSlot { service, slot, nodes, before, after });
    }

    /// The policies after the change, as proxies will have them.
    #[must_use]
    pub fn policies_after(&self) -> Vec<SignaturePolicy> {
        self.after.policies.clone()
    }

    /// The digests that run before or after the change in slots whose policies change.
    #[must_use]
    pub fn digests(&self) -> BTreeSet<Digest> {
        self.running
            .iter()
            .flat_map(|one| [&one.before, &one.after])
            .filter_map(|it| digest(it))
            .collect()
    }

    /// The slots whose filter is accepted before and refused after the change, at `now` in seconds since the Unix epoch, by
    /// service, then slot. What `artifact` does not know is left out: nothing is known of it.
    #[must_use]
    pub fn stopped<'a>(
        &self,
        artifact: &dyn Fn(&Digest) -> Option<SignedManifest<'a>>,
        now: u64,
    ) -> Vec<DistrustedSlot> {
        let (old, new) = (&self.before.policies, &self.after.policies);
        let (mut was, mut will) = (Verdicts::new(), Verdicts::new());
        let mut stopped = Vec::new();
        for RunningSlot { service, slot, nodes, before, after } in &self.running {
            if verdict(&mut was, before, artifact, old, now) != Some(Ok(())) {
                continue;
            }
            let Some(Err(why)) = verdict(&mut will, after, artifact, new, now) else { continue };
            let refused = Some(why.code.clone().into_owned());
            stopped.push(DistrustedSlot {
                service: service.clone(),
                slot: slot.clone(),
                nodes: nodes.clone(),
                guards: is_guard(before) || is_guard(after),
                before: side(before),
                after: SlotContent { digest: None, refused, ..side(after) },
                why,
            });
        }
        stopped.sort_by(|one, other| (&one.service, &one.slot).cmp(&(&other.service, &other.slot)));
        stopped
    }
}

impl PoliciesInForce {
    fn of(desired: &DesiredState) -> Self {
        let mut documents = desired.trust_policies();
        desired.add_revocations(&mut documents, |revocation| revocation.now);
        let read = |policy| SignaturePolicy::read_or_nobody(policy).0;
        let policies = documents.iter().map(read).collect();
        Self { documents, policies }
    }

    /// Those that cover a filter.
    fn covering(&self, filter: &Name) -> Vec<&Value> {
        let all = self.documents.iter().zip(&self.policies);
        all.filter(|(_, policy)| policy.covers(filter).is_some()).map(|it| it.0).collect()
    }
}

/// Whether two filters are the same content of a slot, and verified in the same way.
fn is_alike(one: &Arc<FilterPlan>, other: &Arc<FilterPlan>) -> bool {
    let config = || Arc::ptr_eq(&one.config, &other.config) || one.config == other.config;
    Arc::ptr_eq(one, other)
        || ((&one.filter, &one.digest, &one.version, &one.signed_by)
            == (&other.filter, &other.digest, &other.version, &other.signed_by)
            && config())
}

/// Whether a filter may run under these policies; `None` when its artifact is not known.
fn verdict<'p, 'a>(
    known: &mut Verdicts<'p>,
    filter: &'p FilterPlan,
    artifact: &dyn Fn(&Digest) -> Option<SignedManifest<'a>>,
    policies: &[SignaturePolicy],
    now: u64,
) -> Option<Result<(), Refused>> {
    let pinned = digest(filter)?;
    let signed_by = filter.signed_by.as_ref().map(|by| (by.keys.as_slice(), by.threshold));
    if let Some(known) = known.get(&(pinned, signed_by)) {
        return Some(known.clone());
    }
    let SignedManifest { manifest, bundles, logged } = artifact(&pinned)?;
    let bundles: Vec<&[u8]> = bundles.iter().map(String::as_bytes).collect();
    let verified = verify_manifest(&VerificationRequest {
        pinned: &pinned,
        name: Some(&filter.filter),
        manifest: manifest.as_bytes(),
        bundles: &bundles,
        logged,
        policies,
        // Whether what runs may keep running does not depend on it.
        policy_age: Duration::ZERO,
        now,
    });
    let enough = verified.and_then(|verified| match &filter.signed_by {
        Some(by) => verified.enough(&by.keys, by.threshold),
        None => Ok(()),
    });
    known.insert((pinned, signed_by), enough.clone());
    Some(enough)
}

/// The policies that a change writes and that trust nobody, because of a fault that combining the documents does not find. `known`
/// are the problems that it found.
pub(super) fn faults(
    before: &DesiredState,
    after: &DesiredState,
    known: &[Problem],
) -> Vec<Problem> {
    let old = before.trust_policies();
    let changed = after.trust_policies().into_iter().filter(|policy| !old.contains(policy));
    changed.filter_map(|policy| fault(after, &policy, known)).collect()
}

fn fault(after: &DesiredState, policy: &Value, known: &[Problem]) -> Option<Problem> {
    let read = SignaturePolicy::read_or_nobody(policy).0;
    let fault = read.fault()?;
    let key = format!("TrustPolicy/{}", policy.get("name")?.as_str()?);
    let is_known =
        |one: &Problem| one.of.as_deref() == Some(&*key) && one.code.starts_with("trust.");
    if known.iter().any(is_known) {
        return None;
    }
    let document = &after.documents.by_key.get(&key)?.document;
    let message = format!("the policy would trust nobody: {fault}");
    let mut problem = document.problem("trust.keys", &place(policy, fault), message);
    problem.help = Some("correct it; until then nothing that it covers may run".to_owned());
    Some(problem)
}

/// The field of a policy that a fault is about, as far as it says so.
fn place(policy: &Value, fault: &str) -> String {
    if fault.starts_with("revokedKeys") {
        return "/spec/revokedKeys".to_owned();
    }
    let keys = policy.get("keys").and_then(Value::as_array).into_iter().flatten();
    let mut names = keys.filter_map(|key| key.get("name")?.as_str());
    let at = names.position(|name| fault.starts_with(&format!("key {name:?}")));
    at.map_or_else(|| "/spec".to_owned(), |at| format!("/spec/keys/{at}"))
}

#[cfg(test)]
mod tests;

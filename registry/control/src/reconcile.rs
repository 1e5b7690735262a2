//! The director at work: rollouts judged, assignments signed, parts handed to proxies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tamis_api::Problem;
use tamis_director::{self as director, Assigned, Body, Event, Judgement};
use tamis_push::{Activation, Parts, SHADOW, slots, split};
use tamis_resources::NodeName;
use tamis_resources::plan::{FilterPlan, NodePlan, RefusedPlan};
use tamis_trust::{Digest, sign_assignment};

use crate::control::{Control, now_ms};
use crate::fleet::Wanted;
use crate::policy::PolicyFolder;
use crate::problem::problem;

/// Who writes what the director decides by itself.
const ACTOR: &str = "director";
/// How long it gathers news before it acts on them: many changes come in a row.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// How often it looks without news: bake times end, assignments too.
const TICK: Duration = Duration::from_secs(1);
/// How often reports are written.
const REPORTS: Duration = Duration::from_millis(250);
/// How often ends of assignments are looked at though nothing changed; they last for days.
const RENEW_MS: u64 = 60_000;
/// Assignments in one append.
const BATCH: usize = 500;

/// What the director acted on already.
#[derive(Default)]
struct Seen {
    assigned: Option<(u64, u64)>,
    published: Option<(u64, u64, u64, u64)>,
}

impl Control {
    /// Directs, for as long as it is polled: one task of every process runs it. Of several, each acts on what all wrote, and
    /// what two decide at once is written once.
    pub async fn run(&self) {
        let (follow, direct, reports) = (self.follow(), self.direct(), self.write_reports());
        tokio::join!(follow, direct, reports);
    }

    async fn direct(&self) {
        let mut seen = Seen::default();
        let mut folded = self.folded();
        let mut arrivals = self.0.fleet.arrivals();
        loop {
            folded.borrow_and_update();
            arrivals.borrow_and_update();
            if let Some(policy) = &self.0.policy {
                policy.refresh(now_ms() / 1_000);
            }
            if let Err(problem) = self.step(&mut seen).await {
                tracing::warn!(code = problem.code, "the director waits: {}", problem.title);
            }
            if let Err(problem) = self.publish(&mut seen).await {
                tracing::warn!(code = problem.code, "proxies wait: {}", problem.title);
            }
            let news = async {
                tokio::select! {
                    _ = folded.changed() => {}
                    _ = arrivals.changed() => {}
                }
                tokio::time::sleep(DEBOUNCE).await;
            };
            // Elapsed or not, there may be something to do.
            let _ = tokio::time::timeout(TICK, news).await;
        }
    }

    fn policy_taken(&self) -> u64 {
        self.0.policy.as_ref().map_or(0, PolicyFolder::taken)
    }

    async fn write_reports(&self) {
        loop {
            tokio::time::sleep(REPORTS).await;
            if let Err(problem) = self.flush().await {
                tracing::warn!(code = problem.code, "reports wait: {}", problem.title);
            }
        }
    }

    /// Moves rollouts, then assigns what is not assigned.
    async fn step(&self, seen: &mut Seen) -> Result<(), Problem> {
        let now = now_ms();
        let moving: Vec<String> = {
            let state = self.state();
            let active = state.rollouts().values().filter(|one| one.step().is_some());
            active.map(|one| one.rollout.name().to_owned()).collect()
        };
        for name in moving {
            self.move_rollout(&name, now).await?;
        }
        // Reports change nothing that is wanted, and most of the journal is reports.
        let due = (self.state().decided(), now / RENEW_MS);
        while seen.assigned != Some(due) {
            let (_, more) =
                self.commit(ACTOR, |state| self.assignments(state, now / 1_000)).await?;
            if !more {
                break;
            }
        }
        seen.assigned = Some((self.state().decided(), now / RENEW_MS));
        Ok(())
    }

    async fn move_rollout(&self, name: &str, now: u64) -> Result<(), Problem> {
        let moved = self.commit(ACTOR, |state| {
            let running = state
                .rollouts()
                .get(name)
                .is_some_and(|one| matches!(one.stage, director::Stage::Running(_)));
            let (event, why) = match state.judge(name, now) {
                Some(Judgement::Passed { why }) if running => (Event::Passed, why),
                Some(Judgement::Breached { why, .. }) => (Event::Breached, why),
                _ => return Ok((Vec::new(), None)),
            };
            match state.step(name, event, &why) {
                Ok(body) => Ok((vec![body], Some((event, why)))),
                // It holds: somebody has to decide.
                Err(_) => Ok((Vec::new(), None)),
            }
        });
        if let (_, Some((event, why))) = moved.await? {
            tracing::info!(rollout = name, %event, why, "a rollout moved");
        }
        Ok(())
    }

    /// Signed assignments for what has none, and whether there are more than one append holds.
    fn assignments(&self, state: &director::State, now: u64) -> Result<(Vec<Body>, bool), Problem> {
        let mut bodies = Vec::new();
        let drafts = self.plans().drafts(state, now, &self.0.rules.terms);
        let more = drafts.len() > BATCH;
        for draft in drafts.into_iter().take(BATCH) {
            let envelope = sign_assignment(&self.0.keys.director, &draft.assignment())
                .map_err(|error| problem(500, "internal", error.to_string()))?;
            bodies.push(Body::from(draft.record(vec![envelope])));
        }
        Ok((bodies, more))
    }

    /// Hands every connected proxy what it is to run now.
    async fn publish(&self, seen: &mut Seen) -> Result<(), Problem> {
        let due = (
            self.state().decided(),
            now_ms() / RENEW_MS,
            self.0.store.referrers_seen() + self.policy_taken(),
            self.0.fleet.arrived(),
        );
        if seen.published == Some(due) {
            return Ok(());
        }
        let mut failed = None;
        for name in self.0.fleet.connected() {
            let Ok(node) = name.parse::<NodeName>() else { continue };
            match self.wanted(&node).await {
                Ok(Some(wanted)) => self.0.fleet.want(&name, wanted),
                Ok(None) => {}
                // What one proxy is to run cannot be read; those that do not run it need not wait.
                Err(problem) => failed = failed.or(Some(problem)),
            }
        }
        if let Some(problem) = failed {
            return Err(problem);
        }
        seen.published = Some(due);
        Ok(())
    }

    /// What a proxy is to run; none when no document speaks of it, or it has that already.
    pub(crate) async fn wanted(&self, node: &NodeName) -> Result<Option<Arc<Wanted>>, Problem> {
        let now = now_ms() / 1_000;
        let (revision, plan, assigned, refused, key) = {
            let state = self.state();
            let mut plans = self.plans();
            let wants = plans.node(&state, node, now);
            let Some(plan) = wants.plan.clone() else { return Ok(None) };
            if !wants.missing.is_empty() {
                // They are being assigned; until then the proxy keeps what it has.
                return Ok(None);
            }
            let assigned: BTreeMap<String, Assigned> = wants
                .assigned
                .iter()
                .map(|(slot, assigned)| (slot.clone(), (*assigned).clone()))
                .collect();
            let refused = wants.refused.clone();
            let key = Key {
                plan: Arc::clone(&plan),
                versions: assigned.values().map(|one| one.version).collect(),
                revoked: state.revoked_digests().len() + state.revoked_keys().len(),
                referrers: self.0.store.referrers_seen(),
                policy: self.policy_taken(),
            };
            (state.head(), plan, assigned, refused, key)
        };
        if self.0.fleet.has(&node.to_string(), &key) {
            return Ok(None);
        }
        let mut activations = BTreeMap::new();
        for (name, slot) in slots(&plan) {
            let shadow = format!("{name}{SHADOW}");
            if let Some(assigned) = assigned.get(&shadow) {
                let filter = candidate(&slot.filter, assigned);
                activations.insert(shadow, self.activation(filter, assigned).await?);
            }
            let activation = match (assigned.get(&name), refused.get(&name)) {
                (Some(assigned), _) => self.activation(slot.filter, assigned).await?,
                (None, why) => unassigned(slot.filter, why),
            };
            activations.insert(name, activation);
        }
        let mut plan = NodePlan::clone(&plan);
        withdraw(&mut plan, &self.state());
        let mut parts = split(&plan, &activations);
        if let Some(policy) = &self.0.policy {
            policy.parts().into_iter().for_each(|part| parts.insert(part));
        }
        Ok(Some(Arc::new(Wanted { revision, parts, key: Some(key) })))
    }

    async fn activation(
        &self,
        filter: FilterPlan,
        assigned: &Assigned,
    ) -> Result<Activation, Problem> {
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
fn candidate(filter: &FilterPlan, assigned: &Assigned) -> FilterPlan {
    FilterPlan { digest: assigned.digest.to_string(), ..filter.clone() }
}

/// A slot to which nothing is assigned: the proxy refuses or skips, as its attachment says.
fn unassigned(filter: FilterPlan, why: Option<&director::Refused>) -> Activation {
    let refused = why.map_or_else(
        || RefusedPlan {
            code: "assign.missing".to_owned(),
            reason: "the director has not assigned it yet".to_owned(),
        },
        |why| RefusedPlan { code: why.code.to_owned(), reason: why.rule.clone() },
    );
    let refused = filter.refused.clone().or(Some(refused));
    Activation {
        filter: FilterPlan { refused, ..filter },
        manifest: None,
        bundles: Vec::new(),
        envelopes: Vec::new(),
        logged: Vec::new(),
    }
}

/// Adds what was revoked since to every trust policy: what takes away holds from each of them.
pub(crate) fn withdraw(plan: &mut NodePlan, state: &director::State) {
    let digests: Vec<String> = state.revoked_digests().keys().map(Digest::to_string).collect();
    let keys: Vec<serde_json::Value> = state
        .revoked_keys()
        .iter()
        .map(|(key, revocation)| match revocation.from_index {
            None => serde_json::json!(key),
            Some(from) => serde_json::json!({ "key": key, "fromIndex": from }),
        })
        .collect();
    for policy in &mut plan.trust {
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

/// What distinguishes what a proxy is to run from what it was to run before, without building it.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    plan: Arc<NodePlan>,
    versions: Vec<u64>,
    /// Revocations only ever come.
    revoked: usize,
    /// The last revision that brought a signature.
    referrers: u64,
    /// How often policy metadata was taken.
    policy: u64,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        // The same plan in memory: it is kept alive here, so nothing else can be in its place.
        Arc::ptr_eq(&self.plan, &other.plan)
            && self.versions == other.versions
            && (self.revoked, self.referrers, self.policy)
                == (other.revoked, other.referrers, other.policy)
    }
}

/// The parts of nothing.
pub(crate) fn nothing() -> Parts {
    Parts::default()
}

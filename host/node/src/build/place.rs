//! What runs goes into its slot: made if it is new, kept if nothing changed, and reported either way.

use super::compile::{ContentRefusal, ReadyArtifact, SlotContent};
use super::former::MadeFilter;
use super::guards::unguarded;
use super::kept_proof::KeptProof;
use super::prove::UnchangedSlot;
use super::{Builder, BuiltAttachment, Candidate, DesiredSlot, LastGoodFilter, PoliciesInForce};
use crate::refusal_text::by_proxy;
use std::collections::BTreeMap;
use std::sync::Arc;
use tamis_engine::Hook;
use tamis_proxy::{Attachment, Refused, Shadow, SlotOccupant, SlotState, SlotStatus};
use tamis_resources::RouteFault;
use tamis_resources::plan::{FilterPlan, OnFailure};

/// What a slot should run, or why it cannot.
type Content<'a> = Result<SlotContent<'a>, ContentRefusal>;

impl Builder {
    /// Puts the contents into the slots, in their order.
    pub(super) fn place<'a>(
        &mut self,
        wanted: &[DesiredSlot<'_>],
        contents: impl Iterator<Item = Content<'a>>,
        rules: PoliciesInForce<'_>,
    ) -> Vec<BuiltAttachment> {
        // Routers first: a guard of a route that its router refuses no longer guards anything specific.
        let (routers, others): (Vec<_>, Vec<_>) = wanted
            .iter()
            .zip(contents)
            .enumerate()
            .partition(|(_, (one, _))| one.plan.has_routes());
        let mut built = BTreeMap::new();
        let mut refused: Vec<(&FilterPlan, Vec<RouteFault>)> = Vec::new();
        for (at, (one, content)) in routers {
            let router = self.place_one(one, content, rules);
            refused.push((one.plan, router.left_out.clone()));
            built.insert(at, router);
        }
        for (at, (one, content)) in others {
            let placed = match unguarded(one.plan, &refused) {
                None => self.place_one(one, content, rules),
                Some((plan, refusal)) => {
                    let refusal = one.refused.clone().unwrap_or(refusal);
                    self.place_one(&one.with_plan(&plan), Err(refusal.into()), rules)
                }
            };
            built.insert(at, placed);
        }
        built.into_values().collect()
    }

    fn place_one(
        &mut self,
        wanted: &DesiredSlot<'_>,
        content: Content<'_>,
        rules: PoliciesInForce<'_>,
    ) -> BuiltAttachment {
        match self.running_filter(wanted, content) {
            Err(refusal) => self.refused(wanted, refusal, rules),
            Ok(good) => {
                let left_out = good.left_out.clone();
                let built = BuiltAttachment {
                    left_out,
                    ..running(wanted, &good, SlotState::Serving, None)
                };
                self.good.insert(wanted.slot.to_owned(), good);
                built
            }
        }
    }

    /// A slot that cannot have what it should run. What ran before keeps running, unless the current policy forbids it.
    fn refused(
        &self,
        wanted: &DesiredSlot<'_>,
        refusal: Refused,
        rules: PoliciesInForce<'_>,
    ) -> BuiltAttachment {
        let plan = wanted.plan;
        let (code, detail) = (refusal.code.clone(), refusal.sentence());
        let state = SlotState::Refused(refusal.clone());
        let kept =
            self.good.get(wanted.slot).filter(|good| self.may_keep_running(good, plan, rules));
        if let Some(good) = kept {
            let detail = format!("{detail}. Version {} keeps serving", good.filter.version());
            tracing::warn!(attachment = wanted.slot, %code, "{detail}");
            return running(wanted, good, state, Some(detail));
        }
        let closed = plan.on_failure == OnFailure::Closed;
        let then = if closed { "exchanges in its scope are refused" } else { "it is left out" };
        tracing::warn!(attachment = wanted.slot, %code, "{detail}; {then}");
        let status = status(wanted, None, state, Some(format!("{detail}; {then}")));
        let attached = closed.then(|| attached(wanted, SlotOccupant::Refused(refusal)));
        BuiltAttachment { attached, status, running: None, left_out: Vec::new(), shadow: None }
    }

    /// The filter that serves in a slot.
    fn running_filter(
        &mut self,
        wanted: &DesiredSlot<'_>,
        content: Content<'_>,
    ) -> Result<LastGoodFilter, Refused> {
        let ready = match content {
            Ok(SlotContent::New(ready)) => ready,
            Ok(SlotContent::Unchanged(unchanged)) => return self.unchanged(wanted, unchanged),
            Err(refusal) => return Err(self.note_slow_refusal(wanted.slot, refusal)),
        };
        let made = |builder: &mut Self| builder.make(&ready).map_err(|faulty| faulty.refusal);
        let (filter, left_out) = self.timed(&ready, made)?;
        let ReadyArtifact { proven, .. } = ready;
        self.states.keep(wanted.slot, &filter, &proven.verified);
        // What it fetches before its first exchange (such as keys) is available when the exchange comes: the end of the build
        // waits for it.
        let Self { ticks, first_ticks, .. } = self;
        let ticking = filter.has(Hook::Tick).then(|| Arc::new(ticks.start(&filter, first_ticks)));
        let proof = Arc::new(KeptProof {
            manifest: proven.artifact.manifest.clone(),
            bundles: proven.artifact.bundles.clone(),
            logged: proven.logged.clone(),
        });
        let good = LastGoodFilter {
            key: proven.key.clone(),
            filter,
            config: Arc::clone(&wanted.plan.config),
            proof,
            verified: proven.verified.clone(),
            left_out,
            _ticking: ticking,
        };
        self.made.push(MadeFilter::of(&good, &wanted.plan.filter));
        Ok(good)
    }

    /// What runs in a slot already.
    pub(super) fn unchanged(
        &self,
        wanted: &DesiredSlot<'_>,
        unchanged: &UnchangedSlot,
    ) -> Result<LastGoodFilter, Refused> {
        let good = self.good.get(wanted.slot).filter(|good| good.key == unchanged.key);
        let gone = || by_proxy("artifact.missing", "another filter was put there", "try again");
        let good = good.ok_or_else(gone)?;
        match wanted.plan.uncovered_rules(good.filter.rules()) {
            Some(refusal) => Err(refusal),
            None => Ok(LastGoodFilter { verified: unchanged.verified.clone(), ..good.clone() }),
        }
    }

    /// Puts the candidate of a slot into its shadow. A failure leaves the slot as it is.
    pub(super) fn place_shadow(
        &mut self,
        wanted: &DesiredSlot<'_>,
        content: Content<'_>,
        built: &mut BuiltAttachment,
    ) {
        let Some(Attachment { occupant: SlotOccupant::Running(_), shadow, .. }) =
            &mut built.attached
        else {
            let why = "the slot runs no filter to compare it with";
            built.shadow = Some(Err(by_proxy("shadow.alone", why, "repair the slot first")));
            return;
        };
        let slot = &built.status.attachment;
        built.shadow = Some(match self.candidate(slot, wanted, content) {
            Ok(candidate) => {
                *shadow = Some(candidate.shadow.clone());
                Ok(candidate.running.clone())
            }
            Err(refusal) => {
                tracing::warn!(slot = wanted.slot, code = %refusal.code, "{}", refusal.sentence());
                Err(refusal)
            }
        });
    }

    /// The candidate that runs in the shadow of a slot.
    fn candidate(
        &mut self,
        slot: &str,
        wanted: &DesiredSlot<'_>,
        content: Content<'_>,
    ) -> Result<&Candidate, Refused> {
        match content {
            Err(refusal) => return Err(self.note_slow_refusal(wanted.slot, refusal)),
            Ok(SlotContent::Unchanged(_)) => {}
            Ok(SlotContent::New(ready)) => {
                let filter = self.timed(&ready, |builder| builder.make_shadow(slot, &ready))?;
                let verified = &ready.proven.verified;
                let candidate = Candidate {
                    key: ready.proven.key.clone(),
                    shadow: Shadow::new(filter),
                    running: (verified.digest, verified.version.clone()),
                };
                self.shadows.insert(wanted.slot.to_owned(), candidate);
            }
        }
        let gone = || by_proxy("shadow.gone", "the candidate no longer runs", "ask again");
        self.shadows.get(wanted.slot).ok_or_else(gone)
    }

    /// Makes a filter. A refusal that took long is not found again with every change of other slots, which wait for it.
    fn timed<T>(
        &mut self,
        ready: &ReadyArtifact<'_>,
        make: impl FnOnce(&mut Self) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let since = self.clock.now();
        let made = make(self);
        let (now, took) = (self.clock.now(), self.clock.since(since));
        let (slot, key) = (ready.proven.wanted.slot, &ready.proven.key);
        made.map_err(|refusal| self.slow.keep(slot, key, refusal, took, now))
    }

    /// A refusal as it is reported; the same holds for one of the compiler that took long.
    fn note_slow_refusal(&mut self, slot: &str, refusal: ContentRefusal) -> Refused {
        let ContentRefusal { refusal, compiled } = refusal;
        match compiled {
            Some((key, took)) => self.slow.keep(slot, &key, refusal, took, self.clock.now()),
            None => refusal,
        }
    }
}

fn running(
    wanted: &DesiredSlot<'_>,
    good: &LastGoodFilter,
    state: SlotState,
    detail: Option<String>,
) -> BuiltAttachment {
    BuiltAttachment {
        attached: Some(attached(wanted, SlotOccupant::Running(good.filter.clone()))),
        status: status(wanted, Some(good), state, detail),
        running: Some((good.verified.digest, good.verified.version.clone())),
        left_out: Vec::new(),
        shadow: None,
    }
}

fn attached(wanted: &DesiredSlot<'_>, occupant: SlotOccupant) -> Attachment {
    let plan = wanted.plan;
    Attachment {
        name: wanted.slot.to_owned(),
        occupant,
        phase: plan.phase,
        scope: plan.scope.clone(),
        extends: plan.extend,
        failure: plan.on_failure,
        shadow: None,
    }
}

fn status(
    wanted: &DesiredSlot<'_>,
    good: Option<&LastGoodFilter>,
    state: SlotState,
    detail: Option<String>,
) -> SlotStatus {
    let hooks = good.map(|good| good.filter.hooks()).unwrap_or_default();
    let signers = good.map(|good| good.verified.signers.as_slice()).unwrap_or_default();
    let plan = wanted.plan;
    SlotStatus {
        attachment: wanted.slot.to_owned(),
        filter: plan.filter.clone(),
        version: plan.version.clone(),
        digest: plan.digest.clone(),
        signers: signers.iter().map(|signer| signer.0.clone()).collect(),
        hooks: hooks.iter().map(|hook| hook.as_str().to_owned()).collect(),
        phase: plan.phase,
        grant: serde_json::to_value(&plan.grant).unwrap_or_default(),
        state,
        detail,
    }
}

//! Builds running filters from a plan. This file orders the steps of a build, and no other does: what slots should run is
//! proven, compiled, made and put into its slot.

mod admit;
mod compile;
mod former;
mod guards;
mod keep;
mod kept_proof;
mod kept_states;
mod make;
mod place;
mod prove;
mod slow_refusals;

use crate::code::Code;
use crate::node_resources::NodeResources;
use crate::refusal_text::{by_proxy, refusal};
use crate::store::ArtifactStore;
use crate::ticks::{FirstTicks, RunningTicks, TickStarter};
use compile::SlotContent;
use former::MadeFilter;
use kept_proof::KeptProof;
use kept_states::KeptStates;
use prove::ProvenSlot;
use serde_json::Value as Json;
use slow_refusals::SlowRefusals;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tamis_ambient::{Clock, Random};
use tamis_engine::{Cache, Engine, EngineError, Exporter, Filter, HttpFetch, Secrets};
use tamis_observe::Metrics;
use tamis_proxy::{Attachment, Refused, Shadow, SlotStatus};
use tamis_resources::plan::FilterPlan;
use tamis_resources::{RouteFault, RouteVerdicts};
use tamis_sync::SHADOW;
use tamis_trust::{Digest, SignaturePolicy, VerificationRequest, VerifiedFilter, Version};

/// Builds filters and keeps the last good ones.
pub(crate) struct Builder {
    pub(crate) engine: Engine,
    pub(crate) cache: Option<Arc<Cache>>,
    pub(crate) code: Code,
    clock: Clock,
    random: Random,
    pub(crate) store: ArtifactStore,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) exporter: Arc<dyn Exporter>,
    pub(crate) fetch: Arc<dyn HttpFetch>,
    pub(crate) secrets: Secrets,
    pub(crate) ticks: TickStarter,
    /// Of the filters that this build makes.
    first_ticks: FirstTicks,
    /// How many workers call its filters.
    pub(crate) workers: usize,
    states: KeptStates,
    good: HashMap<String, LastGoodFilter>,
    /// The filters that were made for slots and may still be in use.
    made: Vec<MadeFilter>,
    /// The candidates that are shadows, by the name of their slot.
    shadows: HashMap<String, Candidate>,
    slow: SlowRefusals,
    /// What the routers of slots said about routes.
    verdicts: HashMap<String, RouteVerdicts>,
}

/// The filter that an attachment ran last.
#[derive(Clone)]
struct LastGoodFilter {
    key: String,
    filter: Filter,
    /// What it was configured with.
    config: Arc<Json>,
    /// The evidence of its artifact, to verify it again under another policy.
    proof: Arc<KeptProof>,
    verified: VerifiedFilter,
    /// Routes that it refuses, if it is a router.
    left_out: Vec<RouteFault>,
    /// Stops its background work when the last holder is dropped.
    _ticking: Option<Arc<RunningTicks>>,
}

/// The desired content of a slot.
pub(crate) struct DesiredSlot<'a> {
    /// Its name: that of its attachment, or the one that the director assigned.
    pub(crate) slot: &'a str,
    /// What should run in it and how.
    pub(crate) plan: &'a FilterPlan,
    /// Why the director does not allow it; `None` when it does, or when there is no director.
    pub(crate) refused: Option<Refused>,
    /// Where the log recorded each signature, as far as the caller knows.
    pub(crate) logged: &'a [Option<u64>],
    /// The candidate in its shadow.
    pub(crate) shadow: Option<Box<Self>>,
}

impl<'a> DesiredSlot<'a> {
    /// A slot of a plan that comes from documents: there is no director, and a folder has no log, so signatures of a key
    /// that is revoked from an index on are refused.
    pub(crate) fn of_documents(slot: &'a str, plan: &'a FilterPlan) -> Self {
        Self { slot, plan, refused: None, logged: &[], shadow: None }
    }

    /// The same slot with another plan, and without its candidate.
    fn with_plan<'b>(&self, plan: &'b FilterPlan) -> DesiredSlot<'b>
    where
        'a: 'b,
    {
        let Self { slot, logged, .. } = *self;
        DesiredSlot { slot, plan, refused: None, logged, shadow: None }
    }
}

/// The policies, and how long ago they were known to be in force.
#[derive(Clone, Copy)]
pub(crate) struct PoliciesInForce<'a> {
    pub(crate) policies: &'a [SignaturePolicy],
    pub(crate) age: Duration,
}

/// A manifest and what speaks for it.
#[derive(Clone, Copy)]
struct SignedManifest<'a> {
    manifest: &'a [u8],
    bundles: &'a [&'a [u8]],
    logged: &'a [Option<u64>],
}

impl<'a> PoliciesInForce<'a> {
    /// What the policies are asked about a manifest.
    fn request(
        self,
        pinned: &'a Digest,
        signed: SignedManifest<'a>,
        name: Option<&'a str>,
        clock: Clock,
    ) -> Result<VerificationRequest<'a>, Refused> {
        let now = clock.wall().duration_since(UNIX_EPOCH).map_err(|_| {
            let rule = "the clock of this machine is before 1970, and expiry depends on it";
            by_proxy("trust.clock", rule, "set the clock")
        })?;
        Ok(VerificationRequest {
            pinned,
            name,
            manifest: signed.manifest,
            bundles: signed.bundles,
            logged: signed.logged,
            policies: self.policies,
            policy_age: self.age,
            now: now.as_secs(),
        })
    }
}

/// A refusal with the places of the faults in the configuration.
pub(crate) struct PlacedRefusal {
    pub(crate) refusal: Refused,
    /// JSON pointers into the configuration, each with its fault.
    pub(crate) places: Vec<(String, String)>,
}

impl From<Refused> for PlacedRefusal {
    fn from(refusal: Refused) -> Self {
        Self { refusal, places: Vec::new() }
    }
}

impl From<EngineError> for PlacedRefusal {
    fn from(error: EngineError) -> Self {
        let places = match &error {
            EngineError::Configure { errors, .. } => errors.clone(),
            _ => Vec::new(),
        };
        Self { refusal: refusal(&error), places }
    }
}

/// The result for one attachment in a generation, and its report.
pub(crate) struct BuiltAttachment {
    /// `None` when it fails open and cannot run.
    pub(crate) attached: Option<Attachment>,
    pub(crate) status: SlotStatus,
    /// The digest and version that run in it; `None`: nothing does.
    pub(crate) running: Option<(Digest, Version)>,
    /// Routes that it refuses, if it is a router.
    pub(crate) left_out: Vec<RouteFault>,
    /// The candidate in its shadow, or why it cannot run; `None`: no candidate is assigned.
    pub(crate) shadow: Option<Result<(Digest, Version), Refused>>,
}

/// A candidate in the shadow of a slot.
struct Candidate {
    key: String,
    shadow: Shadow,
    running: (Digest, Version),
}

impl Builder {
    pub(crate) fn new(
        shared: &NodeResources,
        store: ArtifactStore,
        metrics: Arc<Metrics>,
        exporter: Arc<dyn Exporter>,
        fetch: Arc<dyn HttpFetch>,
        secrets: Secrets,
        ticks: TickStarter,
    ) -> Self {
        let (good, shadows) = (HashMap::new(), HashMap::new());
        Self {
            engine: shared.engine.clone(),
            cache: shared.cache.clone(),
            code: shared.code.clone(),
            clock: shared.clock,
            random: shared.random,
            store,
            metrics,
            exporter,
            fetch,
            secrets,
            ticks,
            first_ticks: FirstTicks::default(),
            workers: 1,
            states: KeptStates::default(),
            good,
            made: Vec::new(),
            shadows,
            slow: SlowRefusals::default(),
            verdicts: HashMap::new(),
        }
    }

    /// Builds the desired slots. A failure affects only its own slot.
    pub(crate) fn build(
        &mut self,
        wanted: &[DesiredSlot<'_>],
        rules: PoliciesInForce<'_>,
    ) -> Vec<BuiltAttachment> {
        let shadowed: Vec<(usize, &DesiredSlot<'_>)> = (wanted.iter().enumerate())
            .filter_map(|(at, one)| Some((at, one.shadow.as_deref()?)))
            .collect();
        let candidates = shadowed.iter().map(|(_, one)| *one);
        let all: Vec<&DesiredSlot<'_>> = wanted.iter().chain(candidates).collect();
        let mut proven = self.prove(&all, rules);
        self.pause(&mut proven);
        let mut contents = self.compile(&proven).into_iter();
        let mut built = self.place(wanted, contents.by_ref().take(wanted.len()), rules);
        for ((at, candidate), content) in shadowed.into_iter().zip(contents) {
            if let Some(built) = built.get_mut(at) {
                self.place_shadow(candidate, content, built);
            }
        }
        self.first_ticks.wait(self.clock);
        self.end_distrusted(&built, rules);
        self.forget(wanted);
        built
    }

    /// Makes filters as for serving, and drops them; returns the routes that each leaves out.
    pub(crate) fn try_filters(
        &mut self,
        plans: &[&FilterPlan],
        policies: &[SignaturePolicy],
    ) -> Vec<Result<Vec<RouteFault>, PlacedRefusal>> {
        let wanted: Vec<DesiredSlot<'_>> =
            plans.iter().map(|plan| DesiredSlot::of_documents(&plan.attachment, plan)).collect();
        let all: Vec<&DesiredSlot<'_>> = wanted.iter().collect();
        let proven = self.prove(&all, PoliciesInForce { policies, age: Duration::ZERO });
        let contents = self.compile(&proven).into_iter().zip(&wanted);
        let tried = contents.map(|(content, wanted)| match content {
            Ok(SlotContent::New(ready)) => self.make(&ready).map(|(_, left_out)| left_out),
            Ok(SlotContent::Unchanged(one)) => Ok(self.unchanged(wanted, one)?.left_out),
            Err(faulty) => Err(faulty.refusal.into()),
        });
        tried.collect()
    }

    /// Whether what runs in a slot was made from what this key stands for.
    fn runs(&self, slot: &str, key: &str) -> bool {
        self.good.get(slot).is_some_and(|good| good.key == key && !good.filter.has_ended())
            || self.shadows.get(slot).is_some_and(|candidate| candidate.key == key)
    }

    /// Refuses what failed before and took long: other slots wait for it with every change of theirs.
    fn pause(&self, slots: &mut [Result<ProvenSlot<'_>, Refused>]) {
        let now = self.clock.now();
        for slot in slots {
            let paused = match slot {
                Ok(ProvenSlot::New(one)) => self.slow.find(one.wanted.slot, &one.key, now).cloned(),
                Ok(ProvenSlot::Unchanged(_)) | Err(_) => None,
            };
            if let Some(refusal) = paused {
                *slot = Err(refusal);
            }
        }
    }

    /// Forgets slots that are no longer there.
    fn forget(&mut self, wanted: &[DesiredSlot<'_>]) {
        let live = |name: &str| wanted.iter().any(|one| one.slot == name);
        let shadowed = |name: &str| {
            wanted.iter().any(|one| one.shadow.as_ref().is_some_and(|shadow| shadow.slot == name))
        };
        self.good.retain(|name, _| live(name));
        self.states.forget(live, self.clock.now());
        self.shadows.retain(|name, _| shadowed(name));
        // Those of a candidate that is gone stay as long as its slot: it may come back.
        let either = |name: &str| live(name.strip_suffix(SHADOW).unwrap_or(name));
        self.slow.retain(either);
        self.verdicts.retain(|name, _| either(name));
    }
}

#[cfg(test)]
mod tests;

//! Builds running filters from a plan: verified, compiled, granted, configured, self-tested.

mod ahead;
mod prove;
mod slow_refusals;

use crate::allowed::{by_proxy, granted, refusal, uncovered_rules};
use crate::code::Code;
use crate::node_resources::NodeResources;
use crate::store::{ArtifactStore, StoreIndex};
use crate::ticks::{RunningTicks, TickStarter};
use prove::ProvenArtifact;
use serde_json::Value as Json;
use slow_refusals::SlowRefusals;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tamis_ambient::{Clock, Random};
use tamis_engine::{
    Cache, Engine, EngineError, Exporter, Filter, FilterOptions, FilterState, Hook, HttpFetch,
    Secrets,
};
use tamis_observe::Metrics;
use tamis_proxy::{Attachment, Refused, Shadow, SlotOccupant, SlotState, SlotStatus};
use tamis_resources::plan::{self, FilterPlan, OnFailure, World};
use tamis_resources::{RouteFault, RouteVerdicts};
use tamis_sync::SHADOW;
use tamis_trust::{Digest, SignaturePolicy, VerifiedFilter, Version};

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
    states: HashMap<String, KeptState>,
    good: HashMap<String, LastGoodFilter>,
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
    proof: Arc<Proof>,
    verified: VerifiedFilter,
    /// Routes that it refuses, if it is a router.
    left_out: Vec<RouteFault>,
    /// Stops its background work when the last holder is dropped.
    _ticking: Option<Arc<RunningTicks>>,
}

impl LastGoodFilter {
    fn running(&self) -> Option<(Digest, Version)> {
        Some((self.verified.digest, self.verified.version.clone()))
    }
}

/// The state of a filter in a slot: counters, values, its breaker.
struct KeptState {
    filter: String,
    signers: Vec<String>,
    state: Arc<FilterState>,
}

impl KeptState {
    /// Whether a filter may continue with this state: it has the same name, and one of the keys that signed
    /// the previous version signed it too. State of another author's filter is never passed on.
    fn is_of(&self, filter: &str, signers: &[String]) -> bool {
        self.filter == filter && self.signers.iter().any(|signer| signers.contains(signer))
    }
}

/// The names of the keys that signed an artifact.
fn signers(verified: &VerifiedFilter) -> Vec<String> {
    verified.signers.iter().map(|signer| signer.0.clone()).collect()
}

struct Proof {
    manifest: Vec<u8>,
    bundles: Vec<u8>,
    logged: Vec<Option<u64>>,
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

/// The policies, and how long ago they were known to be in force.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) policies: &'a [SignaturePolicy],
    pub(crate) age: Duration,
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

/// Whether its configuration consists of routes.
fn routes(plan: &FilterPlan) -> bool {
    plan.config.get("routes").is_some_and(Json::is_array)
        && plan.world.is_none_or(|world| matches!(world, World::RoutePolicy))
}

/// The faults of a configuration in an error.
fn faults(error: EngineError) -> Vec<(String, String)> {
    match error {
        EngineError::Configure { errors, .. } if !errors.is_empty() => errors,
        error => vec![(String::new(), error.to_string())],
    }
}

/// The refusal of a guard of a part of a route that its router refuses: the part is unknown then, and other
/// routes may now match it. Refused, it guards all routes of that namespace. `None` when the attachment is
/// not such a guard.
fn unguarded(plan: &FilterPlan, routers: &[(&FilterPlan, &[RouteFault])]) -> Option<FilterPlan> {
    let scope = plan.scope.as_ref()?;
    if !matches!(plan.phase, plan::Phase::Authn | plan::Phase::Authz) {
        return None;
    }
    let guarded = |one: &&RouteFault| {
        let prefix = format!("{}/", one.route);
        one.whole && scope.iter().any(|entry| entry.starts_with(&prefix))
    };
    let lost = routers.iter().flat_map(|(_, left_out)| left_out.iter()).find(guarded)?;
    let namespace = format!("{}/", lost.route.split('/').next().unwrap_or_default());
    let mut wider = scope.clone();
    for (router, _) in routers {
        for route in router.config.get("routes").and_then(Json::as_array).into_iter().flatten() {
            let name = route.get("name").and_then(Json::as_str).unwrap_or_default();
            let entry = format!("{name}/");
            if name.starts_with(&namespace) && !wider.contains(&entry) {
                wider.push(entry);
            }
        }
    }
    let rule = format!(
        "the router refuses {} {} ({}: {}), of which this guards a part, so all routes of its namespace are refused",
        lost.kind, lost.route, lost.pointer, lost.message
    );
    let remedy = format!("correct {} {}", lost.kind, lost.route);
    let refused = Refused::new("route.refused", rule, "the router", remedy);
    Some(FilterPlan { scope: Some(wider), refused: Some(refused), ..plan.clone() })
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
        let (states, good, shadows) = (HashMap::new(), HashMap::new(), HashMap::new());
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
            states,
            good,
            shadows,
            slow: SlowRefusals::default(),
            verdicts: HashMap::new(),
        }
    }

    /// Builds every filter of a plan that was just read from documents; each attachment is a slot.
    pub(crate) fn build(
        &mut self,
        plans: &[impl Borrow<FilterPlan>],
        policies: &[SignaturePolicy],
    ) -> Vec<BuiltAttachment> {
        // A folder has no log: signatures of a key that is revoked from an index on are refused.
        let of = |plan| DesiredSlot {
            slot: slot_of(plan),
            plan,
            refused: None,
            logged: &[],
            shadow: None,
        };
        let wanted: Vec<DesiredSlot<'_>> = plans.iter().map(|plan| of(plan.borrow())).collect();
        self.build_wanted(&wanted, Rules { policies, age: Duration::ZERO })
    }

    /// Builds the desired slots. A failure affects only its own slot.
    pub(crate) fn build_wanted(
        &mut self,
        wanted: &[DesiredSlot<'_>],
        rules: Rules<'_>,
    ) -> Vec<BuiltAttachment> {
        let index = self.store.index();
        self.compile_ahead(wanted, rules, &index);
        // Routers first: a guard of a route that its router refuses no longer guards anything specific.
        let mut made: HashMap<usize, BuiltAttachment> = HashMap::new();
        for (at, one) in wanted.iter().enumerate().filter(|(_, one)| routes(one.plan)) {
            made.insert(at, self.slot(one, rules, &index));
        }
        let routers: Vec<(&FilterPlan, &[RouteFault])> = made
            .iter()
            .filter_map(|(at, one)| Some((wanted.get(*at)?.plan, one.left_out.as_slice())))
            .collect();
        let closed: Vec<Option<FilterPlan>> =
            wanted.iter().map(|one| unguarded(one.plan, &routers)).collect();
        let mut built = Vec::with_capacity(wanted.len());
        for (at, (one, closed)) in wanted.iter().zip(&closed).enumerate() {
            built.push(match (made.remove(&at), closed) {
                (Some(made), _) => made,
                (None, Some(plan)) => {
                    let DesiredSlot { slot, logged, .. } = *one;
                    let refused = one.refused.clone();
                    let closed = DesiredSlot { slot, plan, refused, logged, shadow: None };
                    self.slot(&closed, rules, &index)
                }
                (None, None) => self.slot(one, rules, &index),
            });
        }
        for (wanted, built) in wanted.iter().zip(&mut built) {
            self.shadow(wanted, built, rules, &index);
        }
        let live = |name: &String| wanted.iter().any(|wanted| wanted.slot == *name);
        self.good.retain(|name, _| live(name));
        self.states.retain(|name, _| live(name));
        let shadowed = |name: &String| {
            wanted.iter().any(|wanted| wanted.slot == *name && wanted.shadow.is_some())
        };
        self.shadows.retain(|name, _| shadowed(name));
        self.slow.retain(|name| live_or_shadow(wanted, name));
        self.verdicts.retain(|name, _| live_or_shadow(wanted, name));
        built
    }

    /// Puts the candidate of a slot into its shadow. A failure leaves the slot as it is.
    fn shadow(
        &mut self,
        wanted: &DesiredSlot<'_>,
        built: &mut BuiltAttachment,
        rules: Rules<'_>,
        index: &StoreIndex,
    ) {
        let Some(candidate) = &wanted.shadow else { return };
        let Some(Attachment { occupant: SlotOccupant::Running(_), shadow, .. }) =
            &mut built.attached
        else {
            let why = "the slot runs no filter to compare it with";
            built.shadow = Some(Err(by_proxy("shadow.alone", why, "repair the slot first")));
            return;
        };
        built.shadow = Some(match self.candidate(wanted.slot, candidate, rules, index) {
            Ok(candidate) => {
                *shadow = Some(candidate.shadow.clone());
                Ok(candidate.running.clone())
            }
            Err(refusal) => {
                tracing::warn!(slot = candidate.slot, code = %refusal.code, "{}", refusal.sentence());
                Err(refusal)
            }
        });
    }

    fn candidate(
        &mut self,
        slot: &str,
        wanted: &DesiredSlot<'_>,
        rules: Rules<'_>,
        index: &StoreIndex,
    ) -> Result<&Candidate, Refused> {
        let proven = self.proven(wanted, rules, index)?;
        if self.shadows.get(slot).is_none_or(|there| there.key != proven.key) {
            let name = format!("{slot}{SHADOW}");
            let filter = self.unless_paused(&name, &proven.key, |builder| {
                let compiled = builder.compiled(wanted.plan, &proven)?;
                let options = builder.options(slot, wanted.plan, &proven, None)?;
                Filter::shadow(&compiled, options).map_err(|error| refusal(&error))
            })?;
            let VerifiedFilter { digest, version, .. } = proven.verified;
            let candidate = Candidate {
                key: proven.key,
                shadow: Shadow::new(filter),
                running: (digest, version),
            };
            self.shadows.insert(slot.to_owned(), candidate);
        }
        let gone = || by_proxy("shadow.gone", "the candidate no longer runs", "ask again");
        self.shadows.get(slot).ok_or_else(gone)
    }

    fn slot(
        &mut self,
        wanted: &DesiredSlot<'_>,
        rules: Rules<'_>,
        index: &StoreIndex,
    ) -> BuiltAttachment {
        let plan = wanted.plan;
        let refusal = match self.running_filter(wanted, rules, index) {
            Ok(good) => {
                let status = status(wanted, Some(&good), SlotState::Serving, None);
                let attached = attached(wanted, SlotOccupant::Running(good.filter.clone()));
                let (running, left_out) = (good.running(), good.left_out.clone());
                self.good.insert(wanted.slot.to_owned(), good);
                return BuiltAttachment {
                    attached: Some(attached),
                    status,
                    running,
                    left_out,
                    shadow: None,
                };
            }
            Err(refusal) => refusal,
        };
        let (code, detail) = (refusal.code.clone(), refusal.sentence());
        let state = SlotState::Refused(refusal.clone());
        // What ran before keeps running, unless the current policy forbids it.
        let kept =
            self.good.get(wanted.slot).filter(|good| self.may_keep_running(good, plan, rules));
        if let Some(good) = kept {
            let detail = format!("{detail}; version {} keeps serving", good.filter.version());
            tracing::warn!(attachment = wanted.slot, %code, "{detail}");
            let status = status(wanted, Some(good), state, Some(detail));
            let attached = attached(wanted, SlotOccupant::Running(good.filter.clone()));
            let (running, left_out) = (good.running(), Vec::new());
            return BuiltAttachment {
                attached: Some(attached),
                status,
                running,
                left_out,
                shadow: None,
            };
        }
        let closed = plan.on_failure == OnFailure::Closed;
        let then = if closed { "exchanges in its scope are refused" } else { "it is left out" };
        tracing::warn!(attachment = wanted.slot, %code, "{detail}; {then}");
        let status = status(wanted, None, state, Some(format!("{detail}; {then}")));
        let attached = closed.then(|| attached(wanted, SlotOccupant::Refused(refusal)));
        BuiltAttachment { attached, status, running: None, left_out: Vec::new(), shadow: None }
    }

    /// From pin to running filter.
    fn running_filter(
        &mut self,
        wanted: &DesiredSlot<'_>,
        rules: Rules<'_>,
        index: &StoreIndex,
    ) -> Result<LastGoodFilter, Refused> {
        let proven = self.proven(wanted, rules, index)?;
        if let Some(good) = self.good.get(wanted.slot)
            && good.key == proven.key
        {
            if let Some(refusal) = uncovered_rules(&good.filter, wanted.plan) {
                return Err(refusal);
            }
            return Ok(LastGoodFilter { verified: proven.verified, ..good.clone() });
        }
        let (filter, left_out) = self.unless_paused(wanted.slot, &proven.key, |builder| {
            let (filter, left_out) =
                builder.make(wanted, &proven).map_err(|faulty| faulty.refusal)?;
            match uncovered_rules(&filter, wanted.plan) {
                Some(refusal) => Err(refusal),
                None => Ok((filter, left_out)),
            }
        })?;
        let state = Arc::clone(filter.state());
        let (name, signers) = (wanted.plan.filter.clone(), signers(&proven.verified));
        self.states.insert(wanted.slot.to_owned(), KeptState { filter: name, signers, state });
        // What it fetches before its first exchange (such as keys) is available when the exchange comes.
        let ticking = filter.has(Hook::Tick).then(|| Arc::new(self.ticks.start(&filter)));
        let ProvenArtifact { artifact, verified, key, .. } = proven;
        let logged = wanted.logged.to_vec();
        let proof = Proof { manifest: artifact.manifest, bundles: artifact.bundles, logged };
        let proof = Arc::new(proof);
        let config = Arc::clone(&wanted.plan.config);
        Ok(LastGoodFilter { key, filter, config, proof, verified, left_out, _ticking: ticking })
    }

    /// Makes something for a slot, unless it failed before and took long: other slots wait for it with every change of theirs.
    fn unless_paused<T>(
        &mut self,
        slot: &str,
        key: &str,
        make: impl FnOnce(&mut Self) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        if let Some(refusal) = self.slow.find(slot, key, self.clock.now()) {
            return Err(refusal.clone());
        }
        let since = self.clock.now();
        let made = make(self);
        let (now, took) = (self.clock.now(), self.clock.since(since));
        made.map_err(|refusal| self.slow.keep(slot, key, refusal, took, now))
    }

    /// Makes the filter. A router that refuses some of its routes is made with the routes that it accepts.
    fn make(
        &mut self,
        wanted: &DesiredSlot<'_>,
        proven: &ProvenArtifact,
    ) -> Result<(Filter, Vec<RouteFault>), PlacedRefusal> {
        let (slot, plan) = (wanted.slot, wanted.plan);
        let compiled = self.compiled(plan, proven)?;
        let refusal = match Filter::new(&compiled, self.options(slot, plan, proven, None)?) {
            Ok(filter) => return Ok((filter, Vec::new())),
            Err(refusal) if routes(plan) => refusal,
            Err(refusal) => return Err(refusal.into()),
        };
        let mut known = self.verdicts.remove(slot).unwrap_or_default();
        let mut verdict = |config: &Json| match self.options(slot, plan, proven, Some(config)) {
            Ok(options) => Filter::new(&compiled, options).map_or_else(faults, |_| Vec::new()),
            Err(refusal) => vec![(String::new(), refusal.rule)],
        };
        let about = serde_json::json!([plan.digest, plan.grant, plan.on_failure, plan.isolation]);
        let (sound, left_out) = known.sound_routes(&about.to_string(), &plan.config, &mut verdict);
        self.verdicts.insert(slot.to_owned(), known);
        if left_out.is_empty() {
            return Err(refusal.into());
        }
        let filter = Filter::new(&compiled, self.options(slot, plan, proven, Some(&sound))?)?;
        Ok((filter, left_out))
    }

    /// Makes a filter as for serving, and drops it.
    pub(crate) fn tried(
        &mut self,
        plan: &FilterPlan,
        policies: &[SignaturePolicy],
    ) -> Result<(Filter, Vec<RouteFault>), PlacedRefusal> {
        let index = self.store.index();
        let wanted =
            DesiredSlot { slot: slot_of(plan), plan, refused: None, logged: &[], shadow: None };
        let proven = self.proven(&wanted, Rules { policies, age: Duration::ZERO }, &index)?;
        let (filter, left_out) = self.make(&wanted, &proven)?;
        match uncovered_rules(&filter, plan) {
            Some(refusal) => Err(refusal.into()),
            None => Ok((filter, left_out)),
        }
    }

    /// What a filter of a slot is made with.
    fn options(
        &self,
        slot: &str,
        plan: &FilterPlan,
        proven: &ProvenArtifact,
        config: Option<&Json>,
    ) -> Result<FilterOptions, Refused> {
        let grant = granted(plan)?;
        Ok(FilterOptions {
            name: plan.filter.clone(),
            digest: proven.verified.digest.to_string(),
            version: proven.verified.version.to_string(),
            config_json: config.map_or_else(|| proven.config.clone(), Json::to_string),
            grant,
            state: self.state(slot, &plan.filter, &signers(&proven.verified)),
            fetch: Some(Arc::clone(&self.fetch)),
            failure: plan.on_failure,
            isolation: plan.isolation,
        })
    }

    /// What the filter before left in the slot, if it is this one's; else nothing yet.
    fn state(&self, slot: &str, filter: &str, signers: &[String]) -> Arc<FilterState> {
        match self.states.get(slot) {
            Some(kept) if kept.is_of(filter, signers) => Arc::clone(&kept.state),
            _ => {
                let state = FilterState::new(Arc::clone(&self.metrics));
                let state = state.with_clock(self.clock, self.random);
                let state = state.with_exporter(Arc::clone(&self.exporter));
                Arc::new(state.with_secrets(self.secrets.clone()))
            }
        }
    }
}

/// Whether a name is that of a desired slot, or of its shadow.
fn live_or_shadow(wanted: &[DesiredSlot<'_>], name: &str) -> bool {
    wanted.iter().any(|one| one.slot == name.strip_suffix(SHADOW).unwrap_or(name))
}

fn slot_of(plan: &FilterPlan) -> &str {
    &plan.attachment
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

#[cfg(test)]
mod tests;

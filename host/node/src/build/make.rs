//! From machine code to a filter: configured, self-tested, and with the state that it continues.

use super::compile::ReadyArtifact;
use super::{Builder, PlacedRefusal};
use crate::refusal_text::refusal;
use serde_json::Value as Json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tamis_engine::{EngineError, Filter, FilterOptions, FilterState, Grant};
use tamis_proxy::Refused;
use tamis_resources::RouteFault;
use tamis_resources::plan::FilterPlan;
use tamis_trust::VerifiedFilter;

/// The state of a filter in a slot: counters, values, its breaker.
pub(super) struct KeptState {
    pub(super) filter: String,
    pub(super) signers: Vec<String>,
    pub(super) state: Arc<FilterState>,
    /// When its slot was first gone; `None`: it is there.
    pub(super) gone: Option<Instant>,
}

/// The time for which the proxy keeps the state of a slot that is gone: the document may come back, or get its name back.
const GONE_MAX: Duration = Duration::from_secs(3_600);
/// How many such states of one namespace are kept.
const GONE_OF_NAMESPACE_MAX: usize = 16;

/// Forgets states whose slots have been gone for long, and the oldest where one namespace has many of them.
pub(super) fn forget_states(
    states: &mut HashMap<String, KeptState>,
    live: impl Fn(&str) -> bool,
    now: Instant,
) {
    for (slot, kept) in states.iter_mut() {
        kept.gone = if live(slot) { None } else { kept.gone.or(Some(now)) };
    }
    let namespace = |slot: &str| slot.split('/').next().unwrap_or_default().to_owned();
    let mut gone: Vec<(Instant, String)> =
        states.iter().filter_map(|(slot, kept)| Some((kept.gone?, slot.clone()))).collect();
    gone.sort_by(|one, other| other.cmp(one));
    let mut kept: HashMap<String, usize> = HashMap::new();
    for (since, slot) in gone {
        let of_namespace = kept.entry(namespace(&slot)).or_default();
        *of_namespace = of_namespace.saturating_add(1);
        let long = now.saturating_duration_since(since) > GONE_MAX;
        if long || *of_namespace > GONE_OF_NAMESPACE_MAX {
            states.remove(&slot);
        }
    }
}

impl KeptState {
    /// The state of a filter of that artifact.
    pub(super) fn of(filter: &Filter, verified: &VerifiedFilter) -> Self {
        let (filter, state) = (filter.name().to_owned(), Arc::clone(filter.state()));
        Self { filter, signers: signers(verified), state, gone: None }
    }

    /// Whether a filter may continue with this state: it has the same name, and one of the keys that signed
    /// the previous version signed it too. State of another author's filter is never passed on.
    pub(super) fn is_of(&self, filter: &str, signers: &[String]) -> bool {
        self.filter == filter && self.signers.iter().any(|signer| signers.contains(signer))
    }
}

/// The names of the keys that signed an artifact.
fn signers(verified: &VerifiedFilter) -> Vec<String> {
    verified.signers.iter().map(|signer| signer.0.clone()).collect()
}

impl Builder {
    /// Makes the filter. A router that refuses some of its routes is made with the routes that it accepts.
    pub(super) fn make(
        &mut self,
        ready: &ReadyArtifact<'_>,
    ) -> Result<(Filter, Vec<RouteFault>), PlacedRefusal> {
        let (filter, left_out) = self.configured(ready)?;
        match ready.proven.wanted.plan.uncovered_rules(filter.rules()) {
            Some(refusal) => Err(refusal.into()),
            None => Ok((filter, left_out)),
        }
    }

    /// Makes the candidate of a slot, which reads the state that is in the slot and changes nothing there.
    pub(super) fn make_shadow(
        &self,
        slot: &str,
        ready: &ReadyArtifact<'_>,
    ) -> Result<Filter, Refused> {
        let options = self.options(slot, ready, None);
        Filter::shadow(&ready.code, options).map_err(|error| refusal(&error))
    }

    fn configured(
        &mut self,
        ready: &ReadyArtifact<'_>,
    ) -> Result<(Filter, Vec<RouteFault>), EngineError> {
        let (slot, plan) = (ready.proven.wanted.slot, ready.proven.wanted.plan);
        let made = |builder: &Self, config: Option<&Json>| {
            Filter::new(&ready.code, builder.options(slot, ready, config))
        };
        let refusal = match made(self, None) {
            Ok(filter) => return Ok((filter, Vec::new())),
            Err(refusal) if plan.has_routes() => refusal,
            Err(refusal) => return Err(refusal),
        };
        let mut known = self.verdicts.remove(slot).unwrap_or_default();
        let mut verdict =
            |config: &Json| made(self, Some(config)).map_or_else(faults, |_| Vec::new());
        let about = serde_json::json!([plan.digest, plan.grant, plan.on_failure, plan.isolation]);
        let (sound, left_out) = known.sound_routes(&about.to_string(), &plan.config, &mut verdict);
        self.verdicts.insert(slot.to_owned(), known);
        if left_out.is_empty() {
            return Err(refusal);
        }
        Ok((made(self, Some(&sound))?, left_out))
    }

    /// What a filter of a slot is made with.
    fn options(
        &self,
        slot: &str,
        ready: &ReadyArtifact<'_>,
        config: Option<&Json>,
    ) -> FilterOptions {
        let (proven, plan) = (ready.proven, ready.proven.wanted.plan);
        FilterOptions {
            name: plan.filter.clone(),
            digest: proven.verified.digest.to_string(),
            version: proven.verified.version.to_string(),
            config_json: config.map_or_else(|| proven.config.clone(), Json::to_string),
            grant: Grant::clone(&ready.grant),
            state: self.state(slot, plan, &signers(&proven.verified)),
            fetch: Some(Arc::clone(&self.fetch)),
            failure: plan.on_failure,
            isolation: plan.isolation,
        }
    }

    /// What the filter before left in the slot, if it is this one's; else nothing yet.
    fn state(&self, slot: &str, plan: &FilterPlan, signers: &[String]) -> Arc<FilterState> {
        match self.states.get(slot) {
            Some(kept) if kept.is_of(&plan.filter, signers) => Arc::clone(&kept.state),
            _ => {
                let state = FilterState::new(Arc::clone(&self.metrics));
                let state = state.with_clock(self.clock, self.random);
                let state = state.with_exporter(Arc::clone(&self.exporter));
                // Those of other namespaces are not for the author of this attachment.
                let namespace = plan.attachment.split('/').next().unwrap_or_default();
                let state = state.with_owner(namespace, self.workers);
                Arc::new(state.with_secrets(self.secrets.of(namespace)))
            }
        }
    }
}

/// The faults of a configuration in an error.
fn faults(error: EngineError) -> Vec<(String, String)> {
    match error {
        EngineError::Configure { errors, .. } => errors,
        error => vec![(String::new(), error.to_string())],
    }
}

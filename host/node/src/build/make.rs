//! From machine code to a filter: configured, self-tested, and with the state that it continues.

use super::compile::ReadyArtifact;
use super::kept_states::signers;
use super::{Builder, PlacedRefusal};
use crate::refusal_text::refusal;
use serde_json::Value as Json;
use std::sync::Arc;
use tamis_engine::{Admission, EngineError, Filter, FilterOptions, FilterState};
use tamis_proxy::Refused;
use tamis_resources::RouteFault;
use tamis_resources::plan::FilterPlan;

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
            admission: Admission::clone(&ready.admission),
            state: self.state(slot, plan, &signers(&proven.verified)),
            fetch: Some(Arc::clone(&self.fetch)),
            failure: plan.on_failure,
            isolation: plan.isolation,
        }
    }

    /// What the filter before left in the slot, if it is this one's; else nothing yet.
    fn state(&self, slot: &str, plan: &FilterPlan, signers: &[String]) -> Arc<FilterState> {
        match self.states.of(slot, &plan.filter, signers) {
            Some(state) => state,
            None => {
                let state = FilterState::new(Arc::clone(&self.metrics));
                let state = state.with_clock(self.clock, self.random);
                let state = state.with_exporter(Arc::clone(&self.exporter));
                // Those of other namespaces are not for the author of this attachment.
                let namespace = plan.attachment.split('/').next().unwrap_or_default();
                let state =
                    state.with_owner(namespace, self.workers).with_attachment(&plan.attachment);
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

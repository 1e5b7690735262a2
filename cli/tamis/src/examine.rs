//! Inspects components for the control plane, which has no engine of its own.

use crate::filter::configured;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tamis_api::GrowthView;
use tamis_engine::{
    Authority, AuthorityGrowth, CompiledComponent, Declaration, DeclaredAccess, EngineError,
    Filter, FilterOptions, FilterState, Grant, Isolation, OnFailure,
};
use tamis_node::{Secrets, check_allowed, check_claims, refusal, stand_ins, uncovered_rules};
use tamis_observe::Metrics;
use tamis_resources::ValidationFaults;
use tamis_resources::plan::FilterPlan;
use tamis_server::{ComponentExaminer, Faults};
use tamis_trust::{Digest, Manifest, TrustRefusal, code as rule};

/// The engine of this binary.
pub(crate) struct Engine;

impl ComponentExaminer for Engine {
    fn claims(&self, manifest: &Manifest, component: &[u8]) -> Result<(), TrustRefusal> {
        let inspection = tamis_engine::inspect(component).map_err(|error| TrustRefusal {
            code: rule::FORMAT,
            rule: format!("the component must be a filter ({error})"),
            set_by: "the artifact format".to_owned(),
            remedy: "build it again; `tamis filter inspect` says what it is".to_owned(),
        })?;
        check_claims(manifest, &inspection)
    }

    fn validate(&self, component: &[u8], plan: &FilterPlan) -> Result<(), Box<Faults>> {
        // Before it is compiled, which may take a minute.
        if let Err(refused) = check_allowed(component, plan) {
            return Err(Box::new(Faults { refused, places: ValidationFaults::new() }));
        }
        let error = match tried(component, plan) {
            Ok(filter) => {
                let lacks = filter.and_then(|filter| uncovered_rules(&filter, plan));
                let places = ValidationFaults::new();
                return lacks.map_or(Ok(()), |refused| Err(Box::new(Faults { refused, places })));
            }
            Err(error) => error,
        };
        let refused = refusal(&error);
        match error {
            EngineError::Configure { errors: places, .. } if !places.is_empty() => {
                Err(Box::new(Faults { refused, places }))
            }
            EngineError::Grant(_)
            | EngineError::Ceiling(_)
            | EngineError::Scope(_)
            | EngineError::Field { .. }
            | EngineError::Interest { .. } => {
                Err(Box::new(Faults { refused, places: ValidationFaults::new() }))
            }
            // A component that cannot run at all was refused when it was pushed; what else fails may depend
            // on the machine, and the proxy that runs it reports so.
            EngineError::Start(_)
            | EngineError::Invalid { .. }
            | EngineError::Compile(_)
            | EngineError::Configure { .. }
            | EngineError::Instantiate { .. }
            | EngineError::SelfTest { .. } => Ok(()),
        }
    }

    fn grown(&self, before: &[u8], after: &[u8], configs: &[String]) -> Vec<GrowthView> {
        let mut grown: Vec<AuthorityGrowth> = Vec::new();
        for config in configs {
            match (authority(before, config), authority(after, config)) {
                (Some(before), Some(after)) => grown.extend(after.grows_beyond(&before)),
                // An artifact that is not a component was refused earlier; it could not do anything.
                _ => continue,
            }
        }
        grown.sort();
        grown.dedup();
        let told = grown.into_iter();
        told.map(|one| GrowthView { kind: one.kind.as_str().to_owned(), what: one.what }).collect()
    }
}

/// Compiled components: a router is asked about halves of its routes, and is not compiled each time.
struct Code {
    engine: tamis_engine::Engine,
    compiled: Mutex<VecDeque<(Digest, CompiledComponent)>>,
}

/// Components kept compiled in memory.
const CODE_MAX: usize = 16;

fn code() -> Option<&'static Code> {
    static CODE: OnceLock<Option<Code>> = OnceLock::new();
    let make = || {
        let engine = tamis_engine::Engine::new().ok()?;
        Some(Code { engine, compiled: Mutex::default() })
    };
    CODE.get_or_init(make).as_ref()
}

impl Code {
    fn compile(&self, component: &[u8]) -> Result<CompiledComponent, EngineError> {
        let digest = Digest::of(component);
        let kept = || self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, compiled)) = kept().iter().find(|(known, _)| *known == digest) {
            return Ok(compiled.clone());
        }
        let compiled = self.engine.compile(component, None)?;
        let mut kept = kept();
        if kept.len() >= CODE_MAX {
            kept.pop_front();
        }
        kept.push_back((digest, compiled.clone()));
        Ok(compiled)
    }
}

/// Makes a filter as a proxy does, with no host reachable. `None`: this process has no engine.
fn tried(component: &[u8], plan: &FilterPlan) -> Result<Option<Filter>, EngineError> {
    let Some(code) = code() else { return Ok(None) };
    let compiled = code.compile(component)?;
    let grant = serde_json::to_value(&plan.grant).and_then(serde_json::from_value::<Grant>);
    let state = FilterState::new(Arc::new(Metrics::new()));
    let options = FilterOptions {
        name: plan.filter.clone(),
        digest: plan.digest.clone(),
        version: plan.version.clone(),
        config_json: plan.config.to_string(),
        grant: grant.unwrap_or_default(),
        state: Arc::new(state.with_secrets(Secrets::new(stand_ins([plan])))),
        fetch: None,
        failure: OnFailure::Closed,
        isolation: Isolation::Worker,
    };
    Filter::new(&compiled, options).map(Some)
}

fn authority(component: &[u8], config: &str) -> Option<Authority> {
    let inspection = tamis_engine::inspect(component).ok()?;
    let declaration = match configured(component, config) {
        Ok(filter) => Declaration::Known(DeclaredAccess::of(&filter)),
        Err(why) => Declaration::Unknown(why),
    };
    Some(Authority::new(&inspection, declaration))
}

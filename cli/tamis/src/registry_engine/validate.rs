//! Whether a filter would run as planned.

use std::sync::Arc;

use super::code::{code, inspection};
use tamis_engine::{
    Admission, CallFault, EngineError, Filter, FilterOptions, FilterState, Grant, Isolation,
    OnFailure, check_admission,
};
use tamis_node::{Secrets, check_granted_authorities, refusal, stand_ins};
use tamis_observe::Metrics;
use tamis_resources::ValidationFaults;
use tamis_resources::plan::FilterPlan;
use tamis_server::Faults;
use tamis_trust::Refused;

pub(super) fn validate(component: &[u8], plan: &FilterPlan) -> Result<(), Box<Faults>> {
    // Before it is compiled, which may take a minute.
    let admission = match admitted(component, plan) {
        Ok(admission) => admission,
        Err(refused) => return Err(Box::new(Faults { refused, places: ValidationFaults::new() })),
    };
    let error = match tried(component, plan, admission) {
        Ok(filter) => {
            let lacks = filter.and_then(|filter| plan.uncovered_rules(filter.rules()));
            let places = ValidationFaults::new();
            return lacks.map_or(Ok(()), |refused| Err(Box::new(Faults { refused, places })));
        }
        Err(error) => error,
    };
    let refused = refusal(&error);
    match error {
        EngineError::Configure { errors: places, .. } => Err(Box::new(Faults { refused, places })),
        // Other than time, memory does not depend on the machine: every proxy would refuse this configuration.
        EngineError::SelfTest { fault: CallFault::Memory { .. }, .. } => {
            let places = vec![(String::new(), refused.rule.clone())];
            Err(Box::new(Faults { refused, places }))
        }
        EngineError::Grant(_)
        | EngineError::GrantFormat(_)
        | EngineError::World(_)
        | EngineError::Ceiling(_)
        | EngineError::Scope(_)
        | EngineError::Field { .. }
        | EngineError::Interest { .. }
        | EngineError::NoReason { .. } => {
            Err(Box::new(Faults { refused, places: ValidationFaults::new() }))
        }
        // A component that cannot run at all was refused when it was pushed; what else fails may depend
        // on the machine, and the proxy that runs it reports so.
        EngineError::Start(_)
        | EngineError::Invalid { .. }
        | EngineError::Compile(_)
        | EngineError::NoRoom { .. }
        | EngineError::Instantiate { .. }
        | EngineError::SelfTest { .. } => Ok(()),
    }
}

/// The proof that a proxy would admit a component in the place of a plan.
///
/// # Errors
/// [`Refused`] in the words of the proxy.
fn admitted(component: &[u8], plan: &FilterPlan) -> Result<Admission, Refused> {
    let by_proxy = |error: EngineError| refusal(&error);
    let grant = Grant::of_plan(plan).map_err(by_proxy)?;
    check_granted_authorities(&grant)?;
    let inspection = inspection(component).map_err(by_proxy)?;
    check_admission(plan, &inspection, grant).map_err(by_proxy)
}

/// Makes a filter as a proxy does, with no host reachable. `None`: this process has no engine.
fn tried(
    component: &[u8],
    plan: &FilterPlan,
    admission: Admission,
) -> Result<Option<Filter>, EngineError> {
    let Some(code) = code() else { return Ok(None) };
    let compiled = code.compile(component)?;
    let state = FilterState::new(Arc::new(Metrics::new()));
    let options = FilterOptions {
        name: plan.filter.clone(),
        digest: plan.digest.clone(),
        version: plan.version.clone(),
        config_json: plan.config.to_string(),
        admission,
        state: Arc::new(state.with_secrets(Secrets::new(stand_ins([plan])))),
        fetch: None,
        failure: OnFailure::Closed,
        isolation: Isolation::Worker,
    };
    Filter::new(&compiled, options).map(Some)
}

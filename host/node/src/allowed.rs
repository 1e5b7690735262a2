//! Whether a plan lets a component run at all: the imports that its grant covers, the limits of this host,
//! and the world that its Filter document names.

use std::collections::HashMap;
use tamis_engine::{
    EngineError, Grant, Hook, Inspection, check_ceilings, check_imports, check_scopes, inspect,
};
use tamis_resources::CONFIG_REMEDY;
use tamis_resources::plan::{FilterPlan, World};
use tamis_trust::TrustRefusal;

/// Decides, before a component is compiled, whether a proxy would refuse it in the place of this plan: for an
/// import that its grant does not cover, a grant beyond the limits of a host, or another world.
///
/// # Errors
/// [`TrustRefusal`] in the words of the proxy.
pub fn check_allowed(component: &[u8], plan: &FilterPlan) -> Result<(), TrustRefusal> {
    let grant = granted(plan)?;
    let inspection = inspect(component).map_err(|error| refusal(&error))?;
    allowed(plan, &inspection, &grant)
}

/// The grant of a plan.
///
/// # Errors
/// [`TrustRefusal`] when a part of it cannot be used.
pub(crate) fn granted(plan: &FilterPlan) -> Result<Grant, TrustRefusal> {
    let wrong = |rule: String, remedy: &str| TrustRefusal {
        code: "grant.format",
        rule,
        set_by: "the proxy".to_owned(),
        remedy: remedy.to_owned(),
    };
    let grant = serde_json::to_value(&plan.grant).and_then(serde_json::from_value::<Grant>);
    let grant = grant.map_err(|error| {
        wrong(error.to_string(), "correct its Grant; `tamis check` shows where")
    })?;
    let ca = grant.imports.http_client.as_ref().and_then(|client| client.ca.as_deref());
    if let Some(Err(why)) = ca.map(crate::fetch::check_authorities) {
        let remedy = "write the authorities' certificates there, as they stand in their file";
        return Err(wrong(why, remedy));
    }
    Ok(grant)
}

pub(crate) fn allowed(
    plan: &FilterPlan,
    inspection: &Inspection,
    grant: &Grant,
) -> Result<(), TrustRefusal> {
    let lacks = check_imports(&plan.filter, inspection, grant).map_err(EngineError::from);
    let over = || check_ceilings(&plan.filter, grant).map_err(EngineError::from);
    let unkept = || check_scopes(&plan.filter, grant).map_err(EngineError::from);
    lacks.and_then(|()| over()).and_then(|()| unkept()).map_err(|error| refusal(&error))?;
    match plan.world {
        Some(world) => fulfils(&plan.filter, world, inspection),
        None => Ok(()),
    }
}

/// Checks that a component implements the world that its Filter document names: it has the characteristic
/// hook, and no hook beyond the world (`wit/worlds.wit`).
fn fulfils(filter: &str, world: World, inspection: &Inspection) -> Result<(), TrustRefusal> {
    let (needs, may): (&[Hook], &[Hook]) = match world {
        World::Authorizer => (&[Hook::Request], &[Hook::Connection]),
        World::RefreshingAuthorizer => (&[Hook::Request], &[Hook::Tick, Hook::Connection]),
        World::HeadPolicy => (&[], &[Hook::Request, Hook::Response, Hook::Trailers]),
        World::Transformer => {
            let bodies = &[
                Hook::Request,
                Hook::RequestBody,
                Hook::Response,
                Hook::ResponseBody,
                Hook::Trailers,
            ];
            (&[], bodies)
        }
        World::RoutePolicy => (&[Hook::Router], &[]),
        World::RetryPolicy => (&[Hook::Retry], &[]),
        World::HedgePolicy => (&[Hook::Hedge], &[]),
        World::BreakerPolicy => (&[Hook::CircuitBreaker], &[]),
        World::BalancePolicy => (&[Hook::Balancer], &[]),
        World::TelemetryPolicy => (&[Hook::Telemetry], &[]),
        World::ConnectionPolicy => (&[Hook::Connection], &[]),
        World::MeteringPolicy => (&[Hook::Finished], &[Hook::Request, Hook::Trailers]),
        World::Everything => return Ok(()),
    };
    let lacks = needs.iter().find(|hook| !inspection.has(**hook));
    let beyond = inspection.hooks.iter().find(|hook| !needs.contains(hook) && !may.contains(hook));
    let why = match (lacks, beyond) {
        (Some(hook), _) => format!("it does not export `{}`", hook.as_str()),
        (None, Some(hook)) => format!("it also exports `{}`", hook.as_str()),
        (None, None) => return Ok(()),
    };
    Err(TrustRefusal {
        code: "filter.world",
        rule: format!("the component of {filter} does not implement the world {world}: {why}"),
        set_by: "the proxy".to_owned(),
        remedy: "correct `world` of its Filter, or pin the intended component".to_owned(),
    })
}

/// A value for every secret that the grants of these plans name, for a check whether a filter would run: the caller does
/// not have the secrets of a proxy, and without values a filter that opens one in `configure` would be refused.
#[must_use]
pub fn stand_ins<'a>(plans: impl IntoIterator<Item = &'a FilterPlan>) -> HashMap<String, Vec<u8>> {
    let grants = plans.into_iter().filter_map(|plan| plan.grant.imports.get("secrets"));
    let names = grants.filter_map(|grant| grant.get("names")?.as_array()).flatten();
    names.filter_map(|name| Some((name.as_str()?.to_owned(), STAND_IN.to_vec()))).collect()
}

/// What stands in for a secret: nobody's.
const STAND_IN: &[u8] = b"stand-in";

/// A refusal of the engine, with who set the rule and the way out.
#[must_use]
pub fn refusal(error: &EngineError) -> TrustRefusal {
    let (set_by, remedy) = match error {
        EngineError::Start(_) => ("the engine", "run the proxy where memory can be reserved"),
        EngineError::Invalid { .. } | EngineError::Compile(_) | EngineError::Instantiate { .. } => {
            ("the engine", "build the filter for this host, or pin another version")
        }
        EngineError::Grant(_) | EngineError::Field { .. } => {
            ("its grant", "grant it, or pin a version that needs less")
        }
        EngineError::Ceiling(_) => ("the proxy", "lower the value in its grant"),
        EngineError::Scope(_) => ("the proxy", "write `scope: proxy` in its grant"),
        EngineError::Interest { .. } | EngineError::Configure { .. } => {
            ("the filter", CONFIG_REMEDY)
        }
        EngineError::SelfTest { .. } => {
            ("the self-test", "raise the limits of its grant, or pin another version")
        }
    };
    TrustRefusal {
        code: error.code(),
        rule: error.to_string(),
        set_by: set_by.to_owned(),
        remedy: remedy.to_owned(),
    }
}

//! Whether a component may run in its place, before it is compiled: what its manifest claims of it, the imports that its
//! grant covers, the limits of this host, and the world that its Filter document names.

use std::collections::HashMap;
use tamis_engine::{
    CallFault, EngineError, Grant, GrantPlace, Hook, InspectedComponent, Inspection,
    check_ceilings, check_imports, check_scopes, inspect,
};
use tamis_resources::CONFIG_REMEDY;
use tamis_resources::plan::{FilterPlan, World};
use tamis_trust::{Manifest, Refused, code};

/// Compares the imports and exports a manifest's config claims with those of the component's bytes: who
/// reviews a filter by its manifest must have reviewed what runs.
///
/// # Errors
/// [`Refused`] with `trust.claims` and the claim that is false.
pub fn check_claims(manifest: &Manifest, inspection: &Inspection) -> Result<(), Refused> {
    inspection.check_claims(manifest.imports(), manifest.exports()).map_err(|claim| Refused {
        code: code::CLAIMS.into(),
        rule: format!("the manifest must claim the imports and exports of its component: {claim}"),
        set_by: "the artifact format".to_owned(),
        remedy: "build the manifest from the component with `tamis filter sign`".to_owned(),
    })
}

/// Whether a manifest describes its component: nothing is compiled for it.
///
/// # Errors
/// [`Refused`] with `trust.format` when the component is no filter, with `trust.claims` when a claim is false.
pub fn check_manifest(manifest: &Manifest, component: &[u8]) -> Result<(), Refused> {
    let inspection = inspect(component).map_err(|error| Refused {
        code: code::FORMAT.into(),
        rule: format!("the component must be a filter ({error})"),
        set_by: "the artifact format".to_owned(),
        remedy: "build it again; `tamis filter inspect` shows what the file is".to_owned(),
    })?;
    check_claims(manifest, &inspection)
}

/// A refusal of the proxy: a rule with its evidence, and the way out.
pub(crate) fn by_proxy(code: &'static str, rule: impl Into<String>, remedy: &str) -> Refused {
    Refused::new(code, rule, "the proxy", remedy)
}

/// Decides, before a component is compiled, whether a proxy would refuse it in the place of this plan: for an
/// import that its grant does not cover, a grant beyond the limits of a host, or another world.
///
/// # Errors
/// [`Refused`] in the words of the proxy.
pub fn check_allowed(component: &[u8], plan: &FilterPlan) -> Result<(), Refused> {
    let grant = granted(plan)?;
    let inspection = inspect(component).map_err(|error| refusal(&error))?;
    allowed(plan, &inspection, &grant)
}

/// The grant of a plan.
///
/// # Errors
/// [`Refused`] when a part of it cannot be used.
fn granted(plan: &FilterPlan) -> Result<Grant, Refused> {
    let wrong = |rule: String, remedy: &str| by_proxy("grant.format", rule, remedy);
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

/// A component that can be a filter. What may not run is not compiled, which may take a minute: this is known before.
///
/// # Errors
/// [`Refused`] when the bytes are no component for this host.
pub(crate) fn inspected(component: &[u8]) -> Result<InspectedComponent<'_>, Refused> {
    InspectedComponent::new(component).map_err(|error| refusal(&error))
}

/// Whether a component may run in the place of a plan: its manifest describes it, and what it imports is granted. Returns
/// the grant.
///
/// # Errors
/// [`Refused`] with the first rule that it breaks.
pub(crate) fn admitted(
    plan: &FilterPlan,
    manifest: &[u8],
    inspection: &Inspection,
) -> Result<Grant, Refused> {
    let grant = granted(plan)?;
    let manifest = Manifest::parse(manifest).map_err(|error| {
        let remedy = "sign and push it again with `tamis filter sign`";
        by_proxy("trust.format", error.to_string(), remedy)
    })?;
    check_claims(&manifest, inspection)?;
    allowed(plan, inspection, &grant)?;
    Ok(grant)
}

fn allowed(plan: &FilterPlan, inspection: &Inspection, grant: &Grant) -> Result<(), Refused> {
    let lacks = check_imports(&plan.filter, inspection, grant).map_err(EngineError::from);
    let over = || check_ceilings(&plan.filter, grant).map_err(EngineError::from);
    let unkept = || check_scopes(&plan.filter, grant).map_err(EngineError::from);
    lacks.and_then(|()| over()).and_then(|()| unkept()).map_err(|error| refusal(&error))?;
    match plan.world {
        Some(world) => fulfils(&plan.filter, world, inspection),
        None => Ok(()),
    }
}

/// Why a component does not implement a world; `None`: it has the characteristic hook, and no hook beyond the world
/// (`wit/worlds.wit`).
fn misfit(world: World, inspection: &Inspection) -> Option<String> {
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
        World::Everything => return None,
    };
    let lacks = needs.iter().find(|hook| !inspection.has(**hook));
    let beyond = inspection.hooks.iter().find(|hook| !needs.contains(hook) && !may.contains(hook));
    match (lacks, beyond) {
        (Some(hook), _) => {
            Some(format!("exports no `{}`, which every filter of that world has", hook.as_str()))
        }
        (None, Some(hook)) => {
            Some(format!("also exports `{}`, which that world does not have", hook.as_str()))
        }
        (None, None) => None,
    }
}

/// Checks that a component implements the world that its Filter document names.
fn fulfils(filter: &str, world: World, inspection: &Inspection) -> Result<(), Refused> {
    let Some(why) = misfit(world, inspection) else { return Ok(()) };
    let fitting = WORLDS.iter().filter(|world| misfit(**world, inspection).is_none());
    let fitting: Vec<String> = fitting.map(|world| format!("`world: {world}`")).collect();
    let change = match fitting.as_slice() {
        [] => {
            let hooks: Vec<&str> = inspection.hooks.iter().map(|hook| hook.as_str()).collect();
            format!(
                "no world has all that it exports ({}): build a filter for each world",
                hooks.join(", ")
            )
        }
        some => format!("write {} in the Filter", some.join(" or ")),
    };
    let rule = format!("the Filter {filter} has `world: {world}`, but its component {why}");
    let remedy = format!(
        "{change}; if it is the wrong component, pin the right one: in a folder with `tamis filter sign COMPONENT --name {filter} … --pin`, at a registry with `tamis pin`"
    );
    Err(Refused::new("filter.world", rule, format!("the Filter {filter}"), remedy))
}

/// The worlds that a message proposes; nobody's filter needs `everything`.
const WORLDS: [World; 12] = [
    World::Authorizer,
    World::RefreshingAuthorizer,
    World::HeadPolicy,
    World::Transformer,
    World::RoutePolicy,
    World::RetryPolicy,
    World::HedgePolicy,
    World::BreakerPolicy,
    World::BalancePolicy,
    World::TelemetryPolicy,
    World::ConnectionPolicy,
    World::MeteringPolicy,
];

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
pub fn refusal(error: &EngineError) -> Refused {
    let (set_by, remedy) = match error {
        EngineError::Start(_) => ("the engine", "run the proxy where memory can be reserved"),
        EngineError::Invalid { .. } | EngineError::Compile(_) | EngineError::Instantiate { .. } => {
            ("the engine", "build the filter for this host, or pin another version")
        }
        EngineError::Grant(_) | EngineError::Field { .. } => {
            let remedy = error.grant_remedy(GrantPlace::Document).unwrap_or_default();
            return Refused::new(error.code(), error.to_string(), "its Grant", remedy);
        }
        EngineError::Ceiling(_) => ("the proxy", "lower the value in its grant"),
        EngineError::Scope(_) => ("the proxy", "write `scope: proxy` in its grant"),
        EngineError::Interest { .. } => {
            ("the contract", "correct what its `configure` returns, or pin another version")
        }
        EngineError::Configure { .. } => ("the filter", CONFIG_REMEDY),
        // The fault itself names the limit or the part of the grant.
        EngineError::SelfTest {
            fault: CallFault::Deadline { .. } | CallFault::Memory { .. } | CallFault::BadAnswer(_),
            ..
        } => ("its self-test", "otherwise pin another version"),
        EngineError::SelfTest { .. } => {
            ("its self-test", "correct the filter, or pin another version")
        }
    };
    Refused::new(error.code(), error.to_string(), set_by, remedy)
}

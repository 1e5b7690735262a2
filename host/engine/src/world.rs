//! The worlds of the contract (`wit/worlds.wit`), and whether a component implements the one that its Filter document names.

use crate::{Hook, Inspection};
use std::fmt;
use tamis_resources::plan::World;

/// A component that does not implement the world of its Filter document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorldMismatch {
    /// The name of the Filter.
    pub filter: String,
    /// The world that it names.
    pub world: World,
    /// What the component lacks or has in addition.
    why: String,
    hooks: Vec<&'static str>,
    /// The worlds that it implements.
    fitting: Vec<World>,
}

impl fmt::Display for WorldMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { filter, world, why, .. } = self;
        write!(f, "the Filter {filter} has `world: {world}`, but its component {why}")
    }
}

impl std::error::Error for WorldMismatch {}

impl WorldMismatch {
    /// What to write or to pin instead.
    #[must_use]
    pub fn remedy(&self) -> String {
        let Self { filter, hooks, fitting, .. } = self;
        let fitting: Vec<String> =
            fitting.iter().map(|world| format!("`world: {world}`")).collect();
        let change = match fitting.as_slice() {
            [] => format!(
                "no world has all that it exports ({}): build a filter for each world",
                hooks.join(", ")
            ),
            some => format!("write {} in the Filter", some.join(" or ")),
        };
        format!(
            "{change}; if the component is the wrong one, pin the right one: in a folder of `tamis up` with `tamis filter sign COMPONENT --name {filter} --version VERSION --key .tamis/keys/local-dev.key --store .tamis/store --pin .tamis/filters.lock.yaml`, where a registry directs the proxies with `tamis pin SERVICE {filter}@VERSION`"
        )
    }
}

/// Checks that a component implements the world that its Filter document names.
///
/// # Errors
/// [`WorldMismatch`] when it lacks the hook that every filter of that world has, or has a hook beyond it.
pub(crate) fn check_world(
    filter: &str,
    world: World,
    inspection: &Inspection,
) -> Result<(), WorldMismatch> {
    let Some(why) = misfit(world, inspection) else { return Ok(()) };
    let fitting = WORLDS.into_iter().filter(|world| misfit(*world, inspection).is_none()).collect();
    let hooks = inspection.hooks.iter().map(|hook| hook.as_str()).collect();
    Err(WorldMismatch { filter: filter.to_owned(), world, why, hooks, fitting })
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

//! Cached verdicts of routers on the routes of all owners.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tamis_resources::plan::FilterPlan;
use tamis_resources::{RouteFault, RouteVerdicts, ValidationFaults};

/// The most routers whose verdicts are kept.
const MAX_ROUTERS: usize = 16;

/// Verdicts of routers on routes, those asked last at the end. Without them, each change of anybody would ask about every
/// faulty route of all others again.
#[derive(Default)]
pub(crate) struct Routers(Mutex<VecDeque<(String, RouteVerdicts)>>);

impl Routers {
    /// As [`RouteVerdicts::sound_routes`]. It may take seconds; others do not wait for it.
    pub(crate) fn sound_routes(
        &self,
        plan: &FilterPlan,
        validate: &mut dyn FnMut(&Value) -> ValidationFaults,
    ) -> (Value, Vec<RouteFault>) {
        let settings = plan.config.get("config");
        let router =
            json!([plan.digest, plan.world, plan.grant, plan.covers, settings]).to_string();
        let mut verdicts = self.take(&router);
        let result = verdicts.sound_routes(&router, &plan.config, validate);
        let mut kept = self.kept();
        kept.retain(|(of, _)| *of != router);
        if kept.len() >= MAX_ROUTERS {
            kept.pop_front();
        }
        kept.push_back((router, verdicts));
        result
    }

    fn take(&self, router: &str) -> RouteVerdicts {
        let mut kept = self.kept();
        let at = kept.iter().position(|(of, _)| of == router);
        at.and_then(|at| kept.remove(at)).map(|(_, verdicts)| verdicts).unwrap_or_default()
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<(String, RouteVerdicts)>> {
        // What is in it is complete at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

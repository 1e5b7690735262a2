//! Whether a component may run in the place of a plan, before it is compiled, which may take a minute: its imports and its
//! grant, the limits of this host, and the world that its Filter document names.

use crate::world::check_world;
use crate::{EngineError, Grant, Inspection, check_ceilings, check_imports, check_scopes};
use tamis_resources::plan::FilterPlan;

impl Grant {
    /// The grant of a plan.
    ///
    /// # Errors
    /// [`EngineError::GrantFormat`] when it cannot be read.
    pub fn of_plan(plan: &FilterPlan) -> Result<Self, EngineError> {
        let grant = serde_json::to_value(&plan.grant).and_then(serde_json::from_value::<Self>);
        grant.map_err(|error| EngineError::GrantFormat(error.to_string()))
    }
}

/// Checks whether a component may run in the place of a plan with its grant.
///
/// # Errors
/// [`EngineError`] for an import that the grant does not cover, a grant beyond the limits of this host, a scope that it
/// cannot keep, or another world.
pub fn check_admission(
    plan: &FilterPlan,
    inspection: &Inspection,
    grant: &Grant,
) -> Result<(), EngineError> {
    check_imports(&plan.filter, inspection, grant)?;
    check_ceilings(&plan.filter, grant)?;
    check_scopes(&plan.filter, grant)?;
    match plan.world {
        Some(world) => Ok(check_world(&plan.filter, world, inspection).map_err(Box::new)?),
        None => Ok(()),
    }
}

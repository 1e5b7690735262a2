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

/// The proof that a component may run with a grant: no filter is made without one, so that a grant is checked once, and by
/// everybody.
#[derive(Debug, Clone)]
pub struct Admission {
    pub(crate) grant: Grant,
    /// The component that the grant covers; `None`: any.
    pub(crate) component: Option<Inspection>,
}

impl Admission {
    /// Any component, with everything that this host gives anybody: for trials, with no host reachable.
    pub fn everything() -> Self {
        Self { grant: Grant::everything(), component: None }
    }

    /// A component with a grant that is of no plan, as in a trial. `filter` is its name in errors.
    ///
    /// # Errors
    /// Those of [`check_admission`], but for the world.
    pub fn of_grant(
        filter: &str,
        inspection: &Inspection,
        grant: Grant,
    ) -> Result<Self, EngineError> {
        check_imports(filter, inspection, &grant)?;
        check_ceilings(filter, &grant)?;
        check_scopes(filter, &grant)?;
        Ok(Self { grant, component: Some(inspection.clone()) })
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
    grant: Grant,
) -> Result<Admission, EngineError> {
    let admission = Admission::of_grant(&plan.filter, inspection, grant)?;
    if let Some(world) = plan.world {
        check_world(&plan.filter, world, inspection).map_err(Box::new)?;
    }
    Ok(admission)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Contract;
    use crate::grant::CAPABILITIES;

    #[test]
    fn everything_passes_the_checks_of_a_component_that_imports_all() {
        let imports = CAPABILITIES.map(str::to_owned).to_vec();
        let inspection = Inspection {
            contract: Contract::NEWEST,
            hooks: Vec::new(),
            imports,
            wasi: Vec::new(),
            others: Vec::new(),
            size: 0,
        };
        let everything = Admission::everything();
        let checked = Admission::of_grant("a/b", &inspection, everything.grant.clone()).unwrap();
        assert_eq!(checked.grant, everything.grant);
        let error = Admission::of_grant("a/b", &inspection, Grant::default()).unwrap_err();
        assert_eq!(error.code(), "grant.import");
    }
}

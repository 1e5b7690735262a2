//! Inspects components for the control plane, which has no engine of its own.

use tamis_api::GrowthView;
use tamis_resources::plan::FilterPlan;
use tamis_server::{ComponentExaminer, Faults};
use tamis_trust::{Manifest, Refused};

mod claims;
mod code;
mod growth;
mod validate;

/// The engine of this binary.
pub(crate) struct RegistryEngine;

impl ComponentExaminer for RegistryEngine {
    fn check_claims(&self, manifest: &Manifest, component: &[u8]) -> Result<(), Refused> {
        claims::check_claims(manifest, component)
    }

    fn validate(&self, component: &[u8], plan: &FilterPlan) -> Result<(), Box<Faults>> {
        validate::validate(component, plan)
    }

    fn capabilities_added(
        &self,
        before: &[u8],
        after: &[u8],
        configs: &[String],
    ) -> Vec<GrowthView> {
        growth::capabilities_added(before, after, configs)
    }
}

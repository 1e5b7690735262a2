//! Inspects components for the control plane, which has no engine of its own.

use tamis_api::GrowthView;
use tamis_resources::plan::FilterPlan;
use tamis_server::{ComponentExaminer, Faults};
use tamis_trust::{Manifest, Refused, code};

mod growth;
mod validate;

/// The engine of this binary.
pub(crate) struct RegistryEngine;

impl ComponentExaminer for RegistryEngine {
    fn check_claims(&self, manifest: &Manifest, component: &[u8]) -> Result<(), Refused> {
        let inspection = tamis_engine::inspect(component).map_err(|error| Refused {
            code: code::FORMAT.into(),
            rule: format!("the component must be a filter ({error})"),
            set_by: "the artifact format".to_owned(),
            remedy: "build it again; `tamis filter inspect` shows what the file is".to_owned(),
        })?;
        let claims = inspection.check_claims(manifest.imports(), manifest.exports());
        claims.map_err(|claim| tamis_node::false_claim(&claim))
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

//! Inspection of components, which the caller provides.

use tamis_api::GrowthView;
use tamis_resources::ValidationFaults;
use tamis_resources::plan::FilterPlan;
use tamis_trust::{Manifest, Refused};

/// Why a filter would not run as planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// The refusal of a proxy.
    pub refused: Refused,
    /// The faults of the configuration, each with its place in it; empty when something else is at fault.
    pub places: ValidationFaults,
}

impl Faults {
    /// The faults, each with a place: without one, it is the whole configuration.
    pub(crate) fn places(self) -> ValidationFaults {
        if self.places.is_empty() {
            return vec![(String::new(), self.refused.rule)];
        }
        self.places
    }
}

/// Inspects components. It is called on a thread that may block.
pub trait ComponentExaminer: Send + Sync + 'static {
    /// Whether the manifest describes the component.
    ///
    /// # Errors
    /// The broken rule.
    fn check_claims(&self, manifest: &Manifest, component: &[u8]) -> Result<(), Refused>;

    /// Whether a filter would run as planned: with its grant, in its world, with its configuration according
    /// to its own `validate`. What depends on the machine of a proxy (time, memory, secrets, hosts that can be
    /// reached) is left to the proxies. Accepts everything unless implemented.
    ///
    /// # Errors
    /// [`Faults`], in the words of a proxy.
    fn validate(&self, _component: &[u8], _plan: &FilterPlan) -> Result<(), Box<Faults>> {
        Ok(())
    }

    /// What `after` may do and `before` could not, under each of these configurations.
    fn capabilities_added(
        &self,
        before: &[u8],
        after: &[u8],
        configs: &[String],
    ) -> Vec<GrowthView>;
}

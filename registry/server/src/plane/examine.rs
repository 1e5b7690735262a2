//! Inspection of components, which the caller provides.

use tamis_api::Grown;
use tamis_resources::Verdict;
use tamis_resources::plan::FilterPlan;
use tamis_trust::{Manifest, Refused};

/// Inspects components. It is called on a thread that may block.
pub trait Examine: Send + Sync + 'static {
    /// Whether the manifest describes the component.
    ///
    /// # Errors
    /// The broken rule.
    fn claims(&self, manifest: &Manifest, component: &[u8]) -> Result<(), Refused>;

    /// The result of the filter's own `validate` for its configuration, within its grant. Empty when it
    /// accepts it, or cannot be called.
    fn validate(&self, _component: &[u8], _plan: &FilterPlan) -> Verdict {
        Verdict::new()
    }

    /// What `after` may do and `before` could not, under each of these configurations.
    fn grown(&self, before: &[u8], after: &[u8], configs: &[String]) -> Vec<Grown>;
}

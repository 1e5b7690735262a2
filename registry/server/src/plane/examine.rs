//! What a component may do, told by somebody who can look into it.

use tamis_api::Grown;
use tamis_resources::Verdict;
use tamis_resources::plan::FilterPlan;
use tamis_trust::{Manifest, Refused};

/// Looks into components. It is asked off the way of other requests, on a thread that may block.
pub trait Examine: Send + Sync + 'static {
    /// Whether the manifest says of the component what it is.
    ///
    /// # Errors
    /// The rule that it breaks.
    fn claims(&self, manifest: &Manifest, component: &[u8]) -> Result<(), Refused>;

    /// What the filter itself says of the configuration it would run with: its own `validate`, within its grant. Nothing
    /// when it takes it, and when nobody can ask.
    fn validate(&self, _component: &[u8], _plan: &FilterPlan) -> Verdict {
        Verdict::new()
    }

    /// What `after` may do that `before` could not, under each of these configurations.
    fn grown(&self, before: &[u8], after: &[u8], configs: &[String]) -> Vec<Grown>;
}

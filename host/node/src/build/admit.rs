//! Whether a component may be compiled for a slot: its manifest describes it, and what it imports is granted.

use crate::fetch::check_granted_authorities;
use crate::refusal_text::{false_claim, refusal};
use tamis_engine::{Admission, Grant, Inspection, check_admission};
use tamis_proxy::Refused;
use tamis_resources::plan::FilterPlan;
use tamis_trust::Manifest;

/// The proof that a component may run in the place of a plan.
///
/// # Errors
/// [`Refused`] with the first rule that it breaks.
pub(super) fn admitted(
    plan: &FilterPlan,
    manifest: &Manifest,
    inspection: &Inspection,
) -> Result<Admission, Refused> {
    let grant = Grant::of_plan(plan).map_err(|error| refusal(&error))?;
    check_granted_authorities(&grant)?;
    let claims = inspection.check_claims(manifest.imports(), manifest.exports());
    claims.map_err(|claim| false_claim(&claim))?;
    check_admission(plan, inspection, grant).map_err(|error| refusal(&error))
}

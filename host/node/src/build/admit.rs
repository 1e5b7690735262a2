//! Whether a component may be compiled for a slot: its manifest describes it, and what it imports is granted.

use crate::fetch::check_granted_authorities;
use crate::refusal_text::{by_proxy, false_claim, refusal};
use tamis_engine::{Grant, Inspection, check_admission};
use tamis_proxy::Refused;
use tamis_resources::plan::FilterPlan;
use tamis_trust::Manifest;

/// The grant with which a component may run in the place of a plan.
///
/// # Errors
/// [`Refused`] with the first rule that it breaks.
pub(super) fn admitted(
    plan: &FilterPlan,
    manifest: &[u8],
    inspection: &Inspection,
) -> Result<Grant, Refused> {
    let grant = Grant::of_plan(plan).map_err(|error| refusal(&error))?;
    check_granted_authorities(&grant)?;
    let manifest = Manifest::parse(manifest).map_err(|error| {
        let remedy = "sign and push it again with `tamis filter sign`";
        by_proxy("trust.format", error.to_string(), remedy)
    })?;
    let claims = inspection.check_claims(manifest.imports(), manifest.exports());
    claims.map_err(|claim| false_claim(&claim))?;
    check_admission(plan, inspection, &grant).map_err(|error| refusal(&error))?;
    Ok(grant)
}

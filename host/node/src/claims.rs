//! Compares the claims of a manifest with its component.

use tamis_engine::Inspection;
use tamis_trust::{Manifest, TrustRefusal, code};

/// Compares the imports and exports a manifest's config claims with those of the component's bytes: who
/// reviews a filter by its manifest must have reviewed what runs.
///
/// # Errors
/// [`TrustRefusal`] with `trust.claims` and the claim that is false.
pub fn check_claims(manifest: &Manifest, inspection: &Inspection) -> Result<(), TrustRefusal> {
    inspection.check_claims(manifest.imports(), manifest.exports()).map_err(|claim| TrustRefusal {
        code: code::CLAIMS,
        rule: format!("the manifest must claim the imports and exports of its component: {claim}"),
        set_by: "the artifact format".to_owned(),
        remedy: "build the manifest from the component with `tamis filter sign`".to_owned(),
    })
}

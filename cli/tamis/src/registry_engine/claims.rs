//! Compares what an artifact says of its component with the component.

use super::code::inspection;
use tamis_trust::{Manifest, Refused, code};

/// Whether the component has the imports and exports that its manifest states, and no others.
///
/// # Errors
/// The first claim that differs from the component; or the component is not a filter.
pub(super) fn check_claims(manifest: &Manifest, component: &[u8]) -> Result<(), Refused> {
    let inspection = inspection(component).map_err(|error| Refused {
        code: code::FORMAT.into(),
        rule: format!("the component must be a filter ({error})"),
        set_by: "the artifact format".to_owned(),
        remedy: "build it again; `tamis filter inspect` shows what the file is".to_owned(),
    })?;
    let claims = inspection.check_claims(manifest.imports(), manifest.exports());
    claims.map_err(|claim| tamis_node::false_claim(&claim))
}

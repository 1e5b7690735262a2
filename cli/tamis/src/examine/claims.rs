//! Whether a manifest describes its component.

use tamis_node::check_claims;
use tamis_trust::{Manifest, Refused, code as rule};

pub(super) fn check(manifest: &Manifest, component: &[u8]) -> Result<(), Refused> {
    let inspection = tamis_engine::inspect(component).map_err(|error| Refused {
        code: rule::FORMAT.into(),
        rule: format!("the component must be a filter ({error})"),
        set_by: "the artifact format".to_owned(),
        remedy: "build it again; `tamis filter inspect` shows what the file is".to_owned(),
    })?;
    check_claims(manifest, &inspection)
}

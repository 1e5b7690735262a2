//! What a component may do that another could not.

use tamis_api::GrowthView;
use tamis_engine::{Authority, AuthorityGrowth, Declaration, DeclaredAccess};

use super::code::code;
use crate::filter::configured_from;

pub(super) fn capabilities_added(
    before: &[u8],
    after: &[u8],
    configs: &[String],
) -> Vec<GrowthView> {
    let mut grown: Vec<AuthorityGrowth> = Vec::new();
    for config in configs {
        match (authority(before, config), authority(after, config)) {
            (Some(before), Some(after)) => grown.extend(after.grows_beyond(&before)),
            // An artifact that is not a component was refused earlier; it could not do anything.
            _ => continue,
        }
    }
    grown.sort();
    grown.dedup();
    let grown = grown.into_iter();
    grown.map(|one| GrowthView { kind: one.kind.as_str().to_owned(), what: one.what }).collect()
}

fn authority(component: &[u8], config: &str) -> Option<Authority> {
    let inspection = tamis_engine::inspect(component).ok()?;
    let filter = match code().map(|code| code.compile(component)) {
        None => Err("this process has no engine".to_owned()),
        Some(Err(error)) => Err(error.to_string()),
        Some(Ok(compiled)) => configured_from(&compiled, config),
    };
    let declaration = match filter {
        Ok(filter) => Declaration::Known(DeclaredAccess::of(&filter)),
        Err(why) => Declaration::Unknown(why),
    };
    Some(Authority::new(&inspection, declaration))
}

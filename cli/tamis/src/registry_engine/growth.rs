//! What a component may do that another could not.

use tamis_api::GrowthView;
use tamis_engine::{
    Authority, AuthorityGrowth, CompiledComponent, Declaration, DeclaredAccess, Inspection,
};

use super::code::{code, inspection};
use crate::filter::configured_from;

pub(super) fn capabilities_added(
    before: &[u8],
    after: &[u8],
    configs: &[String],
) -> Vec<GrowthView> {
    // An artifact that is not a component was refused earlier; it could not do anything.
    let (Ok(inspected_before), Ok(inspected_after)) = (inspection(before), inspection(after))
    else {
        return Vec::new();
    };
    // Neither is configured before both are compiled: each configuration runs both.
    let before = ComparedComponent { inspection: inspected_before, code: compiled(before) };
    let after = ComparedComponent { inspection: inspected_after, code: compiled(after) };
    let grown = configs.iter().map(|config| (before.authority(config), after.authority(config)));
    let grown = grown.map(|(before, after)| after.grows_beyond(&before));
    let mut grown: Vec<AuthorityGrowth> = grown.flatten().collect();
    grown.sort();
    grown.dedup();
    let grown = grown.into_iter();
    grown.map(|one| GrowthView { kind: one.kind.as_str().to_owned(), what: one.what }).collect()
}

/// A component that is compared with another.
struct ComparedComponent {
    inspection: Inspection,
    /// Its machine code, or why there is none.
    code: Result<CompiledComponent, String>,
}

fn compiled(component: &[u8]) -> Result<CompiledComponent, String> {
    let code = code().ok_or("this process has no engine")?;
    code.compile(component).map_err(|error| error.to_string())
}

impl ComparedComponent {
    fn authority(&self, config: &str) -> Authority {
        let filter = match &self.code {
            Ok(compiled) => configured_from(compiled, config),
            Err(why) => Err(why.clone()),
        };
        let declaration = match filter {
            Ok(filter) => Declaration::Known(DeclaredAccess::of(&filter)),
            Err(why) => Declaration::Unknown(why),
        };
        Authority::new(&self.inspection, declaration)
    }
}

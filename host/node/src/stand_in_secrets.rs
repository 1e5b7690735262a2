//! What stands in for the secrets of a proxy where a filter is only tried.

use std::collections::HashMap;
use tamis_resources::plan::FilterPlan;

/// A value for every secret that the grants of these plans name, for a check whether a filter would run: the caller does
/// not have the secrets of a proxy, and without values a filter that opens one in `configure` would be refused.
#[must_use]
pub fn stand_ins<'a>(plans: impl IntoIterator<Item = &'a FilterPlan>) -> HashMap<String, Vec<u8>> {
    let grants = plans.into_iter().filter_map(|plan| plan.grant.imports.get("secrets"));
    let names = grants.filter_map(|grant| grant.get("names")?.as_array()).flatten();
    names.filter_map(|name| Some((name.as_str()?.to_owned(), STAND_IN.to_vec()))).collect()
}

/// What stands in for a secret: nobody's.
const STAND_IN: &[u8] = b"stand-in";

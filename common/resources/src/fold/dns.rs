//! The DNS that a sidecar answers.

use std::collections::BTreeSet;

use super::ports::mesh_name;
use super::{Fold, PlannedProxy, usable_addresses};
use crate::plan::DnsPlan;

impl<'a> Fold<'a> {
    /// The DNS that a sidecar answers.
    pub(super) fn dns(&self, place: &PlannedProxy<'a>) -> Option<DnsPlan> {
        let addresses = usable_addresses(&place.capture()?.dns);
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let outside: BTreeSet<String> =
            self.externals(place).into_iter().map(|it| it.host).collect();
        let name = |key: &String| match key.contains('/') {
            true => Some(mesh_name(key)),
            false => outside.get(key).cloned(),
        };
        let names = self.virtual_addresses.iter();
        let names = names.filter_map(|(key, it)| Some((name(key)?, it.to_string()))).collect();
        (!addresses.is_empty()).then_some(DnsPlan { addresses, names })
    }
}

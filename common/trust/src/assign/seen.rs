//! The highest assignments that a node has seen, so that it never returns to an older one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Assignment;

/// The highest version seen of each slot of each service. A node keeps it on disk and passes
/// [`VersionFloors::floor`] to the verifier; the file is `{"SERVICE":{"SLOT":VERSION}}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VersionFloors(BTreeMap<String, BTreeMap<String, u64>>);

impl VersionFloors {
    /// The highest version seen; 0 when there was no assignment yet.
    #[must_use]
    pub fn floor(&self, service: &str, slot: &str) -> u64 {
        self.0.get(service).and_then(|slots| slots.get(slot)).copied().unwrap_or(0)
    }

    /// Records a verified assignment. Returns whether that changed anything, so that the file must be
    /// written; a version below the recorded one changes nothing.
    pub fn take(&mut self, assignment: &Assignment) -> bool {
        if assignment.version <= self.floor(&assignment.service, &assignment.slot) {
            return false;
        }
        let slots = self.0.entry(assignment.service.clone()).or_default();
        slots.insert(assignment.slot.clone(), assignment.version);
        true
    }
}

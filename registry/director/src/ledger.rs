//! The ledger of assignments.

use std::collections::BTreeMap;

use tamis_trust::MAX_EPOCH;

use crate::pins::ALL;
use crate::record::AssignmentRecord;

/// For each slot of each service, the newest assignment of every lane that a node may still be in.
///
/// A lane is the group that an assignment is for: the nodes of a rollout's waves, or all others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    slots: BTreeMap<(String, String), Slot>,
    /// Epochs by service; `*` is that of all services.
    epochs: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The highest version of any lane, including forgotten ones.
    pub(crate) highest: u64,
    /// The highest version of forgotten lanes.
    floor: u64,
    lanes: BTreeMap<Option<String>, AssignmentRecord>,
}

impl Ledger {
    /// Records an assignment.
    ///
    /// Fails, and changes nothing, when its version does not rise: nodes would refuse it.
    pub(crate) fn take(&mut self, assigned: AssignmentRecord) -> Result<(), String> {
        let slot = self.slots.entry((assigned.service.clone(), assigned.slot.clone())).or_default();
        if assigned.version <= slot.highest {
            return Err(format!(
                "version {} of slot {} of {} does not rise above {}; draft it again",
                assigned.version, assigned.slot, assigned.service, slot.highest
            ));
        }
        slot.highest = assigned.version;
        slot.lanes.insert(assigned.rollout.clone(), assigned);
        Ok(())
    }

    pub(crate) fn slot(&self, service: &str, slot: &str) -> Option<&Slot> {
        self.slots.get(&(service.to_owned(), slot.to_owned()))
    }

    /// Begins an epoch.
    ///
    /// Fails, and changes nothing, when it does not rise, or exceeds the room in versions.
    pub(crate) fn raise(&mut self, service: &str, epoch: u64) -> Result<(), String> {
        let now = self.epoch(service);
        if epoch <= now || epoch > MAX_EPOCH {
            return Err(format!("epoch {epoch} of {service} must be {} to {MAX_EPOCH}", now + 1));
        }
        self.epochs.insert(service.to_owned(), epoch);
        Ok(())
    }

    /// The epoch of a service; 0 at its beginning.
    pub(crate) fn epoch(&self, service: &str) -> u64 {
        let of = |service: &str| self.epochs.get(service).copied().unwrap_or(0);
        of(service).max(of(ALL))
    }

    /// Forgets the lanes of a rollout that is over, but not their versions.
    pub(crate) fn forget(&mut self, rollout: &str) {
        for slot in self.slots.values_mut() {
            if let Some(lane) = slot.lanes.remove(&Some(rollout.to_owned())) {
                slot.floor = slot.floor.max(lane.version);
            }
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &AssignmentRecord> {
        self.slots.values().flat_map(|slot| slot.lanes.values())
    }
}

impl Slot {
    pub(crate) fn lane(&self, rollout: Option<&str>) -> Option<&AssignmentRecord> {
        self.lanes.get(&rollout.map(str::to_owned))
    }

    /// The highest version of lanes that no node is in any more, when `alive` is the only rollout that
    /// lifts nodes. Nodes that were in one of them refuse lower versions.
    pub(crate) fn dead(&self, alive: Option<&str>) -> u64 {
        let dead = self.lanes.iter().filter(|(lane, _)| lane.is_some() && lane.as_deref() != alive);
        dead.map(|(_, assigned)| assigned.version).fold(self.floor, u64::max)
    }
}

//! The ledger of assignments.

use std::collections::BTreeMap;

use tamis_trust::{MAX_EPOCH, first_version};

use crate::order::{Lane, SlotOrder};
use crate::pins::ALL;
use crate::record::AssignmentRecord;

/// For each slot of each service, the newest assignment of every lane that a node may still be in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AssignmentLedger {
    slots: BTreeMap<(String, String), SlotAssignments>,
    /// Epochs by service; `*` is that of all services.
    epochs: BTreeMap<String, u64>,
}

/// The assignments of a slot, by rollout.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct SlotAssignments {
    /// The highest version of any lane, including forgotten ones.
    highest: u64,
    /// The highest version of forgotten lanes.
    highest_forgotten: u64,
    lanes: BTreeMap<Option<String>, AssignmentRecord>,
}

impl AssignmentLedger {
    /// Records an assignment.
    ///
    /// Fails, and changes nothing, when its version does not rise: nodes would refuse it.
    pub(crate) fn record(&mut self, assigned: AssignmentRecord) -> Result<(), String> {
        let slot = self.slots.entry((assigned.service.clone(), assigned.slot.clone())).or_default();
        if assigned.version <= slot.highest {
            return Err(format!(
                "the assignment of slot {1} of {2} has version {0}, which is not above {3}, the highest so far; draft it again",
                assigned.version, assigned.slot, assigned.service, slot.highest
            ));
        }
        slot.highest = assigned.version;
        slot.lanes.insert(assigned.rollout.clone(), assigned);
        Ok(())
    }

    /// The assignment of a lane, if it matches the order, has at least this version, and is valid past `until`.
    pub(crate) fn current(
        &self,
        service: &str,
        lane: &Lane,
        order: &SlotOrder,
        min_version: u64,
        until: u64,
    ) -> Option<&AssignmentRecord> {
        let assigned = self.slot(service, &lane.slot)?.lanes.get(&lane.rollout)?;
        let same = assigned.filter == order.filter
            && assigned.digest == order.digest
            && assigned.config == order.config
            && assigned.mode == order.mode;
        (same && assigned.version >= min_version && assigned.expires > until).then_some(assigned)
    }

    /// The lowest version that every node of a lane accepts: above everything that one of them may have, and above earlier
    /// epochs. `base` is the version of an assignment about to be made for the nodes outside rollouts.
    pub(crate) fn min_version(
        &self,
        service: &str,
        lane: &Lane,
        active_rollout: Option<&str>,
        base: Option<u64>,
    ) -> u64 {
        let known = self.slot(service, &lane.slot);
        let abandoned = known.map_or(0, |known| known.highest_abandoned(active_rollout));
        let outside = match lane.rollout {
            None => 0,
            Some(_) => known.and_then(|known| known.lanes.get(&None)).map_or(0, |one| one.version),
        };
        let base = base.filter(|_| lane.rollout.is_some()).unwrap_or(0);
        let highest = abandoned.max(outside).max(base).max(self.epoch_floor(service));
        highest.saturating_add(1)
    }

    /// The highest version of any lane of a slot; 0 without any.
    pub(crate) fn highest(&self, service: &str, slot: &str) -> u64 {
        self.slot(service, slot).map_or(0, |known| known.highest)
    }

    fn slot(&self, service: &str, slot: &str) -> Option<&SlotAssignments> {
        self.slots.get(&(service.to_owned(), slot.to_owned()))
    }

    /// Begins an epoch.
    ///
    /// Fails, and changes nothing, when it does not rise, or exceeds the room in versions.
    pub(crate) fn begin_epoch(&mut self, service: &str, epoch: u64) -> Result<(), String> {
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

    /// Below every version of the epoch of a service: assignments up to it no longer count.
    pub(crate) fn epoch_floor(&self, service: &str) -> u64 {
        first_version(self.epoch(service))
    }

    /// Forgets the lanes of a rollout that is over, but not their versions.
    pub(crate) fn forget(&mut self, rollout: &str) {
        for slot in self.slots.values_mut() {
            if let Some(lane) = slot.lanes.remove(&Some(rollout.to_owned())) {
                slot.highest_forgotten = slot.highest_forgotten.max(lane.version);
            }
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &AssignmentRecord> {
        self.slots.values().flat_map(|slot| slot.lanes.values())
    }
}

impl SlotAssignments {
    /// The highest version of lanes that no node is in any more, when `active_rollout` is the only rollout that
    /// moves nodes. Nodes that were in one of them refuse lower versions.
    fn highest_abandoned(&self, active_rollout: Option<&str>) -> u64 {
        let abandoned = self
            .lanes
            .iter()
            .filter(|(rollout, _)| rollout.is_some() && rollout.as_deref() != active_rollout);
        abandoned.map(|(_, one)| one.version).fold(self.highest_forgotten, u64::max)
    }
}

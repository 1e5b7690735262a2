//! The room for instances that all filters of a process share, and who takes how much of it.
//!
//! A filter takes room for the instances that its workers need when it is made, and is refused if there is none: what runs
//! already keeps its room, so that an instance that failed can always be replaced. Instances of calls that wait take room
//! one by one, from a part of their own. Nobody may take more than is left for others.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What instances take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct InstanceNeeds {
    pub(crate) instances: u32,
    pub(crate) memories: u32,
    pub(crate) tables: u32,
}

impl InstanceNeeds {
    /// Of `count` instances.
    pub(crate) fn times(self, count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.each(Self { instances: count, memories: count, tables: count }, u32::saturating_mul)
    }

    fn each(self, other: Self, of: fn(u32, u32) -> u32) -> Self {
        Self {
            instances: of(self.instances, other.instances),
            memories: of(self.memories, other.memories),
            tables: of(self.tables, other.tables),
        }
    }

    /// The first that exceeds what `other` has: its name, and both numbers.
    fn beyond(self, other: Self) -> Option<(&'static str, u32, u32)> {
        let pairs = [
            ("instances", self.instances, other.instances),
            ("memories", self.memories, other.memories),
            ("tables", self.tables, other.tables),
        ];
        pairs.into_iter().find(|(_, needs, has)| needs > has)
    }
}

/// Whose instances these are, and how many workers call them.
#[derive(Debug, Clone)]
pub(crate) struct InstanceOwner {
    /// The namespace of an attachment.
    pub(crate) name: Arc<str>,
    pub(crate) workers: usize,
}

impl Default for InstanceOwner {
    fn default() -> Self {
        Self { name: Arc::from(""), workers: 1 }
    }
}

/// Why there is no room: what is short, and whose share it exceeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomShortage {
    owner: Arc<str>,
    what: &'static str,
    needs: u32,
    held: u32,
    left: u32,
}

impl std::error::Error for RoomShortage {}

impl fmt::Display for RoomShortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, what, needs, held, left } = self;
        write!(
            f,
            "there is no room for its instances: they need {needs} {what}, filters attached in `{owner}` hold {held}, and {left} are left, of which a namespace may take no more than it leaves for others"
        )
    }
}

/// A part of the room.
#[derive(Debug)]
pub(crate) struct InstanceRoom {
    total: InstanceNeeds,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: InstanceNeeds,
    owners: HashMap<Arc<str>, InstanceNeeds>,
}

impl InstanceRoom {
    pub(crate) fn new(total: InstanceNeeds) -> Arc<Self> {
        Arc::new(Self { total, held: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes room until the result is dropped.
    ///
    /// # Errors
    /// There is none, or the owner would hold more than it leaves.
    pub(crate) fn take(
        self: &Arc<Self>,
        owner: &Arc<str>,
        needs: InstanceNeeds,
    ) -> Result<RoomShare, RoomShortage> {
        let mut held = self.lock();
        let left = self.total.each(held.all, u32::saturating_sub);
        let own = held.owners.get(owner).copied().unwrap_or_default();
        let after = (own.each(needs, u32::saturating_add), left.each(needs, u32::saturating_sub));
        // Either rule names what is short.
        if let Some(what) = needs.beyond(left).or_else(|| after.0.beyond(after.1)) {
            let of = |each: InstanceNeeds| match what.0 {
                "instances" => each.instances,
                "memories" => each.memories,
                _ => each.tables,
            };
            let (owner, what) = (Arc::clone(owner), what.0);
            let (needs, held, left) = (of(needs), of(own), of(left));
            return Err(RoomShortage { owner, what, needs, held, left });
        }
        held.all = held.all.each(needs, u32::saturating_add);
        held.owners.insert(Arc::clone(owner), after.0);
        drop(held);
        Ok(RoomShare { room: Arc::clone(self), owner: Arc::clone(owner), needs })
    }
}

/// Room that somebody holds.
#[derive(Debug)]
pub(crate) struct RoomShare {
    room: Arc<InstanceRoom>,
    owner: Arc<str>,
    needs: InstanceNeeds,
}

impl Drop for RoomShare {
    fn drop(&mut self) {
        let mut held = self.room.lock();
        held.all = held.all.each(self.needs, u32::saturating_sub);
        if let Some(own) = held.owners.get_mut(&self.owner) {
            *own = own.each(self.needs, u32::saturating_sub);
            if *own == InstanceNeeds::default() {
                held.owners.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: InstanceNeeds = InstanceNeeds { instances: 1, memories: 1, tables: 2 };

    fn room(instances: u32, memories: u32, tables: u32) -> Arc<InstanceRoom> {
        InstanceRoom::new(InstanceNeeds { instances, memories, tables })
    }

    #[test]
    fn who_takes_much_is_refused_first_and_what_others_hold_stays_theirs() {
        // What is short, by the size of each kind of room.
        for (size, what) in [
            ((16, 1_000, 1_000), "instances"),
            ((1_000, 16, 1_000), "memories"),
            ((1_000, 1_000, 32), "tables"),
        ] {
            let room = room(size.0, size.1, size.2);
            let (greedy, other): (Arc<str>, Arc<str>) = ("greedy".into(), "other".into());
            let mut held = Vec::new();
            let refused = loop {
                match room.take(&greedy, ONE) {
                    Ok(share) => held.push(share),
                    Err(refused) => break refused,
                }
            };
            assert_eq!((held.len(), refused.what), (8, what));
            let text = refused.to_string();
            assert!(text.contains("`greedy`") && text.contains(what), "{text}");
            // Another has room, also for the next generation of what it has, while the first gets none.
            let first = room.take(&other, ONE.times(2)).unwrap();
            let second = room.take(&other, ONE.times(2)).unwrap();
            assert!(room.take(&greedy, ONE).is_err());
            drop((first, second));
            // What is given back can be taken again.
            held.pop();
            held.push(room.take(&greedy, ONE).unwrap());
        }
    }

    proptest! {
        #[test]
        fn all_together_never_exceed_the_room(takes in prop::collection::vec((0_usize..4, 0_usize..9, any::<bool>()), 0..200)) {
            let room = room(64, 80, 120);
            let owners: Vec<Arc<str>> = ["a", "b", "c", "d"].map(Arc::from).to_vec();
            let mut held = Vec::new();
            for (owner, count, gives) in takes {
                if gives {
                    held.pop();
                } else if let Ok(share) = room.take(&owners[owner], ONE.times(count)) {
                    held.push(share);
                }
                let all = room.lock().all;
                prop_assert_eq!(all.beyond(room.total), None);
            }
            held.clear();
            prop_assert!(room.lock().owners.is_empty());
            prop_assert_eq!(room.lock().all, InstanceNeeds::default());
        }
    }
}

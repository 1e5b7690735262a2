//! How many of the places of something each caller has, so that none takes them all from the others.

use crate::lock::lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The places that each caller has; a caller without any has no entry.
#[derive(Debug, Default)]
pub struct CallerShares(Mutex<BTreeMap<Arc<str>, u32>>);

impl CallerShares {
    /// The share of one caller of so many places: half of them, and at least one.
    pub fn share(most: u32) -> u32 {
        (most / 2).max(1)
    }

    /// Counts a place for a caller until [`Self::leave`]; `false`: it has `share` of them already.
    pub fn join(&self, caller: &Arc<str>, share: u32) -> bool {
        let mut callers = lock(&self.0);
        let count = callers.get(caller).copied().unwrap_or_default();
        if count >= share {
            return false;
        }
        callers.insert(Arc::clone(caller), count.saturating_add(1));
        true
    }

    /// A place of a caller is free again.
    pub fn leave(&self, caller: &Arc<str>) {
        let mut callers = lock(&self.0);
        match callers.get_mut(caller) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                callers.remove(caller);
            }
        }
    }

    /// Whether nobody has any.
    pub fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }
}

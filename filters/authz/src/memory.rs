//! Decisions by combination, at most as many as set.

use std::collections::HashMap;
use std::rc::Rc;

use crate::judge::Ruling;

/// Longest combination that is kept, in bytes: free policies look at whole paths.
const MAX_KEY: usize = 1024;

/// Two generations of decisions: when the young one is full, it becomes the old one, and what nobody asked for since is
/// forgotten.
#[derive(Debug, Default)]
pub struct Memory {
    half: usize,
    young: HashMap<Box<[u8]>, Rc<Ruling>>,
    old: HashMap<Box<[u8]>, Rc<Ruling>>,
}

impl Memory {
    /// For that many combinations.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { half: most / 2, ..Self::default() }
    }

    /// The decision of a combination, made if it is not remembered.
    pub fn get(&mut self, key: &[u8], make: impl FnOnce() -> Ruling) -> Rc<Ruling> {
        if let Some(known) = self.young.get(key) {
            return Rc::clone(known);
        }
        let ruling = self.old.remove(key).unwrap_or_else(|| Rc::new(make()));
        if key.len() > MAX_KEY || self.half == 0 {
            return ruling;
        }
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key.into(), Rc::clone(&ruling));
        ruling
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

//! The Merkle tree of RFC 6962 §2.1, with the hash of every complete subtree stored.

use super::LogError;
use super::tile::TILE_WIDTH;
use crate::Hash;

/// A tree that only grows. Roots and proofs of any size up to its own cost a number of steps logarithmic in the size.
///
/// `levels[k][i]` is the hash over the leaves `i * 2^k .. (i + 1) * 2^k`, for every `i` whose leaves are all there.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// A tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| count(leaves))
    }

    /// Adds a leaf, given its [`Hash::leaf`].
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let Some(hashes) = self.levels.get_mut(level) else { return };
            hashes.push(hash);
            match hashes.as_slice() {
                [.., left, right] if hashes.len().is_multiple_of(2) => {
                    hash = Hash::node(left, right);
                }
                _ => return,
            }
        }
    }

    /// The root over the first `size` leaves; for 0 it is the hash of the empty string.
    ///
    /// # Errors
    /// [`LogError::Size`] when the tree is smaller.
    pub fn root(&self, size: u64) -> Result<Hash, LogError> {
        self.has(size)?;
        if size == 0 { Ok(Hash::of(b"")) } else { self.over(0, size) }
    }

    /// `PATH(index, D[size])` of RFC 6962 §2.1.1: the siblings from the leaf up.
    ///
    /// # Errors
    /// [`LogError::Size`] when the tree is smaller, [`LogError::Index`] when `index` is not below `size`.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, LogError> {
        self.has(size)?;
        if index >= size {
            return Err(LogError::Index { index, size });
        }
        let (mut start, mut end) = (0, size);
        let mut path = Vec::new();
        // From the root down, so in reverse order.
        while end.saturating_sub(start) > 1 {
            let middle = middle(start, end);
            if index < middle {
                path.push(self.over(middle, end)?);
                end = middle;
            } else {
                path.push(self.over(start, middle)?);
                start = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// `PROOF(old, D[new])` of RFC 6962 §2.1.2. Empty when both are equal or `old` is 0: then there is
    /// nothing to prove.
    ///
    /// # Errors
    /// [`LogError::Size`] when the tree is smaller than `new`, or `new` than `old`.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, LogError> {
        self.has(new)?;
        if old > new {
            return Err(LogError::Size { asked: old, size: new });
        }
        let mut path = Vec::new();
        if old == 0 || old == new {
            return Ok(path);
        }
        let (mut start, mut end) = (0, new);
        while end != old {
            let middle = middle(start, end);
            if old <= middle {
                path.push(self.over(middle, end)?);
                end = middle;
            } else {
                path.push(self.over(start, middle)?);
                start = middle;
            }
        }
        // The verifier knows the old root, which is not part of the proof.
        if start != 0 {
            path.push(self.over(start, end)?);
        }
        path.reverse();
        Ok(path)
    }

    /// The hashes of a tile; `None` when the tree has not grown that far.
    pub(super) fn tile(&self, level: u8, index: u64, width: u16) -> Option<&[Hash]> {
        let hashes = self.levels.get(usize::from(level) * 8)?;
        let first = usize::try_from(index).ok()?.checked_mul(usize::from(TILE_WIDTH))?;
        hashes.get(first..first.checked_add(usize::from(width))?)
    }

    /// The hash over the leaves `start..end`, where `start` is the result of splits.
    fn over(&self, start: u64, end: u64) -> Result<Hash, LogError> {
        let width = end.saturating_sub(start);
        if width.is_power_of_two() {
            let level = width.trailing_zeros();
            let index = usize::try_from(start >> level).ok();
            let hashes = self.levels.get(usize::try_from(level).unwrap_or(usize::MAX));
            let hash = hashes.zip(index).and_then(|(hashes, index)| hashes.get(index));
            return hash.copied().ok_or(LogError::Size { asked: end, size: self.size() });
        }
        let middle = middle(start, end);
        Ok(Hash::node(&self.over(start, middle)?, &self.over(middle, end)?))
    }

    fn has(&self, size: u64) -> Result<(), LogError> {
        let there = self.size();
        if size > there { Err(LogError::Size { asked: size, size: there }) } else { Ok(()) }
    }
}

/// Where the tree over the leaves `start..end` is cut (`k` of RFC 6962 §2.1): the left part has the largest power of two
/// below their number.
fn middle(start: u64, end: u64) -> u64 {
    let below = end.saturating_sub(start).saturating_sub(1);
    below.checked_ilog2().map_or(end, |power| start.saturating_add(1 << power))
}

fn count(hashes: &[Hash]) -> u64 {
    u64::try_from(hashes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

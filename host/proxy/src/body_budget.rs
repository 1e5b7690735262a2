//! Memory for bodies that filters see whole, bounded for all exchanges of a proxy together.
//!
//! A filter's grant bounds one body. Clients choose how many there are at once, and how slowly they arrive.

use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of bodies that a proxy holds for filters at once.
pub(crate) const BODIES_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// What is left of that memory.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    left: AtomicU64,
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self::of(BODIES_MAX_BYTES)
    }
}

impl BodyBudget {
    /// So many bytes.
    pub(crate) fn of(bytes: u64) -> Self {
        Self { left: bytes.into() }
    }

    fn take(&self, bytes: u64) -> bool {
        let less = |left: u64| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A body that is read whole. Its bytes are taken from the budget until their memory is given back, wherever they are by
/// then.
#[derive(Debug)]
pub(crate) struct GatheredBody {
    octets: BytesMut,
    taken: u64,
    budget: Arc<BodyBudget>,
}

/// The budget has no room for more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BudgetSpent;

impl GatheredBody {
    pub(crate) fn new(budget: &Arc<BodyBudget>) -> Self {
        Self { octets: BytesMut::new(), taken: 0, budget: Arc::clone(budget) }
    }

    pub(crate) fn len(&self) -> usize {
        self.octets.len()
    }

    /// Adds a piece.
    ///
    /// # Errors
    /// [`BudgetSpent`]; what was added before stays.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), BudgetSpent> {
        let bytes = piece.len() as u64;
        if !self.budget.take(bytes) {
            return Err(BudgetSpent);
        }
        self.taken = self.taken.saturating_add(bytes);
        self.octets.extend_from_slice(piece);
        Ok(())
    }

    /// The whole body.
    pub(crate) fn freeze(self) -> Bytes {
        if self.octets.is_empty() { Bytes::new() } else { Bytes::from_owner(self) }
    }
}

impl AsRef<[u8]> for GatheredBody {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

impl Drop for GatheredBody {
    fn drop(&mut self) {
        self.budget.give_back(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_what_there_is_and_give_it_back_with_their_memory() {
        let budget = Arc::new(BodyBudget::of(10));
        let (mut one, mut other) = (GatheredBody::new(&budget), GatheredBody::new(&budget));
        assert_eq!((one.push(b"123456"), other.push(b"1234")), (Ok(()), Ok(())));
        assert_eq!((one.push(b"7"), other.push(b"")), (Err(BudgetSpent), Ok(())));
        assert_eq!(one.len(), 6);
        // A part of it keeps all of it.
        let part = one.freeze().slice(2..3);
        drop(other);
        let mut third = GatheredBody::new(&budget);
        assert_eq!((third.push(b"12345"), third.push(b"1234")), (Err(BudgetSpent), Ok(())));
        assert_eq!(part, "3");
        drop(part);
        assert_eq!(third.push(b"123456"), Ok(()));
        assert_eq!(third.freeze(), "1234123456");
        assert_eq!(budget.left.load(Ordering::Relaxed), 10);
        assert!(GatheredBody::new(&budget).freeze().is_empty());
    }
}

//! Memory for bodies that filters see whole, or hold a part of, bounded for all exchanges of a proxy together.
//!
//! A filter's grant bounds one body. Clients choose how many there are at once, and how slowly they arrive. So one sender may
//! have as much as it leaves to others: alone half of all, with another one a third each. Whoever opens connection after
//! connection and sends the last octets never keeps nobody else from having a body looked at.

use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of bodies that a proxy holds for filters at once.
pub(crate) const BODIES_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Whose bodies they are: an address, or of IPv6 the network of 64 bits that somebody has whole. `None`: peers without an
/// address, such as those of a Unix socket, all together.
pub(crate) type BodySender = Option<IpAddr>;

/// The sender with that `source.address`.
pub(crate) fn sender(address: Option<&str>) -> BodySender {
    Some(match address?.parse().ok()? {
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => address.into(),
            None => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        },
        address @ IpAddr::V4(_) => address,
    })
}

/// What is left of that memory, and who has the rest.
#[derive(Debug)]
pub(crate) struct BodyBudget(Mutex<BodyShares>);

#[derive(Debug)]
struct BodyShares {
    left: u64,
    /// Those who have something.
    taken: HashMap<BodySender, u64>,
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self::of(BODIES_MAX_BYTES)
    }
}

impl BodyBudget {
    /// So many bytes.
    pub(crate) fn of(bytes: u64) -> Self {
        Self(Mutex::new(BodyShares { left: bytes, taken: HashMap::new() }))
    }

    fn take(&self, sender: BodySender, bytes: u64) -> bool {
        let mut shares = self.shares();
        let own = shares.taken.get(&sender).copied().unwrap_or_default().saturating_add(bytes);
        let Some(left) = shares.left.checked_sub(bytes).filter(|left| own <= *left) else {
            return false;
        };
        shares.left = left;
        if own > 0 {
            shares.taken.insert(sender, own);
        }
        true
    }

    fn give_back(&self, sender: BodySender, bytes: u64) {
        let mut shares = self.shares();
        shares.left = shares.left.saturating_add(bytes);
        if let Some(own) = shares.taken.get_mut(&sender) {
            *own = own.saturating_sub(bytes);
            if *own == 0 {
                shares.taken.remove(&sender);
            }
        }
    }

    fn shares(&self) -> MutexGuard<'_, BodyShares> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the memory for the bodies of an exchange comes from.
#[derive(Debug, Clone)]
pub(crate) struct BodyRoom {
    budget: Arc<BodyBudget>,
    sender: BodySender,
}

impl BodyRoom {
    pub(crate) fn new(budget: &Arc<BodyBudget>, sender: BodySender) -> Self {
        Self { budget: Arc::clone(budget), sender }
    }
}

/// A body, or a part of one, that is kept for filters. Its bytes are taken from the budget until their memory is given back,
/// wherever they are by then.
#[derive(Debug)]
pub(crate) struct GatheredBody {
    octets: BytesMut,
    taken: u64,
    room: BodyRoom,
}

/// The budget has no room for more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BudgetSpent;

impl GatheredBody {
    pub(crate) fn new(room: BodyRoom) -> Self {
        Self { octets: BytesMut::new(), taken: 0, room }
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
        if !self.room.budget.take(self.room.sender, bytes) {
            return Err(BudgetSpent);
        }
        self.taken = self.taken.saturating_add(bytes);
        self.octets.extend_from_slice(piece);
        Ok(())
    }

    /// What was added, which leaves this empty.
    pub(crate) fn take(&mut self) -> Bytes {
        let empty = Self::new(self.room.clone());
        std::mem::replace(self, empty).freeze()
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
        if self.taken > 0 {
            self.room.budget.give_back(self.room.sender, self.taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDERS: [&str; 5] = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1", "unix"];

    fn body(budget: &Arc<BodyBudget>, address: &str) -> GatheredBody {
        GatheredBody::new(BodyRoom::new(budget, sender(Some(address))))
    }

    fn left(budget: &BodyBudget) -> (u64, usize) {
        let shares = budget.shares();
        (shares.left, shares.taken.len())
    }

    #[test]
    fn bodies_share_what_there_is_and_give_it_back_with_their_memory() {
        let budget = Arc::new(BodyBudget::of(20));
        let [mut one, mut other] = [(); 2].map(|()| body(&budget, SENDERS[0]));
        assert_eq!((one.push(b"123456"), other.push(b"1234")), (Ok(()), Ok(())));
        assert_eq!((one.push(b"7"), other.push(b"")), (Err(BudgetSpent), Ok(())));
        assert_eq!(one.len(), 6);
        // A part of it keeps all of it.
        let part = one.take().slice(2..3);
        assert_eq!((one.len(), one.push(b"1")), (0, Err(BudgetSpent)));
        drop(other);
        assert_eq!((one.push(b"12345"), one.push(b"1234")), (Err(BudgetSpent), Ok(())));
        assert_eq!(part, "3");
        drop(part);
        assert_eq!(one.push(b"123456"), Ok(()));
        assert_eq!(one.freeze(), "1234123456");
        assert_eq!(left(&budget), (20, 0));
        assert!(body(&budget, SENDERS[0]).freeze().is_empty());
    }

    #[test]
    fn a_sender_leaves_as_much_to_others_as_it_has_however_many_bodies_it_sends() {
        for (piece, bodies) in [(1, 1), (1, 10_000), (100, 100), (999, 2)] {
            let budget = Arc::new(BodyBudget::of(1_000));
            let octets = vec![b'x'; piece];
            let fill = |address: &str| -> (Vec<GatheredBody>, u64) {
                let mut all: Vec<_> = (0..bodies).map(|_| body(&budget, address)).collect();
                // Large pieces first, then the gaps between them.
                for octets in [&octets[..], b"x"] {
                    for one in &mut all {
                        while one.push(octets).is_ok() {}
                    }
                }
                let taken = all.iter().map(|one| one.taken).sum();
                (all, taken)
            };
            let (mut kept, mut shares) = (Vec::new(), Vec::new());
            for address in SENDERS {
                let (bodies, taken) = fill(address);
                kept.push(bodies);
                shares.push(taken);
            }
            // Half of all, half of the rest, and so on: each finds room, whoever came before.
            assert_eq!(shares, [500, 250, 125, 62, 31], "{piece} × {bodies}");
            drop(kept);
            assert_eq!(left(&budget), (1_000, 0));
        }
    }

    #[test]
    fn a_sender_is_an_address_or_what_somebody_has_of_ipv6() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("unix", "unix", true),
            ("unix", "192.0.2.1", false),
        ] {
            assert_eq!(sender(Some(one)) == sender(Some(other)), same, "{one} {other}");
        }
        assert_eq!(sender(None), None);
    }
}

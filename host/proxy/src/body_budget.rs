//! Memory for bodies that filters see whole, or hold a part of, bounded for all exchanges of a proxy together.
//!
//! A filter's grant bounds one body. Clients choose how many there are at once, and how slowly they arrive. So one sender may
//! have as much as it leaves to others: alone half of all, with another one a third each. Whoever opens connection after
//! connection and sends the last octets never keeps nobody else from having a body looked at. Behind a proxy of the mesh the
//! same holds for its clients among themselves: the proxy says whose requests it sends, and can divide its own share alone.

use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tamis_exchange::{Fault, Refusal};

/// Bytes of bodies that a proxy holds for filters at once.
pub(crate) const BODIES_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Octets of a body that need no room: an exchange itself takes more.
const UNCOUNTED: usize = 4_096;

/// Whose bodies they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct BodySender {
    /// The client of this proxy. `None`: peers without an address, such as those of a Unix socket, all together.
    client: Option<IpAddr>,
    /// The client of that client, which is a proxy of the mesh and says so.
    behind: Option<IpAddr>,
}

impl BodySender {
    /// The sender with that `source.address`.
    pub(crate) fn new(address: Option<&str>) -> Self {
        Self { client: owner(address), behind: None }
    }

    /// The first sender of a list of addresses (`x-forwarded-for`), whose last one is a proxy of the mesh.
    pub(crate) fn behind(self, list: Option<&str>) -> Self {
        let first = list.and_then(|list| list.split(',').next()).map(str::trim);
        Self { behind: owner(first), ..self }
    }
}

/// Who has an address: of IPv6 the network of 64 bits that somebody has whole.
pub(crate) fn owner(address: Option<&str>) -> Option<IpAddr> {
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
    /// What clients have, those behind them included, and what each behind them has.
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
        let then = |shares: &BodyShares, sender| {
            shares.taken.get(&sender).copied().unwrap_or_default().saturating_add(bytes)
        };
        let client = BodySender { behind: None, ..sender };
        let own = then(&shares, client);
        let Some(left) = shares.left.checked_sub(bytes).filter(|left| own <= *left) else {
            return false;
        };
        if sender != client {
            // What the client could still take: each octet that it takes leaves one less to others.
            let its_left = (left - own) / 2;
            let own = then(&shares, sender);
            if own > its_left {
                return false;
            }
            shares.note(sender, own);
        }
        shares.note(client, own);
        shares.left = left;
        true
    }

    fn give_back(&self, sender: BodySender, bytes: u64) {
        let mut shares = self.shares();
        shares.left = shares.left.saturating_add(bytes);
        let client = BodySender { behind: None, ..sender };
        for one in std::iter::once(client).chain((sender != client).then_some(sender)) {
            let own = shares.taken.get(&one).copied().unwrap_or_default();
            shares.note(one, own.saturating_sub(bytes));
        }
    }

    fn shares(&self) -> MutexGuard<'_, BodyShares> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BodyShares {
    fn note(&mut self, sender: BodySender, bytes: u64) {
        match bytes {
            0 => drop(self.taken.remove(&sender)),
            _ => drop(self.taken.insert(sender, bytes)),
        }
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

    /// What a filter wrote in place of a body or a part of one, or as an answer. Clients choose how long it is kept.
    ///
    /// # Errors
    /// [`BudgetSpent`]; nothing is kept.
    pub(crate) fn keep(&self, octets: Vec<u8>) -> Result<Bytes, BudgetSpent> {
        if octets.len() <= UNCOUNTED {
            return Ok(octets.into());
        }
        let taken = self.take(octets.len() as u64)?;
        Ok(Bytes::from_owner(WrittenBody { octets, _taken: taken }))
    }

    /// Room for octets that are kept elsewhere.
    ///
    /// # Errors
    /// [`BudgetSpent`].
    pub(crate) fn take(&self, bytes: u64) -> Result<TakenRoom, BudgetSpent> {
        let is_there = self.budget.take(self.sender, bytes);
        is_there.then(|| TakenRoom { bytes, room: self.clone() }).ok_or(BudgetSpent)
    }
}

/// Room that is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct TakenRoom {
    bytes: u64,
    room: BodyRoom,
}

impl Drop for TakenRoom {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.room.budget.give_back(self.room.sender, self.bytes);
        }
    }
}

/// What a filter wrote, and the room for it.
struct WrittenBody {
    octets: Vec<u8>,
    _taken: TakenRoom,
}

impl AsRef<[u8]> for WrittenBody {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

/// A body, or a part of one, that is kept for filters. Its bytes are taken from the budget until their memory is given back,
/// wherever they are by then.
#[derive(Debug)]
pub(crate) struct GatheredBody {
    octets: BytesMut,
    taken: TakenRoom,
}

/// The budget has no room for more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BudgetSpent;

impl GatheredBody {
    pub(crate) fn new(room: BodyRoom) -> Self {
        Self { octets: BytesMut::new(), taken: TakenRoom { bytes: 0, room } }
    }

    pub(crate) fn len(&self) -> usize {
        self.octets.len()
    }

    /// Where its memory comes from.
    pub(crate) fn room(&self) -> &BodyRoom {
        &self.taken.room
    }

    /// Adds a piece.
    ///
    /// # Errors
    /// [`BudgetSpent`]; what was added before stays.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), BudgetSpent> {
        let bytes = piece.len() as u64;
        let TakenRoom { bytes: taken, room } = &mut self.taken;
        if !room.budget.take(room.sender, bytes) {
            return Err(BudgetSpent);
        }
        *taken = taken.saturating_add(bytes);
        self.octets.extend_from_slice(piece);
        Ok(())
    }

    /// What was added, which leaves this empty.
    pub(crate) fn take(&mut self) -> Bytes {
        let empty = Self::new(self.room().clone());
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

/// The refusal of an exchange whose body has no room among those that filters see whole or hold.
pub(crate) fn no_room(code: &'static str) -> Refusal {
    let mib = BODIES_MAX_BYTES / (1024 * 1024);
    let detail = format!(
        "filters may hold {mib} MiB of bodies, and one client at most as much of that as is left for others"
    );
    Refusal::new(code, 503, Fault::Host, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDERS: [&str; 5] = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1", "unix"];

    fn body(budget: &Arc<BodyBudget>, address: &str) -> GatheredBody {
        GatheredBody::new(BodyRoom::new(budget, BodySender::new(Some(address))))
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
                let taken = all.iter().map(|one| one.taken.bytes).sum();
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
            let [found, wanted] = [one, other].map(|it| BodySender::new(Some(it)));
            assert_eq!(found == wanted, same, "{one} {other}");
        }
        assert_eq!(BodySender::new(None), BodySender::default());
    }

    #[test]
    fn clients_behind_a_proxy_leave_room_to_each_other_and_it_leaves_room_to_others() {
        let budget = Arc::new(BodyBudget::of(1_000));
        let room = |client: &str, list: &str| {
            BodyRoom::new(&budget, BodySender::new(Some(client)).behind(Some(list)))
        };
        let fill = |room: BodyRoom| {
            let mut body = GatheredBody::new(room);
            while body.push(b"x").is_ok() {}
            body
        };
        let behind = ["203.0.113.1, 192.0.2.1", "203.0.113.2", "2001:db8::1,x", "nobody"];
        let bodies = behind.map(|list| fill(room(SENDERS[0], list)));
        // Half of what the proxy may have, half of the rest, and so on; what names nobody is of the proxy itself.
        assert_eq!(bodies.each_ref().map(GatheredBody::len), [250, 125, 62, 63]);
        // Others are no worse off than beside one client.
        let other = fill(room(SENDERS[1], "203.0.113.1"));
        assert_eq!(other.len(), 125);
        drop((bodies, other));
        assert_eq!(left(&budget), (1_000, 0));
    }

    #[test]
    fn what_a_filter_writes_takes_room_until_its_memory_is_given_back() {
        let budget = Arc::new(BodyBudget::of(20_000));
        let room = BodyRoom::new(&budget, BodySender::new(Some(SENDERS[0])));
        let written = |bytes: usize| room.keep(vec![b'x'; bytes]);
        let small: Vec<_> = (0..100).map(|_| written(4_096)).collect();
        assert!(small.iter().all(Result::is_ok));
        assert_eq!(left(&budget), (20_000, 0));
        let large = written(8_000).unwrap();
        assert_eq!((written(8_000), left(&budget)), (Err(BudgetSpent), (12_000, 1)));
        let part = large.slice(7_000..);
        drop(large);
        assert_eq!(left(&budget), (12_000, 1));
        drop(part);
        assert_eq!(left(&budget), (20_000, 0));
    }
}

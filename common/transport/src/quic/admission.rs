//! Which handshakes a worker answers. A packet with a forged sender costs an attacker nothing and us a handshake, so with many of
//! them in progress a client first has to show that it receives what is sent to its address (RFC 9000 §8.1.2).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

/// Handshakes in progress from which on a client has to show its address first.
pub(super) const HANDSHAKES_UNPROVED_MAX: usize = 32;
/// Handshakes in progress at once.
pub(super) const HANDSHAKES_MAX: usize = 1_024;
/// Handshakes in progress of one address: whoever has shown it leaves the others to others. Senders that are forged have no more
/// than [`HANDSHAKES_UNPROVED_MAX`] together, so nobody takes those of somebody else.
pub(super) const HANDSHAKES_OF_ADDRESS_MAX: usize = 128;
/// Connections and handshakes of one address, of IPv6 a network of 64 bits.
pub(super) const OF_ADDRESS_MAX: usize = 1_024;

/// The decision about a new handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is answered.
    Answer,
    /// The client is asked to begin again with a token.
    Prove,
    /// It is refused.
    Refuse,
}

/// The connections and handshakes of a worker at one port.
#[derive(Debug, Default)]
pub(super) struct Places {
    handshakes: Cell<usize>,
    by_address: RefCell<HashMap<IpAddr, OfAddress>>,
}

/// What one address has.
#[derive(Debug, Clone, Copy, Default)]
struct OfAddress {
    /// Connections and handshakes.
    all: usize,
    handshakes: usize,
}

impl Places {
    /// The decision about a handshake of a client that has, or has not, shown that it has the address.
    pub(super) fn judge(&self, client: SocketAddr, proved: bool) -> Admission {
        let own = self.by_address.borrow().get(&counted(client.ip())).copied().unwrap_or_default();
        let handshakes = self.handshakes.get();
        if own.all >= OF_ADDRESS_MAX
            || own.handshakes >= HANDSHAKES_OF_ADDRESS_MAX
            || handshakes >= HANDSHAKES_MAX
        {
            return Admission::Refuse;
        }
        if proved || handshakes < HANDSHAKES_UNPROVED_MAX {
            return Admission::Answer;
        }
        Admission::Prove
    }

    /// Counts a handshake by the decision about it.
    pub(super) fn take(self: &Rc<Self>, client: SocketAddr) -> (HandshakePlace, AddressPlace) {
        let address = counted(client.ip());
        let mut by_address = self.by_address.borrow_mut();
        let own = by_address.entry(address).or_default();
        own.all = own.all.saturating_add(1);
        own.handshakes = own.handshakes.saturating_add(1);
        self.handshakes.set(self.handshakes.get().saturating_add(1));
        let handshake = HandshakePlace { places: Rc::clone(self), address };
        (handshake, AddressPlace { places: Rc::clone(self), address })
    }
}

/// The address by which a client is counted: whoever has one of IPv6 has a whole network of them.
fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

/// A handshake in progress.
#[derive(Debug)]
pub(super) struct HandshakePlace {
    places: Rc<Places>,
    address: IpAddr,
}

impl Drop for HandshakePlace {
    fn drop(&mut self) {
        self.places.handshakes.set(self.places.handshakes.get().saturating_sub(1));
        // An address without a connection or handshake is not known any more.
        if let Some(own) = self.places.by_address.borrow_mut().get_mut(&self.address) {
            own.handshakes = own.handshakes.saturating_sub(1);
        }
    }
}

/// A handshake or connection of an address.
#[derive(Debug)]
pub(super) struct AddressPlace {
    places: Rc<Places>,
    address: IpAddr,
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut by_address = self.places.by_address.borrow_mut();
        if let Some(own) = by_address.get_mut(&self.address) {
            own.all = own.all.saturating_sub(1);
            if own.all == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: usize) -> SocketAddr {
        let number = u32::try_from(number).unwrap();
        (std::net::Ipv4Addr::from(0x0a00_0000 + number), 1).into()
    }

    #[test]
    fn with_many_handshakes_in_progress_addresses_are_proved_and_then_refused() {
        let places = Rc::new(Places::default());
        let mut held = Vec::new();
        for number in 0..HANDSHAKES_MAX {
            let wanted =
                if number < HANDSHAKES_UNPROVED_MAX { Admission::Answer } else { Admission::Prove };
            assert_eq!(places.judge(client(number), false), wanted);
            assert_eq!(places.judge(client(number), true), Admission::Answer);
            held.push(places.take(client(number)));
        }
        assert_eq!(places.judge(client(9_999), true), Admission::Refuse);
        // Complete, they hold only their address.
        let connections: Vec<_> = held.into_iter().map(|(_, connection)| connection).collect();
        assert_eq!(places.judge(client(9_999), false), Admission::Answer);
        assert_eq!(places.by_address.borrow().len(), HANDSHAKES_MAX);
        drop(connections);
        assert!(places.by_address.borrow().is_empty());
    }

    #[test]
    fn an_address_has_so_many_connections_and_ipv6_counts_by_network() {
        let places = Rc::new(Places::default());
        let of = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let mut connections = Vec::new();
        for number in 0..OF_ADDRESS_MAX {
            let client = of(&format!("[2001:db8::{number:x}]:1"));
            assert_eq!(places.judge(client, true), Admission::Answer, "{number}");
            connections.push(places.take(client).1);
        }
        assert_eq!(places.judge(of("[2001:db8::ffff:1]:9"), true), Admission::Refuse);
        assert_eq!(places.judge(of("[2001:db8:0:1::1]:9"), true), Admission::Answer);
        assert_eq!(places.judge(of("192.0.2.1:9"), true), Admission::Answer);
        drop(connections);
        assert_eq!(places.judge(of("[2001:db8::1]:9"), true), Admission::Answer);
    }

    #[test]
    fn handshakes_that_one_address_leaves_open_are_a_part_of_all() {
        let places = Rc::new(Places::default());
        let slow: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let mut open = Vec::new();
        while places.judge(slow, true) == Admission::Answer {
            open.push(places.take(slow));
        }
        assert_eq!(open.len(), HANDSHAKES_OF_ADDRESS_MAX);
        for number in 0..100 {
            assert_eq!(places.judge(client(number), true), Admission::Answer, "{number}");
        }
        // One that is done leaves its place among the handshakes to the next.
        let (handshake, _connection) = open.pop().unwrap();
        drop(handshake);
        assert_eq!(places.judge(slow, true), Admission::Answer);
        drop(open);
        assert_eq!(places.handshakes.get(), 0);
    }
}

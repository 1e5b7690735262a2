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
/// Connections and handshakes of one address, of IPv6 a network of 64 bits.
pub(super) const OF_ADDRESS_MAX: usize = 1_024;

/// What becomes of a new handshake.
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
    by_address: RefCell<HashMap<IpAddr, usize>>,
}

impl Places {
    /// What becomes of a handshake of a client that has, or has not, shown that it has the address.
    pub(super) fn judge(&self, client: SocketAddr, proved: bool) -> Admission {
        let taken = self.by_address.borrow().get(&counted(client.ip())).copied().unwrap_or(0);
        let handshakes = self.handshakes.get();
        if taken >= OF_ADDRESS_MAX || handshakes >= HANDSHAKES_MAX {
            return Admission::Refuse;
        }
        if proved || handshakes < HANDSHAKES_UNPROVED_MAX {
            return Admission::Answer;
        }
        Admission::Prove
    }

    /// Counts a handshake, and what becomes of it.
    pub(super) fn take(self: &Rc<Self>, client: SocketAddr) -> (HandshakePlace, AddressPlace) {
        let address = counted(client.ip());
        let mut by_address = self.by_address.borrow_mut();
        let taken = by_address.entry(address).or_default();
        *taken = taken.saturating_add(1);
        self.handshakes.set(self.handshakes.get().saturating_add(1));
        let places = Rc::clone(self);
        (HandshakePlace(Rc::clone(self)), AddressPlace { places, address })
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
pub(super) struct HandshakePlace(Rc<Places>);

impl Drop for HandshakePlace {
    fn drop(&mut self) {
        self.0.handshakes.set(self.0.handshakes.get().saturating_sub(1));
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
        if let Some(taken) = by_address.get_mut(&self.address) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
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
        let connections: Vec<_> = (0..OF_ADDRESS_MAX)
            .map(|number| places.take(of(&format!("[2001:db8::{number:x}]:1"))).1)
            .collect();
        assert_eq!(places.judge(of("[2001:db8::ffff:1]:9"), true), Admission::Refuse);
        assert_eq!(places.judge(of("[2001:db8:0:1::1]:9"), true), Admission::Answer);
        assert_eq!(places.judge(of("192.0.2.1:9"), true), Admission::Answer);
        drop(connections);
        assert_eq!(places.judge(of("[2001:db8::1]:9"), true), Admission::Answer);
    }
}

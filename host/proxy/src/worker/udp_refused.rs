//! The clients of a UDP port in its worker whose sessions were refused a while ago.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// A client that was refused is asked about again this long after. Anybody can write any address into a datagram, so hooks
/// are not asked about each.
pub(super) const REFUSED_FOR: Duration = Duration::from_secs(1);
/// Clients that are known to be refused, and addresses; more make the first ones forgotten.
const REFUSED_MAX: usize = 1_024;
/// Ports of an address that are asked about in that time, if all of them are refused. A client has as many ports as it likes.
const PORTS_MAX: u32 = 16;

/// Those clients.
#[derive(Default)]
pub(super) struct RefusedClients {
    /// When each may be asked about again.
    clients: LastOnes<SocketAddr, Instant>,
    addresses: LastOnes<IpAddr, RefusedPorts>,
}

/// The refusals of an address.
#[derive(Clone, Copy)]
struct RefusedPorts {
    /// Until when they count.
    until: Instant,
    ports: u32,
}

impl RefusedClients {
    /// Whether a client was refused a while ago, or many ports of its address were.
    pub(super) fn is_refused(&self, client: SocketAddr, now: Instant) -> bool {
        self.clients.get(&client).is_some_and(|until| now < *until)
            || self
                .addresses
                .get(&client.ip())
                .is_some_and(|refused| refused.ports >= PORTS_MAX && now < refused.until)
    }

    /// A client is refused now.
    pub(super) fn refuse(&mut self, client: SocketAddr, now: Instant) {
        let until = now.checked_add(REFUSED_FOR).unwrap_or(now);
        self.clients.insert(client, until);
        let known = self.addresses.get(&client.ip()).filter(|refused| now < refused.until).copied();
        let ports = known.map_or(0, |refused| refused.ports).saturating_add(1);
        // The last one of many begins the time in which none is asked about.
        let until = match known {
            Some(refused) if ports < PORTS_MAX => refused.until,
            _ => until,
        };
        self.addresses.insert(client.ip(), RefusedPorts { until, ports });
    }
}

/// What is known of the keys that came last.
struct LastOnes<K, V> {
    known: HashMap<K, V>,
    /// First come first.
    order: VecDeque<K>,
}

impl<K, V> Default for LastOnes<K, V> {
    fn default() -> Self {
        Self { known: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Copy + Eq + Hash, V> LastOnes<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.known.get(key)
    }

    fn insert(&mut self, key: K, value: V) {
        if self.known.insert(key, value).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > REFUSED_MAX
            && let Some(first) = self.order.pop_front()
        {
            self.known.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_ambient::Clock;

    /// One of an address of its own.
    fn client(number: u16) -> SocketAddr {
        let [high, low] = number.to_be_bytes();
        ([10, 0, high, low], 53).into()
    }

    #[test]
    fn a_refused_client_is_asked_about_again_after_a_while_and_few_are_known() {
        let (mut refused, now) = (RefusedClients::default(), Clock::system().now());
        refused.refuse(client(1), now);
        assert!(refused.is_refused(client(1), now) && !refused.is_refused(client(2), now));
        let later = now + REFUSED_FOR;
        assert!(!refused.is_refused(client(1), later));
        for number in 2..=1_025 {
            refused.refuse(client(number), now);
        }
        assert!(!refused.is_refused(client(1), now), "the first one is forgotten");
        assert!(refused.is_refused(client(2), now) && refused.is_refused(client(1_025), now));
        refused.refuse(client(2), later);
        assert!(refused.is_refused(client(2), later), "it is refused again");
        let sizes =
            |known: usize, order: usize| assert_eq!((known, order), (REFUSED_MAX, REFUSED_MAX));
        sizes(refused.clients.known.len(), refused.clients.order.len());
        sizes(refused.addresses.known.len(), refused.addresses.order.len());
    }

    #[test]
    fn an_address_of_which_many_ports_are_refused_is_asked_about_no_more_for_a_while() {
        let now = Clock::system().now();
        let [early, late] = [now + REFUSED_FOR / 2, now + REFUSED_FOR];
        for (what, refusals, asked_at, is_refused) in [
            ("a few ports", &[(now, 15)][..], now, false),
            ("many ports", &[(now, 16)], now, true),
            ("many, a while later", &[(now, 16)], late, false),
            ("many in all, few in a second", &[(now, 15), (late, 15)], late, false),
            ("the time begins with the last one", &[(now, 15), (early, 1)], late, true),
        ] {
            let mut refused = RefusedClients::default();
            let mut port = 1_000;
            for (at, number) in refusals {
                for _ in 0..*number {
                    refused.refuse(([127, 0, 0, 5], port).into(), *at);
                    port += 1;
                }
            }
            let next = SocketAddr::from(([127, 0, 0, 5], 1));
            assert_eq!(refused.is_refused(next, asked_at), is_refused, "{what}");
            let other = SocketAddr::from(([127, 0, 0, 6], 1));
            assert!(!refused.is_refused(other, asked_at), "{what}: another address");
        }
    }
}

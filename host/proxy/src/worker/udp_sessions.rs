//! The sessions of a UDP port in its worker, by client, and how many of them wait for hooks that take long.

use super::udp_refused::RefusedClients;
use crate::udp_session::UdpSession;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Sessions of a port in its worker that wait for hooks that take long: connections and requests wait for turns behind them.
const WAITING_MAX: u32 = 32;
/// Those of one address.
const WAITING_OF_ADDRESS_MAX: u32 = 8;
/// Refusals of a port in its worker that are recorded in a second. All are counted.
const RECORDS_PER_SECOND: u32 = 100;

/// The sessions of a port.
#[derive(Default)]
pub(super) struct UdpSessions {
    open: RefCell<HashMap<SocketAddr, Rc<UdpSession>>>,
    waiting: RefCell<HashMap<IpAddr, u32>>,
    refused: RefCell<RefusedClients>,
    /// The second in which refusals are recorded now, and how many were.
    recorded: Cell<Option<(Instant, u32)>>,
}

impl UdpSessions {
    /// The session of a client.
    pub(super) fn find(&self, client: SocketAddr) -> Option<Rc<UdpSession>> {
        self.open.borrow().get(&client).cloned()
    }

    /// The place of a new session, until it is dropped.
    pub(super) fn add(
        self: &Rc<Self>,
        client: SocketAddr,
        session: &Rc<UdpSession>,
    ) -> SessionPlace {
        self.open.borrow_mut().insert(client, Rc::clone(session));
        SessionPlace { sessions: Rc::clone(self), client, session: Rc::clone(session) }
    }

    /// Whether a client was refused a while ago, or many ports of its address were.
    pub(super) fn is_refused(&self, client: SocketAddr, now: Instant) -> bool {
        self.refused.borrow().is_refused(client, now)
    }

    /// A client is refused now.
    pub(super) fn refuse(&self, client: SocketAddr, now: Instant) {
        self.refused.borrow_mut().refuse(client, now);
    }

    /// A place to wait for hooks that take long, until it is dropped; `None`: there is none.
    pub(super) fn wait(self: &Rc<Self>, client: SocketAddr) -> Option<WaitingPlace> {
        let address = client.ip();
        let mut waiting = self.waiting.borrow_mut();
        let (own, all) =
            (waiting.get(&address).copied().unwrap_or_default(), waiting.values().sum::<u32>());
        if own >= WAITING_OF_ADDRESS_MAX || all >= WAITING_MAX {
            return None;
        }
        waiting.insert(address, own.saturating_add(1));
        Some(WaitingPlace { sessions: Rc::clone(self), address })
    }

    /// Whether one more refusal is recorded.
    pub(super) fn is_recorded(&self, now: Instant) -> bool {
        let second = |begun: Instant| now.saturating_duration_since(begun) < Duration::from_secs(1);
        let (begun, count) =
            self.recorded.get().filter(|(begun, _)| second(*begun)).unwrap_or((now, 0));
        let count = count.saturating_add(1);
        self.recorded.set(Some((begun, count)));
        count <= RECORDS_PER_SECOND
    }
}

/// The place of a session among those of its port.
pub(super) struct SessionPlace {
    sessions: Rc<UdpSessions>,
    client: SocketAddr,
    session: Rc<UdpSession>,
}

impl Drop for SessionPlace {
    fn drop(&mut self) {
        let mut open = self.sessions.open.borrow_mut();
        // Where it was over before, the next one of its client has the place.
        if open.get(&self.client).is_some_and(|known| Rc::ptr_eq(known, &self.session)) {
            open.remove(&self.client);
        }
    }
}

/// The place of a session that waits for hooks that take long.
pub(super) struct WaitingPlace {
    sessions: Rc<UdpSessions>,
    address: IpAddr,
}

impl Drop for WaitingPlace {
    fn drop(&mut self) {
        let mut waiting = self.sessions.waiting.borrow_mut();
        match waiting.get_mut(&self.address) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                waiting.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_ambient::Clock;

    #[test]
    fn an_address_has_a_few_of_the_places_to_wait_and_leaves_the_rest_to_others() {
        let sessions = Rc::<UdpSessions>::default();
        let client = |last: u8, port: u16| SocketAddr::from(([127, 0, 0, last], port));
        let mut held = Vec::new();
        for (last, wanted) in [(1, 8), (2, 8), (3, 8), (4, 8), (5, 0)] {
            let places: Vec<_> =
                (0..20).filter_map(|port| sessions.wait(client(last, port))).collect();
            assert_eq!(places.len(), wanted, "{last}");
            held.push(places);
        }
        held.remove(0);
        assert!(sessions.wait(client(5, 1)).is_some(), "a place is free again");
        drop(held);
        assert!(sessions.waiting.borrow().is_empty(), "nobody is remembered");
    }

    #[test]
    fn so_many_refusals_of_a_second_are_recorded() {
        let (sessions, now) = (UdpSessions::default(), Clock::system().now());
        let recorded = |at| (0..150).filter(|_| sessions.is_recorded(at)).count();
        assert_eq!(recorded(now), 100);
        assert_eq!(recorded(now + Duration::from_millis(999)), 0);
        assert_eq!(recorded(now + Duration::from_secs(1)), 100);
    }
}

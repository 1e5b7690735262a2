//! The sessions of a UDP port in its worker, by client, and the clients that were refused a while ago.

use crate::udp_session::UdpSession;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A client that was refused is asked about again this long after. Anybody can write any address into a datagram, so hooks
/// are not asked about each.
pub(super) const REFUSED_FOR: Duration = Duration::from_secs(1);
/// Clients that are known to be refused; more make the first ones forgotten.
const REFUSED_MAX: usize = 1_024;
/// Refusals of a port in its worker that are recorded in a second. All are counted.
const RECORDS_PER_SECOND: u32 = 100;

/// The sessions of a port.
#[derive(Default)]
pub(super) struct UdpSessions {
    open: RefCell<HashMap<SocketAddr, Rc<UdpSession>>>,
    refused: RefCell<RefusedClients>,
    /// The second in which refusals are recorded now, and how many were.
    recorded: Cell<Option<(Instant, u32)>>,
}

#[derive(Default)]
struct RefusedClients {
    until: HashMap<SocketAddr, Instant>,
    /// First come first.
    order: VecDeque<SocketAddr>,
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

    /// Whether a client was refused a while ago.
    pub(super) fn is_refused(&self, client: SocketAddr, now: Instant) -> bool {
        self.refused.borrow().until.get(&client).is_some_and(|until| now < *until)
    }

    /// A client is refused now.
    pub(super) fn refuse(&self, client: SocketAddr, now: Instant) {
        let mut refused = self.refused.borrow_mut();
        let RefusedClients { until, order } = &mut *refused;
        let end = now.checked_add(REFUSED_FOR).unwrap_or(now);
        if until.insert(client, end).is_some() {
            return;
        }
        order.push_back(client);
        if order.len() > REFUSED_MAX
            && let Some(first) = order.pop_front()
        {
            until.remove(&first);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_ambient::Clock;

    fn client(number: u16) -> SocketAddr {
        (std::net::Ipv4Addr::LOCALHOST, number).into()
    }

    #[test]
    fn a_refused_client_is_asked_about_again_after_a_while_and_few_are_known() {
        let (sessions, now) = (UdpSessions::default(), Clock::system().now());
        sessions.refuse(client(1), now);
        assert!(sessions.is_refused(client(1), now) && !sessions.is_refused(client(2), now));
        let later = now + REFUSED_FOR;
        assert!(!sessions.is_refused(client(1), later));
        for number in 2..=1_025 {
            sessions.refuse(client(number), now);
        }
        assert!(!sessions.is_refused(client(1), now), "the first one is forgotten");
        assert!(sessions.is_refused(client(2), now) && sessions.is_refused(client(1_025), now));
        sessions.refuse(client(2), later);
        assert!(sessions.is_refused(client(2), later), "it is refused again");
        let refused = sessions.refused.borrow();
        assert_eq!((refused.until.len(), refused.order.len()), (REFUSED_MAX, REFUSED_MAX));
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

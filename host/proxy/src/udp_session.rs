//! A session: the datagrams of one address and port of a client, and those that its endpoint answers.
//!
//! Its client is sent nothing but what the endpoint sends, and the endpoint has a socket of its own for it, so that nobody else
//! can send to the client, and the client to nobody else. A datagram that cannot be sent at once is dropped: whoever uses UDP counts with
//! that, and a datagram that is late may be worse than none.

use crate::udp_counts::{DropReason, UdpCounts};
use crate::udp_waiting::{WaitingDatagrams, WaitingRoom};
use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tamis_ambient::Clock;
use tamis_transport::UdpPort;
use tamis_upstream::UpstreamDatagrams;
use tokio::sync::Notify;

/// The longest datagram, and more.
const ROOM: usize = 64 * 1024;
/// Datagrams that are sent on before the other tasks of the worker do something.
const TURN: usize = 32;

thread_local! {
    /// What the sessions of a worker read into.
    static SHARED_ROOM: RefCell<Vec<u8>> = RefCell::new(vec![0; ROOM]);
}

/// A session.
pub(crate) struct UdpSession {
    client: SocketAddr,
    /// The socket of the listener, from which the client is answered.
    port: Rc<UdpPort>,
    counts: Arc<UdpCounts>,
    clock: Clock,
    /// `None` before its endpoint is chosen.
    upstream: OnceCell<UpstreamDatagrams>,
    waiting: RefCell<WaitingDatagrams>,
    /// It is refused: it drops what comes.
    refused: Cell<bool>,
    /// What the network reported of the endpoint when a datagram was sent there.
    broken: RefCell<Option<io::Error>>,
    broke: Notify,
    /// When a datagram last came, from either side.
    moved: Cell<Instant>,
    sent: Cell<u64>,
    received: Cell<u64>,
    answered: Cell<bool>,
}

impl UdpSession {
    pub(crate) fn new(
        client: SocketAddr,
        port: &Rc<UdpPort>,
        counts: &Arc<UdpCounts>,
        room: &WaitingRoom,
        clock: Clock,
    ) -> Self {
        Self {
            client,
            port: Rc::clone(port),
            counts: Arc::clone(counts),
            clock,
            upstream: OnceCell::new(),
            waiting: RefCell::new(WaitingDatagrams::new(room)),
            refused: Cell::new(false),
            broken: RefCell::default(),
            broke: Notify::new(),
            moved: Cell::new(clock.now()),
            sent: Cell::new(0),
            received: Cell::new(0),
            answered: Cell::new(false),
        }
    }

    /// Sends on a datagram of its client, or lets it wait. `false`: the session is over, and did not take it.
    pub(crate) fn take(&self, datagram: &[u8]) -> bool {
        self.moved.set(self.clock.now());
        if self.refused.get() {
            self.counts.note_dropped(DropReason::Refused);
            return true;
        }
        match self.upstream.get() {
            Some(upstream) => self.send(upstream, datagram),
            None => {
                if !self.waiting.borrow_mut().push(datagram) {
                    self.counts.note_dropped(DropReason::Waiting);
                }
                true
            }
        }
    }

    /// Its endpoint is chosen: what waited goes there.
    pub(crate) fn open(&self, upstream: UpstreamDatagrams) -> &UpstreamDatagrams {
        let upstream = self.upstream.get_or_init(|| upstream);
        loop {
            let datagram = self.waiting.borrow_mut().pop();
            let Some(datagram) = datagram else { return upstream };
            // Nothing was sent before, so nothing of it was refused.
            let _taken = self.send(upstream, &datagram);
        }
    }

    /// It takes no datagrams any more.
    pub(crate) fn refuse(&self) {
        self.refused.set(true);
        while self.waiting.borrow_mut().pop().is_some() {
            self.counts.note_dropped(DropReason::Refused);
        }
    }

    fn send(&self, upstream: &UpstreamDatagrams, datagram: &[u8]) -> bool {
        if self.broken.borrow().is_some() {
            return false;
        }
        match upstream.send(datagram) {
            Ok(true) => {
                let octets = u64::try_from(datagram.len()).unwrap_or(u64::MAX);
                self.sent.set(self.sent.get().saturating_add(octets));
                self.counts.note_sent(octets);
            }
            Err(error) if is_gone(&error) => {
                self.broken.replace(Some(error));
                self.broke.notify_one();
                return false;
            }
            Ok(false) | Err(_) => self.counts.note_dropped(DropReason::Unsent),
        }
        true
    }

    /// Waits for what the endpoint sends and sends it on, a turn of it.
    ///
    /// # Errors
    /// The endpoint is gone.
    pub(crate) async fn relay(&self, upstream: &UpstreamDatagrams) -> io::Result<()> {
        match upstream.readable().await {
            Err(error) if is_gone(&error) => return Err(error),
            // Others are of one datagram.
            Ok(()) | Err(_) => {}
        }
        SHARED_ROOM.with_borrow_mut(|room| {
            for _ in 0..TURN {
                let length = match upstream.receive(room) {
                    Ok(Some(length)) => length,
                    Ok(None) => break,
                    Err(error) if is_gone(&error) => return Err(error),
                    Err(error) => {
                        tracing::debug!(%error, "a datagram of an endpoint could not be read");
                        break;
                    }
                };
                self.moved.set(self.clock.now());
                self.answered.set(true);
                let datagram = room.get(..length).unwrap_or_default();
                self.answer(datagram);
            }
            Ok(())
        })
    }

    fn answer(&self, datagram: &[u8]) {
        match self.port.send(datagram, self.client) {
            Ok(true) => {
                let octets = u64::try_from(datagram.len()).unwrap_or(u64::MAX);
                self.received.set(self.received.get().saturating_add(octets));
                self.counts.note_received(octets);
            }
            Ok(false) | Err(_) => self.counts.note_dropped(DropReason::Unsent),
        }
    }

    /// Waits until a datagram could not be sent since the endpoint is gone.
    pub(crate) async fn broken(&self) -> io::Error {
        self.broke.notified().await;
        let error = self.broken.borrow().as_ref().map(io::Error::kind);
        error.unwrap_or(io::ErrorKind::ConnectionRefused).into()
    }

    /// How long it may be silent yet, of so much.
    pub(crate) fn patience(&self, quiet: Duration) -> Duration {
        quiet.saturating_sub(self.clock.since(self.moved.get()))
    }

    /// Whether the endpoint answered anything.
    pub(crate) fn is_answered(&self) -> bool {
        self.answered.get()
    }

    /// Octets of the client, and octets of the endpoint, that were sent on.
    pub(crate) fn carried(&self) -> (u64, u64) {
        (self.sent.get(), self.received.get())
    }
}

/// Whether an error says that nothing is at the other side. Others are of one datagram, such as one that is too large.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, NetworkDown, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable | NetworkDown
    )
}

//! The resolvers of the machine, as its `resolv.conf` names them.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tamis_ambient::Clock;

/// The port of resolvers that `resolv.conf` names (RFC 1035 §4.2).
const PORT: u16 = 53;
/// How long a list of resolvers is used before its file is read again.
const READ_AGAIN: Duration = Duration::from_secs(5);

/// Whom questions are forwarded to.
#[derive(Debug, Clone)]
pub enum Resolvers {
    /// Those of the machine, in their order.
    OfMachine,
    /// These.
    These(Vec<SocketAddr>),
}

/// The current list, which follows the file.
pub(crate) struct CurrentResolvers {
    source: Resolvers,
    clock: Clock,
    list: RefCell<Vec<SocketAddr>>,
    read: Cell<Option<Instant>>,
}

impl CurrentResolvers {
    pub(crate) fn new(source: Resolvers, clock: Clock) -> Self {
        Self { source, clock, list: RefCell::default(), read: Cell::default() }
    }

    /// The list. A file that cannot be read leaves the one before.
    pub(crate) fn list(&self) -> Vec<SocketAddr> {
        if let Resolvers::These(these) = &self.source {
            return these.clone();
        }
        let now = self.clock.now();
        let due =
            self.read.get().is_none_or(|read| now.saturating_duration_since(read) >= READ_AGAIN);
        if due {
            self.read.set(Some(now));
            match hickory_resolver::system_conf::read_system_conf() {
                Ok((config, _)) => {
                    let servers = config.name_servers().iter();
                    let servers = servers.map(|one| SocketAddr::new(one.ip, PORT)).collect();
                    self.list.replace(servers);
                }
                Err(error) => {
                    tracing::warn!(%error, "the resolvers of the machine cannot be read");
                }
            }
        }
        self.list.borrow().clone()
    }
}

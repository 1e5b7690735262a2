//! Values that live as long as an exchange, or as its connection: what `exchange-state` reads and writes.

use crate::ExchangeStateGrant;
use crate::abi::Scope;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Parts of the store, each with a lock of its own: exchanges of different workers do not meet in one.
const PARTS: usize = 16;
/// The worker of an exchange is in the upper part of its number.
const WORKER_BITS: u32 = 48;
/// Memory of a value without its bytes.
const VALUE_BYTES: usize = 64;

/// What a filter keeps of the exchanges and connections in progress.
///
/// Values are accepted only between the beginning and the end of an exchange (of the first exchange and the
/// end of a connection), so that a call that ends later leaves nothing behind.
#[derive(Debug, Default)]
pub(crate) struct ExchangeValues {
    parts: [Mutex<Part>; PARTS],
    /// Bytes of all values.
    octets: AtomicUsize,
}

#[derive(Debug, Default)]
struct Part {
    exchanges: HashMap<u64, Exchange>,
    connections: HashMap<u64, Values>,
}

#[derive(Debug, Default)]
struct Exchange {
    connection: Option<u64>,
    values: Values,
}

/// Few values, so a list is searched.
#[derive(Debug, Default)]
struct Values(Vec<(String, Vec<u8>)>);

impl Values {
    fn octets(&self) -> usize {
        self.0.iter().map(|(key, value)| size(key, value)).sum()
    }

    fn find(&self, key: &str) -> Option<&Vec<u8>> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    fn take(&mut self, key: &str) -> usize {
        let Some(at) = self.0.iter().position(|(known, _)| known == key) else { return 0 };
        let (key, value) = self.0.swap_remove(at);
        size(&key, &value)
    }
}

fn size(key: &str, value: &[u8]) -> usize {
    key.len().saturating_add(value.len()).saturating_add(VALUE_BYTES)
}

impl Part {
    fn values(&mut self, exchange: u64, scope: Scope) -> Option<&mut Values> {
        let entry = self.exchanges.get_mut(&exchange)?;
        match scope {
            Scope::Exchange => Some(&mut entry.values),
            Scope::Connection => self.connections.get_mut(&entry.connection?),
        }
    }
}

impl ExchangeValues {
    /// Both numbers are of the same worker, so they lie in the same part.
    fn part(&self, number: u64) -> MutexGuard<'_, Part> {
        let [first, others @ ..] = &self.parts;
        let worker = usize::try_from(number >> WORKER_BITS).unwrap_or(0);
        let part = (worker % PARTS).checked_sub(1).and_then(|part| others.get(part));
        part.unwrap_or(first).lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An exchange begins.
    pub(crate) fn begin(&self, exchange: u64, connection: Option<u64>) {
        let mut part = self.part(exchange);
        part.exchanges.insert(exchange, Exchange { connection, values: Values::default() });
        if let Some(connection) = connection {
            part.connections.entry(connection).or_default();
        }
    }

    /// The exchange ended.
    pub(crate) fn end(&self, exchange: u64) {
        if let Some(gone) = self.part(exchange).exchanges.remove(&exchange) {
            self.octets.fetch_sub(gone.values.octets(), Ordering::Relaxed);
        }
    }

    /// The connection ended.
    pub(crate) fn leave(&self, connection: u64) {
        if let Some(gone) = self.part(connection).connections.remove(&connection) {
            self.octets.fetch_sub(gone.octets(), Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self, exchange: u64, scope: Scope, key: &str) -> Option<Vec<u8>> {
        self.part(exchange).values(exchange, scope)?.find(key).cloned()
    }

    pub(crate) fn remove(&self, exchange: u64, scope: Scope, key: &str) {
        let mut part = self.part(exchange);
        let gone = part.values(exchange, scope).map_or(0, |values| values.take(key));
        self.octets.fetch_sub(gone, Ordering::Relaxed);
    }

    pub(crate) fn write(
        &self,
        exchange: u64,
        scope: Scope,
        key: String,
        value: Vec<u8>,
        grant: &ExchangeStateGrant,
    ) -> Result<(), String> {
        let mut part = self.part(exchange);
        let Some(values) = part.values(exchange, scope) else {
            return Err("there is no exchange to keep it for".to_owned());
        };
        let over = |what: &str, most: usize| {
            Err(format!("the grant allows {most} ({what} of `exchange-state`)"))
        };
        let replaced = values.find(&key).map_or(0, |old| size(&key, old));
        if replaced == 0 && values.0.len() >= grant.entries {
            return over("`entries`", grant.entries);
        }
        let more = size(&key, &value);
        if values.octets().saturating_sub(replaced).saturating_add(more) > grant.bytes {
            return over("`bytes`", grant.bytes);
        }
        let all = self.octets.load(Ordering::Relaxed).saturating_sub(replaced);
        if all.saturating_add(more) > grant.total_bytes {
            return over("`totalBytes`", grant.total_bytes);
        }
        self.octets.fetch_sub(values.take(&key), Ordering::Relaxed);
        self.octets.fetch_add(more, Ordering::Relaxed);
        values.0.push((key, value));
        Ok(())
    }

    /// Numbers of exchanges and of connections with values, and the bytes of all values.
    #[cfg(test)]
    fn sizes(&self) -> (usize, usize, usize) {
        let parts = self.parts.iter().map(|part| part.lock().unwrap());
        let (mut exchanges, mut connections) = (0, 0);
        for part in parts {
            exchanges += part.exchanges.len();
            connections += part.connections.len();
        }
        (exchanges, connections, self.octets.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Scope::{Connection, Exchange};

    fn grant() -> ExchangeStateGrant {
        ExchangeStateGrant { entries: 2, bytes: 1_000, total_bytes: 2_000 }
    }

    #[test]
    fn a_value_lives_as_long_as_its_scope_and_leaves_nothing() {
        let kept = ExchangeValues::default();
        let write = |exchange, scope, value: &[u8]| {
            kept.write(exchange, scope, "k".into(), value.to_vec(), &grant())
        };
        let read = |exchange, scope| kept.read(exchange, scope, "k");
        assert!(write(7, Exchange, b"none").is_err(), "before it begins");
        kept.begin(7, Some(1));
        kept.begin(8, Some(1));
        kept.begin(9, None);
        write(7, Exchange, b"seven").unwrap();
        write(7, Connection, b"both").unwrap();
        assert!(write(9, Connection, b"none").is_err(), "without a connection");
        assert_eq!(read(7, Exchange).as_deref(), Some(&b"seven"[..]));
        assert_eq!((read(8, Exchange), read(8, Connection)), (None, Some(b"both".to_vec())));
        kept.end(7);
        assert!(write(7, Exchange, b"late").is_err() && read(7, Exchange).is_none());
        assert_eq!(read(8, Connection).as_deref(), Some(&b"both"[..]));
        kept.leave(1);
        assert!(write(8, Connection, b"late").is_err() && read(8, Connection).is_none());
        kept.end(8);
        kept.end(9);
        kept.end(9);
        assert_eq!(kept.sizes(), (0, 0, 0));
    }

    #[test]
    fn values_stay_within_the_grant() {
        let kept = ExchangeValues::default();
        let worker = |n: u64| n << WORKER_BITS;
        (1..=20).for_each(|n| kept.begin(worker(n), None));
        let write = |n: u64, key: &str, length: usize| {
            kept.write(worker(n), Exchange, key.into(), vec![0; length], &grant())
        };
        assert!(write(1, "a", 900).is_ok());
        assert!(write(1, "a", 800).is_ok(), "in place of the first");
        assert!(write(1, "b", 900).unwrap_err().contains("`bytes`"));
        assert!(write(1, "b", 0).is_ok());
        assert!(write(1, "c", 0).unwrap_err().contains("`entries`"));
        kept.remove(worker(1), Exchange, "b");
        kept.remove(worker(1), Exchange, "b");
        assert!(write(1, "c", 0).is_ok());
        assert!(write(2, "a", 900).is_ok());
        assert!(write(3, "a", 900).unwrap_err().contains("`totalBytes`"));
        (1..=20).for_each(|n| kept.end(worker(n)));
        assert_eq!(kept.sizes(), (0, 0, 0));
    }
}

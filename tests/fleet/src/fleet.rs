//! State that the simulated proxies share, and their reports to the measurement.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Instant;

use tamis_sync::{Part, PartsChange};
use tamis_trust::{Digest, DirectorKeys, SignaturePolicy};

/// What all of them have in common.
pub(crate) struct Fleet {
    /// Where the director is.
    pub(crate) director: SocketAddr,
    /// The folder with everybody's certificates.
    pub(crate) folder: PathBuf,
    /// Whose assignments count.
    pub(crate) keys: DirectorKeys,
    pub(crate) tally: Tally,
    /// Parts that several proxies have are stored once: on machines of their own each would have its own.
    parts: Mutex<HashMap<Digest, Arc<Part>>>,
    policies: Mutex<HashMap<Digest, Arc<SignaturePolicy>>>,
    told: mpsc::Sender<ServeEvent>,
}

/// A proxy serves something new from now on.
pub(crate) struct ServeEvent {
    /// Which one.
    pub(crate) at: usize,
    /// Since when, by its own clock.
    pub(crate) when: Instant,
    /// The slots that are new, and the digest that each runs; `None`: the proxy refused it.
    pub(crate) slots: Vec<(String, Option<Digest>)>,
    /// Bytes received for it, including the frames of HTTP/2.
    pub(crate) bytes: u64,
    /// Bytes of the parts in it, as JSON.
    pub(crate) parts_bytes: u64,
}

/// What is counted over all.
#[derive(Default)]
pub(crate) struct Tally {
    /// Connections that were begun.
    pub(crate) tries: AtomicU64,
    /// Connections on their way to a stream, now and at most.
    pub(crate) coming: Level,
    /// Streams, now and at most.
    pub(crate) streams: Level,
    /// Answers of 503.
    pub(crate) put_off: AtomicU64,
    /// Those of them after which a proxy came back earlier than requested.
    pub(crate) impatient: AtomicU64,
    /// Slots that were refused.
    pub(crate) refused: AtomicU64,
}

/// How many there are, and how many there were at most.
#[derive(Default)]
pub(crate) struct Level {
    now: AtomicI64,
    most: AtomicI64,
}

/// One of them, until it is dropped.
pub(crate) struct One<'a>(&'a Level);

impl Level {
    pub(crate) fn enter(&self) -> One<'_> {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        One(self)
    }

    pub(crate) fn now(&self) -> i64 {
        self.now.load(Ordering::Relaxed)
    }

    pub(crate) fn most(&self) -> i64 {
        self.most.load(Ordering::Relaxed)
    }

    /// Forgets how many there were.
    pub(crate) fn forget(&self) {
        self.most.store(self.now(), Ordering::Relaxed);
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Fleet {
    pub(crate) fn new(
        director: SocketAddr,
        folder: PathBuf,
        keys: DirectorKeys,
        told: mpsc::Sender<ServeEvent>,
    ) -> Self {
        let (parts, policies) = (Mutex::default(), Mutex::default());
        Self { director, folder, keys, tally: Tally::default(), parts, policies, told }
    }

    /// Keeps once what others have as well.
    pub(crate) fn share(&self, change: &mut PartsChange, names: &[String]) {
        let mut known = locked(&self.parts);
        for name in names {
            let Some(part) = change.parts.get(name) else { continue };
            let part = Arc::clone(known.entry(part.version).or_insert_with(|| Arc::clone(part)));
            // Two parts of one content may have two names, which are not part of the version.
            if part.name == *name {
                change.parts.insert(part);
            }
        }
    }

    /// The policy in a part; `None` if the part is not a policy.
    pub(crate) fn policy(&self, part: &Part) -> Option<Arc<SignaturePolicy>> {
        let mut known = locked(&self.policies);
        if let Some(policy) = known.get(&part.version) {
            return Some(Arc::clone(policy));
        }
        let policy = Arc::new(SignaturePolicy::from_json(part.body.to_string().as_bytes()).ok()?);
        known.insert(part.version, Arc::clone(&policy));
        Some(policy)
    }

    pub(crate) fn tell(&self, served: ServeEvent) {
        // Nobody receives any more: the measurement is over.
        let _ = self.told.send(served);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

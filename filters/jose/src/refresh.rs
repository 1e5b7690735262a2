//! Background work: fetches documents of issuers, key sets above all, and stores them for all instances.
//!
//! A document that cannot be fetched or parsed never replaces a good one: the old one stays, for at most a day.

use std::time::Duration;

use crate::host::{Fetch, SharedStore};
use crate::keyring::{document_key, envelope, fetched_ms, wish_key};
use crate::keys::{KeyOrigin, KeySet};

/// Time to the next call: short, because each call checks for requests for newer keys.
const TICK_MS: u32 = 1000;
/// Minimum time between two fetches caused by such requests, in milliseconds: invented key ids must not
/// flood the issuer with requests.
const WISHED_EVERY_MS: u64 = 10_000;
/// How long a document stays that no fetch confirms, in milliseconds.
const LONGEST_STALE_MS: u64 = 24 * 3600 * 1000;
const FIRST_BACKOFF_MS: u64 = 1000;
const LONGEST_BACKOFF_MS: u64 = 60_000;
/// Longest document that is accepted, in bytes.
const LONGEST_DOCUMENT: usize = 256 * 1024;

/// Keeps the stored key sets fresh.
#[derive(Debug)]
pub struct Refresher {
    places: Vec<RefreshTarget>,
}

/// An address whose document is kept fresh.
#[derive(Debug)]
pub struct RefreshTarget {
    /// What is there, for the log: `keys`.
    what: &'static str,
    url: String,
    refresh_ms: u64,
    failures: u32,
    not_before_ms: u64,
}

/// The result of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshRound {
    /// Delay to the next call in milliseconds; `None` if nothing is ever fetched.
    pub next_ms: Option<u32>,
    /// For the log: which addresses could not be fetched, and why.
    pub failures: Vec<String>,
}

impl Refresher {
    /// For addresses of key sets, each with the time between two fetches; the shortest time counts for an address that
    /// occurs twice.
    #[must_use]
    pub fn new<'a>(sets: impl IntoIterator<Item = (&'a str, Duration)>) -> Self {
        let mut places: Vec<RefreshTarget> = Vec::new();
        for (url, refresh) in sets {
            let new = RefreshTarget::new("keys", url, refresh);
            match places.iter_mut().find(|place| place.url == url) {
                Some(place) => place.refresh_ms = place.refresh_ms.min(new.refresh_ms),
                None => places.push(new),
            }
        }
        Self { places }
    }

    /// Fetches the sets that are due: never fetched, older than their refresh time, or requested. The time
    /// of the last fetch is in the store, so several instances that tick share the work.
    pub fn tick<H: SharedStore + Fetch>(&mut self, now_ms: u64, host: &H) -> RefreshRound {
        let failures = self
            .places
            .iter_mut()
            .filter_map(|place| place.visit(now_ms, host, &is_key_set))
            .collect();
        RefreshRound { next_ms: (!self.places.is_empty()).then_some(TICK_MS), failures }
    }
}

/// Whether a fetched document is a key set that may be used.
///
/// # Errors
/// Why it is none.
pub fn is_key_set(body: &[u8]) -> Result<(), String> {
    KeySet::parse(body, KeyOrigin::Fetched).map(drop).map_err(|error| error.to_string())
}

impl RefreshTarget {
    /// An address that was not fetched yet. `what` names its document in the log, such as `keys`.
    #[must_use]
    pub fn new(what: &'static str, url: &str, refresh: Duration) -> Self {
        Self {
            what,
            url: url.to_owned(),
            refresh_ms: u64::try_from(refresh.as_millis()).unwrap_or(u64::MAX),
            failures: 0,
            not_before_ms: 0,
        }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Fetches the document if it is due, and stores it if `check` accepts it. Returns a line for the log where that
    /// fails; the next attempt is then a while later.
    pub fn visit<H: SharedStore + Fetch>(
        &mut self,
        now_ms: u64,
        host: &H,
        check: &impl Fn(&[u8]) -> Result<(), String>,
    ) -> Option<String> {
        if now_ms < self.not_before_ms || !self.is_due(now_ms, host) {
            return None;
        }
        match self.renew(now_ms, host, check) {
            Ok(()) => {
                self.failures = 0;
                self.not_before_ms = 0;
                host.remove(&wish_key(&self.url));
                None
            }
            Err(why) => {
                let backoff = FIRST_BACKOFF_MS << self.failures.min(6);
                let backoff = backoff.min(LONGEST_BACKOFF_MS);
                self.failures = self.failures.saturating_add(1);
                self.not_before_ms = now_ms.saturating_add(backoff);
                Some(format!(
                    "{} from {} could not be refreshed, the old ones stay: {why}",
                    self.what, self.url
                ))
            }
        }
    }

    fn is_due<S: SharedStore>(&self, now_ms: u64, store: &S) -> bool {
        let Some(stored) = store.read(&document_key(&self.url)) else { return true };
        // A fetch in the future means that the clock was set back; do not wait for it.
        let age = now_ms.abs_diff(fetched_ms(&stored.value));
        age >= self.refresh_ms
            || (age >= WISHED_EVERY_MS && store.read(&wish_key(&self.url)).is_some())
    }

    /// Fetches and stores the document now, unless that was done in the last ten seconds: for a caller who cannot wait
    /// for the background.
    ///
    /// # Errors
    /// Why there is no newer document; the stored one stays.
    pub fn renew_early<H: SharedStore + Fetch>(
        &self,
        now_ms: u64,
        host: &H,
        check: &impl Fn(&[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        let stored = host.read(&document_key(&self.url));
        let fresh = |value: &[u8]| now_ms.abs_diff(fetched_ms(value)) < WISHED_EVERY_MS;
        if stored.is_some_and(|stored| fresh(&stored.value)) {
            return Err("it was fetched a moment ago".to_owned());
        }
        self.renew(now_ms, host, check)
    }

    fn renew<H: SharedStore + Fetch>(
        &self,
        now_ms: u64,
        host: &H,
        check: &impl Fn(&[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        let answer = host.fetch(&self.url)?;
        if answer.status != 200 {
            return Err(format!("the server answered {}", answer.status));
        }
        if answer.body.len() > LONGEST_DOCUMENT {
            return Err(format!("the document is longer than {LONGEST_DOCUMENT} bytes"));
        }
        check(&answer.body)?;
        let ttl_ms = LONGEST_STALE_MS.max(self.refresh_ms.saturating_mul(2));
        let ttl_ms = u32::try_from(ttl_ms).unwrap_or(u32::MAX);
        host.write(&document_key(&self.url), &envelope(now_ms, &answer.body), ttl_ms)
    }
}

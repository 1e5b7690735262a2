//! Background work: fetches key sets and stores them for all instances.
//!
//! A set that cannot be fetched or parsed never replaces a good one: the old keys stay, for at most a day.

use crate::config::{Keys, Rules};
use crate::host::{Fetch, Store};
use crate::keyring::{envelope, fetched_ms, set_key, wish_key};
use crate::keys::{KeySet, Source};

/// Time to the next call: short, because each call checks for requests for newer keys.
const TICK_MS: u32 = 1000;
/// Minimum time between two fetches caused by such requests, in milliseconds: invented key ids must not
/// flood the issuer with requests.
const WISHED_EVERY_MS: u64 = 10_000;
/// How long keys stay that no fetch confirms, in milliseconds.
const LONGEST_STALE_MS: u64 = 24 * 3600 * 1000;
const FIRST_BACKOFF_MS: u64 = 1000;
const LONGEST_BACKOFF_MS: u64 = 60_000;
/// Longest key set that is accepted, in bytes.
const LONGEST_SET: usize = 256 * 1024;

/// Keeps the stored key sets fresh.
#[derive(Debug)]
pub struct Refresher {
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
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
    /// For the addresses of a configuration, each once.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        let mut places: Vec<Place> = Vec::new();
        for issuer in &rules.issuers {
            let Keys::Url { url, refresh } = &issuer.keys else { continue };
            let refresh_ms = u64::try_from(refresh.as_millis()).unwrap_or(u64::MAX);
            match places.iter_mut().find(|place| place.url == *url) {
                Some(place) => place.refresh_ms = place.refresh_ms.min(refresh_ms),
                None => places.push(Place {
                    url: url.clone(),
                    refresh_ms,
                    failures: 0,
                    not_before_ms: 0,
                }),
            }
        }
        Self { places }
    }

    /// Fetches the sets that are due: never fetched, older than their refresh time, or requested. The time
    /// of the last fetch is in the store, so several instances that tick share the work.
    pub fn tick<H: Store + Fetch>(&mut self, now_ms: u64, host: &H) -> RefreshRound {
        let failures =
            self.places.iter_mut().filter_map(|place| place.visit(now_ms, host)).collect();
        RefreshRound { next_ms: (!self.places.is_empty()).then_some(TICK_MS), failures }
    }
}

impl Place {
    fn visit<H: Store + Fetch>(&mut self, now_ms: u64, host: &H) -> Option<String> {
        if now_ms < self.not_before_ms || !self.is_due(now_ms, host) {
            return None;
        }
        match self.renew(now_ms, host) {
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
                    "keys from {} could not be refreshed, the old ones stay: {why}",
                    self.url
                ))
            }
        }
    }

    fn is_due<S: Store>(&self, now_ms: u64, store: &S) -> bool {
        let Some(stored) = store.read(&set_key(&self.url)) else { return true };
        // A fetch in the future means that the clock was set back; do not wait for it.
        let age = now_ms.abs_diff(fetched_ms(&stored.value));
        age >= self.refresh_ms
            || (age >= WISHED_EVERY_MS && store.read(&wish_key(&self.url)).is_some())
    }

    fn renew<H: Store + Fetch>(&self, now_ms: u64, host: &H) -> Result<(), String> {
        let answer = host.fetch(&self.url)?;
        if answer.status != 200 {
            return Err(format!("the server answered {}", answer.status));
        }
        if answer.body.len() > LONGEST_SET {
            return Err(format!("the key set is longer than {LONGEST_SET} bytes"));
        }
        KeySet::parse(&answer.body, Source::Fetched).map_err(|error| error.to_string())?;
        let ttl_ms = LONGEST_STALE_MS.max(self.refresh_ms.saturating_mul(2));
        let ttl_ms = u32::try_from(ttl_ms).unwrap_or(u32::MAX);
        host.write(&set_key(&self.url), &envelope(now_ms, &answer.body), ttl_ms)
    }
}

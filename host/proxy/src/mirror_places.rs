//! How many copies of requests are in progress.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Copies to one service that are in progress, in all workers: each holds a head and a body, and whoever gets the copies
/// decides how long.
const COPIES_MAX: usize = 256;
/// Copies to all services.
const ALL_COPIES_MAX: usize = 1_024;
/// Copies to the services of one namespace: it leaves as many to others.
const NAMESPACE_COPIES_MAX: usize = 512;

/// The copies of a proxy that are in progress.
#[derive(Debug, Default)]
pub(crate) struct MirrorPlaces {
    by_service: Mutex<BTreeMap<String, usize>>,
    skipped: AtomicU64,
}

/// A copy in progress; its place is free when this is dropped.
pub(crate) struct MirrorPlace {
    places: Arc<MirrorPlaces>,
    service: String,
}

impl MirrorPlaces {
    /// Takes a place for a copy to that service; `None`, which is counted, if there is none.
    pub(crate) fn take(self: &Arc<Self>, service: &str) -> Option<MirrorPlace> {
        let mut all = self.by_service.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.get(service).copied().unwrap_or_default();
        let namespace = namespace(service);
        let (mut copies, mut of_namespace) = (0_usize, 0_usize);
        for (other, count) in all.iter() {
            copies = copies.saturating_add(*count);
            if self::namespace(other) == namespace {
                of_namespace = of_namespace.saturating_add(*count);
            }
        }
        if own >= COPIES_MAX || of_namespace >= NAMESPACE_COPIES_MAX || copies >= ALL_COPIES_MAX {
            self.note_skipped();
            return None;
        }
        all.insert(service.to_owned(), own.saturating_add(1));
        Some(MirrorPlace { places: Arc::clone(self), service: service.to_owned() })
    }

    fn note_skipped(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that were not copied because there was no place.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }
}

impl MirrorPlace {
    /// Its copy is not sent, since there is no place at the endpoint.
    pub(crate) fn skip(self) {
        self.places.note_skipped();
    }
}

/// That of a service `namespace/name:port`.
fn namespace(service: &str) -> &str {
    service.split_once('/').map_or(service, |(namespace, _)| namespace)
}

impl Drop for MirrorPlace {
    fn drop(&mut self) {
        let mut all = self.places.by_service.lock().unwrap_or_else(PoisonError::into_inner);
        let left = all.get(&self.service).map_or(0, |copies| copies.saturating_sub(1));
        if left == 0 {
            all.remove(&self.service);
        } else if let Some(copies) = all.get_mut(&self.service) {
            *copies = left;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_in_progress_are_bounded_for_a_service_a_namespace_and_for_all_and_places_come_back() {
        let places = Arc::new(MirrorPlaces::default());
        let mut taken: Vec<MirrorPlace> = Vec::new();
        for (service, wanted, got) in [
            ("shop/a:80", 1_000, COPIES_MAX),
            ("shop/b:80", 10, 10),
            ("shop/c:80", 256, 246),
            ("acme/a:80", 300, 256),
            ("data/a:80", 300, 256),
            ("shop/d:80", 1, 0),
        ] {
            let before = taken.len();
            taken.extend((0..wanted).filter_map(|_| places.take(service)));
            assert_eq!(taken.len() - before, got, "{service}");
        }
        assert_eq!(taken.len(), ALL_COPIES_MAX);
        assert_eq!(places.skipped(), 744 + 10 + 44 + 44 + 1);
        assert!(places.take("else/a:80").is_none(), "all are taken");
        taken.pop().unwrap().skip();
        assert_eq!(places.skipped(), 744 + 10 + 44 + 44 + 1 + 2);
        assert!(places.take("else/a:80").is_some());
        drop(taken);
        assert!(places.by_service.lock().unwrap().is_empty());
    }
}

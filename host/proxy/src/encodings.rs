//! What encoders of responses may use together, and what they did.

use crate::body_budget::{BodyBudget, BodyRoom, BodySender, TakenRoom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tamis_exchange::ContentCoding;

/// Bytes of memory for all encoders of a proxy at once.
const ENCODERS_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// The encoders of a proxy: their memory, and what they did since it started. Numbers only rise.
pub(crate) struct Encodings {
    memory: Arc<BodyBudget>,
    counts: [CodingCounts; ContentCoding::ALL.len()],
    skipped: AtomicU64,
}

/// What was done with one coding.
#[derive(Default)]
struct CodingCounts {
    responses: AtomicU64,
    octets: AtomicU64,
    encoded: AtomicU64,
}

impl Default for Encodings {
    fn default() -> Self {
        Self::of(ENCODERS_MAX_BYTES)
    }
}

impl Encodings {
    /// With so many bytes.
    pub(crate) fn of(bytes: u64) -> Self {
        let memory = Arc::new(BodyBudget::of(bytes));
        Self { memory, counts: Default::default(), skipped: AtomicU64::new(0) }
    }

    /// Memory for an encoder of a response to `sender`, who may have as much as is left for others; `None`, which is
    /// counted, if there is none.
    pub(crate) fn take(&self, coding: ContentCoding, sender: BodySender) -> Option<TakenRoom> {
        let room = BodyRoom::new(&self.memory, sender).take(encoder_bytes(coding)).ok();
        if room.is_none() {
            self.skipped.fetch_add(1, Ordering::Relaxed);
        }
        room
    }

    /// Counts a response: octets that were encoded, and what became of them.
    pub(crate) fn count(&self, coding: ContentCoding, octets: u64, encoded: u64) {
        let Some(counts) = self.counts.get(coding as usize) else { return };
        counts.responses.fetch_add(1, Ordering::Relaxed);
        counts.octets.fetch_add(octets, Ordering::Relaxed);
        counts.encoded.fetch_add(encoded, Ordering::Relaxed);
    }

    /// By coding: responses, their octets, and these encoded.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (ContentCoding, [u64; 3])> {
        ContentCoding::ALL.into_iter().zip(&self.counts).map(|(coding, counts)| {
            let read = |one: &AtomicU64| one.load(Ordering::Relaxed);
            (coding, [read(&counts.responses), read(&counts.octets), read(&counts.encoded)])
        })
    }

    /// Responses that stayed as they were, since there was no memory for an encoder.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }
}

/// Memory of an encoder, as measured, rounded up.
fn encoder_bytes(coding: ContentCoding) -> u64 {
    match coding {
        ContentCoding::Gzip => 512 * 1024,
        ContentCoding::Brotli => 1536 * 1024,
        ContentCoding::Zstd => 2048 * 1024,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_leaves_memory_to_others_and_gives_its_own_back() {
        let encodings = Encodings::of(8 * 1024 * 1024);
        let client = |address| BodySender::new(Some(address));
        let take = |address| encodings.take(ContentCoding::Zstd, client(address));
        let taken = [take("192.0.2.1"), take("192.0.2.1")];
        assert!(taken.iter().all(Option::is_some));
        assert!(take("192.0.2.1").is_none(), "half of all");
        assert!(take("192.0.2.2").is_some(), "which leaves the rest to others");
        drop(taken);
        assert!(take("192.0.2.1").is_some());
        assert_eq!(encodings.skipped(), 1);
    }

    #[test]
    fn each_coding_is_counted_by_itself() {
        let encodings = Encodings::default();
        for coding in ContentCoding::ALL {
            encodings.count(coding, 100, 30);
        }
        encodings.count(ContentCoding::Zstd, 10, 3);
        let counts: Vec<_> = encodings.counts().collect();
        assert_eq!(counts[0], (ContentCoding::Gzip, [1, 100, 30]));
        assert_eq!(counts[2], (ContentCoding::Zstd, [2, 110, 33]));
    }
}

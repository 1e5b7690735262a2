//! The queue from workers to the thread that calls candidates, and the reports of that thread.

use super::{
    ComparableAnswer, Comparison, ComparisonTally, EXAMPLES_MAX, ExchangeExample, Shadow,
    ShadowQuestion, ShadowReport, lock,
};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tamis_exchange::Exchange;

/// Verdicts that may wait to be compared …
const QUEUE_MAX: usize = 1_024;
/// … and bytes of their input, and of the answers to compare with.
const QUEUE_OCTETS: usize = 4 * 1024 * 1024;

/// All shadows of a proxy and the thread that calls them.
#[derive(Default)]
pub(crate) struct Shadows {
    per_second: u32,
    /// With the names of their slots; replaced ones stay until they were reported.
    known: Mutex<Vec<(String, Shadow)>>,
    queue: OnceLock<ShadowQueue>,
}

/// The sender to the thread. The thread ends when the last sender is gone.
#[derive(Clone)]
pub(crate) struct ShadowQueue {
    send: SyncSender<Comparison>,
    octets: Arc<AtomicUsize>,
}

impl Shadows {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second, ..Self::default() }
    }

    /// Adds the shadows of a generation that is about to serve. The first one starts the thread.
    pub(crate) fn expect<'a>(
        &self,
        shadows: impl Iterator<Item = (&'a str, &'a Shadow)>,
    ) -> std::io::Result<()> {
        for (slot, shadow) in shadows {
            if self.queue.get().is_none() {
                let queue = start()?;
                // One generation is added at a time: no other call can have set the queue since the check.
                self.queue.get_or_init(|| queue);
            }
            let mut known = lock(&self.known);
            if !known.iter().any(|(_, one)| one.is_same(shadow)) {
                known.push((slot.to_owned(), shadow.clone()));
            }
        }
        Ok(())
    }

    /// The queue for a worker; `None` while there are no shadows.
    pub(crate) fn queue(&self) -> Option<ShadowQueue> {
        self.queue.get().cloned()
    }

    pub(crate) fn per_second(&self) -> u32 {
        self.per_second
    }

    /// Takes the reports, by slot and digest.
    pub(crate) fn reports(&self) -> Vec<ShadowReport> {
        let mut reports: BTreeMap<(String, String), ComparisonTally> = BTreeMap::new();
        lock(&self.known).retain(|(slot, shadow)| {
            // Read before the rest: a shadow that nothing else uses adds nothing any more.
            let stays = Arc::strong_count(&shadow.0) > 1;
            let seen = std::mem::take(&mut *lock(&shadow.0.seen));
            let key = (slot.clone(), shadow.filter().digest().to_owned());
            let report = reports.entry(key).or_default();
            report.samples += seen.samples;
            for (cause, more) in seen.differences {
                let difference = report.differences.entry(cause).or_default();
                difference.count += more.count;
                let room = EXAMPLES_MAX.saturating_sub(difference.examples.len());
                difference.examples.extend(more.examples.into_iter().take(room));
            }
            stays
        });
        let reports = reports.into_iter().map(|((slot, digest), seen)| {
            let ComparisonTally { samples, differences } = seen;
            ShadowReport { slot, digest, samples, differences }
        });
        reports.collect()
    }
}

fn start() -> std::io::Result<ShadowQueue> {
    let (send, receive): (_, Receiver<Comparison>) = sync_channel(QUEUE_MAX);
    let octets = Arc::new(AtomicUsize::new(0));
    let left = Arc::clone(&octets);
    let run = move || {
        while let Ok(job) = receive.recv() {
            left.fetch_sub(room_of(&job), Ordering::Relaxed);
            job.shadow.compare(&job);
        }
    };
    std::thread::Builder::new().name("tamis-shadow".to_owned()).spawn(run)?;
    Ok(ShadowQueue { send, octets })
}

impl ShadowQueue {
    /// What a hook of an exchange that is sampled was asked and answered. It is left out when too much waits already.
    pub(crate) fn put(
        &self,
        shadow: Shadow,
        asked: ShadowQuestion,
        said: ComparableAnswer,
        exchange: &Exchange,
    ) {
        let job = Comparison { shadow, asked, said, example: ExchangeExample::of(exchange) };
        if job.asked.view().truncated {
            // The client sent more than a view may hold; that reveals nothing about the candidate.
            return;
        }
        let octets = room_of(&job);
        let waiting = self.octets.fetch_add(octets, Ordering::Relaxed);
        if waiting > QUEUE_OCTETS || self.send.try_send(job).is_err() {
            self.octets.fetch_sub(octets, Ordering::Relaxed);
        }
    }
}

/// The room that a comparison takes while it waits.
fn room_of(job: &Comparison) -> usize {
    job.asked.view().octets.len().saturating_add(job.said.octets())
}

/// Selects the exchanges of a worker that are compared: the first of every second, up to a number.
pub(crate) struct ExchangeSampler {
    per_second: u32,
    since: Cell<Option<Instant>>,
    taken: Cell<u32>,
}

impl ExchangeSampler {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second, since: Cell::default(), taken: Cell::default() }
    }

    pub(crate) fn takes(&self, now: Instant) -> bool {
        let same_second =
            |since: Instant| now.saturating_duration_since(since) < Duration::from_secs(1);
        if !self.since.get().is_some_and(same_second) {
            self.since.set(Some(now));
            self.taken.set(0);
        }
        let taken = self.taken.get();
        self.taken.set(taken.saturating_add(1));
        taken < self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sampler_takes_the_first_of_each_second() {
        let (sampler, start) = (ExchangeSampler::new(2), Instant::now());
        let taken = |ms: u64| sampler.takes(start + Duration::from_millis(ms));
        let times = [0, 10, 20, 999, 1_000, 1_001, 1_002, 60_000];
        assert_eq!(times.map(taken), [true, true, false, false, true, true, false, true]);
        assert!(!ExchangeSampler::new(0).takes(start));
    }
}

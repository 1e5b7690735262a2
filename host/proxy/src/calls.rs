//! The slots that an exchange called, by number, and how long the calls took.

use crate::slot::Slot;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tamis_ambient::Clock;

/// One in 2 to the power of this many exchanges is timed.
const TIMED_BITS: u32 = 4;

/// Slots by number; without memory of its own up to number 63.
#[derive(Debug, Default)]
pub(crate) struct SlotSet {
    /// Slots 0 to 63, by bit.
    low: u64,
    /// The others.
    high: Vec<usize>,
}

impl SlotSet {
    /// Adds a slot. Returns whether it is new.
    pub(crate) fn insert(&mut self, number: usize) -> bool {
        let is_new = !self.contains(number);
        match bit(number) {
            Some(bit) => self.low |= bit,
            None if is_new => self.high.push(number),
            None => {}
        }
        is_new
    }

    /// Removes a slot.
    pub(crate) fn remove(&mut self, number: usize) {
        match bit(number) {
            Some(bit) => self.low &= !bit,
            None => self.high.retain(|known| *known != number),
        }
    }

    /// Whether the slot is in it.
    pub(crate) fn contains(&self, number: usize) -> bool {
        match bit(number) {
            Some(bit) => self.low & bit != 0,
            None => self.high.contains(&number),
        }
    }

    /// Its slots, in the order of their numbers up to 63.
    fn iter(&self) -> impl Iterator<Item = usize> {
        let mut low = self.low;
        let low = std::iter::from_fn(move || {
            let first = (low != 0).then(|| low.trailing_zeros() as usize);
            low &= low.wrapping_sub(1);
            first
        });
        low.chain(self.high.iter().copied())
    }
}

/// The bit of a slot; `None` beyond 63.
fn bit(number: usize) -> Option<u64> {
    u32::try_from(number).ok().and_then(|number| 1_u64.checked_shl(number))
}

/// The slots that an exchange called, and the duration if the exchange is measured.
#[derive(Debug, Default)]
pub(crate) struct HookCalls {
    called: SlotSet,
    timed: bool,
    clock: Clock,
    times: Vec<(usize, Duration)>,
    denied: Option<usize>,
}

impl HookCalls {
    pub(crate) fn new(exchange: u64, clock: Clock) -> Self {
        // Multiples of the golden ratio are evenly distributed, and independent of patterns in the
        // requests.
        let timed = exchange.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - TIMED_BITS) == 0;
        Self { timed, clock, ..Self::default() }
    }

    /// The slot takes part in the exchange.
    pub(crate) fn note(&mut self, number: usize) {
        self.called.insert(number);
    }

    /// A call of the slot begins; pass the result to [`Self::end`].
    pub(crate) fn begin(&mut self, number: usize) -> Option<Instant> {
        self.note(number);
        self.timed.then(|| self.clock.now())
    }

    /// The call ended.
    pub(crate) fn end(&mut self, number: usize, since: Option<Instant>) {
        let Some(since) = since else { return };
        let took = self.clock.since(since);
        match self.times.iter_mut().find(|(slot, _)| *slot == number) {
            Some((_, time)) => *time += took,
            None => self.times.push((number, took)),
        }
    }

    /// Its reply, with that status, is sent to the client.
    pub(crate) fn answered(&mut self, number: usize, status: u16) {
        if status >= 400 {
            self.denied = Some(number);
        }
    }

    /// The exchange ended with that status; 0 if there was none.
    pub(crate) fn settle(&mut self, slots: &[Rc<Slot>], status: u16) {
        let failed = (500..600).contains(&status);
        for number in std::mem::take(&mut self.called).iter() {
            self.count(slots, number, failed);
        }
        for (number, time) in std::mem::take(&mut self.times) {
            if let Some(cells) = slots.get(number).and_then(|slot| slot.cells()) {
                cells.took(time);
            }
        }
    }

    fn count(&self, slots: &[Rc<Slot>], number: usize, failed: bool) {
        let Some(cells) = slots.get(number).and_then(|slot| slot.cells()) else { return };
        cells.count_exchange();
        if failed {
            cells.server_error();
        }
        if self.denied == Some(number) {
            cells.denied();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_in_a_set_once_whatever_its_number() {
        let mut set = SlotSet::default();
        for number in [64, 3, 0, 63, 1_000] {
            assert!(!set.contains(number));
            assert!(set.insert(number) && !set.insert(number) && set.contains(number), "{number}");
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 3, 63, 64, 1_000]);
    }

    #[test]
    fn one_exchange_in_16_is_timed_whatever_its_neighbours() {
        for (first, step) in [(1_u64, 1), (1, 2), (2, 2), (3, 16), ((5 << 48) | 1, 1), (7, 10)] {
            let ids = (0..16_000_u64).map(|n| first + n * step);
            let timed = ids.filter(|id| HookCalls::new(*id, Clock::system()).timed).count();
            assert!((950..=1_050).contains(&timed), "{timed} of 16,000 from {first} by {step}");
        }
    }
}

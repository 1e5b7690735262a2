//! Delays of second attempts.
//!
//! The hedge filter is called outside of requests: when a generation starts to serve, and then at most once
//! a second for rules whose statistics changed. A request only reads the delay and
//! notes its duration.

use crate::latencies::RecentLatencies;
use crate::slot::Slot;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;
use tamis_ambient::Clock;

/// Delays of a chain's rules, and the statistics they are planned from.
pub(crate) struct Hedges {
    clock: Clock,
    rules: RefCell<Vec<RuleHedge>>,
}

struct RuleHedge {
    recent: RecentLatencies,
    /// Delay of the second attempt; `None`: no second attempt.
    delay: Option<Duration>,
    /// The statistics changed since the last plan.
    changed: bool,
}

impl Hedges {
    /// For `rules` rules, none of them planned yet.
    pub(crate) fn new(rules: usize, clock: Clock) -> Self {
        let now = clock.now();
        let new = || RuleHedge { recent: RecentLatencies::new(now), delay: None, changed: true };
        Self { clock, rules: RefCell::new((0..rules).map(|_| new()).collect()) }
    }

    /// Records the time to the response head of an exchange of a rule.
    pub(crate) fn note(&self, rule: u32, latency: Duration) {
        if let Some(rule) = self.rules.borrow_mut().get_mut(rule as usize) {
            rule.recent.add(latency);
            rule.changed = true;
        }
    }

    /// The delay planned last.
    pub(crate) fn delay(&self, rule: u32) -> Option<Duration> {
        self.rules.borrow().get(rule as usize)?.delay
    }

    /// Calls the filter of `slot` for every rule of the router in its scope whose statistics changed.
    pub(crate) fn plan(&self, slot: &Slot, rules: &[Arc<str>]) {
        let now = self.clock.now();
        for (index, rule) in (0_u32..).zip(self.rules.borrow_mut().iter_mut()) {
            rule.changed |= rule.recent.turn(now);
            if !std::mem::take(&mut rule.changed) {
                continue;
            }
            let name = rules.get(index as usize).map_or("", |name| &**name);
            if !slot.is_for(Some(name)) {
                continue;
            }
            let latencies = rule.recent.quantiles(index);
            rule.delay = match slot.call(|instance| instance.hedge(&latencies)) {
                Ok(delay) => delay.map(|micros| Duration::from_micros(micros.into())),
                Err(fault) => {
                    let (attachment, kind) = (slot.name(), fault.kind());
                    tracing::warn!(attachment, rule = name, kind, "a hedge filter failed");
                    None
                }
            };
        }
    }
}

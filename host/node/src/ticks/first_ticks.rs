//! The first ticks of the filters of a change, for whoever waits until they are done.

use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tamis_ambient::Clock;

/// How long the new filters of a change may take for their first ticks, all together, before they are staged without them.
pub(super) const FIRST_MAX: Duration = Duration::from_secs(5);

/// The names of filters, and the ends of their first ticks.
type NamedTicks = Vec<(String, Receiver<()>)>;

/// The first ticks of the filters of a change, which run at the same time. The lock is for the threads that look at a build beside
/// it.
#[derive(Default)]
pub(crate) struct FirstTicks(Mutex<NamedTicks>);

impl FirstTicks {
    fn all(&mut self) -> &mut NamedTicks {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds that of a filter, whose end `done` reports.
    pub(super) fn add(&mut self, filter: &str, done: Receiver<()>) {
        self.all().push((filter.to_owned(), done));
    }

    /// Waits until all are done, up to one limit for them together: however many filters take their time, a change waits no
    /// longer.
    pub(crate) fn wait(&mut self, clock: Clock) {
        let end = clock.now().checked_add(FIRST_MAX);
        for (filter, done) in self.all().drain(..) {
            let left = end.and_then(|end| clock.until(end)).unwrap_or_default();
            if done.recv_timeout(left).is_err() {
                let filter = &*filter;
                tracing::warn!(
                    filter,
                    "the first tick takes long; the filter serves without waiting for it"
                );
            }
        }
    }
}

//! A filter in its slot, as one worker holds it: made once, when the worker switches to a generation.
//!
//! A slot has everything that a call of its filter needs: instances, counters, the queue to its shadow, the
//! failure mode. [`Slot::ask`] is in a separate file, because it uses the exchange, and an exchange
//! contains slots.

mod ask;
mod call_duration;
mod chunk;
mod ended;
mod instances;
mod long_calls;
mod question;
mod trailer;

pub(crate) use ask::{FILTER_FAILED, apply_router_edits};
pub(crate) use chunk::{ChunkSlot, ShownChunk};
pub(crate) use ended::EndedExchange;
pub(crate) use long_calls::{LongCallTurns, UndelayedExchange};
pub(crate) use question::{HeadQuestion, RetryQuestion, RouteQuestion, WholeBodyQuestion};
pub(crate) use trailer::{HeldTrailers, TrailerSlot};

use crate::counts::SlotCells;
use crate::generation::{Attachment, SlotOccupant};
use crate::shadow::{ExchangeSampler, Shadow, ShadowQueue};
use instances::Instances;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use tamis_engine::{BodyMode, CallFault, Filter, Hook, Instance};
use tamis_exchange::{Selector, View};
use tamis_refused::Refused;

/// One slot of the chain in one worker, and its filter.
pub(crate) struct Slot {
    /// Its bit in [`HookCalls`](crate::calls::HookCalls): its position in [`Slots`].
    pub(crate) number: usize,
    attachment: Arc<Attachment>,
    /// `None`: the filter may not run.
    running: Option<RunningFilter>,
    shadow: Option<ShadowFeed>,
    /// Buffer for the view of a filter, shared by the slots of a worker, which are called one after the
    /// other.
    view: Rc<RefCell<View>>,
    /// Shared by the slots of a worker.
    long_calls: LongCallTurns,
    /// Whether its filter reads which rule of a route matched.
    reads_route: bool,
}

/// A filter that runs in a slot.
struct RunningFilter {
    instances: Rc<Instances>,
    /// Where this worker counts for it.
    cells: Arc<SlotCells>,
}

/// The queue to the candidate that is compared.
struct ShadowFeed {
    shadow: Shadow,
    queue: ShadowQueue,
    sampler: Rc<ExchangeSampler>,
}

/// All slots of a generation in one worker, in the order of its filters.
pub(crate) type Slots = Rc<[Rc<Slot>]>;

/// The attribute that names the rule of a route that matched.
pub(crate) const ROUTE_NAME: &str = "route.name";

/// State that the slots of a worker share.
pub(crate) struct SlotMaker<'a> {
    /// Slots of the previous generation: instances of the same filters are kept.
    pub(crate) before: &'a [Rc<Slot>],
    /// Returns the cells in which the worker counts for that digest in that slot.
    pub(crate) cells: &'a dyn Fn(&str, &str) -> Arc<SlotCells>,
    /// The queue of the thread that compares shadows; `None` while there are none.
    pub(crate) queue: Option<ShadowQueue>,
    pub(crate) sampler: Rc<ExchangeSampler>,
    pub(crate) view: Rc<RefCell<View>>,
    pub(crate) long_calls: LongCallTurns,
}

impl SlotMaker<'_> {
    /// The slot of an attachment.
    pub(crate) fn slot(&self, number: usize, attachment: &Arc<Attachment>) -> Slot {
        let running = match &attachment.occupant {
            SlotOccupant::Refused(_) => None,
            SlotOccupant::Running(filter) => {
                let known = self.before.iter().filter_map(|slot| slot.running.as_ref());
                let mut known = known.map(|running| &running.instances);
                let same = known.find(|one| one.filter.is_same(filter)).cloned();
                let instances = same
                    .unwrap_or_else(|| Rc::new(Instances::new(filter, self.long_calls.clone())));
                Some(RunningFilter {
                    instances,
                    cells: (self.cells)(&attachment.name, filter.digest()),
                })
            }
        };
        let shadow = attachment.shadow.clone().zip(self.queue.clone());
        let shadow = shadow.map(|(shadow, queue)| {
            let sampler = Rc::clone(&self.sampler);
            ShadowFeed { shadow, queue, sampler }
        });
        let (attachment, view) = (Arc::clone(attachment), Rc::clone(&self.view));
        let reads_route = running.as_ref().is_some_and(|running| {
            let reads = running.instances.filter.reads().selectors();
            reads
                .iter()
                .any(|one| matches!(one, Selector::Attribute(name) if **name == *ROUTE_NAME))
        });
        let long_calls = self.long_calls.clone();
        Slot { number, attachment, running, shadow, view, long_calls, reads_route }
    }
}

impl Slot {
    /// Attachment name.
    pub(crate) fn name(&self) -> &str {
        &self.attachment.name
    }

    /// Its filter; `None` if it may not run.
    pub(crate) fn filter(&self) -> Option<&Filter> {
        self.running.as_ref().map(|running| &running.instances.filter)
    }

    /// Why its filter may not run.
    fn refusal(&self) -> Option<&Refused> {
        match &self.attachment.occupant {
            SlotOccupant::Refused(refusal) => Some(refusal),
            SlotOccupant::Running(_) => None,
        }
    }

    /// The counts of its filter; `None` if it may not run.
    pub(crate) fn cells(&self) -> Option<&SlotCells> {
        self.running.as_ref().map(|running| &*running.cells)
    }

    /// Whether it is attached to some of the routes only.
    pub(crate) fn is_scoped(&self) -> bool {
        self.attachment.scope.is_some()
    }

    /// Whether it is asked about a request only when the router was: it is attached to some of the routes only, or it reads
    /// which of them matched.
    pub(crate) fn is_behind_router(&self) -> bool {
        self.is_scoped() || self.reads_route
    }

    /// Whether its filter reads which rule of a route matched: what it decided is about that rule alone.
    pub(crate) fn reads_route(&self) -> bool {
        self.reads_route
    }

    /// Whether it takes part in exchanges of that rule; `None`: no rule matched.
    pub(crate) fn is_for(&self, rule: Option<&str>) -> bool {
        let Some(scope) = &self.attachment.scope else { return true };
        rule.is_some_and(|rule| covers(scope, rule))
    }

    /// Whether it decides who may pass.
    pub(crate) fn guards(&self) -> bool {
        self.attachment.guards()
    }

    /// Whether both run the same filter for the same routes.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same = match (self.filter(), other.filter()) {
            (Some(one), Some(other)) => one.is_same(other),
            _ => false,
        };
        same && self.attachment.scope == other.attachment.scope
    }

    /// The instance that is shown a body whose first chunk comes now; see [`Slot::ask_chunk`].
    pub(crate) fn instance_number(&self) -> InstanceNumber {
        InstanceNumber(self.running.as_ref().map_or(0, |running| running.instances.failures()))
    }

    /// Whether its calls take so long that each waits for a turn.
    pub(crate) fn waits_for_turns(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.instances.are_calls_long())
    }

    /// Waits for its turn if its calls take long; call the hook right after it.
    pub(crate) async fn turn(&self) {
        if self.waits_for_turns() {
            // Boxed, so that exchanges whose filters are quick need no room for it.
            Box::pin(self.long_calls.next()).await;
        }
    }

    /// Lets its calls count as long, until more of them were measured.
    #[cfg(test)]
    pub(crate) fn take_calls_as_long(&self) {
        self.running.iter().for_each(|running| running.instances.take_calls_as_long());
    }

    /// The turns of its worker.
    pub(crate) fn turns(&self) -> LongCallTurns {
        self.long_calls.clone()
    }

    /// Calls a hook, and counts a failure.
    pub(crate) fn call<R>(
        &self,
        hook: impl FnOnce(&mut Instance) -> Result<R, CallFault>,
    ) -> Result<R, CallFault> {
        let Some(running) = &self.running else {
            return Err(CallFault::Instantiate("the filter was refused".to_owned()));
        };
        let answer = running.instances.call(hook);
        if let Err(fault) = &answer {
            running.cells.faulted(fault);
        }
        answer
    }

    /// An answer that breaks the contract is a fault like any other: counted, logged, and reported to the
    /// filter's breaker.
    fn broke(&self, hook: Hook, exchange: u64, rule: String) -> CallFault {
        let Some(running) = &self.running else { return CallFault::BadAnswer(rule) };
        let fault = running.instances.filter.broke(hook, exchange, rule);
        running.cells.faulted(&fault);
        fault
    }
}

/// An instance of a slot's filter, until it fails. A filter may keep by exchange what it was shown, so only the instance
/// that was shown the beginning of a body can judge the rest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct InstanceNumber(u64);

/// Those of `slots` that take part in exchanges of `rule` and see bodies in that way.
pub(crate) fn body_slots(
    slots: &[Rc<Slot>],
    rule: Option<&str>,
    mode: impl Fn(&Filter) -> BodyMode,
    wanted: BodyMode,
) -> Vec<Rc<Slot>> {
    let wants = |slot: &&Rc<Slot>| {
        slot.is_for(rule) && slot.filter().is_some_and(|filter| mode(filter) == wanted)
    };
    slots.iter().filter(wants).cloned().collect()
}

/// The longest body that all of `slots` read whole, in bytes.
pub(crate) fn body_limit(slots: &[Rc<Slot>]) -> usize {
    let filters = slots.iter().filter_map(|slot| slot.filter());
    filters.map(|filter| filter.body_limit_bytes() as usize).min().unwrap_or(0)
}

/// Whether a scope names `rule`: by its route (`ns/route/`) or by its full name.
fn covers(scope: &[String], rule: &str) -> bool {
    scope.iter().any(|entry| {
        if entry.ends_with('/') { rule.starts_with(entry.as_str()) } else { rule == entry }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_names_a_route_or_a_rule() {
        let scope = ["shop/pay/".to_owned(), "shop/front/0".to_owned()];
        assert!(covers(&scope, "shop/pay/0") && covers(&scope, "shop/front/0"));
        assert!(!covers(&scope, "shop/front/01") && !covers(&scope, "shop/payments/0"));
    }
}

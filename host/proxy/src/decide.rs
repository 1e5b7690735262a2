//! Request hooks in their order, then the router.
//!
//! A filter attached to a route takes part only when that route matches, so the router is called before the
//! first such filter, and again when an edit changed something that the router reads. Filters of a route
//! that matches only then run too, and those that read which rule matched are asked about the new one; an exchange that
//! never settles is refused.

use crate::backend;
use crate::calls::SlotSet;
use crate::chain::Chain;
use crate::exchange::ExchangeState;
use crate::request_body::{HeldBody, OutgoingBody};
use crate::route::{self, Destination};
use crate::slot::Slot;
use crate::stop::ExchangeStop;
use std::rc::Rc;
use tamis_exchange::{Fault, Refusal, Selection, Verdict};
use tamis_upstream::Upstream;

/// Rounds of routing and scoped filters before an exchange counts as unstable.
const ROUNDS_MAX: usize = 4;

/// Runs the request hooks, finds the route of the exchange, and shows a complete body to the filters that want one.
/// Filters that want chunks see the chunks from then on. If a filter changes something that the router reads, the router
/// chooses again, and the filters of the new route run that have not run yet, or that decided about the rule of another.
pub(crate) async fn decide(
    state: &mut ExchangeState,
) -> Result<(Selection, Rc<Upstream>, OutgoingBody), ExchangeStop> {
    let mut ran = AskedSlots::default();
    let mut body = None;
    for _ in 0..ROUNDS_MAX {
        let destination = run_request_hooks(state, &mut ran).await?;
        let (selection, upstream) = backend::service(state, destination)?;
        let mut held = body.take().unwrap_or_else(|| HeldBody::of(state));
        if !held.show(state).await? {
            return Ok((selection, upstream, held.release(state)));
        }
        body = Some(held);
    }
    Err(unstable().into())
}

/// The slots whose request hooks have run.
#[derive(Default)]
pub(crate) struct AskedSlots {
    ran: SlotSet,
    /// The rule that those were asked about that read it; outer `None`: none of them was.
    about: Option<Option<u32>>,
}

impl AskedSlots {
    /// Notes that a slot is asked, while this rule matches.
    fn note(&mut self, slot: &Slot, rule: Option<u32>) {
        self.ran.insert(slot.number);
        if slot.reads_route() {
            self.about = Some(rule);
        }
    }

    /// Has those asked again that were asked about another rule than the one that matches now.
    fn follow(&mut self, chain: &Chain, rule: Option<u32>) {
        if self.about.take_if(|about| *about != rule).is_some() {
            let readers = chain.request.iter().filter(|slot| slot.reads_route());
            readers.for_each(|slot| self.ran.remove(slot.number));
        }
    }
}

/// Runs the request hooks that have not run yet, and finds the route of the exchange.
pub(crate) async fn run_request_hooks(
    state: &mut ExchangeState,
    asked: &mut AskedSlots,
) -> Result<Destination, ExchangeStop> {
    let chain = Rc::clone(&state.chain);
    for _ in 0..ROUNDS_MAX {
        let mut destination = None;
        for slot in &chain.request {
            if asked.ran.contains(slot.number) {
                continue;
            }
            if slot.is_behind_router() {
                if destination.is_none() {
                    destination = Some(route::ask(state).await?);
                    asked.follow(&chain, state.rule);
                }
                if !state.is_for(slot) {
                    continue;
                }
            }
            asked.note(slot, state.rule);
            if ask(state, &chain, slot).await? {
                destination = None;
            }
        }
        let found = match destination {
            Some(found) => found,
            None => route::ask(state).await?,
        };
        asked.follow(&chain, state.rule);
        let mut waiting = chain.request.iter().filter(|slot| !asked.ran.contains(slot.number));
        if !waiting.any(|slot| state.is_for(slot)) {
            return Ok(found);
        }
    }
    Err(unstable().into())
}

fn unstable() -> Refusal {
    let detail = "filters and routes keep changing each other; let no filter of a route change what routes match on";
    Refusal::new("route.unstable", 500, Fault::Host, detail)
}

/// Calls one filter. Returns true if it changed something that the router reads.
async fn ask(
    state: &mut ExchangeState,
    chain: &Chain,
    slot: &Rc<Slot>,
) -> Result<bool, ExchangeStop> {
    match slot.decide_request(state).await? {
        Verdict::Change(edits) => Ok(chain.routers_read(&edits)),
        Verdict::Pass
        | Verdict::Replace(_)
        | Verdict::Rewrite { .. }
        | Verdict::Hold
        | Verdict::Answer(_) => Ok(false),
    }
}

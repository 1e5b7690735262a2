//! Request hooks in their order, then the router.
//!
//! A filter attached to a route takes part only when that route matches, so the router is called before the
//! first such filter, and again when an edit changed something that the router reads. Filters of a route
//! that matches only then run too; an exchange that never settles is refused.

use crate::chain::Chain;
use crate::exchange::ExchangeState;
use crate::route::{self, Destination};
use crate::slot::Slot;
use crate::stop::Stop;
use std::rc::Rc;
use tamis_exchange::{Fault, Refusal, Verdict};

/// Rounds of routing and scoped filters before an exchange counts as unstable.
const ROUNDS_MAX: usize = 4;

/// Runs the request hooks and finds the route of the exchange.
pub(crate) async fn decide(state: &mut ExchangeState) -> Result<Destination, Stop> {
    let chain = Rc::clone(&state.chain);
    let mut destination = None;
    let mut ran = vec![false; chain.request.len()];
    for _ in 0..ROUNDS_MAX {
        let mut ran_one = false;
        for (slot, ran) in chain.request.iter().zip(&mut ran) {
            if *ran {
                continue;
            }
            if slot.is_scoped() {
                if destination.is_none() {
                    destination = Some(route::ask(state)?);
                }
                if !state.is_for(slot) {
                    continue;
                }
            }
            *ran = true;
            ran_one = true;
            if ask(state, &chain, slot).await? {
                destination = None;
            }
        }
        match destination.take() {
            None => destination = Some(route::ask(state)?),
            // Nothing ran after the router was called, or nothing that it reads changed.
            Some(found) if !ran_one => return Ok(found),
            Some(found) => destination = Some(found),
        }
        let waits = chain.request.iter().zip(&ran).any(|(slot, ran)| !ran && state.is_for(slot));
        if let (false, Some(found)) = (waits, destination.take()) {
            return Ok(found);
        }
        destination = None;
    }
    let detail = "filters and routes keep changing each other; let no filter of a route change what routes match on";
    Err(Refusal::new("route.unstable", 500, Fault::Host, detail).into())
}

/// Calls one filter. Returns true if it changed something that the router reads.
async fn ask(state: &mut ExchangeState, chain: &Chain, slot: &Rc<Slot>) -> Result<bool, Stop> {
    match slot.decide_request(state).await? {
        Verdict::Change(edits) => Ok(route::looks_at(chain, &edits)),
        Verdict::Pass | Verdict::Replace(_) | Verdict::Answer(_) => Ok(false),
    }
}

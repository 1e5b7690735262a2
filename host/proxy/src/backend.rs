//! The service that the router chose, and the refusal where there is no such service.

use crate::chain::Chain;
use crate::exchange::ExchangeState;
use crate::route::Destination;
use crate::stop::ExchangeStop;
use std::rc::Rc;
use tamis_exchange::{Fault, HeadSide, Refusal, Selection};
use tamis_upstream::Upstream;

/// The service of a destination. Candidates that are new to requests see the request as it is now.
pub(crate) fn service(
    state: &mut ExchangeState,
    destination: Destination,
) -> Result<(Selection, Rc<Upstream>), ExchangeStop> {
    let selection = match destination {
        Destination::Service(selection) => selection,
        Destination::Answer(answer) => return Err(ExchangeStop::Answered(answer)),
        Destination::Unmatched => return Err(unmatched(&state.chain).into()),
    };
    let chain = Rc::clone(&state.chain);
    for slot in &chain.candidate_request {
        if state.is_for(slot) {
            slot.compare_candidate(HeadSide::Request, state);
        }
    }
    state.service = chain.backend(selection.backend).cloned();
    match &state.service {
        Some(upstream) => Ok((selection, Rc::clone(upstream))),
        None => Err(unknown_backend(&state.chain, selection.backend).into()),
    }
}

/// Names of services that a detail lists at most.
const MAX_LISTED: usize = 8;

/// The refusal of an exchange whose router chose a service that this proxy does not know.
fn unknown_backend(chain: &Chain, backend: u32) -> Refusal {
    let name = chain.backend_name(backend).unwrap_or_default();
    let known = chain.backends.iter().flatten().map(|upstream| upstream.name());
    let known: Vec<&str> = known.take(MAX_LISTED).collect();
    let known = match known.as_slice() {
        [] => "none of the `backends` that the router returned exists here".to_owned(),
        some => format!(
            "of the `backends` that the router returned, these exist here: {}",
            some.join(", ")
        ),
    };
    let detail = format!(
        "the router chose `{name}`, but this proxy has no such service ({known}); write it as NAMESPACE/NAME:PORT, with a port of `spec.ports` of that Service, in the `backends` that the router returns, or in the `config` that it takes them from"
    );
    Refusal::new("route.backend-unknown", 500, Fault::Host, detail)
}

/// The refusal of an exchange that no rule matches.
pub(crate) fn unmatched(chain: &Chain) -> Refusal {
    match chain.routers().next() {
        Some(_) => Refusal::new("route.unmatched", 404, Fault::Client, "no rule matches"),
        None => Refusal::new("route.none", 404, Fault::Host, "no router is attached"),
    }
}

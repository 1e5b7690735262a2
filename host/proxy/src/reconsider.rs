//! Open connections after a swap: those that a guard refuses now, and that a swap changed, are closed.
//!
//! Whether a connection is carried, and whether a request becomes a tunnel, is decided once, by guards of the generation
//! of that moment. When a worker switches to other guards, each open connection is judged by those that changed, at a
//! moment of its own within [`WITHIN`]: so the calls for many connections delay nobody else.

use crate::chain::Chain;
use crate::exchange::ExchangeState;
use crate::route::rule_again;
use crate::slot::{ROUTE_NAME, Slot};
use crate::tcp_refusal::TcpRefusal;
use crate::worker::state::WorkerState;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tamis_ambient::Random;
use tamis_exchange::{Exchange, Outcome};
use tamis_transport::FederatedPeer;
use tokio::sync::watch;

/// All open connections were judged this long after the switch of their worker.
const WITHIN: Duration = Duration::from_secs(2);
/// The code of a connection that was open, and is refused now.
const REVOKED: &str = "connection.revoked";

/// The state of a worker, as its open connections follow it.
pub(crate) type FollowedState = watch::Receiver<Rc<WorkerState>>;

/// The chain of a listener after the next swap, at a moment within the bound.
pub(crate) async fn next_chain(
    state: &mut FollowedState,
    listener: &str,
    random: Random,
) -> Rc<Chain> {
    loop {
        if state.changed().await.is_err() {
            // The worker ends, and its connections with it.
            std::future::pending::<()>().await;
        }
        let most = u64::try_from(WITHIN.as_millis()).unwrap_or(u64::MAX);
        tokio::time::sleep(Duration::from_millis(random.below(most))).await;
        let now = state.borrow_and_update();
        // Without its listener a connection ends anyway.
        if let Some((_, chain)) = now.listener(listener) {
            return Rc::clone(chain);
        }
    }
}

/// Whether each slot of one list is also in the other.
pub(crate) fn are_same<'a>(
    one: impl ExactSizeIterator<Item = &'a Rc<Slot>>,
    other: impl ExactSizeIterator<Item = &'a Rc<Slot>>,
) -> bool {
    one.len() == other.len() && one.zip(other).all(|(one, other)| one.is_same(other))
}

/// Ends with the refusal when a guard that a swap changed refuses the request that became a tunnel. `request` is that
/// request after its hooks, `rule` the rule of a route that matched it; the router of each chain is asked for the rule that matches it
/// there.
pub(crate) async fn refused_later(
    mut request: Exchange,
    mut judge: Rc<Chain>,
    mut rule: Option<Arc<str>>,
    listener: &str,
    (mut state, random): (FollowedState, Random),
) -> TcpRefusal {
    loop {
        let chain = next_chain(&mut state, listener, random).await;
        // A request that no rule matches any more keeps the rule that it had.
        let now = rule_again(&chain, &request).await.or_else(|| rule.clone());
        let moved = now != rule;
        rule = now;
        if let (true, Some(rule)) = (moved, &rule) {
            request.attributes.set(ROUTE_NAME, Arc::clone(rule));
        }
        let guards = chain.request.iter().filter(|slot| slot.guards());
        for slot in guards.filter(|slot| slot.is_for(rule.as_deref())) {
            let known = judge.request.iter().any(|one| one.is_same(slot));
            // What it decided about another rule is no decision about this one.
            let judged = known && !(moved && slot.is_behind_router());
            if !judged && let Some(refusal) = slot.refuses_again(&mut request).await {
                return refusal;
            }
        }
        judge = chain;
    }
}

/// Ends with the refusal when a swap withdraws the trust domain of a peer; never for a member of this mesh.
pub(crate) async fn withdrawn_later(
    peer: Option<FederatedPeer>,
    mut state: FollowedState,
    listener: &str,
    random: Random,
) -> TcpRefusal {
    let Some(peer) = peer else { return std::future::pending().await };
    while peer.stands() {
        drop(next_chain(&mut state, listener, random).await);
    }
    TcpRefusal::withdrawn(peer.id())
}

/// Ends the exchange of a connection that was open.
pub(crate) fn revoke(mut state: Box<ExchangeState>, refusal: TcpRefusal) {
    let TcpRefusal { code, detail, slot, .. } = refusal;
    let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
    state.reason = Some(REVOKED.into());
    state.detail = Some(format!("since a change it is refused: {code}{detail}"));
    state.answered_by = slot;
    state.outcome.insert(Outcome::REFUSED_BY_FILTER);
    state.end(Outcome::RESET);
}

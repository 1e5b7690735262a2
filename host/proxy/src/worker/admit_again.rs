//! Asks the connection hooks again about a connection that is open, after a swap that changed them.

use super::admit::{facts, judge, turns};
use super::handle::Worker;
use crate::chain::Chain;
use crate::connection::Connection;
use crate::reconsider::{FollowedState, are_same, next_chain};
use crate::tcp_refusal::TcpRefusal;
use std::rc::Rc;
use tamis_transport::ConnectionInfo;

impl Worker {
    /// Ends with the refusal when the hooks of a later generation refuse a connection that the hooks of `judged` admitted, or
    /// the trust domain of its peer is withdrawn.
    pub(super) async fn refused_later(
        &self,
        mut judged: Rc<Chain>,
        connection: &Connection,
        info: &ConnectionInfo,
        mut state: FollowedState,
    ) -> TcpRefusal {
        loop {
            let chain = next_chain(&mut state, &connection.listener, self.shared.random).await;
            if let Some(id) = connection.withdrawn() {
                return TcpRefusal::withdrawn(id);
            }
            if !are_hooks_same(&judged, &chain) {
                turns(&chain).await;
                let facts = facts(self.id(), connection, info);
                if let Err(refusal) = judge(&chain, &connection.listener, &facts) {
                    return refusal;
                }
            }
            judged = chain;
        }
    }
}

/// Whether the same filters decide about the connections of both.
fn are_hooks_same(one: &Chain, other: &Chain) -> bool {
    let (hooks, others) = (one.connection.iter(), other.connection.iter());
    are_same(one.closed.iter(), other.closed.iter())
        && are_same(hooks.map(|it| &it.slot), others.map(|it| &it.slot))
}

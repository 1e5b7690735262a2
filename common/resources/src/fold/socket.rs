//! A socket of a proxy, without its chain.

use crate::kinds::Listener;
use crate::plan::{
    AddressPlan, ChainPlan, ListenerPlan, ListenerRulesPlan, TlsPlan, TrafficDirection,
};

/// A socket, and for a gateway the listener it belongs to.
#[derive(Clone)]
pub(super) struct Socket<'a> {
    pub(super) plan: ListenerPlan,
    pub(super) listener: Option<&'a Listener>,
}

/// A socket of that name and address, which has no chain yet.
pub(super) fn socket<'a>(
    (name, address): (&str, String),
    tls: Option<TlsPlan>,
    direction: TrafficDirection,
    rules: ListenerRulesPlan,
    listener: Option<&'a Listener>,
) -> Socket<'a> {
    let (name, address) = (name.to_owned(), AddressPlan::Tcp(address));
    let chain = ChainPlan { attachments: Vec::new() };
    let (tcp, captured, plaintext) = (None, None, None);
    let plan =
        ListenerPlan { name, address, tls, direction, chain, rules, tcp, captured, plaintext };
    Socket { plan, listener }
}

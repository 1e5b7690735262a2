//! Calls the router for an exchange. The host has no routes of its own.

use crate::chain::Chain;
use crate::exchange::ExchangeState;
use crate::slot::{RouteQuestion, Slot};
use crate::stop::{ExchangeStop, FilterAnswer};
use std::rc::Rc;
use std::sync::Arc;
use tamis_exchange::{Choice, Exchange, ROUTER_REASON, Reply, Selection};

/// Where the router sends an exchange as it is now.
pub(crate) enum Destination {
    /// To a service.
    Service(Selection),
    /// Back to the client.
    Answer(FilterAnswer),
    /// Nowhere: no rule matches, or there is no router.
    Unmatched,
}

/// Calls the router of the chain, after the one that extends it, and stores the rule.
pub(crate) async fn ask(state: &mut ExchangeState) -> Result<Destination, ExchangeStop> {
    state.rule = None;
    if let Some(extension) = state.chain.extension.clone() {
        let (rules, services) = state.chain.beyond_router();
        match extension.ask_waiting(&RouteQuestion, state).await? {
            Some(Choice::Extend) => {}
            Some(Choice::Forward(mut selection)) => {
                selection.rule = selection.rule.saturating_add(rules);
                selection.backend = selection.backend.saturating_add(services);
                for mirror in &mut selection.mirrors {
                    mirror.backend = mirror.backend.saturating_add(services);
                }
                return Ok(chosen(state, extension, Choice::Forward(selection)));
            }
            Some(choice) => return Ok(chosen(state, extension, choice)),
            None => return Ok(Destination::Unmatched),
        }
    }
    let Some(router) = state.chain.router.clone() else { return Ok(Destination::Unmatched) };
    let choice = router.ask_waiting(&RouteQuestion, state).await?.unwrap_or(Choice::Unmatched);
    Ok(chosen(state, router, choice))
}

/// The rule that a chain has for a request that became a tunnel in another one; `None`: it has none, or answers the request
/// itself, or cannot choose.
pub(crate) async fn rule_again(chain: &Chain, request: &Exchange) -> Option<Arc<str>> {
    let mut rule = None;
    if let Some(extension) = &chain.extension {
        match extension.chooses_again(request).await.ok()? {
            Choice::Extend => {}
            Choice::Forward(selection) => {
                let (rules, _) = chain.beyond_router();
                rule = Some(selection.rule.saturating_add(rules));
            }
            Choice::Answer(_) | Choice::Unmatched => return None,
        }
    }
    if rule.is_none()
        && let Choice::Forward(selection) =
            chain.router.as_ref()?.chooses_again(request).await.ok()?
    {
        rule = Some(selection.rule);
    }
    chain.rule_name(rule?).cloned()
}

/// The destination that a router chose.
fn chosen(state: &mut ExchangeState, router: Rc<Slot>, choice: Choice) -> Destination {
    let selection = match choice {
        Choice::Forward(selection) => selection,
        Choice::Answer(mut reply) => {
            let reason = stated(&mut reply);
            return Destination::Answer(FilterAnswer { slot: router, reply, reason });
        }
        Choice::Unmatched | Choice::Extend => return Destination::Unmatched,
    };
    state.rule = Some(selection.rule);
    if let Some(name) = state.chain.rule_name(selection.rule) {
        state.exchange.attributes.set("route.name", Arc::clone(name));
    }
    Destination::Service(selection)
}

/// The reason that a router states in its reply, which is no header of the response.
fn stated(reply: &mut Reply) -> Option<String> {
    let at = reply.headers.iter().position(|field| field.name == ROUTER_REASON)?;
    String::from_utf8(reply.headers.swap_remove(at).value).ok()
}

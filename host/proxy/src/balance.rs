//! Weights of endpoints, as the balancer filter says them, off the way of requests: when a generation is taken, and then
//! at most once a second for services whose endpoints or statistics changed. Picking reads the weights and no more.

use crate::generation::Generation;
use crate::local::Local;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tamis_engine::EndpointState;
use tamis_exchange::NameKind;
use tamis_upstream::EndpointView;

/// A service that a balancer weighs.
pub(crate) struct Balanced {
    filter: usize,
    service: usize,
    /// What it was shown last.
    shown: RefCell<Vec<EndpointState>>,
}

/// Who weighs what: a service has the balancer of the first chain that may send to it.
pub(crate) fn plan(generation: &Generation) -> Vec<Balanced> {
    let mut balanced: Vec<Balanced> = Vec::new();
    for chain in &generation.chains {
        let Some(filter) = chain.balancer else { continue };
        for &service in chain.backends.iter().chain(chain.tunnels.iter().flatten()).flatten() {
            if !balanced.iter().any(|one| one.service == service) {
                balanced.push(Balanced { filter, service, shown: RefCell::default() });
            }
        }
    }
    balanced
}

/// Weighs everything for the first time, as soon as names are resolved.
pub(crate) fn begin(local: &Rc<Local>) {
    for index in 0..local.balanced.len() {
        let local = Rc::clone(local);
        drop(tokio::task::spawn_local(async move {
            let Some(balanced) = local.balanced.get(index) else { return };
            let Some(upstream) = local.upstreams.get(balanced.service) else { return };
            // What does not resolve now is weighed when it does.
            if upstream.resolve().await.is_ok() {
                weigh(&local, balanced);
            }
        }));
    }
}

/// Asks the balancer about a service if there is news.
pub(crate) fn weigh(local: &Local, balanced: &Balanced) {
    let Some(upstream) = local.upstreams.get(balanced.service) else { return };
    let endpoints = upstream.endpoints();
    let states: Vec<_> = endpoints.iter().map(|seen| state(local, seen)).collect();
    let same = states.len() == balanced.shown.borrow().len()
        && states.iter().zip(balanced.shown.borrow().iter()).all(|(a, b)| is_same(a, b));
    if same {
        return;
    }
    let service = local.intern(NameKind::Upstream, Some(upstream.name()));
    let said = local.call(balanced.filter, |instance| instance.weigh(service, &states));
    let attached = local.attached(balanced.filter);
    let attachment = attached.map(|one| one.name.as_str()).unwrap_or_default();
    match said {
        Ok(weights) => {
            if let Err(refused) = upstream.set_weights(&weights) {
                let service = upstream.name();
                tracing::warn!(attachment, service, "weights are not taken: {refused}");
            }
            balanced.shown.replace(states);
        }
        Err(fault) => {
            let (kind, service) = (fault.kind(), upstream.name());
            tracing::warn!(attachment, service, kind, "a balancer failed; weights stay");
        }
    }
}

fn state(local: &Local, seen: &EndpointView) -> EndpointState {
    EndpointState {
        id: local.intern(NameKind::Endpoint, Some(&seen.name)),
        configured_weight: seen.configured_weight,
        in_flight: seen.in_flight,
        ewma_latency_us: seen.ewma_latency_us,
        success_permille: seen.success_permille,
        age_ms: millis(seen.age),
        // Resources know no zones: everything is in one.
        local_zone: true,
    }
}

/// Whether nothing changed but the time.
fn is_same(a: &EndpointState, b: &EndpointState) -> bool {
    EndpointState { age_ms: b.age_ms, ..*a } == *b
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::ChainLayout;

    #[test]
    fn a_service_is_weighed_by_the_first_chain_that_reaches_it() {
        let mut generation = Generation::empty();
        let chain = |balancer, backends: &[Option<usize>]| ChainLayout {
            balancer,
            backends: backends.to_vec(),
            tunnels: vec![vec![Some(7), None]],
            ..ChainLayout::default()
        };
        generation.chains = vec![
            chain(None, &[Some(0)]),
            chain(Some(4), &[Some(1), None, Some(1)]),
            chain(Some(5), &[Some(1), Some(2)]),
        ];
        let planned: Vec<_> =
            plan(&generation).iter().map(|one| (one.filter, one.service)).collect();
        assert_eq!(planned, [(4, 1), (4, 7), (5, 2)]);
    }

    #[test]
    fn time_alone_is_no_news() {
        let before = EndpointState { age_ms: 1, ..EndpointState::default() };
        assert!(is_same(&before, &EndpointState { age_ms: 2, ..before }));
        assert!(!is_same(&before, &EndpointState { in_flight: 1, ..before }));
    }
}

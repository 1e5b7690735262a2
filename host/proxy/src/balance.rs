//! Weights of endpoints, from the balancer filter. It is called outside of requests: when a generation
//! starts to serve, and then at most once a second for services whose endpoints or statistics changed.
//! Requests only read the weights.

use crate::names::NumberedNames;
use crate::slot::Slot;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tamis_engine::EndpointState;
use tamis_exchange::NameKind;
use tamis_upstream::{EndpointView, Upstream};

/// A service that a balancer weighs, and what both were last.
pub(crate) struct WeighedService {
    slot: Rc<Slot>,
    upstream: Rc<Upstream>,
    names: NumberedNames,
    /// What the balancer was shown last.
    shown: RefCell<Vec<EndpointState>>,
}

/// Weighs everything for the first time, as soon as names are resolved.
pub(crate) fn begin(all: &[Rc<WeighedService>]) {
    for balancing in all {
        let balancing = Rc::clone(balancing);
        drop(tokio::task::spawn_local(async move {
            // A name that does not resolve now is weighed when it does.
            if balancing.upstream.resolve().await.is_ok() {
                balancing.weigh();
            }
        }));
    }
}

impl WeighedService {
    pub(crate) fn new(slot: Rc<Slot>, upstream: Rc<Upstream>, names: NumberedNames) -> Self {
        Self { slot, upstream, names, shown: RefCell::default() }
    }

    /// Asks the balancer about the service if there is news.
    pub(crate) fn weigh(&self) {
        let (upstream, attachment) = (&self.upstream, self.slot.name());
        let endpoints = upstream.endpoints();
        let states: Vec<_> = endpoints.iter().map(|one| self.state(one)).collect();
        let same = states.len() == self.shown.borrow().len()
            && states.iter().zip(self.shown.borrow().iter()).all(|(a, b)| is_same(a, b));
        if same {
            return;
        }
        let service = self.names.number(NameKind::Upstream, Some(upstream.name()));
        match self.slot.call(|instance| instance.weigh(service, &states)) {
            Ok(weights) => {
                if let Err(refused) = upstream.set_weights(&weights) {
                    let service = upstream.name();
                    tracing::warn!(attachment, service, "the weights are refused: {refused}");
                }
                self.shown.replace(states);
            }
            Err(fault) => {
                let (kind, service) = (fault.kind(), upstream.name());
                tracing::warn!(
                    attachment,
                    service,
                    kind,
                    "a balancer filter failed; the previous weights stay"
                );
            }
        }
    }

    fn state(&self, seen: &EndpointView) -> EndpointState {
        EndpointState {
            id: self.names.number(NameKind::Endpoint, Some(&seen.name)),
            configured_weight: seen.configured_weight,
            in_flight: seen.in_flight,
            ewma_latency_us: seen.ewma_latency_us,
            success_permille: seen.success_permille,
            age_ms: millis(seen.age),
            // Resources contain no zones: everything is in one.
            local_zone: true,
        }
    }
}

/// Whether nothing changed except the time.
fn is_same(a: &EndpointState, b: &EndpointState) -> bool {
    EndpointState { age_ms: b.age_ms, ..*a } == *b
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_alone_is_no_news() {
        let before = EndpointState { age_ms: 1, ..EndpointState::default() };
        assert!(is_same(&before, &EndpointState { age_ms: 2, ..before }));
        assert!(!is_same(&before, &EndpointState { in_flight: 1, ..before }));
    }
}

//! One worker's services: endpoints, pools, and the pick of an endpoint.

use crate::ask::BreakerQuestion;
use crate::attempt::Attempt;
use crate::circuit::admission::{Admission, Ticket};
use crate::config::ServiceConfig;
use crate::endpoints::{Endpoint, Endpoints};
use crate::pick::{Pick, PickFailure, choose, pick_where_all_closed};
use crate::pool::place::CopyPlace;
use crate::pools::Pools;
use crate::resolve::NameResolver;
use crate::service_state::ServiceState;
use crate::service_table::ServiceTable;
use crate::time_limit::{LimitReached, SpareTimers};
use crate::weigh::{EndpointView, WeightsError};
use http::HeaderName;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tamis_transport::ResponseLimits;

/// Interval between checks for connections that were idle for too long.
const SWEEP: Duration = Duration::from_secs(5);

/// One worker's connections to upstreams. Lives in a `LocalSet` or a `LocalRuntime`.
pub struct Upstreams {
    table: ServiceTable,
    pools: Rc<Pools>,
    names: Rc<NameResolver>,
}

impl Upstreams {
    /// Without services. Must be called inside a `LocalSet`.
    pub fn new(table: ServiceTable) -> Self {
        let pools = Rc::new(Pools::default());
        let swept = Rc::downgrade(&pools);
        drop(tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                let Some(pools) = swept.upgrade() else { return };
                pools.sweep();
            }
        }));
        Self { names: Rc::new(NameResolver::new(table.clock())), table, pools }
    }

    /// Adopts a generation's services, in order. Connections to unchanged endpoints are kept; others end
    /// with their last request.
    pub fn apply(&self, services: &Arc<Vec<ServiceConfig>>) -> Vec<Rc<Upstream>> {
        let upstreams = services.iter().enumerate().map(|(index, config)| {
            Rc::new(Upstream {
                services: Arc::clone(services),
                index,
                name: config.name.clone(),
                state: self.table.service(config),
                endpoints: Endpoints::new(config, &self.names),
                pools: Rc::clone(&self.pools),
                picks: Cell::new(self.table.random().number()),
                timers: SpareTimers::default(),
            })
        });
        let upstreams = upstreams.collect();
        self.pools.adopt(services);
        upstreams
    }
}

/// A service in one generation.
pub struct Upstream {
    services: Arc<Vec<ServiceConfig>>,
    index: usize,
    name: String,
    state: Arc<ServiceState>,
    endpoints: Endpoints,
    pools: Rc<Pools>,
    /// Counts picks, from a random start: the place in a round robin.
    picks: Cell<u64>,
    /// For the time limits of attempts.
    timers: SpareTimers,
}

impl Upstream {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its configuration; `None` only if the generation changed under it, which does not happen.
    fn config(&self) -> Option<&ServiceConfig> {
        self.services.get(self.index)
    }

    /// The header whose value keeps requests together, if the policy names one.
    pub fn hash_header(&self) -> Option<&HeaderName> {
        self.config()?.settings.hash_header.as_ref()
    }

    /// The budget of its responses in addition to their content.
    pub fn response_limits(&self) -> ResponseLimits {
        self.config().map(|config| config.settings.response).unwrap_or_default()
    }

    /// Ready with the result of `work`, which is that of an attempt, or once it took as long as `limit`.
    pub fn within<'a, F: Future + 'a>(
        &'a self,
        limit: Duration,
        work: F,
    ) -> impl Future<Output = Result<F::Output, LimitReached>> + use<'a, F> {
        self.timers.within(limit, work)
    }

    /// Whether there is only one known endpoint: another attempt has no other place to go.
    pub fn is_single(&self) -> bool {
        self.endpoints.known().iter().filter(|one| one.weight.get() > 0).count() <= 1
    }

    /// Counts a request for the retry budget, once per exchange.
    pub fn note_request(&self) {
        self.state.note_request();
    }

    /// Retries that the budget would allow now.
    pub fn budget_left(&self) -> u32 {
        self.state.budget_left()
    }

    /// Takes one retry from the budget; false when it is used up.
    pub fn spend_retry(&self) -> bool {
        self.state.spend_retry()
    }

    /// Takes a hedge from the same budget; false when it is used up.
    pub fn spend_hedge(&self) -> bool {
        self.state.spend_hedge()
    }

    /// Counts a hedge that responded first.
    pub fn note_hedge_won(&self) {
        self.state.note_hedge_won();
    }

    /// Resolves names and lists the endpoints, so that they can be [weighed](Self::endpoints) before the
    /// first request.
    ///
    /// # Errors
    /// A name was never resolved.
    pub async fn resolve(&self) -> Result<(), PickFailure> {
        let config = self.config().ok_or(PickFailure::NoEndpoint)?;
        self.list(config).await.map(drop)
    }

    /// The last list of endpoints, for a balancer to weigh.
    pub fn endpoints(&self) -> Vec<EndpointView> {
        self.endpoints.known().iter().map(EndpointView::of).collect()
    }

    /// Sets the weights for picking, in the order of [`Upstream::endpoints`], until the next call. An
    /// endpoint with a configured weight of 0 stays at 0.
    ///
    /// # Errors
    /// The number of weights differs from that of endpoints, or all would be 0. The weights then stay as
    /// they are.
    pub fn set_weights(&self, weights: &[u32]) -> Result<(), WeightsError> {
        let endpoints = self.endpoints.known();
        if endpoints.len() != weights.len() {
            return Err(WeightsError::Count { endpoints: endpoints.len(), weights: weights.len() });
        }
        let of = |(one, weight): (&Endpoint, &u32)| if one.configured == 0 { 0 } else { *weight };
        let weights: Vec<u32> = endpoints.iter().zip(weights).map(of).collect();
        if !endpoints.is_empty() && weights.iter().all(|weight| *weight == 0) {
            return Err(WeightsError::None);
        }
        for (one, weight) in endpoints.iter().zip(weights) {
            one.weight.set(weight);
        }
        Ok(())
    }

    async fn list(&self, config: &ServiceConfig) -> Result<Rc<Vec<Endpoint>>, PickFailure> {
        let endpoints = self.endpoints.list(config, &self.state, &self.pools).await;
        endpoints.map_err(|unresolved| PickFailure::Unresolved {
            host: unresolved.host,
            cause: unresolved.cause,
        })
    }

    /// Picks an endpoint, one not in `tried` if its circuit lets the attempt pass. Waits only for a name
    /// that was never resolved.
    ///
    /// # Errors
    /// The reason why there is none.
    pub async fn pick(
        self: &Rc<Self>,
        tried: &[String],
        hash: Option<u64>,
    ) -> Result<Pick, PickFailure> {
        let config = self.config().ok_or(PickFailure::NoEndpoint)?;
        let endpoints = self.list(config).await?;
        let limit = config.settings.max_requests;
        if limit.is_some_and(|limit| self.state.in_flight.load(Ordering::Relaxed) >= limit) {
            return Err(PickFailure::Overloaded);
        }
        if !endpoints.iter().any(|endpoint| endpoint.weight.get() > 0) {
            return Err(PickFailure::NoEndpoint);
        }
        let turn = self.picks.get();
        self.picks.set(turn.wrapping_add(1));
        let (algorithm, random) = (config.settings.algorithm, self.state.random);
        let picked = pick_where_all_closed(&endpoints, tried, hash, algorithm, turn, random);
        if let Some(endpoint) = picked.and_then(|index| endpoints.get(index)) {
            match endpoint.state.admit() {
                Admission::Pass(ticket) => {
                    return Ok(Pick::Attempt(self.attempt(endpoint, ticket, config)));
                }
                // Another worker opened it just now; the caller who gets the question must ask it.
                Admission::Ask => {
                    return Ok(Pick::Ask(BreakerQuestion::new(&self.state, &endpoint.state)));
                }
                Admission::Refuse(_) => {}
            }
        }
        self.pick_one_by_one(&endpoints, config, (tried, hash, turn))
    }

    /// Picks where some circuit is not closed: circuits are checked one by one, endpoints already tried last.
    fn pick_one_by_one(
        &self,
        endpoints: &[Endpoint],
        config: &ServiceConfig,
        (tried, hash, turn): (&[String], Option<u64>, u64),
    ) -> Result<Pick, PickFailure> {
        let (algorithm, random) = (config.settings.algorithm, self.state.random);
        let panics = panics(endpoints, config.settings.panic_percent);
        let mut refused = vec![false; endpoints.len()];
        let mut soonest = Duration::MAX;
        for again in [false, true] {
            loop {
                let may = |index: usize| {
                    let was_tried = endpoints
                        .get(index)
                        .is_some_and(|one| tried.iter().any(|name| **name == *one.state.name));
                    !refused.get(index).copied().unwrap_or(true) && (again || !was_tried)
                };
                let Some(index) = choose(endpoints, may, hash, algorithm, turn, random) else {
                    break;
                };
                let Some(endpoint) = endpoints.get(index) else { break };
                match endpoint.state.admit() {
                    Admission::Pass(ticket) => {
                        return Ok(Pick::Attempt(self.attempt(endpoint, ticket, config)));
                    }
                    Admission::Ask => {
                        return Ok(Pick::Ask(BreakerQuestion::new(&self.state, &endpoint.state)));
                    }
                    Admission::Refuse(_) if panics => {
                        let ticket = endpoint.state.admit_regardless();
                        return Ok(Pick::Attempt(self.attempt(endpoint, ticket, config)));
                    }
                    Admission::Refuse(left) => {
                        soonest = soonest.min(left);
                        if let Some(slot) = refused.get_mut(index) {
                            *slot = true;
                        }
                    }
                }
            }
        }
        let retry_in_ms = u32::try_from(soonest.as_millis()).unwrap_or(u32::MAX);
        Err(PickFailure::CircuitOpen { retry_in_ms })
    }

    /// An endpoint for the copy of a request, and a place that the copy keeps until it is over; `None`: requests need all that there
    /// is. It takes no probe of a circuit, asks nobody about one, and is none of the requests that the service may have.
    pub async fn pick_copy(self: &Rc<Self>) -> Option<(Attempt, CopyPlace)> {
        let config = self.config()?;
        let endpoints = self.list(config).await.ok()?;
        let may = |index: usize| {
            endpoints.get(index).is_some_and(|one| !one.state.not_closed.load(Ordering::Relaxed))
        };
        let turn = self.picks.get();
        self.picks.set(turn.wrapping_add(1));
        let (algorithm, random) = (config.settings.algorithm, self.state.random);
        let index = choose(&endpoints, may, None, algorithm, turn, random)?;
        let endpoint = endpoints.get(index)?;
        let place = CopyPlace::take(&endpoint.pool)?;
        Some((Attempt::of_copy(&self.state, endpoint, config.settings.slow_call), place))
    }

    fn attempt(&self, endpoint: &Endpoint, ticket: Ticket, config: &ServiceConfig) -> Attempt {
        Attempt::new(&self.state, endpoint, ticket, config.settings.slow_call)
    }
}

/// Whether so few circuits are closed that they are ignored.
fn panics(endpoints: &[Endpoint], percent: u32) -> bool {
    let weighted = || endpoints.iter().filter(|one| one.weight.get() > 0);
    let closed = weighted().filter(|one| !one.state.not_closed.load(Ordering::Relaxed)).count();
    closed * 100 < weighted().count() * percent as usize
}

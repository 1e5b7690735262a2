//! The filters of a listener in one worker, by hook, and the targets of their choices.

use crate::generation::ChainLayout;
use crate::heads::Owners;
use crate::hedges::Hedges;
use crate::names::NumberedNames;
use crate::slot::{LongCallTurns, Slot, Slots};
use crate::telemetry::Telemetry;
use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use tamis_engine::{FilterState, Responses};
use tamis_exchange::{Edit, Selector};
use tamis_resources::plan::TrafficDirection;
use tamis_upstream::Upstream;

/// The filters that the exchanges of a listener pass. All references are resolved: a request never looks
/// anything up by a number that means something else elsewhere.
pub(crate) struct Chain {
    /// The number of its generation.
    pub(crate) generation: u64,
    /// Which way its traffic flows.
    pub(crate) direction: TrafficDirection,
    /// All slots of the generation, by their numbers.
    pub(crate) slots: Slots,
    /// Request hooks, in order.
    pub(crate) request: Vec<Rc<Slot>>,
    /// Request body hooks, in order.
    pub(crate) request_body: Vec<Rc<Slot>>,
    /// Response hooks that see responses of upstreams, in their order.
    pub(crate) response: Vec<Rc<Slot>>,
    /// Response hooks that see responses written in this proxy, in their order.
    pub(crate) local_response: Vec<Rc<Slot>>,
    /// Response body hooks, in their order.
    pub(crate) response_body: Vec<Rc<Slot>>,
    /// Hooks on the trailers of requests, in order.
    pub(crate) request_trailers: Vec<Rc<Slot>>,
    /// Hooks on the trailers of responses, in their order.
    pub(crate) response_trailers: Vec<Rc<Slot>>,
    /// Slots in which only the candidate has a request hook.
    pub(crate) candidate_request: Vec<Rc<Slot>>,
    /// Slots in which only the candidate has a response hook.
    pub(crate) candidate_response: Vec<Rc<Slot>>,
    /// Chooses the route.
    pub(crate) router: Option<Rc<Slot>>,
    /// Chooses the route before it, or leaves the choice to it.
    pub(crate) extension: Option<Rc<Slot>>,
    /// Called when an attempt failed.
    pub(crate) retry: Option<Rc<Slot>>,
    /// Opens and closes circuits.
    pub(crate) breaker: Option<Rc<Slot>>,
    /// Plans second attempts.
    pub(crate) hedge: Option<Rc<Slot>>,
    /// The plans of the hedge filter.
    pub(crate) hedges: Option<Rc<Hedges>>,
    /// Decide about connections.
    pub(crate) connection: Vec<ConnectionSlot>,
    /// Close the `tcp` port that they guard.
    pub(crate) closed: Vec<Rc<Slot>>,
    /// The service of a `tcp` port.
    pub(crate) tcp: Option<Rc<Upstream>>,
    /// The services that routes send connections to; `None`: unknown to this proxy.
    pub(crate) routed: Vec<Option<Rc<Upstream>>>,
    /// Its connections are carried unread.
    pub(crate) unread: bool,
    /// The services that the router chooses from; `None`: unknown to this proxy.
    pub(crate) backends: Vec<Option<Rc<Upstream>>>,
    /// See the end of each exchange.
    pub(crate) finished: Vec<Rc<Slot>>,
    /// States of filters that store values per exchange.
    pub(crate) keepers: Vec<Arc<FilterState>>,
    /// Receives exchanges that ended.
    pub(crate) telemetry: Telemetry,
    /// The owners of the fields that its filters write.
    pub(crate) owners: Arc<Owners>,
    /// The turns of long calls in its worker.
    pub(crate) long_calls: LongCallTurns,
    /// The names of its worker.
    pub(crate) names: NumberedNames,
}

/// A slot that decides about connections, and the services that it may send them to.
pub(crate) struct ConnectionSlot {
    pub(crate) slot: Rc<Slot>,
    /// `None`: unknown to this proxy.
    pub(crate) backends: Vec<Option<Rc<Upstream>>>,
}

/// Where a chain is.
pub(crate) struct ChainPlace {
    /// Number of its generation.
    pub(crate) generation: u64,
    /// Which way its traffic flows.
    pub(crate) direction: TrafficDirection,
    /// The turns of long calls in its worker.
    pub(crate) long_calls: LongCallTurns,
    /// The names of its worker.
    pub(crate) names: NumberedNames,
}

impl Chain {
    /// Whether one of its connection hooks takes so long that it waits for turns.
    pub(crate) fn connects_slowly(&self) -> bool {
        self.connection.iter().any(|asked| asked.slot.waits_for_turns())
    }

    /// Whether a filter decides about every request who may pass.
    pub(crate) fn guards_requests(&self) -> bool {
        self.request.iter().any(|slot| slot.guards() && slot.is_for(None))
    }

    /// Whether a filter decides about every connection who may pass, or closes the port.
    pub(crate) fn guards_connections(&self) -> bool {
        !self.closed.is_empty() || self.connection.iter().any(|asked| asked.slot.guards())
    }

    /// Drops what its filters kept for an exchange.
    pub(crate) fn end(&self, exchange: u64) {
        self.keepers.iter().for_each(|state| state.end(exchange));
    }

    /// The chain of that layout.
    pub(crate) fn new(
        place: ChainPlace,
        layout: &ChainLayout,
        slots: &Slots,
        upstreams: &[Rc<Upstream>],
        hedges: Option<Rc<Hedges>>,
        telemetry: Telemetry,
    ) -> Self {
        let ChainPlace { generation, direction, long_calls, names } = place;
        let one = |number: usize| slots.get(number).cloned();
        let some = |numbers: &[usize]| numbers.iter().filter_map(|number| one(*number)).collect();
        let seeing = |which: fn(Responses) -> bool| {
            let mut slots: Vec<Rc<Slot>> = some(&layout.response);
            slots.retain(|slot| slot.filter().is_some_and(|filter| which(filter.responses())));
            slots
        };
        let keepers: Vec<Rc<Slot>> = some(&layout.keepers);
        let states = keepers.iter().filter_map(|slot| Some(Arc::clone(slot.filter()?.state())));
        let states: Vec<Arc<FilterState>> = states.collect();
        let services = |places: &[Option<usize>]| -> Vec<_> {
            places.iter().map(|place| upstreams.get((*place)?).cloned()).collect()
        };
        let connection = layout.connection.iter().zip(&layout.tunnels);
        let connection = connection.filter_map(|(number, places)| {
            Some(ConnectionSlot { slot: one(*number)?, backends: services(places) })
        });
        Self {
            generation,
            direction,
            slots: Rc::clone(slots),
            request: some(&layout.request),
            request_body: some(&layout.request_body),
            response: seeing(Responses::has_upstream),
            local_response: seeing(Responses::has_local),
            response_body: some(&layout.response_body),
            request_trailers: some(&layout.request_trailers),
            response_trailers: some(&layout.response_trailers),
            candidate_request: some(&layout.candidate_request),
            candidate_response: some(&layout.candidate_response),
            router: layout.router.and_then(one),
            extension: layout.extension.and_then(one),
            retry: layout.retry.and_then(one),
            breaker: layout.breaker.and_then(one),
            hedge: layout.hedge.and_then(one),
            hedges,
            connection: connection.collect(),
            closed: some(&layout.closed),
            unread: layout.unread,
            tcp: layout.tcp.and_then(|at| upstreams.get(at).cloned()),
            routed: services(&layout.routed),
            backends: services(&layout.backends),
            finished: some(&layout.finished),
            keepers: states,
            telemetry,
            owners: Arc::clone(&layout.owners),
            long_calls,
            names,
        }
    }

    /// The name of a rule. The rules of the extension are numbered after those of the router, and so are its
    /// services.
    pub(crate) fn rule_name(&self, rule: u32) -> Option<&Arc<str>> {
        let own = rules_of(self.router.as_ref());
        let beyond =
            || rules_of(self.extension.as_ref()).get((rule as usize).checked_sub(own.len())?);
        own.get(rule as usize).or_else(beyond)
    }

    /// The names of all rules, by their numbers.
    pub(crate) fn rules(&self) -> Cow<'_, [Arc<str>]> {
        match &self.extension {
            None => Cow::Borrowed(rules_of(self.router.as_ref())),
            extension => {
                let all = [rules_of(self.router.as_ref()), rules_of(extension.as_ref())];
                Cow::Owned(all.concat())
            }
        }
    }

    /// The numbers of the first rule and of the first service of the extension.
    pub(crate) fn beyond_router(&self) -> (u32, u32) {
        let services = self.router.as_ref().and_then(|slot| slot.filter());
        let services = services.map_or(0, |filter| filter.backends().len());
        let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
        (number(rules_of(self.router.as_ref()).len()), number(services))
    }

    /// The router that has a rule.
    pub(crate) fn router_of(&self, rule: Option<u32>) -> Option<&Rc<Slot>> {
        let extension = self.extension.as_ref();
        let extension =
            extension.filter(|_| rule.is_some_and(|rule| rule >= self.beyond_router().0));
        extension.or(self.router.as_ref())
    }

    /// Both routers, as far as there are.
    pub(crate) fn routers(&self) -> impl Iterator<Item = &Rc<Slot>> {
        self.router.iter().chain(&self.extension)
    }

    /// Whether one of `edits` changes what a router of the chain sees.
    pub(crate) fn routers_read(&self, edits: &[Edit]) -> bool {
        let mut filters = self.routers().filter_map(|router| router.filter());
        filters.any(|filter| sees(filter.reads().selectors(), edits))
    }

    /// A service of the router's.
    pub(crate) fn backend(&self, backend: u32) -> Option<&Rc<Upstream>> {
        self.backends.get(backend as usize)?.as_ref()
    }

    /// What the routers of the chain call a service, as they return it in `backends`.
    pub(crate) fn backend_name(&self, backend: u32) -> Option<&str> {
        let mut at = backend as usize;
        for router in self.routers().filter_map(|slot| slot.filter()) {
            let own = router.backends();
            match own.get(at) {
                Some(name) => return Some(name),
                None => at = at.saturating_sub(own.len()),
            }
        }
        None
    }

    /// Whether this proxy may send a request again, or a second time in parallel.
    pub(crate) fn may_send_again(&self) -> bool {
        self.retry.is_some() || self.hedge.is_some()
    }
}

/// The rules of a router.
fn rules_of(router: Option<&Rc<Slot>>) -> &[Arc<str>] {
    router.and_then(|slot| slot.filter()).map_or(&[], |filter| filter.rules())
}

/// Whether one of `edits` changes what one of `selectors` selects.
fn sees(selectors: &[Selector], edits: &[Edit]) -> bool {
    edits.iter().any(|edit| {
        selectors.iter().any(|selector| match (edit, selector) {
            (Edit::SetPath(_), Selector::Path) | (Edit::SetAuthority(_), Selector::Authority) => {
                true
            }
            (
                Edit::SetHeader(line) | Edit::AddHeader(line),
                Selector::Header(name) | Selector::RequestHeader(name),
            ) => line.name == name.as_str(),
            (
                Edit::RemoveHeader(removed),
                Selector::Header(name) | Selector::RequestHeader(name),
            ) => removed == name.as_str(),
            (
                Edit::SetHeader(_) | Edit::AddHeader(_) | Edit::RemoveHeader(_),
                Selector::AllHeaders,
            ) => true,
            (Edit::SetAttribute { name, .. }, Selector::Attribute(read)) => **read == **name,
            _ => false,
            // The method is a part of every view.
        }) || matches!(edit, Edit::SetMethod(_))
    })
}

//! One worker's part of a generation: its slots, its chains, its services.

use crate::balance::WeighedService;
use crate::chain::{Chain, ChainPlace};
use crate::counts::SlotLedger;
use crate::generation::{ChainLayout, Generation, ListenerConfig, SocketKey};
use crate::hedges::Hedges;
use crate::mesh_calls::{Callee, Callees, MeshCall};
use crate::names::NumberedNames;
use crate::shadow::{ExchangeSampler, Shadows};
use crate::slot::{LongCallTurns, Slot, SlotMaker, Slots};
use crate::telemetry::Telemetry;
use crate::worker::listener_place::{ListenerPlace, ListenerWay};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use tamis_ambient::Clock;
use tamis_engine::{FetchFailure, Filter};
use tamis_resources::plan::TrafficDirection;
use tamis_upstream::Upstream;
use tokio::sync::Notify;

/// The worker, and where it counts.
#[derive(Clone, Copy)]
pub(crate) struct WorkerPlace<'a> {
    pub(crate) worker: u64,
    pub(crate) clock: Clock,
    pub(crate) ledger: &'a SlotLedger,
    pub(crate) shadows: &'a Shadows,
}

/// The parts of a generation that one worker uses. Made once, when the worker switches to it; only here the
/// numbers of a layout are resolved.
pub(crate) struct WorkerState {
    pub(crate) generation: Arc<Generation>,
    /// By the numbers of the generation's chains.
    pub(crate) chains: Vec<Rc<Chain>>,
    /// Services that a balancer weighs.
    pub(crate) balanced: Vec<Rc<WeighedService>>,
    /// All services of the generation.
    pub(crate) services: Vec<Rc<Upstream>>,
    /// Made when a filter calls the first of them.
    pub(crate) callees: OnceCell<Callees>,
    /// By name: the position of the listener in the generation.
    listeners: HashMap<String, usize>,
    /// The positions of the listeners of each socket.
    sockets: HashMap<SocketKey, Vec<usize>>,
    /// Of sockets to which the kernel leads connections: the position of the listener for each address that an
    /// application may have connected to, and of the one for all others.
    captured: HashMap<SocketKey, CapturedPlaces>,
    slots: Slots,
    names: NumberedNames,
    /// One for all generations of a worker, as the worker waits for it.
    pending: Rc<Notify>,
    /// One for all generations of a worker.
    long_calls: LongCallTurns,
}

/// The listeners of captured connections of one socket, by their position in the generation.
#[derive(Default)]
struct CapturedPlaces {
    destinations: HashMap<SocketAddr, usize>,
    others: Option<usize>,
}

impl WorkerState {
    /// Switches to a generation; state of filters that were in `before` as well is kept.
    pub(crate) fn new(
        generation: Arc<Generation>,
        upstreams: &[Rc<Upstream>],
        before: Option<&Self>,
        place: WorkerPlace<'_>,
    ) -> Self {
        let WorkerPlace { worker, clock, ledger, shadows } = place;
        let long_calls = before.map(|before| before.long_calls.clone());
        let long_calls = long_calls.unwrap_or_else(|| LongCallTurns::new(clock));
        let maker = SlotMaker {
            before: before.map(|before| &*before.slots).unwrap_or_default(),
            cells: &|slot, digest| ledger.cells(worker, slot, digest),
            queue: shadows.queue(),
            sampler: Rc::new(ExchangeSampler::new(shadows.per_second())),
            view: Rc::default(),
            long_calls: long_calls.clone(),
        };
        let attachments = generation.filters.iter().enumerate();
        let slots: Slots =
            attachments.map(|(number, one)| Rc::new(maker.slot(number, one))).collect();
        let names = before.map(|before| before.names.clone()).unwrap_or_default();
        let pending: Rc<Notify> =
            before.map(|before| Rc::clone(&before.pending)).unwrap_or_default();
        // A telemetry filter that is new here received no name yet.
        names.forget_sent();
        let resolved = ResolvedParts { slots: &slots, upstreams, names: &names, pending: &pending };
        let chains = resolved.chains(&generation, before, (clock, &long_calls));
        let balanced = generation.weighed_services().into_iter().filter_map(|place| {
            let (slot, upstream) = (slots.get(place.filter)?, upstreams.get(place.service)?);
            let names = names.clone();
            Some(Rc::new(WeighedService::new(Rc::clone(slot), Rc::clone(upstream), names)))
        });
        let balanced = balanced.collect();
        let listeners = generation.listeners.iter().enumerate();
        let listeners = listeners.map(|(at, one)| (one.name.clone(), at)).collect();
        let mut sockets: HashMap<SocketKey, Vec<usize>> = HashMap::new();
        for (at, listener) in generation.listeners.iter().enumerate() {
            sockets.entry(SocketKey::of(listener)).or_default().push(at);
        }
        let captured = captured_places(&generation.listeners);
        let (services, callees) = (upstreams.to_vec(), OnceCell::new());
        Self {
            generation,
            chains,
            balanced,
            services,
            callees,
            listeners,
            sockets,
            captured,
            slots,
            names,
            pending,
            long_calls,
        }
    }

    /// The turns of long calls in its worker.
    pub(crate) fn turns(&self) -> LongCallTurns {
        self.long_calls.clone()
    }

    /// The listener of that name and its chain.
    pub(crate) fn listener(&self, name: &str) -> Option<(&ListenerConfig, &Rc<Chain>)> {
        let listener = self.generation.listeners.get(*self.listeners.get(name)?)?;
        Some((listener, self.chains.get(listener.chain)?))
    }

    /// The service that a call of a filter names.
    pub(crate) fn callee(&self, call: &MeshCall) -> Result<Callee, FetchFailure> {
        let callees = self.callees.get_or_init(|| Callees::of(&self.chains, &self.services));
        callees.find(call)
    }

    /// Where connections of its listeners come in.
    pub(crate) fn listener_places(&self) -> impl Iterator<Item = ListenerPlace> {
        self.generation.listeners.iter().flat_map(|one| {
            let place =
                |way| ListenerPlace { key: SocketKey::of(one), listener: one.name.clone(), way };
            let quic = one.serves_http3().then(|| place(ListenerWay::Quic));
            let way =
                if one.takes_datagrams() { ListenerWay::Datagrams } else { ListenerWay::Stream };
            std::iter::once(place(way)).chain(quic)
        })
    }

    /// The listeners of a socket, of which a host has at most one.
    pub(crate) fn listeners_of<'a>(
        &'a self,
        key: &SocketKey,
    ) -> impl Iterator<Item = &'a ListenerConfig> + use<'a> {
        let places = self.sockets.get(key).map(Vec::as_slice).unwrap_or_default();
        places.iter().filter_map(|at| self.generation.listeners.get(*at))
    }

    /// The listener for a connection that the kernel led to a socket, and the host that routes its requests.
    pub(crate) fn captured(
        &self,
        key: &SocketKey,
        destination: SocketAddr,
    ) -> Option<(&ListenerConfig, Option<&Arc<str>>)> {
        let places = self.captured.get(key)?;
        let place = places.destinations.get(&destination).copied().or(places.others)?;
        let listener = self.generation.listeners.get(place)?;
        let host = listener.captured.as_ref()?.destinations.get(&destination);
        Some((listener, host.and_then(Option::as_ref)))
    }

    /// Calls the filters that decide on statistics, if those changed.
    pub(crate) fn review_statistics(&self) {
        for chain in &self.chains {
            if let (Some(hedges), Some(slot)) = (&chain.hedges, &chain.hedge) {
                hedges.plan(slot, &chain.rules());
            }
        }
        for balancing in &self.balanced {
            balancing.weigh();
        }
    }

    /// Whether any filter decides on statistics.
    pub(crate) fn reviews_statistics(&self) -> bool {
        !self.balanced.is_empty() || self.chains.iter().any(|chain| chain.hedges.is_some())
    }

    /// Notified when the first summary of a batch waits.
    pub(crate) fn pending(&self) -> Rc<Notify> {
        Rc::clone(&self.pending)
    }

    /// Sends pending summaries to the telemetry filters of every chain.
    pub(crate) fn flush(&self) {
        self.chains.iter().for_each(|chain| chain.telemetry.flush());
    }
}

fn captured_places(listeners: &[ListenerConfig]) -> HashMap<SocketKey, CapturedPlaces> {
    let mut all: HashMap<SocketKey, CapturedPlaces> = HashMap::new();
    for (at, listener) in listeners.iter().enumerate() {
        let Some(captured) = &listener.captured else { continue };
        let places = all.entry(SocketKey::of(listener)).or_default();
        places.destinations.extend(captured.destinations.keys().map(|address| (*address, at)));
        if captured.others {
            places.others = Some(at);
        }
    }
    all
}

/// The parts of a worker that the numbers of a layout mean.
struct ResolvedParts<'a> {
    slots: &'a Slots,
    upstreams: &'a [Rc<Upstream>],
    names: &'a NumberedNames,
    pending: &'a Rc<Notify>,
}

impl ResolvedParts<'_> {
    /// The chains of a generation; statistics of those in `before` are kept.
    fn chains(
        &self,
        generation: &Generation,
        before: Option<&WorkerState>,
        (clock, long_calls): (Clock, &LongCallTurns),
    ) -> Vec<Rc<Chain>> {
        let Self { slots, upstreams, names, pending } = *self;
        let receivers = telemetry_slots(&generation.chains, slots);
        let chains = generation.chains.iter().enumerate().map(|(number, layout)| {
            let telemetry = layout.telemetry.iter();
            let telemetry = telemetry.filter_map(|number| slots.get(*number).cloned()).collect();
            let telemetry = Telemetry::new(telemetry, Rc::clone(&receivers), names.clone());
            let telemetry = telemetry.notifying(Rc::clone(pending));
            let before = before.and_then(|before| before.chains.get(number));
            let hedges = hedges(layout, slots, before, clock);
            let place = ChainPlace {
                generation: generation.number,
                direction: direction(generation, number),
                long_calls: long_calls.clone(),
                names: names.clone(),
            };
            Rc::new(Chain::new(place, layout, slots, upstreams, hedges, telemetry))
        });
        chains.collect()
    }
}

/// The telemetry slots of all chains, each once.
fn telemetry_slots(chains: &[ChainLayout], slots: &Slots) -> Rc<[Rc<Slot>]> {
    let mut numbers: Vec<usize> = Vec::new();
    for number in chains.iter().flat_map(|chain| &chain.telemetry) {
        if !numbers.contains(number) {
            numbers.push(*number);
        }
    }
    numbers.into_iter().filter_map(|number| slots.get(number).cloned()).collect()
}

/// The direction of a chain's listener. The chains of tests have no listener.
fn direction(generation: &Generation, chain: usize) -> TrafficDirection {
    let mut listeners = generation.listeners.iter();
    let listener = listeners.find(|listener| listener.chain == chain);
    listener.map_or(TrafficDirection::Gateway, |listener| listener.direction)
}

/// Statistics of a chain's rules; those of `before` are kept while router and hedge filter stay the same.
fn hedges(
    layout: &ChainLayout,
    slots: &Slots,
    before: Option<&Rc<Chain>>,
    clock: Clock,
) -> Option<Rc<Hedges>> {
    let (hedge, routers) = (slots.get(layout.hedge?)?, [layout.router, layout.extension]);
    let routers = routers.into_iter().flatten().filter_map(|number| slots.get(number)?.filter());
    let routers: Vec<&Filter> = routers.collect();
    let rules = routers.iter().map(|router| router.rules().len()).sum();
    let kept = before.and_then(|before| {
        let old: Vec<&Filter> = before.routers().filter_map(|router| router.filter()).collect();
        let mut pairs = old.iter().zip(&routers);
        let same = old.len() == routers.len() && pairs.all(|(one, other)| one.is_same(other));
        let same = same && before.hedge.as_ref()?.is_same(hedge);
        if same { before.hedges.clone() } else { None }
    });
    Some(kept.unwrap_or_else(|| Rc::new(Hedges::new(rules, clock))))
}

impl WorkerState {
    /// Whether requests choose among the listeners of a listener's socket.
    pub(super) fn is_chosen_by_requests(&self, one: &ListenerConfig) -> bool {
        one.tls.is_none() && !one.rules.has_all_hosts() && self.beside(one).nth(1).is_some()
    }

    /// The listeners of a listener's socket, itself among them.
    pub(super) fn beside<'a>(
        &'a self,
        one: &ListenerConfig,
    ) -> impl Iterator<Item = &'a ListenerConfig> + use<'a> {
        self.listeners_of(&SocketKey::of(one))
    }
}

//! One worker's view of a generation: an instance of every filter, the upstreams, the names.

use crate::balance::{self, Balanced};
use crate::counts::{Cells, Ledger};
use crate::generation::{Attachment, ChainLayout, Generation, Occupant};
use crate::hedge::Hedges;
use crate::names::Names;
use crate::shadow::{Queue, Sampler, Shadows};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use tamis_engine::{CallFault, Filter, Hook, Instance};
use tamis_exchange::{Decision, Exchange, NONE, NameKind, Summary, View};
use tamis_upstream::Upstream;

/// Instances kept for calls that wait, for each filter of a worker.
const SPARE_MAX: usize = 16;

/// A filter's instances in this worker; shared by generations that have the same filter.
pub(crate) struct Instances {
    filter: Filter,
    direct: RefCell<Instance>,
    spare: RefCell<Vec<Instance>>,
}

impl Instances {
    fn new(filter: &Filter) -> Self {
        Self {
            filter: filter.clone(),
            direct: RefCell::new(filter.instance()),
            spare: RefCell::default(),
        }
    }

    /// Calls a hook that does not wait.
    pub(crate) fn call<R>(
        &self,
        hook: impl FnOnce(&mut Instance) -> Result<R, CallFault>,
    ) -> Result<R, CallFault> {
        hook(&mut self.direct.borrow_mut())
    }

    async fn request_waiting(&self, view: &View) -> Result<Decision, CallFault> {
        let _place = self.filter.wait()?;
        let spare = self.spare.borrow_mut().pop();
        let mut instance = spare.unwrap_or_else(|| self.filter.instance());
        let decision = instance.on_request_async(view).await;
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            spare.push(instance);
        }
        decision
    }
}

/// Whose view it is, and where that worker counts.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) worker: u64,
    pub(crate) ledger: &'a Ledger,
    pub(crate) shadows: &'a Shadows,
}

/// Everything of a generation that one worker touches on the way of a request.
pub(crate) struct Local {
    pub(crate) generation: Arc<Generation>,
    pub(crate) upstreams: Vec<Rc<Upstream>>,
    pub(crate) listeners: HashMap<String, usize>,
    instances: Vec<Option<Rc<Instances>>>,
    /// Where this worker counts what each filter does.
    cells: Vec<Option<Arc<Cells>>>,
    /// The way to those that compare shadows; none while there are none.
    pub(crate) shadows: Option<Queue>,
    pub(crate) sampler: Sampler,
    /// One numbering for all generations of a worker: a telemetry filter may live through several.
    names: Rc<RefCell<Names>>,
    batches: Vec<RefCell<Vec<Summary>>>,
    view: RefCell<View>,
    /// For each chain with a hedge filter what that planned.
    hedges: Vec<Option<Rc<Hedges>>>,
    /// Services that a balancer weighs.
    pub(crate) balanced: Vec<Balanced>,
}

/// Exchanges told at once (contract: 64 or 100 ms, whichever first).
pub(crate) const BATCH: usize = 64;

impl Local {
    /// Takes a generation over; what `before` has of the same filters goes on.
    pub(crate) fn new(
        generation: Arc<Generation>,
        upstreams: Vec<Rc<Upstream>>,
        before: Option<&Self>,
        place: Place<'_>,
    ) -> Self {
        let Place { worker, ledger, shadows } = place;
        let instances = generation.filters.iter().map(|attached| match &attached.occupant {
            Occupant::Refused(_) => None,
            Occupant::Running(filter) => Some(
                before
                    .and_then(|before| before.instances_of(filter))
                    .unwrap_or_else(|| Rc::new(Instances::new(filter))),
            ),
        });
        let instances = instances.collect();
        let cells = generation.filters.iter().map(|attached| match &attached.occupant {
            Occupant::Refused(_) => None,
            Occupant::Running(filter) => {
                Some(ledger.cells(worker, &attached.name, filter.digest()))
            }
        });
        let cells = cells.collect();
        let listeners = generation.listeners.iter().enumerate();
        let listeners = listeners.map(|(index, one)| (one.name.clone(), index)).collect();
        let names: Rc<RefCell<Names>> =
            before.map(|before| Rc::clone(&before.names)).unwrap_or_default();
        // A telemetry filter that is new here has heard no name yet.
        names.borrow_mut().forget_told();
        let hedges = (0..generation.chains.len()).map(|chain| hedges(&generation, chain, before));
        let hedges = hedges.collect();
        let balanced = balance::plan(&generation);
        let batches = generation.chains.iter().map(|_| RefCell::default()).collect();
        Self {
            generation,
            upstreams,
            listeners,
            instances,
            cells,
            shadows: shadows.queue(),
            sampler: Sampler::new(shadows.per_second()),
            names,
            batches,
            view: RefCell::default(),
            hedges,
            balanced,
        }
    }

    /// What the hedge filter of that chain planned, if there is one.
    pub(crate) fn hedges(&self, chain: usize) -> Option<&Hedges> {
        self.hedges.get(chain)?.as_deref()
    }

    /// Lets filters that decide on statistics look at those that changed.
    pub(crate) fn look(&self) {
        for (index, hedges) in self.hedges.iter().enumerate() {
            let filter = self.chain(index).and_then(|chain| chain.hedge);
            if let (Some(hedges), Some(filter)) = (hedges, filter) {
                hedges.plan(self, index, filter);
            }
        }
        for balanced in &self.balanced {
            balance::weigh(self, balanced);
        }
    }

    fn instances_of(&self, filter: &Filter) -> Option<Rc<Instances>> {
        self.instances.iter().flatten().find(|one| one.filter.is_same(filter)).cloned()
    }

    pub(crate) fn chain(&self, index: usize) -> Option<&ChainLayout> {
        self.generation.chains.get(index)
    }

    pub(crate) fn attached(&self, index: usize) -> Option<&Attachment> {
        self.generation.filters.get(index).map(|attachment| &**attachment)
    }

    /// The filter at `index` unless it was refused.
    pub(crate) fn filter(&self, index: usize) -> Option<&Filter> {
        match &self.attached(index)?.occupant {
            Occupant::Running(filter) => Some(filter),
            Occupant::Refused(_) => None,
        }
    }

    /// Where to count what the filter at `index` does; none when it was refused.
    pub(crate) fn cells(&self, index: usize) -> Option<&Cells> {
        self.cells.get(index)?.as_deref()
    }

    /// An answer that breaks the contract is a fault like any other: counted, logged, and the filter's breaker knows.
    pub(crate) fn broke(&self, index: usize, hook: Hook, rule: impl Into<String>) -> CallFault {
        let fault = match self.filter(index) {
            Some(filter) => filter.broke(hook, rule.into()),
            None => CallFault::Lift(rule.into()),
        };
        if let Some(cells) = self.cells(index) {
            cells.faulted(&fault);
        }
        fault
    }

    /// Counts a call without a verdict.
    fn counted<R>(&self, index: usize, answer: Result<R, CallFault>) -> Result<R, CallFault> {
        if let (Err(fault), Some(cells)) = (&answer, self.cells(index)) {
            cells.faulted(fault);
        }
        answer
    }

    pub(crate) fn rule_name(&self, chain: usize, rule: u32) -> Option<&str> {
        let router = self.filter(self.chain(chain)?.router?)?;
        router.rules().get(rule as usize).map(String::as_str)
    }

    /// Calls a hook of the filter at `index`.
    pub(crate) fn call<R>(
        &self,
        index: usize,
        hook: impl FnOnce(&mut Instance) -> Result<R, CallFault>,
    ) -> Result<R, CallFault> {
        let answer = match self.instances.get(index) {
            Some(Some(instances)) => instances.call(hook),
            _ => Err(CallFault::Instantiate("the filter was refused".to_owned())),
        };
        self.counted(index, answer)
    }

    /// Calls a hook with what the filter declared to see of the request.
    pub(crate) fn call_request<R>(
        &self,
        index: usize,
        exchange: &Exchange,
        hook: impl FnOnce(&mut Instance, &View) -> Result<R, CallFault>,
    ) -> Result<R, CallFault> {
        let mut view = self.view.take();
        if let Some(filter) = self.filter(index) {
            view.fill_request(filter.reads(), exchange);
        }
        let answer = self.call(index, |instance| hook(instance, &view));
        self.view.replace(view);
        answer
    }

    /// Asks a request hook, waiting if its filter may call out.
    pub(crate) async fn ask_request(
        &self,
        index: usize,
        exchange: &Exchange,
    ) -> Result<Decision, CallFault> {
        match self.filter(index) {
            Some(filter) if filter.suspends_requests() => {
                let mut view = View::default();
                view.fill_request(filter.reads(), exchange);
                let answer = match self.instances.get(index) {
                    // Boxed: no room for it in exchanges whose filters do not wait.
                    Some(Some(instances)) => Box::pin(instances.request_waiting(&view)).await,
                    _ => Err(CallFault::Instantiate("the filter was refused".to_owned())),
                };
                self.counted(index, answer)
            }
            _ => self.call_request(index, exchange, |instance, view| instance.on_request(view)),
        }
    }

    /// Asks a response hook.
    pub(crate) fn ask_response(
        &self,
        index: usize,
        exchange: &Exchange,
    ) -> Result<Decision, CallFault> {
        let mut view = self.view.take();
        if let Some(filter) = self.filter(index) {
            view.fill_response(filter.reads(), exchange);
        }
        let answer = self.call(index, |instance| instance.on_response(&view));
        self.view.replace(view);
        answer
    }

    /// The number of a name in summaries and circuit questions.
    pub(crate) fn intern(&self, kind: NameKind, name: Option<&str>) -> u32 {
        name.map_or(NONE, |name| self.names.borrow_mut().intern(kind, name))
    }

    /// Whether somebody wants summaries of this chain.
    pub(crate) fn has_telemetry(&self, chain: usize) -> bool {
        self.chain(chain).is_some_and(|chain| !chain.telemetry.is_empty())
    }

    /// Adds a finished exchange to its chain's batch.
    pub(crate) fn tell(&self, chain: usize, summary: Summary) {
        let Some(batch) = self.batches.get(chain) else { return };
        let full = {
            let mut batch = batch.borrow_mut();
            batch.push(summary);
            batch.len() >= BATCH
        };
        if full {
            self.flush(chain);
        }
    }

    /// Tells the telemetry filters of every chain what is still untold.
    pub(crate) fn flush_all(&self) {
        for chain in 0..self.batches.len() {
            self.flush(chain);
        }
    }

    fn flush(&self, index: usize) {
        let (Some(batch), Some(chain)) = (self.batches.get(index), self.chain(index)) else {
            return;
        };
        let batch = batch.take();
        if batch.is_empty() {
            return;
        }
        let news = self.names.borrow_mut().untold();
        if !news.is_empty() {
            // Every telemetry filter hears every name, whichever chain it serves.
            let mut told = Vec::new();
            for listener in self.generation.chains.iter().flat_map(|chain| &chain.telemetry) {
                if told.contains(listener) {
                    continue;
                }
                told.push(*listener);
                for (kind, first, names) in &news {
                    self.report(
                        *listener,
                        self.call(*listener, |i| i.on_names(*kind, *first, names)),
                    );
                }
            }
        }
        for &filter in &chain.telemetry {
            self.report(filter, self.call(filter, |instance| instance.on_exchanges(&batch)));
        }
    }

    /// A fault of a telemetry filter costs its batch and makes it forget the names.
    fn report(&self, index: usize, answer: Result<(), CallFault>) {
        if let Err(fault) = answer {
            self.names.borrow_mut().forget_told();
            let attachment = self.attached(index).map(|one| one.name.as_str());
            tracing::warn!(attachment, kind = fault.kind(), "a telemetry filter failed: {fault}");
        }
    }
}

/// Statistics of a chain's rules; those of `before` go on while router and hedge filter stay the same.
fn hedges(generation: &Generation, chain: usize, before: Option<&Local>) -> Option<Rc<Hedges>> {
    type Pair<'a> = (&'a Filter, &'a Attachment);
    fn parts(generation: &Generation, chain: usize) -> Option<Pair<'_>> {
        let chain = generation.chains.get(chain)?;
        let (router, hedge) = (chain.router?, &**generation.filters.get(chain.hedge?)?);
        match &generation.filters.get(router)?.occupant {
            Occupant::Running(router) => Some((router, hedge)),
            Occupant::Refused(_) => None,
        }
    }
    let (router, hedge) = parts(generation, chain)?;
    let kept = before.and_then(|before| {
        let (old_router, old_hedge) = parts(&before.generation, chain)?;
        let same = match (&old_hedge.occupant, &hedge.occupant) {
            (Occupant::Running(old), Occupant::Running(new)) => old.is_same(new),
            _ => false,
        };
        let same = same && old_hedge.scope == hedge.scope && old_router.is_same(router);
        if same { before.hedges.get(chain)?.clone() } else { None }
    });
    Some(kept.unwrap_or_else(|| Rc::new(Hedges::new(router.rules().len()))))
}

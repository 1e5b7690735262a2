//! An instance of a filter in one worker: calls go in, values come out, and nothing survives a failure.

use crate::exports::{BodyHook, Exports};
use crate::filter::Filter;
use crate::host::Host;
use crate::imports::output::end_line;
use crate::running::RunningInstance;
use crate::state::Tally;
use crate::trap::classify;
use crate::{CallFault, Contract, EndpointState, Hook, Isolation, Latencies, abi, maker};
use std::sync::Arc;
use std::time::Instant;
use tamis_ambient::Clock;
use tamis_exchange as x;
use wasmtime::Store;

/// A filter's instance in one worker. Its methods take `&mut self`: an instance serves one call at a time.
///
/// After a [`CallFault`] the next call uses another instance, as soon as one is ready: a maker thread makes
/// it.
pub struct Instance {
    filter: Filter,
    direct: Option<RunningInstance>,
    suspending: Option<RunningInstance>,
    spans: Vec<abi::Span>,
    tally: Arc<Tally>,
    /// Largest memory that was reported.
    memory_told: u64,
    /// See [`Self::failures`].
    failures: u64,
    /// It lost its instance and none was ready.
    lacks: bool,
    /// Start of the call that may suspend.
    began: Instant,
    /// Exchange of the last call; 0 outside of exchanges.
    exchange: u64,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("filter", &self.filter).finish_non_exhaustive()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.filter.plan().state.close(&self.tally);
        if self.lacks {
            self.filter.supply.settled();
        }
    }
}

macro_rules! call {
    ($self:ident, $hook:expr, $exchange:expr, $slot:ident ( $($param:expr),* )) => {
        $self.call($hook, $exchange, |exports, store| {
            exports.$slot.as_ref().map(|slot| slot.call(store, ($($param,)*))).transpose()
        })
    };
}

/// The same for a call that may suspend.
macro_rules! call_waiting {
    ($self:ident, $hook:expr, $slot:ident ($view:ident)) => {{
        let call =
            async |exports: &Exports, store: &mut Store<Host>, seen: abi::View<'_>| match exports
                .$slot
                .as_ref()
            {
                Some(slot) => slot.call_async(store, (seen,)).await.map(Some),
                None => Ok(None),
            };
        $self.waiting($hook, $view, call).await
    }};
}

impl Filter {
    /// A fresh instance, configured on the calling thread; lasts as long as `configure`. Do not call it on
    /// a worker.
    ///
    /// # Errors
    /// Memory is short, or `configure`, which succeeded before, now fails.
    pub fn instantiate(&self) -> Result<Instance, CallFault> {
        Instance::new(self.clone())
    }

    /// An instance for a worker, without waiting: its first call takes an instance that is ready, and calls
    /// fail while none is.
    pub fn instance(&self) -> Instance {
        Instance::empty(self.clone())
    }
}

impl Instance {
    /// An instance that is made on the calling thread.
    fn new(filter: Filter) -> Result<Self, CallFault> {
        let plan = filter.plan();
        let running =
            RunningInstance::configured(plan, &plan.direct, &plan.state).map_err(|error| {
                plan.state.breaker.failed();
                CallFault::Instantiate(error.to_string())
            })?;
        let mut instance = Self::empty(filter);
        instance.direct = Some(running);
        Ok(instance)
    }

    /// An instance that takes what is ready at its first call.
    fn empty(filter: Filter) -> Self {
        let (tally, began) = (filter.plan().state.tally(), filter.plan().state.clock.now());
        let (direct, suspending, spans) = (None, None, Vec::new());
        Self {
            filter,
            direct,
            suspending,
            spans,
            tally,
            memory_told: 0,
            failures: 0,
            lacks: false,
            began,
            exchange: 0,
        }
    }

    fn clock(&self) -> Clock {
        self.filter.plan().state.clock
    }

    /// The filter it is an instance of.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Whether its last call, of that hook, would have sent a request or compared a password and waited for it: only for a
    /// [`Filter::shadow`] whose grant lets the hook.
    pub fn would_wait(&self, hook: Hook) -> bool {
        let wanted = |host: &Host| host.sends > 0 || host.comparisons > 0;
        self.filter.plan().state.is_shadow()
            && self.filter.plan().lets_wait(hook)
            && self.direct.as_ref().is_some_and(|running| wanted(running.store.data()))
    }

    /// Calls `on-request` with a request head.
    ///
    /// # Errors
    /// Any fault; apply the attachment's failure mode.
    pub fn on_request(&mut self, view: &x::View) -> Result<x::Decision, CallFault> {
        let (decision,) = self.viewed(view, |this, seen| {
            call!(this, Hook::Request, view.exchange, on_request(seen))
        })?;
        self.right(Hook::Request, decision.checked(self.body_bytes()))
    }

    /// Calls `on-response` with a response head.
    ///
    /// # Errors
    /// Any fault; apply the attachment's failure mode.
    pub fn on_response(&mut self, view: &x::View) -> Result<x::Decision, CallFault> {
        let (decision,) = self.viewed(view, |this, seen| {
            call!(this, Hook::Response, view.exchange, on_response(seen))
        })?;
        self.right(Hook::Response, decision.checked(self.body_bytes()))
    }

    /// Calls `on-request-body` with a chunk, or with the whole body when it is buffered, and with the declared
    /// fields of the head.
    ///
    /// # Errors
    /// Any fault; apply the attachment's failure mode.
    pub fn on_request_body(
        &mut self,
        view: &x::View,
        octets: &[u8],
        last: bool,
    ) -> Result<x::Decision, CallFault> {
        self.on_body(
            Hook::RequestBody,
            |exports| exports.on_request_body.as_ref(),
            view,
            octets,
            last,
        )
    }

    /// Calls `on-response-body` with a chunk, or with the whole body when it is buffered, and with the declared
    /// fields of the head.
    ///
    /// # Errors
    /// Any fault; apply the attachment's failure mode.
    pub fn on_response_body(
        &mut self,
        view: &x::View,
        octets: &[u8],
        last: bool,
    ) -> Result<x::Decision, CallFault> {
        self.on_body(
            Hook::ResponseBody,
            |exports| exports.on_response_body.as_ref(),
            view,
            octets,
            last,
        )
    }

    fn on_body(
        &mut self,
        hook: Hook,
        slot: fn(&Exports) -> Option<&BodyHook>,
        view: &x::View,
        octets: &[u8],
        last: bool,
    ) -> Result<x::Decision, CallFault> {
        if view.truncated && !self.sees_nothing_of(hook) {
            return Err(CallFault::ViewTruncated);
        }
        let mut spans = std::mem::take(&mut self.spans);
        let seen = abi::View::of(view, &mut spans);
        let answer = self.call(hook, view.exchange, |exports, store| {
            slot(exports)
                .map(|slot| slot.call(store, view.exchange, seen, octets, last))
                .transpose()
        });
        self.spans = spans;
        let (decision,) = answer?;
        self.right(hook, decision.checked(octets.len(), self.body_bytes()))
    }

    /// Calls `on-route`: the route of a request. Indices in the answer are within `backends` and `rules`.
    ///
    /// # Errors
    /// Any fault, including an index out of range.
    pub fn on_route(&mut self, view: &x::View) -> Result<x::Choice, CallFault> {
        let (choice,) = self
            .viewed(view, |this, seen| call!(this, Hook::Router, view.exchange, on_route(seen)))?;
        let choice = self.right(Hook::Router, choice.checked(self.body_bytes()))?;
        self.known(choice)
    }

    /// A choice whose indices are within `backends` and `rules`.
    fn known(&self, choice: x::Choice) -> Result<x::Choice, CallFault> {
        let (backends, rules) = (self.filter.backends().len(), self.filter.rules().len());
        if let x::Choice::Forward(selection) = &choice {
            let known = |index: u32, len: usize| (index as usize) < len;
            if !known(selection.rule, rules)
                || !known(selection.backend, backends)
                || !selection.mirrors.iter().all(|m| known(m.backend, backends))
            {
                let rule = "an index beyond `backends` or `rules`";
                return Err(self.filter.broke(Hook::Router, self.exchange, rule.to_owned()));
            }
        }
        Ok(choice)
    }

    /// Calls `on-failure`: whether a failed attempt is retried.
    ///
    /// # Errors
    /// Any fault; treat it as `give-up`.
    pub fn on_failure(
        &mut self,
        failure: &x::Failure,
        view: &x::View,
    ) -> Result<x::RetryDecision, CallFault> {
        let failure = abi::Failure::from(failure);
        let (decision,) = self.viewed(view, |this, seen| {
            call!(this, Hook::Retry, view.exchange, on_failure(failure, seen))
        })?;
        self.right(Hook::Retry, decision.checked())
    }

    /// Calls `evaluate`: the circuit of an upstream, or of one of its endpoints.
    ///
    /// # Errors
    /// Any fault; keep the circuit unchanged.
    pub fn evaluate(
        &mut self,
        upstream: u32,
        endpoint: Option<u32>,
        window: &x::Window,
        circuit: x::Circuit,
    ) -> Result<x::Circuit, CallFault> {
        let (window, circuit) = (abi::Window::from(window), abi::Circuit::from(circuit));
        call!(self, Hook::CircuitBreaker, 0, evaluate(upstream, endpoint, window, circuit))
            .map(|(circuit,)| circuit.into())
    }

    /// Calls `weigh`: a weight for each endpoint, in order.
    ///
    /// # Errors
    /// Any fault, including a wrong count; keep the weights unchanged.
    pub fn weigh(
        &mut self,
        upstream: u32,
        endpoints: &[EndpointState],
    ) -> Result<Vec<u32>, CallFault> {
        let states: Vec<_> = endpoints.iter().map(abi::EndpointState::from).collect();
        let (weights,) = call!(self, Hook::Balancer, 0, weigh(upstream, &states))?;
        if weights.len() == endpoints.len() {
            return Ok(weights);
        }
        let rule = format!("{} weights for {} endpoints", weights.len(), endpoints.len());
        Err(self.filter.broke(Hook::Balancer, self.exchange, rule))
    }

    /// Calls `plan` of `hedge`: the microseconds after which a second attempt starts.
    ///
    /// # Errors
    /// Any fault; do not hedge.
    pub fn hedge(&mut self, latencies: &Latencies) -> Result<Option<u32>, CallFault> {
        let latencies = abi::Latencies::from(latencies);
        call!(self, Hook::Hedge, 0, plan(latencies)).map(|(delay,)| delay)
    }

    /// Calls `on-request-trailers` with the trailers of a request and the declared fields of its head.
    ///
    /// # Errors
    /// Any fault; apply the attachment's failure mode.
    pub fn on_request_trailers(&mut self, view: &x::View) -> Result<x::Decision, CallFault> {
        let (decision,) = self.viewed(view, |this, seen| {
            call!(this, Hook::Trailers, view.exchange, on_request_trailers(seen))
        })?;
        self.right(Hook::Trailers, decision.checked())
    }

    /// Calls `on-response-trailers` with the trailers of a response and the declared fields of its head.
    ///
    /// # Errors
    /// Any fault; apply the attachment's failure mode.
    pub fn on_response_trailers(&mut self, view: &x::View) -> Result<x::Decision, CallFault> {
        let (decision,) = self.viewed(view, |this, seen| {
            call!(this, Hook::Trailers, view.exchange, on_response_trailers(seen))
        })?;
        self.right(Hook::Trailers, decision.checked())
    }

    /// Calls `on-finished` with the end of an exchange.
    ///
    /// # Errors
    /// Any fault of the call. The exchange has ended anyway.
    pub fn on_finished(
        &mut self,
        view: &x::View,
        ending: &x::ExchangeEnding,
    ) -> Result<(), CallFault> {
        let ending = abi::ExchangeEnding::from(ending);
        self.viewed(view, |this, seen| {
            call!(this, Hook::Finished, view.exchange, on_finished(seen, ending))
        })
    }

    /// Calls `on-names` with interned names, before a batch uses them.
    ///
    /// # Errors
    /// Any fault. A fresh instance knows no names: pass them again after any fault.
    pub fn on_names(
        &mut self,
        kind: x::NameKind,
        first: u32,
        names: &[String],
    ) -> Result<(), CallFault> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        call!(self, Hook::Telemetry, 0, on_names(kind.into(), first, &names))
    }

    /// Calls `on-exchanges` with finished exchanges, and with what they had in the fields that the filter
    /// declared.
    ///
    /// # Errors
    /// Any fault; the batch is lost.
    pub fn on_exchanges(
        &mut self,
        batch: &[x::Summary],
        kept: &x::KeptFields,
    ) -> Result<(), CallFault> {
        let batch: Vec<_> = batch.iter().map(abi::Summary::from).collect();
        let spans: Vec<_> = kept.spans.iter().map(abi::KeptFieldSpan::from).collect();
        let kept = abi::KeptBatch { octets: &kept.octets, spans: &spans };
        self.call(Hook::Telemetry, 0, |exports, store| {
            exports.on_exchanges.as_ref().map(|slot| slot.call(store, &batch, kept)).transpose()
        })
    }

    /// Calls `on-connection`.
    ///
    /// # Errors
    /// Any fault; apply the attachment's failure mode.
    pub fn on_connection(&mut self, view: &x::View) -> Result<x::ConnectionDecision, CallFault> {
        let (decision,) = self.viewed(view, |this, seen| {
            call!(this, Hook::Connection, view.exchange, on_connection(seen))
        })?;
        self.right(Hook::Connection, decision.checked())
    }

    /// Calls `on-tick`: background work. Returns the milliseconds to the next call, at least 100, or `None`
    /// to stop.
    ///
    /// A filter that may send requests runs this in an instance of its own, so that it never blocks the
    /// hooks; what it learns reaches them through `kv`. Dropping the future drops that instance.
    ///
    /// # Errors
    /// Any fault; call again later.
    pub async fn on_tick(&mut self) -> Result<Option<u32>, CallFault> {
        let (delay,) = if self.filter.plan().suspending.is_some() {
            self.suspended(Hook::Tick, 0).await?;
            let answer = match self.suspending.as_mut() {
                Some(RunningInstance { store, exports, .. }) => match exports.on_tick.as_ref() {
                    Some(slot) => slot.call_async(store, ()).await.map(Some),
                    None => Ok(None),
                },
                None => Ok(None),
            };
            self.resumed(Hook::Tick, answer)?
        } else {
            call!(self, Hook::Tick, 0, on_tick())?
        };
        Ok(delay.map(|ms| ms.max(100)))
    }

    /// [`Instance::on_request`] for a filter that may send requests in that hook ([`Filter::suspends`]).
    ///
    /// A worker needs an instance for each exchange that waits here. Dropping the future drops the instance
    /// behind it.
    ///
    /// # Errors
    /// Any fault; apply the attachment's failure mode.
    pub async fn on_request_async(&mut self, view: &x::View) -> Result<x::Decision, CallFault> {
        if !self.filter.suspends(Hook::Request) {
            return self.on_request(view);
        }
        let (decision,) = call_waiting!(self, Hook::Request, on_request(view))?;
        self.right(Hook::Request, decision.checked(self.body_bytes()))
    }

    /// [`Instance::on_response`], as [`Instance::on_request_async`].
    ///
    /// # Errors
    /// Any fault; apply the attachment's failure mode.
    pub async fn on_response_async(&mut self, view: &x::View) -> Result<x::Decision, CallFault> {
        if !self.filter.suspends(Hook::Response) {
            return self.on_response(view);
        }
        let (decision,) = call_waiting!(self, Hook::Response, on_response(view))?;
        self.right(Hook::Response, decision.checked(self.body_bytes()))
    }

    /// [`Instance::on_route`], as [`Instance::on_request_async`].
    ///
    /// # Errors
    /// Any fault, including an index out of range.
    pub async fn on_route_async(&mut self, view: &x::View) -> Result<x::Choice, CallFault> {
        if !self.filter.suspends(Hook::Router) {
            return self.on_route(view);
        }
        let (choice,) = call_waiting!(self, Hook::Router, on_route(view))?;
        let choice = self.right(Hook::Router, choice.checked(self.body_bytes()))?;
        self.known(choice)
    }

    /// [`Instance::on_request_body`] of a whole body, as [`Instance::on_request_async`].
    ///
    /// # Errors
    /// Any fault; apply the attachment's failure mode.
    pub async fn on_request_body_async(
        &mut self,
        view: &x::View,
        octets: &[u8],
    ) -> Result<x::Decision, CallFault> {
        if !self.filter.suspends(Hook::RequestBody) {
            return self.on_request_body(view, octets, true);
        }
        self.on_body_async(
            Hook::RequestBody,
            |exports| exports.on_request_body.as_ref(),
            view,
            octets,
        )
        .await
    }

    /// [`Instance::on_response_body`] of a whole body, as [`Instance::on_request_async`].
    ///
    /// # Errors
    /// Any fault; apply the attachment's failure mode.
    pub async fn on_response_body_async(
        &mut self,
        view: &x::View,
        octets: &[u8],
    ) -> Result<x::Decision, CallFault> {
        if !self.filter.suspends(Hook::ResponseBody) {
            return self.on_response_body(view, octets, true);
        }
        self.on_body_async(
            Hook::ResponseBody,
            |exports| exports.on_response_body.as_ref(),
            view,
            octets,
        )
        .await
    }

    async fn on_body_async(
        &mut self,
        hook: Hook,
        slot: fn(&Exports) -> Option<&BodyHook>,
        view: &x::View,
        octets: &[u8],
    ) -> Result<x::Decision, CallFault> {
        let exchange = view.exchange;
        let call =
            async |exports: &Exports, store: &mut Store<Host>, seen: abi::View<'_>| match slot(
                exports,
            ) {
                Some(slot) => slot.call_async(store, exchange, seen, octets).await.map(Some),
                None => Ok(None),
            };
        let (decision,) = self.waiting(hook, view, call).await?;
        self.right(hook, decision.checked(octets.len(), self.body_bytes()))
    }

    /// Makes a call that may suspend.
    async fn waiting<R>(
        &mut self,
        hook: Hook,
        view: &x::View,
        call: impl AsyncFnOnce(&Exports, &mut Store<Host>, abi::View<'_>) -> wasmtime::Result<Option<R>>,
    ) -> Result<R, CallFault> {
        if view.truncated && !self.sees_nothing_of(hook) {
            return Err(CallFault::ViewTruncated);
        }
        self.suspended(hook, view.exchange).await?;
        let mut spans = std::mem::take(&mut self.spans);
        let answer = match self.suspending.as_mut() {
            Some(RunningInstance { store, exports, .. }) => {
                call(exports, store, abi::View::of(view, &mut spans)).await
            }
            None => Ok(None),
        };
        self.spans = spans;
        self.resumed(hook, answer)
    }

    /// Whether the contract shows no fields in that hook: a filter that is shown none lacks none.
    fn sees_nothing_of(&self, hook: Hook) -> bool {
        matches!(hook, Hook::RequestBody | Hook::ResponseBody)
            && self.filter.contract() == Contract::V0_1
    }

    /// Takes the instance that is ready, so that the next call need not.
    ///
    /// # Errors
    /// None is ready yet.
    pub fn warm(&mut self) -> Result<(), CallFault> {
        self.ready()
    }

    /// How many of the instances behind this one have failed. When the number has changed, what the filter kept of an
    /// exchange is gone: it is not to be asked about the rest of a body whose beginning it no longer knows.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// The longest body that the grant lets the filter buffer, replace another by, or answer with.
    fn body_bytes(&self) -> u64 {
        self.filter.plan().settings.grant.limits.body_bytes
    }

    /// Counts an answer that breaks the contract as a fault; the instance stays, its state is sound.
    fn right<T>(&self, hook: Hook, answer: Result<T, String>) -> Result<T, CallFault> {
        answer.map_err(|rule| self.filter.broke(hook, self.exchange, rule))
    }

    fn viewed<R>(
        &mut self,
        view: &x::View,
        call: impl FnOnce(&mut Self, abi::View<'_>) -> Result<R, CallFault>,
    ) -> Result<R, CallFault> {
        if view.truncated {
            return Err(CallFault::ViewTruncated);
        }
        let mut spans = std::mem::take(&mut self.spans);
        let answer = call(self, abi::View::of(view, &mut spans));
        self.spans = spans;
        answer
    }

    fn call<R>(
        &mut self,
        hook: Hook,
        exchange: u64,
        call: impl FnOnce(&Exports, &mut Store<Host>) -> wasmtime::Result<Option<R>>,
    ) -> Result<R, CallFault> {
        // Checked first: a call that is not made uses no instance, and a probe is made only if there is an
        // instance.
        if self.filter.plan().state.breaker.refuses() {
            return Err(CallFault::BreakerOpen);
        }
        self.fresh_for(exchange);
        self.ready()?;
        if !self.filter.plan().state.breaker.allows() {
            return Err(CallFault::BreakerOpen);
        }
        let clock = self.clock();
        let Some(running) = self.direct.as_mut() else { return Err(CallFault::Remaking) };
        running.arm(hook, exchange);
        let start = self.tally.times_next(hook).then(|| clock.now());
        let answer = call(&running.exports, &mut running.store);
        self.settle(hook, answer, start)
    }

    /// Takes an instance if it has none.
    fn ready(&mut self) -> Result<(), CallFault> {
        if self.direct.is_some() {
            return Ok(());
        }
        let plan = self.filter.plan();
        let running = match maker::take(&self.filter.supply, &mut self.lacks) {
            // Isolation by request asks for an instance per exchange: it is made here, within the time
            // limit of a call.
            Err(CallFault::Remaking) if plan.isolation == Isolation::Request => {
                let limit_us = plan.settings.grant.limits.time_us;
                let made = RunningInstance::configured_within(plan, limit_us).map_err(|error| {
                    plan.state.breaker.failed();
                    CallFault::Instantiate(error.to_string())
                })?;
                if std::mem::take(&mut self.lacks) {
                    self.filter.supply.settled();
                }
                made
            }
            taken => taken?,
        };
        self.direct = Some(running);
        Ok(())
    }

    /// Counts the end of a call; after an error the store is discarded.
    fn settle<R>(
        &mut self,
        hook: Hook,
        answer: wasmtime::Result<Option<R>>,
        start: Option<Instant>,
    ) -> Result<R, CallFault> {
        self.tally.count(hook, start.map(|start| self.clock().since(start)));
        self.report_memory();
        if let Some(running) = self.direct.as_mut() {
            end_line(running.store.data_mut());
        }
        match answer {
            Ok(Some(answer)) => {
                self.filter.plan().state.breaker.succeeded();
                Ok(answer)
            }
            Ok(None) => Err(CallFault::NoHook(hook)),
            Err(error) => {
                let limit_us = self.filter.plan().settings.grant.limits.time_us;
                let fault = match self.direct.as_ref() {
                    Some(running) => classify(&error, running.store.data(), limit_us),
                    None => CallFault::Trap(error.to_string()),
                };
                self.direct = None;
                self.failures = self.failures.saturating_add(1);
                maker::refill(&self.filter.supply);
                Err(self.filter.failed(hook, self.exchange, fault))
            }
        }
    }

    fn report_memory(&mut self) {
        let of = |running: &Option<RunningInstance>| {
            running.as_ref().map_or(0, |running| running.store.data().limiter.used_bytes)
        };
        let used = of(&self.direct).max(of(&self.suspending));
        if used > self.memory_told {
            self.memory_told = used;
            self.filter.plan().state.saw_memory(used);
        }
    }

    /// With isolation by request, another exchange gets another instance.
    fn fresh_for(&mut self, exchange: u64) {
        self.exchange = exchange;
        if self.filter.plan().isolation == Isolation::Request {
            let other = |r: &RunningInstance| r.store.data().exchange != exchange;
            if self.direct.as_ref().is_some_and(other) {
                self.direct = None;
            }
            if self.suspending.as_ref().is_some_and(other) {
                self.suspending = None;
            }
        }
    }

    /// Prepares a call that may suspend. Until [`Self::resumed`] the store counts as broken.
    async fn suspended(&mut self, hook: Hook, exchange: u64) -> Result<(), CallFault> {
        let supply = Arc::clone(&self.filter.supply);
        let plan = &supply.plan;
        if !self.filter.has(hook) {
            return Err(CallFault::NoHook(hook));
        }
        if plan.state.breaker.refuses() {
            return Err(CallFault::BreakerOpen);
        }
        self.fresh_for(exchange);
        if self.suspending.as_ref().is_none_or(|running| running.busy) {
            // A call whose future was dropped halfway leaves a store that cannot be entered again.
            self.suspending = None;
            self.suspending = Some(maker::waiting(&supply).await?);
        }
        if !plan.state.breaker.allows() {
            return Err(CallFault::BreakerOpen);
        }
        self.began = self.clock().now();
        if let Some(running) = self.suspending.as_mut() {
            running.arm(hook, exchange);
            running.busy = true;
        }
        Ok(())
    }

    fn resumed<R>(
        &mut self,
        hook: Hook,
        answer: wasmtime::Result<Option<R>>,
    ) -> Result<R, CallFault> {
        let waited = self.suspending.as_ref().map(|running| running.store.data().waited);
        let took = self.clock().since(self.began).saturating_sub(waited.unwrap_or_default());
        self.tally.count(hook, Some(took));
        self.report_memory();
        if let Some(running) = self.suspending.as_mut() {
            end_line(running.store.data_mut());
        }
        let limit_us = self.filter.plan().settings.grant.limits.time_us;
        match (answer, self.suspending.as_mut()) {
            (Ok(Some(answer)), Some(running)) => {
                running.busy = false;
                self.filter.plan().state.breaker.succeeded();
                Ok(answer)
            }
            (Err(error), Some(running)) => {
                let fault = classify(&error, running.store.data(), limit_us);
                self.suspending = None;
                Err(self.filter.failed(hook, self.exchange, fault))
            }
            _ => Err(CallFault::NoHook(hook)),
        }
    }
}

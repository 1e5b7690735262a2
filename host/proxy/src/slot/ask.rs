//! Calls filters for an exchange, and applies the results.
//!
//! Every hook of an exchange goes through here, except those of the breaker and of telemetry. Only this file passes calls
//! to the shadow of a slot, checks the answers, and decides what a failed call means.

use super::question::{FailedCallEffect, HeadQuestion, Question, RouteQuestion};
use super::{InstanceNumber, Slot};
use crate::exchange::ExchangeState;
use crate::stop::{ExchangeStop, FilterAnswer};
use crate::tcp_refusal::TcpRefusal;
use http::HeaderMap;
use std::borrow::Cow;
use std::rc::Rc;
use std::time::Instant;
use tamis_engine::{CallFault, Filter, Hook, Instance, OnFailure};
use tamis_exchange::{
    Choice, ConnectionDecision, ConnectionVerdict, Decision, Edit, EditError, Exchange,
    ExchangeEnding, Fault, HeadSide, ReadableFields, Refusal, Verdict, View, apply,
    change_trailers,
};

/// The code of an exchange that ended because a filter failed.
pub(crate) const FILTER_FAILED: &str = "filter.failed";
/// The code of a `tcp` port that a guard closes since it cannot decide about connections.
const UNGUARDED: &str = "tcp.unguarded";

impl Slot {
    /// Calls a hook for the exchange, and changes the exchange as it answers. `None`: the call failed, and
    /// the exchange continues without an answer.
    ///
    /// # Errors
    /// The call failed, or the answer breaks the contract, and the failure mode refuses the exchange.
    pub(crate) fn ask<Q: Question>(
        self: &Rc<Self>,
        question: &Q,
        state: &mut ExchangeState,
    ) -> Result<Option<Q::Answer>, ExchangeStop> {
        let since = state.calls.begin(self.number);
        let exchange = &state.exchange;
        let answer = self.call_viewing(
            |view, reads| question.show(view, reads, exchange),
            |instance, view| question.call(instance, view),
        );
        self.conclude(question, answer, since, state)
    }

    /// Calls the request hook, and waits if its filter may send requests. A slot whose filter may not run
    /// refuses the exchange.
    ///
    /// # Errors
    /// As [`Slot::decide`].
    pub(crate) async fn decide_request(
        self: &Rc<Self>,
        state: &mut ExchangeState,
    ) -> Result<Verdict, ExchangeStop> {
        if let Some(refusal) = self.refusal() {
            state.answered_by = Some(Rc::clone(self));
            let detail = format!("{}: {}", refusal.code, refusal.sentence());
            return Err(Refusal::new("filter.refused", 503, Fault::Filter, detail).into());
        }
        self.decide(&HeadQuestion(HeadSide::Request), state).await
    }

    /// Calls a hook that decides about a head or a body, and waits if its filter may send requests in that hook. A reply of
    /// the filter ends the exchange.
    ///
    /// # Errors
    /// As [`Slot::ask`]; or the reply, if the filter gives one.
    pub(crate) async fn decide<Q: Question<Answer = Decision>>(
        self: &Rc<Self>,
        question: &Q,
        state: &mut ExchangeState,
    ) -> Result<Verdict, ExchangeStop> {
        let decision = self.ask_waiting(question, state).await?;
        self.verdict(decision)
    }

    /// [`Slot::ask`], and waits if its filter may send requests in that hook.
    ///
    /// # Errors
    /// As [`Slot::ask`].
    pub(crate) async fn ask_waiting<Q: Question>(
        self: &Rc<Self>,
        question: &Q,
        state: &mut ExchangeState,
    ) -> Result<Option<Q::Answer>, ExchangeStop> {
        let Some(running) = self
            .running
            .as_ref()
            .filter(|running| running.instances.filter.suspends(question.hook()))
        else {
            self.turn_in(state).await;
            return self.ask(question, state);
        };
        if running.instances.are_waiting_calls_long() {
            state.wait_for_long_call();
        }
        let since = state.calls.begin(self.number);
        let mut view = View::default();
        question.show(&mut view, running.instances.filter.reads(), &state.exchange);
        // Boxed, so that exchanges whose filters do not wait need no room for it.
        let answer = Box::pin(running.instances.call_waiting(question, &view)).await;
        if let Err(fault) = &answer {
            running.cells.faulted(fault);
        }
        self.conclude(question, answer, since, state)
    }

    /// [`Self::turn`] in an exchange.
    pub(crate) async fn turn_in(&self, state: &mut ExchangeState) {
        if self.waits_for_turns() {
            state.wait_for_long_call();
            self.turn().await;
        }
    }

    /// Shows the trailers of a message with the declared fields of its head in `view`, and changes them as the
    /// filter decides. Returns the rule behind its decision.
    ///
    /// # Errors
    /// The call failed, or the answer breaks the contract, and the failure mode refuses the exchange.
    pub(crate) fn ask_trailers(
        &self,
        side: HeadSide,
        view: &View,
        trailers: &mut HeaderMap,
    ) -> Result<Option<String>, CallFault> {
        let answer = self.call(|instance| match side {
            HeadSide::Request => instance.on_request_trailers(view),
            HeadSide::Response => instance.on_response_trailers(view),
        });
        let changed = answer.and_then(|Decision { verdict, reason }| {
            let (Verdict::Change(edits), Some(filter)) = (verdict, self.filter()) else {
                return Ok(reason);
            };
            let changed = change_trailers(&edits, filter.writes(), side, trailers);
            let broke =
                |error: EditError| self.broke(Hook::Trailers, view.exchange, error.to_string());
            changed.map(|()| reason).map_err(broke)
        });
        let absent =
            |fault| self.apply_failure_mode(FailedCallEffect::FailureMode, view.exchange, fault);
        changed.or_else(|fault| absent(fault).map(|()| None))
    }

    /// Passes a chunk of a body, or its end as an empty chunk, to the instance that was shown its beginning.
    ///
    /// # Errors
    /// The call failed, or that instance did.
    pub(crate) fn ask_chunk(
        &self,
        instance: InstanceNumber,
        side: HeadSide,
        view: &View,
        octets: &[u8],
        last: bool,
    ) -> Result<Decision, CallFault> {
        if instance != self.instance_number() {
            return Err(CallFault::Lost);
        }
        self.call(|instance| match side {
            HeadSide::Request => instance.on_request_body(view, octets, last),
            HeadSide::Response => instance.on_response_body(view, octets, last),
        })
    }

    /// Checks the answer to a chunk. `None`: there is none, and the body continues unchanged.
    ///
    /// # Errors
    /// The call failed, or the answer breaks `rule`, and the failure mode refuses the exchange.
    pub(crate) fn chunk_answer(
        &self,
        side: HeadSide,
        exchange: u64,
        answer: Result<Decision, CallFault>,
        rule: impl FnOnce(&Verdict) -> Option<String>,
    ) -> Result<Option<Decision>, CallFault> {
        let hook = match side {
            HeadSide::Request => Hook::RequestBody,
            HeadSide::Response => Hook::ResponseBody,
        };
        let checked = answer.and_then(|decision| match rule(&decision.verdict) {
            Some(rule) => Err(self.broke(hook, exchange, rule)),
            None => Ok(decision),
        });
        let absent =
            |fault| self.apply_failure_mode(FailedCallEffect::FailureMode, exchange, fault);
        checked.map_or_else(|fault| absent(fault).map(|()| None), |decision| Ok(Some(decision)))
    }

    /// The refusal of every connection that it guards: it may not run, or has no hook for connections.
    pub(crate) fn closes(self: &Rc<Self>) -> TcpRefusal {
        match self.refusal() {
            Some(refusal) if refusal.code == UNGUARDED => {
                TcpRefusal::undecided(self, UNGUARDED, refusal.sentence())
            }
            Some(refusal) => {
                let detail = format!("{}: {}", refusal.code, refusal.sentence());
                TcpRefusal::undecided(self, "filter.refused", detail)
            }
            None => {
                let detail = "it decides about requests, and has no hook for connections";
                TcpRefusal::undecided(self, UNGUARDED, detail.to_owned())
            }
        }
    }

    /// Calls the hook for a connection, which is counted like an exchange. `None`: the call failed, and the
    /// connection continues without an answer.
    ///
    /// # Errors
    /// The call failed and the failure mode refuses the connection.
    pub(crate) fn ask_connection(
        &self,
        facts: &Exchange,
    ) -> Result<Option<ConnectionDecision>, CallFault> {
        let answer = self.call_viewing(
            |view, reads| view.fill_request(reads, facts),
            |instance, view| instance.on_connection(view),
        );
        let denies =
            matches!(&answer, Ok(decision) if matches!(decision.verdict, ConnectionVerdict::Deny));
        if let Some(cells) = self.cells() {
            cells.count_exchange();
            if denies {
                cells.denied();
            }
        }
        let absent =
            |fault| self.apply_failure_mode(FailedCallEffect::FailureMode, facts.id, fault);
        answer.map_or_else(|fault| absent(fault).map(|()| None), |decision| Ok(Some(decision)))
    }

    /// Asks the request hook about a request that became a tunnel, outside of its exchange, and changes the request as the
    /// hook decides. Returns why the hook refuses it now; a guard that cannot decide refuses.
    pub(crate) async fn refuses_again(
        self: &Rc<Self>,
        request: &mut Exchange,
    ) -> Option<TcpRefusal> {
        const HEAD: HeadQuestion = HeadQuestion(HeadSide::Request);
        let Some(running) = &self.running else { return Some(self.closes()) };
        let filter = &running.instances.filter;
        let answer = if filter.suspends(Hook::Request) {
            let mut view = View::default();
            HEAD.show(&mut view, filter.reads(), request);
            Box::pin(running.instances.call_waiting(&HEAD, &view)).await
        } else {
            self.turn().await;
            self.call_viewing(
                |view, reads| HEAD.show(view, reads, request),
                |instance, view| HEAD.call(instance, view),
            )
        };
        let accepted = answer.and_then(|decision| {
            let accepted = HEAD.accept(&decision, filter, request);
            accepted.map(|()| decision).map_err(|rule| self.broke(Hook::Request, request.id, rule))
        });
        match accepted {
            Ok(Decision { verdict: Verdict::Answer(_), reason }) => {
                Some(TcpRefusal::denied(self, reason))
            }
            Ok(_) => None,
            Err(fault) => Some(TcpRefusal::undecided(self, FILTER_FAILED, fault.kind().to_owned())),
        }
    }

    /// Asks the router about a request that became a tunnel, outside of its exchange.
    pub(crate) async fn chooses_again(
        self: &Rc<Self>,
        request: &Exchange,
    ) -> Result<Choice, CallFault> {
        let Some(running) = &self.running else { return Ok(Choice::Unmatched) };
        let filter = &running.instances.filter;
        if filter.suspends(Hook::Router) {
            let mut view = View::default();
            RouteQuestion.show(&mut view, filter.reads(), request);
            return Box::pin(running.instances.call_waiting(&RouteQuestion, &view)).await;
        }
        self.turn().await;
        self.call_viewing(
            |view, reads| RouteQuestion.show(view, reads, request),
            |instance, view| RouteQuestion.call(instance, view),
        )
    }

    /// Shows the end of an exchange. A call that fails is counted and logged; the exchange has ended.
    pub(crate) fn finished(&self, exchange: &Exchange, ending: &ExchangeEnding) {
        let shown = self.call_viewing(
            |view, reads| {
                view.fill_request(reads, exchange);
                view.status = ending.status;
            },
            |instance, view| instance.on_finished(view, ending),
        );
        if let Err(fault) = shown {
            let attachment = self.name();
            tracing::debug!(attachment, exchange = exchange.id, %fault, "a filter failed at an end");
        }
    }

    /// Passes a head to a candidate that has a hook for it, in a slot whose filter has none, which counts as a pass.
    pub(crate) fn compare_candidate(&self, side: HeadSide, state: &mut ExchangeState) {
        self.compare(&HeadQuestion(side), Ok(&PASS), state);
    }

    /// Calls a hook with the fields that its filter declared.
    fn call_viewing<R>(
        &self,
        fill: impl FnOnce(&mut View, &ReadableFields),
        hook: impl FnOnce(&mut Instance, &View) -> Result<R, CallFault>,
    ) -> Result<R, CallFault> {
        let mut view = self.view.take();
        if let Some(filter) = self.filter() {
            fill(&mut view, filter.reads());
        }
        let answer = self.call(|instance| hook(instance, &view));
        self.view.replace(view);
        answer
    }

    /// Evaluates a call: its duration, the comparison with the shadow, its reason and its edits; or its
    /// failure.
    fn conclude<Q: Question>(
        self: &Rc<Self>,
        question: &Q,
        answer: Result<Q::Answer, CallFault>,
        since: Option<Instant>,
        state: &mut ExchangeState,
    ) -> Result<Option<Q::Answer>, ExchangeStop> {
        state.calls.end(self.number, since);
        self.compare(question, answer.as_ref(), state);
        let accepted = answer.and_then(|answer| {
            if let Some(reason) = Q::reason(&answer) {
                state.reason = Some(Cow::Owned(reason.to_owned()));
            }
            let Some(filter) = self.filter() else { return Ok(answer) };
            match question.accept(&answer, filter, &mut state.exchange) {
                Ok(()) => Ok(answer),
                Err(rule) => Err(self.broke(question.hook(), state.exchange.id, rule)),
            }
        });
        match accepted {
            Ok(answer) => Ok(Some(answer)),
            Err(fault) => match self.apply_failure_mode(Q::ON_FAILURE, state.exchange.id, fault) {
                Ok(()) => Ok(None),
                Err(fault) => Err(self.stop(question.hook(), &fault, state)),
            },
        }
    }

    /// The effect of a failed call: none, or the fault again if the failure mode refuses the exchange.
    fn apply_failure_mode(
        &self,
        absence: FailedCallEffect,
        exchange: u64,
        fault: CallFault,
    ) -> Result<(), CallFault> {
        let (attachment, kind) = (self.name(), fault.kind());
        match (absence, self.attachment.failure) {
            (FailedCallEffect::End, _) | (FailedCallEffect::FailureMode, OnFailure::Closed) => {
                return Err(fault);
            }
            (FailedCallEffect::FailureMode, OnFailure::Open) => {
                tracing::debug!(attachment, exchange, kind, "a filter failed and is passed over");
            }
            (FailedCallEffect::Nothing, _)
            | (FailedCallEffect::FailureMode, OnFailure::SkipAndAlert) => {
                tracing::warn!(
                    attachment,
                    exchange,
                    kind,
                    "a filter failed and is passed over: {fault}"
                );
            }
        }
        Ok(())
    }

    /// The end of an exchange that may not continue without an answer of this slot.
    pub(crate) fn stop(
        self: &Rc<Self>,
        hook: Hook,
        fault: &CallFault,
        state: &mut ExchangeState,
    ) -> ExchangeStop {
        state.answered_by = Some(Rc::clone(self));
        let detail = fault.of(&format!("`{}` of {}", hook.function(), self.name()));
        Refusal::new(FILTER_FAILED, 503, Fault::Filter, detail).into()
    }

    /// The refusal of an exchange whose filter failed in a part of a body.
    pub(crate) fn failure(&self, fault: &CallFault) -> Refusal {
        let detail = fault.of(&format!("{}, in a part of the body,", self.name()));
        Refusal::new(FILTER_FAILED, 503, Fault::Filter, detail)
    }

    /// The rest of a decision after its edits; a reply of the filter ends the exchange.
    fn verdict(self: &Rc<Self>, decision: Option<Decision>) -> Result<Verdict, ExchangeStop> {
        let Some(Decision { verdict, reason }) = decision else { return Ok(Verdict::Pass) };
        match verdict {
            Verdict::Answer(reply) => {
                Err(ExchangeStop::Answered(FilterAnswer { slot: Rc::clone(self), reply, reason }))
            }
            verdict => Ok(verdict),
        }
    }

    /// Queues the input and answer of a hook for comparison, if the exchange is sampled.
    fn compare<Q: Question>(
        &self,
        question: &Q,
        answer: Result<&Q::Answer, &CallFault>,
        state: &mut ExchangeState,
    ) {
        let (Some(feed), Some(filter)) = (&self.shadow, self.filter()) else { return };
        let started = state.started;
        if !*state.sampled.get_or_insert_with(|| feed.sampler.takes(started)) {
            return;
        }
        let exchange = &state.exchange;
        let view = || {
            let mut view = View::default();
            question.show(&mut view, feed.shadow.filter().reads(), exchange);
            view
        };
        if let Some((asked, answer)) = question.comparison(answer, filter, view) {
            feed.queue.put(feed.shadow.clone(), asked, answer, exchange);
        }
    }
}

/// Applies what the router wants changed on one side, which was checked when it chose.
///
/// # Errors
/// The head would become too large: without the edits, the message would not be the one that the router chose a backend for.
pub(crate) fn apply_router_edits(
    state: &mut ExchangeState,
    edits: &[Edit],
    side: HeadSide,
) -> Result<(), ExchangeStop> {
    if edits.is_empty() {
        return Ok(());
    }
    let Some(router) = state.chain.router_of(state.rule).cloned() else { return Ok(()) };
    let Some(writes) = router.filter().map(Filter::writes) else { return Ok(()) };
    let Err(error) = apply(edits, writes, &mut state.exchange, side) else { return Ok(()) };
    let fault = router.broke(Hook::Router, state.exchange.id, error.to_string());
    Err(router.stop(Hook::Router, &fault, state))
}

const PASS: Decision = Decision { verdict: Verdict::Pass, reason: None };

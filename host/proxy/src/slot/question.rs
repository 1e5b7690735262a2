//! The hooks that are called for an exchange: the input of each, what its answer may do, and the effect of
//! a failed call.

use crate::shadow::{ComparableAnswer, ShadowQuestion};
use tamis_engine::{CallFault, Filter, Hook, Instance};
use tamis_exchange::{
    Choice, Decision, Exchange, Failure, HeadSide, ReadableFields, RetryDecision, View,
    accept_head, accept_whole_body, check,
};

/// The effect of a failed call on an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailedCallEffect {
    /// The attachment's failure mode decides.
    FailureMode,
    /// Nothing happens, whatever the failure mode.
    Nothing,
    /// The exchange ends, whatever the failure mode.
    End,
}

/// A hook that is called for an exchange, as [`Slot::ask`](super::Slot::ask) uses it.
pub(crate) trait Question {
    /// The answer of the hook.
    type Answer;
    /// The effect of a failed call.
    const ON_FAILURE: FailedCallEffect;

    /// The hook.
    fn hook(&self) -> Hook;

    /// Fills `view` with the fields of the exchange that a filter with these `reads` sees.
    fn show(&self, view: &mut View, reads: &ReadableFields, exchange: &Exchange);

    /// Calls the hook.
    fn call(&self, instance: &mut Instance, view: &View) -> Result<Self::Answer, CallFault>;

    /// The same for a filter that may send requests in that hook, and waits for them.
    async fn put_waiting(
        &self,
        instance: &mut Instance,
        view: &View,
    ) -> Result<Self::Answer, CallFault>;

    /// The rule id in the answer.
    fn reason(answer: &Self::Answer) -> Option<&str>;

    /// Checks an answer and applies it to the exchange, all of it or nothing.
    ///
    /// # Errors
    /// The rule that the answer breaks.
    fn accept(
        &self,
        answer: &Self::Answer,
        filter: &Filter,
        exchange: &mut Exchange,
    ) -> Result<(), String>;

    /// The input of a candidate, with `view`, and the answer of the slot in a form that can be compared;
    /// `None` if answers of this hook are not compared.
    fn comparison(
        &self,
        _answer: Result<&Self::Answer, &CallFault>,
        _filter: &Filter,
        _view: impl FnOnce() -> View,
    ) -> Option<(ShadowQuestion, ComparableAnswer)> {
        None
    }
}

/// The hook of requests or of responses, about the head.
pub(crate) struct HeadQuestion(pub(crate) HeadSide);

impl Question for HeadQuestion {
    type Answer = Decision;
    const ON_FAILURE: FailedCallEffect = FailedCallEffect::FailureMode;

    fn hook(&self) -> Hook {
        match self.0 {
            HeadSide::Request => Hook::Request,
            HeadSide::Response => Hook::Response,
        }
    }

    fn show(&self, view: &mut View, reads: &ReadableFields, exchange: &Exchange) {
        fill(self.0, view, reads, exchange);
    }

    fn call(&self, instance: &mut Instance, view: &View) -> Result<Decision, CallFault> {
        match self.0 {
            HeadSide::Request => instance.on_request(view),
            HeadSide::Response => instance.on_response(view),
        }
    }

    async fn put_waiting(
        &self,
        instance: &mut Instance,
        view: &View,
    ) -> Result<Decision, CallFault> {
        match self.0 {
            HeadSide::Request => instance.on_request_async(view).await,
            HeadSide::Response => instance.on_response_async(view).await,
        }
    }

    fn reason(answer: &Decision) -> Option<&str> {
        answer.reason.as_deref()
    }

    fn accept(&self, answer: &Decision, by: &Filter, to: &mut Exchange) -> Result<(), String> {
        accept_head(&answer.verdict, by.writes(), to, self.0)
    }

    fn comparison(
        &self,
        answer: Result<&Decision, &CallFault>,
        _filter: &Filter,
        view: impl FnOnce() -> View,
    ) -> Option<(ShadowQuestion, ComparableAnswer)> {
        let answer = ComparableAnswer::decision(answer)?;
        let question = match self.0 {
            HeadSide::Request => ShadowQuestion::Request(view()),
            HeadSide::Response => ShadowQuestion::Response(view()),
        };
        Some((question, answer))
    }
}

/// The hook of request bodies or of response bodies, with a complete body.
pub(crate) struct WholeBodyQuestion<'a>(pub(crate) HeadSide, pub(crate) &'a [u8]);

impl Question for WholeBodyQuestion<'_> {
    type Answer = Decision;
    const ON_FAILURE: FailedCallEffect = FailedCallEffect::FailureMode;

    fn hook(&self) -> Hook {
        match self.0 {
            HeadSide::Request => Hook::RequestBody,
            HeadSide::Response => Hook::ResponseBody,
        }
    }

    fn show(&self, view: &mut View, reads: &ReadableFields, exchange: &Exchange) {
        fill(self.0, view, reads, exchange);
    }

    fn call(&self, instance: &mut Instance, view: &View) -> Result<Decision, CallFault> {
        match self.0 {
            HeadSide::Request => instance.on_request_body(view, self.1, true),
            HeadSide::Response => instance.on_response_body(view, self.1, true),
        }
    }

    async fn put_waiting(
        &self,
        instance: &mut Instance,
        view: &View,
    ) -> Result<Decision, CallFault> {
        match self.0 {
            HeadSide::Request => instance.on_request_body_async(view, self.1).await,
            HeadSide::Response => instance.on_response_body_async(view, self.1).await,
        }
    }

    fn reason(answer: &Decision) -> Option<&str> {
        answer.reason.as_deref()
    }

    fn accept(&self, answer: &Decision, by: &Filter, to: &mut Exchange) -> Result<(), String> {
        accept_whole_body(&answer.verdict, by.writes(), to, self.0)
    }
}

/// Fills `view` with the fields of one side.
pub(super) fn fill(side: HeadSide, view: &mut View, reads: &ReadableFields, exchange: &Exchange) {
    match side {
        HeadSide::Request => view.fill_request(reads, exchange),
        HeadSide::Response => view.fill_response(reads, exchange),
    }
}

/// The router, with the request in its current form.
pub(crate) struct RouteQuestion;

impl Question for RouteQuestion {
    type Answer = Choice;
    /// Without an answer there is no backend.
    const ON_FAILURE: FailedCallEffect = FailedCallEffect::End;

    fn hook(&self) -> Hook {
        Hook::Router
    }

    fn show(&self, view: &mut View, reads: &ReadableFields, exchange: &Exchange) {
        view.fill_request(reads, exchange);
    }

    fn call(&self, instance: &mut Instance, view: &View) -> Result<Choice, CallFault> {
        instance.on_route(view)
    }

    async fn put_waiting(&self, instance: &mut Instance, view: &View) -> Result<Choice, CallFault> {
        instance.on_route_async(view).await
    }

    fn reason(_answer: &Choice) -> Option<&str> {
        None
    }

    /// Its edits are checked now and applied later: those of the request when it is sent, those of the
    /// response when there is one.
    fn accept(&self, answer: &Choice, by: &Filter, _to: &mut Exchange) -> Result<(), String> {
        let Choice::Forward(selection) = answer else { return Ok(()) };
        check(&selection.request_edits, by.writes(), HeadSide::Request)
            .and_then(|()| check(&selection.response_edits, by.writes(), HeadSide::Response))
            .map_err(|error| error.to_string())
    }

    fn comparison(
        &self,
        answer: Result<&Choice, &CallFault>,
        filter: &Filter,
        view: impl FnOnce() -> View,
    ) -> Option<(ShadowQuestion, ComparableAnswer)> {
        let answer = ComparableAnswer::choice(answer, filter)?;
        Some((ShadowQuestion::Route(view()), answer))
    }
}

/// The retry hook, with a failed attempt.
pub(crate) struct RetryQuestion<'a>(pub(crate) &'a Failure);

impl Question for RetryQuestion<'_> {
    type Answer = RetryDecision;
    /// Without an answer nothing is sent again.
    const ON_FAILURE: FailedCallEffect = FailedCallEffect::Nothing;

    fn hook(&self) -> Hook {
        Hook::Retry
    }

    fn show(&self, view: &mut View, reads: &ReadableFields, exchange: &Exchange) {
        view.fill_request(reads, exchange);
    }

    fn call(&self, instance: &mut Instance, view: &View) -> Result<RetryDecision, CallFault> {
        instance.on_failure(self.0, view)
    }

    /// It never waits.
    async fn put_waiting(
        &self,
        instance: &mut Instance,
        view: &View,
    ) -> Result<RetryDecision, CallFault> {
        instance.on_failure(self.0, view)
    }

    fn reason(answer: &RetryDecision) -> Option<&str> {
        answer.reason.as_deref()
    }

    fn accept(&self, _: &RetryDecision, _: &Filter, _: &mut Exchange) -> Result<(), String> {
        Ok(())
    }

    fn comparison(
        &self,
        answer: Result<&RetryDecision, &CallFault>,
        _filter: &Filter,
        view: impl FnOnce() -> View,
    ) -> Option<(ShadowQuestion, ComparableAnswer)> {
        let answer = ComparableAnswer::retry(answer)?;
        Some((ShadowQuestion::Failure(Box::new(self.0.clone()), view()), answer))
    }
}

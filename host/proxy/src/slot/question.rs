//! The hooks that are asked about an exchange: what each is shown, what its answer may do, and what it means that there is
//! none.

use crate::shadow::{ComparableAnswer, ShadowQuestion};
use tamis_engine::{CallFault, Filter, Hook, Instance};
use tamis_exchange::{
    Choice, Decision, Exchange, Failure, HeadSide, Reads, RetryDecision, Verdict, View, apply,
    check,
};

/// What it means for an exchange that a hook gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absence {
    /// What the attachment's failure mode says.
    FailureMode,
    /// Nothing is done that it could have asked for, whatever the failure mode.
    Nothing,
    /// The exchange ends, whatever the failure mode.
    End,
}

/// A hook that is asked about an exchange, as [`Slot::ask`](super::Slot::ask) needs to know it.
pub(crate) trait Question {
    /// What the hook answers.
    type Answer;
    /// The hook.
    const HOOK: Hook;
    /// What no answer means.
    const ABSENCE: Absence;

    /// Fills `view` with what a filter that reads this sees of the exchange.
    fn show(&self, view: &mut View, reads: &Reads, exchange: &Exchange);

    /// Calls the hook.
    fn put(&self, instance: &mut Instance, view: &View) -> Result<Self::Answer, CallFault>;

    /// The rule id that the answer names.
    fn reason(answer: &Self::Answer) -> Option<&str>;

    /// Checks an answer and changes the exchange as it says, all of it or nothing.
    ///
    /// # Errors
    /// The rule that the answer breaks, in words.
    fn accept(
        &self,
        answer: &Self::Answer,
        filter: &Filter,
        exchange: &mut Exchange,
    ) -> Result<(), String>;

    /// What a candidate is asked, seeing `view`, and the answer of the slot in a form that compares; `None` when answers
    /// to this are not compared.
    fn comparison(
        &self,
        _answer: Result<&Self::Answer, &CallFault>,
        _filter: &Filter,
        _view: impl FnOnce() -> View,
    ) -> Option<(ShadowQuestion, ComparableAnswer)> {
        None
    }
}

/// Checks what a head hook decided and applies its edits.
fn accept_head(
    decision: &Decision,
    filter: &Filter,
    exchange: &mut Exchange,
    side: HeadSide,
) -> Result<(), String> {
    match &decision.verdict {
        Verdict::Pass | Verdict::Answer(_) => Ok(()),
        Verdict::Change(edits) => check(edits, filter.writes(), side)
            .and_then(|()| apply(edits, exchange, side))
            .map_err(|error| error.to_string()),
        Verdict::Replace(_) => Err("`replace` without a body".to_owned()),
    }
}

/// The request hook, about the head.
pub(super) struct RequestHead;

impl Question for RequestHead {
    type Answer = Decision;
    const HOOK: Hook = Hook::Request;
    const ABSENCE: Absence = Absence::FailureMode;

    fn show(&self, view: &mut View, reads: &Reads, exchange: &Exchange) {
        view.fill_request(reads, exchange);
    }

    fn put(&self, instance: &mut Instance, view: &View) -> Result<Decision, CallFault> {
        instance.on_request(view)
    }

    fn reason(answer: &Decision) -> Option<&str> {
        answer.reason.as_deref()
    }

    fn accept(&self, answer: &Decision, by: &Filter, to: &mut Exchange) -> Result<(), String> {
        accept_head(answer, by, to, HeadSide::Request)
    }

    fn comparison(
        &self,
        answer: Result<&Decision, &CallFault>,
        _filter: &Filter,
        view: impl FnOnce() -> View,
    ) -> Option<(ShadowQuestion, ComparableAnswer)> {
        let answer = ComparableAnswer::decision(answer)?;
        Some((ShadowQuestion::Request(view()), answer))
    }
}

/// The response hook, about the head.
pub(crate) struct ResponseHead;

impl Question for ResponseHead {
    type Answer = Decision;
    const HOOK: Hook = Hook::Response;
    const ABSENCE: Absence = Absence::FailureMode;

    fn show(&self, view: &mut View, reads: &Reads, exchange: &Exchange) {
        view.fill_response(reads, exchange);
    }

    fn put(&self, instance: &mut Instance, view: &View) -> Result<Decision, CallFault> {
        instance.on_response(view)
    }

    fn reason(answer: &Decision) -> Option<&str> {
        answer.reason.as_deref()
    }

    fn accept(&self, answer: &Decision, by: &Filter, to: &mut Exchange) -> Result<(), String> {
        accept_head(answer, by, to, HeadSide::Response)
    }

    fn comparison(
        &self,
        answer: Result<&Decision, &CallFault>,
        _filter: &Filter,
        view: impl FnOnce() -> View,
    ) -> Option<(ShadowQuestion, ComparableAnswer)> {
        let answer = ComparableAnswer::decision(answer)?;
        Some((ShadowQuestion::Response(view()), answer))
    }
}

/// The hook of request bodies, about all bytes of one.
pub(crate) struct WholeRequestBody<'a>(pub(crate) &'a [u8]);

impl Question for WholeRequestBody<'_> {
    type Answer = Decision;
    const HOOK: Hook = Hook::RequestBody;
    const ABSENCE: Absence = Absence::FailureMode;

    fn show(&self, view: &mut View, _reads: &Reads, exchange: &Exchange) {
        // It sees bytes and no fields.
        view.exchange = exchange.id;
    }

    fn put(&self, instance: &mut Instance, view: &View) -> Result<Decision, CallFault> {
        instance.on_request_body(view.exchange, self.0, true)
    }

    fn reason(answer: &Decision) -> Option<&str> {
        answer.reason.as_deref()
    }

    fn accept(&self, answer: &Decision, by: &Filter, to: &mut Exchange) -> Result<(), String> {
        match answer.verdict {
            Verdict::Replace(_) => Ok(()),
            _ => accept_head(answer, by, to, HeadSide::Request),
        }
    }
}

/// The hook of response bodies, about all bytes of one.
pub(crate) struct WholeResponseBody<'a>(pub(crate) &'a [u8]);

impl Question for WholeResponseBody<'_> {
    type Answer = Decision;
    const HOOK: Hook = Hook::ResponseBody;
    const ABSENCE: Absence = Absence::FailureMode;

    fn show(&self, view: &mut View, _reads: &Reads, exchange: &Exchange) {
        // It sees bytes and no fields.
        view.exchange = exchange.id;
    }

    fn put(&self, instance: &mut Instance, view: &View) -> Result<Decision, CallFault> {
        instance.on_response_body(view.exchange, self.0, true)
    }

    fn reason(answer: &Decision) -> Option<&str> {
        answer.reason.as_deref()
    }

    fn accept(&self, answer: &Decision, by: &Filter, to: &mut Exchange) -> Result<(), String> {
        match answer.verdict {
            Verdict::Replace(_) => Ok(()),
            _ => accept_head(answer, by, to, HeadSide::Response),
        }
    }
}

/// The router, about the request as it is now.
pub(crate) struct RouteQuestion;

impl Question for RouteQuestion {
    type Answer = Choice;
    const HOOK: Hook = Hook::Router;
    /// Without an answer there is nowhere to go.
    const ABSENCE: Absence = Absence::End;

    fn show(&self, view: &mut View, reads: &Reads, exchange: &Exchange) {
        view.fill_request(reads, exchange);
    }

    fn put(&self, instance: &mut Instance, view: &View) -> Result<Choice, CallFault> {
        instance.on_route(view)
    }

    fn reason(_answer: &Choice) -> Option<&str> {
        None
    }

    /// Its edits are checked now and applied later: those of the request when it is sent, those of the response when
    /// there is one.
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

/// The retry hook, about an attempt that failed.
pub(crate) struct RetryQuestion<'a>(pub(crate) &'a Failure);

impl Question for RetryQuestion<'_> {
    type Answer = RetryDecision;
    const HOOK: Hook = Hook::Retry;
    /// Nothing is sent again that nobody asked for.
    const ABSENCE: Absence = Absence::Nothing;

    fn show(&self, view: &mut View, reads: &Reads, exchange: &Exchange) {
        view.fill_request(reads, exchange);
    }

    fn put(&self, instance: &mut Instance, view: &View) -> Result<RetryDecision, CallFault> {
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

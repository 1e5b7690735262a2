//! The response body on its way to the client: counted, filtered, bounded in time, and told of when it ends.

use crate::course::covers;
use crate::local::Local;
use crate::settle::Settle;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tamis_engine::{BodyMode, FailureMode};
use tamis_exchange::{Body, BodyError, Outcome, Owners, Verdict};
use tokio::time::Sleep;

/// What a connection sends as the body of a response.
pub(crate) struct OutBody {
    inner: Body,
    settle: Option<Box<Settle>>,
    hooks: Option<Hooks>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Whose the trailers are.
    owners: Option<Arc<Owners>>,
}

/// Response body hooks that see chunks.
struct Hooks {
    local: Rc<Local>,
    exchange: u64,
    filters: Vec<usize>,
    /// The last call, with no octets, was made.
    closed: bool,
    trailers: Option<Frame<Bytes>>,
    /// Which of them ended the body, and why.
    ended: Option<(usize, String)>,
}

impl OutBody {
    /// A body nobody hears of.
    pub(crate) fn plain(inner: Body) -> Self {
        Self { inner, settle: None, hooks: None, deadline: None, owners: None }
    }

    /// Tells `settle` how it ended.
    pub(crate) fn settled(mut self, settle: Box<Settle>) -> Self {
        self.settle = Some(settle);
        self
    }

    /// Breaks off when the exchange's deadline passes.
    pub(crate) fn until(mut self, deadline: Option<tokio::time::Instant>) -> Self {
        self.deadline = deadline.map(|at| Box::pin(tokio::time::sleep_until(at)));
        self
    }

    /// Shows every chunk to those filters.
    pub(crate) fn filtered(
        mut self,
        local: &Rc<Local>,
        exchange: u64,
        filters: Vec<usize>,
    ) -> Self {
        if !filters.is_empty() {
            let local = Rc::clone(local);
            let (closed, trailers, ended) = (false, None, None);
            self.hooks = Some(Hooks { local, exchange, filters, closed, trailers, ended });
        }
        self
    }

    /// Leaves out trailers that have an owner, as the same fields of the head have.
    pub(crate) fn owned(mut self, owners: Option<Arc<Owners>>) -> Self {
        self.owners = owners;
        self
    }

    /// A frame without the trailers that are not the upstream's to send.
    fn cleaned(&self, mut frame: Frame<Bytes>) -> Frame<Bytes> {
        if let (Some(trailers), Some(owners)) = (frame.trailers_mut(), &self.owners) {
            owners.clean_trailers(trailers);
        }
        frame
    }

    /// Broken off; the record names the filter if one did it.
    fn broken(&mut self) {
        let ended = self.hooks.as_mut().and_then(|hooks| hooks.ended.take());
        if let (Some((index, why)), Some(settle)) = (ended, self.settle.as_mut()) {
            let course = settle.course();
            course.answered_by = Some(index);
            course.reason = Some("filter.failed".into());
            course.detail = Some(why);
        }
        self.ended(Outcome::RESET);
    }

    fn ended(&mut self, outcome: Outcome) {
        if let Some(settle) = self.settle.take() {
            settle.end(outcome);
        }
    }

    fn seen(&mut self, frame: &Frame<Bytes>) {
        let Some(settle) = self.settle.as_mut() else { return };
        if let Some(data) = frame.data_ref() {
            settle.bytes_out += data.len() as u64;
        } else if let Some(trailers) = frame.trailers_ref() {
            settle.trailers(trailers);
        }
    }
}

/// An error with its causes.
fn with_causes(error: &BodyError) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Filters of `candidates` that see chunks of this exchange's bodies.
pub(crate) fn chunk_filters(
    local: &Local,
    candidates: &[usize],
    rule: Option<&str>,
    mode: impl Fn(&tamis_engine::Filter) -> BodyMode,
    wanted: BodyMode,
) -> Vec<usize> {
    let wants = |index: &usize| {
        let in_scope = local.attached(*index).is_some_and(|one| match &one.scope {
            None => true,
            Some(scope) => rule.is_some_and(|rule| covers(scope, rule)),
        });
        in_scope && local.filter(*index).is_some_and(|filter| mode(filter) == wanted)
    };
    candidates.iter().copied().filter(wants).collect()
}

impl Hooks {
    /// Shows octets to the filters, each to what the one before made of them.
    fn show(&mut self, mut octets: Bytes, last: bool) -> Result<Bytes, BodyError> {
        for &index in &self.filters {
            let said = self
                .local
                .call(index, |instance| instance.on_response_body(self.exchange, &octets, last));
            match said.map(|decision| decision.verdict) {
                Ok(Verdict::Pass) => {}
                Ok(Verdict::Replace(replaced)) => octets = Bytes::from(replaced),
                // The head is gone: neither can be done any more, and going on would send what was refused.
                Ok(Verdict::Answer(_) | Verdict::Change(_)) => {
                    self.local.cells(index).inspect(|cells| cells.denied());
                    self.ended = Some((index, "it refused the rest of the response".to_owned()));
                    return Err(BodyError::Ended("a filter refused the rest of the response"));
                }
                Err(fault) => {
                    let attached = self.local.attached(index);
                    let attachment = attached.map(|one| one.name.as_str());
                    tracing::warn!(attachment, kind = fault.kind(), "a response body hook failed");
                    if attached.is_some_and(|one| one.failure == FailureMode::Closed) {
                        self.ended = Some((index, format!("in a chunk of the response: {fault}")));
                        return Err(BodyError::Ended("a filter failed"));
                    }
                }
            }
        }
        Ok(octets)
    }
}

impl HttpBody for OutBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(deadline) = this.deadline.as_mut()
            && deadline.as_mut().poll(cx).is_ready()
        {
            this.ended(Outcome::TIMED_OUT);
            return Poll::Ready(Some(Err(BodyError::Ended("the exchange ran out of time"))));
        }
        loop {
            if let Some(hooks) = this.hooks.as_mut()
                && let Some(trailers) = hooks.trailers.take()
            {
                this.seen(&trailers);
                return Poll::Ready(Some(Ok(trailers)));
            }
            let frame = match this.hooks.as_ref() {
                Some(hooks) if hooks.closed => None,
                _ => ready!(Pin::new(&mut this.inner).poll_frame(cx)),
            };
            let frame = frame.map(|frame| frame.map(|frame| this.cleaned(frame)));
            let frame = match (frame, this.hooks.as_mut()) {
                (Some(Ok(frame)), Some(hooks)) => match frame.into_data() {
                    Ok(data) => hooks.show(data, false).map(Frame::data),
                    Err(trailers) => {
                        hooks.closed = true;
                        hooks.trailers = Some(trailers);
                        hooks.show(Bytes::new(), true).map(Frame::data)
                    }
                },
                (None, Some(hooks)) if !hooks.closed => {
                    hooks.closed = true;
                    hooks.show(Bytes::new(), true).map(Frame::data)
                }
                (Some(frame), _) => frame,
                (None, _) => {
                    this.ended(Outcome::default());
                    return Poll::Ready(None);
                }
            };
            match frame {
                // A filter swallowed the chunk.
                Ok(frame) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                Ok(frame) => {
                    this.seen(&frame);
                    return Poll::Ready(Some(Ok(frame)));
                }
                Err(error) => {
                    if tamis_upstream::is_broken_by(&error)
                        && let Some(settle) = this.settle.as_mut()
                    {
                        settle.broke_protocol(with_causes(&error));
                    }
                    this.broken();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.hooks.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.hooks.is_some() { SizeHint::default() } else { self.inner.size_hint() }
    }
}

impl Drop for OutBody {
    fn drop(&mut self) {
        // A connection does not poll a body that says it has ended.
        let whole = self.is_end_stream();
        self.ended(if whole { Outcome::default() } else { Outcome::CLIENT_GONE });
    }
}

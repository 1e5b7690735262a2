//! How long a response waits for a client that takes nothing of it.

#![expect(clippy::disallowed_methods, reason = "timers of the runtime, which a test pauses")]

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// Between two looks at a client that is waited for.
pub(crate) const LOOK: Duration = Duration::from_secs(1);
/// Octets that a client has to take between two looks to count as one that reads: a byte now and then would keep what the
/// response holds for ever.
pub(crate) const TAKEN_MIN: usize = 4 * 1024;
/// How long a client may take nothing, unless the body says otherwise: as long as nginx's `send_timeout`.
const READER_PAUSE_MAX: Duration = Duration::from_secs(60);

/// The body of a response to a client.
pub trait ServedBody: Body<Data = Bytes> {
    /// Whether the client may wait on, after it has taken nothing of the body for `waited`; called about once a second. After
    /// the first `false` the body is dropped, and its stream or connection ends.
    fn may_wait(self: Pin<&mut Self>, waited: Duration) -> bool {
        may_wait(waited)
    }
}

/// The same for bodies without a rule of their own: up to [`READER_PAUSE_MAX`].
pub(crate) fn may_wait(waited: Duration) -> bool {
    waited < READER_PAUSE_MAX
}

/// A body that says nothing about its client.
pub(crate) struct PlainBody<B>(Pin<Box<B>>);

impl<B> PlainBody<B> {
    pub(crate) fn new(body: B) -> Self {
        Self(Box::pin(body))
    }
}

impl<B: Body<Data = Bytes>> Body for PlainBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.0.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl<B: Body<Data = Bytes>> ServedBody for PlainBody<B> {}

/// Bodies of tests.
#[cfg(test)]
mod bodies {
    use bytes::Bytes;
    use http_body::Body;
    use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
    use http_body_util::{Empty, Full, StreamBody};

    use super::ServedBody;

    impl ServedBody for Full<Bytes> {}
    impl<L: Body<Data = Bytes>, R: Body<Data = Bytes>> ServedBody for http_body_util::Either<L, R> where
        Self: Body<Data = Bytes>
    {
    }
    impl ServedBody for Empty<Bytes> {}
    impl<S> ServedBody for StreamBody<S> where Self: Body<Data = Bytes> {}
    impl<E> ServedBody for BoxBody<Bytes, E> {}
    impl<E> ServedBody for UnsyncBoxBody<Bytes, E> {}
    impl ServedBody for crate::serve::RequestBody {}
}

/// Watches a client while octets wait for it; costs nothing while it takes what there is.
#[derive(Debug, Default)]
pub(crate) struct ReaderWatch {
    /// Set while it is waited for.
    next_look: Option<Pin<Box<Sleep>>>,
    taken: usize,
    waited: Duration,
}

impl ReaderWatch {
    /// The client took so much.
    pub(crate) fn took(&mut self, octets: usize) {
        self.taken = self.taken.saturating_add(octets);
    }

    /// Nothing waits for it.
    pub(crate) fn nothing_waits(&mut self) {
        if self.next_look.is_some() {
            *self = Self::default();
        }
    }

    /// Ready once it was waited for longer than `may_wait` allows; call it while it is waited for.
    pub(crate) fn poll_look(
        &mut self,
        cx: &mut Context<'_>,
        mut may_wait: impl FnMut(Duration) -> bool,
    ) -> Poll<()> {
        loop {
            let Some(look) = self.next_look.as_mut() else {
                (self.taken, self.waited) = (0, Duration::ZERO);
                self.next_look = Some(Box::pin(tokio::time::sleep(LOOK)));
                continue;
            };
            ready!(look.as_mut().poll(cx));
            let reads = std::mem::take(&mut self.taken) >= TAKEN_MIN;
            self.waited = if reads { Duration::ZERO } else { self.waited.saturating_add(LOOK) };
            if !reads && !may_wait(self.waited) {
                return Poll::Ready(());
            }
            look.as_mut().reset(Instant::now().checked_add(LOOK).unwrap_or_else(Instant::now));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_next_to_nothing_is_waited_for_as_long_as_allowed() {
        // What it takes each half second, and when that is over.
        for (takes, over) in [(0, Some(5)), (1, Some(5)), (2_047, Some(5)), (2_048, None)] {
            let began = Instant::now();
            let mut watch = ReaderWatch::default();
            let mut tick = tokio::time::interval(Duration::from_millis(500));
            let ended = poll_fn(|cx| {
                while tick.poll_tick(cx).is_ready() {
                    watch.took(takes);
                }
                watch.poll_look(cx, |waited| waited < Duration::from_secs(5))
            });
            let ended = tokio::time::timeout(Duration::from_secs(600), ended).await;
            let after = ended.is_ok().then(|| began.elapsed().as_secs());
            assert_eq!(after, over, "{takes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_in_which_nothing_waits_does_not_count() {
        let mut watch = ReaderWatch::default();
        for _ in 0..10 {
            let look = poll_fn(|cx| watch.poll_look(cx, |waited| waited < Duration::from_secs(5)));
            assert!(tokio::time::timeout(Duration::from_secs(4), look).await.is_err());
            watch.nothing_waits();
        }
    }
}

//! The body of an answer: whole, or the lines of a tap as they come.

use crate::tap::TapBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Octets of pages that wait for their readers, of all connections together. Beyond that no further page is made: whoever
/// reads nothing would keep a page of megabytes for each request.
pub(super) const UNREAD_MAX_BYTES: usize = 32 * 1024 * 1024;

/// What is answered.
pub(super) enum AdminBody {
    Whole { body: Full<Bytes>, _held: Option<HeldPage> },
    Tap(TapBody),
}

impl AdminBody {
    pub(super) fn whole(content: impl Into<Bytes>) -> Self {
        Self::Whole { body: Full::new(content.into()), _held: None }
    }

    /// Counts it among the pages that wait for their readers until it is dropped.
    pub(super) fn counted(self, pages: &UnreadPages) -> Self {
        match self {
            Self::Whole { body, .. } => {
                let octets = body.size_hint().lower();
                let held = pages.hold(usize::try_from(octets).unwrap_or(usize::MAX));
                Self::Whole { body, _held: Some(held) }
            }
            Self::Tap(tap) => Self::Tap(tap),
        }
    }
}

/// The octets of the pages that wait for their readers.
#[derive(Clone, Default)]
pub(super) struct UnreadPages(Rc<Cell<usize>>);

impl UnreadPages {
    /// Whether as much waits as may.
    pub(super) fn are_too_many(&self) -> bool {
        self.0.get() >= UNREAD_MAX_BYTES
    }

    fn hold(&self, octets: usize) -> HeldPage {
        self.0.set(self.0.get().saturating_add(octets));
        HeldPage { pages: self.clone(), octets }
    }
}

/// A page that counts as unread until it is dropped.
pub(super) struct HeldPage {
    pages: UnreadPages,
    octets: usize,
}

impl Drop for HeldPage {
    fn drop(&mut self) {
        self.pages.0.set(self.pages.0.get().saturating_sub(self.octets));
    }
}

impl Body for AdminBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole { body, .. } => Pin::new(body).poll_frame(cx),
            Self::Tap(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole { body, .. } => body.is_end_stream(),
            Self::Tap(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { body, .. } => body.size_hint(),
            Self::Tap(body) => body.size_hint(),
        }
    }
}

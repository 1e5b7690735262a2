//! A request body that can be sent again while the host has it complete.

use crate::heads::Owners;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::cell::{RefCell, RefMut};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tamis_exchange::{Body, BodyError, Fault, Refusal};
use tamis_transport::UploadPace;
use tamis_upstream::EndpointCrowd;

/// A body is kept for another attempt up to this many bytes (64 KiB, like Envoy's default buffer at the
/// edge of 32 KiB).
pub(crate) const REPLAY_MAX_BYTES: usize = 64 * 1024;

/// A kept chunk counts as at least this many bytes, for its overhead.
const CHUNK_COST_BYTES: usize = 128;

/// A shorter chunk is copied: otherwise it would keep the whole read buffer, which may be a hundred times
/// its size.
const COPIED_BELOW_BYTES: usize = 4 * 1024;

/// How long a client may send next to nothing of a body while others wait for a connection such as its request holds: until the
/// response begins, and after that, when both sides may have something to say only now and then.
const SILENCE_WHILE_OTHERS_WAIT: Duration = Duration::from_secs(1);
const SILENCE_AFTER_THE_HEAD: Duration = Duration::from_secs(60);

/// The body as it arrives from the client, shared by the attempts that send it; `None` if there is no body,
/// as with nearly every request.
#[derive(Clone)]
pub(crate) struct Replay(Option<Rc<RefCell<ReplayState>>>);

struct ReplayState {
    source: Body,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    trailers: Option<HeaderMap>,
    /// More arrived than is kept: no further attempt.
    overflowed: bool,
    ended: bool,
    broken: Option<BodyBreak>,
    bytes_in: u64,
    limit_bytes: u64,
    /// Owners of the trailers; `None` if the trailers were checked before.
    owners: Option<Arc<Owners>>,
    /// The number of the attempt that may read what still arrives.
    reader: u64,
    /// The response began.
    answered: bool,
}

impl Replay {
    /// Of a request without a body.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Wraps the client's body; more than `limit_bytes` is an error for the reader.
    pub(crate) fn new(source: Body, limit_bytes: u64) -> Self {
        Self::make(source, limit_bytes, None)
    }

    /// The same for a received body: trailers that have an owner are removed, as for the same fields of the
    /// head.
    pub(crate) fn received(source: Body, limit_bytes: u64, owners: &Arc<Owners>) -> Self {
        Self::make(source, limit_bytes, Some(owners))
    }

    fn make(source: Body, limit_bytes: u64, owners: Option<&Arc<Owners>>) -> Self {
        if source.is_end_stream() {
            return Self(None);
        }
        Self(Some(Rc::new(RefCell::new(ReplayState {
            source,
            kept: Vec::new(),
            kept_bytes: 0,
            trailers: None,
            overflowed: false,
            ended: false,
            broken: None,
            bytes_in: 0,
            limit_bytes,
            owners: owners.map(Arc::clone),
            reader: 0,
            answered: false,
        }))))
    }

    fn shared(&self) -> Option<RefMut<'_, ReplayState>> {
        Some(self.0.as_ref()?.borrow_mut())
    }

    /// Whether another attempt can send the body from its first byte.
    pub(crate) fn is_replayable(&self) -> bool {
        self.shared().is_none_or(|shared| !shared.overflowed && shared.broken.is_none())
    }

    /// Whether every byte has arrived.
    pub(crate) fn has_ended(&self) -> bool {
        self.shared().is_none_or(|shared| shared.ended)
    }

    /// The refusal if the client ended the body early.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let shared = self.shared()?;
        shared.broken.map(|broken| match broken {
            BodyBreak::Peer => Refusal::new(
                "request.broken",
                400,
                Fault::Client,
                "the client did not finish its body",
            ),
            BodyBreak::TooLarge => too_large(shared.limit_bytes),
            BodyBreak::Stalled => {
                let detail = "the body stalled for too long";
                Refusal::new("http.body-timeout", 408, Fault::Client, detail)
            }
            BodyBreak::Ended(why) => Refusal::new("request.ended", 400, Fault::Client, why),
        })
    }

    /// Bytes received so far.
    pub(crate) fn bytes_in(&self) -> u64 {
        self.shared().map_or(0, |shared| shared.bytes_in)
    }

    /// Keeps attempts that began before from reading what still arrives: the next attempt needs it. Their requests end
    /// there, so this is for attempts whose response is not passed on.
    pub(crate) fn end_readers(&self) {
        if let Some(mut shared) = self.shared() {
            shared.reader = shared.reader.saturating_add(1);
        }
    }

    /// The response began: from now on the client may take its time.
    pub(crate) fn note_response(&self) {
        if let Some(mut shared) = self.shared() {
            shared.answered = true;
        }
    }

    /// A body for one attempt. While the body still arrives, it is that of the latest attempt alone. A client that sends next
    /// to nothing of it while others wait for the connection is given up.
    pub(crate) fn body(&self, crowd: Option<EndpointCrowd>) -> Body {
        self.end_readers();
        let Some(shared) = &self.0 else { return Body::Empty };
        let number = shared.borrow().reader;
        let (shared, pace) = (Rc::clone(shared), UploadPace::default());
        Body::stream(AttemptBody { shared, number, next: 0, done: false, crowd, pace })
    }
}

/// The refusal of a body above the limit.
pub(crate) fn too_large(limit_bytes: u64) -> Refusal {
    let detail = format!("the body is longer than {limit_bytes} bytes");
    Refusal::new("request.too-large", 413, Fault::Client, detail)
}

/// Why the body will never be complete.
#[derive(Clone, Copy)]
enum BodyBreak {
    Peer,
    TooLarge,
    Stalled,
    Ended(&'static str),
}

struct AttemptBody {
    shared: Rc<RefCell<ReplayState>>,
    /// The attempt that it is for.
    number: u64,
    next: usize,
    done: bool,
    crowd: Option<EndpointCrowd>,
    pace: UploadPace,
}

impl AttemptBody {
    /// The next frame of the client; or that it is given up.
    fn poll_source(
        &mut self,
        shared: &mut ReplayState,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut shared.source).poll_frame(cx) {
            let octets = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            self.pace.came(octets.map_or(0, Bytes::len));
            return Poll::Ready(frame);
        }
        let Some(crowd) = &self.crowd else { return Poll::Pending };
        let limit = match shared.answered {
            true => SILENCE_AFTER_THE_HEAD,
            false => SILENCE_WHILE_OTHERS_WAIT,
        };
        let may_wait = |silent| silent < limit || !crowd.is_there();
        self.pace.poll_look(cx, may_wait).map(|()| Some(Err(BodyError::Stalled { limit })))
    }
}

impl HttpBody for AttemptBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let shared = Rc::clone(&this.shared);
        let mut shared = shared.borrow_mut();
        if this.number != shared.reader && !shared.ended {
            return Poll::Ready(Some(Err(BodyError::Ended("another attempt sends the body"))));
        }
        if let Some(chunk) = shared.kept.get(this.next) {
            this.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        if this.done {
            return Poll::Ready(None);
        }
        if shared.ended {
            this.done = true;
            let trailers = shared.trailers.clone();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = ready!(this.poll_source(&mut shared, cx));
        Poll::Ready(match frame {
            None => {
                shared.ended = true;
                this.done = true;
                None
            }
            Some(Err(error)) => {
                shared.broken = Some(match error {
                    BodyError::TooLarge { .. } => BodyBreak::TooLarge,
                    BodyError::Stalled { .. } => BodyBreak::Stalled,
                    BodyError::Ended(why) => BodyBreak::Ended(why),
                    BodyError::Peer(_) | BodyError::Source(_) => BodyBreak::Peer,
                });
                Some(Err(error))
            }
            Some(Ok(frame)) => Some(shared.take(frame, &mut this.next)),
        })
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.shared.borrow();
        shared.ended && self.next >= shared.kept.len() && (self.done || shared.trailers.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.shared.borrow();
        let kept: u64 = shared.kept.iter().skip(self.next).map(|chunk| chunk.len() as u64).sum();
        if shared.ended {
            return SizeHint::with_exact(kept);
        }
        match shared.source.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(kept + rest),
            None => SizeHint::default(),
        }
    }
}

impl ReplayState {
    /// Keeps a chunk for another attempt, as long as there is room.
    fn keep(&mut self, chunk: &Bytes, next: &mut usize) {
        let cost = chunk.len().max(CHUNK_COST_BYTES);
        if !self.overflowed && self.kept_bytes + cost <= REPLAY_MAX_BYTES {
            self.kept_bytes += cost;
            self.kept.push(match chunk.len() < COPIED_BELOW_BYTES {
                true => Bytes::copy_from_slice(chunk),
                false => chunk.clone(),
            });
            *next += 1;
        } else {
            // From here on the body cannot be sent again, so the kept bytes are freed. A reader that was still
            // replaying has caught up, or it would not have polled the source.
            self.overflowed = true;
            self.kept.clear();
            *next = 0;
        }
    }

    fn take(&mut self, frame: Frame<Bytes>, next: &mut usize) -> Result<Frame<Bytes>, BodyError> {
        let mut frame = match frame.into_data() {
            Ok(chunk) => {
                self.bytes_in += chunk.len() as u64;
                if self.bytes_in > self.limit_bytes {
                    self.broken = Some(BodyBreak::TooLarge);
                    return Err(BodyError::TooLarge { limit_bytes: self.limit_bytes });
                }
                // Nothing of an empty chunk has to be sent again, and any number of them may come.
                if !chunk.is_empty() {
                    self.keep(&chunk, next);
                }
                if self.source.is_end_stream() {
                    self.ended = true;
                }
                return Ok(Frame::data(chunk));
            }
            Err(frame) => frame,
        };
        if let (Some(trailers), Some(owners)) = (frame.trailers_mut(), &self.owners) {
            owners.clean_trailers(trailers);
        }
        if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
        }
        self.ended = true;
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn read(body: Body) -> Vec<u8> {
        body.collect().await.unwrap().to_bytes().to_vec()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_small_body_is_sent_again_whole() {
        let replay = Replay::new(Body::full("hello"), 1024);
        assert_eq!(read(replay.body(None)).await, b"hello");
        assert!(replay.is_replayable());
        assert_eq!(read(replay.body(None)).await, b"hello");
        assert_eq!(replay.bytes_in(), 5);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_large_body_is_sent_once() {
        let replay = Replay::new(Body::full(vec![7; REPLAY_MAX_BYTES + 1]), u64::MAX);
        assert_eq!(read(replay.body(None)).await.len(), REPLAY_MAX_BYTES + 1);
        assert!(!replay.is_replayable());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_still_arrives_is_for_the_latest_attempt_alone() {
        let (send, source) = Body::channel(4);
        let piece = |text: &'static str| Ok(Frame::data(Bytes::from(text)));
        let replay = Replay::new(source, 1024);
        let mut first = replay.body(None);
        send.try_send(piece("one ")).unwrap();
        assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "one ");
        // The first waits for more when the second begins.
        assert!(futures_util::poll!(first.frame()).is_pending());
        let second = replay.body(None);
        let ended = first.frame().await.unwrap();
        assert!(ended.is_err_and(|error| error.to_string().contains("another attempt")));
        send.try_send(piece("two")).unwrap();
        drop(send);
        assert_eq!(read(second).await, b"one two");
        // What has arrived whole is read by any number of attempts.
        let (mut third, mut fourth) = (replay.body(None), replay.body(None));
        for body in [&mut third, &mut fourth] {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one ");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_kept_of_tiny_chunks_is_no_more_than_of_large_ones() {
        // Each is one byte of a frame that is padded to 256.
        let frame = Bytes::from(vec![7; 256]);
        let frames: Vec<_> = (0..2_000)
            .map(|_| Ok::<_, BodyError>(Frame::data(Bytes::copy_from_slice(&frame).slice(..1))))
            .collect();
        let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
        let replay = Replay::new(Body::stream(body), u64::MAX);
        let mut sent = replay.body(None);
        let most = REPLAY_MAX_BYTES / CHUNK_COST_BYTES;
        for number in 1..=most {
            sent.frame().await.unwrap().unwrap();
            assert!(replay.is_replayable(), "{number}");
        }
        // Alone in its allocation: the buffer it arrived in is freed.
        let kept = replay.shared().unwrap().kept.iter().all(Bytes::is_unique);
        assert!(kept && replay.shared().unwrap().kept.len() == most);
        assert_eq!(sent.collect().await.unwrap().to_bytes().len(), 2_000 - most);
        assert!(!replay.is_replayable());
        assert!(replay.shared().unwrap().kept.is_empty());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn trailers_with_an_owner_are_left_out_of_every_attempt() {
        let names = ["x-user", "x_user", "x-forwarded-for", "cookie", "authorization", "x-sum"];
        let trailers: HeaderMap =
            names.iter().map(|name| (name.parse().unwrap(), "root".parse().unwrap())).collect();
        let frames =
            [Frame::data(Bytes::from("a")), Frame::trailers(trailers)].map(Ok::<_, BodyError>);
        let body =
            Body::stream(http_body_util::StreamBody::new(futures_util::stream::iter(frames)));
        let owners = Owners::of(&[tamis_exchange::WritableFields::new(["x-user"])]);
        let replay = Replay::received(body, 10, &Arc::new(owners));
        for _ in 0..2 {
            let sent = replay.body(None).collect().await.unwrap();
            let left: Vec<_> = sent.trailers().unwrap().keys().collect();
            assert_eq!(left, ["x-sum"]);
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_body_over_the_limit_is_an_error() {
        let replay = Replay::new(Body::full(vec![7; 11]), 10);
        assert!(replay.body(None).collect().await.is_err());
        assert!(!replay.is_replayable());
    }
}

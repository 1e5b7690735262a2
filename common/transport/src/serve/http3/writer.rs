//! What is sent on the stream of a request. Dropped before its end was sent, it resets the stream: QUIC would end it as if all
//! had been said.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use quinn::{Connection, SendStream, StoppedError, VarInt, WriteError};

use super::acknowledged::AcknowledgementWatch;
use super::code::Code;
use super::error::Http3Error;
use super::frames;
use crate::streams::LOOK;

type Stopped = Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>>>>;

/// Sends frames on a stream.
pub(super) struct StreamWriter {
    connection: Connection,
    stream: SendStream,
    /// Ready once the client takes no more, or has all.
    stopped: Stopped,
    /// Not handed to QUIC yet.
    waiting: VecDeque<Bytes>,
    /// It was ended or reset.
    over: bool,
}

impl StreamWriter {
    pub(super) fn new(stream: SendStream, connection: Connection) -> Self {
        let stopped = Box::pin(stream.stopped());
        Self { connection, stream, stopped, waiting: VecDeque::new(), over: false }
    }

    /// A field section follows.
    pub(super) fn put_section(&mut self, section: &[u8]) {
        self.waiting.push_back(frames::frame(frames::HEADERS, section).into());
    }

    /// Content follows.
    pub(super) fn put_content(&mut self, octets: Bytes) {
        self.waiting.push_back(frames::head(frames::DATA, octets.len()).into());
        self.waiting.push_back(octets);
    }

    /// Whether something waits for the client's window.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Hands some of what waits to QUIC; how many octets.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Http3Error>> {
        let chunks = self.waiting.make_contiguous();
        let written = std::task::ready!(pin!(self.stream.write_chunks(chunks)).poll(cx));
        let written = written.map_err(|error| match error {
            WriteError::Stopped(code) => Http3Error::Reset { code: code.into_inner() },
            WriteError::ConnectionLost(error) => Http3Error::Connection(error),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => Http3Error::Closed,
        })?;
        drop(self.waiting.drain(..written.chunks.min(self.waiting.len())));
        Poll::Ready(Ok(written.bytes))
    }

    /// Hands over as much of what waits as QUIC takes now.
    pub(super) fn write_some(&mut self, cx: &mut Context<'_>) -> Result<(), Http3Error> {
        while self.has_waiting() {
            match self.poll_write(cx) {
                Poll::Ready(written) => drop(written?),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Ready once the client wants no more. Not to be called again after that, nor after the end.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Http3Error> {
        self.stopped.as_mut().poll(cx).map(|stopped| match stopped {
            Ok(Some(code)) => Http3Error::Reset { code: code.into_inner() },
            Ok(None) | Err(StoppedError::ZeroRttRejected) => Http3Error::Closed,
            Err(StoppedError::ConnectionLost(error)) => Http3Error::Connection(error),
        })
    }

    /// Everything was written: the stream ends.
    pub(super) fn finish(&mut self) {
        self.over = true;
        // It fails only if the stream has ended.
        let _ended = self.stream.finish();
    }

    /// Waits until the client has everything, or takes no more. One that takes next to nothing of it for too long loses the rest:
    /// QUIC keeps what was not acknowledged.
    pub(super) async fn taken(&mut self) {
        let mut watch: Option<AcknowledgementWatch> = None;
        while tokio::time::timeout(LOOK, self.stopped.as_mut()).await.is_err() {
            let stats = self.connection.stats();
            let (acks, sent) = (stats.frame_rx.acks, stats.udp_tx.bytes);
            let watch = watch.get_or_insert_with(|| AcknowledgementWatch::new(acks, sent));
            if !watch.may_wait(acks, sent) {
                self.reset(Code::RequestCancelled);
                return;
            }
        }
    }

    /// Ends the stream before its time.
    pub(super) fn reset(&mut self, code: Code) {
        self.over = true;
        self.waiting.clear();
        let _ended = self.stream.reset(code.number());
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        if !self.over {
            self.reset(Code::RequestCancelled);
        }
    }
}

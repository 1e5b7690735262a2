//! Counts the frames of an HTTP/2 connection that cost us work and the peer almost nothing, and lets a busy
//! connection yield to others.
//!
//! It sits between the socket and the HTTP/2 stack, reads only frame headers (RFC 9113 §4.1) and passes
//! every byte on unchanged. A peer that uses up its budget gets GOAWAY with ENHANCE_YOUR_CALM (§7), and the
//! connection ends.

mod backlog;

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::budget::Budget;
use crate::serve::linger;
use crate::turn::ConnectionTurn;
use backlog::{FrameBacklog, PartEnds};

/// What a useful frame adds to the budget: the head of a request, which calls for a head and trailers in
/// return, or a DATA frame that we send, which peers answer with WINDOW_UPDATE for the stream and for the
/// connection, and some with a PING.
const EARNED: u32 = 4;
/// What a SETTINGS frame takes from the budget: each calls for a frame of ours before anything else may be read (RFC 9113
/// §6.5.3), and peers send one, and a few more where they adapt their windows.
const SETTINGS_COST: u32 = 10;
/// What a frame counts in a turn: as much as so many pieces of content.
const FRAME_PIECES: usize = 4;

/// GOAWAY up to the last stream id.
const GOAWAY_HEAD: [u8; 9] = [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0];
/// RFC 9113 §7, ENHANCE_YOUR_CALM.
const ENHANCE_YOUR_CALM: [u8; 4] = [0, 0, 0, 0xb];

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// Flag of PING and SETTINGS (RFC 9113 §6.5, §6.7).
const ACK: u8 = 0x1;

/// The bytes before the first frame of a client (RFC 9113 §3.4).
const PREFACE_OCTETS: usize = 24;
/// Unnecessary frames that a peer may send beyond what messages need.
pub const IDLE_FRAMES_MAX: u32 = 1_000;

/// The sender of the counted frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// A client: requests are what it is expected to send.
    Client,
    /// A server: content is what it is expected to send. The requests that we sent pay for the heads that answer them.
    Server,
}

/// A stream whose frames are counted.
#[derive(Debug)]
pub struct MeteredStream<IO> {
    peer: Peer,
    /// `None` once the peer was sent away.
    io: Option<IO>,
    received: Frames,
    sent: Frames,
    budget: Budget,
    turn: ConnectionTurn,
    backlog: FrameBacklog,
    heard: Rc<Cell<bool>>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin + 'static> MeteredStream<IO> {
    /// For a connection that a client opened, which may send `most` unnecessary frames.
    pub fn from_client(io: IO, most: u32) -> Self {
        Self::new(Peer::Client, io, most)
    }

    /// For a connection to a server. When the budget is used up, reading fails with the kind
    /// [`io::ErrorKind::InvalidData`]: the server broke the protocol, which is not a mere connection
    /// failure.
    pub fn to_server(io: IO, most: u32) -> Self {
        Self::new(Peer::Server, io, most)
    }

    fn new(peer: Peer, io: IO, most: u32) -> Self {
        let (client, server) = (Frames::after(PREFACE_OCTETS), Frames::after(0));
        let (received, sent) = match peer {
            Peer::Client => (client, server),
            Peer::Server => (server, client),
        };
        Self {
            peer,
            io: Some(io),
            received,
            sent,
            budget: Budget::new(most),
            turn: ConnectionTurn::default(),
            backlog: FrameBacklog::default(),
            heard: Rc::default(),
        }
    }

    /// Set by each read.
    pub fn heard(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.heard)
    }

    /// Counts the frames that were read; returns the parts in which they are passed on, and `None` when the budget is
    /// used up.
    fn count(&mut self, octets: &[u8]) -> Option<PartEnds> {
        let Self { peer, received, budget, .. } = self;
        let (mut within, mut parts) = (true, PartEnds::default());
        received.walk(octets, |frame, end| {
            parts.frame(end);
            match frame.kind {
                // Heads of a server, trailers among them, are paid for by the requests of ours: it may send them to a
                // stream that has ended as well as any other frame.
                HEADERS if *peer == Peer::Client => budget.earn(EARNED),
                DATA | CONTINUATION if frame.length > 0 || frame.is_end() => {}
                SETTINGS if frame.flags & ACK == 0 => within &= budget.spend(SETTINGS_COST),
                _ => within &= budget.spend(1),
            }
        });
        within.then_some(parts)
    }

    /// Counts what was passed on in this turn.
    fn count_turn(&mut self, octets: usize, frames: usize) {
        self.turn.count_bytes(octets);
        self.turn.count_pieces(frames.saturating_mul(FRAME_PIECES));
    }

    /// Sends GOAWAY, unless a frame of ours is half sent, and ends the connection in the background.
    fn send_away(&mut self) -> io::Error {
        if let Some(io) = self.io.take() {
            let mut goaway = Vec::new();
            if self.sent.is_between() {
                goaway.extend_from_slice(&GOAWAY_HEAD);
                goaway.extend_from_slice(&self.received.last_stream.to_be_bytes());
                goaway.extend_from_slice(&ENHANCE_YOUR_CALM);
            }
            tracing::debug!("closing a connection with too many unnecessary frames");
            drop(tokio::task::spawn_local(async move { linger::close(io, &goaway).await }));
        }
        let kind = match self.peer {
            Peer::Client => io::ErrorKind::Other,
            Peer::Server => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, "the peer sends more unnecessary frames than allowed")
    }
}

/// The position of the next byte in a stream of frames.
#[derive(Debug)]
struct Frames {
    /// Bytes that are not frame headers: of the preface, or of a payload.
    skip: usize,
    head: [u8; 9],
    filled: usize,
    /// The highest stream id.
    last_stream: u32,
}

/// The fields of a frame header.
#[derive(Debug, Clone, Copy)]
struct Frame {
    kind: u8,
    flags: u8,
    length: usize,
}

impl Frame {
    /// END_STREAM of DATA, END_HEADERS of CONTINUATION: such a frame ends something even without payload.
    fn is_end(self) -> bool {
        match self.kind {
            DATA => self.flags & 0x1 != 0,
            CONTINUATION => self.flags & 0x4 != 0,
            _ => false,
        }
    }
}

impl Frames {
    fn after(skip: usize) -> Self {
        Self { skip, head: [0; 9], filled: 0, last_stream: 0 }
    }

    /// Whether the next byte begins a frame.
    fn is_between(&self) -> bool {
        self.skip == 0 && self.filled == 0
    }

    /// Passes each frame to `each`, with the position in `octets` at which its header ends.
    fn walk(&mut self, mut octets: &[u8], mut each: impl FnMut(Frame, usize)) {
        let length = octets.len();
        while !octets.is_empty() {
            let skipped = self.skip.min(octets.len());
            self.skip = self.skip.saturating_sub(skipped);
            octets = octets.get(skipped..).unwrap_or_default();
            let wanted = self.head.len().saturating_sub(self.filled).min(octets.len());
            let (piece, rest) = octets.split_at(wanted);
            for (to, from) in self.head.iter_mut().skip(self.filled).zip(piece) {
                *to = *from;
            }
            self.filled = self.filled.saturating_add(wanted);
            octets = rest;
            if self.filled == self.head.len() {
                self.filled = 0;
                each(self.frame(), length.saturating_sub(octets.len()));
            }
        }
    }

    fn frame(&mut self) -> Frame {
        let [a, b, c, kind, flags, s, t, u, v] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes([s, t, u, v]) & 0x7fff_ffff;
        self.skip = length;
        self.last_stream = self.last_stream.max(stream);
        Frame { kind, flags, length }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + 'static> AsyncRead for MeteredStream<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.turn.poll(cx));
        let before = out.filled().len();
        if let Some(frames) = this.backlog.pass(out) {
            this.count_turn(out.filled().len().saturating_sub(before), frames);
            return Poll::Ready(Ok(()));
        }
        let Some(io) = this.io.as_mut() else { return Poll::Ready(Ok(())) };
        if Pin::new(io).poll_read(cx, out)?.is_pending() {
            this.turn.end();
            return Poll::Pending;
        }
        this.heard.set(true);
        let read = out.filled().get(before..).unwrap_or_default();
        if let Some(parts) = this.count(read) {
            let length = this.backlog.keep_rest(read, &parts);
            out.set_filled(before.saturating_add(length));
            this.count_turn(length, parts.first_frames());
            return Poll::Ready(Ok(()));
        }
        // These bytes are not passed on: the rest may be thousands of frames.
        out.set_filled(before);
        Poll::Ready(Err(this.send_away()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + 'static> AsyncWrite for MeteredStream<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(io) = this.io.as_mut() else { return Poll::Ready(Err(gone())) };
        let written = ready!(Pin::new(io).poll_write(cx, octets))?;
        this.note_sent(octets.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(io) = this.io.as_mut() else { return Poll::Ready(Err(gone())) };
        let written = ready!(Pin::new(io).poll_write_vectored(cx, slices))?;
        let mut left = written;
        for slice in slices {
            let taken = left.min(slice.len());
            this.note_sent(slice.get(..taken).unwrap_or_default());
            left = left.saturating_sub(taken);
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut().io.as_mut() {
            Some(io) => Pin::new(io).poll_flush(cx),
            None => Poll::Ready(Err(gone())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut().io.as_mut() {
            Some(io) => Pin::new(io).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + 'static> MeteredStream<IO> {
    fn note_sent(&mut self, octets: &[u8]) {
        let Self { peer, sent, budget, .. } = self;
        sent.walk(octets, |frame, _| match frame.kind {
            DATA => budget.earn(EARNED),
            HEADERS if *peer == Peer::Server => budget.earn(EARNED),
            // A PING calls for one frame in answer; our own answers call for none, or a flood of PING would
            // pay for itself.
            PING if frame.flags & ACK == 0 => budget.earn(1),
            _ => {}
        });
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the peer was sent away")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::LocalSet;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const RST_STREAM: u8 = 3;
    const PRIORITY: u8 = 2;
    const WINDOW_UPDATE: u8 = 8;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut octets = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        octets.extend([kind, flags]);
        octets.extend(stream.to_be_bytes());
        octets.extend(payload);
        octets
    }

    /// Sends frames after a preface; returns whether all were passed on, and what the peer received.
    async fn through(frames: Vec<u8>, most: u32) -> (bool, Vec<u8>) {
        LocalSet::new()
            .run_until(async move {
                let (mut client, server) = tokio::io::duplex(16 << 20);
                client.write_all(PREFACE).await.unwrap();
                client.write_all(&frames).await.unwrap();
                client.shutdown().await.unwrap();
                let mut metered = MeteredStream::from_client(server, most);
                let read = metered.read_to_end(&mut Vec::new()).await;
                drop(metered);
                let mut answer = Vec::new();
                client.read_to_end(&mut answer).await.unwrap();
                (read.is_ok(), answer)
            })
            .await
    }

    #[tokio::test(start_paused = true)]
    async fn frames_without_use_end_the_connection_whatever_their_kind() {
        // What one takes from the budget.
        let kinds: [(&str, Vec<u8>, usize); 10] = [
            ("PING", frame(PING, 0, 0, &[0; 8]), 1),
            ("SETTINGS", frame(SETTINGS, 0, 0, &[]), 10),
            ("SETTINGS that say something", frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]), 10),
            ("SETTINGS ACK", frame(SETTINGS, 1, 0, &[]), 1),
            ("PRIORITY", frame(PRIORITY, 0, 3, &[0; 5]), 1),
            ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), 1),
            ("RST_STREAM", frame(RST_STREAM, 0, 1, &[0; 4]), 1),
            ("empty DATA", frame(DATA, 0, 1, &[]), 1),
            ("empty CONTINUATION", frame(CONTINUATION, 0, 1, &[]), 1),
            ("unknown", frame(0xbe, 0, 0, &[0; 3]), 1),
        ];
        for (what, one, cost) in kinds {
            let (whole, answer) = through(one.repeat(100 / cost), 100).await;
            assert!(whole && answer.is_empty(), "{what}");
            let (whole, answer) = through(one.repeat(100 / cost + 1), 100).await;
            assert!(!whole, "{what}");
            assert_eq!(answer.get(3), Some(&GOAWAY), "{what}");
            assert_eq!(answer.get(13..), Some(&ENHANCE_YOUR_CALM[..]), "{what}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_answers_what_it_was_asked_and_what_else_it_sends_is_counted() {
        let interim = frame(HEADERS, 4, 1, &[0x48, 3, b'1', b'0', b'3']);
        let (last, data) = (frame(HEADERS, 5, 1, &[0x88]), frame(DATA, 0, 1, b"a"));
        for (what, one, passes) in [
            ("final heads without content", &last, false),
            ("trailers", &frame(HEADERS, 5, 1, &[0]), false),
            ("heads of a stream that is not there", &frame(HEADERS, 5, 9, &[0x88]), false),
            ("padded DATA of no content", &frame(DATA, 0x8, 1, &[0]), true),
            ("content", &data, true),
            ("interim heads", &interim, false),
            ("PING", &frame(PING, 0, 0, &[0; 8]), false),
            ("SETTINGS", &frame(SETTINGS, 0, 0, &[]), false),
            ("WINDOW_UPDATE", &frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), false),
            ("empty DATA", &frame(DATA, 0, 1, &[]), false),
        ] {
            let octets = one.repeat(1_000);
            let local = LocalSet::new();
            let read = local.run_until(async move {
                let (mut server, near) = tokio::io::duplex(16 << 20);
                server.write_all(&octets).await.unwrap();
                server.shutdown().await.unwrap();
                MeteredStream::to_server(near, 100).read_to_end(&mut Vec::new()).await
            });
            let error = read.await.err().map(|error| error.kind());
            assert_eq!(error, (!passes).then_some(io::ErrorKind::InvalidData), "{what}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_of_ours_call_for_frames_of_a_server() {
        let (_server, near) = tokio::io::duplex(1 << 16);
        let mut metered = MeteredStream::to_server(near, 100);
        metered.budget.left = 0;
        metered.write_all(PREFACE).await.unwrap();
        metered.write_all(&frame(HEADERS, 5, 1, &[0x82]).repeat(2)).await.unwrap();
        assert_eq!(metered.budget.left, 8);
        // However many there are: a head, trailers and two WINDOW_UPDATE for each.
        let (mut server, near) = tokio::io::duplex(16 << 20);
        let mut metered = MeteredStream::to_server(near, 100);
        metered.write_all(PREFACE).await.unwrap();
        let answer = [
            frame(HEADERS, 4, 1, &[0x88]),
            frame(DATA, 0, 1, b"a"),
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]).repeat(2),
            frame(HEADERS, 5, 1, &[0]),
        ];
        let answer = answer.concat();
        let mut octets = vec![0; answer.len()];
        for _ in 0..1_000 {
            metered.write_all(&frame(HEADERS, 5, 1, &[0x82])).await.unwrap();
            server.write_all(&answer).await.unwrap();
            metered.read_exact(&mut octets).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_and_bodies_pay_for_the_frames_that_go_with_them() {
        let mut frames = Vec::new();
        for number in 0..2_000_u32 {
            let stream = number * 2 + 1;
            frames.extend(frame(HEADERS, 4, stream, &[0x82]));
            frames.extend(frame(DATA, 0, stream, b"a"));
            frames.extend(frame(DATA, 1, stream, b""));
            for _ in 0..3 {
                frames.extend(frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 1]));
            }
        }
        assert!(through(frames, 100).await.0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_we_send_calls_for_frames_of_the_peer() {
        let (_client, server) = tokio::io::duplex(1 << 16);
        let mut metered = MeteredStream::from_client(server, 10);
        metered.budget.left = 0;
        metered.write_all(&frame(DATA, 0, 1, &[0; 100]).repeat(2)).await.unwrap();
        assert_eq!(metered.budget.left, 8);
        metered.write_all(&frame(PING, ACK, 0, &[0; 8]).repeat(5)).await.unwrap();
        assert_eq!(metered.budget.left, 8, "answers of ours pay for nothing");
    }

    #[tokio::test]
    async fn an_upstream_has_the_same_budget() {
        LocalSet::new()
            .run_until(async {
                let (mut upstream, ours) = tokio::io::duplex(1 << 20);
                let mut metered = MeteredStream::to_server(ours, 100);
                metered.write_all(PREFACE).await.unwrap();
                metered.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
                upstream.write_all(&frame(PING, 0, 0, &[0; 8]).repeat(300)).await.unwrap();
                assert!(metered.read_to_end(&mut Vec::new()).await.is_err());
                drop(metered);
                let mut sent = Vec::new();
                upstream.read_to_end(&mut sent).await.unwrap();
                assert!(sent.ends_with(&ENHANCE_YOUR_CALM), "{sent:?}");
            })
            .await;
    }

    #[tokio::test]
    async fn a_connection_with_much_to_say_lets_others_have_their_turn() {
        LocalSet::new()
            .run_until(async {
                let (mut client, server) = tokio::io::duplex(1 << 20);
                client.write_all(PREFACE).await.unwrap();
                client.write_all(&frame(PING, 1, 0, &[0; 8]).repeat(10_000)).await.unwrap();
                let turns = Rc::new(Cell::new(0));
                let others = Rc::clone(&turns);
                drop(tokio::task::spawn_local(async move {
                    loop {
                        others.set(others.get() + 1);
                        tokio::task::yield_now().await;
                    }
                }));
                let mut metered = MeteredStream::from_client(server, 20_000);
                let mut octets = [0; 1_000];
                for _ in 0..100 {
                    metered.read_exact(&mut octets).await.unwrap();
                }
                // 100,000 bytes are 5,882 frames of 17.
                assert!(turns.get() > 40, "{}", turns.get());
            })
            .await;
    }

    proptest! {
        #[test]
        fn any_split_of_a_stream_counts_the_same(
            payloads in prop::collection::vec((0_u8..10, 0_usize..40), 0..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut octets = PREFACE.to_vec();
            for (kind, length) in &payloads {
                octets.extend(frame(*kind, 0, 1, &vec![0xff; *length]));
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(octets.len() + 1)).collect();
            cuts.extend([0, octets.len()]);
            cuts.sort_unstable();
            let mut frames = Frames::after(PREFACE_OCTETS);
            let mut seen = Vec::new();
            for cut in cuts.windows(2) {
                frames.walk(&octets[cut[0]..cut[1]], |frame, _| seen.push((frame.kind, frame.length)));
            }
            prop_assert_eq!(seen, payloads);
            prop_assert!(frames.is_between());
        }
    }
}

//! Carries octets both ways between two connections, unread.
//!
//! Each end of a side is passed on by itself, so that one side may be closed while the other still sends. What was read
//! is written before more is read, so a slow reader slows its writer down, and at most one piece waits in each
//! direction. A connection on which nothing waits holds no memory for octets: the worker's connections share the room
//! that they are read into.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::turn::ConnectionTurn;

/// Most octets that are read at once.
const PIECE: usize = 64 * 1024;
/// How often in the time that a connection may be silent somebody looks whether it was.
const LOOKS: u32 = 8;

thread_local! {
    /// What the connections of a worker read into.
    static ROOM: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE]);
}

/// What was carried so far; shared with whoever reports it.
#[derive(Debug, Default)]
pub struct CarriedOctets {
    sent: Cell<u64>,
    received: Cell<u64>,
}

impl CarriedOctets {
    /// Octets of the first connection that the second one took.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// Octets of the second connection that the first one took.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.get()
    }
}

/// Why nothing more is carried.
#[derive(Debug)]
pub enum CarryEnd {
    /// Both sides are done.
    Done,
    /// One of the connections broke.
    Broken(io::Error),
    /// Nothing moved for too long.
    Idle,
}

/// Carries until both sides are done, one breaks, or neither sends nor takes anything for `idle` (at most an eighth
/// longer). `noted` is called with the octets of each write: those of `one`, and those of `other`.
///
/// Cancel-safe: dropping the future drops what was read and not yet written.
pub async fn carry(
    one: impl AsyncRead + AsyncWrite + Unpin,
    other: impl AsyncRead + AsyncWrite + Unpin,
    idle: Duration,
    carried: &CarriedOctets,
    noted: impl Fn(u64, u64),
) -> CarryEnd {
    let (one, other) = (RefCell::new(one), RefCell::new(other));
    let (mut up, mut down) = (CopyDirection::default(), CopyDirection::default());
    // A connection whose sides are quick must not keep the others of its worker waiting.
    let mut turn = ConnectionTurn::default();
    let both = std::future::poll_fn(|cx| {
        let mut sent = |octets| {
            carried.sent.set(carried.sent.get().saturating_add(octets));
            noted(octets, 0);
        };
        let first = up.poll((&one, &other), cx, &mut turn, &mut sent)?;
        let mut received = |octets| {
            carried.received.set(carried.received.get().saturating_add(octets));
            noted(0, octets);
        };
        let second = down.poll((&other, &one), cx, &mut turn, &mut received)?;
        if !up.yields && !down.yields {
            turn.end();
        }
        if first.is_ready() && second.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    });
    tokio::select! {
        done = both => match done {
            Ok(()) => CarryEnd::Done,
            Err(error) => CarryEnd::Broken(error),
        },
        () = silence(idle, carried) => CarryEnd::Idle,
    }
}

/// Ends when nothing was carried for that long.
async fn silence(idle: Duration, carried: &CarriedOctets) {
    let look = idle.checked_div(LOOKS).unwrap_or(idle);
    let (mut looks, mut before) = (0, None);
    while looks < LOOKS {
        tokio::time::sleep(look).await;
        let now = Some((carried.sent(), carried.received()));
        looks = if now == before { looks.saturating_add(1) } else { 0 };
        before = now;
    }
}

/// One direction.
#[derive(Default)]
struct CopyDirection {
    /// What was read and not yet taken.
    waiting: Vec<u8>,
    /// How much of it was taken.
    taken: usize,
    state: DirectionState,
    /// The writer may keep octets back until it is flushed.
    unflushed: bool,
    /// It waits for its next turn, not for a side.
    yields: bool,
}

#[derive(Default, PartialEq)]
enum DirectionState {
    #[default]
    Open,
    /// The reader is at its end, of which the writer does not know yet.
    Ending,
    Ended,
}

impl CopyDirection {
    fn poll<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        (from, to): (&RefCell<R>, &RefCell<W>),
        cx: &mut Context<'_>,
        turn: &mut ConnectionTurn,
        noted: &mut impl FnMut(u64),
    ) -> Poll<io::Result<()>> {
        let (from, to) = (&mut *from.borrow_mut(), &mut *to.borrow_mut());
        self.yields = false;
        loop {
            match self.state {
                DirectionState::Ended => return Poll::Ready(Ok(())),
                DirectionState::Open | DirectionState::Ending if !self.waiting.is_empty() => {
                    let rest = self.waiting.get(self.taken..).unwrap_or_default();
                    let taken = ready!(written(Pin::new(&mut *to).poll_write(cx, rest)))?;
                    self.note(taken, noted);
                    self.taken = self.taken.saturating_add(taken);
                    if self.taken >= self.waiting.len() {
                        (self.waiting, self.taken) = (Vec::new(), 0);
                    }
                }
                DirectionState::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.state = DirectionState::Ended;
                }
                DirectionState::Open if turn.poll(cx).is_pending() => {
                    self.yields = true;
                    return Poll::Pending;
                }
                DirectionState::Open => match self.pass(from, to, cx, noted) {
                    Poll::Ready(passed) => turn.count_bytes(passed?),
                    Poll::Pending if self.unflushed => {
                        ready!(Pin::new(&mut *to).poll_flush(cx))?;
                        self.unflushed = false;
                        return Poll::Pending;
                    }
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    /// Reads one piece and writes what the writer takes of it at once. Returns the length of the piece.
    fn pass<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        from: &mut R,
        to: &mut W,
        cx: &mut Context<'_>,
        noted: &mut impl FnMut(u64),
    ) -> Poll<io::Result<usize>> {
        ROOM.with_borrow_mut(|room| {
            let mut read = ReadBuf::new(room);
            ready!(Pin::new(from).poll_read(cx, &mut read))?;
            let piece = read.filled();
            if piece.is_empty() {
                self.state = DirectionState::Ending;
                return Poll::Ready(Ok(0));
            }
            let taken = match written(Pin::new(to).poll_write(cx, piece)) {
                Poll::Ready(taken) => taken?,
                Poll::Pending => 0,
            };
            self.note(taken, noted);
            self.waiting.extend_from_slice(piece.get(taken..).unwrap_or_default());
            Poll::Ready(Ok(piece.len()))
        })
    }

    fn note(&mut self, taken: usize, noted: &mut impl FnMut(u64)) {
        self.unflushed |= taken > 0;
        noted(u64::try_from(taken).unwrap_or(u64::MAX));
    }
}

/// A writer that takes nothing never will.
fn written(taken: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
    match taken {
        Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        other => other,
    }
}

#[cfg(test)]
mod tests;

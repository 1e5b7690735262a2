//! Turns: what one connection may do before the other tasks of its worker do something.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::task::{Context, Poll};

/// Bytes that a connection moves in one turn.
pub(crate) const TURN_BYTES: usize = 64 * 1024;

/// Pieces of content, such as chunks, that a connection reads in one turn: their cost is not in their bytes.
pub(crate) const TURN_PIECES: usize = 256;

/// Connections of a worker that share a turn: with more, each has this part of it.
const SHARES_MAX: usize = 4;

thread_local! {
    /// Connections of this worker that used up their last turn. A waiting connection waits until each of these had one
    /// more turn.
    static GREEDY: Cell<usize> = const { Cell::new(0) };
}

/// What a connection has done in its turn.
#[derive(Debug, Default)]
pub(crate) struct ConnectionTurn {
    bytes: usize,
    pieces: usize,
    /// It used its last turn up, and is counted.
    is_greedy: bool,
}

impl ConnectionTurn {
    /// Counts bytes that were read.
    pub(crate) fn count_bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Counts a piece of content that was read.
    pub(crate) fn count_piece(&mut self) {
        self.count_pieces(1);
    }

    /// Counts so many pieces of content.
    pub(crate) fn count_pieces(&mut self, pieces: usize) {
        self.pieces = self.pieces.saturating_add(pieces);
    }

    /// Bytes of a turn now: the more connections use theirs up, the less each has.
    pub(crate) fn bytes_max() -> usize {
        TURN_BYTES / shares()
    }

    /// How many bytes a read may take: `wanted` if connections share a turn, otherwise no limit.
    pub(crate) fn read_max(wanted: usize) -> usize {
        if shares() > NonZeroUsize::MIN { wanted } else { usize::MAX }
    }

    /// Whether the connection has done enough.
    pub(crate) fn is_over(&self) -> bool {
        self.bytes >= Self::bytes_max() || self.pieces >= TURN_PIECES / shares()
    }

    /// The connection waits for its peer, so its next turn begins.
    pub(crate) fn end(&mut self) {
        (self.bytes, self.pieces) = (0, 0);
        self.count(false);
    }

    /// Counts the connection among the greedy ones, or no longer.
    fn count(&mut self, is_greedy: bool) {
        if self.is_greedy != is_greedy {
            self.is_greedy = is_greedy;
            let change = |count: usize| {
                if is_greedy { count.saturating_add(1) } else { count.saturating_sub(1) }
            };
            GREEDY.set(change(GREEDY.get()));
        }
    }

    /// Ready while the turn lasts. Otherwise the next one begins after all others, as [`yield_turn`] states.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_over() {
            return Poll::Ready(());
        }
        (self.bytes, self.pieces) = (0, 0);
        self.count(true);
        yield_turn(cx);
        Poll::Pending
    }
}

impl Drop for ConnectionTurn {
    fn drop(&mut self) {
        self.count(false);
    }
}

/// The number of connections that share a turn.
fn shares() -> NonZeroUsize {
    NonZeroUsize::new(GREEDY.get().min(SHARES_MAX)).unwrap_or(NonZeroUsize::MIN)
}

/// Wakes the caller after all tasks that are ready now, and after the sockets were looked at.
///
/// A waker that is called at once puts the task at the end of a queue that then never becomes empty: the runtime looks
/// at its sockets after 61 tasks only, so a few connections that are always ready keep all others waiting for
/// 61 turns, several times for each request.
pub fn yield_turn(cx: &mut Context<'_>) {
    // Its first poll asks for the deferred wake-up; the future is not needed after that.
    let asked = pin!(tokio::task::yield_now()).poll(cx);
    debug_assert!(asked.is_pending(), "the first poll of `yield_now` is pending");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::LocalSet;

    #[test]
    fn a_turn_ends_after_so_many_bytes_or_pieces_and_with_a_wait() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(poll_fn(|cx| {
            let mut turn = ConnectionTurn::default();
            turn.count_bytes(TURN_BYTES - 1);
            for _ in 1..TURN_PIECES {
                turn.count_piece();
            }
            assert!(turn.poll(cx).is_ready());
            turn.count_piece();
            assert!(turn.poll(cx).is_pending());
            assert!(turn.poll(cx).is_ready(), "the next turn");
            turn.count_bytes(TURN_BYTES);
            assert!(turn.poll(cx).is_pending());
            turn.count_bytes(TURN_BYTES);
            turn.end();
            assert!(turn.poll(cx).is_ready());
            Poll::Ready(())
        }));
    }

    #[test]
    fn connections_that_use_their_turns_up_share_one() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(poll_fn(|cx| {
            let mut turns: Vec<ConnectionTurn> = Vec::new();
            for (greedy, bytes) in [(1, 64), (2, 32), (3, 21), (4, 16), (5, 16), (6, 16)] {
                let mut turn = ConnectionTurn::default();
                turn.count_bytes(TURN_BYTES);
                assert!(turn.poll(cx).is_pending());
                turns.push(turn);
                assert_eq!(turns.len(), greedy);
                assert_eq!(ConnectionTurn::bytes_max() / 1024, bytes, "{greedy}");
            }
            // One that waits for its peer, and one that is gone, want nothing of the others.
            turns[0].end();
            turns[0].end();
            turns.truncate(2);
            assert_eq!(ConnectionTurn::bytes_max(), TURN_BYTES);
            turns[0].count_piece();
            assert!(turns[0].poll(cx).is_ready(), "the next turn");
            Poll::Ready(())
        }));
        assert_eq!(GREEDY.get(), 0);
    }

    #[test]
    fn the_page_about_bytes_states_the_limits_of_a_turn() {
        let page = include_str!("../../../docs/explanation/bytes.md");
        let turn = format!("after {} KiB or {TURN_PIECES} pieces", TURN_BYTES / 1024);
        assert!(page.contains(&turn), "{turn}");
        let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
        let read = format!("double while they are filled, up to {} KiB", TURN_BYTES / 1024);
        assert!(words.contains(&read), "{read}");
    }

    /// Four connections are always ready; another one needs its socket looked at for each of its messages.
    #[test]
    fn sockets_are_looked_at_after_one_turn_of_each_that_is_always_ready() {
        const GREEDY: usize = 4;
        const MESSAGES: usize = 50;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let turns = Rc::new(Cell::new(0_usize));
        let counted = Rc::clone(&turns);
        LocalSet::new().block_on(&runtime, async move {
            let greedy: Vec<_> = (0..GREEDY)
                .map(|_| {
                    let turns = Rc::clone(&counted);
                    tokio::task::spawn_local(poll_fn(move |cx| {
                        let mut turn = ConnectionTurn::default();
                        while turn.poll(cx).is_ready() {
                            turn.count_bytes(TURN_BYTES);
                        }
                        turns.set(turns.get() + 1);
                        Poll::<()>::Pending
                    }))
                })
                .collect();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            drop(tokio::task::spawn_local(async move {
                let mut octet = [0];
                while server.read_exact(&mut octet).await.is_ok() {
                    server.write_all(&octet).await.unwrap();
                }
            }));
            counted.set(0);
            for _ in 0..MESSAGES {
                client.write_all(b"x").await.unwrap();
                client.read_exact(&mut [0]).await.unwrap();
            }
            greedy.iter().for_each(tokio::task::JoinHandle::abort);
        });
        // A message needs two looks at the sockets, and loopback may need one more.
        let most = MESSAGES * GREEDY * 4;
        assert!(turns.get() <= most, "{} turns, at most {most}", turns.get());
    }
}

//! What the streams of a connection have in common: how many are open, what the client may still send that is of no use, and
//! the rule that it broke, if any.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::sync::Notify;

use super::code::Code;
use super::error::Http3Error;
use crate::budget::Budget;
use crate::turn::ConnectionTurn;

/// What an answered request adds to the budget.
const EARNED: u32 = 4;
/// What a request takes from it that the client gives up before its response begins, or that is malformed: each costs a task,
/// and most of them an attempt at an upstream.
const GIVEN_UP_COST: u32 = 5;

/// What the streams of a connection have in common.
pub(super) struct ConnectionState {
    open: Cell<usize>,
    budget: RefCell<Budget>,
    turn: RefCell<ConnectionTurn>,
    broken: Cell<Option<(Code, &'static str)>>,
    /// The kinds of streams in one direction that the client opened, each a bit.
    kinds: Cell<u8>,
    /// A stream closed, or a rule was broken.
    changed: Notify,
}

impl ConnectionState {
    /// That of a new connection, whose client may send so many frames of no use.
    pub(super) fn new(idle_frames: u32) -> Rc<Self> {
        Rc::new(Self {
            open: Cell::new(0),
            budget: RefCell::new(Budget::new(idle_frames)),
            turn: RefCell::default(),
            broken: Cell::new(None),
            kinds: Cell::new(0),
            changed: Notify::new(),
        })
    }

    /// Ends the connection for a rule that its client broke.
    pub(super) fn fail(&self, code: Code, rule: &'static str) -> Http3Error {
        if self.broken.get().is_none() {
            self.broken.set(Some((code, rule)));
            self.changed.notify_one();
        }
        Http3Error::Broken { code: code as u32, rule }
    }

    /// The rule that the client broke, if it did.
    pub(super) fn broken(&self) -> Option<(Code, &'static str)> {
        self.broken.get()
    }

    /// Ready once something changed since the last call.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Notes a stream in one direction of a kind below 8; whether it is the first.
    pub(super) fn begin(&self, kind: u64) -> bool {
        let (known, bit) = (self.kinds.get(), 1_u8 << (kind & 0x7));
        self.kinds.set(known | bit);
        known & bit == 0
    }

    /// Counts a frame that is of no use.
    pub(super) fn spend(&self) -> Result<(), Http3Error> {
        self.spend_many(1, "more unnecessary frames than allowed")
    }

    /// Counts a request that failed because of its client: reset, malformed, late or too large.
    pub(super) fn given_up(&self) {
        // An error ends the connection by itself.
        let _ended = self.spend_many(GIVEN_UP_COST, "more requests given up than allowed");
    }

    fn spend_many(&self, cost: u32, rule: &'static str) -> Result<(), Http3Error> {
        let within = self.budget.borrow_mut().spend(cost);
        if within { Ok(()) } else { Err(self.fail(Code::ExcessiveLoad, rule)) }
    }

    /// A request was answered.
    pub(super) fn answered(&self) {
        self.budget.borrow_mut().earn(EARNED);
    }

    /// Counts a stream of a request for as long as what it returns lives.
    pub(super) fn open(self: &Rc<Self>) -> OpenStream {
        self.open.set(self.open.get().saturating_add(1));
        OpenStream(Rc::clone(self))
    }

    /// The open streams of requests.
    pub(super) fn open_streams(&self) -> usize {
        self.open.get()
    }

    /// Ready while the connection may go on reading before others have their turn.
    pub(super) fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.turn.borrow_mut().poll(cx)
    }

    /// Counts what was read.
    pub(super) fn note_read(&self, octets: usize) {
        let mut turn = self.turn.borrow_mut();
        turn.count_bytes(octets);
        turn.count_piece();
    }

    /// The connection waits for its client.
    pub(super) fn note_wait(&self) {
        self.turn.borrow_mut().end();
    }
}

/// An open stream of a request.
pub(super) struct OpenStream(Rc<ConnectionState>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
        self.0.changed.notify_one();
    }
}

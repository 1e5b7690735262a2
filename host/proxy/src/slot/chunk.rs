//! A filter that sees a body chunk by chunk.

use super::long_calls::LongCallTurns;
use super::question::fill;
use super::{InstanceNumber, Slot};
use crate::body_budget::{BodyRoom, BudgetSpent, GatheredBody};
use bytes::Bytes;
use std::rc::Rc;
use tamis_engine::CallFault;
use tamis_exchange::{Decision, Exchange, HeadSide, Reply, Verdict, View, chunk_rule};

/// Bytes that a filter may be shown again before its next call waits for a turn, as much as a connection moves in one. What is
/// held is shown again with each chunk that arrives, and its sender chooses how small that is.
const SHOWN_AGAIN_MAX: usize = 64 * 1024;

/// A filter and what it has seen of one body.
pub(crate) struct ChunkSlot {
    pub(crate) slot: Rc<Slot>,
    /// The instance that is shown all of it.
    instance: InstanceNumber,
    side: HeadSide,
    /// The fields that it declared, as they were when the body began.
    view: View,
    /// What it asked to see again.
    held: GatheredBody,
    /// Bytes that it was shown again since its last turn.
    shown_again: usize,
}

/// The decision about a chunk.
pub(crate) enum ShownChunk {
    /// These bytes go on; none if the filter holds or drops them.
    Pass(Bytes),
    /// The filter answers, with the rule behind it.
    Answer(Reply, Option<String>),
    /// There is no memory for what it holds.
    NoRoom,
}

impl From<BudgetSpent> for ShownChunk {
    fn from(BudgetSpent: BudgetSpent) -> Self {
        Self::NoRoom
    }
}

impl ChunkSlot {
    /// Prepares the filter of a slot for the first chunk of the body of a request or response.
    pub(crate) fn new(
        slot: Rc<Slot>,
        side: HeadSide,
        exchange: &Exchange,
        room: &BodyRoom,
    ) -> Self {
        let mut view = View::default();
        if let Some(filter) = slot.filter() {
            fill(side, &mut view, filter.reads(), exchange);
        }
        let (instance, held) = (slot.instance_number(), GatheredBody::new(room.clone()));
        Self { instance, slot, side, view, held, shown_again: 0 }
    }

    /// Those of `slots`, in their order. What they hold takes its memory from `room`.
    pub(crate) fn of(
        slots: Vec<Rc<Slot>>,
        side: HeadSide,
        exchange: &Exchange,
        room: &BodyRoom,
    ) -> Vec<Self> {
        slots.into_iter().map(|slot| Self::new(slot, side, exchange, room)).collect()
    }

    /// Octets of the head that each call is passed, with their places.
    pub(crate) fn view_octets(&self) -> usize {
        let places = size_of_val(self.view.spans.as_slice());
        self.view.octets.len().saturating_add(places)
    }

    /// The turns for one of which its next call has to wait, if its calls take long or if it was shown much again.
    pub(crate) fn owed_turn(&mut self) -> Option<LongCallTurns> {
        let owes = self.is_shown_much_again() || self.slot.waits_for_turns();
        owes.then(|| {
            self.shown_again = 0;
            self.slot.turns()
        })
    }

    /// Whether it was shown so much again since its last turn that it owes one.
    pub(crate) fn is_shown_much_again(&self) -> bool {
        self.shown_again >= SHOWN_AGAIN_MAX
    }

    /// Waits for that turn; show the chunk right after it.
    pub(crate) async fn turn(&mut self) {
        if let Some(turns) = self.owed_turn() {
            // Boxed, so that exchanges whose filters are quick need no room for it.
            Box::pin(turns.next()).await;
        }
    }

    /// Shows a chunk, or the end as an empty one, behind what it holds.
    ///
    /// # Errors
    /// The call failed, or its answer breaks the contract, and the failure mode refuses the exchange.
    pub(crate) fn show(&mut self, octets: Bytes, last: bool) -> Result<ShownChunk, CallFault> {
        let holds = self.held.len() > 0;
        if holds && let Err(spent) = self.held.push(&octets) {
            return Ok(spent.into());
        }
        let shown = if holds { self.held.as_ref() } else { &octets[..] };
        let length = shown.len();
        let answer = self.slot.ask_chunk(self.instance, self.side, &self.view, shown, last);
        if holds {
            self.shown_again = self.shown_again.saturating_add(length);
        }
        let limit = self.slot.filter().map_or(0, |filter| filter.body_limit_bytes() as usize);
        let decision =
            self.slot.chunk_answer(self.side, self.view.exchange, answer, |verdict| {
                chunk_rule(verdict, length, limit, last)
            })?;
        if let Some(Decision { verdict: Verdict::Hold, .. }) = decision {
            if !holds && let Err(spent) = self.held.push(&octets) {
                return Ok(spent.into());
            }
            return Ok(ShownChunk::Pass(Bytes::new()));
        }
        let octets = if holds { self.held.take() } else { octets };
        let Some(Decision { verdict, reason }) = decision else {
            return Ok(ShownChunk::Pass(octets));
        };
        Ok(match verdict {
            Verdict::Pass
            | Verdict::Change(_)
            | Verdict::Hold
            | Verdict::Rewrite { octets: None, .. } => ShownChunk::Pass(octets),
            Verdict::Replace(by) | Verdict::Rewrite { octets: Some(by), .. } => {
                // What it saw gives its room back first.
                drop(octets);
                match self.held.room().keep(by) {
                    Ok(by) => ShownChunk::Pass(by),
                    Err(spent) => spent.into(),
                }
            }
            Verdict::Answer(reply) => ShownChunk::Answer(reply, reason),
        })
    }
}

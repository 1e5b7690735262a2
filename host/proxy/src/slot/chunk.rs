//! A filter that sees a body chunk by chunk.

use super::question::fill;
use super::{InstanceNumber, Slot};
use bytes::{Bytes, BytesMut};
use std::rc::Rc;
use tamis_engine::CallFault;
use tamis_exchange::{Decision, Exchange, HeadSide, Reply, Verdict, View, chunk_rule};

/// A filter and what it has seen of one body.
pub(crate) struct ChunkSlot {
    pub(crate) slot: Rc<Slot>,
    /// The instance that is shown all of it.
    instance: InstanceNumber,
    side: HeadSide,
    /// The fields that it declared, as they were when the body began.
    view: View,
    /// What it asked to see again.
    held: BytesMut,
}

/// What becomes of a chunk.
pub(crate) enum ShownChunk {
    /// These bytes go on; none if the filter holds or drops them.
    Pass(Bytes),
    /// The filter answers, with the rule behind it.
    Answer(Reply, Option<String>),
}

impl ChunkSlot {
    /// The filter of a slot, before the first chunk of the body of a request or response.
    pub(crate) fn new(slot: Rc<Slot>, side: HeadSide, exchange: &Exchange) -> Self {
        let mut view = View::default();
        if let Some(filter) = slot.filter() {
            fill(side, &mut view, filter.reads(), exchange);
        }
        Self { instance: slot.instance_number(), slot, side, view, held: BytesMut::new() }
    }

    /// Those of `slots`, in their order.
    pub(crate) fn of(slots: Vec<Rc<Slot>>, side: HeadSide, exchange: &Exchange) -> Vec<Self> {
        slots.into_iter().map(|slot| Self::new(slot, side, exchange)).collect()
    }

    /// Shows a chunk, or the end as an empty one.
    ///
    /// # Errors
    /// The call failed, or its answer breaks the contract, and the failure mode refuses the exchange.
    pub(crate) fn show(&mut self, octets: Bytes, last: bool) -> Result<ShownChunk, CallFault> {
        let octets = match self.held.is_empty() {
            true => octets,
            false => {
                self.held.extend_from_slice(&octets);
                self.held.split().freeze()
            }
        };
        let answer = self.slot.ask_chunk(self.instance, self.side, &self.view, &octets, last);
        let limit = self.slot.filter().map_or(0, |filter| filter.body_limit_bytes() as usize);
        let decision =
            self.slot.chunk_answer(self.side, self.view.exchange, answer, |verdict| {
                chunk_rule(verdict, octets.len(), limit, last)
            })?;
        let Some(Decision { verdict, reason }) = decision else {
            return Ok(ShownChunk::Pass(octets));
        };
        Ok(match verdict {
            Verdict::Pass | Verdict::Change(_) => ShownChunk::Pass(octets),
            Verdict::Replace(by) => ShownChunk::Pass(by.into()),
            Verdict::Rewrite { octets: by, .. } => ShownChunk::Pass(by.map_or(octets, Into::into)),
            Verdict::Answer(reply) => ShownChunk::Answer(reply, reason),
            Verdict::Hold => {
                self.held.extend_from_slice(&octets);
                ShownChunk::Pass(Bytes::new())
            }
        })
    }
}

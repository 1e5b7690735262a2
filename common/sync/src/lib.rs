//! What the director and proxies say to each other.
//!
//! A plan travels in parts. Each has a name and a version, which is the digest of what is in it, so that
//! only what differs is sent, after a cut as well. What a proxy runs and counts comes back as a report.
//!
//! Nothing here opens a socket or looks at a clock: [`Session`] is the director's half of a stream, [`Replica`] the
//! proxy's. The lines between them are [`ToNode`] and [`FromNode`].

mod backoff;
mod part;
mod replica;
mod report;
mod session;
mod slots;
mod split;
#[cfg(test)]
mod tests;
mod wire;

pub use backoff::Backoff;
pub use part::{Activation, Assembled, BadParts, Part, Parts, assemble};
pub use replica::{Change, MAX_PARTS, Replica};
pub use report::{
    Counts, DifferenceReport, Histogram, MAX_PROBLEMS, NodeReported, ProblemReport, Refusal,
    RefusedReport, Running, ShadowReport, SlotReport, Statistics,
};
pub use session::Session;
pub use slots::{SHADOW, placed};
pub use split::{Upstreams, slot_part, split, split_again};
pub use wire::{FromNode, Hello, Outcome, PROTOCOL, ProtocolError, Push, ToNode};

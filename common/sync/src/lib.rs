//! The messages between the director and proxies, for the registry and for nodes.
//!
//! A plan is sent in parts. Each part has a name and a version, the digest of its content, so that only
//! differences are sent, also after a lost connection. A proxy sends back reports of what it runs and
//! counts.
//!
//! Nothing here opens a socket or reads a clock: [`Session`] is the director's half of a stream,
//! [`HeldParts`] the proxy's. The lines between them are [`MessageToNode`] and [`MessageFromNode`].

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]
// Octets of strangers are read here: no sum wraps and no cast loses a part, unnoticed.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

mod assemble;
mod backoff;
mod held_parts;
mod identity;
mod part;
mod report;
mod session;
mod shape;
mod slots;
mod split;
#[cfg(test)]
mod tests;
mod wire;

pub use assemble::{AssembledPlan, PartsError, assemble};
pub use backoff::Backoff;
pub use held_parts::{HeldParts, MAX_BYTES, MAX_PARTS, PartsChange};
pub use identity::{JOIN_PATH, JoinFile, MAX_IDENTITY_BYTES, RENEW_PATH, SvidAnswer, SvidRequest};
pub use part::{Part, Parts};
pub use report::{
    CallCounts, ComparisonReport, DifferenceReport, Histogram, IdentityReport, MAX_PROBLEMS,
    NodeReport, PlaintextReport, ProblemReport, RefusedReport, RunningReport, SlotReport,
    SlotStatistics,
};
pub use session::Session;
pub use shape::{Activation, slot_part};
pub use slots::{SHADOW, placed, slots_of_filters};
pub use split::{UpstreamParts, split, split_again};
pub use tamis_refused::Refused;
pub use wire::{
    ChangeOutcome, Hello, MessageFromNode, MessageToNode, PROTOCOL, PartsFrame, ProtocolError,
};

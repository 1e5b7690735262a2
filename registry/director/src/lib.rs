//! Decides what runs where: pins, rollouts, gates and assignments, as pure functions of the journal.
//!
//! [`State`] is the result of the journal's entries. A person's change is a [`Change`]: [`effect`] computes
//! its effect, [`guard`] decides whether it may be made, [`Change::bodies`] gives the records to append.
//! Automatic decisions are [`State::judge`] and [`State::step`] for rollouts, and [`Plans::drafts`] for
//! assignments, which the holder of the director's key signs. [`Plans::node`] is what a proxy should run.
//!
//! Nothing here reads a clock, a file or a key, and nothing writes: the caller appends at the head of the
//! state, or decides again. So every decision can be reproduced from the journal alone.
//!
//! ```
//! use tamis_director::{RecordBody, Change, PinRecord, State};
//! use tamis_trust::Digest;
//!
//! let mut state = State::default();
//! let change = Change::Pin(PinRecord {
//!     service: "shop/checkout".to_owned(),
//!     filter: "acme/retry".parse()?,
//!     version: "1.4.2".parse()?,
//!     digest: Digest::of(b"its manifest"),
//!     allow_older: false,
//!     rollback: false,
//! });
//! for (revision, body) in (1..).zip(change.bodies()?) {
//!     state.apply(revision, 1_800_000_000_000, "ada", body.kind(), &body.to_body()?);
//! }
//! let pin = state.pin("shop/checkout", &"acme/retry".parse()?).map(|pin| pin.version.to_string());
//! assert_eq!(pin.as_deref(), Some("1.4.2"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

mod assign;
mod change;
mod desired;
mod documents;
mod drift;
mod effect;
mod fields;
#[cfg(test)]
mod fixture;
mod growth;
mod guard;
mod ledger;
mod need;
mod needs;
mod node_wants;
mod observed;
mod order;
mod pins;
mod places;
mod plans;
mod ratio;
mod record;
mod refused;
mod rollout;
mod service_wants;
mod stamp;
mod state;
mod wants;
mod words;

pub use assign::{AssignmentDraft, AssignmentTerms, Assignments, assign};
pub use change::{Change, PlanError};
pub use desired::{RolloutState, StandingRevocation};
pub use documents::{DocumentInForce, FileInForce, MAX_VERSIONS, PastDocument};
pub use drift::{Drift, drift};
pub use effect::{
    ChangeEffect, DistrustedSlot, DocumentEffect, SignedManifest, SlotAspect, SlotContent,
    SlotEffect, SlotTransition, TrustChange, effect,
};
pub use fields::{FieldEffect, MAX_FIELDS, fields};
pub use guard::{ChangeRequest, Consent, Guards, guard, guard_rollout};
pub use need::RequiredRight;
pub use needs::{Orphans, Removals, RequiredRights};
pub use node_wants::{NodeWants, for_node};
pub use observed::{LastConnection, LastReport, SlotRun};
pub use pins::{FilterEvent, FilterEventKind, ServicePin};
pub use places::has_places;
pub use plans::Plans;
pub use record::{
    ApplyRecord, ApprovalRecord, AssignmentRecord, DocumentRecord, FileRecord, MAX_BODY_BYTES,
    MAX_TEXT_BYTES, NodeConnections, ParsedOnce, PinRecord, ProposalRecord, ReassignRecord,
    RecordBody, RecordError, RevocationRecord, RevocationTarget, RolloutEndRecord,
    RolloutMoveRecord, RolloutStartRecord, UnpinRecord,
};
pub use refused::{Refused, code};
pub use rollout::{
    BreachAction, CauseCount, Cohort, Differences, Event, GateBreach, GateSpec, IllegalMove,
    Judgement, MAX_BAKE_MS, MAX_CAUSES, MAX_EXAMPLES, MAX_SERVICES, MAX_WAVES, PROGRESS_MS,
    Rollout, RolloutError, RolloutOutcome, RolloutStage, RolloutStep, RolloutTally, RolloutTerms,
    ShadowSpec, WaveSpec, judge, rank, share,
};
pub use stamp::JournalStamp;
pub use state::{MAX_FAULTS, PreparedRecord, RecordFault, State, revoked};

//! Changes that people make.

use serde_json::json;
use tamis_resources::Problem;
use tamis_trust::{Digest, config_digest};
use thiserror::Error;

use crate::desired::DesiredState;
use crate::documents::DocumentRefusal;
use crate::pins::{PinOrigin, ServicePin, check, check_service};
use crate::record::{ApplyRecord, PinRecord, RecordBody, RecordError, UnpinRecord, short};
use crate::stamp::JournalStamp;
use crate::state::State;
use crate::words::count;

/// A change of documents or pins. A rollback is a pin: that of [`State::rollback`].
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Documents are applied and removed.
    Apply(ApplyRecord),
    /// A filter of a service is pinned.
    Pin(PinRecord),
    /// A pin is removed.
    Unpin(UnpinRecord),
}

impl Change {
    /// The digest of the whole change, which approvals name: an approval of one change is not one of
    /// another.
    #[must_use]
    pub fn subject(&self) -> Digest {
        config_digest(&match self {
            Self::Apply(applied) => json!({ "applied": applied }),
            Self::Pin(pinned) => json!({ "pinned": pinned }),
            Self::Unpin(unpinned) => json!({ "unpinned": unpinned }),
        })
    }

    /// The records of the change, to be appended all or none.
    ///
    /// # Errors
    /// [`RecordError`] when a document fits into no record.
    pub fn bodies(self) -> Result<Vec<RecordBody>, RecordError> {
        match self {
            Self::Apply(applied) => Ok(applied.pack()?.into_iter().map(RecordBody::from).collect()),
            Self::Pin(pinned) => Ok(vec![pinned.into()]),
            Self::Unpin(unpinned) => Ok(vec![unpinned.into()]),
        }
    }
}

/// A change that nobody can make.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Documents are invalid; each problem has its place.
    #[error("{} in the documents, the first: {}", count(.0.len(), "problem", "problems"), first(.0))]
    Documents(Vec<Problem>),
    /// The change breaks a rule.
    #[error("{0}")]
    Rule(String),
}

fn first(problems: &[Problem]) -> String {
    problems.first().map(ToString::to_string).unwrap_or_default()
}

/// The state after all these pins; one that cannot be made changes nothing.
pub(crate) fn pinned(before: &DesiredState, pins: &[PinRecord], state: &State) -> DesiredState {
    let mut after = before.clone();
    let stamp = next_stamp(state);
    for pin in pins.iter().filter(|pin| check(pin).is_ok()) {
        after.pins.pin(ServicePin::of(pin.clone(), stamp.clone()), PinOrigin::Hand);
    }
    after
}

fn next_stamp(state: &State) -> JournalStamp {
    JournalStamp { revision: state.head() + 1, time_ms: state.time_ms(), actor: String::new() }
}

/// The state after `change`.
pub(crate) fn changed(
    before: &DesiredState,
    change: &Change,
    state: &State,
) -> Result<DesiredState, PlanError> {
    let mut after = before.clone();
    let stamp = next_stamp(state);
    match change {
        Change::Apply(applied) => {
            let (mut problems, mut rules) = (Vec::new(), Vec::new());
            for (_, why) in after.documents.apply(applied, &stamp) {
                match why {
                    DocumentRefusal::Problems(found) => problems.extend(found),
                    DocumentRefusal::Rule(rule) => rules.push(rule),
                }
            }
            if !problems.is_empty() {
                return Err(PlanError::Documents(problems));
            }
            if let Some(rule) = rules.first() {
                return Err(PlanError::Rule(short(rule)));
            }
            after.settle();
        }
        Change::Pin(pinned) => {
            check(pinned).map_err(PlanError::Rule)?;
            after.pins.pin(ServicePin::of(pinned.clone(), stamp), PinOrigin::Hand);
        }
        Change::Unpin(unpinned) => {
            check_service(&unpinned.service).map_err(PlanError::Rule)?;
            if !after.pins.unpin(&unpinned.service, &unpinned.filter, &stamp) {
                let UnpinRecord { service, filter } = unpinned;
                return Err(PlanError::Rule(format!("{filter} has no pin for {service}")));
            }
        }
    }
    Ok(after)
}

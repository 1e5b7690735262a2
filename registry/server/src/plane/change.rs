//! Changes by people: of documents, of pins, and the approvals that they need.
//!
//! Each kind of change has one file that orders its steps: `apply`, `pin`, `reassign`. The other files answer one question
//! each: what a filter may do that the previous one could not (`capabilities`), whether filters run as planned
//! (`configurations`), what it changes (`planned`), what is wrong with documents (`problems`), what changed trust policies stop (`stopped`), whether a change may be made (`guards`), what a request changes (`requested`), how
//! often it is tried while others write (`attempts`), who has to
//! approve it (`propose`, `approve`), and whether a namespace has room for it (`room`).

mod apply;
mod approve;
mod attempts;
mod capabilities;
mod configurations;
mod further;
mod guards;
mod pin;
mod planned;
mod preview;
mod problems;
mod propose;
mod reassign;
mod requested;
mod room;
mod stopped;

use tamis_api::ApiProblem;
use tamis_director::{Change, RecordBody};

use crate::plane::problem::body;

pub(crate) use attempts::{AttemptedChange, Attempts};
pub(crate) use further::{FurtherCheck, agreed};
pub(crate) use guards::name_capabilities;
pub use requested::read_apply;

/// The records of a change.
fn records(change: Change) -> Result<Vec<RecordBody>, ApiProblem> {
    change.bodies().map_err(|error| body(&error))
}

//! The only way in which callers write a change of the control plane: as long as their tokens hold.

use tamis_api::ApiProblem;
use tamis_director::{RecordBody, State};
use tamis_journal::{CommitFailure, FoldedWriter, JournalError, Record};
use tamis_oci::Author;

use crate::plane::control::compute_turns::Turn;
use crate::plane::control::precedence::Decision;
use crate::plane::control::{Control, ControlState};
use crate::plane::problem;

/// The turn in which a change is written.
pub(crate) struct WriteTurn<'a> {
    /// `None`: it is written at the same time as others.
    pub(crate) alone: Option<AloneTurn<'a>>,
    /// `None`: it waits for no large change of another.
    pub(crate) decision: Option<Decision<'a>>,
}

/// The turns of a caller for whom everybody else waits: to compute, and to write.
pub(crate) struct AloneTurn<'a> {
    /// Where it computes.
    pub(crate) computing: Turn,
    /// What it writes with.
    pub(crate) writer: FoldedWriter<'a, ControlState>,
}

impl Control {
    /// Appends the records that `decide` returns; if another writer was first, calls `decide` again on the
    /// new state. Returns their revision (that of the state when there was nothing to write), which the
    /// state has applied by then. A caller whose token does not hold any more when it is decided is refused, whatever was
    /// decided.
    ///
    /// If the future is dropped before it returns, the records may or may not have been written.
    pub(crate) async fn commit<'a, T>(
        &self,
        author: impl Into<Author<'a>>,
        decide: impl FnMut(&State) -> Result<(Vec<RecordBody>, T), ApiProblem> + Send,
    ) -> Result<(u64, T), ApiProblem> {
        self.commit_records(author, of_bodies(decide)).await
    }

    /// The same in a turn of the caller, which ends with it.
    pub(crate) async fn commit_in_turn<'a, T>(
        &self,
        WriteTurn { alone, decision: _decision }: WriteTurn<'_>,
        author: impl Into<Author<'a>>,
        decide: impl FnMut(&State) -> Result<(Vec<RecordBody>, T), ApiProblem> + Send,
    ) -> Result<(u64, T), ApiProblem> {
        match alone {
            None => self.commit(author, decide).await,
            Some(AloneTurn { computing: _computing, writer }) => {
                self.commit_in(writer, author, decide).await
            }
        }
    }

    /// The same in a turn to write that the caller has, which ends with it.
    pub(crate) async fn commit_in<'a, T>(
        &self,
        writer: FoldedWriter<'_, ControlState>,
        author: impl Into<Author<'a>>,
        decide: impl FnMut(&State) -> Result<(Vec<RecordBody>, T), ApiProblem> + Send,
    ) -> Result<(u64, T), ApiProblem> {
        let author = author.into();
        let written = writer.commit(of_bodies(decide), || self.must_still_hold(author));
        written.await.map_err(problem_of)
    }

    /// The same for records of any kind, decided on the whole state.
    pub(crate) async fn commit_records<'a, R: AsRef<[Record]> + Send + Sync, T>(
        &self,
        author: impl Into<Author<'a>>,
        decide: impl FnMut(&ControlState) -> Result<(R, T), ApiProblem> + Send,
    ) -> Result<(u64, T), ApiProblem> {
        let author = author.into();
        let written = self.0.folded.commit(author.actor(), decide, || self.must_still_hold(author));
        written.await.map_err(problem_of)
    }
}

/// A decision with the records of what it writes.
fn of_bodies<T>(
    mut decide: impl FnMut(&State) -> Result<(Vec<RecordBody>, T), ApiProblem> + Send,
) -> impl FnMut(&ControlState) -> Result<(Vec<Record>, T), ApiProblem> + Send {
    move |state| {
        let (bodies, value) = decide(state)?;
        Ok((records(&bodies)?, value))
    }
}

/// The problem of a write that failed.
pub(crate) fn problem_of(failure: CommitFailure<ApiProblem>) -> ApiProblem {
    match failure {
        CommitFailure::Refused(problem) => problem,
        CommitFailure::Journal(error) => not_written(&error),
    }
}

/// The problem of records that were not written.
pub(crate) fn not_written(error: &JournalError) -> ApiProblem {
    match error {
        JournalError::Conflict { .. } => {
            let remedy = Some("try again".to_owned());
            let busy = problem::problem(503, "busy", "too many writes at the same time");
            ApiProblem { remedy, ..busy }
        }
        error => problem::journal(error),
    }
}

pub(crate) fn records(bodies: &[RecordBody]) -> Result<Vec<Record>, ApiProblem> {
    let record = |body: &RecordBody| {
        let value = body.to_body().map_err(|error| problem::body(&error))?;
        Ok(Record { kind: body.kind().to_owned(), body: value })
    };
    bodies.iter().map(record).collect()
}

//! The only way to write a change of the control plane.

use tamis_api::ApiProblem;
use tamis_director::{RecordBody, State};
use tamis_journal::{JournalError, Record};

use crate::plane::control::{Control, ControlState};
use crate::plane::problem;

impl Control {
    /// Appends the records that `decide` returns; if another writer was first, calls `decide` again on the
    /// new state. Returns their revision (that of the state when there was nothing to write), which the
    /// state has applied by then.
    ///
    /// If the future is dropped before it returns, the records may or may not have been written.
    pub(crate) async fn commit<T>(
        &self,
        actor: &str,
        mut decide: impl FnMut(&State) -> Result<(Vec<RecordBody>, T), ApiProblem> + Send,
    ) -> Result<(u64, T), ApiProblem> {
        let decide = |state: &ControlState| -> Result<(Vec<Record>, T), ApiProblem> {
            let (bodies, value) = decide(state)?;
            Ok((records(&bodies)?, value))
        };
        self.commit_records(actor, decide).await
    }

    /// The same for records of any kind, decided on the whole state.
    pub(crate) async fn commit_records<R: AsRef<[Record]> + Send + Sync, T>(
        &self,
        actor: &str,
        mut decide: impl FnMut(&ControlState) -> Result<(R, T), ApiProblem> + Send,
    ) -> Result<(u64, T), ApiProblem> {
        let mut writer = self.0.folded.writer(actor).await;
        loop {
            let (head, written, value) = {
                let state = writer.fresh().await.map_err(|error| problem::journal(&error))?;
                let (written, value) = decide(&state)?;
                (state.head(), written, value)
            };
            if written.as_ref().is_empty() {
                return Ok((head, value));
            }
            let appended = writer.append(head, written.as_ref()).await;
            if let Some(revision) = appended.map_err(|error| not_written(&error))? {
                return Ok((revision, value));
            }
        }
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

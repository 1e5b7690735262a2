//! Proposals: changes that wait for approvals.

use tamis_api::{ApiProblem, Refused};
use tamis_director::{self as director, Change, ProposalRecord, RecordBody, RequiredRights, State};

use crate::plane::control::Control;
use crate::plane::control::commit::WriteTurn;
use crate::plane::rights::AuthorizedCaller;

/// The proposal of a change that touches what these rights are about.
pub(super) fn proposal(change: &Change, needs: &RequiredRights) -> ProposalRecord {
    ProposalRecord { subject: change.subject(), needs: needs.kept() }
}

impl Control {
    /// Records that a change waits for approvals, unless that is recorded already.
    pub(super) async fn propose(
        &self,
        holder: &AuthorizedCaller,
        proposal: ProposalRecord,
    ) -> Result<(), ApiProblem> {
        self.commit(holder, |state| Ok((unproposed(state, holder, &proposal), ()))).await?;
        Ok(())
    }

    /// Writes a change in its turn, as [`Control::commit_in_turn`]. Where approvals are missing, the turn writes that the
    /// change waits for them, and refuses it.
    pub(crate) async fn commit_or_propose<T>(
        &self,
        turn: WriteTurn<'_>,
        holder: &AuthorizedCaller,
        proposal: &ProposalRecord,
        mut decide: impl FnMut(&State) -> Result<(Vec<RecordBody>, T), ApiProblem> + Send,
    ) -> Result<(u64, T), ApiProblem> {
        let decide = |state: &State| match decide(state) {
            Ok((bodies, value)) => Ok((bodies, Ok(value))),
            Err(problem) if lacks_approvals(&problem) => {
                Ok((unproposed(state, holder, proposal), Err(problem)))
            }
            Err(problem) => Err(problem),
        };
        let (revision, decided) = self.commit_in_turn(turn, holder, decide).await?;
        Ok((revision, decided?))
    }

    /// Proposes a change whose attempt was refused because approvals are missing; returns the result of the attempt.
    pub(crate) async fn propose_if_needed<T>(
        &self,
        holder: &AuthorizedCaller,
        attempt: Result<T, ApiProblem>,
        proposal: ProposalRecord,
    ) -> Result<T, ApiProblem> {
        if attempt.as_ref().err().is_some_and(lacks_approvals) {
            self.propose(holder, proposal).await?;
        }
        attempt
    }
}

fn lacks_approvals(problem: &ApiProblem) -> bool {
    let approvals = |one: &Refused| one.code == director::code::APPROVALS;
    problem.refusals.iter().any(approvals)
}

/// The record of a proposal, unless it is recorded already.
fn unproposed(
    state: &State,
    holder: &AuthorizedCaller,
    proposal: &ProposalRecord,
) -> Vec<RecordBody> {
    let known = state.is_proposed(proposal, holder.actor());
    if known { Vec::new() } else { vec![RecordBody::from(proposal.clone())] }
}

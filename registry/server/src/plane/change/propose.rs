//! Proposals: changes that wait for approvals.

use tamis_api::{ApiProblem, Refused};
use tamis_director::{self as director, Change, ProposalRecord, RecordBody, RequiredRights};

use crate::plane::control::Control;
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
        let body = RecordBody::from(proposal.clone());
        self.commit(holder, |state| {
            let known = state.is_proposed(&proposal, holder.actor());
            Ok((if known { Vec::new() } else { vec![body.clone()] }, ()))
        })
        .await?;
        Ok(())
    }

    /// Proposes a change whose attempt was refused because approvals are missing; returns the result of the attempt.
    pub(crate) async fn propose_if_needed<T>(
        &self,
        holder: &AuthorizedCaller,
        attempt: Result<T, ApiProblem>,
        proposal: ProposalRecord,
    ) -> Result<T, ApiProblem> {
        let lacks_approvals = |one: &Refused| one.code == director::code::APPROVALS;
        if attempt
            .as_ref()
            .err()
            .is_some_and(|problem| problem.refusals.iter().any(lacks_approvals))
        {
            self.propose(holder, proposal).await?;
        }
        attempt
    }
}

//! Approvals of changes that other people proposed.

use tamis_api::{ApiProblem, ApprovalResult, ApproveRequest};
use tamis_director::{self as director, RecordBody};
use tamis_oci::Verb;
use tamis_trust::{Digest, Refused};

use crate::plane::control::Control;
use crate::plane::parse::digest;
use crate::plane::problem::{journal, missing, problem, refused};
use crate::plane::rights::{AuthorizedCaller, asked_alone};

impl Control {
    /// Approves a change that another person proposed.
    ///
    /// # Errors
    /// [`ApiProblem`] when the subject is not a digest, there is no such proposal, the caller lacks a right to
    /// something that it touches, or writing fails.
    pub async fn approve(
        &self,
        holder: &AuthorizedCaller,
        request: &ApproveRequest,
    ) -> Result<ApprovalResult, ApiProblem> {
        let (subject, actor) = (digest(&request.subject)?, holder.actor());
        // Who made which token is known here as it is written by now, also by other replicas.
        self.0.store.catch_up().await.map_err(|error| journal(&error))?;
        let body = RecordBody::from(director::ApprovalRecord { subject });
        let (revision, ()) = self
            .commit(holder, |state| {
                let needs = state.proposed(&subject);
                if !needs.is_some_and(|needs| holder.holds_all(Verb::Approve, needs)) {
                    return Err(unknown(holder, &subject));
                }
                if asked_alone(&self.0.store, state, &subject, actor) {
                    return Err(refused(vec![Refused {
                        code: director::code::APPROVAL_OWN.into(),
                        rule: format!(
                            "{actor}, or somebody with a token that {actor} made or rotated, requested this change, and nobody may approve their own change"
                        ),
                        set_by: "the policy about approvals".to_owned(),
                        remedy: format!("ask another person to run `tamis approve {subject}`"),
                    }]));
                }
                Ok((vec![body.clone()], ()))
            })
            .await?;
        Ok(ApprovalResult { revision, subject: subject.to_string(), actor: actor.to_owned() })
    }
}

/// The refusal of a change that nobody proposed, or that the caller may not approve: which of the two is only for callers to
/// know who may approve everything, and for those nobody proposed it.
fn unknown(holder: &AuthorizedCaller, subject: &Digest) -> ApiProblem {
    let actor = holder.actor();
    if holder.may_at(Verb::Approve, "*") {
        let remedy = "first request the change: the refusal names the digest to approve";
        return missing(format!("nobody proposed {subject}"), remedy);
    }
    let title = format!(
        "{actor} may not approve {subject}: nobody proposed it, or it touches more than {actor} may approve"
    );
    let remedy = "copy the digest from the refusal of the change, or ask a person who has `approve` for everything that the \
                  change touches";
    ApiProblem { remedy: Some(remedy.to_owned()), ..problem(403, "denied", title) }
}

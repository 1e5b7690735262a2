//! Assignments made again with higher versions.

use tamis_api::{ApiProblem, ReassignRequest, ReassignResult};
use tamis_director::{RecordBody, RequiredRights};
use tamis_oci::{Author, Verb};

use crate::plane::control::Control;
use crate::plane::problem::refused;
use crate::plane::rights::AuthorizedCaller;

impl Control {
    /// Assigns every slot of a service, or of all services, again with higher versions than proxies have
    /// seen.
    ///
    /// # Errors
    /// [`ApiProblem`] when there is no such service, the numbers of epochs are used up, or writing fails.
    pub async fn reassign(
        &self,
        holder: &AuthorizedCaller,
        request: &ReassignRequest,
    ) -> Result<ReassignResult, ApiProblem> {
        holder
            .must_hold(Verb::Operate, &RequiredRights::of_services([request.service.as_str()]))?;
        self.reassign_by(holder, request).await
    }

    /// The same for the registry itself, or for a caller whose right was checked.
    pub(crate) async fn reassign_by<'a>(
        &self,
        author: impl Into<Author<'a>>,
        request: &ReassignRequest,
    ) -> Result<ReassignResult, ApiProblem> {
        let (service, reason) = (request.service.as_str(), request.reason.as_str());
        let (revision, epoch) = self
            .commit(author, |state| {
                let body = state.reassign(service, reason).map_err(|one| refused(vec![one]))?;
                let epoch = match &body {
                    RecordBody::Reassigned(reassigned) => reassigned.epoch,
                    _ => 0,
                };
                Ok((vec![body], epoch))
            })
            .await?;
        let nodes = self.state().nodes().into_iter();
        let proxies = nodes.filter(|node| service == "*" || node.key() == service).count();
        Ok(ReassignResult { revision, service: service.to_owned(), epoch, proxies })
    }
}

//! The requests of the REST API, one function each.

use http::{Method, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tamis_api::{
    ApiProblem, ApplyRequest, ApplyResult, ApprovalResult, ApproveRequest, AuthorityView,
    CreatedJoinToken, CreatedToken, DocumentText, DocumentVersion, FleetStatus, HistoryItem,
    IdentityRevokeRequest, IdentityView, JoinTokenRequest, LogPage, MoveRequest, PinRequest,
    PinResult, PinView, PlanResult, ReassignRequest, ReassignResult, ResourceList, ResourceView,
    RevocationView, RevokeRequest, RollbackRequest, RolloutRequest, RolloutView, RotateRequest,
    RunHistory, TokenRequest, TokenView, UnpinRequest, paths,
};

use crate::exchange::{OutgoingCall, Reply};
use crate::{Client, ClientError};

const JSON: &str = "application/json";

/// Characters that stay unescaped in a path segment or a query value (RFC 3986 §2.3).
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Calls of the REST API. Errors are those of [`ClientError`]; a refusal by the control plane is
/// [`ClientError::Refused`].
#[expect(clippy::missing_errors_doc, reason = "all of them fail alike, as the block says")]
impl Client {
    /// Reports what an apply would do. Writes nothing.
    pub async fn plan(&self, request: &ApplyRequest) -> Result<PlanResult, ClientError> {
        self.ask(Method::POST, paths::PLAN, Some(request)).await
    }

    /// Applies and removes documents, all or nothing.
    pub async fn apply(&self, request: &ApplyRequest) -> Result<ApplyResult, ClientError> {
        self.ask(Method::POST, paths::APPLY, Some(request)).await
    }

    /// The documents in force.
    pub async fn resources(&self) -> Result<ResourceList, ClientError> {
        self.read(paths::RESOURCES).await
    }

    /// A document in force.
    pub async fn resource(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<ResourceView, ClientError> {
        let [kind, namespace, name] = [kind, namespace, name].map(encoded);
        self.read(&format!("{}/{kind}/{namespace}/{name}", paths::RESOURCES)).await
    }

    /// The versions of a document, oldest first.
    pub async fn versions(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<DocumentVersion>, ClientError> {
        let [kind, namespace, name] = [kind, namespace, name].map(encoded);
        self.read(&format!("{}/{kind}/{namespace}/{name}/versions", paths::RESOURCES)).await
    }

    /// The text of a document as a revision put it in force.
    pub async fn text_at(
        &self,
        (kind, namespace, name): (&str, &str, &str),
        revision: u64,
    ) -> Result<DocumentText, ClientError> {
        let [kind, namespace, name] = [kind, namespace, name].map(encoded);
        let path = format!("{}/{kind}/{namespace}/{name}/at/{revision}", paths::RESOURCES);
        self.read(&path).await
    }

    /// Assigns every slot of a service, or of all services, again.
    pub async fn reassign(&self, request: &ReassignRequest) -> Result<ReassignResult, ClientError> {
        self.ask(Method::POST, paths::REASSIGN, Some(request)).await
    }

    /// The pins in force.
    pub async fn pins(&self) -> Result<Vec<PinView>, ClientError> {
        self.read(paths::PINS).await
    }

    /// Pins a filter for a service; with `dry_run`, only reports what the pin would do.
    pub async fn pin(&self, request: &PinRequest) -> Result<PinResult, ClientError> {
        self.ask(Method::POST, paths::PINS, Some(request)).await
    }

    /// Removes a pin.
    pub async fn unpin(&self, request: &UnpinRequest) -> Result<PinResult, ClientError> {
        self.ask(Method::DELETE, paths::PINS, Some(request)).await
    }

    /// Restores the previous pin.
    pub async fn rollback(&self, request: &RollbackRequest) -> Result<PinResult, ClientError> {
        self.ask(Method::POST, paths::ROLLBACK, Some(request)).await
    }

    /// Approves another person's change.
    pub async fn approve(&self, request: &ApproveRequest) -> Result<ApprovalResult, ClientError> {
        self.ask(Method::POST, paths::APPROVALS, Some(request)).await
    }

    /// The revocations in force.
    pub async fn revocations(&self) -> Result<Vec<RevocationView>, ClientError> {
        self.read(paths::REVOCATIONS).await
    }

    /// Revokes a digest or a key.
    pub async fn revoke(&self, request: &RevokeRequest) -> Result<RevocationView, ClientError> {
        self.ask(Method::POST, paths::REVOCATIONS, Some(request)).await
    }

    /// The tokens whose rights lie within those of the caller's token, without their secrets.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, ClientError> {
        self.read(paths::TOKENS).await
    }

    /// Makes a token whose rights lie within those of the caller's token.
    pub async fn create_token(&self, request: &TokenRequest) -> Result<CreatedToken, ClientError> {
        self.ask(Method::POST, paths::TOKENS, Some(request)).await
    }

    /// Replaces the secret of a token.
    pub async fn rotate_token(
        &self,
        name: &str,
        request: &RotateRequest,
    ) -> Result<CreatedToken, ClientError> {
        let path = format!("{}/{}/rotate", paths::TOKENS, encoded(name));
        self.ask(Method::POST, &path, Some(request)).await
    }

    /// Revokes a token.
    pub async fn revoke_token(&self, name: &str) -> Result<TokenView, ClientError> {
        let path = format!("{}/{}", paths::TOKENS, encoded(name));
        self.ask::<(), TokenView>(Method::DELETE, &path, None).await
    }

    /// Makes a one-time token with which a proxy joins the mesh.
    pub async fn join_token(
        &self,
        request: &JoinTokenRequest,
    ) -> Result<CreatedJoinToken, ClientError> {
        self.ask(Method::POST, paths::JOIN_TOKENS, Some(request)).await
    }

    /// The identities of proxies, or that of one.
    pub async fn identities(&self, node: Option<&str>) -> Result<Vec<IdentityView>, ClientError> {
        let query = node.map(|node| format!("?node={}", encoded(node)));
        self.read(&format!("{}{}", paths::IDENTITIES, query.unwrap_or_default())).await
    }

    /// Revokes the identity of a proxy.
    pub async fn revoke_identity(
        &self,
        request: &IdentityRevokeRequest,
    ) -> Result<IdentityView, ClientError> {
        self.ask(Method::POST, paths::IDENTITY_REVOCATIONS, Some(request)).await
    }

    /// The authority of the trust domain.
    pub async fn authority(&self) -> Result<AuthorityView, ClientError> {
        self.read(paths::AUTHORITY).await
    }

    /// Rotates the intermediate.
    pub async fn rotate_intermediate(&self) -> Result<AuthorityView, ClientError> {
        self.ask::<(), AuthorityView>(Method::POST, paths::ROTATION, None).await
    }

    /// The events of the filters of a service, or of one filter; oldest first.
    pub async fn history(
        &self,
        service: &str,
        filter: Option<&str>,
    ) -> Result<Vec<HistoryItem>, ClientError> {
        let filter = filter.map(|filter| format!("&filter={}", encoded(filter)));
        let query = format!("service={}{}", encoded(service), filter.unwrap_or_default());
        self.read(&format!("{}?{query}", paths::HISTORY)).await
    }

    /// All rollouts.
    pub async fn rollouts(&self) -> Result<Vec<RolloutView>, ClientError> {
        self.read(paths::ROLLOUTS).await
    }

    /// One rollout.
    pub async fn rollout(&self, name: &str) -> Result<RolloutView, ClientError> {
        self.read(&format!("{}/{}", paths::ROLLOUTS, encoded(name))).await
    }

    /// Begins a rollout.
    pub async fn start_rollout(
        &self,
        request: &RolloutRequest,
    ) -> Result<RolloutView, ClientError> {
        self.ask(Method::POST, paths::ROLLOUTS, Some(request)).await
    }

    /// Moves a rollout to another state: pause, resume, promote, abort or kill.
    pub async fn move_rollout(
        &self,
        name: &str,
        request: &MoveRequest,
    ) -> Result<RolloutView, ClientError> {
        let path = format!("{}/{}/move", paths::ROLLOUTS, encoded(name));
        self.ask(Method::POST, &path, Some(request)).await
    }

    /// What each proxy runs: every proxy, or those of one service.
    pub async fn status(&self, service: Option<&str>) -> Result<FleetStatus, ClientError> {
        let query = service.map(|service| format!("?service={}", encoded(service)));
        self.read(&format!("{}{}", paths::STATUS, query.unwrap_or_default())).await
    }

    /// Journal entries after a revision, at most `limit`.
    pub async fn log(&self, after: u64, limit: usize) -> Result<LogPage, ClientError> {
        self.read(&format!("{}?after={after}&limit={limit}", paths::LOG)).await
    }

    /// What ran for a service at a moment, or from that moment to another, with proof. Times are
    /// milliseconds since the Unix epoch.
    pub async fn who_ran(
        &self,
        service: &str,
        at_ms: u64,
        to_ms: Option<u64>,
    ) -> Result<RunHistory, ClientError> {
        let service = encoded(service);
        let to = to_ms.map(|to_ms| format!("&toMs={to_ms}")).unwrap_or_default();
        self.read(&format!("{}?service={service}&atMs={at_ms}{to}", paths::WHO_RAN)).await
    }

    /// The key that signs checkpoints, as the registry reports it: compare it with a copy obtained
    /// elsewhere.
    pub async fn log_key(&self) -> Result<String, ClientError> {
        let reply =
            self.send(OutgoingCall::new(Method::GET, paths::LOG_KEY).limit(64 * 1024)).await?;
        let text = String::from_utf8(reply.body.to_vec());
        match text {
            Ok(text) if reply.status.is_success() => Ok(text.trim().to_owned()),
            _ => Err(self.refused(paths::LOG_KEY, &reply)),
        }
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask::<(), T>(Method::GET, path, None).await
    }

    async fn ask<Q: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        question: Option<&Q>,
    ) -> Result<T, ClientError> {
        let mut ask = OutgoingCall::new(method, path).header(header::ACCEPT, JSON);
        if let Some(question) = question {
            let body = serde_json::to_vec(question);
            let body = body.map_err(|error| ClientError::Artifact(error.to_string()))?;
            ask = ask.body(JSON, body);
        }
        let reply = self.send(ask).await?;
        if !reply.status.is_success() {
            return Err(self.refused(path, &reply));
        }
        serde_json::from_slice(&reply.body).map_err(|error| ClientError::Strange {
            server: self.server.clone(),
            path: path.to_owned(),
            status: reply.status,
            what: format!("a body that cannot be read ({error})"),
        })
    }

    /// The error for a response that is not a success: the control plane's problem document if the body is
    /// one.
    fn refused(&self, path: &str, reply: &Reply) -> ClientError {
        match serde_json::from_slice::<ApiProblem>(&reply.body) {
            Ok(problem) => ClientError::Refused(Box::new(problem)),
            Err(_) => self.oci_refusal(path, reply),
        }
    }
}

pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string()
}

#[cfg(test)]
mod tests;

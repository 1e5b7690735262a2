//! The requests and responses of the control plane's REST API.
//!
//! The server and the command line use the same types. JSON names are camelCase. Times are milliseconds
//! since the Unix epoch. Digests are `sha256:` and 64 hexadecimal digits. A missing field means `None`.
//!
//! Unknown fields in requests are refused; responses may gain fields.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

mod audit;
mod change;
mod error;
mod identity;
mod pin;
mod resource;
mod rollout;
mod status;
mod token;

pub use audit::{LogEntry, LogPage, Proof, ProvenEntry, RunHistory, RunView};
pub use change::{
    ApplyRequest, ApplyResult, Diff, DocumentDiff, EmptiedChain, FieldChange, FileText, PlanResult,
    SlotChange, SlotContents, SlotDiff, SourceText,
};
pub use error::{ApiProblem, DocumentProblem};
pub use identity::{
    AuthorityView, CreatedJoinToken, FederatedAuthorityView, FederatedDomainView,
    IdentityRevocationView, IdentityRevokeRequest, IdentityView, JoinTokenRequest,
};
pub use pin::{
    ApprovalResult, ApproveRequest, GrowthView, HistoryItem, PinRequest, PinResult, PinView,
    ReassignRequest, ReassignResult, RevocationView, RevokeRequest, RollbackRequest, StoppedSlot,
    UnpinRequest,
};
pub use resource::{
    ConditionView, DocumentText, DocumentVersion, ProgrammedView, ResourceList, ResourceSummary,
    ResourceView,
};
pub use rollout::{
    DifferenceView, Gates, MoveRequest, OnBreach, RolloutMove, RolloutRequest, RolloutSide,
    RolloutView, ShadowRules, Wave,
};
pub use status::{
    AssignmentView, FleetStatus, PlaintextView, ProxyIdentity, ProxyProblem, ProxyStatus,
    RunningView, SlotStateView, SlotView,
};
pub use tamis_refused::Refused;
pub use token::{CreatedToken, RotateRequest, TokenRequest, TokenView};

/// The paths of the API, below the address of the registry.
pub mod paths {
    /// `POST` [`ApplyRequest`](crate::ApplyRequest): what it would do.
    pub const PLAN: &str = "/v1/plan";
    /// `POST` [`ApplyRequest`](crate::ApplyRequest): do it.
    pub const APPLY: &str = "/v1/apply";
    /// `GET`: [`ResourceList`](crate::ResourceList); below it `/{kind}/{namespace}/{name}`: [`ResourceView`](crate::ResourceView),
    /// and below that `/versions` and `/at/{revision}`: its [`DocumentVersion`](crate::DocumentVersion)s and the
    /// [`DocumentText`](crate::DocumentText) of one.
    pub const RESOURCES: &str = "/v1/resources";
    /// `GET`: pins in force; `POST` [`PinRequest`](crate::PinRequest); `DELETE` [`UnpinRequest`](crate::UnpinRequest).
    pub const PINS: &str = "/v1/pins";
    /// `POST` [`RollbackRequest`](crate::RollbackRequest).
    pub const ROLLBACK: &str = "/v1/rollback";
    /// `POST` [`ApproveRequest`](crate::ApproveRequest).
    pub const APPROVALS: &str = "/v1/approvals";
    /// `POST` [`ReassignRequest`](crate::ReassignRequest).
    pub const REASSIGN: &str = "/v1/reassign";
    /// `GET`: the revocations in force; `POST` [`RevokeRequest`](crate::RevokeRequest).
    pub const REVOCATIONS: &str = "/v1/revocations";
    /// `GET`: tokens, without their secrets; `POST` [`TokenRequest`](crate::TokenRequest); below it `/{name}` for `DELETE`,
    /// and `/{name}/rotate` for `POST` [`RotateRequest`](crate::RotateRequest).
    pub const TOKENS: &str = "/v1/tokens";
    /// `GET`, optionally of one `node`: [`IdentityView`](crate::IdentityView)s of proxies.
    pub const IDENTITIES: &str = "/v1/identity/nodes";
    /// `POST` [`JoinTokenRequest`](crate::JoinTokenRequest).
    pub const JOIN_TOKENS: &str = "/v1/identity/tokens";
    /// `POST` [`IdentityRevokeRequest`](crate::IdentityRevokeRequest).
    pub const IDENTITY_REVOCATIONS: &str = "/v1/identity/revocations";
    /// `GET`: [`AuthorityView`](crate::AuthorityView).
    pub const AUTHORITY: &str = "/v1/identity/authority";
    /// `POST`: rotate the intermediate.
    pub const ROTATION: &str = "/v1/identity/rotation";
    /// `GET` with `service` and optionally `filter`: events, oldest first.
    pub const HISTORY: &str = "/v1/history";
    /// `GET`: all rollouts; `POST` [`RolloutRequest`](crate::RolloutRequest); below it `/{name}`, and
    /// `/{name}/move` for `POST` [`MoveRequest`](crate::MoveRequest).
    pub const ROLLOUTS: &str = "/v1/rollouts";
    /// `GET`: [`FleetStatus`](crate::FleetStatus), optionally of one `service`.
    pub const STATUS: &str = "/v1/status";
    /// `GET` with `after` and `limit`: [`LogPage`](crate::LogPage).
    pub const LOG: &str = "/v1/log";
    /// `GET` with `service` and `atMs`, optionally `toMs`: [`RunHistory`](crate::RunHistory).
    pub const WHO_RAN: &str = "/v1/who-ran";
    /// `GET`: the OpenAPI description of this API.
    pub const OPENAPI: &str = "/v1/openapi.json";
    /// `GET`: the newest checkpoint of the transparency log (C2SP tlog-tiles); tiles are below `/log/tile/`.
    pub const CHECKPOINT: &str = "/log/checkpoint";
    /// `GET`: the key that signs checkpoints, as a verifier line of signed-note.
    pub const LOG_KEY: &str = "/log/key";
}

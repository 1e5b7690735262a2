//! Identities inside the mesh.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A request for a one-time token with which a proxy joins the mesh. It needs `operate` for the proxy's
/// service or gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinTokenRequest {
    /// The proxy, like `sidecar:shop/pay/0`.
    pub node: String,
    /// Seconds until it expires, at most a week; by default an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

/// A join token with everything that its proxy needs; a secret, which is only returned this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedJoinToken {
    /// The proxy that it admits.
    pub node: String,
    /// The token.
    pub token: String,
    /// Where proxies reach the registry, `HOST:PORT`; several are separated by commas.
    pub registry: String,
    /// The SPIFFE id that the registry proves.
    pub registry_id: String,
    /// The authorities of each trust domain in PEM, by domain.
    pub bundles: BTreeMap<String, String>,
    /// When it expires.
    pub expires_ms: u64,
}

impl fmt::Debug for CreatedJoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedJoinToken").field("node", &self.node).finish_non_exhaustive()
    }
}

/// The identity of a proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityView {
    /// The proxy, like `sidecar:shop/pay/0`.
    pub node: String,
    /// Its SPIFFE id; `None`: it has not joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The serial number of its newest SVID, 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// When its newest SVID expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// When it joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined_ms: Option<u64>,
    /// When its SVID was renewed last; renewals are recorded within a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed_ms: Option<u64>,
    /// Tokens that can still be used.
    #[serde(default)]
    pub unused_tokens: usize,
    /// The last revocation; `None`: it was never revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<IdentityRevocationView>,
}

/// A revocation of the SVIDs and tokens that a proxy had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityRevocationView {
    /// Who revoked them.
    pub by: String,
    /// The reason.
    pub reason: String,
    /// When: SVIDs that were signed before are refused.
    pub time_ms: u64,
    /// Whether a token was made since, which admits the proxy again.
    pub readmitted: bool,
}

/// A request to revoke the identity of a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityRevokeRequest {
    /// The proxy, like `sidecar:shop/pay/0`.
    pub node: String,
    /// The reason; the proxy receives it.
    pub reason: String,
}

/// The authority of a trust domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityView {
    /// The trust domain.
    pub trust_domain: String,
    /// Where proxies reach the registry, `HOST:PORT`; several are separated by commas.
    pub registry: String,
    /// The SPIFFE id that the registry proves.
    pub registry_id: String,
    /// The authorities of each trust domain in PEM, by domain.
    pub bundles: BTreeMap<String, String>,
    /// When the current intermediate was signed.
    pub intermediate_from_ms: u64,
    /// When it expires.
    pub intermediate_until_ms: u64,
    /// Whether the root's key is at the registry, which then rotates by itself.
    pub root_here: bool,
    /// A number that grows whenever the roots change.
    #[serde(default)]
    pub sequence: u64,
    /// How often other trust domains should look for the next roots, in seconds.
    #[serde(default)]
    pub refresh_hint_seconds: u64,
    /// Other trust domains whose members are recognised, by domain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub federated: Vec<FederatedDomainView>,
}

/// Another trust domain whose members are recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FederatedDomainView {
    /// The trust domain.
    pub trust_domain: String,
    /// Its authorities.
    pub authorities: Vec<FederatedAuthorityView>,
}

/// An authority of another trust domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FederatedAuthorityView {
    /// The subject of its certificate.
    pub name: String,
    /// The digest of its certificate.
    pub digest: String,
    /// When its certificate expires.
    pub expires_ms: u64,
}

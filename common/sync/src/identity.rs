//! How a proxy gets its SVID from the registry's authority.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// `POST` [`SvidRequest`]: the first SVID, for a join token, over TLS without a certificate of the proxy.
pub const JOIN_PATH: &str = "/v1/identity/join";
/// `POST` [`SvidRequest`]: the next SVID, over mTLS with the current one.
pub const RENEW_PATH: &str = "/v1/identity/renew";
/// Longest request and longest answer, in bytes.
pub const MAX_IDENTITY_BYTES: usize = 256 * 1024;

/// The content of a join file: everything that a proxy needs to join the mesh. A secret until it was used.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinFile {
    /// The proxy that it admits, like `sidecar:shop/pay/0`.
    pub node: String,
    /// The one-time token.
    pub token: String,
    /// Where proxies reach the registry, `HOST:PORT`; several, separated by commas, are tried in turn.
    pub registry: String,
    /// The SPIFFE id that the registry must prove.
    pub registry_id: String,
    /// The authorities of each trust domain in PEM, by domain.
    pub bundles: BTreeMap<String, String>,
}

/// A request for an SVID. The id is not asked for: the registry knows it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SvidRequest {
    /// The proxy.
    pub node: String,
    /// The one-time token; `None` for a renewal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The certificate request, PKCS#10 in PEM.
    pub request: String,
}

/// An SVID, and whom to trust from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SvidAnswer {
    /// The chain in PEM, the SVID first.
    pub chain: String,
    /// The authorities of each trust domain in PEM, by domain.
    pub bundles: BTreeMap<String, String>,
}

impl fmt::Debug for JoinFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, registry, registry_id, .. } = self;
        let mut shown = f.debug_struct("JoinFile");
        shown.field("node", node).field("registry", registry).field("registry_id", registry_id);
        shown.finish_non_exhaustive()
    }
}

impl fmt::Debug for SvidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SvidRequest").field("node", &self.node).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_shown_by_accident() {
        let file = JoinFile {
            node: "sidecar:shop/pay/0".to_owned(),
            token: "very-secret".to_owned(),
            registry: "127.0.0.1:1".to_owned(),
            registry_id: "spiffe://shop.example/registry".to_owned(),
            bundles: BTreeMap::new(),
        };
        let token = Some(file.token.clone());
        let request = SvidRequest { node: file.node.clone(), token, request: String::new() };
        let shown = format!("{file:?} {request:?}");
        assert!(shown.contains("sidecar:shop/pay/0") && !shown.contains("secret"), "{shown}");
        let json = serde_json::to_string(&file).unwrap();
        assert_eq!(serde_json::from_str::<JoinFile>(&json).unwrap(), file);
    }
}

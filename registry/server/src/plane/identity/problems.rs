//! Refusals about identities, in the form of the API.

use std::fmt;
use std::time::Duration;

use tamis_api::ApiProblem;
use tamis_authority::{AuthorityError, JoinRefusal};
use tamis_transport::causes;

use super::ledger::IdentityRevocation;
use crate::plane::problem::problem;

fn with(status: u16, code: &str, title: impl Into<String>, remedy: &str) -> ApiProblem {
    ApiProblem { remedy: Some(remedy.to_owned()), ..problem(status, code, title) }
}

pub(crate) fn no_authority() -> ApiProblem {
    let title = "this registry signs no identities";
    let way = "start it with --trust-domain, or give the proxy certificate files";
    with(409, "identity.no-authority", title, way)
}

pub(crate) fn request(rule: &str) -> ApiProblem {
    let title = format!("the certificate request cannot be used: {rule}");
    let way = "send PKCS#10 in PEM, signed by its own key: P-256, P-384 or Ed25519";
    with(400, "identity.request", title, way)
}

pub(crate) fn no_id(node: &str, why: &dyn fmt::Display) -> ApiProblem {
    let title = format!("{node} can have no SVID: {why}");
    with(409, "identity.domain", title, "correct `identity` in its document")
}

/// The authority refuses to sign.
pub(crate) fn unsigned(error: &AuthorityError) -> ApiProblem {
    match error {
        AuthorityError::Request { rule } => request(rule),
        AuthorityError::OutsideDomain { .. } | AuthorityError::Reserved { .. } => {
            let way = "correct `identity` in the document of the proxy";
            with(409, "identity.domain", error.to_string(), way)
        }
        AuthorityError::RootOffline => {
            let way = "`tamis identity authority request`, sign that where the root's key is, and install it";
            with(409, "identity.root-offline", error.to_string(), way)
        }
        AuthorityError::Expiring { .. } => {
            let way = "`tamis identity rotate`, or, without the root's key here, `tamis identity authority request`, `sign` and `install`";
            with(503, "identity.expiring", error.to_string(), way)
        }
        _ => {
            tracing::error!(error = %causes(error), "the authority cannot sign");
            let title = "the authority cannot sign right now";
            with(503, "unavailable", title, "the log of the registry shows why")
        }
    }
}

pub(crate) fn not_admitted(refusal: &JoinRefusal) -> ApiProblem {
    let way = "`tamis identity token NODE` makes a new token";
    with(403, refusal.code(), refusal.to_string(), way)
}

pub(crate) fn malformed_token(why: &dyn fmt::Display) -> ApiProblem {
    let way = "send the token of the join file as it was written";
    with(403, "join.unknown", why.to_string(), way)
}

pub(crate) fn revoked(revocation: &IdentityRevocation) -> ApiProblem {
    let IdentityRevocation { by, reason, .. } = revocation;
    let title = format!("{by} revoked the identity of this proxy: {reason}");
    let way = "somebody with `operate` on all of a security namespace can admit it again: `tamis identity token NODE`";
    with(403, "identity.revoked", title, way)
}

pub(crate) fn stranger() -> ApiProblem {
    let title = "a proxy must show a certificate";
    with(401, "node.identity", title, "connect with the certificate of the proxy's service")
}

pub(crate) fn other_node(node: &str, shown: Option<&str>) -> ApiProblem {
    let title = match shown {
        Some(shown) => format!("the SVID was signed for {shown}, not for {node}"),
        None => format!("the client showed no SVID, and {node} renews with its own"),
    };
    with(403, "identity.other-node", title, "each proxy renews its own SVID, with that SVID")
}

pub(crate) fn expired(node: &str) -> ApiProblem {
    let title = format!("the SVID of {node} expired more than a day ago");
    let way = "restart the proxy with a new token: `tamis identity token NODE`";
    with(403, "identity.expired", title, way)
}

pub(crate) fn too_often(wait: Duration) -> ApiProblem {
    let title = format!("this proxy renews its SVID too often; the next one in {wait:.1?}");
    let way = "come back after Retry-After, and renew at half of the life of an SVID";
    with(429, "identity.pace", title, way)
}

/// The refusal of everything but a renewal.
pub(crate) fn expired_only_renews() -> ApiProblem {
    let title = "the SVID of this proxy has expired: it can be renewed, and gets nothing else";
    let way = "the proxy renews it by itself; its log says why it has not";
    with(403, "identity.expired", title.to_owned(), way)
}

//! What slots run and why, as the admin listener shows it.

use serde::Serialize;
use std::fmt;
use tamis_refused::Refused;
use tamis_resources::plan::Phase;

/// The state of the documents that a proxy received last; they may be newer than the generation that
/// serves.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// One for each attachment.
    pub slots: Vec<SlotStatus>,
    /// Problems in the documents, for people.
    pub problems: Vec<serde_json::Value>,
    /// Certificates in use.
    pub certificates: Vec<CertificateStatus>,
    /// Its identity inside the mesh; `None`: it has not joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityStatus>,
    /// Its orders of certificates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<OrderStatus>,
    /// Its ports that are served in plain text too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plaintext: Vec<PlaintextStatus>,
}

/// Connections in plain text to a port of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlaintextStatus {
    /// `namespace/name` of the service.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// Open connections.
    pub open: u64,
    /// Connections since the proxy started.
    pub total: u64,
    /// The last second in which one was open, since the Unix epoch; `None`: none was since the proxy started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
}

/// The orders of certificates for a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderStatus {
    /// The host.
    pub host: String,
    /// When the certificate that is kept expires, in seconds since the Unix epoch; `None`: there is none yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<i64>,
    /// When the next order is due, in seconds since the Unix epoch.
    pub due: u64,
    /// Orders that gave a certificate.
    pub fulfilled: u64,
    /// Orders that failed.
    pub failed: u64,
    /// Why the last one failed; `None`: it did not fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The identity of a proxy inside the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityStatus {
    /// Its SPIFFE id.
    pub id: String,
    /// When its SVID expires; RFC 3339.
    pub expires: String,
    /// The same in seconds since the Unix epoch.
    pub not_after: i64,
    /// Seconds until then; 0: it has expired.
    pub seconds_left: u64,
    /// How often the SVID was renewed.
    pub renewed: u64,
    /// When it was renewed last, in seconds since the Unix epoch; `None`: not yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_renewal: Option<u64>,
    /// How often a renewal failed.
    pub failed: u64,
    /// Other trust domains whose members it recognises.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub federated: Vec<String>,
    /// Set when a person must act.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A certificate in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// Where it is used: ``listener `https` ``, or `upstreams`.
    pub used_by: String,
    /// Its file, as named in documents.
    pub file: String,
    /// The names it is valid for.
    pub names: Vec<String>,
    /// When it expires; RFC 3339.
    pub expires: String,
    /// The same in seconds since the Unix epoch.
    pub not_after: i64,
}

/// What a slot runs and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotStatus {
    /// Attachment name.
    pub attachment: String,
    /// Filter name.
    pub filter: String,
    /// Version from the signed annotations.
    pub version: String,
    /// Digest of its manifest.
    pub digest: String,
    /// Names of the keys that signed it.
    pub signers: Vec<String>,
    /// Hooks it exports.
    pub hooks: Vec<String>,
    /// Where in the chain.
    pub phase: Phase,
    /// What it was granted.
    pub grant: serde_json::Value,
    /// Whether it runs the assigned version.
    pub state: SlotState,
    /// Why it does not run the assigned version, and what that means for exchanges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Whether a slot runs the assigned version. As text: `serving`, or `refused:CODE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotState {
    /// It does.
    Serving,
    /// It does not; the last good version may still run.
    Refused(Refused),
}

impl SlotState {
    /// Whether it runs the assigned version.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        matches!(self, Self::Serving)
    }

    /// Why the slot does not serve; `None` if it serves.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refused> {
        match self {
            Self::Serving => None,
            Self::Refused(refusal) => Some(refusal),
        }
    }
}

impl fmt::Display for SlotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serving => f.write_str("serving"),
            Self::Refused(refusal) => write!(f, "refused:{}", refusal.code),
        }
    }
}

impl Serialize for SlotState {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

//! The records about identities in the journal.
//!
//! A record is a kind and a JSON body. Fields may be added to a body; a missing one must have a default. No
//! record contains a key or a token.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tamis_authority::JoinRecord;
use tamis_journal::Record;
use tamis_trust::Digest;

/// An authority was made, or an existing one is used from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuthorityRecord {
    /// The trust domain.
    pub(crate) domain: String,
    /// The digest of its bundle.
    pub(crate) bundle: Digest,
}

/// An SVID that was signed for a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SvidRecord {
    /// The proxy, like `sidecar:shop/pay/0`.
    pub(crate) node: String,
    /// Its SPIFFE id.
    pub(crate) id: String,
    /// The serial number of the SVID, 32 hexadecimal digits.
    pub(crate) serial: String,
    /// The last second of its validity, since the Unix epoch.
    pub(crate) not_after: u64,
}

/// A proxy joined: its token is used from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JoinedRecord {
    /// The hash of the token.
    pub(crate) token: Digest,
    /// The key that it joined with; `None`: an earlier release did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<Digest>,
    /// What it got for it.
    #[serde(flatten)]
    pub(crate) svid: SvidRecord,
}

/// SVIDs were renewed; of each proxy the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RenewedRecord {
    pub(crate) svids: Vec<SvidRecord>,
}

/// All SVIDs and unused tokens of a proxy are revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RevokedRecord {
    /// The proxy.
    pub(crate) node: String,
    /// The reason.
    pub(crate) reason: String,
}

/// The intermediate was rotated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RotatedRecord {
    /// Whether a person asked for the rotation: then every replica rotates. Otherwise half of the lifetime
    /// of one replica's intermediate was over.
    pub(crate) asked: bool,
}

macro_rules! identity_records {
    ($($name:ident($body:ident) = $kind:literal,)*) => {
        /// An event about identities.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) enum IdentityRecord { $($name($body),)* }

        impl IdentityRecord {
            /// The record for the journal.
            ///
            /// # Errors
            /// It cannot be written as JSON, which would be a defect.
            pub(crate) fn to_record(&self) -> Result<Record, serde_json::Error> {
                let (kind, body) = match self {
                    $(Self::$name(body) => ($kind, serde_json::to_value(body)?),)*
                };
                Ok(Record { kind: kind.to_owned(), body })
            }

            /// Reads a record; `None` when its kind is another.
            pub(crate) fn read(kind: &str, body: &Value) -> Option<Result<Self, serde_json::Error>> {
                match kind {
                    $($kind => Some(from::<$body>(body).map(Self::$name)),)*
                    _ => None,
                }
            }
        }
    };
}

identity_records! {
    Authority(AuthorityRecord) = "identity-authority",
    Token(JoinRecord) = "identity-token",
    Joined(JoinedRecord) = "identity-joined",
    Renewed(RenewedRecord) = "identity-renewed",
    Revoked(RevokedRecord) = "identity-revoked",
    Rotated(RotatedRecord) = "identity-rotated",
}

fn from<T: DeserializeOwned>(body: &Value) -> Result<T, serde_json::Error> {
    T::deserialize(body)
}

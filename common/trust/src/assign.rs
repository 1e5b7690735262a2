//! The second signature: what the director allows to run where, with which configuration, until when.
//!
//! An author states "these bytes are my filter"; the director states "this slot of this service runs it".
//! Both are in-toto statements in a DSSE envelope with different predicate types, so one is never accepted
//! as the other, whichever key signed it. An assignment has exactly one encoding, byte for byte: only the
//! director writes assignments, and with a single encoding no alteration goes unnoticed.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bundle::{PAYLOAD_TYPE, STATEMENT_TYPE, Statement, Subject, SubjectDigest};
use crate::sign::{bundle, to_json};
use crate::{Digest, Name, PrivateKey, TrustError};

mod keys;
mod seen;
mod verify;

pub use keys::DirectorKeys;
pub use seen::VersionFloors;
pub use verify::{AssignmentRequest, CLOCK_SKEW_SECONDS, verify_assignment};

const ASSIGNMENT_TYPE: &str = "https://tamis.dev/assignment/v1";
/// Longest name of a service or slot in bytes.
pub const PLACE_BYTES: usize = 511;

/// The lower bits of a version, which count within an epoch; the upper bits are the epoch.
const EPOCH_BITS: u32 = 40;
/// The highest epoch: with it versions stay below 2^53, which every JSON reader represents exactly.
pub const MAX_EPOCH: u64 = (1 << (53 - EPOCH_BITS)) - 1;

/// The epoch of a version: how often an operator decided to follow this registry's journal although proxies
/// had seen higher versions. Starts at 0.
#[must_use]
pub fn epoch(version: u64) -> u64 {
    version >> EPOCH_BITS
}

/// The number below all versions of an epoch.
#[must_use]
pub fn first_version(epoch: u64) -> u64 {
    epoch.min(MAX_EPOCH) << EPOCH_BITS
}

/// A version for people: `43`, or `43 of epoch 1`.
#[must_use]
pub fn version_words(version: u64) -> String {
    match (epoch(version), version & ((1 << EPOCH_BITS) - 1)) {
        (0, version) => version.to_string(),
        (epoch, version) => format!("{version} of epoch {epoch}"),
    }
}

/// What the director allows to run in a slot of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The service it runs for, in the node's notation: `shop/checkout`.
    pub service: String,
    /// The slot, which is the attachment's name: `shop/retries`.
    pub slot: String,
    /// The filter's name. Verify the author's signature for this name: the director does not vouch for it.
    pub filter: Name,
    /// The digest of the filter's manifest.
    pub manifest: Digest,
    /// The digest of the configuration, by [`config_digest`](crate::config_digest).
    pub config: Digest,
    /// Counts from 1 and only rises for a service and slot. A rollback is a higher version that names an
    /// older manifest. Its upper bits are the [`epoch`].
    pub version: u64,
    /// When it was made; seconds since the Unix epoch.
    pub issued: u64,
    /// Valid only before this moment; seconds since the Unix epoch, later than `issued`.
    pub expires: u64,
    /// Whether its verdicts take effect.
    pub mode: AssignmentMode,
}

/// Whether the verdicts of an assigned filter take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AssignmentMode {
    /// They do.
    Serve,
    /// It is called for the same exchanges as the filter that serves, and its verdicts are only compared.
    Shadow,
}

impl fmt::Display for AssignmentMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serve => "serve",
            Self::Shadow => "shadow",
        })
    }
}

/// The predicate: everything in an assignment except its subject.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Predicate {
    service: String,
    slot: String,
    config: Digest,
    version: u64,
    issued: u64,
    expires: u64,
    mode: AssignmentMode,
}

/// Signs an assignment with one key of the director. The result is one line of JSON without a line end;
/// where several keys must sign, each makes a line of its own. The payload is a pure function of the
/// assignment; the signature is randomised.
///
/// # Errors
/// No verifier would accept the assignment (a service or slot that is empty, longer than [`PLACE_BYTES`] or
/// not one line; version 0; an end before its beginning), or the cryptographic library fails.
pub fn sign_assignment(key: &PrivateKey, assignment: &Assignment) -> Result<String, TrustError> {
    assignment.check()?;
    bundle(key, PAYLOAD_TYPE, &to_json(&assignment.statement()?)?)
}

impl Assignment {
    fn check(&self) -> Result<(), TrustError> {
        let broken = |reason: String| Err(TrustError::Assignment(reason));
        for (what, text) in [("service", &self.service), ("slot", &self.slot)] {
            let one_line = !text.chars().any(char::is_control);
            if text.is_empty() || text.len() > PLACE_BYTES || !one_line {
                return broken(format!("{what} must be one line of 1 to {PLACE_BYTES} bytes"));
            }
        }
        if self.version == 0 {
            return broken("version must be 1 or more".to_owned());
        }
        if self.expires <= self.issued {
            return broken("expires must lie after issued".to_owned());
        }
        Ok(())
    }

    fn statement(&self) -> Result<Statement, TrustError> {
        let predicate = Predicate {
            service: self.service.clone(),
            slot: self.slot.clone(),
            config: self.config,
            version: self.version,
            issued: self.issued,
            expires: self.expires,
            mode: self.mode,
        };
        let Ok(Value::Object(predicate)) = serde_json::to_value(predicate) else {
            return Err(TrustError::Assignment("the predicate is not a JSON object".to_owned()));
        };
        Ok(Statement {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject: vec![Subject {
                name: self.filter.to_string(),
                digest: SubjectDigest { sha256: self.manifest.hex() },
                annotations: Map::new(),
            }],
            predicate_type: ASSIGNMENT_TYPE.to_owned(),
            predicate,
        })
    }

    /// Reads a statement whose signature the caller has checked.
    fn of(statement: Statement) -> Result<Self, TrustError> {
        let broken = |reason: &str| TrustError::Assignment(reason.to_owned());
        if statement.statement_type != STATEMENT_TYPE {
            return Err(broken("the statement is not in-toto v1"));
        }
        if statement.predicate_type != ASSIGNMENT_TYPE {
            return Err(broken(
                "the statement is not an assignment: it has another predicate type",
            ));
        }
        let [subject] = statement.subject.as_slice() else {
            return Err(broken("there must be exactly one subject"));
        };
        let manifest = Digest::from_hex(&subject.digest.sha256)
            .ok_or_else(|| broken("the subject's sha256 is not 64 lower-case hex digits"))?;
        let filter: Name = subject.name.parse()?;
        let predicate: Predicate = serde_json::from_value(Value::Object(statement.predicate))
            .map_err(|error| TrustError::Assignment(one_line(&error.to_string())))?;
        let Predicate { service, slot, config, version, issued, expires, mode } = predicate;
        let assignment =
            Self { service, slot, filter, manifest, config, version, issued, expires, mode };
        assignment.check()?;
        Ok(assignment)
    }
}

/// Foreign text as part of a message.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

#[cfg(test)]
mod tests;

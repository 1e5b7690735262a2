//! The written form of metadata: TUF 1.0 §4, signed over its canonical JSON.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sigstore_tuf::canonical_json::to_canonical_bytes;
use tamis_trust::{Digest, PrivateKey, PublicKey, Timestamp};

use crate::TufError;
use crate::trusted::{KEY_TYPE, SCHEME};

const SPECIFICATION: &str = "1.0.31";

/// A metadata file: its content and its signatures.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Envelope<T> {
    pub(super) signatures: Vec<Signature>,
    pub(super) signed: T,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Signature {
    pub(super) keyid: String,
    /// Hex of ASN.1 DER.
    pub(super) sig: String,
}

/// The members that all roles have.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Head {
    #[serde(rename = "_type")]
    kind: String,
    spec_version: String,
    pub(super) version: u64,
    pub(super) expires: Timestamp,
}

impl Head {
    pub(super) fn new(kind: &str, expires: Timestamp) -> Self {
        let (kind, spec_version) = (kind.to_owned(), SPECIFICATION.to_owned());
        Self { kind, spec_version, version: 1, expires }
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Root {
    #[serde(flatten)]
    pub(super) head: Head,
    pub(super) consistent_snapshot: bool,
    pub(super) keys: BTreeMap<String, Key>,
    pub(super) roles: BTreeMap<String, RoleKeys>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key {
    keytype: String,
    keyval: KeyValue,
    scheme: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeyValue {
    /// SPKI PEM.
    public: String,
}

/// Which keys sign for a role and how many of them must.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct RoleKeys {
    pub(super) keyids: Vec<String>,
    pub(super) threshold: usize,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Targets {
    #[serde(flatten)]
    pub(super) head: Head,
    pub(super) targets: BTreeMap<String, TargetFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) delegations: Option<Delegations>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TargetFile {
    pub(super) hashes: BTreeMap<String, String>,
    pub(super) length: usize,
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Delegations {
    pub(super) keys: BTreeMap<String, Key>,
    pub(super) roles: Vec<Delegation>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Delegation {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) signers: RoleKeys,
    pub(super) terminating: bool,
    pub(super) paths: Vec<String>,
}

/// `snapshot` and `timestamp`: the versions of other files.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Versions {
    #[serde(flatten)]
    pub(super) head: Head,
    pub(super) meta: BTreeMap<String, MetaFile>,
    /// Only in a timestamp.
    #[serde(rename = "x-tamis-issued", default, skip_serializing_if = "Option::is_none")]
    pub(super) issued: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MetaFile {
    pub(super) version: u64,
    hashes: BTreeMap<String, String>,
    length: usize,
}

/// A role with a head.
pub(super) trait HeadedRole: Clone + Serialize + DeserializeOwned {
    fn head(&self) -> &Head;
    fn head_mut(&mut self) -> &mut Head;
}

macro_rules! headed {
    ($($type:ty),*) => {$(
        impl HeadedRole for $type {
            fn head(&self) -> &Head {
                &self.head
            }
            fn head_mut(&mut self) -> &mut Head {
                &mut self.head
            }
        }
    )*};
}
headed!(Root, Targets, Versions);

impl Key {
    pub(super) fn of(key: &PublicKey) -> Self {
        let keyval = KeyValue { public: key.to_pem() };
        Self { keytype: KEY_TYPE.to_owned(), keyval, scheme: SCHEME.to_owned() }
    }

    /// Its id in other TUF tools: SHA-256 of its canonical JSON.
    pub(super) fn id(&self) -> Result<String, TufError> {
        Ok(Digest::of(&canonical(self)?).hex())
    }
}

impl TargetFile {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { hashes: hashes(bytes), length: bytes.len() }
    }
}

impl MetaFile {
    pub(super) fn of(version: u64, bytes: &[u8]) -> Self {
        Self { version, hashes: hashes(bytes), length: bytes.len() }
    }
}

fn hashes(bytes: &[u8]) -> BTreeMap<String, String> {
    BTreeMap::from([("sha256".to_owned(), Digest::of(bytes).hex())])
}

fn canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, TufError> {
    let broken = |reason: String| TufError::Change(format!("metadata cannot be written: {reason}"));
    let value = serde_json::to_value(value).map_err(|error| broken(error.to_string()))?;
    to_canonical_bytes(&value).map_err(|error| broken(error.to_string()))
}

impl<T: HeadedRole> Envelope<T> {
    pub(super) fn unsigned(signed: T) -> Self {
        Self { signatures: Vec::new(), signed }
    }

    pub(super) fn parse(file: &str, bytes: &[u8]) -> Result<Self, TufError> {
        serde_json::from_slice(bytes).map_err(|error| TufError::format(file, error.to_string()))
    }

    /// The bytes of the file.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, TufError> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| TufError::Change(format!("metadata cannot be written: {error}")))?;
        Ok(format!("{text}\n").into_bytes())
    }

    /// Signs; an earlier signature of the same key is replaced.
    pub(super) fn sign(&mut self, key: &PrivateKey) -> Result<(), TufError> {
        let keyid = Key::of(&key.public_key()).id()?;
        let signature = key.sign(&canonical(&self.signed)?)?;
        let sig = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        self.signatures.retain(|other| other.keyid != keyid);
        self.signatures.push(Signature { keyid, sig });
        Ok(())
    }

    /// How many of these keys signed the current content. The reader checks the signatures before anything
    /// is published.
    pub(super) fn signed_by(&self, signers: &RoleKeys) -> usize {
        let signed = |id: &&String| self.signatures.iter().any(|one| one.keyid == **id);
        signers.keyids.iter().filter(signed).count()
    }
}

//! What this filter needs of its host: imports in a component, plain values in tests.

use crate::algorithm::Algorithm;

/// Native cryptography over key handles (`crypto`).
pub trait Verify {
    /// Imports a JSON Web Key; the text holds public (or symmetric) members alone.
    ///
    /// # Errors
    /// Why the key is refused.
    fn import_key(&self, jwk: &str) -> Result<u32, String>;

    /// Whether the signature is one of this message by this key.
    fn verify(&self, key: u32, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool;

    /// SHA-256 of the message.
    fn sha256(&self, message: &[u8]) -> Vec<u8>;

    /// Gives a handle back.
    fn drop_key(&self, key: u32);
}

/// A value of the store and its version, which changes with every write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// What was written.
    pub value: Vec<u8>,
    /// Never the same for two writes of a key.
    pub version: u64,
}

/// Values shared by the instances of this filter (`kv`).
pub trait Store {
    /// The value, if there is one that has not timed out.
    fn read(&self, key: &str) -> Option<Stored>;

    /// Writes a value that lives this many milliseconds.
    ///
    /// # Errors
    /// Why the host refuses it.
    fn write(&self, key: &str, value: &[u8], ttl_ms: u32) -> Result<(), String>;

    /// Removes a value.
    fn remove(&self, key: &str);
}

/// An answer from a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// HTTP status.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Requests to the hosts the grant names (`http-client`).
pub trait Fetch {
    /// Gets an address.
    ///
    /// # Errors
    /// Why there is no answer.
    fn fetch(&self, url: &str) -> Result<Fetched, String>;
}

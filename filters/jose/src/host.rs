//! What the checks of tokens require of a host: imports in a component, plain values in tests.

use crate::algorithm::SigningAlgorithm;

/// Native cryptography over key handles (`crypto`).
pub trait Verify {
    /// Imports a JSON Web Key; the text contains public (or symmetric) members only.
    ///
    /// # Errors
    /// Why the key is refused.
    fn import_key(&self, jwk: &str) -> Result<u32, String>;

    /// Whether `signature` is a signature of this message by this key.
    fn verify(
        &self,
        key: u32,
        algorithm: SigningAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool;

    /// SHA-256 of the message.
    fn sha256(&self, message: &[u8]) -> Vec<u8>;

    /// Releases a handle.
    fn drop_key(&self, key: u32);
}

/// A value of the store and its version, which changes with every write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredValue {
    /// What was written.
    pub value: Vec<u8>,
    /// Different for every write of a key.
    pub version: u64,
}

/// Values shared by the instances of a filter (`kv`).
pub trait SharedStore {
    /// The value, if there is one that has not expired.
    fn read(&self, key: &str) -> Option<StoredValue>;

    /// Writes a value that expires after this many milliseconds.
    ///
    /// # Errors
    /// Why the host refuses it.
    fn write(&self, key: &str, value: &[u8], ttl_ms: u32) -> Result<(), String>;

    /// Removes a value.
    fn remove(&self, key: &str);
}

/// A response of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedResponse {
    /// HTTP status.
    pub status: u16,
    /// The complete body.
    pub body: Vec<u8>,
}

/// Requests to the hosts the grant names (`http-client`).
pub trait Fetch {
    /// Fetches a URL.
    ///
    /// # Errors
    /// Why there is no response.
    fn fetch(&self, url: &str) -> Result<FetchedResponse, String>;
}

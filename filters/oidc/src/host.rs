//! What this filter requires of its host: imports in a component, plain values in tests.

use tamis_jose::host::{Fetch, FetchedResponse, SharedStore, StoredValue, Verify};

/// A form that is sent to the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormPost {
    /// Address of the endpoint.
    pub url: String,
    /// Value of `authorization`.
    pub authorization: Option<String>,
    /// `application/x-www-form-urlencoded`.
    pub form: String,
    /// Time for the response.
    pub timeout_ms: u32,
}

/// Whether a caller is the first who wrote a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyWriteResult {
    /// It is; the version of what it wrote.
    First(u64),
    /// Another one wrote it before.
    Taken,
    /// The store has no room, so nobody knows.
    NoRoom,
}

/// Why a value was not put in the place of the one that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwapFault {
    /// Somebody wrote meanwhile, or the time of the value was over: what is there now.
    Changed(Option<StoredValue>),
    /// The store has no room.
    NoRoom,
}

/// The capabilities of this filter.
pub trait OidcHost: Verify + SharedStore + Fetch {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;

    /// Octets that nobody can guess.
    fn random(&self, octets: u32) -> Vec<u8>;

    /// 32 octets that only the holder of a secret can compute, others for each label. The secret itself is not shown.
    ///
    /// # Errors
    /// Why the secret cannot be opened.
    fn derive(&self, secret: &str, label: &str) -> Result<Vec<u8>, String>;

    /// The value of a secret.
    ///
    /// # Errors
    /// Why it cannot be read, and the way out.
    fn reveal(&self, secret: &str) -> Result<Vec<u8>, String>;

    /// Sends a form and waits for the response.
    ///
    /// # Errors
    /// Why there is no response.
    fn post(&self, post: &FormPost) -> Result<FetchedResponse, String>;

    /// Writes a key that nobody wrote before; it expires after this many milliseconds.
    fn claim(&self, key: &str, ttl_ms: u32) -> KeyWriteResult {
        match self.swap(key, 0, b"1", ttl_ms) {
            Ok(version) => KeyWriteResult::First(version),
            Err(SwapFault::Changed(_)) => KeyWriteResult::Taken,
            Err(SwapFault::NoRoom) => KeyWriteResult::NoRoom,
        }
    }

    /// Writes a key whose version is still `expect` (0: absent); it expires after this many milliseconds.
    ///
    /// # Errors
    /// It has another version, or there is no room.
    fn swap(&self, key: &str, expect: u64, value: &[u8], ttl_ms: u32) -> Result<u64, SwapFault>;

    /// A line for the operator.
    fn warn(&self, line: &str);
}

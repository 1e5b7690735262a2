//! Why a stream or a connection of HTTP/3 ended before its time.

use thiserror::Error;

/// Why a stream or a connection of HTTP/3 ended before its time.
#[derive(Debug, Clone, Error)]
pub enum Http3Error {
    /// What the client sent breaks a rule, and ends its stream or its connection.
    #[error("the client broke a rule of HTTP/3: {rule} (code {code:#x})")]
    Broken {
        /// The code that the client receives (RFC 9114 §8.1).
        code: u32,
        /// The rule.
        rule: &'static str,
    },
    /// The client gave the stream up.
    #[error("the client gave the stream up (code {code:#x})")]
    Reset {
        /// Its code.
        code: u64,
    },
    /// The connection ended.
    #[error("the connection ended")]
    Connection(#[source] quinn::ConnectionError),
    /// The stream was ended on this side.
    #[error("the stream is closed")]
    Closed,
}

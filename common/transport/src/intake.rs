//! The strict reading of HTTP/1 requests (RFC 9112): a message has exactly one reading, or it is refused.
//!
//! The parts are free of I/O: [`head`] judges and reads a head, and a body is stepped through line by line and chunk by
//! chunk. [`serve`](crate::serve) reads with them and sends [`IntakeRefusal::reply`].

mod body;
pub mod head;
pub mod refusal;
pub(crate) mod scan;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub(crate) use self::body::{Body, MAX_TRAILER_BYTES, MAX_TRAILERS};
pub use self::refusal::{IntakeRefusal, RefusedRequest};

/// The limits of a connection at the intake.
#[derive(Debug, Clone)]
pub struct IntakeLimits {
    /// Longest head in bytes; 64 KiB.
    pub max_head_bytes: usize,
    /// Most fields in a head; 100.
    pub max_fields: usize,
    /// From the first byte of a head to its last; 10 s.
    pub head_timeout: Duration,
    /// Between two requests, and before the first; 75 s.
    pub idle_timeout: Duration,
    /// Between two pieces of a body that is being read; 60 s.
    pub body_timeout: Duration,
    /// Time until a response begins after its client has ended its side; 1 s. Only writing could show
    /// whether the client left or has just finished sending.
    pub left_timeout: Duration,
    /// Whether `CONNECT` opens tunnels here; by default it does not.
    pub connect: ConnectMethod,
    /// Whether refused clients see the code; by default they do.
    pub reasons: IntakeReasons,
}

/// Whether a refusal of the intake names the broken rule to the client (`x-tamis-reason`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntakeReasons {
    /// It does.
    Show,
    /// Only the status is sent.
    Hide,
}

/// Handling of `CONNECT` by a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectMethod {
    /// Refuse it with 501.
    Refuse,
    /// Pass it to the handler.
    Allow,
}

impl Default for IntakeLimits {
    fn default() -> Self {
        Self {
            max_head_bytes: 64 * 1024,
            max_fields: 100,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            left_timeout: Duration::from_secs(1),
            connect: ConnectMethod::Refuse,
            reasons: IntakeReasons::Show,
        }
    }
}

//! Why a SPIFFE agent gives no SVID.

use std::io;

use tamis_transport::TlsError;
use thiserror::Error;

/// Why a SPIFFE agent gives no SVID. What the proxy has stays in use.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WorkloadError {
    /// The address is none of an agent.
    #[error(
        "`{text}` is not the socket of a SPIFFE agent: write `unix:///PATH`, an absolute path without a host, `?` or `#`"
    )]
    Socket {
        /// What was given.
        text: String,
    },
    /// Nobody answers at the socket, or the stream ended.
    #[error("the SPIFFE agent at {socket} does not answer: {why}")]
    Unreachable {
        /// Its socket.
        socket: String,
        /// What failed.
        why: String,
    },
    /// The agent refuses.
    #[error("the SPIFFE agent at {socket} refuses (gRPC status {status}): {text}; {remedy}")]
    Refused {
        /// Its socket.
        socket: String,
        /// The status of gRPC.
        status: u32,
        /// Its text.
        text: String,
        /// The way out.
        remedy: &'static str,
    },
    /// Its message breaks the protocol, or a bound.
    #[error("the message of the SPIFFE agent at {socket} cannot be used: {rule}")]
    Message {
        /// Its socket.
        socket: String,
        /// The broken rule.
        rule: String,
    },
    /// It gives other SVIDs than the one that the proxy needs.
    #[error("the SPIFFE agent at {socket} gives {given}, but this proxy needs {needed}: {remedy}")]
    Choice {
        /// Its socket.
        socket: String,
        /// The ids of what it gives.
        given: String,
        /// What the proxy needs.
        needed: String,
        /// The way out.
        remedy: &'static str,
    },
    /// Peers would refuse the SVID.
    #[error("the SVID of {id} from the SPIFFE agent at {socket} cannot be used")]
    Svid {
        /// The agent's socket.
        socket: String,
        /// The id that the agent gives it.
        id: String,
        /// The broken rule.
        source: TlsError,
    },
    /// The system has no thread.
    #[error("no thread that receives SVIDs")]
    Thread(#[source] io::Error),
}

impl WorkloadError {
    /// Whether asking again is useless until somebody acts: the agent is there, and knows this proxy as somebody else.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Socket { .. } | Self::Choice { .. } | Self::Thread(_) => true,
            // INVALID_ARGUMENT and UNIMPLEMENTED: it is no agent, or one of another protocol.
            Self::Refused { status, .. } => matches!(status, 3 | 12),
            Self::Unreachable { .. } | Self::Message { .. } | Self::Svid { .. } => false,
        }
    }
}

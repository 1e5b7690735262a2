//! SVIDs of a SPIFFE agent, such as SPIRE's: the Workload API (SPIFFE Workload API §5, Workload Endpoint §3 to §6).
//!
//! A proxy opens one stream (`FetchX509SVID`) at the agent's socket. Each message has everything: its SVIDs with their keys, the
//! authorities of their trust domain, and those of federated ones. [`AgentSvid`] takes the one that the proxy needs, and the next
//! ones as they come. Whatever a message breaks, the proxy keeps what it has, and an agent that is away is asked again and again.

mod choice;
mod error;
mod messages;
mod socket;
mod stream;
mod supply;
#[cfg(test)]
mod testing;

pub use choice::WantedSvid;
pub use error::WorkloadError;
pub use socket::AgentSocket;
pub use supply::AgentSvid;

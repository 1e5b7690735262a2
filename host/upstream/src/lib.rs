//! From service to endpoint to connection: endpoints, pick, circuit, pool, send.
//!
//! Shared by workers (rolling statistics, circuits, retry budgets) is the [`ServiceTable`], which survives
//! generations; connections belong to one worker's [`Upstreams`]. This crate enforces circuits and budgets
//! but decides nothing about them: when a decision is due it returns an [`BreakerQuestion`].

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]
#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "a test starts its clock somewhere, and waits in real time"
    )
)]

mod ask;
mod attempt;
mod budget;
mod caller_shares;
mod circuit;
mod config;
mod datagrams;
mod dispatch;
mod endpoint_queue;
mod endpoint_state;
mod endpoints;
mod latency;
mod lock;
mod pick;
mod pool;
mod pools;
mod protocol;
mod resolve;
mod send;
mod service_state;
mod service_table;
#[cfg(test)]
mod tests;
mod time_limit;
mod upstreams;
mod weigh;
mod window;

pub use ask::BreakerQuestion;
pub use attempt::{Attempt, AttemptOutcome, EndpointCrowd};
pub use caller_shares::CallerShares;
pub use config::{
    EndpointConfig, EndpointTarget, PickAlgorithm, Protocol, ServiceConfig, ServiceSettings,
};
pub use datagrams::UpstreamDatagrams;
pub use endpoint_state::EndpointSnapshot;
pub use pick::{Pick, PickFailure};
pub use pool::http1::Tunnel;
pub use pool::place::CopyPlace;
pub use protocol::is_broken_by;
pub use send::{EndpointLimit, SendFailure, UpstreamRequest};
pub use service_state::ServiceSnapshot;
pub use service_table::ServiceTable;
pub use time_limit::LimitReached;
pub use upstreams::{Upstream, Upstreams};
pub use weigh::{EndpointView, WeightsError};

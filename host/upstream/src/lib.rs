//! From service to endpoint to connection: endpoints, pick, circuit, pool, send.
//!
//! Shared by workers (rolling statistics, circuits, retry budgets) is the [`ServiceTable`], which survives
//! generations; connections belong to one worker's [`Upstreams`]. This crate enforces circuits and budgets
//! but decides nothing about them: when a decision is due it returns an [`Ask`].

mod ask;
mod attempt;
mod budget;
mod circuit;
mod config;
mod endpoints;
mod http1;
mod http2;
mod pick;
mod place;
mod pool;
mod protocol;
mod resolve;
mod table;
#[cfg(test)]
mod tests;
mod upstreams;
mod weigh;
mod window;

pub use ask::Ask;
pub use attempt::{Attempt, AttemptOutcome, SendFailure, UpstreamRequest};
pub use config::{
    Algorithm, EndpointConfig, EndpointTarget, Protocol, ServiceConfig, ServiceSettings,
};
pub use http1::Tunnel;
pub use pick::{Pick, PickFailure};
pub use protocol::is_broken_by;
pub use table::{EndpointSnapshot, ServiceSnapshot, ServiceTable};
pub use upstreams::{Upstream, Upstreams};
pub use weigh::{EndpointView, WeightsRefused};

//! The path of a request through the proxy.
//!
//! [`Proxy`] runs one worker per core. A worker accepts connections on its own listeners, and each request
//! passes through [`pipeline`](crate): decode, decide (request hooks), route, attempt (with the retry
//! filter on failure only), respond (response hooks), settle (telemetry). Everything a worker needs is one
//! [`Generation`]; it switches to a new one between two requests, and exchanges in progress end with
//! theirs.
//!
//! This crate contains no policy: without a router filter it answers 404, without a retry filter a failure
//! is final, without a breaker filter circuits stay closed, without a hedge filter nothing is sent twice in
//! parallel, and without a balancer endpoints have the weights that the operator gave them.

mod admin;
mod attempt;
mod balance;
mod body;
mod calls;
mod chain;
mod circuit;
mod connection;
mod content;
mod counts;
mod decide;
mod decode;
mod exchange;
mod failure;
mod fields;
mod generation;
mod hedges;
mod latencies;
mod mirror;
mod names;
mod outgoing;
mod pipeline;
mod proxy;
mod receive;
mod refuse;
mod replay;
mod reply;
mod request_body;
mod request_id;
mod respond;
mod response_body;
mod route;
mod shadow;
mod shared;
mod slot;
mod slot_refusal;
mod status;
mod stop;
mod switch;
mod telemetry;
#[cfg(test)]
mod tests;
mod trace;
mod traffic;
mod tunnel;
mod unseen;
mod upgrade;
mod worker;

pub use admin::{AdminAccess, METRICS};
pub use counts::SlotCounts;
pub use generation::{
    Attachment, ChainLayout, Direction, Generation, Listener, ListenerRules, Occupant, Phase,
    Reasons,
};
pub use proxy::{Inherited, Proxy, ProxyError, ProxyOptions, TooLate};
pub use shadow::{Difference, Shadow, ShadowReport};
pub use slot_refusal::SlotRefusal;
pub use status::{CertificateStatus, SlotState, SlotStatus, Status};
pub use traffic::TrafficCounts;

//! The path of a request through the proxy.
//!
//! [`Proxy`] runs one worker per core. A worker accepts connections on its own listeners, and each request
//! passes through the pipeline: decode, decide (request hooks), route, attempt (with the retry
//! filter on failure only), respond (response hooks), settle (telemetry). Everything a worker needs is one
//! [`Generation`]; it switches to a new one between two requests, and exchanges in progress end with
//! theirs.
//!
//! # The rooms of a request, in order
//!
//! 1. `worker` accepts the connection, does the handshake and asks the connection hooks; `worker/state` holds this
//!    worker's part of the generation: chains, slots, services. A connection that a hook sends to a service as it is goes
//!    through `tunnel`, which uses `circuit` and `exchange` and no other stage. A request that the gate of `tamis-transport`
//!    refused is recorded as an exchange by `unseen` and meets no filter but telemetry.
//! 2. `pipeline` is the order of all stages; the stages up to `reply` return to it.
//! 3. `content`: waits for the end of a request that must have no content.
//! 4. `receive` begins the exchange of an `arrival`: `request_id`, then `decode` (with `fields` and `trace`) normalises the head. From here
//!    on `exchange` is the one value that travels, and its end is counted whatever happens.
//! 5. `decide` asks the request hooks and the router (`route`), and ends with `request_body`. `slot/ask` calls the filters of a slot: it times,
//!    counts, checks and shadows it (`slot/question`, `slot/instances`, `shadow/queue`) and alone applies the
//!    failure mode. The breaker and telemetry have no failure mode: `circuit` and `telemetry` call them.
//! 6. `route` asks the router and resolves the service that it chose.
//! 7. `request_body` shows the body to its hooks, whole, or chunk by chunk (`slot/chunk`) with its trailers
//!    (`slot/trailer`); `patience` bounds the waits for it; `exchange/replay` keeps what an attempt may send again.
//! 8. `attempt` sends: `circuit` picks an endpoint, `outgoing` writes the request, `attempt/race` sends a second one to be
//!    faster when `hedges` is due. After a failure it asks the retry filter.
//! 9. `mirror` sends copies.
//! 10. `respond` asks the response hooks about the head and a whole body; `response_body` shows them chunks and trailers
//!     as it is sent. `local` shows them the responses that are written in this proxy; `response_size` bounds the head. Where the endpoint agreed to another protocol, `switch`
//!     answers the client instead, and `tunnel` joins both sides.
//! 11. `reply` passes the response to the connection. A stage that stops the exchange (`stop`) gets here at once:
//!     with the answer of a filter, or with a refusal, which `refuse` alone turns into a response.
//! 12. `exchange/settle` runs when the response has been read to its end or the client is gone: `telemetry` filters, `counts` and
//!     `traffic`, the access record.
//!
//! Outside of requests: `proxy` (the handle) and `proxy_state`, `admin`, `balance`, `shadow`,
//! `worker/rounds`.
//!
//! This crate contains no policy: without a router filter it answers 404, without a retry filter a failure
//! is final, without a breaker filter circuits stay closed, without a hedge filter nothing is sent twice in
//! parallel, and without a balancer endpoints have the weights that the operator gave them.

mod admin;
mod admin_access;
mod arrival;
mod attempt;
mod balance;
mod body;
mod calls;
mod chain;
mod chunk_end;
mod circuit;
mod client_body;
mod connection;
mod content;
mod counts;
mod decide;
mod decode;
mod error;
mod exchange;
mod failure;
mod fields;
mod generation;
mod handshakes;
mod hedges;
mod interim;
mod latencies;
mod local;
mod mirror;
mod names;
mod outgoing;
mod patience;
mod pipeline;
mod proxy;
mod proxy_state;
mod receive;
mod refuse;
mod reply;
mod request_body;
mod request_id;
mod respond;
mod response_body;
mod response_size;
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

pub use admin::METRICS;
pub use admin_access::AdminAccess;
pub use counts::SlotCounts;
pub use error::ProxyError;
pub use generation::{
    Attachment, ChainLayout, Generation, ListenerConfig, ListenerRules, Reasons, SlotOccupant,
};
pub use proxy::{Proxy, ProxyOptions};
pub use proxy_state::{InheritedSockets, LeaveError};
pub use shadow::{Difference, Shadow, ShadowReport};
pub use slot_refusal::SlotRefusal;
pub use status::{CertificateStatus, IdentityStatus, SlotState, SlotStatus, Status};
pub use traffic::TrafficCounts;

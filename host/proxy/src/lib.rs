//! The path of a request through the proxy.
//!
//! [`Proxy`] runs one worker per core. A worker accepts connections on its own listeners, and each request
//! passes through the pipeline: receive (which decodes), decide (request hooks and the router), attempt (with the retry
//! filter on failure only), respond (response hooks), reply, settle (telemetry). Everything a worker needs is one
//! [`Generation`]; it switches to a new one between two requests, and exchanges in progress end with
//! theirs.
//!
//! # The rooms of a request, in order
//!
//! 1. `worker` accepts the connection. `worker/serve` finds out who sent it (`worker/sender`), does the handshake
//!    (`handshakes` counts those that fail), asks the connection hooks (`worker/admit`) and has its requests served by
//!    `worker/requests`; in clear text `worker/host` finds the listener that has the host of each. `connection` is what is
//!    known of it; `worker/state` holds this worker's part of the generation: chains, slots,
//!    services. A connection that a hook sends to a service as it is goes through `tunnel`, which uses `endpoint_choice`,
//!    `breaker` and `exchange` and no other stage; one of a `tcp` port goes through `tcp`, at a gateway to
//!    the service that `stream_routes` chooses, and `tcp_refusal` is why it is
//!    closed. After a swap `reconsider` and `worker/admit_again` have open ones judged by the guards that changed. A request that the intake of `tamis-transport` refused
//!    is recorded as an exchange by `intake_refusal`: only telemetry, and the `finished` hooks of filters without a
//!    scope, see it.
//! 2. `pipeline` alone knows the order of the stages, which return to it; a stage knows the order of its own steps.
//! 3. `unexpected_content`: waits for the end of a request that must have no content.
//! 4. `receive` begins the exchange of an `arrival`: `request_id`, then `decode` (with `upgrade`, `heads/request` and
//!    `trace`) normalises the head; where the listener says so, `grpc_web` makes a call of gRPC of one that a browser makes. The
//!    body is read through `client_body`, over HTTP/2 within the bounds of `patience`. From
//!    here on `exchange` is the one value that travels, and its end is counted whatever happens.
//! 5. `decide` asks the request hooks and the router (`route`), and ends with `request_body`. `slot/ask` calls the
//!    filters of a slot: it times, counts, checks and shadows a call (`slot/question`, `slot/instances`,
//!    `shadow/queue`) and alone applies the failure mode; calls that take long (`slot/call_duration`) wait for their turn
//!    (`slot/long_calls`).
//!    The breaker and telemetry have no failure mode: `breaker` and `telemetry` call them.
//! 6. `route` asks the router, and `backend` finds the service that it chose.
//! 7. `request_body` shows the body to its hooks, whole, or chunk by chunk (`slot/chunk`, small ones together where a
//!    filter reads much of the head: `gathered_chunks`) with its trailers (`slot/trailer`); whole ones share the memory of
//!    `body_budget`, and `exchange/replay` keeps what an attempt may send again.
//! 8. `attempt` sends: `endpoint_choice` picks an endpoint, `outgoing` writes the request, `attempt/race` sends a second one to
//!    be faster when `hedges` is due. What the upstream sends before its response passes `heads/interim`. `breaker` is asked what
//!    the end of the attempt means for the circuit; after a failure the retry filter is asked.
//! 9. `mirror` sends copies, as many at once as `mirror_places` allows.
//! 10. `respond` normalises the head of the response (`heads/response`) and asks the response hooks about it and a whole body; `response_size` bounds the head. Where the
//!     endpoint agreed to another protocol, `switch` answers the client instead (with the steps of `respond` for the
//!     head), and `reply` has `tunnel` copy between both sides.
//! 11. `reply` passes the response to the connection, with `response_body`, which shows chunks and trailers to their
//!     hooks as they are sent, has `encoding` encode them where a filter chose a coding (`encode` makes the head, within the memory of `encodings`), and has `grpc_web` put trailers into the body for browsers. A stage that stops the exchange (`stop`) gets here at once: with the answer of a filter,
//!     or with a refusal, which `refuse` alone turns into a response; `local` shows both to the response hooks.
//! 12. `exchange/settle` runs when the response has been read to its end or the client is gone: `telemetry` filters,
//!     `counts` and `traffic`, the access record, which `tap` shows to operators who watch.
//!
//! Where a service takes plain text too, `worker/plaintext` finds out what a connection begins with; `plaintext_counts` counts
//! those without TLS.
//!
//! A connection that the kernel led to a sidecar is one of the listener with the address that its application asked for
//! (`worker/state`); `egress` connects, or refuses, what leaves the mesh.
//!
//! Datagrams of a listener for UDP are read by `worker/udp`, which asks the connection hooks when a client sends its first one
//! and knows its session from then on (`worker/udp_sessions`). `udp` chooses its endpoint (`endpoint_choice`, `breaker`), and
//! `udp_session` sends datagrams on; those that come before there is an endpoint wait in `udp_waiting`. `udp_counts` counts. `own_udp` has the
//! addresses of this process, from which no session begins.
//!
//! Calls of filters to services of the mesh (`mesh_calls`) are made on a worker too, with `endpoint_choice` and `breaker`, and
//! pass none of these rooms.
//!
//! Outside of requests: `proxy` (the handle), `proxy_state`, `status`, `admin` and `admin_access`, `balance`, `latencies`,
//! the threads of `shadow`, `worker/rounds`. `names` is a value that both use.
//!
//! This crate contains no policy: without a router filter it answers 404, without a retry filter a failure
//! is final, without a breaker filter circuits stay closed, without a hedge filter nothing is sent twice in
//! parallel, and without a balancer endpoints have the weights that the operator gave them.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]
#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "a test starts its clock somewhere, and waits in real time"
    )
)]

mod admin;
mod admin_access;
mod arrival;
mod attempt;
mod backend;
mod balance;
mod body;
mod body_budget;
mod breaker;
mod calls;
mod chain;
mod chunk_end;
mod client_body;
mod connection;
mod counts;
mod decide;
mod decode;
mod egress;
mod encode;
mod encoding;
mod encodings;
mod endpoint_choice;
mod error;
mod exchange;
mod failure;
mod gathered_chunks;
mod generation;
mod grpc_web;
mod handshakes;
mod heads;
mod hedges;
mod intake_refusal;
mod latencies;
mod leaving;

mod local;
mod mesh_calls;
mod mirror;
mod mirror_places;
mod names;
mod outgoing;
mod own_udp;
mod patience;
mod pipeline;
mod plaintext_counts;
mod proxy;
mod proxy_state;
mod receive;
mod reconsider;
mod refuse;
mod reply;
mod request_body;
mod request_id;
mod request_parts;
mod respond;
mod response_body;
mod response_size;
mod route;
mod shadow;
mod shared;
mod slot;
mod status;
mod stop;
mod stream_routes;
mod switch;
mod tap;
mod tcp;
mod tcp_counts;
mod tcp_refusal;
mod telemetry;
#[cfg(test)]
mod tests;
mod trace;
mod traffic;
mod tunnel;
mod udp;
mod udp_counts;
mod udp_session;
mod udp_waiting;
mod unexpected_content;
mod upgrade;
mod worker;

pub use admin::METRICS;
pub use admin_access::AdminAccess;
pub use counts::SlotCounts;
pub use error::ProxyError;
pub use generation::{
    Attachment, CaptureRules, ChainLayout, EgressRule, EgressRules, Generation, Http3Rules,
    InterimClients, ListenerConfig, ListenerRules, Reasons, SlotOccupant, TcpRules,
};
pub use heads::Owners;
pub use mesh_calls::MeshCalls;
pub use plaintext_counts::PlaintextPort;
pub use proxy::{Proxy, ProxyOptions};
pub use proxy_state::{InheritedSockets, LeaveError};
pub use shadow::{Difference, Shadow, ShadowReport};
pub use status::{
    CertificateStatus, IdentityStatus, OrderStatus, PlaintextStatus, SlotState, SlotStatus, Status,
};
pub use stream_routes::{StreamBackend, StreamRules};
pub use tamis_refused::Refused;
pub use traffic::TrafficCounts;

//! Write Tamis filters in Rust.
//!
//! A filter is a type that implements [`Filter`] (its configuration) and one trait for each of its hooks; one macro line exports it. The component imports only the capabilities it calls and exports only those hooks, so its imports and exports show an auditor what it does. A filter crate needs only this crate and `serde`.
//!
//! ```
//! use tamis_sdk::{Config, ConfigError, Filter, Interest, Request, View, request, reply};
//!
//! /// What the operator writes.
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Settings {
//!     blocked: Vec<String>,
//! }
//!
//! /// Refuses requests whose `user-agent` is on a list.
//! struct Agents {
//!     blocked: Vec<String>,
//! }
//!
//! impl Filter for Agents {
//!     type Settings = Settings;
//!     const SCHEMA: &'static str = r#"{"type":"object"}"#;
//!
//!     fn configure(settings: Settings) -> Result<(Self, Interest), Vec<ConfigError>> {
//!         Ok((Self { blocked: settings.blocked }, Interest::reading(["user-agent"])))
//!     }
//! }
//!
//! impl Request for Agents {
//!     fn on_request(&mut self, seen: View<'_>) -> request::Decision {
//!         let agent = seen.header("user-agent").unwrap_or_default();
//!         if self.blocked.iter().any(|name| name.as_bytes() == agent) {
//!             return request::Decision::answer(reply(403).text("no")).because("agents.blocked");
//!         }
//!         request::Decision::pass()
//!     }
//! }
//!
//! tamis_sdk::export_authorizer!(Agents);
//!
//! // Logic runs natively in unit tests; only the capabilities need a host.
//! let settings = Config::parse(r#"{"blocked":["bad/1"]}"#).unwrap();
//! let (mut agents, interest) = Agents::configure(settings).unwrap();
//! let raw = tamis_sdk::view::packed(&interest.reads, &[("user-agent", b"bad/1")]);
//! let decision = agents.on_request(View::new(&raw, &interest.reads));
//! assert_eq!(decision.reason.as_deref(), Some("agents.blocked"));
//! ```
//!
//! An unknown or wrong setting is an error with its place, and never ignored:
//!
//! ```
//! # #[derive(Debug, serde::Deserialize)]
//! # #[serde(deny_unknown_fields)]
//! # struct Settings { #[serde(rename = "limit")] _limit: u32 }
//! let errors = tamis_sdk::Config::parse::<Settings>(r#"{"limit": "ten"}"#).unwrap_err();
//! assert_eq!(errors[0].pointer, "/limit");
//! ```

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

#[doc(hidden)]
pub mod bindings;
pub mod config;
pub mod credentials;
mod decision;
pub mod duration;
mod export;
mod filter;
pub mod grpc;
mod hooks;
pub mod kept;
pub mod view;

pub use bindings::capabilities::tamis::filter::{
    clock, counters, crypto, exchange_state, http_client, kv, log, metrics, passwords, quota,
    random, records, secrets, spans, types,
};
pub use bindings::{
    balancer::exports::tamis::filter::balancer,
    circuit_breaker::exports::tamis::filter::circuit_breaker,
    connection::exports::tamis::filter::connection, finished::exports::tamis::filter::finished,
    hedge::exports::tamis::filter::hedge, lifecycle::exports::tamis::filter::lifecycle,
    request::exports::tamis::filter::request, request_body::exports::tamis::filter::request_body,
    response::exports::tamis::filter::response,
    response_body::exports::tamis::filter::response_body, retry::exports::tamis::filter::retry,
    router::exports::tamis::filter::router, telemetry::exports::tamis::filter::telemetry,
    tick::exports::tamis::filter::tick, trailers::exports::tamis::filter::trailers,
};
pub use config::Config;
pub use decision::{grpc_reply, reply};
pub use duration::GatewayDuration;
pub use filter::{Filter, Slot, log_panics};
pub use hooks::{
    Balancer, CircuitBreaker, Connection, Finished, Hedge, Request, RequestBody, Response,
    ResponseBody, Retry, Router, Telemetry, Tick, Trailers,
};
pub use kept::Kept;
pub use lifecycle::{BodyMode, ConfigError, Interest, Responses};
pub use types::{Attribute, Edit, Field, Method, Reply};
pub use view::View;

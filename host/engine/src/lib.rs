//! A filter as a function: compile, limits, plan, instance, hooks, imports. The only crate that uses
//! wasmtime; opens no socket.
//!
//! A component becomes [`Compiled`] code (inspected, compiled, cached under a MAC), code with a
//! configuration and a [`Grant`] becomes a [`Filter`] (validated, configured, self-tested), and each worker
//! calls an [`Instance`] of it. A call that fails returns a [`CallFault`] and never panics; its instance is
//! dropped and the next call has a fresh one. [`FilterState`] holds what outlives instances.

mod abi;
mod authority;
mod breaker;
mod cache;
mod claims;
mod compile;
mod contract;
mod deadline;
mod engine;
mod epoch;
mod error;
mod exports;
mod field;
mod filter;
mod grant;
mod hooks;
mod host;
mod imports;
mod inspect;
mod instance;
mod limiter;
mod maker;
mod native;
mod secrets;
mod selftest;
mod state;
mod trap;

pub use authority::{Authority, Declaration, Declared, Growth, GrowthKind};
pub use breaker::BreakerStatus;
pub use cache::{Cache, CacheFolders};
pub use contract::Contract;
pub use engine::{Allocation, Compiled, Engine, MAX_MEMORY_BYTES};
pub use error::{CallFault, EngineError};
pub use field::{GrantField, Lack};
pub use filter::{FailureMode, Filter, FilterOptions, Isolation, MAX_WAITING, Place};
pub use grant::{
    CountersGrant, ExchangeStateGrant, Grant, HttpClientGrant, Imports, KvGrant, Limits, LogGrant,
    MetricsGrant, MissingGrant, OverCeiling, Plain, QuotaClass, QuotaGrant, RateGrant,
    SecretsGrant, check_ceilings, check_imports,
};
pub use hooks::{BodyMode, EndpointState, Hook, Latencies, Responses};
pub(crate) use host::Host;
pub use imports::http_client::{FetchFailure, Fetching, HttpFetch, Incoming, Outgoing};
pub use inspect::{Inspection, MAX_COMPONENT_BYTES, inspect};
pub use instance::Instance;
pub use secrets::Secrets;
pub use state::{Exporter, FilterSpan, FilterState, HookNumbers, Statistics};

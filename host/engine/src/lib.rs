//! A filter as a function: compile, limits, plan, instance, hooks, imports. The only crate that uses
//! wasmtime; opens no socket.
//!
//! A component becomes [`CompiledComponent`] code (inspected, compiled, cached under a MAC), code with a
//! configuration and a [`Grant`] becomes a [`Filter`] (validated, configured, self-tested), and each worker
//! calls an [`Instance`] of it. A call that fails returns a [`CallFault`] and never panics; its instance is
//! dropped and the next call has a fresh one. [`FilterState`] holds what outlives instances.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]
#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "a test starts its clock somewhere, and waits in real time"
    )
)]
// Octets of strangers are read here: no sum wraps and no cast loses a part, unnoticed.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

mod abi;
mod admission;
mod authority;
mod breaker;
mod cache;
mod claims;
mod compile;
mod configure;
mod contract;
mod deadline;
mod engine;
mod epoch;
mod error;
mod exports;
mod fetch;
mod field;
mod filter;
mod function_bounds;
mod grant;
mod hooks;
mod host;
mod imports;
mod inspect;
mod inspection;
mod instance;
mod key;
mod limiter;
mod maker;
mod native;
mod passwords;
mod plan;
mod room;
mod running;
mod scope;
mod scope_check;
mod secrets;
mod selftest;
mod state;
mod trap;
mod world;

pub use admission::{Admission, check_admission};
pub use authority::{Authority, AuthorityGrowth, Declaration, DeclaredAccess, GrowthKind};
pub use breaker::BreakerStatus;
pub use cache::{Cache, CacheFolders};
pub use contract::Contract;
pub use engine::{Allocation, CompiledComponent, Engine};
pub use error::{CallFault, EngineError};
pub use fetch::{FetchFailure, FetchFuture, FetchRequest, FetchResponse, FetchTarget, HttpFetch};
pub use field::{GrantField, GrantPlace, UncoveredField};
pub use filter::{Filter, FilterOptions, MAX_WAITING, QueuePlace, WeakFilter};
pub use grant::{
    CallCacheGrant, CeilingExcess, CountersGrant, ExchangeStateGrant, Grant, GrantedFields,
    HttpClientGrant, Imports, KvGrant, Limits, LogGrant, MetricsGrant, MissingGrant,
    PasswordsGrant, QuotaClass, QuotaGrant, RateGrant, SecretsGrant, UnitSettings, check_ceilings,
    check_imports,
};
pub use hooks::{BodyMode, EndpointState, Hook, Latencies, Responses};
pub(crate) use host::Host;
pub use inspect::{InspectedComponent, KeptInspection, inspect};
pub use inspection::Inspection;
pub use instance::Instance;
pub use limiter::MAX_MEMORY_BYTES;
pub use room::RoomShortage;
pub use scope::StateScope;
pub use scope_check::{ScopeUnavailable, check_scopes};
pub use secrets::Secrets;
pub use state::{Exporter, FilterSpan, FilterState, FilterStatistics, HookNumbers};
pub use tamis_resources::plan::{Isolation, OnFailure};
pub use world::WorldMismatch;

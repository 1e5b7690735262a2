//! Run a filter with the real engine inside a unit test: no proxy, no socket.
//!
//! A [`Table`] is a YAML file in the folder of the filter: a configuration and cases, each a request (and perhaps a response), or steps, and the expected result. [`Table::run`] runs every case in the engine of the proxy, each with a fresh instance, so limits, checks of edits and the contract are those of production. Time stands still but for the `wait` of a step; `kv`, secrets and the answers to `http-client` are those of the case.
//!
//! ```yaml
//! config: { blocked: [bad/] }                       # for every case without one of its own
//! grant: { request: { readHeaders: [user-agent] } } # the spec of a Grant; default: everything
//! cases:
//!   - name: a blocked agent is refused
//!     request: { method: GET, path: /, authority: shop.example, headers: { user-agent: bad/1 } }
//!     expect: { answer: { status: 403 }, reason: agents.blocked }
//! ```
//!
//! `docs/reference/cases.md` describes the fields of a table; it is generated from the types here. Mistakes in a table are reported before a component is loaded, with their place and the way out. A case without an expectation cannot fail, and is refused.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

mod ask;
mod check;
mod compare;
mod effects;
mod event;
mod expect;
mod read;
mod report;
mod run;
mod seen;
mod shown;
mod step;
mod stub;
mod table;
mod text;
mod walk;

pub use read::TableError;
pub use report::{CaseReport, Report};
pub use table::Table;

//! Run a filter with the real engine inside a unit test: no proxy, no socket.
//!
//! A [`Table`] is YAML beside the filter: a configuration and cases, each a request (and perhaps a response) with what
//! the filter should make of it. [`Table::run`] puts every case through the engine of the proxy, a fresh instance each, so
//! limits, checks of edits and the contract itself are those of production.
//!
//! ```yaml
//! config: { blocked: [bad/] }                       # of every case that has none of its own
//! grant: { request: { readHeaders: [user-agent] } } # the spec of a Grant; everything when not said
//! cases:
//!   - name: a blocked agent is refused
//!     request: { method: GET, path: /, authority: shop.example, headers: { user-agent: bad/1 } }
//!     expect: { answer: { status: 403 }, reason: agents.blocked }
//! ```
//!
//! What a table holds is in `docs/reference/cases.md`, made from the types here. A mistake in it is found before a
//! component is looked at, with its place and the way out. A case that says nothing cannot fail, and is refused.

mod check;
mod report;
mod run;
mod table;

pub use report::{CaseReport, Report};
pub use table::{
    Body, Case, Expect, ExpectAnswer, ExpectConfigure, ExpectForward, ExpectRequest,
    ExpectResponse, Lines, Request, Response, Scheme, Table, TableError,
};

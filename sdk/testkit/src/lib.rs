//! Run a filter with the real engine inside a unit test: no proxy, no socket.
//!
//! A [`Table`] is a YAML file in the folder of the filter: a configuration and cases, each a request (and perhaps a response) and the expected result. [`Table::run`] runs every case in the engine of the proxy, each with a fresh instance, so limits, checks of edits and the contract are those of production.
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

mod report;
mod run;
mod table;

pub use report::{CaseReport, Report};
pub use table::{
    Body, Case, Expect, ExpectAnswer, ExpectConfigure, ExpectForward, ExpectRequest,
    ExpectResponse, Lines, Request, Response, Scheme, Table, TableError,
};

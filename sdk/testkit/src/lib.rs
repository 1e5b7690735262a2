//! Run a filter with the real engine inside a unit test: no proxy, no socket.
//!
//! A [`Table`] is YAML beside the filter: a configuration and cases, each a request (and perhaps a response) with what
//! the filter should make of it. [`Table::run`] puts every case through the engine of the proxy, a fresh instance each, so
//! limits, checks of edits and the contract itself are those of production.
//!
//! ```yaml
//! config: { blocked: [bad/] }          # of every case that has none of its own
//! grant: { reads: [user-agent] }       # everything when not said
//! cases:
//!   - name: a blocked agent is refused
//!     request: { method: GET, path: /, authority: shop.example, headers: { user-agent: bad/1 } }
//!     expect: { answer: { status: 403 }, reason: agents.blocked }
//! ```
//!
//! What `expect` may say; several may stand together:
//!
//! | field | means |
//! | --- | --- |
//! | `pass: true` | nothing was changed and nothing answered |
//! | `answer: { status, headers, body, bodyContains }` | the filter answered so |
//! | `reason: ID` | the reason it gave last |
//! | `request: { path, authority, headers, attributes, body }` | what goes to the upstream; `null` is absent |
//! | `response: { status, headers, body }` | what goes to the client, when the case has a `response` |
//! | `forward: { rule, backend }` | where a router sends it |
//! | `unmatched: true` | a router has no rule for it |
//! | `configure: { error: POINTER, contains }` | the configuration is refused at that place |
//! | `fault: KIND` | the call fails, with a word such as `trap` or `deadline` |

mod report;
mod run;
mod table;

pub use report::{CaseReport, Report};
pub use table::{Case, Expect, Table, TableError};

//! Refusals in the words of a proxy: the rule, who set it, and the way out.

use tamis_engine::{CallFault, EngineError, GrantPlace};
use tamis_resources::CONFIG_REMEDY;
use tamis_trust::{Refused, code};

/// A refusal of the proxy: a rule with its evidence, and the way out.
pub(crate) fn by_proxy(code: &'static str, rule: impl Into<String>, remedy: &str) -> Refused {
    Refused::new(code, rule, "the proxy", remedy)
}

/// The refusal of a manifest with a false claim about its component: who reviews a filter by its manifest must have
/// reviewed what runs.
#[must_use]
pub fn false_claim(claim: &str) -> Refused {
    Refused {
        code: code::CLAIMS.into(),
        rule: format!("the manifest must claim the imports and exports of its component: {claim}"),
        set_by: "the artifact format".to_owned(),
        remedy: "build the manifest from the component with `tamis filter sign`".to_owned(),
    }
}

/// The way out where a filter refused its configuration with an empty list.
const NO_REASON_REMEDY: &str = "correct the filter: for each error it must return the place and a message; in JavaScript an exception that nobody catches becomes an empty list: throw an object with `payload: [{ pointer, message }]`, or catch the exception and write it with `console.error`";

/// A refusal of the engine, with who set the rule and the way out.
#[must_use]
pub fn refusal(error: &EngineError) -> Refused {
    let (set_by, remedy) = match error {
        EngineError::Start(_) => ("the engine", "run the proxy where memory can be reserved"),
        EngineError::Invalid { .. } | EngineError::Compile(_) | EngineError::Instantiate { .. } => {
            ("the engine", "build the filter for this host, or pin another version")
        }
        EngineError::NoRoom { .. } => {
            ("the engine", "attach fewer filters there, or filters with fewer tables and memories")
        }
        EngineError::Grant(_) | EngineError::Field { .. } => {
            let remedy = error.grant_remedy(GrantPlace::Document).unwrap_or_default();
            return Refused::new(error.code(), error.to_string(), "its Grant", remedy);
        }
        EngineError::GrantFormat(_) => {
            ("the proxy", "correct its Grant; `tamis check` shows where")
        }
        EngineError::World(misfit) => {
            let set_by = format!("the Filter {}", misfit.filter);
            return Refused::new(error.code(), error.to_string(), set_by, misfit.remedy());
        }
        EngineError::Ceiling(_) => ("the proxy", "lower the value in its grant"),
        EngineError::Scope(_) => ("the proxy", "write `scope: proxy` in its grant"),
        EngineError::Interest { .. } => {
            ("the contract", "correct what its `configure` returns, or pin another version")
        }
        EngineError::Configure { .. } => ("the filter", CONFIG_REMEDY),
        EngineError::NoReason { .. } => ("the filter", NO_REASON_REMEDY),
        // The fault itself names the limit or the part of the grant.
        EngineError::SelfTest {
            fault: CallFault::Deadline { .. } | CallFault::Memory { .. } | CallFault::BadAnswer(_),
            ..
        } => ("its self-test", "correct that, or pin another version"),
        EngineError::SelfTest { .. } => {
            ("its self-test", "correct the filter, or pin another version")
        }
    };
    Refused::new(error.code(), error.to_string(), set_by, remedy)
}

//! A refusal: made once, by the rule that refuses, and carried whole to the status, the report, the API and the terminal.
//!
//! It is text, and decides nothing: the codes that a crate uses are constants of that crate.
//!
//! ```
//! use tamis_refused::Refused;
//! let refused = Refused::new("pin.missing", "it has no pin", "the lock", "write one with `tamis pin`");
//! assert_eq!(refused.sentence(), "it has no pin (set by the lock); write one with `tamis pin`");
//! ```

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why something may not happen or run, unchanged since it was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
#[error("refused ({code}): {rule}; set by {set_by}; to satisfy it: {remedy}")]
pub struct Refused {
    /// Stable name of the rule, like `trust.threshold`.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub code: Cow<'static, str>,
    /// The rule, and the evidence.
    #[serde(default, alias = "reason")]
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub rule: String,
    /// Who set the rule; empty when unknown.
    #[serde(default, alias = "set_by")]
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub set_by: String,
    /// What would satisfy it; empty when unknown.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub remedy: String,
}

impl Refused {
    /// A refusal with all of its parts.
    pub fn new(
        code: impl Into<Cow<'static, str>>,
        rule: impl Into<String>,
        set_by: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (code, rule) = (code.into(), rule.into());
        Self { code, rule, set_by: set_by.into(), remedy: remedy.into() }
    }

    /// In one sentence without its code: the rule, its owner, the way out.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { rule, set_by, remedy, .. } = self;
        let mut text = rule.clone();
        if !set_by.is_empty() {
            // A rule may end with the lines of a document.
            let space = if rule.contains('\n') { '\n' } else { ' ' };
            let _ = write!(text, "{space}(set by {set_by})");
        }
        if !remedy.is_empty() {
            let _ = write!(text, "; {remedy}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_are_unknown_are_not_in_the_sentence() {
        for (rule, set_by, remedy, sentence) in [
            ("a", "b", "c", "a (set by b); c"),
            ("a", "", "c", "a; c"),
            ("a", "b", "", "a (set by b)"),
            ("a", "", "", "a"),
            ("a\n1 | x", "b", "c", "a\n1 | x\n(set by b); c"),
        ] {
            assert_eq!(Refused::new("x.y", rule, set_by, remedy).sentence(), sentence);
        }
    }

    #[test]
    fn what_was_written_is_read_whole_in_every_spelling() {
        let refused = Refused::new("x.y", "a", "b", "c");
        let text = serde_json::to_string(&refused).unwrap();
        assert_eq!(text, r#"{"code":"x.y","rule":"a","setBy":"b","remedy":"c"}"#);
        for stored in [&text, r#"{"code":"x.y","reason":"a","set_by":"b","remedy":"c"}"#] {
            assert_eq!(serde_json::from_str::<Refused>(stored).unwrap(), refused, "{stored}");
        }
        let short: Refused = serde_json::from_str(r#"{"code":"x.y"}"#).unwrap();
        assert_eq!(short, Refused::new("x.y", "", "", ""));
    }
}

//! A refusal: made once, by the rule that refuses, and carried whole to the status, the report, the API and the terminal.
//!
//! It is text, and decides nothing: the codes that a crate uses are constants of that crate.
//!
//! ```
//! use tamis_refused::Refused;
//! let refused = Refused::new("pin.missing", "it has no pin", "the lock", "write one with `tamis pin`");
//! assert_eq!(refused.sentence(), "it has no pin (rule of the lock); write one with `tamis pin`");
//! ```

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

/// Why something may not happen or run, unchanged since it was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", from = "WrittenRefusal")]
#[error("refused ({code}): {rule}; set by {set_by}; to satisfy it: {remedy}")]
pub struct Refused {
    /// Stable name of the rule, like `trust.threshold`.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub code: Cow<'static, str>,
    /// The rule, and the evidence.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub rule: String,
    /// Who set the rule; empty when unknown.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub set_by: String,
    /// What would satisfy it; empty when unknown.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub remedy: String,
}

/// A refusal as this release and the one before it write it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenRefusal {
    code: Cow<'static, str>,
    rule: Option<String>,
    set_by: Option<String>,
    #[serde(default)]
    remedy: String,
    /// The rule, as plans of the release before have it.
    reason: Option<String>,
    /// Who set the rule, as reports of the release before have it.
    #[serde(rename = "set_by")]
    older_set_by: Option<String>,
}

impl From<WrittenRefusal> for Refused {
    fn from(written: WrittenRefusal) -> Self {
        let WrittenRefusal { code, rule, set_by, remedy, reason, older_set_by } = written;
        let rule = rule.or(reason).unwrap_or_default();
        Self { code, rule, set_by: set_by.or(older_set_by).unwrap_or_default(), remedy }
    }
}

/// Writes a refusal of a plan so that proxies of the release before read it too: with the rule under both names. A
/// registry and its proxies are not upgraded at once, and a plan without `reason` would not be read at all. The older name may
/// go in the release after this one.
///
/// # Errors
/// Those of the serializer.
pub fn for_both_releases<S: Serializer>(refused: &Refused, to: S) -> Result<S::Ok, S::Error> {
    let Refused { code, rule, set_by, remedy } = refused;
    let mut out = to.serialize_struct("Refused", 5)?;
    for (name, text) in
        [("code", &**code), ("rule", rule), ("reason", rule), ("setBy", set_by), ("remedy", remedy)]
    {
        out.serialize_field(name, text)?;
    }
    out.end()
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
        // A rule that names its owner itself needs no second mention.
        if !set_by.is_empty() && !rule.contains(set_by.as_str()) {
            // A rule may end with the lines of a document.
            let space = if rule.contains('\n') { '\n' } else { ' ' };
            let _ = write!(text, "{space}(rule of {set_by})");
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
            ("a", "b", "c", "a (rule of b); c"),
            ("a", "", "c", "a; c"),
            ("a", "b", "", "a (rule of b)"),
            ("a", "", "", "a"),
            ("a\n1 | x", "b", "c", "a\n1 | x\n(rule of b); c"),
            ("its Grant lacks a", "its Grant", "c", "its Grant lacks a; c"),
        ] {
            assert_eq!(Refused::new("x.y", rule, set_by, remedy).sentence(), sentence);
        }
    }

    #[test]
    fn a_refusal_in_a_plan_is_read_by_the_release_before() {
        #[derive(Serialize)]
        struct Plan {
            #[serde(serialize_with = "for_both_releases")]
            refused: Refused,
        }
        /// What the release before reads.
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct RefusedPlan {
            code: String,
            reason: String,
            #[serde(default)]
            set_by: String,
            #[serde(default)]
            remedy: String,
        }
        let refused = Refused::new("x.y", "a", "b", "c");
        let written = serde_json::to_value(Plan { refused: refused.clone() }).unwrap();
        let [code, reason, set_by, remedy] = ["x.y", "a", "b", "c"].map(str::to_owned);
        let older: RefusedPlan = serde_json::from_value(written["refused"].clone()).unwrap();
        assert_eq!(older, RefusedPlan { code, reason, set_by, remedy });
        let own: Refused = serde_json::from_value(written["refused"].clone()).unwrap();
        assert_eq!(own, refused);
    }

    #[test]
    fn what_was_written_is_read_whole_in_every_spelling() {
        let refused = Refused::new("x.y", "a", "b", "c");
        let text = serde_json::to_string(&refused).unwrap();
        assert_eq!(text, r#"{"code":"x.y","rule":"a","setBy":"b","remedy":"c"}"#);
        for stored in [
            &text,
            r#"{"code":"x.y","reason":"a","set_by":"b","remedy":"c"}"#,
            r#"{"code":"x.y","reason":"a","setBy":"b","remedy":"c"}"#,
            r#"{"code":"x.y","rule":"a","set_by":"b","remedy":"c"}"#,
            r#"{"code":"x.y","rule":"a","reason":"a","setBy":"b","set_by":"b","remedy":"c"}"#,
        ] {
            assert_eq!(serde_json::from_str::<Refused>(stored).unwrap(), refused, "{stored}");
        }
        let short: Refused = serde_json::from_str(r#"{"code":"x.y"}"#).unwrap();
        assert_eq!(short, Refused::new("x.y", "", "", ""));
    }
}

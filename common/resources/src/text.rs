//! A YAML text that is not a document of a kind, such as a table of cases, read and checked in the same
//! way.

use serde_json::Value as Json;

use crate::check::{Checker, suggestion};
use crate::problem::Problem;
use crate::source::SourceText;
use crate::span::TextSpan;
use crate::tree::{self, YamlNode};

const MAX_BYTES: usize = 4 * 1024 * 1024;

/// A text with one value, checked against a schema; every part knows its place.
#[derive(Debug, Clone)]
pub struct CheckedText {
    source: String,
    text: SourceText,
    tree: YamlNode,
}

impl CheckedText {
    /// Reads `text` and checks it against a JSON Schema (the subset that [`schemas`](crate::schemas) use).
    /// `source_name` is its name in problems. At most 4 MiB and 64 levels; no anchors, aliases and tags.
    ///
    /// # Errors
    /// All its problems, each with its place.
    pub fn read(source_name: &str, text: &str, schema: &Json) -> Result<Self, Vec<Problem>> {
        let whole = SourceText::from(if text.len() > MAX_BYTES { "" } else { text });
        let alone = |code: &str, message: String| {
            vec![Problem::new(code, source_name, &whole, TextSpan::default(), message)]
        };
        if text.len() > MAX_BYTES {
            let message = format!("{source_name} is larger than {MAX_BYTES} bytes; split it");
            return Err(alone("yaml.size", message));
        }
        let (mut trees, problems) = tree::read(source_name, &whole);
        if !problems.is_empty() {
            return Err(problems);
        }
        let tree = match (trees.pop(), trees.len()) {
            (Some(tree), 0) => tree,
            (None, _) => return Err(alone("yaml.empty", format!("{source_name} is empty"))),
            (Some(_), _) => {
                let message =
                    format!("{source_name} contains several documents; write one per file");
                return Err(alone("yaml.documents", message));
            }
        };
        let mut checker = Checker::new(source_name, &whole, problems);
        checker.check(&tree, schema, "");
        if checker.faults() > 0 {
            return Err(checker.into_problems());
        }
        Ok(Self { source: source_name.to_owned(), text: whole, tree })
    }

    /// Its value without places.
    #[must_use]
    pub fn to_json(&self) -> Json {
        self.tree.to_json()
    }

    /// A problem at the deepest existing part of `pointer` (`/cases/0/expect`), with the way out.
    #[must_use]
    pub fn problem(
        &self,
        code: &str,
        pointer: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Problem {
        let span = self.tree.place(pointer);
        Problem::new(code, &self.source, &self.text, span, message).help(help)
    }
}

/// `did you mean …?`, or the list of choices.
#[must_use]
pub fn suggest(word: &str, known: &[&str]) -> String {
    suggestion(word, known).unwrap_or_else(|| format!("known are {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_place_and_a_way_out() {
        let schema = serde_json::json!({
            "type": "object", "additionalProperties": false, "required": ["cases"],
            "properties": { "cases": { "type": "array", "items": { "type": "string" } } },
        });
        for (text, line, says) in [
            ("case: []\n", 1, "has no field `case`"),
            ("cases: [a, 1]\n", 1, "must be text"),
            ("cases:\n- a\n- b: 1\n", 3, "must be text"),
            ("cases: [\n", 2, "not YAML"),
            ("", 1, "is empty"),
            ("a: 1\n---\nb: 1\n", 1, "several documents"),
        ] {
            let problems = CheckedText::read("t.yaml", text, &schema).unwrap_err();
            let problem = &problems[0];
            assert!(problem.message.contains(says), "{text}: {problem}");
            assert_eq!(problem.place.line, line, "{text}: {problem}");
        }
        let read = CheckedText::read("t.yaml", "cases:\n- a\n", &schema).unwrap();
        let problem = read.problem("case.x", "/cases/0", "no", "yes");
        assert_eq!((problem.place.line, problem.help.as_deref()), (2, Some("yes")));
        assert_eq!(suggest("pas", &["pass", "answer"]), "did you mean `pass`?");
    }
}

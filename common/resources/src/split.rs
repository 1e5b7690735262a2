//! Splits a text into its documents, each with its own text.

use crate::document::{Document, parse};

/// The lines of a text, each with its end: a line feed, a carriage return, or both (YAML 1.2.2 §5.4).
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = match rest.find(['\r', '\n']) {
            Some(at) if rest.get(at..).is_some_and(|it| it.starts_with("\r\n")) => {
                at.saturating_add(2)
            }
            Some(at) => at.saturating_add(1),
            None => rest.len(),
        };
        let (line, after) = rest.split_at_checked(end)?;
        rest = after;
        (!line.is_empty()).then_some(line)
    })
}

/// Whether a line ends a document (YAML 1.2.2 §9.1.2): such a line always does, whatever it is inside of.
#[must_use]
pub fn ends_document(line: &str) -> bool {
    after_mark(line).is_some()
}

fn after_mark(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("---").or_else(|| line.strip_prefix("..."))?;
    (rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])).then_some(rest)
}

/// Splits a text into its documents, each with the number of lines before it.
#[must_use]
pub fn parts(text: &str) -> Vec<(usize, String)> {
    let mut parts = vec![(0, String::new())];
    for (at, line) in lines(text).enumerate() {
        if let Some(rest) = after_mark(line) {
            // What follows the dashes belongs to the next document.
            let rest = rest.trim();
            let empty = rest.is_empty() || rest.starts_with('#');
            parts.push((if empty { at.saturating_add(1) } else { at }, String::new()));
            if empty {
                continue;
            }
        }
        if let Some((_, part)) = parts.last_mut() {
            part.push_str(line);
        }
    }
    parts
}

/// The documents of a text, each with its own text and its place in the whole; invalid ones are left out.
#[must_use]
pub fn texts(source: &str, text: &str) -> Vec<(Document, String)> {
    let documents = |(lines_before, part): (usize, String)| {
        let (documents, problems) = parse(source, &part);
        let is_whole = documents.len() == 1 && problems.is_empty();
        let own = move |one: Document| {
            let text = if is_whole { part.clone() } else { one.text().to_owned() };
            (one.after_lines(lines_before), text)
        };
        documents.into_iter().map(own).collect::<Vec<_>>()
    };
    parts(text).into_iter().flat_map(documents).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_document_has_its_own_text_and_its_line_in_the_whole() {
        let one = |name: &str| {
            format!(
                "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name} }}\nspec:\n  ports: [{{ port: 80, protocol: http }}]\n"
            )
        };
        let text = format!("# first\n{}---\n{}...\n--- # c\n{}", one("a"), one("b"), one("c"));
        let found = texts("a.yaml", &text);
        let lines: Vec<usize> =
            found.iter().map(|(document, _)| document.place("/kind", "").line).collect();
        assert_eq!(lines, [2, 8, 15]);
        for ((document, text), line) in found.iter().zip(lines) {
            let whole = parse("a.yaml", &text.to_owned()).0.len();
            assert_eq!((whole, document.place("/kind", "").line), (1, line));
        }
        assert!(texts("a.yaml", "a: [").is_empty());
        // Every line end of YAML, also where they are mixed.
        for end in ["\r", "\r\n"] {
            let found = texts("a.yaml", &text.replace('\n', end));
            let lines: Vec<usize> = found.iter().map(|(document, _)| document.line()).collect();
            assert_eq!(lines, [2, 8, 15], "{end:?}");
        }
        let mixed = text.replacen("---\n", "---\r", 1).replacen("]\n", "]\r", 1);
        assert_eq!(texts("a.yaml", &mixed).len(), 3);
    }

    #[test]
    fn a_line_ends_as_yaml_says_and_no_octet_is_lost() {
        let rows: [(&str, &[&str]); 5] = [
            ("", &[]),
            ("a", &["a"]),
            ("a\nb\r\nc\rd", &["a\n", "b\r\n", "c\r", "d"]),
            ("\r\r\n\n\r", &["\r", "\r\n", "\n", "\r"]),
            ("a\u{85}b\u{2028}c\n", &["a\u{85}b\u{2028}c\n"]),
        ];
        for (text, expected) in rows {
            assert_eq!(lines(text).collect::<Vec<_>>(), expected);
        }
        for (line, ends) in [
            ("---\r", true),
            ("...", true),
            ("--- a\n", true),
            ("----\n", false),
            (" ---\n", false),
        ] {
            assert_eq!(ends_document(line), ends, "{line:?}");
        }
    }
}

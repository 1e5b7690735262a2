//! Splits a text into its documents, each with its own text.

use crate::document::{Document, parse};

/// The parts of a text that contain a document each, and the number of lines before each.
///
/// A line that begins with `---` or `...` always ends a document (YAML 1.2.2 §9.1.2), whatever it is inside
/// of.
#[must_use]
pub fn parts(text: &str) -> Vec<(usize, String)> {
    let mut parts = vec![(0, String::new())];
    for (at, line) in text.split_inclusive('\n').enumerate() {
        let rest = line.strip_prefix("---").or_else(|| line.strip_prefix("..."));
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])) {
            // What follows the dashes belongs to the next document.
            let rest = rest.unwrap_or_default().trim();
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

/// The documents of a text, each with its own text and its place in the whole; invalid parts are left out.
#[must_use]
pub fn texts(source: &str, text: &str) -> Vec<(Document, String)> {
    let document = |(lines_before, part): (usize, String)| {
        let (mut one, _) = parse(source, &part);
        Some((one.pop()?.after_lines(lines_before), part))
    };
    parts(text).into_iter().filter_map(document).collect()
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
    }
}

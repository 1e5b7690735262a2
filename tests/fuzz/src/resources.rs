//! Resource documents on arbitrary text.

use tamis_resources::{SourcePlace, parse};

/// Parsing ends, every problem has a message and a place in the text, and a text without problems has none
/// when parsed again.
pub fn resources(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (documents, problems) = parse("fuzz.yaml", text);
    for problem in &problems {
        assert!(!problem.message.is_empty() && !problem.code.is_empty());
        for place in std::iter::once(&problem.place).chain(&problem.also) {
            in_text(place, text);
        }
    }
    let again = parse("fuzz.yaml", text);
    assert_eq!((documents.len(), problems.len()), (again.0.len(), again.1.len()));
}

fn in_text(place: &SourcePlace, text: &str) {
    let octets = text.get(place.start..place.end);
    assert!(octets.is_some(), "{place:?} is no piece of the text");
    // A line ends with LF, CRLF or CR (YAML 1.2.2 §5.4).
    let before = text.get(..place.start).unwrap_or_default();
    let ends = before.matches(['\r', '\n']).count() - before.matches("\r\n").count();
    assert_eq!(place.line, ends + 1, "{place:?}");
    assert!(place.column >= 1);
}

//! From the sources of an apply to its documents: all that follows from their text alone.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use tamis_api::{ApiProblem, DocumentProblem, SourceText};
use tamis_director::{DocumentRecord, MAX_TEXT_BYTES, ParsedOnce};
use tamis_resources::{Document, SourcePlace, parse, parts};
use tamis_trust::Digest;

use crate::plane::problem::{bad, documents, problem};
use crate::plane::request_bounds::{has_few, has_short_name};

/// Problems after which no further source is read. Nobody reads more of them in one answer.
const MAX_PROBLEMS: usize = 1_000;
const LOCK: &str = "FiltersLock";
/// The code for two documents of one name.
const TWICE: &str = "document.twice";

/// The documents of a request, by `Kind/namespace/name`: all that follows from its text alone.
#[derive(Default)]
pub(crate) struct ParsedDocuments(pub(crate) BTreeMap<String, DocumentRecord>);

/// Reads the sources of a request. It may take seconds, so `check_caller` is asked before each of them.
pub(crate) fn parsed(
    sources: &[SourceText],
    check_caller: &dyn Fn() -> Result<(), ApiProblem>,
) -> Result<ParsedDocuments, ApiProblem> {
    has_few(sources.len())?;
    // Before anything is parsed, which costs much more than to count.
    sources.iter().try_for_each(are_short)?;
    sources.iter().try_for_each(|source| has_short_name(&source.source))?;
    let mut found: BTreeMap<String, (DocumentRecord, SourcePlace)> = BTreeMap::new();
    let (mut problems, mut twice) = (Vec::new(), Vec::new());
    for source in sources {
        check_caller()?;
        let (parsed, wrong) = parse(&source.source, &source.text);
        if !wrong.is_empty() {
            problems.extend(wrong);
            if problems.len() >= MAX_PROBLEMS {
                problems.truncate(MAX_PROBLEMS);
                break;
            }
            continue;
        }
        for (key, one, place) in split(&source.source, &source.text, &parsed)? {
            match found.entry(key) {
                Entry::Vacant(free) => drop(free.insert((one, place))),
                Entry::Occupied(_) if twice.len() >= MAX_PROBLEMS => {}
                Entry::Occupied(taken) => {
                    twice.push(conflict(taken.key(), &taken.get().1, &place));
                    twice.push(conflict(taken.key(), &place, &taken.get().1));
                }
            }
        }
    }
    if !problems.is_empty() {
        return Err(documents(&problems));
    }
    if let Some(first) = twice.first() {
        let title = first.message.clone();
        let remedy = Some("keep one of them; nothing was changed".to_owned());
        return Err(ApiProblem { remedy, problems: twice, ..problem(409, TWICE, title) });
    }
    Ok(ParsedDocuments(found.into_iter().map(|(key, (one, _))| (key, one)).collect()))
}

/// Whether each document of a source is as short as a document may be.
fn are_short(source: &SourceText) -> Result<(), ApiProblem> {
    let long = parts(&source.text).into_iter().find(|(_, part)| part.len() > MAX_TEXT_BYTES);
    let Some((lines_before, part)) = long else { return Ok(()) };
    let line = lines_before.saturating_add(1);
    let title = format!(
        "the document at {}:{line} has {} bytes, and a document has at most {MAX_TEXT_BYTES}",
        source.source,
        part.len()
    );
    Err(bad(title, "split it"))
}

/// Two documents of one kind, namespace and name: neither takes precedence.
fn conflict(key: &str, place: &SourcePlace, other: &SourcePlace) -> DocumentProblem {
    DocumentProblem {
        code: TWICE.to_owned(),
        message: format!(
            "{key} exists twice: at {}:{} and at {}:{}",
            place.source, place.line, other.source, other.line
        ),
        help: Some("keep one of them".to_owned()),
        source: place.source.clone(),
        line: place.line,
        column: place.column,
    }
}

/// Each document of a text with its own text.
///
/// A line that begins with `---` or `...` always ends a document (YAML 1.2.2 §9.1.2), whatever it is inside
/// of.
fn split(
    source: &str,
    text: &str,
    parsed: &[Document],
) -> Result<Vec<(String, DocumentRecord, SourcePlace)>, ApiProblem> {
    let mut texts = Vec::new();
    for (lines_before, part) in parts(text) {
        let (mut one, wrong) = parse(source, &part);
        match (one.pop(), one.is_empty() && wrong.is_empty()) {
            (Some(document), true) => {
                texts.push((document.after_lines(lines_before), part, lines_before));
            }
            (None, true) => {}
            _ => texts.clear(),
        }
    }
    let same = texts.len() == parsed.len()
        && texts.iter().zip(parsed).all(|((one, ..), other)| {
            (one.kind(), one.key(), &one.resource) == (other.kind(), other.key(), &other.resource)
        });
    if !same {
        return Err(bad(
            format!("the documents of {source} cannot be separated"),
            "put a line of three dashes between them, and use no `%` directives",
        ));
    }
    let documents = texts.into_iter().map(|(document, text, lines_before)| {
        if document.kind() == LOCK {
            return Err(bad(
                format!("{source} is a lock, which cannot be applied"),
                "pin its filters with `tamis pin`, so that each pin has its own entry",
            ));
        }
        let key = format!("{}/{}", document.kind(), document.key());
        let digest = Digest::of(text.as_bytes());
        let (source, place) = (source.to_owned(), document.place("/kind", "here"));
        let parsed = ParsedOnce::default();
        let one = DocumentRecord { key: key.clone(), source, lines_before, digest, text, parsed };
        Ok((key, one, place))
    });
    documents.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_api::ApplyRequest;

    const SERVICE: &str = "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: NAME, namespace: shop }\nspec:\n  ports: [{ port: 80, protocol: http }]\n";

    fn service(name: &str) -> String {
        SERVICE.replace("NAME", name)
    }

    fn request(text: String) -> ApplyRequest {
        let sources = vec![SourceText { source: "shop.yaml".to_owned(), text }];
        ApplyRequest { sources, ..ApplyRequest::default() }
    }

    #[test]
    fn a_document_that_is_too_long_is_refused_before_anything_is_parsed() {
        let long = format!("# {}\n", "x".repeat(MAX_TEXT_BYTES));
        for (text, place) in [
            (long.clone(), Some("shop.yaml:1 ")),
            (format!("{}---\n{long}", service("a")), Some("shop.yaml:7 ")),
            (format!("what: [is no YAML\n---\n{long}"), Some("shop.yaml:3 ")),
            (service("a"), None),
        ] {
            let problem = parsed(&request(text).sources, &|| Ok(())).err();
            let title = problem.map(|one| (one.status, one.title));
            assert_eq!(title.is_some(), place.is_some(), "{title:?}");
            assert!(
                title.is_none_or(|(status, title)| status == 400 && title.contains(place.unwrap()))
            );
        }
    }

    #[test]
    fn problems_of_a_request_have_a_bound_whatever_its_names_and_their_number() {
        let unknown =
            |number: usize| (0..number).map(|it| format!("  k{it}: 1\n")).collect::<String>();
        let one = |source: String, text: String| SourceText { source, text };
        let faulty = |number: usize| service("a") + &unknown(number);
        let many = (0..300).map(|it| one(format!("{it}.yaml"), faulty(10))).collect();
        let nested = format!(
            "{}  {}:\n{}",
            service("a"),
            "n".repeat(10_000),
            unknown(1_500).replace("  k", "    k")
        );
        let (fits, exceeds) = ("n".repeat(4_095), "n".repeat(4_096));
        for (what, sources, most) in [
            ("faults of a document", vec![one("a".into(), faulty(4_000))], 1_000),
            ("faults of many sources", many, 1_000),
            ("a long key above many faults", vec![one("a".into(), nested)], 1_000),
            ("a long name", vec![one(fits, faulty(4_000))], 1_000),
            ("a longer name", vec![one(exceeds.clone(), faulty(4_000))], 0),
            ("a longer name of a sound source", vec![one(exceeds, service("a"))], 0),
        ] {
            let problem = parsed(&sources, &|| Ok(())).err().unwrap();
            let octets = serde_json::to_vec(&problem).unwrap().len();
            assert!(octets < 10 << 20, "{what}: {octets} bytes");
            assert!(problem.problems.len() <= most, "{what}: {}", problem.problems.len());
            assert!(problem.status == 422 || most == 0 && problem.status == 400, "{what}");
        }
    }

    #[test]
    fn problems_come_with_the_place_in_the_whole_source() {
        let text = format!("{}---\n{}", service("a"), service("b").replace("ports", "prots"));
        let problem = parsed(&request(text).sources, &|| Ok(())).err().unwrap();
        assert_eq!((problem.status, problem.problems[0].line), (422, 11));
        assert_eq!(problem.problems[0].help.as_deref(), Some("did you mean `ports`?"));
    }

    #[test]
    fn two_documents_of_one_name_are_a_conflict_with_both_places() {
        let one = |source: &str, text: String| SourceText { source: source.to_owned(), text };
        let both = format!("{}---\n{}", service("a"), service("a"));
        let rows = [
            (vec![one("a.yaml", both.clone())], vec![("a.yaml", 1), ("a.yaml", 7)]),
            (
                vec![
                    one("a.yaml", service("a")),
                    one("b.yaml", service("b") + "---\n" + &service("a")),
                ],
                vec![("a.yaml", 1), ("b.yaml", 7)],
            ),
            (
                vec![one("b.yaml", service("a")), one("a.yaml", service("a"))],
                vec![("b.yaml", 1), ("a.yaml", 1)],
            ),
        ];
        for (sources, places) in rows {
            let request = ApplyRequest { sources, ..ApplyRequest::default() };
            let problem = parsed(&request.sources, &|| Ok(())).err().unwrap();
            assert_eq!((problem.status, problem.code.as_str()), (409, "document.twice"));
            assert!(problem.title.starts_with("Service/shop/a exists twice"), "{problem:?}");
            let told = problem.problems.iter().map(|one| (one.source.as_str(), one.line));
            assert_eq!(told.collect::<Vec<_>>(), places);
        }
    }
}

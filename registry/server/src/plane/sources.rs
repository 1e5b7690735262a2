//! From the sources of an apply to the records of the journal.

use std::collections::{BTreeMap, BTreeSet};

use std::collections::btree_map::Entry;

use tamis_api::{ApiProblem, ApplyRequest, DocumentProblem, SourceText};
use tamis_director::{ApplyRecord, DocumentRecord, FileRecord, MAX_TEXT_BYTES, ParsedOnce, State};
use tamis_resources::{Document, SecretKind, SourcePlace, parse, parts, secret_of};
use tamis_trust::Digest;

use crate::plane::problem::{bad, documents, problem};

/// The most sources of one request, and the most files.
const MAX_SOURCES: usize = 10_000;
/// Bytes of the name of a source, and of the path of a file: longer than any path that a system opens (`PATH_MAX`, less its
/// end), since each problem and each document repeats it.
const MAX_NAME_BYTES: usize = 4_095;
/// Problems after which no further source is read. Nobody reads more of them in one answer.
const MAX_PROBLEMS: usize = 1_000;
const LOCK: &str = "FiltersLock";
/// The code for two documents of one name.
const TWICE: &str = "document.twice";

/// What the body of an apply changes, for a caller with all rights.
///
/// # Errors
/// [`ApiProblem`] that names the place of the fault.
pub fn read_apply(body: &[u8], state: &State) -> Result<ApplyRecord, ApiProblem> {
    let request: ApplyRequest = serde_json::from_slice(body).map_err(|error| {
        let remedy = "/v1/openapi.json describes it";
        bad(format!("the body does not have the expected form: {error}"), remedy)
    })?;
    read(&request, &parsed(&request.sources, &|| Ok(()))?, state, &|_| true)
        .map(|read| read.applied)
}

/// The documents of a request, by `Kind/namespace/name`: all that follows from its text alone.
pub(crate) struct ParsedDocuments(BTreeMap<String, DocumentRecord>);

/// The content of a request.
pub(crate) struct ReadDocuments {
    /// What changes.
    pub(crate) applied: ApplyRecord,
    /// The whole request, including what would not change: whether it would is not for everybody to know.
    pub(crate) asked: ApplyRecord,
}

/// Reads the sources of a request. It may take seconds, so `check_caller` is asked before each of them.
pub(crate) fn parsed(
    sources: &[SourceText],
    check_caller: &dyn Fn() -> Result<(), ApiProblem>,
) -> Result<ParsedDocuments, ApiProblem> {
    if sources.len() > MAX_SOURCES {
        return Err(too_many());
    }
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

fn too_many() -> ApiProblem {
    let title = format!("more than {MAX_SOURCES} sources or files in one request");
    bad(title, "apply them in parts")
}

fn has_short_name(name: &str) -> Result<(), ApiProblem> {
    if name.len() <= MAX_NAME_BYTES {
        return Ok(());
    }
    let beginning: String = name.chars().filter(|one| !one.is_control()).take(60).collect();
    let title = format!(
        "the name `{beginning}…` of a source or a file has {} bytes, and at most {MAX_NAME_BYTES} are allowed",
        name.len()
    );
    Err(bad(title, "use the path of the file in its folder"))
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

/// What to apply and to remove, without what is in force already. Pruning removes the documents that `may`
/// be removed, by their `Kind/namespace/name`, and the files that only they named.
pub(crate) fn read(
    request: &ApplyRequest,
    ParsedDocuments(found): &ParsedDocuments,
    state: &State,
    may: &dyn Fn(&str) -> bool,
) -> Result<ReadDocuments, ApiProblem> {
    if request.files.len() > MAX_SOURCES {
        return Err(too_many());
    }
    let removed = removed(request, state, found, may);
    let in_force = state.documents();
    let same = |one: &DocumentRecord| {
        in_force.get(&one.key).is_some_and(|there| there.digest == one.digest)
    };
    let asked = ApplyRecord {
        documents: found.values().cloned().collect(),
        files: files(request)?,
        removed,
        removed_files: Vec::new(),
    };
    let mut applied = asked.clone();
    applied.documents.retain(|one| !same(one));
    let known = state.files();
    applied.files.retain(|one| known.get(&one.path).is_none_or(|there| *there.text != *one.text));
    Ok(ReadDocuments { applied, asked })
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

fn removed(
    request: &ApplyRequest,
    state: &State,
    found: &BTreeMap<String, DocumentRecord>,
    may: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let in_force = state.documents();
    let mut removed: BTreeSet<&String> =
        request.removed.iter().filter(|key| in_force.contains_key(*key)).collect();
    if request.prune {
        let others = in_force.keys().filter(|key| !found.contains_key(*key));
        removed.extend(others.filter(|key| may(key)));
    }
    removed.into_iter().filter(|key| !found.contains_key(*key)).cloned().collect()
}

fn files(request: &ApplyRequest) -> Result<Vec<FileRecord>, ApiProblem> {
    let mut named = BTreeSet::new();
    let mut files = Vec::new();
    for file in &request.files {
        has_short_name(&file.path)?;
        if file.path.is_empty() || file.path.chars().any(char::is_control) {
            return Err(bad("a file has no usable path", "use the path that documents name"));
        }
        if let Some(secret) = secret_of(&file.text) {
            let title = format!(
                "file {} contains {}: what is applied stays in the journal for ever, where others can read it",
                file.path,
                secret.name()
            );
            let way = match secret {
                SecretKind::SymmetricKey => {
                    "sign with ES256 or EdDSA and apply the public keys; or serve the folder itself with \
                     `tamis proxy --documents`, which leaves its files where they are"
                }
                SecretKind::PrivateKey | SecretKind::Word => {
                    "apply the public key; keep the private one where it signs"
                }
            };
            return Err(bad(title, way));
        }
        if !named.insert(file.path.as_str()) {
            return Err(bad(format!("file {} is listed twice", file.path), "keep one of them"));
        }
        files.push(FileRecord { path: file.path.clone(), text: file.text.clone() });
    }
    Ok(files)
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

    const SERVICE: &str = "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: NAME, namespace: shop }\nspec:\n  ports: [{ port: 80, protocol: http }]\n";

    fn service(name: &str) -> String {
        SERVICE.replace("NAME", name)
    }

    fn request(text: String) -> ApplyRequest {
        let sources = vec![SourceText { source: "shop.yaml".to_owned(), text }];
        ApplyRequest { sources, ..ApplyRequest::default() }
    }

    fn read(
        request: &ApplyRequest,
        state: &State,
        may: &dyn Fn(&str) -> bool,
    ) -> Result<ReadDocuments, ApiProblem> {
        super::read(request, &parsed(&request.sources, &|| Ok(()))?, state, may)
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
        let kinds = |files: Vec<SourceText>| {
            super::read(
                &ApplyRequest {
                    files: files
                        .into_iter()
                        .map(|it| tamis_api::FileText { path: it.source, text: it.text })
                        .collect(),
                    ..ApplyRequest::default()
                },
                &ParsedDocuments(BTreeMap::new()),
                &State::default(),
                &|_| true,
            )
        };
        assert!(kinds(vec![one("n".repeat(4_095), "x".into())]).is_ok());
        assert!(kinds(vec![one("n".repeat(4_096), "x".into())]).is_err());
    }

    fn in_force(applied: &ApplyRecord) -> State {
        let mut state = State::default();
        let body = serde_json::to_value(applied).unwrap();
        state.apply(1, 1, "ada", "applied", &body);
        assert_eq!(state.faults().1, 0, "{:?}", state.faults());
        state
    }

    #[test]
    fn each_document_is_recorded_with_its_own_text() {
        let text =
            format!("# shop\n{}---\n{}...\n--- # b\n{}", service("a"), service("b"), service("c"));
        let applied = read(&request(text), &State::default(), &|_| true).unwrap().applied;
        let keys: Vec<&str> = applied.documents.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(keys, ["Service/shop/a", "Service/shop/b", "Service/shop/c"]);
        assert_eq!(applied.documents[1].text, service("b"));
        assert_eq!(in_force(&applied).documents().len(), 3);
    }

    #[test]
    fn what_is_in_force_already_is_left_out_and_prune_takes_out_the_rest() {
        let text = format!("{}---\n{}", service("a"), service("b"));
        let state =
            in_force(&read(&request(text.clone()), &State::default(), &|_| true).unwrap().applied);
        let again = read(&request(text), &state, &|_| true).unwrap();
        assert_eq!(again.applied, ApplyRecord::default());
        assert_eq!(again.asked.documents.len(), 2);
        let pruned = ApplyRequest { prune: true, ..request(service("a")) };
        assert_eq!(read(&pruned, &state, &|_| true).unwrap().applied.removed, ["Service/shop/b"]);
    }

    #[test]
    fn problems_come_with_the_place_in_the_whole_source() {
        let text = format!("{}---\n{}", service("a"), service("b").replace("ports", "prots"));
        let problem = read(&request(text), &State::default(), &|_| true).err().unwrap();
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
            let problem = read(&request, &State::default(), &|_| true).err().unwrap();
            assert_eq!((problem.status, problem.code.as_str()), (409, "document.twice"));
            assert!(problem.title.starts_with("Service/shop/a exists twice"), "{problem:?}");
            let told = problem.problems.iter().map(|one| (one.source.as_str(), one.line));
            assert_eq!(told.collect::<Vec<_>>(), places);
        }
    }

    #[test]
    fn problems_of_documents_in_force_count_lines_from_the_file() {
        let attachment = "# of two\nkind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: f, namespace: shop }\nspec:\n  targetRefs: [{ kind: Service, name: nobody }]\n  filter: acme/f\n  phase: authn\n  order: 1\n";
        let text = format!("{}---\n{attachment}", service("a"));
        let state =
            in_force(&read(&request(text.clone()), &State::default(), &|_| true).unwrap().applied);
        let whole = parse("shop.yaml", &text).0.pop().unwrap();
        let folded = tamis_director::Plans::default().everything(&state);
        let wrong: Vec<_> = folded.problems.iter().filter(|one| one.place.line > 6).collect();
        assert!(!wrong.is_empty(), "{:?}", folded.problems);
        let line = state.documents()["FilterAttachment/shop/f"].line();
        assert_eq!(line, whole.line());
    }
}

//! What a request changes: its documents and files, compared with those in force.

use std::collections::{BTreeMap, BTreeSet};

use tamis_api::{ApiProblem, ApplyRequest};
use tamis_director::{ApplyRecord, DocumentRecord, FileRecord, RequiredRights, State};
use tamis_resources::{SecretKind, secret_of};

use crate::plane::problem::bad;
use crate::plane::request_bounds::{has_few, has_short_name};
use crate::plane::sources::{ParsedDocuments, parsed};

/// What the body of an apply changes, for a caller with all rights.
///
/// # Errors
/// [`ApiProblem`] that names the place of the fault.
pub fn read_apply(body: &[u8], state: &State) -> Result<ApplyRecord, ApiProblem> {
    let request: ApplyRequest = serde_json::from_slice(body).map_err(|error| {
        let remedy = "/v1/openapi.json describes it";
        bad(format!("the body does not have the expected form: {error}"), remedy)
    })?;
    requested(&request, &parsed(&request.sources, &|| Ok(()))?, state, &|_| true)
        .map(|change| change.applied)
}

/// The content of a request.
pub(crate) struct RequestedChange {
    /// What changes.
    pub(crate) applied: ApplyRecord,
    /// The whole request, including what would not change: whether it would is not for everybody to know.
    pub(crate) asked: ApplyRecord,
}

/// What to apply and to remove, without what is in force already. Pruning removes the documents for whose
/// removal `may` has the rights.
pub(super) fn requested(
    request: &ApplyRequest,
    ParsedDocuments(found): &ParsedDocuments,
    state: &State,
    may: &dyn Fn(&RequiredRights) -> bool,
) -> Result<RequestedChange, ApiProblem> {
    has_few(request.files.len())?;
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
    Ok(RequestedChange { applied, asked })
}

fn removed(
    request: &ApplyRequest,
    state: &State,
    found: &BTreeMap<String, DocumentRecord>,
    may: &dyn Fn(&RequiredRights) -> bool,
) -> Vec<String> {
    let in_force = state.documents();
    let mut removed: BTreeSet<&String> =
        request.removed.iter().filter(|key| in_force.contains_key(*key)).collect();
    if request.prune {
        let others = in_force.keys().filter(|key| !found.contains_key(*key));
        let removals = state.removals();
        removed.extend(others.filter(|key| may(&removals.needs(key))));
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

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_api::SourceText;
    use tamis_resources::parse;

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
        may: &dyn Fn(&RequiredRights) -> bool,
    ) -> Result<RequestedChange, ApiProblem> {
        requested(request, &parsed(&request.sources, &|| Ok(()))?, state, may)
    }

    #[test]
    fn the_paths_of_files_have_a_bound() {
        let one = |source: String, text: String| SourceText { source, text };
        let kinds = |files: Vec<SourceText>| {
            requested(
                &ApplyRequest {
                    files: files
                        .into_iter()
                        .map(|it| tamis_api::FileText { path: it.source, text: it.text })
                        .collect(),
                    ..ApplyRequest::default()
                },
                &ParsedDocuments::default(),
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

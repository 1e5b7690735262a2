//! How much the documents of one namespace may be together: what follows from all of them is computed for each change of
//! anybody.

use std::collections::{BTreeMap, BTreeSet};

use tamis_api::ApiProblem;
use tamis_director::{ApplyRecord, State};
use tamis_trust::Refused;

use crate::plane::problem::refused;

/// Documents of a namespace: the services of the largest clusters that the authors of Kubernetes test.
const MAX_DOCUMENTS: usize = 10_000;
/// Bytes of their texts.
const MAX_BYTES: usize = 4 << 20;

/// What a namespace has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Content {
    documents: usize,
    bytes: usize,
}

impl Content {
    fn add(&mut self, text: &str) {
        self.documents = self.documents.saturating_add(1);
        self.bytes = self.bytes.saturating_add(text.len());
    }

    fn fits(self) -> bool {
        self.documents <= MAX_DOCUMENTS && self.bytes <= MAX_BYTES
    }

    fn exceeds(self, other: Self) -> bool {
        self.documents > other.documents || self.bytes > other.bytes
    }
}

/// Refuses a change after which a namespace would have more documents than one may have, unless it has no more than before.
/// Judged before anything is computed from them.
pub(super) fn must_fit(state: &State, applied: &ApplyRecord) -> Result<(), ApiProblem> {
    let replaced: BTreeSet<&str> = applied
        .documents
        .iter()
        .map(|one| one.key.as_str())
        .chain(applied.removed.iter().map(String::as_str))
        .collect();
    let mut now: BTreeMap<&str, Content> = BTreeMap::new();
    let mut then: BTreeMap<&str, Content> = BTreeMap::new();
    for one in &applied.documents {
        then.entry(namespace(&one.key)).or_default().add(&one.text);
    }
    for (key, one) in state.documents() {
        let Some(then) = then.get_mut(namespace(key)) else { continue };
        now.entry(namespace(key)).or_default().add(&one.text);
        if !replaced.contains(key.as_str()) {
            then.add(&one.text);
        }
    }
    let over = then.into_iter().filter(|(namespace, then)| {
        !then.fits() && then.exceeds(now.get(namespace).copied().unwrap_or_default())
    });
    let refusals: Vec<Refused> = over.map(|(namespace, then)| no_room(namespace, then)).collect();
    if refusals.is_empty() { Ok(()) } else { Err(refused(refusals)) }
}

/// Of `Kind/namespace/name`.
fn namespace(key: &str) -> &str {
    key.split('/').nth(1).unwrap_or_default()
}

fn no_room(namespace: &str, Content { documents, bytes }: Content) -> Refused {
    Refused {
        code: "documents.no-room".into(),
        rule: format!(
            "namespace {namespace} would have {documents} documents of {bytes} bytes, and a namespace has at most \
             {MAX_DOCUMENTS} of {MAX_BYTES}"
        ),
        set_by: "the limits of a control plane that many namespaces share".to_owned(),
        remedy: "apply fewer or shorter documents, or give some of the services a namespace of their own".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tamis_director::DocumentRecord;
    use tamis_trust::Digest;

    use super::*;

    /// Services of a namespace, each of so many bytes.
    fn services(namespace: &str, numbers: std::ops::Range<usize>, bytes: usize) -> ApplyRecord {
        let record = |at: usize| {
            let mut text = format!(
                "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: s{at}, namespace: {namespace} }}\n\
                 spec:\n  ports: [{{ port: 80, protocol: http }}]\n#"
            );
            text.extend(std::iter::repeat_n('x', bytes.saturating_sub(text.len())));
            DocumentRecord {
                key: format!("Service/{namespace}/s{at}"),
                source: String::new(),
                lines_before: 0,
                digest: Digest::of(text.as_bytes()),
                text,
                parsed: tamis_director::ParsedOnce::default(),
            }
        };
        ApplyRecord { documents: numbers.map(record).collect(), ..ApplyRecord::default() }
    }

    fn removed(namespace: &str, numbers: std::ops::Range<usize>) -> ApplyRecord {
        let removed = numbers.map(|at| format!("Service/{namespace}/s{at}")).collect();
        ApplyRecord { removed, ..ApplyRecord::default() }
    }

    #[test]
    fn a_namespace_has_so_much_room_and_takes_none_of_another() {
        let mut state = State::default();
        for (at, part) in services("full", 0..100, 40_000).pack().unwrap().into_iter().enumerate() {
            let body = serde_json::to_value(&part).unwrap();
            state.apply(at as u64 + 1, 1, "ada", "applied", &body);
        }
        assert_eq!((state.documents().len(), state.faults().1), (100, 0));
        let both = |mut one: ApplyRecord, other: ApplyRecord| {
            one.documents.extend(other.documents);
            one.removed.extend(other.removed);
            one
        };
        let rows = [
            ("a little more", services("full", 100..103, 40_000), true),
            ("too many bytes", services("full", 100..106, 40_000), false),
            (
                "too many bytes, but others go",
                both(services("full", 100..106, 40_000), removed("full", 0..6)),
                true,
            ),
            ("longer ones instead", services("full", 0..100, 45_000), false),
            ("shorter ones instead", services("full", 0..100, 4_000), true),
            ("another namespace", services("other", 0..100, 40_000), true),
            ("too many of another", services("other", 0..10_001, 0), false),
            ("as many as may be", services("other", 0..10_000, 0), true),
            ("fewer of all", removed("full", 0..100), true),
        ];
        for (what, applied, fits) in rows {
            let found = must_fit(&state, &applied).err();
            assert_eq!(found.is_none(), fits, "{what}: {found:?}");
            if let Some(problem) = found {
                assert_eq!(
                    (problem.status, &*problem.refusals[0].code),
                    (409, "documents.no-room")
                );
            }
        }
    }
}

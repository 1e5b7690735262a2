//! How much the documents of one namespace may be together: what follows from all of them is computed for each change of
//! anybody.

use std::collections::{BTreeMap, BTreeSet};

use tamis_api::ApiProblem;
use tamis_director::{ApplyRecord, State, has_places};
use tamis_trust::Refused;

use crate::plane::problem::refused;

/// Documents of a namespace: the services of the largest clusters that the authors of Kubernetes test.
const MAX_DOCUMENTS: usize = 10_000;
/// Bytes of their texts.
const MAX_BYTES: usize = 4 << 20;
/// Gateways of a namespace: each is a proxy, whose plan is computed from all documents.
const MAX_GATEWAYS: usize = 256;
/// Listeners that the routes of a namespace are on, counted for each route: each has a copy of the route.
const MAX_PLACES: usize = 16_384;

/// What a namespace has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Content {
    documents: usize,
    bytes: usize,
    gateways: usize,
}

impl Content {
    fn add(&mut self, key: &str, text: &str) {
        self.documents = self.documents.saturating_add(1);
        self.bytes = self.bytes.saturating_add(text.len());
        self.gateways = self.gateways.saturating_add(usize::from(key.starts_with("Gateway/")));
    }

    fn fits(self) -> bool {
        self.documents <= MAX_DOCUMENTS && self.bytes <= MAX_BYTES && self.gateways <= MAX_GATEWAYS
    }

    fn exceeds(self, other: Self) -> bool {
        self.documents > other.documents
            || self.bytes > other.bytes
            || self.gateways > other.gateways
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
        then.entry(namespace(&one.key)).or_default().add(&one.key, &one.text);
    }
    for (key, one) in state.documents() {
        let Some(then) = then.get_mut(namespace(key)) else { continue };
        now.entry(namespace(key)).or_default().add(key, &one.text);
        if !replaced.contains(key.as_str()) {
            then.add(key, &one.text);
        }
    }
    let over = then.into_iter().filter(|(namespace, then)| {
        !then.fits() && then.exceeds(now.get(namespace).copied().unwrap_or_default())
    });
    let mut refusals: Vec<Refused> =
        over.map(|(namespace, then)| no_room(namespace, then)).collect();
    refusals.extend(crowded_routes(state, applied));
    if refusals.is_empty() { Ok(()) } else { Err(refused(refusals)) }
}

/// Of `Kind/namespace/name`.
fn namespace(key: &str) -> &str {
    key.split('/').nth(1).unwrap_or_default()
}

/// Namespaces whose routes would be on more listeners than they may, and than before: their product with the gateways
/// grows faster than the documents.
fn crowded_routes(state: &State, applied: &ApplyRecord) -> Vec<Refused> {
    if !has_places(applied) {
        return Vec::new();
    }
    let mut over = state.route_places(Some(applied));
    over.retain(|_, places| *places > MAX_PLACES);
    if over.is_empty() {
        return Vec::new();
    }
    let before = state.route_places(None);
    let grown = over
        .into_iter()
        .filter(|(namespace, places)| *places > before.get(namespace).copied().unwrap_or_default());
    let refused = |(namespace, places)| {
        Refused {
        code: CODE.into(),
        rule: format!(
            "the routes of namespace {namespace} would be on {places} listeners, counted for each route, and those of a \
             namespace are on at most {MAX_PLACES}"
        ),
        set_by: SET_BY.to_owned(),
        remedy: "name the listener in `parentRefs` (`sectionName`), attach routes to fewer gateways, or put several rules \
                 into one route".to_owned(),
    }
    };
    grown.map(refused).collect()
}

const CODE: &str = "documents.no-room";
const SET_BY: &str = "the limits of a control plane that many namespaces share";

fn no_room(namespace: &str, Content { documents, bytes, gateways }: Content) -> Refused {
    let gateways = match gateways > MAX_GATEWAYS {
        true => format!(", {gateways} of them gateways"),
        false => String::new(),
    };
    Refused {
        code: CODE.into(),
        rule: format!(
            "namespace {namespace} would have {documents} documents of {bytes} bytes{gateways}, and a namespace has at most \
             {MAX_DOCUMENTS} of {MAX_BYTES}, {MAX_GATEWAYS} of them gateways"
        ),
        set_by: SET_BY.to_owned(),
        remedy: "apply fewer or shorter documents, or give some of the services a namespace of their own".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tamis_director::DocumentRecord;
    use tamis_trust::Digest;

    use super::*;

    fn record(key: String, text: String) -> DocumentRecord {
        DocumentRecord {
            key,
            source: String::new(),
            lines_before: 0,
            digest: Digest::of(text.as_bytes()),
            text,
            parsed: tamis_director::ParsedOnce::default(),
        }
    }

    /// Gateways of a namespace, each with so many listeners.
    fn gateways(namespace: &str, numbers: std::ops::Range<usize>, listeners: u16) -> ApplyRecord {
        let one = |at: usize| {
            let listeners = (0..listeners)
                .map(|at| format!("{{ name: l{at}, port: {}, protocol: HTTP }}", 8_000 + at));
            let text = format!(
                "kind: Gateway\napiVersion: gateway.networking.k8s.io/v1\nmetadata: {{ name: g{at}, namespace: {namespace} }}\n\
                 spec: {{ gatewayClassName: tamis, listeners: [{}] }}\n",
                listeners.collect::<Vec<_>>().join(", ")
            );
            record(format!("Gateway/{namespace}/g{at}"), text)
        };
        ApplyRecord { documents: numbers.map(one).collect(), ..ApplyRecord::default() }
    }

    /// Routes of a namespace, each on the first gateways of another.
    fn routes(
        namespace: &str,
        numbers: std::ops::Range<usize>,
        (of, gateways): (&str, usize),
        section: &str,
    ) -> ApplyRecord {
        let one = |at: usize| {
            let parents = (0..gateways)
                .map(|at| format!("{{ kind: Gateway, name: g{at}, namespace: {of}{section} }}"));
            let text = format!(
                "kind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: {{ name: r{at}, namespace: {namespace} }}\n\
                 spec:\n  parentRefs: [{}]\n  rules: [{{ backendRefs: [{{ name: a, port: 80 }}] }}]\n",
                parents.collect::<Vec<_>>().join(", ")
            );
            record(format!("HTTPRoute/{namespace}/r{at}"), text)
        };
        ApplyRecord { documents: numbers.map(one).collect(), ..ApplyRecord::default() }
    }

    fn put(state: &mut State, applied: ApplyRecord) {
        for part in applied.pack().unwrap() {
            let body = serde_json::to_value(&part).unwrap();
            state.apply(state.head() + 1, 1, "ada", "applied", &body);
        }
        assert_eq!(state.faults().1, 0, "{:?}", state.faults().0);
    }

    #[test]
    fn gateways_and_the_listeners_that_routes_are_on_have_a_bound_in_each_namespace() {
        let mut state = State::default();
        // Each of its routes is on 128 listeners.
        put(&mut state, gateways("infra", 0..32, 4));
        put(&mut state, routes("full", 0..128, ("infra", 32), ""));
        put(&mut state, routes("half", 0..64, ("infra", 32), ""));
        let (named, port) = (", sectionName: l1", ", port: 8001");
        let rows = [
            ("as many gateways as may be", gateways("edge", 0..256, 1), None),
            ("more gateways", gateways("edge", 0..257, 1), Some("257 of them gateways")),
            ("one route more", routes("full", 128..129, ("infra", 1), named), Some("on 16385")),
            ("others instead", routes("full", 0..128, ("infra", 32), ""), None),
            ("fewer of each", routes("full", 0..128, ("infra", 31), ""), None),
            ("up to the bound", routes("half", 64..128, ("infra", 32), ""), None),
            ("beyond the bound", routes("half", 64..129, ("infra", 32), ""), Some("on 16512")),
            ("one listener of each", routes("half", 64..300, ("infra", 32), named), None),
            ("one port of each", routes("half", 64..300, ("infra", 32), port), None),
            ("what is not there", routes("half", 64..300, ("gone", 32), ""), None),
            ("too much of it", routes("half", 64..400, ("gone", 32), ""), Some("namespace half")),
            ("more listeners below", gateways("infra", 0..1, 5), Some("namespace full")),
            ("fewer listeners below", gateways("infra", 0..1, 3), None),
            ("another namespace", routes("other", 0..128, ("infra", 32), ""), None),
        ];
        for (what, applied, says) in rows {
            let found = must_fit(&state, &applied).err();
            assert_eq!(found.is_some(), says.is_some(), "{what}: {found:?}");
            if let (Some(problem), Some(says)) = (found, says) {
                let refusal = &problem.refusals[0];
                assert_eq!(refusal.code, "documents.no-room", "{what}");
                assert!(refusal.rule.contains(says), "{what}: {}", refusal.rule);
            }
        }
    }

    /// Services of a namespace, each of so many bytes.
    fn services(namespace: &str, numbers: std::ops::Range<usize>, bytes: usize) -> ApplyRecord {
        let one = |at: usize| {
            let mut text = format!(
                "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: s{at}, namespace: {namespace} }}\n\
                 spec:\n  ports: [{{ port: 80, protocol: http }}]\n#"
            );
            text.extend(std::iter::repeat_n('x', bytes.saturating_sub(text.len())));
            record(format!("Service/{namespace}/s{at}"), text)
        };
        ApplyRecord { documents: numbers.map(one).collect(), ..ApplyRecord::default() }
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

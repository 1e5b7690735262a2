//! Earlier versions of documents.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Serialize;
use serde_json::{Value, json};
use tamis_resources::Document;
use tamis_trust::Digest;

use super::DocumentInForce;
use crate::fields::{FieldEffect, fields};
use crate::stamp::JournalStamp;

/// Most versions kept per document; the journal has them all.
pub const MAX_VERSIONS: usize = 100;

/// A version of a document, or its removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PastDocument {
    /// Who applied or removed it.
    pub stamp: JournalStamp,
    /// Digest of its text; `None`: it was removed.
    pub digest: Option<Digest>,
    /// Differences from the previous version.
    pub fields: Vec<FieldEffect>,
    /// The first revision with the same text, if somebody rolled back to it.
    pub back_to: Option<u64>,
    /// Services and gateways that this or the previous version names: `namespace/name`; `*` means all.
    pub services: BTreeSet<String>,
}

/// The versions of every document that ever existed, oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DocumentHistory(BTreeMap<String, VecDeque<PastDocument>>);

impl DocumentHistory {
    /// Records a version of a document.
    pub(crate) fn note(
        &mut self,
        key: &str,
        before: Option<&DocumentInForce>,
        after: Option<&DocumentInForce>,
        stamp: &JournalStamp,
    ) {
        let digest = after.map(|after| after.digest);
        if before.map(|before| before.digest) == digest {
            return;
        }
        let versions = self.0.entry(key.to_owned()).or_default();
        let same = |one: &&PastDocument| digest.is_some() && one.digest == digest;
        let back_to = versions.iter().find(same).map(|one| one.stamp.revision);
        let changed = match (before, after) {
            (Some(before), Some(after)) => {
                fields(&value(&before.document), &value(&after.document))
            }
            _ => Vec::new(),
        };
        let services =
            before.into_iter().chain(after).flat_map(|it| services(&it.document)).collect();
        if versions.len() >= MAX_VERSIONS {
            versions.pop_front();
        }
        versions.push_back(PastDocument {
            stamp: stamp.clone(),
            digest,
            fields: changed,
            back_to,
            services,
        });
    }

    pub(crate) fn versions(&self, key: &str) -> impl Iterator<Item = &PastDocument> {
        self.0.get(key).into_iter().flatten()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&String, &PastDocument)> {
        self.0.iter().flat_map(|(key, versions)| versions.iter().map(move |one| (key, one)))
    }
}

/// The content of a document, for a comparison.
pub(crate) fn value(document: &Document) -> Value {
    let metadata = &document.metadata;
    json!({
        "metadata": { "labels": metadata.labels, "annotations": metadata.annotations },
        "spec": document.resource.to_json(),
    })
}

/// The services and gateways that a document names.
fn services(document: &Document) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    if matches!(document.kind(), "Service" | "Gateway") {
        all.insert(document.key());
    }
    let namespace = &document.metadata.namespace;
    named(&document.resource.to_json(), namespace, "", &mut all);
    all
}

/// Objects that name something, as references do: those in lists whose names end in `Refs`, and those with
/// a kind.
fn named(value: &Value, namespace: &str, within: &str, all: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|one| named(one, namespace, within, all)),
        Value::Object(members) => {
            let text = |name: &str| members.get(name).and_then(Value::as_str);
            let kind = text("kind");
            let refers = within.ends_with("Refs") || within.ends_with("Ref");
            let of_ours = kind.is_none_or(|kind| matches!(kind, "Service" | "Gateway"));
            match (kind, text("name")) {
                (Some("Mesh"), _) => drop(all.insert("*".to_owned())),
                (_, Some(name)) if (refers || kind.is_some()) && of_ours => {
                    let namespace = text("namespace").unwrap_or(namespace);
                    all.insert(format!("{namespace}/{name}"));
                }
                _ => {}
            }
            for (name, value) in members {
                named(value, namespace, name, all);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::fixture::{World, applied, document, guard_of, removed};

    const GUARD: &str = "FilterAttachment/shop/a-jwt";

    #[test]
    fn a_document_remembers_who_changed_what_and_that_somebody_went_back() {
        let mut world = World::mesh();
        for issuer in ["https://other.example", "https://idp.example"] {
            world.append("ben", applied([guard_of("shop/a", issuer)]));
            // The same text again is not a change.
            world.append("ben", applied([guard_of("shop/a", issuer)]));
        }
        world.append("eve", removed(GUARD));
        let versions: Vec<_> = world.state.versions(GUARD).collect();
        assert_eq!(versions.len(), 4);
        let told = versions[1]
            .fields
            .iter()
            .map(|one| (one.field.as_str(), one.before.as_deref(), one.after.as_deref()));
        let issuer =
            ("spec.config.issuer", Some("https://idp.example"), Some("https://other.example"));
        assert_eq!(told.collect::<Vec<_>>(), [issuer]);
        let back: Vec<_> = versions.iter().map(|one| one.back_to).collect();
        assert_eq!(back, [None, None, Some(versions[0].stamp.revision), None]);
        assert_eq!((versions[3].digest, versions[3].stamp.actor.as_str()), (None, "eve"));
    }

    #[test]
    fn documents_are_in_the_history_of_every_service_they_speak_of() {
        let mut world = World::mesh();
        let route = |weight: u8| {
            let spec = json!({
                "parentRefs": [{ "name": "edge" }],
                "rules": [{ "backendRefs": [
                    { "name": "a", "port": 80, "weight": weight },
                    { "name": "b", "port": 80, "weight": 100 - weight },
                ] }],
            });
            applied([document("HTTPRoute", "shop/web", &spec)])
        };
        world.append("ada", route(90));
        world.append("ada", route(50));
        world.is_well();
        for service in ["shop/edge", "shop/a", "shop/b"] {
            let told = world.state.documents_of(service);
            let (_, last) =
                told.iter().rev().find(|(key, _)| *key == "HTTPRoute/shop/web").unwrap();
            let weights: Vec<String> = last
                .fields
                .iter()
                .map(|one| format!("{} {:?}→{:?}", one.field, one.before, one.after))
                .collect();
            assert_eq!(
                weights,
                [
                    r#"spec.rules[0].backendRefs[a].weight Some("90")→Some("50")"#,
                    r#"spec.rules[0].backendRefs[b].weight Some("10")→Some("50")"#,
                ],
                "{service}"
            );
        }
        let of = |service: &str, key: &str| {
            world.state.documents_of(service).iter().any(|(known, _)| *known == key)
        };
        // A document for the mesh concerns every service; one that names another service does not.
        assert!(of("shop/c", "FilterAttachment/shop/route") && of("shop/a", GUARD));
        assert!(!of("shop/c", "HTTPRoute/shop/web") && !of("shop/b", GUARD));
    }
}

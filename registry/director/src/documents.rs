//! Documents and files in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tamis_resources::{Document, GrantSpec, NodeName, Problem, Resource, parse};
use tamis_trust::Digest;

use crate::record::{ApplyRecord, DocumentRecord, MAX_TEXT_BYTES};
use crate::stamp::JournalStamp;

mod past;

pub(crate) use past::{DocumentHistory, value};
pub use past::{MAX_VERSIONS, PastDocument};

/// A document in force.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentInForce {
    /// Digest of its text.
    pub digest: Digest,
    /// Its text.
    pub text: Arc<str>,
    /// Who put it in force.
    pub stamp: JournalStamp,
    pub(crate) document: Arc<Document>,
}

impl DocumentInForce {
    /// Its content.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.document.resource
    }

    /// Whether it stands in for a document that cannot be used: what that was to guard stays closed.
    #[must_use]
    pub fn stands_in(&self) -> bool {
        self.document.is_stub()
    }

    /// Line of its source at which it begins, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.document.line()
    }

    /// The name of its source in problems.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.document.source
    }
}

/// A file in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileInForce {
    /// Its content.
    pub text: Arc<str>,
    /// Who put it in force.
    pub stamp: JournalStamp,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Documents {
    pub(crate) by_key: BTreeMap<String, DocumentInForce>,
    pub(crate) files: BTreeMap<String, FileInForce>,
    /// Grants that were taken out, by filter and namespace, with the revision that did: one that comes later is compared with
    /// the last of them.
    pub(crate) retired: BTreeMap<String, BTreeMap<String, (u64, GrantSpec)>>,
    /// Whether a TrustPolicy was ever removed.
    pub(crate) retired_trust: bool,
    /// The last revision that changed any of them.
    pub(crate) changed: u64,
}

/// Why a document is not accepted.
#[derive(Debug)]
pub(crate) enum DocumentRefusal {
    /// It has problems.
    Problems(Vec<Problem>),
    /// It does not match its record, or its kind cannot be applied.
    Rule(String),
}

impl Documents {
    /// Applies and removes documents; those that cannot be accepted stay as they were, and are reported.
    pub(crate) fn apply(
        &mut self,
        applied: &ApplyRecord,
        stamp: &JournalStamp,
    ) -> Vec<(String, DocumentRefusal)> {
        self.changed = stamp.revision;
        for key in &applied.removed {
            self.retire(key, stamp.revision);
        }
        for path in &applied.removed_files {
            self.files.remove(path);
        }
        for file in &applied.files {
            let text = Arc::from(file.text.as_str());
            self.files.insert(file.path.clone(), FileInForce { text, stamp: stamp.clone() });
        }
        let mut refused = Vec::new();
        for one in &applied.documents {
            match read(one) {
                Ok(document) => {
                    let mut document = Arc::unwrap_or_clone(document);
                    // An edit does not change its age: of contradicting documents the one longest in force
                    // stays.
                    let there = self.by_key.get(&one.key);
                    document.since = there.map_or(stamp.revision, |held| held.document.since);
                    for path in document.paths() {
                        let known = there.and_then(|held| held.document.paths_since.get(&path));
                        let since = known.copied().unwrap_or(stamp.revision);
                        document.paths_since.insert(path, since);
                    }
                    self.retire(&one.key, stamp.revision);
                    let (digest, text) = (one.digest, Arc::from(one.text.as_str()));
                    let document = Arc::new(document);
                    let held = DocumentInForce { digest, text, stamp: stamp.clone(), document };
                    self.by_key.insert(one.key.clone(), held);
                }
                Err(why) => refused.push((one.key.clone(), why)),
            }
        }
        refused
    }

    fn retire(&mut self, key: &str, revision: u64) {
        let Some(document) = self.by_key.remove(key).map(|held| held.document) else { return };
        match &document.resource {
            Resource::Grant(spec) => {
                let of = self.retired.entry(spec.filter.clone()).or_default();
                of.insert(document.metadata.namespace.clone(), (revision, spec.clone()));
            }
            Resource::TrustPolicy(_) => self.retired_trust = true,
            _ => {}
        }
    }

    /// All proxies that the documents declare, in order.
    pub(crate) fn nodes(&self) -> Vec<NodeName> {
        let mut nodes = Vec::new();
        for held in self.by_key.values() {
            let key = held.document.key();
            match &held.document.resource {
                Resource::Gateway(_) => nodes.push(NodeName::Gateway { key }),
                Resource::Service(spec) => {
                    let endpoints = spec.endpoints.iter().enumerate();
                    let sidecars = endpoints.filter(|(_, endpoint)| endpoint.sidecar.is_some());
                    nodes.extend(
                        sidecars.map(|(index, _)| NodeName::Sidecar { key: key.clone(), index }),
                    );
                }
                _ => {}
            }
        }
        nodes
    }

    /// Whether the documents declare a proxy.
    pub(crate) fn has(&self, node: &NodeName) -> bool {
        let spec = |kind| {
            let held = self.by_key.get(&format!("{kind}/{}", node.key()))?;
            Some(&held.document.resource)
        };
        match node {
            NodeName::Gateway { .. } => matches!(spec("Gateway"), Some(Resource::Gateway(_))),
            NodeName::Sidecar { index, .. } => match spec("Service") {
                Some(Resource::Service(spec)) => {
                    spec.endpoints.get(*index).is_some_and(|one| one.sidecar.is_some())
                }
                _ => false,
            },
        }
    }

    /// Whether a Gateway and a Service share this `namespace/name`, and so their slots.
    pub(crate) fn are_two(&self, key: &str) -> bool {
        ["Gateway", "Service"].iter().all(|kind| self.by_key.contains_key(&format!("{kind}/{key}")))
    }

    /// All documents, by key.
    pub(crate) fn all(&self) -> Vec<Arc<Document>> {
        self.by_key.values().map(|held| Arc::clone(&held.document)).collect()
    }

    pub(crate) fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        let file = self
            .files
            .get(path)
            .ok_or("the file was not applied; apply it together with the documents")?;
        Ok(file.text.as_bytes().to_vec())
    }
}

/// The document of a record. It is parsed once, by whoever asks first.
pub(crate) fn read(one: &DocumentRecord) -> Result<Arc<Document>, DocumentRefusal> {
    if let Some(document) = one.parsed.known() {
        return Ok(document);
    }
    let document = Arc::new(checked(one)?);
    one.parsed.keep(&document);
    Ok(document)
}

fn checked(one: &DocumentRecord) -> Result<Document, DocumentRefusal> {
    let rule = |text: String| Err(DocumentRefusal::Rule(text));
    if one.text.len() > MAX_TEXT_BYTES {
        return rule(format!("{} has more than {MAX_TEXT_BYTES} bytes; split it", one.key));
    }
    if Digest::of(one.text.as_bytes()) != one.digest {
        return rule(format!("the digest of {} differs from the one in its record", one.key));
    }
    let source = if one.source.is_empty() { &one.key } else { &one.source };
    let (mut documents, mut problems) = parse(source, &one.text);
    if !problems.is_empty() {
        for problem in &mut problems {
            problem.place.line = problem.place.line.saturating_add(one.lines_before);
        }
        return Err(DocumentRefusal::Problems(problems));
    }
    let (Some(document), true) = (documents.pop(), documents.is_empty()) else {
        return rule(format!("{} must be one document; write each under its own key", one.key));
    };
    let way = match document.resource {
        Resource::FiltersLock(_) => {
            "make pins with `tamis pin`, so that each has its own entry in the journal"
        }
        Resource::Rollout(_) => {
            "start it with `tamis rollout start --file`, which verifies the candidate"
        }
        _ => "",
    };
    if !way.is_empty() {
        return rule(format!("{}: a {} cannot be applied; {way}", one.key, document.kind()));
    }
    let key = format!("{}/{}", document.kind(), document.key());
    if key != one.key {
        return rule(format!("{} contains {key}; write it under that key", one.key));
    }
    Ok(document.after_lines(one.lines_before))
}

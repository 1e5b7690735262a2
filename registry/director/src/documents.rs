//! Documents and files in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tamis_resources::{Document, GrantSpec, NodeName, Problem, Resource, parse};
use tamis_trust::Digest;

use crate::record::{Applied, AppliedDocument, MAX_TEXT_BYTES};
use crate::stamp::Stamp;

mod past;

pub use past::{DocumentVersion, MAX_VERSIONS};
pub(crate) use past::{Past, value};

/// A document in force.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentInForce {
    /// Digest of its text.
    pub digest: Digest,
    /// Its text.
    pub text: Arc<str>,
    /// Who put it in force.
    pub stamp: Stamp,
    pub(crate) document: Document,
}

impl DocumentInForce {
    /// What it says.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.document.resource
    }

    /// Line of its source that it begins with, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.document.line()
    }

    /// What problems call its source.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.document.source
    }
}

/// A file in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileInForce {
    /// What is in it.
    pub text: Arc<str>,
    /// Who put it in force.
    pub stamp: Stamp,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Documents {
    pub(crate) by_key: BTreeMap<String, DocumentInForce>,
    pub(crate) files: BTreeMap<String, FileInForce>,
    /// Grants that were taken out, by filter: one that comes later is compared with the last of them.
    pub(crate) retired: BTreeMap<String, GrantSpec>,
    /// Whether a TrustPolicy was ever taken out.
    pub(crate) retired_trust: bool,
    /// The revision that changed any of them last.
    pub(crate) changed: u64,
}

/// Why a document is not taken.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// It is wrong in itself.
    Problems(Vec<Problem>),
    /// It is not what its record says, or of a kind that is not applied.
    Rule(String),
}

impl Documents {
    /// Puts in force and takes out; what cannot be taken is left as it was and named.
    pub(crate) fn apply(&mut self, applied: &Applied, stamp: &Stamp) -> Vec<(String, NotTaken)> {
        self.changed = stamp.revision;
        for key in &applied.removed {
            self.retire(key);
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
                Ok(mut document) => {
                    // An edit leaves it as old as it is: of what contradicts itself the one longest in force stays.
                    let there = self.by_key.get(&one.key);
                    document.since = there.map_or(stamp.revision, |held| held.document.since);
                    self.retire(&one.key);
                    let (digest, text) = (one.digest, Arc::from(one.text.as_str()));
                    let held = DocumentInForce { digest, text, stamp: stamp.clone(), document };
                    self.by_key.insert(one.key.clone(), held);
                }
                Err(why) => refused.push((one.key.clone(), why)),
            }
        }
        refused
    }

    fn retire(&mut self, key: &str) {
        match self.by_key.remove(key).map(|held| held.document.resource) {
            Some(Resource::Grant(spec)) => {
                self.retired.insert(spec.filter.clone(), spec);
            }
            Some(Resource::TrustPolicy(_)) => self.retired_trust = true,
            _ => {}
        }
    }

    /// All proxies that the documents speak of, in their order.
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

    /// Whether the documents speak of a proxy.
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
    pub(crate) fn all(&self) -> Vec<Document> {
        self.by_key.values().map(|held| held.document.clone()).collect()
    }

    pub(crate) fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        let file = self.files.get(path).ok_or("it was not applied; apply it with the documents")?;
        Ok(file.text.as_bytes().to_vec())
    }
}

pub(crate) fn read(one: &AppliedDocument) -> Result<Document, NotTaken> {
    let rule = |text: String| Err(NotTaken::Rule(text));
    if one.text.len() > MAX_TEXT_BYTES {
        return rule(format!("{} has more than {MAX_TEXT_BYTES} bytes; split it", one.key));
    }
    if Digest::of(one.text.as_bytes()) != one.digest {
        return rule(format!("{} has another digest than its record says", one.key));
    }
    let source = if one.source.is_empty() { &one.key } else { &one.source };
    let (mut documents, mut problems) = parse(source, &one.text);
    if !problems.is_empty() {
        for problem in &mut problems {
            problem.place.line = problem.place.line.saturating_add(one.lines_before);
        }
        return Err(NotTaken::Problems(problems));
    }
    let (Some(document), true) = (documents.pop(), documents.is_empty()) else {
        return rule(format!("{} must be one document; write each under its own key", one.key));
    };
    let way = match document.resource {
        Resource::FiltersLock(_) => {
            "pins are made by pinning, so that each has its own entry in the journal"
        }
        Resource::Rollout(_) => {
            "begin it with `tamis rollout start --file`: what it rolls out is verified once, then"
        }
        _ => "",
    };
    if !way.is_empty() {
        return rule(format!("{}: a {} is not applied; {way}", one.key, document.kind()));
    }
    let key = format!("{}/{}", document.kind(), document.key());
    if key != one.key {
        return rule(format!("{} holds {key}; write it under that key", one.key));
    }
    Ok(document.after_lines(one.lines_before))
}

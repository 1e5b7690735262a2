//! Documents to the plan of one proxy. A bad document becomes a problem, the others are folded.

mod attachments;
mod grants;
mod listeners;
mod routes;
mod services;
#[cfg(test)]
mod tests;
mod trust;

pub use grants::grant_plan;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::document::Document;
use crate::kinds::{GatewaySpec, IdentityFiles, RolloutSpec, ServiceSpec, Spec};
use crate::node_name::NodeName;
use crate::plan::{AddressPlan, NodePlan};
use crate::problem::Problem;

/// Reads a file that a document names.
pub(crate) type Files<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, String>;

/// What became of the documents.
#[derive(Debug, Clone)]
pub struct Folded {
    /// The plan; none when the proxy itself cannot be told from the documents.
    pub plan: Option<NodePlan>,
    /// Everything wrong, also of documents that do not concern this proxy.
    pub problems: Vec<Problem>,
    /// One for each document.
    pub statuses: Vec<ResourceStatus>,
}

/// What became of one document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResourceStatus {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `Accepted` and `ResolvedRefs`; the proxy adds `Programmed`.
    pub conditions: Vec<Condition>,
}

/// A condition of the Gateway API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whether it holds.
    pub status: bool,
    /// One word.
    pub reason: String,
    /// In words.
    pub message: String,
}

/// The proxy that is planned for.
pub(crate) enum Place<'a> {
    Gateway(&'a Document, &'a GatewaySpec),
    Sidecar(&'a Document, &'a ServiceSpec, usize),
}

pub(crate) const ACCEPTED: &str = "Accepted";
pub(crate) const RESOLVED: &str = "ResolvedRefs";

/// Documents by kind and key, and what was found wrong with them.
pub(crate) struct Fold<'a> {
    pub(crate) node: &'a NodeName,
    pub(crate) files: Files<'a>,
    documents: BTreeMap<(&'static str, String), &'a Document>,
    problems: Vec<Problem>,
    statuses: BTreeMap<(&'static str, String), Vec<Condition>>,
}

/// Folds documents to the plan of `node`. `files` reads what documents name: key sets and public keys.
///
/// Deterministic: the same documents in any order give the same plan.
pub fn fold(
    documents: &[Document],
    node: &NodeName,
    files: &dyn Fn(&str) -> Result<Vec<u8>, String>,
) -> Folded {
    let mut fold = Fold {
        node,
        files,
        documents: BTreeMap::new(),
        problems: Vec::new(),
        statuses: BTreeMap::new(),
    };
    fold.index(documents);
    let plan = fold.plan();
    let statuses = fold.statuses.into_iter().map(|((kind, key), conditions)| {
        let (namespace, name) = key.split_once('/').unwrap_or(("", &key));
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        ResourceStatus { kind: kind.to_owned(), namespace, name, conditions }
    });
    Folded { plan, problems: fold.problems, statuses: statuses.collect() }
}

/// The trust policies among the documents, as the trust crate reads them; whichever proxy asks, they are the same.
#[must_use]
pub fn trust_policies(
    documents: &[Document],
    files: &dyn Fn(&str) -> Result<Vec<u8>, String>,
) -> Vec<serde_json::Value> {
    let node = NodeName::Gateway { key: String::new() };
    let mut fold = Fold {
        node: &node,
        files,
        documents: BTreeMap::new(),
        problems: Vec::new(),
        statuses: BTreeMap::new(),
    };
    fold.index(documents);
    fold.trust()
}

impl<'a> Fold<'a> {
    fn index(&mut self, documents: &'a [Document]) {
        for document in documents {
            let id = (document.kind(), document.key());
            if let Some(first) = self.documents.get(&id) {
                let message = format!("{} {} is there twice; the first counts", id.0, id.1);
                let problem = document.problem("document.duplicate", "/metadata/name", message);
                self.problems.push(problem.also(first.place("/metadata/name", "the first")));
                continue;
            }
            let holds = |kind, reason: &str| Condition {
                kind,
                status: true,
                reason: reason.to_owned(),
                message: String::new(),
            };
            self.statuses
                .insert(id.clone(), vec![holds(ACCEPTED, ACCEPTED), holds(RESOLVED, RESOLVED)]);
            self.documents.insert(id, document);
        }
    }

    /// The document of that kind and `namespace/name`.
    pub(crate) fn find<T: Spec>(&self, key: &str) -> Option<(&'a Document, &'a T)> {
        let document = *self.documents.get(&(T::KIND, key.to_owned()))?;
        Some((document, T::of(&document.resource)?))
    }

    /// All documents of a kind, by key.
    pub(crate) fn all<T: Spec + 'a>(&self) -> Vec<(&'a Document, &'a T)> {
        let all = self.documents.range((T::KIND, String::new())..);
        let all = all.take_while(|((kind, _), _)| *kind == T::KIND);
        all.filter_map(|(_, document)| Some((*document, T::of(&document.resource)?))).collect()
    }

    /// Notes a problem and the condition that does not hold because of it.
    pub(crate) fn fail(
        &mut self,
        document: &Document,
        condition: &'static str,
        reason: &str,
        problem: Problem,
    ) {
        let conditions = self.statuses.entry((document.kind(), document.key())).or_default();
        for one in conditions.iter_mut().filter(|one| one.kind == condition && one.status) {
            one.status = false;
            one.reason = reason.to_owned();
            one.message = problem.message.clone();
        }
        self.problems.push(problem);
    }

    fn plan(&mut self) -> Option<NodePlan> {
        let routes = self.routes();
        self.check_services();
        self.check_rollouts();
        let place = self.place();
        let trust = self.trust();
        let (identity, admin) = match &place {
            Some(Place::Gateway(_, spec)) => (spec.identity.clone(), spec.admin.clone()),
            Some(Place::Sidecar(_, spec, index)) => {
                let endpoint = spec.endpoints.get(*index);
                (spec.identity.clone(), endpoint.and_then(|one| one.admin.clone()))
            }
            None => (None, None),
        };
        let services = place.as_ref().map(|place| self.services(place)).unwrap_or_default();
        let sockets = place.as_ref().map(|place| self.listeners(place)).unwrap_or_default();
        let attachments = self.attachments(&routes);
        let place = place?;
        let (listeners, filters) = self.chains(&place, sockets, &attachments, &routes);
        let services = services.into_iter().map(Arc::new).collect();
        let filters = filters.into_iter().map(Arc::new).collect();
        let node = self.node.to_string();
        Some(NodePlan { node, identity, listeners, services, filters, admin, trust })
    }

    /// What is folded is followed at once, so a rollout among it would be a promise that nobody keeps.
    fn check_rollouts(&mut self) {
        for (document, _) in self.all::<RolloutSpec>() {
            let message = "a rollout among documents that are followed at once does nothing";
            let problem = document
                .problem("rollout.misplaced", "/kind", message)
                .help("begin it at a registry, with `tamis rollout start --file`");
            self.fail(document, ACCEPTED, "UnsupportedValue", problem);
        }
    }

    /// Finds the proxy among the documents.
    fn place(&mut self) -> Option<Place<'a>> {
        match self.node {
            NodeName::Gateway { key } => {
                let found = self.find::<GatewaySpec>(key);
                found.map(|(document, spec)| Place::Gateway(document, spec))
            }
            NodeName::Sidecar { key, index } => {
                let (document, spec) = self.find::<ServiceSpec>(key)?;
                let endpoint = spec.endpoints.get(*index);
                if endpoint.is_none_or(|endpoint| endpoint.sidecar.is_none()) {
                    let message = format!("{key} has no endpoint {index} with a `sidecar`");
                    let problem = document.problem("node.none", "/spec/endpoints", message);
                    self.fail(document, ACCEPTED, "Invalid", problem);
                    return None;
                }
                Some(Place::Sidecar(document, spec, *index))
            }
        }
    }
}

impl<'a> Place<'a> {
    /// What this proxy proves its identity with.
    pub(crate) fn identity_files(&self) -> Option<&'a IdentityFiles> {
        match self {
            Self::Gateway(_, spec) => spec.tls.as_ref(),
            Self::Sidecar(_, spec, _) => spec.tls.as_ref(),
        }
    }
}

/// An endpoint's address in its form.
pub(crate) fn address(text: &str) -> AddressPlan {
    match text.strip_prefix("unix:") {
        Some(path) => AddressPlan::Unix(path.to_owned()),
        None if text.parse::<std::net::SocketAddr>().is_ok() => AddressPlan::Tcp(text.to_owned()),
        None => AddressPlan::Dns(text.to_owned()),
    }
}

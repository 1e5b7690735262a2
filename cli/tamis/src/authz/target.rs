//! What is called, and the guards that documents place there.

use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use tamis_node::DocumentPlaces;
use tamis_resources::plan::{FilterPlan, ListenerPlan, NodePlan, Phase, Refused, TrafficDirection};
use tamis_resources::{Document, NodeName, Problem, Resource, fold};

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CalledKind {
    Service,
    Gateway,
}

impl CalledKind {
    /// The kind of its document.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Gateway => "Gateway",
        }
    }
}

/// A service or a gateway that is called.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub(super) struct CalledTarget {
    pub(super) kind: CalledKind,
    /// `namespace/name`.
    pub(super) key: String,
}

impl FromStr for CalledTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, key) = match text.split_once(':') {
            None => (Some(CalledKind::Service), text),
            Some(("service", key)) => (Some(CalledKind::Service), key),
            Some(("gateway", key)) => (Some(CalledKind::Gateway), key),
            Some(_) => (None, text),
        };
        let named = key.split_once('/').is_some_and(|(space, name)| {
            !space.is_empty() && !name.is_empty() && !name.contains('/')
        });
        match kind.filter(|_| named) {
            Some(kind) => Ok(Self { kind, key: key.to_owned() }),
            None => Err(format!(
                "`{text}` is not a target: write namespace/name of a Service, or gateway:namespace/name"
            )),
        }
    }
}

impl TryFrom<String> for CalledTarget {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl CalledTarget {
    fn node(&self) -> NodeName {
        match self.kind {
            CalledKind::Gateway => NodeName::Gateway { key: self.key.clone() },
            CalledKind::Service => NodeName::Sidecar { key: self.key.clone(), index: 0 },
        }
    }
}

/// The listener of a target at which something arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CalledListener<'a> {
    /// The first for requests.
    First,
    /// The one for requests of that name.
    Named(&'a str),
    /// That of a `tcp` port.
    Port(u16),
}

impl CalledListener<'_> {
    /// Its name in a proxy.
    pub(super) fn name(self) -> String {
        match self {
            Self::First => "inbound".to_owned(),
            Self::Named(name) => name.to_owned(),
            Self::Port(port) => format!("inbound:{port}"),
        }
    }

    fn is(self, plan: &ListenerPlan) -> bool {
        plan.direction != TrafficDirection::Outbound
            && match (self, &plan.tcp) {
                (Self::First, tcp) => tcp.is_none(),
                (Self::Named(name), tcp) => tcp.is_none() && plan.name == name,
                (Self::Port(port), tcp) => tcp.as_ref().is_some_and(|it| it.asked == Some(port)),
            }
    }

    /// Whether a guard is asked about what arrives there, or closes it.
    fn concerns(self, guard: &FilterPlan) -> bool {
        let closes = |one: &Refused| one.code == UNGUARDED && matches!(self, Self::Port(_));
        guard.phase == Phase::Authz || guard.refused.as_ref().is_some_and(closes)
    }
}

/// The code of a guard that cannot judge connections.
const UNGUARDED: &str = "tcp.unguarded";

/// The documents of a folder, as if every filter that receives policies were signed and pinned.
pub(super) struct PolicyFolder {
    documents: Vec<Document>,
    source: DocumentPlaces,
}

impl PolicyFolder {
    /// Reads a folder.
    ///
    /// # Errors
    /// It cannot be read, or a document in it cannot be used.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let source = DocumentPlaces::folder(folder);
        let read = source.read().context("no folder given; name the folder with the documents")?;
        let shown = folder.display();
        let unreadable = read.unreadable.first().map(ToString::to_string);
        let first = read.problems.first().map(Problem::printable);
        let first = first.map(|one| format!("{}: {}", one.place.source, one.message));
        if let Some(why) = unreadable.or(first) {
            bail!("{why} (`tamis check {shown}` shows all problems)");
        }
        if read.documents.is_empty() {
            bail!("{shown} has no documents: it contains no *.yaml or *.yml file");
        }
        Ok(Self { documents: pinned(read.documents), source })
    }

    /// The guards in the phase `authz` that a request or a connection to a target meets, in their order, and those that close
    /// the port.
    ///
    /// # Errors
    /// No document declares the target, no proxy serves it, or it has no such listener.
    pub(super) fn guards(
        &self,
        target: &CalledTarget,
        listener: CalledListener<'_>,
    ) -> Result<Vec<Arc<FilterPlan>>> {
        let (kind, key) = (target.kind.as_str(), &target.key);
        let declared = |one: &&Document| one.kind() == kind && one.key() == *key;
        if !self.documents.iter().any(|one| declared(&one)) {
            bail!("the folder has no {kind} {key}");
        }
        let folded = fold(&self.documents, &target.node(), &|file| self.source.file(file));
        let plan = folded.plan.with_context(|| {
            format!("no proxy serves {kind} {key}: a Service needs an endpoint with a `sidecar`")
        })?;
        reached(&plan, listener).with_context(|| match listener {
            CalledListener::First => {
                format!("{kind} {key} takes no requests; of a tcp port, name its number as `port`")
            }
            CalledListener::Named(name) => format!("{kind} {key} has no listener `{name}`"),
            CalledListener::Port(port) => format!("{kind} {key} has no tcp port {port}"),
        })
    }
}

fn reached(plan: &NodePlan, listener: CalledListener<'_>) -> Option<Vec<Arc<FilterPlan>>> {
    let found = plan.listeners.iter().find(|one| listener.is(one))?;
    let all = found.chain.attachments.iter().filter_map(|at| plan.filters.get(*at));
    Some(all.filter(|one| listener.concerns(one)).cloned().collect())
}

/// The same documents with a pin of every filter that receives policies: what is signed and pinned is no matter of
/// what policies say.
fn pinned(documents: Vec<Document>) -> Vec<Document> {
    let mut pins = Vec::new();
    for document in &documents {
        if let Resource::Filter(spec) = &document.resource
            && spec.receives.is_some()
        {
            let digest = format!("sha256:{}", "0".repeat(64));
            pins.push(serde_json::json!({
                "service": "*", "filter": document.key(), "version": "0.0.0", "digest": digest,
            }));
        }
    }
    let lock = serde_json::json!({
        "apiVersion": "tamis.dev/v1alpha1", "kind": "FiltersLock", "filters": pins,
    });
    let lock = tamis_resources::read("filters.lock.yaml", &lock.to_string()).documents;
    let others = documents.into_iter().filter(|one| one.kind() != "FiltersLock");
    others.chain(lock).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_service_or_a_gateway() {
        for (text, wanted) in [
            ("shop/pay", Some(("Service", "shop/pay"))),
            ("service:shop/pay", Some(("Service", "shop/pay"))),
            ("gateway:shop/edge", Some(("Gateway", "shop/edge"))),
            ("pay", None),
            ("shop/", None),
            ("a/b/c", None),
            ("mesh:shop/pay", None),
            ("", None),
        ] {
            let read = text.parse::<CalledTarget>().ok();
            assert_eq!(
                read.as_ref().map(|one| (one.kind.as_str(), one.key.as_str())),
                wanted,
                "{text}"
            );
        }
    }
}

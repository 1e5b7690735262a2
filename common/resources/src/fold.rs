//! Computes the plan of one proxy from documents. A bad document becomes a problem; the others are used.

mod acme;
mod acme_listener;
mod allowed_routes;
mod attachment;
mod attachments;
mod authorization;
mod backend_tls;
mod capture;
mod certificate_check;
mod chains;
mod dns;
mod enforcement;
mod external;
mod external_checks;
mod federation;
mod grants;
mod listeners;
mod memories;
mod parents;
mod ports;
mod problems;
mod proxy_listeners;
mod reach;
mod route;
mod router_config;
mod routes;
mod service_checks;
mod services;
mod shared;
mod sidecar_addresses;
mod socket;
mod streams;
mod targets;
mod tcp;
#[cfg(test)]
mod tests;
mod trust;
mod virtual_addresses;

pub use federation::beyond_security as federation_beyond;
pub use grants::grant_plan;
pub use reach::{DocumentLookup, GuardReach, KindLookup, guard_reach};
pub(crate) use shared::{matches as matches_of, may_meet, path_of};
pub use trust::beyond as trust_beyond;

use std::borrow::Borrow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde::Serialize;

use crate::document::{Document, NEW};
use crate::kinds::{
    EndpointCapture, GatewaySpec, IdentityFiles, LOCK, RolloutSpec, ServiceSpec, Spec,
};
use crate::node_name::NodeName;
use crate::plan::{AddressPlan, NodePlan, Refused};
use crate::problem::Problem;
use crate::security::Security;
use crate::spiffe_bundle::BundleAuthority;
use crate::stray::GuardedPlaces;
use attachment::refused;
use external::{ContestedPorts, ExternalChecks};
use problems::FoldProblems;

/// Reads a file that a document names.
pub(crate) type Files<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, String>;

/// The result of a fold.
#[derive(Debug, Clone)]
pub struct FoldResult {
    /// The plan; `None` when the documents do not declare the proxy.
    pub plan: Option<NodePlan>,
    /// All problems, including those of documents that do not concern this proxy.
    pub problems: Vec<Problem>,
    /// One for each document.
    pub statuses: Vec<ResourceStatus>,
}

/// The result for one document.
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
    /// The explanation.
    pub message: String,
}

/// The proxy that the plan is for.
pub(crate) enum PlannedProxy<'a> {
    Gateway(&'a Document, &'a GatewaySpec),
    Sidecar(&'a Document, &'a ServiceSpec, usize),
}

pub(crate) const ACCEPTED: &str = "Accepted";
pub(crate) const RESOLVED: &str = "ResolvedRefs";

/// Documents by kind and key, and their problems.
pub(crate) struct Fold<'a> {
    pub(crate) node: &'a NodeName,
    pub(crate) files: Files<'a>,
    security: Security<'a>,
    documents: BTreeMap<(&'static str, String), &'a Document>,
    /// Documents that share kind, namespace and name with others and are not in force.
    doubles: Vec<&'a Document>,
    problems: FoldProblems,
    statuses: BTreeMap<(&'static str, String), Vec<Condition>>,
    /// The addresses by which DNS names services, by key.
    virtual_addresses: BTreeMap<String, Ipv4Addr>,
    /// The checks of certificates of hosts outside of the mesh that are reached over TLS.
    external_checks: ExternalChecks,
    /// Ports of such hosts about which documents contradict each other.
    contested_ports: ContestedPorts,
    /// The authorities of the trust domains that are federated with the mesh, in PEM, by domain.
    federated: BTreeMap<String, String>,
    /// What can be guarded; made when a target is not there.
    places: OnceCell<GuardedPlaces>,
}

/// Computes the plan of `node` from documents. `files` reads the files that documents name: key sets and
/// public keys.
///
/// All documents are of one owner, so every grant and trust policy decides. Deterministic: the same documents in any order
/// give the same plan.
pub fn fold<D: Borrow<Document>>(
    documents: &[D],
    node: &NodeName,
    files: &dyn Fn(&str) -> Result<Vec<u8>, String>,
) -> FoldResult {
    fold_under(documents, node, files, Security::Everybody)
}

/// As [`fold`], with documents of many owners: grants and trust policies outside the namespaces of `security` only narrow
/// what those within allow.
pub fn fold_under<D: Borrow<Document>>(
    documents: &[D],
    node: &NodeName,
    files: &dyn Fn(&str) -> Result<Vec<u8>, String>,
    security: Security<'_>,
) -> FoldResult {
    let mut fold = Fold::of(documents, node, files, security);
    let plan = fold.plan();
    let statuses = fold.statuses.into_iter().map(|((kind, key), conditions)| {
        let (namespace, name) = key.split_once('/').unwrap_or(("", &key));
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        ResourceStatus { kind: kind.to_owned(), namespace, name, conditions }
    });
    FoldResult { plan, problems: fold.problems.into_vec(), statuses: statuses.collect() }
}

/// The trust policies among the documents, as the trust crate reads them; whichever proxy asks, they are the same. Those
/// outside the namespaces of `security` say that they only narrow.
#[must_use]
pub fn trust_policies<D: Borrow<Document>>(
    documents: &[D],
    files: &dyn Fn(&str) -> Result<Vec<u8>, String>,
    security: Security<'_>,
) -> Vec<serde_json::Value> {
    let node = NodeName::Gateway { key: String::new() };
    let mut fold = Fold::of(documents, &node, files, security);
    fold.trust()
}

/// The authorities of each trust domain that documents federate with the mesh, by domain; whichever proxy asks, they are the
/// same, except that no proxy trusts others about its own domain.
#[must_use]
pub fn federated_authorities<D: Borrow<Document>>(
    documents: &[D],
    files: &dyn Fn(&str) -> Result<Vec<u8>, String>,
    security: Security<'_>,
) -> BTreeMap<String, Vec<BundleAuthority>> {
    let node = NodeName::Gateway { key: String::new() };
    let mut fold = Fold::of(documents, &node, files, security);
    federation::authorities(&fold.federated_domains())
}

impl<'a> Fold<'a> {
    /// The documents by kind and key, of which no plan is made yet.
    fn of<D: Borrow<Document>>(
        documents: &'a [D],
        node: &'a NodeName,
        files: Files<'a>,
        security: Security<'a>,
    ) -> Self {
        let mut fold = Self {
            node,
            files,
            security,
            documents: BTreeMap::new(),
            doubles: Vec::new(),
            problems: FoldProblems::default(),
            statuses: BTreeMap::new(),
            virtual_addresses: BTreeMap::new(),
            external_checks: ExternalChecks::new(),
            contested_ports: ContestedPorts::new(),
            federated: BTreeMap::new(),
            places: OnceCell::new(),
        };
        fold.index(documents);
        fold
    }

    /// Of documents with one kind, namespace and name, the one longest in force stays; if none is in force,
    /// none takes effect.
    fn index<D: Borrow<Document>>(&mut self, documents: &'a [D]) {
        let mut groups: BTreeMap<(&'static str, String), Vec<&'a Document>> = BTreeMap::new();
        for document in documents.iter().map(Borrow::borrow) {
            groups.entry((document.kind(), document.key())).or_default().push(document);
        }
        for (id, mut all) in groups {
            let holds = |kind, reason: &str| Condition {
                kind,
                status: true,
                reason: reason.to_owned(),
                message: String::new(),
            };
            let mut conditions = vec![holds(ACCEPTED, ACCEPTED), holds(RESOLVED, RESOLVED)];
            let stub = all.iter().find_map(|one| one.stub.as_ref());
            if let (Some(stub), Some(accepted)) = (stub, conditions.first_mut()) {
                let (reason, message) = ("Invalid".to_owned(), stub.why.clone());
                *accepted = Condition { kind: ACCEPTED, status: false, reason, message };
            }
            self.statuses.insert(id.clone(), conditions);
            all.sort_by_key(|one| (one.source.clone(), one.line()));
            let stays = match all.as_slice() {
                [_] => Some(0),
                many => longest(many.iter().map(|one| one.since)),
            };
            for (at, document) in all.iter().enumerate() {
                if stays == Some(at) {
                    self.documents.insert(id.clone(), document);
                    continue;
                }
                self.doubles.push(document);
                let then = stays.and_then(|at| all.get(at)).map_or_else(
                    || "neither applies unless it is in force already".to_owned(),
                    |one| format!("the one of {} stays in force", one.source),
                );
                let message = format!("{} {} exists twice; {then}", id.0, id.1);
                let problem = document.problem("document.duplicate", "/metadata/name", message);
                let others = all.iter().filter(|one| !std::ptr::eq(**one, *document));
                let others = others.map(|other| other.place("/metadata/name", "the other"));
                let problem = problem.also(others).help(match document.kind() {
                    // It has no name of its own.
                    LOCK => "keep one of them: move the entries of `filters` that only the other has into it, and delete the other",
                    _ => "keep one of them, or rename one",
                });
                if stays.is_none() {
                    self.fail(document, ACCEPTED, "Conflicted", problem);
                } else {
                    self.problems.push(problem);
                }
            }
        }
    }

    /// When several documents (or places in one) claim the same thing, the claim longest in force stays;
    /// the others, or all of them, are refused with every place. Returns the claims that lost.
    pub(crate) fn contradictions<K: Ord>(
        &mut self,
        claims: &[(K, Claim<'a>)],
        code: &str,
        said: impl Fn(&K) -> String,
    ) -> Vec<bool> {
        let lost = self.contradicted(claims, code, said, None);
        lost.iter().map(Option::is_some).collect()
    }

    /// As [`Fold::contradictions`], with the way out; returns the problem of each claim that lost.
    pub(crate) fn contradicted<K: Ord>(
        &mut self,
        claims: &[(K, Claim<'a>)],
        code: &str,
        said: impl Fn(&K) -> String,
        help: Option<&str>,
    ) -> Vec<Option<Problem>> {
        let mut groups: BTreeMap<&K, Vec<usize>> = BTreeMap::new();
        for (at, (key, _)) in claims.iter().enumerate() {
            groups.entry(key).or_default().push(at);
        }
        let mut lost = vec![None; claims.len()];
        for (key, members) in groups.into_iter().filter(|(_, members)| members.len() > 1) {
            let all: Vec<&Claim<'a>> =
                members.iter().filter_map(|at| claims.get(*at)).map(|(_, claim)| claim).collect();
            let stays = longest(all.iter().map(|one| one.document.since));
            let then = if stays.is_some() {
                "the one longer in force stays"
            } else {
                "none of them takes effect"
            };
            for (at, claim) in all.iter().enumerate().filter(|(at, _)| Some(*at) != stays) {
                let message = format!("{}; {then}", said(key));
                let problem = claim.document.problem(code, &claim.pointer, message);
                // Of two sides each names the other: all of them would be the square of what is written.
                let first = stays.and_then(|at| Some((all.get(at)?, "this one stays")));
                let others = all
                    .iter()
                    .enumerate()
                    .filter(|(other, _)| *other != at && Some(*other) != stays);
                let others = first.into_iter().chain(others.map(|(_, one)| (one, "the other")));
                let problem = problem
                    .also(others.map(|(one, label)| one.document.place(&one.pointer, label)));
                let problem = match help {
                    Some(help) => problem.help(help),
                    None => problem,
                };
                if let Some(lost) = members.get(at).and_then(|index| lost.get_mut(*index)) {
                    *lost = Some(problem.clone());
                }
                self.fail(claim.document, ACCEPTED, "Conflicted", problem);
            }
        }
        lost
    }

    /// All documents of a kind that share their name with others and are not in force.
    fn doubled_of<T: Spec + 'a>(&self) -> Vec<(&'a Document, &'a T)> {
        let all = self.doubles.iter();
        all.filter_map(|document| Some((*document, T::of(&document.resource)?))).collect()
    }

    /// Whether the grants and trust policies of a document's namespace decide.
    fn decides(&self, document: &Document) -> bool {
        self.security.is_in(&document.metadata.namespace)
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

    /// All documents of a kind in a namespace, by key.
    pub(crate) fn all_in<T: Spec + 'a>(&self, namespace: &str) -> Vec<&'a T> {
        let start = format!("{namespace}/");
        let all = self.documents.range((T::KIND, start.clone())..);
        let all = all.take_while(|((kind, key), _)| *kind == T::KIND && key.starts_with(&start));
        all.filter_map(|(_, document)| T::of(&document.resource)).collect()
    }

    /// Reports a problem and the condition that fails because of it.
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

    /// Several sockets of a proxy have the same problem.
    fn fail_once(
        &mut self,
        document: &Document,
        condition: &'static str,
        reason: &str,
        problem: Problem,
    ) {
        if self.problems.is_new(&problem, &problem.code) {
            self.fail(document, condition, reason, problem);
        }
    }

    fn plan(&mut self) -> Option<NodePlan> {
        let routes = self.routes();
        let streams = self.stream_routes();
        self.check_services();
        self.check_sidecar_addresses();
        self.federated = self.federated_domains();
        self.check_externals();
        self.virtual_addresses = self.assign_addresses();
        self.check_rollouts();
        let place = self.place();
        let trust = self.trust();
        let (identity, admin) = match &place {
            Some(PlannedProxy::Gateway(_, spec)) => (spec.identity.clone(), spec.admin.clone()),
            Some(PlannedProxy::Sidecar(_, spec, index)) => {
                let endpoint = spec.endpoints.get(*index);
                (spec.identity.clone(), endpoint.and_then(|one| one.admin.clone()))
            }
            None => (None, None),
        };
        // No other domain vouches for members of one's own.
        if let Some(own) = identity.as_deref().and_then(federation::domain_of) {
            self.federated.remove(own);
        }
        let services =
            place.as_ref().map(|place| self.services(place, &streams)).unwrap_or_default();
        let sockets =
            place.as_ref().map(|place| self.listeners(place, &streams)).unwrap_or_default();
        let dns = place.as_ref().and_then(|place| self.dns(place));
        let acme = place.as_ref().and_then(|place| self.acme(place, &sockets));
        let attachments = self.attachments(&routes);
        let policies = self.authorization(&routes);
        let place = place?;
        let (listeners, filters) = self.chains(&place, sockets, (&attachments, &policies), &routes);
        let services = services.into_iter().map(Arc::new).collect();
        let filters = filters.into_iter().map(Arc::new).collect();
        let node = self.node.to_string();
        let federated = std::mem::take(&mut self.federated);
        Some(NodePlan {
            node,
            identity,
            listeners,
            services,
            filters,
            admin,
            dns,
            acme,
            trust,
            federated,
        })
    }

    /// Documents of a folder take effect at once, so a rollout among them would have no effect.
    fn check_rollouts(&mut self) {
        for (document, _) in self.all::<RolloutSpec>() {
            let message =
                "a rollout has no effect in a folder of documents, which take effect at once";
            let problem = document
                .problem("rollout.misplaced", "/kind", message)
                .help("start it at a registry with `tamis rollout start --file`");
            self.fail(document, ACCEPTED, "UnsupportedValue", problem);
        }
    }

    /// Finds the proxy among the documents.
    fn place(&mut self) -> Option<PlannedProxy<'a>> {
        match self.node {
            NodeName::Gateway { key } => {
                let found = self.find::<GatewaySpec>(key);
                found.map(|(document, spec)| PlannedProxy::Gateway(document, spec))
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
                Some(PlannedProxy::Sidecar(document, spec, *index))
            }
        }
    }
}

fn because(problem: &Problem) -> Refused {
    let plan = refused(&problem.code, problem.message.clone());
    match &problem.help {
        Some(help) => Refused { remedy: help.clone(), ..plan },
        None => plan,
    }
}

/// A claim that only one document may make.
#[derive(Clone)]
pub(crate) struct Claim<'a> {
    pub(crate) document: &'a Document,
    pub(crate) pointer: String,
}

/// The claim in force for longer than all others; `None` when no claim is known to be in force.
pub(crate) fn longest(since: impl Iterator<Item = u64>) -> Option<usize> {
    let mut first: Option<(usize, u64)> = None;
    let mut tie = false;
    for (at, since) in since.enumerate() {
        match first {
            Some((_, lowest)) if since > lowest => {}
            Some((_, lowest)) if since == lowest => tie = true,
            _ => (first, tie) = (Some((at, since)), false),
        }
    }
    first.filter(|(_, since)| !tie && *since != NEW).map(|(at, _)| at)
}

/// How a proxy proves who it is.
pub(crate) enum IdentityProof<'a> {
    /// With files.
    Files(&'a IdentityFiles),
    /// With an SVID for this id.
    Svid(&'a str),
}

impl<'a> PlannedProxy<'a> {
    /// How this proxy proves who it is; `None`: its document has no identity.
    pub(crate) fn proof(&self) -> Option<IdentityProof<'a>> {
        let (files, identity) = match self {
            Self::Gateway(_, spec) => (&spec.tls, &spec.identity),
            Self::Sidecar(_, spec, _) => (&spec.tls, &spec.identity),
        };
        match (files, identity) {
            (Some(files), _) => Some(IdentityProof::Files(files)),
            (None, identity) => identity.as_deref().map(IdentityProof::Svid),
        }
    }

    /// What its document says about captured connections; `None`: it captures none, or is a gateway.
    fn capture(&self) -> Option<&'a EndpointCapture> {
        let Self::Sidecar(_, spec, index) = self else { return None };
        spec.endpoints.get(*index)?.capture.as_ref()
    }
}

/// The addresses of a document at which captured connections, or questions for names, may arrive: one of each family.
fn usable_addresses(addresses: &[String]) -> Vec<SocketAddr> {
    let mut found: Vec<SocketAddr> = Vec::new();
    for address in addresses.iter().filter_map(|text| text.parse::<SocketAddr>().ok()) {
        if address.ip().is_loopback()
            && address.port() != 0
            && found.iter().all(|one| one.is_ipv4() != address.is_ipv4())
        {
            found.push(address);
        }
    }
    found
}

/// An endpoint's address in its typed form.
pub(crate) fn address(text: &str) -> AddressPlan {
    match text.strip_prefix("unix:") {
        Some(path) => AddressPlan::Unix(path.to_owned()),
        None if text.parse::<SocketAddr>().is_ok() => AddressPlan::Tcp(text.to_owned()),
        None => AddressPlan::Dns(text.to_owned()),
    }
}

//! What a guard closes although its targets do not name it.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use super::authorization::as_guard;
use super::problems::FoldProblems;
use super::{Fold, Security};
use crate::document::Document;
use crate::kinds::{
    AuthorizationMode, FilterAttachmentSpec, ParentKind, ParentRef, Resource, TargetKind,
};
use crate::node_name::NodeName;
use crate::stray::{GuardedPlaces, kind_of};

/// Something that a guard closes although none of its targets names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum GuardReach {
    /// The whole mesh.
    Mesh,
    /// Everything of one kind in a namespace; `HTTPRoute` are the routes of both kinds.
    Kind {
        /// The namespace.
        namespace: String,
        /// The kind.
        kind: &'static str,
    },
    /// A service, by its `namespace/name`.
    Service(String),
}

/// Finds a document by its kind and its `namespace/name`.
pub type DocumentLookup<'f, 'a> = &'f dyn Fn(&str, &str) -> Option<&'a Document>;

/// Whether there is a document of a kind in a namespace.
pub type KindLookup<'f> = &'f dyn Fn(&str, &str) -> bool;

/// What a document closes beyond its targets: a guard of something that is not there closes whatever it may have been meant
/// for, one that stands in for a guard that cannot be used whatever that one may have been for, and a guard of a route
/// between services closes these services. Empty for everything that guards nothing.
///
/// It is decided by the code that places guards in plans, with the documents near the guard, which `find` finds, and with
/// the kinds that its namespace `has`: a guard of something that is not there closes all of its kind, or the whole namespace
/// if that has none.
#[must_use]
pub fn guard_reach<'a>(
    guard: &'a Document,
    find: DocumentLookup<'_, 'a>,
    has: KindLookup<'_>,
) -> BTreeSet<GuardReach> {
    let policy;
    let spec = match &guard.resource {
        Resource::FilterAttachment(spec) => spec,
        Resource::AuthorizationPolicy(spec) if spec.mode == AuthorizationMode::Enforce => {
            policy = as_guard(spec);
            &policy
        }
        _ => return BTreeSet::new(),
    };
    let node = NodeName::Gateway { key: String::new() };
    let own = &guard.metadata.namespace;
    let mut fold = Fold {
        node: &node,
        files: &|_| Err(String::new()),
        security: Security::Everybody,
        documents: near(guard, spec, find),
        doubles: Vec::new(),
        problems: FoldProblems::default(),
        statuses: BTreeMap::new(),
        virtual_addresses: BTreeMap::new(),
        external_checks: BTreeMap::new(),
        contested_ports: BTreeSet::new(),
        federated: BTreeMap::new(),
        places: OnceCell::from(GuardedPlaces::having(own, |kind| has(kind, own))),
    };
    let routes = fold.routes();
    let (targets, _) = fold.targets(guard, spec, &routes).split();
    let named: BTreeSet<String> = spec
        .target_refs
        .iter()
        .filter(|one| one.kind == TargetKind::Service)
        .filter_map(|one| Some(format!("{own}/{}", one.name.as_deref()?)))
        .collect();
    let wider = targets.into_iter().filter_map(|target| match target.kind {
        TargetKind::Mesh => Some(GuardReach::Mesh),
        kind if target.all => {
            let kind = if kind == TargetKind::GRPCRoute { TargetKind::HTTPRoute } else { kind };
            let namespace = target.key;
            kind_of(kind).map(|kind| GuardReach::Kind { namespace, kind })
        }
        TargetKind::Service if !named.contains(&target.key) => {
            Some(GuardReach::Service(target.key))
        }
        TargetKind::Service
        | TargetKind::Gateway
        | TargetKind::HTTPRoute
        | TargetKind::GRPCRoute => None,
    });
    wider.collect()
}

/// The documents that decide what a guard reaches: its targets, and the parents of those that are routes.
fn near<'a>(
    guard: &Document,
    spec: &FilterAttachmentSpec,
    find: DocumentLookup<'_, 'a>,
) -> BTreeMap<(&'static str, String), &'a Document> {
    let mut near = BTreeMap::new();
    let mut add = |kind: &str, key: &str| {
        let document = find(kind, key)?;
        near.insert((document.kind(), document.key()), document);
        Some(document)
    };
    for target in &spec.target_refs {
        let (Some(kind), Some(name)) = (kind_of(target.kind), &target.name) else { continue };
        let key = format!("{}/{name}", guard.metadata.namespace);
        for parent in add(kind, &key).map(parents).unwrap_or_default() {
            let (kind, key) = parent_key(parent, &guard.metadata.namespace);
            add(kind, &key);
        }
    }
    near
}

/// What a route is attached to.
fn parents(document: &Document) -> &[ParentRef] {
    match &document.resource {
        Resource::HTTPRoute(spec) => &spec.parent_refs,
        Resource::GRPCRoute(spec) => &spec.parent_refs,
        Resource::TLSRoute(spec) => &spec.parent_refs,
        Resource::TCPRoute(spec) => &spec.parent_refs,
        Resource::UDPRoute(spec) => &spec.parent_refs,
        _ => &[],
    }
}

fn parent_key(parent: &ParentRef, namespace: &str) -> (&'static str, String) {
    let kind = match parent.kind {
        ParentKind::Gateway => "Gateway",
        ParentKind::Service => "Service",
    };
    (kind, format!("{}/{}", parent.namespace.as_deref().unwrap_or(namespace), parent.name))
}

impl Document {
    /// Kind and `namespace/name` of everything that it is attached to, if it is a route.
    #[must_use]
    pub fn route_parents(&self) -> Vec<(&'static str, String)> {
        let all = parents(self).iter();
        all.map(|parent| parent_key(parent, &self.metadata.namespace)).collect()
    }
}

//! One attachment: what it applies to, and what stands in the plan for it.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value as Json;

use super::PlannedProxy;
use super::route::Route;
use super::socket::Socket;
use crate::document::Document;
use crate::kinds::{
    AttachmentDirection, FilterAttachmentSpec, OnFailure, Phase, TargetKind, World,
};
use crate::node_name::NodeName;
use crate::plan::{FilterPlan, GrantPlan, Refused, TrafficDirection};

/// An attachment that is in the plan wherever it applies.
pub(super) struct Attachment<'a> {
    pub(super) document: &'a Document,
    pub(super) spec: Cow<'a, FilterAttachmentSpec>,
    pub(super) world: World,
    pub(super) targets: Vec<Target>,
    pub(super) plan: FilterPlan,
    /// Whether it receives the authorization policies of its targets.
    pub(super) receives: bool,
}

/// An existing target.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) kind: TargetKind,
    /// `namespace/name`; a namespace when `all` of that kind in it are meant.
    pub(super) key: String,
    pub(super) section: Option<String>,
    pub(super) all: bool,
}

/// A place that a chain has only once: a world, and whether its filter extends another of that world.
pub(super) type Place = (World, bool);

impl Target {
    pub(super) fn mesh() -> Self {
        Self { kind: TargetKind::Mesh, key: String::new(), section: None, all: false }
    }

    pub(super) fn service(key: &str) -> Self {
        Self { kind: TargetKind::Service, key: key.to_owned(), section: None, all: false }
    }

    /// Everything of a kind in a namespace.
    pub(super) fn all(kind: TargetKind, namespace: &str) -> Self {
        Self { kind, key: namespace.to_owned(), section: None, all: true }
    }

    /// Everything in a namespace.
    pub(super) fn everything(namespace: &str) -> impl Iterator<Item = Self> {
        let kinds = [TargetKind::Gateway, TargetKind::Service, TargetKind::HTTPRoute];
        kinds.into_iter().map(move |kind| Self::all(kind, namespace))
    }

    /// Whether it names that document, alone or with others.
    pub(super) fn is(&self, document: &Document) -> bool {
        if self.all { document.metadata.namespace == self.key } else { document.has_key(&self.key) }
    }

    /// Whether a chain of that proxy may contain what is attached here. For routes only their sockets
    /// decide.
    pub(super) fn may_concern(&self, node: &NodeName) -> bool {
        match (self.kind, node) {
            (TargetKind::Mesh | TargetKind::HTTPRoute | TargetKind::GRPCRoute, _) => true,
            (TargetKind::Gateway, NodeName::Gateway { key })
            | (TargetKind::Service, NodeName::Sidecar { key, .. }) => {
                *key == self.key || (self.all && key.split('/').next() == Some(&self.key))
            }
            (TargetKind::Gateway | TargetKind::Service, _) => false,
        }
    }
}

impl Attachment<'_> {
    /// Its place among those that a chain has only once.
    pub(super) fn place(&self) -> Place {
        (self.world, self.spec.extend)
    }

    /// The rules to which it applies on this socket (`Some(None)`: all), or `None` when it does not apply.
    pub(super) fn scope(
        &self,
        place: &PlannedProxy<'_>,
        socket: &Socket<'_>,
        routes: &[Route<'_>],
    ) -> Option<Option<Vec<String>>> {
        let mut scope = Vec::new();
        for target in &self.targets {
            let all = match (target.kind, place) {
                (TargetKind::Mesh, _) => self.flows(socket.plan.direction),
                (TargetKind::Gateway, PlannedProxy::Gateway(gateway, _)) => {
                    target.is(gateway)
                        && target.section.as_ref().is_none_or(|name| *name == socket.plan.name)
                }
                (TargetKind::Service, PlannedProxy::Sidecar(service, ..)) => {
                    target.is(service) && self.flows(socket.plan.direction)
                }
                // Connections that nobody reads have no routes.
                (TargetKind::HTTPRoute | TargetKind::GRPCRoute, _) if socket.plan.tcp.is_some() => {
                    false
                }
                (TargetKind::HTTPRoute | TargetKind::GRPCRoute, _) => {
                    // Rules of both kinds of routes share one set of names, so both are meant.
                    let mine = routes.iter().filter(|route| target.is(route.document));
                    for route in mine.filter(|route| hangs_here(route, place, socket)) {
                        let rule = target.section.as_deref().unwrap_or_default();
                        let entry = format!("{}/{rule}", route.document.key());
                        if !scope.contains(&entry) {
                            scope.push(entry);
                        }
                    }
                    false
                }
                _ => false,
            };
            if all {
                return Some(None);
            }
        }
        (!scope.is_empty()).then_some(Some(scope))
    }

    /// Whether it has a part in connections that nobody reads: it guards something, or may decide about connections, or
    /// about the endpoint that they go to, or sees their end. One whose filter is unknown may do all of that.
    pub(super) fn is_for_connections(&self) -> bool {
        let decides = matches!(
            self.world,
            World::ConnectionPolicy
                | World::Everything
                | World::BreakerPolicy
                | World::TelemetryPolicy
        );
        guards(self.spec.phase) || decides || self.plan.world.is_none()
    }

    /// Whether it guards requests alone, and so can say nothing about a connection.
    pub(super) fn guards_requests_alone(&self) -> bool {
        let decides = matches!(self.world, World::ConnectionPolicy | World::Everything);
        guards(self.spec.phase) && !self.receives && !decides
    }

    fn flows(&self, direction: TrafficDirection) -> bool {
        let policy = alone(self.world) || self.world == World::TelemetryPolicy;
        let default = if policy { AttachmentDirection::Both } else { AttachmentDirection::Inbound };
        match (direction, self.spec.direction.unwrap_or(default)) {
            (TrafficDirection::Gateway, _) | (_, AttachmentDirection::Both) => true,
            (TrafficDirection::Inbound, wanted) => wanted == AttachmentDirection::Inbound,
            (TrafficDirection::Outbound, wanted) => wanted == AttachmentDirection::Outbound,
        }
    }
}

fn hangs_here(route: &Route<'_>, place: &PlannedProxy<'_>, socket: &Socket<'_>) -> bool {
    match place {
        PlannedProxy::Gateway(gateway, _) => route.hangs_on_listener(&gateway.key(), socket),
        PlannedProxy::Sidecar(..) => {
            socket.plan.direction == TrafficDirection::Outbound && route.hangs_on_a_service()
        }
    }
}

/// Who sets the rules that documents break.
pub(super) const DOCUMENTS: &str = "the documents in force";

/// The refusal of something that documents do not allow to run.
pub(super) fn refused(code: &str, rule: String) -> Refused {
    let remedy = "correct the document; `tamis check` shows where";
    Refused::new(code.to_owned(), rule, DOCUMENTS, remedy)
}

/// Worlds that a chain has at most once.
pub(super) fn alone(world: World) -> bool {
    use World::{BalancePolicy, BreakerPolicy, HedgePolicy, RetryPolicy, RoutePolicy};
    matches!(world, RoutePolicy | RetryPolicy | HedgePolicy | BreakerPolicy | BalancePolicy)
}

/// Whether a phase decides who may pass.
pub(super) fn guards(phase: Phase) -> bool {
    matches!(phase, Phase::Authn | Phase::Authz)
}

/// The plan of an attachment before its filter, its version and its grant are known.
pub(super) fn blank(document: &Document, spec: &FilterAttachmentSpec) -> FilterPlan {
    let guard = guards(spec.phase);
    let config = if spec.config.is_null() {
        Json::Object(serde_json::Map::new())
    } else {
        spec.config.clone()
    };
    FilterPlan {
        attachment: document.key(),
        filter: spec.filter.clone(),
        version: String::new(),
        digest: String::new(),
        phase: spec.phase,
        order: spec.order,
        config: Arc::new(config),
        on_failure: if guard { OnFailure::Closed } else { spec.on_failure },
        isolation: spec.isolation,
        world: None,
        scope: None,
        extend: spec.extend,
        covers: Vec::new(),
        signed_by: None,
        grant: GrantPlan::default(),
        refused: None,
        receives: false,
    }
}

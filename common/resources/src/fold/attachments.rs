//! Attachments: checked, pinned, granted, and put into the chain of each socket.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::grants::Granted;
use super::listeners::Socket;
use super::routes::Route;
use super::{ACCEPTED, Fold, Place, RESOLVED};
use crate::check::suggestion;
use crate::document::Document;
use crate::kinds::{
    AttachmentDirection, FilterAttachmentSpec, FilterSpec, FiltersLockSpec, GatewaySpec, OnFailure,
    Phase, Pin, ServiceSpec, TargetKind, World,
};
use crate::node_name::NodeName;
use crate::plan::{DirectionPlan, FilterPlan, GrantPlan, ListenerPlan, RefusedPlan};
use crate::problem::Problem;

/// An attachment that is in the plan wherever it applies.
pub(super) struct Attachment<'a> {
    document: &'a Document,
    spec: &'a FilterAttachmentSpec,
    world: World,
    targets: Vec<Target>,
    plan: FilterPlan,
}

/// A target that is there.
struct Target {
    kind: TargetKind,
    key: String,
    section: Option<String>,
}

/// Why an attachment cannot run: condition, reason of the condition, problem.
type Refusal = (&'static str, &'static str, Problem);

/// Where two attachments may not share an order.
type Slot = (TargetKind, String, Option<String>, Phase, i32);

impl<'a> Fold<'a> {
    /// All attachments that are in some chain, in the order of chains.
    pub(super) fn attachments(&mut self, routes: &[Route<'_>]) -> Vec<Attachment<'a>> {
        let grants = self.grants();
        self.check_locks();
        let mut slots: BTreeMap<Slot, &Document> = BTreeMap::new();
        let mut out = Vec::new();
        for (document, spec) in self.all::<FilterAttachmentSpec>() {
            let (targets, unguarded) = self.targets(document, spec, routes);
            let filter = self.find::<FilterSpec>(&spec.filter);
            let world = filter.map_or(World::Authorizer, |(_, filter)| filter.world);
            let mut plan = blank(document, spec);
            let mut refusals = Vec::new();
            refusals.extend(unguarded.map(|problem| (RESOLVED, "TargetNotFound", problem)));
            if let Some(problem) = tie(document, spec, &targets, &mut slots) {
                refusals.push((ACCEPTED, "Conflicted", problem));
            }
            refusals.extend(misuse(document, spec, world));
            if filter.is_none() {
                refusals.push(self.unknown_filter(document, spec));
            } else {
                let here = targets.iter().any(|target| target.may_concern(self.node));
                refusals.extend(self.resolve(document, spec, &grants, here, &mut plan));
            }
            if let Some((_, _, problem)) = refusals.first() {
                let (code, reason) = (problem.code.clone(), problem.message.clone());
                let set_by = "the documents in force".to_owned();
                let remedy = problem.help.clone().unwrap_or_default();
                plan.refused = Some(RefusedPlan { code, reason, set_by, remedy });
            }
            for (condition, reason, problem) in refusals {
                self.fail(document, condition, reason, problem);
            }
            // What fails closed stays, refused: left out, traffic would pass unchecked.
            if plan.refused.is_none() || plan.on_failure == OnFailure::Closed {
                out.push(Attachment { document, spec, world, targets, plan });
            }
        }
        out.sort_by_key(|one| (one.spec.phase, one.spec.order, one.document.key()));
        out
    }

    /// The targets that are there. A guard (`authn`, `authz`) of a section that is not there guards the whole, refused:
    /// a misspelt rule must not be left open; the second value says so.
    fn targets(
        &mut self,
        document: &Document,
        spec: &FilterAttachmentSpec,
        routes: &[Route<'_>],
    ) -> (Vec<Target>, Option<Problem>) {
        let mut targets = Vec::new();
        let mut unguarded = None;
        for (at, target) in spec.target_refs.iter().enumerate() {
            let name = target.name.as_deref().unwrap_or_default();
            let key = format!("{}/{name}", document.metadata.namespace);
            let section = target.section_name.as_deref();
            let wrong = match target.kind {
                TargetKind::Mesh => (target.name.is_some() || section.is_some())
                    .then(|| "Mesh has no name and no section".to_owned()),
                TargetKind::Service => match self.find::<ServiceSpec>(&key) {
                    None => Some(format!("there is no Service {key}")),
                    Some(_) => section.map(|_| "a Service has no sections".to_owned()),
                },
                TargetKind::Gateway => match self.find::<GatewaySpec>(&key) {
                    None => Some(format!("there is no Gateway {key}")),
                    Some((_, gateway)) => section
                        .filter(|name| !gateway.listeners.iter().any(|one| one.name == *name))
                        .map(|name| format!("Gateway {key} has no listener `{name}`")),
                },
                TargetKind::HTTPRoute | TargetKind::GRPCRoute => {
                    let kind = if target.kind == TargetKind::HTTPRoute {
                        "HTTPRoute"
                    } else {
                        "GRPCRoute"
                    };
                    let found = routes
                        .iter()
                        .find(|one| one.document.kind() == kind && one.document.key() == key);
                    match found {
                        None => Some(format!("there is no {kind} {key}")),
                        Some(route) => section
                            .filter(|name| !route.names.contains(&Some(name)))
                            .map(|name| format!("{kind} {key} has no rule `{name}`")),
                    }
                }
            };
            if let Some(message) = wrong {
                let pointer = format!("/spec/targetRefs/{at}");
                let problem = document.problem("attachment.target", &pointer, message);
                let sections = matches!(
                    target.kind,
                    TargetKind::Gateway | TargetKind::HTTPRoute | TargetKind::GRPCRoute
                );
                if guards(spec.phase) && sections && section.is_some() {
                    targets.push(Target { kind: target.kind, key, section: None });
                    unguarded = Some(problem);
                    continue;
                }
                self.fail(document, RESOLVED, "TargetNotFound", problem);
                continue;
            }
            let key = if target.kind == TargetKind::Mesh { String::new() } else { key };
            targets.push(Target { kind: target.kind, key, section: target.section_name.clone() });
        }
        (targets, unguarded)
    }

    fn unknown_filter(&self, document: &Document, spec: &FilterAttachmentSpec) -> Refusal {
        let known: Vec<String> =
            self.all::<FilterSpec>().iter().map(|(one, _)| one.key()).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let message = format!("there is no Filter {}", spec.filter);
        let mut problem = document.problem("filter.unknown", "/spec/filter", message);
        problem.help = suggestion(&spec.filter, &known);
        (RESOLVED, "FilterNotFound", problem)
    }

    /// Pin, grant and configuration. A pin that is missing is none of a proxy's business whose chains the
    /// attachment is not `here` to be in: filters are pinned for each service on its own.
    fn resolve(
        &mut self,
        document: &Document,
        spec: &FilterAttachmentSpec,
        grants: &BTreeMap<String, Granted>,
        here: bool,
        plan: &mut FilterPlan,
    ) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let node = self.node.key();
        match self.pin(&spec.filter, node) {
            Some(pin) => {
                plan.version.clone_from(&pin.version);
                plan.digest.clone_from(&pin.digest);
            }
            None if !here => {}
            None => {
                let message = format!("{} is not pinned for {node}", spec.filter);
                let problem = document.problem("pin.missing", "/spec/filter", message);
                let problem = problem.help(format!("tamis pin {node} {}@VERSION", spec.filter));
                refusals.push((RESOLVED, "PinMissing", problem));
            }
        }
        if let Some((grant, signed_by)) = grants.get(&spec.filter) {
            plan.grant = grant.clone();
            plan.signed_by.clone_from(signed_by);
        } else {
            let message = format!("no Grant allows {} to run", spec.filter);
            let problem = document.problem("grant.missing", "/spec/filter", message);
            let problem = problem.help(format!("write a Grant with `filter: {}`", spec.filter));
            refusals.push((RESOLVED, "GrantMissing", problem));
        }
        if let Err(message) = inline(Arc::make_mut(&mut plan.config), self.files) {
            let problem = document.problem("file.unreadable", "/spec/config", message);
            refusals.push((RESOLVED, "FileUnreadable", problem));
        }
        refusals
    }

    fn check_locks(&mut self) {
        let mut seen: BTreeMap<(&str, &str), &Document> = BTreeMap::new();
        for (document, lock) in self.all::<FiltersLockSpec>() {
            for (at, pin) in lock.filters.iter().enumerate() {
                if seen.insert((&pin.service, &pin.filter), document).is_some() {
                    let message = format!(
                        "{} is pinned twice for {}; the first counts",
                        pin.filter, pin.service
                    );
                    let problem = document.problem(
                        "pin.duplicate",
                        &format!("/filters/{at}/filter"),
                        message,
                    );
                    self.fail(document, ACCEPTED, "Conflicted", problem);
                }
            }
        }
    }

    /// The pin of this proxy's service, else the one of all.
    fn pin(&self, filter: &str, service: &str) -> Option<&'a Pin> {
        let locks = self.all::<FiltersLockSpec>();
        let find = |service: &str| {
            let mut pins = locks.iter().flat_map(|(_, lock)| &lock.filters);
            pins.find(|pin| pin.filter == filter && pin.service == service)
        };
        find(service).or_else(|| find("*"))
    }

    /// Fills the chain of each socket.
    pub(super) fn chains(
        &mut self,
        place: &Place<'a>,
        sockets: Vec<Socket<'a>>,
        attachments: &[Attachment<'a>],
        routes: &[Route<'a>],
    ) -> (Vec<ListenerPlan>, Vec<FilterPlan>) {
        let mut filters: Vec<FilterPlan> = Vec::new();
        let mut listeners = Vec::new();
        for mut socket in sockets {
            let mut single: Vec<&Attachment<'a>> = Vec::new();
            for attachment in attachments {
                let Some(scope) = attachment.scope(place, &socket, routes) else { continue };
                if alone(attachment.world) {
                    if let Some(first) = single.iter().find(|one| one.world == attachment.world) {
                        self.second(attachment, first);
                        continue;
                    }
                    single.push(attachment);
                }
                let mut plan = attachment.plan.clone();
                plan.scope = scope;
                if attachment.world == World::RoutePolicy {
                    plan.config = Arc::new(self.router_config(place, &socket, routes));
                }
                let index = filters.iter().position(|one| *one == plan).unwrap_or_else(|| {
                    filters.push(plan);
                    filters.len() - 1
                });
                socket.plan.chain.attachments.push(index);
            }
            listeners.push(socket.plan);
        }
        (listeners, filters)
    }

    fn second(&mut self, attachment: &Attachment<'_>, first: &Attachment<'_>) {
        let message = format!(
            "a chain has one {:?}, and {} is there already",
            attachment.world,
            first.document.key()
        );
        let problem = attachment.document.problem("attachment.second", "/spec/filter", message);
        let problem = problem.also(first.document.place("/spec/filter", "this one counts"));
        if !self.problems.iter().any(|one| one.place == problem.place && one.code == problem.code) {
            self.fail(attachment.document, ACCEPTED, "Conflicted", problem);
        }
    }
}

impl Target {
    /// Whether a chain of that proxy may have what is attached here. Of routes only their sockets know.
    fn may_concern(&self, node: &NodeName) -> bool {
        match (self.kind, node) {
            (TargetKind::Mesh | TargetKind::HTTPRoute | TargetKind::GRPCRoute, _) => true,
            (TargetKind::Gateway, NodeName::Gateway { key })
            | (TargetKind::Service, NodeName::Sidecar { key, .. }) => *key == self.key,
            (TargetKind::Gateway | TargetKind::Service, _) => false,
        }
    }
}

impl Attachment<'_> {
    /// The rules it applies to on this socket (`Some(None)`: all), or `None` when it does not apply.
    fn scope(
        &self,
        place: &Place<'_>,
        socket: &Socket<'_>,
        routes: &[Route<'_>],
    ) -> Option<Option<Vec<String>>> {
        let mut scope = Vec::new();
        for target in &self.targets {
            let all = match (target.kind, place) {
                (TargetKind::Mesh, _) => self.flows(socket.plan.direction),
                (TargetKind::Gateway, Place::Gateway(gateway, _)) => {
                    gateway.key() == target.key
                        && target.section.as_ref().is_none_or(|name| *name == socket.plan.name)
                }
                (TargetKind::Service, Place::Sidecar(service, ..)) => {
                    service.key() == target.key && self.flows(socket.plan.direction)
                }
                (TargetKind::HTTPRoute | TargetKind::GRPCRoute, _) => {
                    let here = routes.iter().any(|route| {
                        route.document.key() == target.key && hangs_here(route, place, socket)
                    });
                    if here {
                        let rule = target.section.as_deref().unwrap_or_default();
                        scope.push(format!("{}/{rule}", target.key));
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

    fn flows(&self, direction: DirectionPlan) -> bool {
        let policy = alone(self.world) || self.world == World::TelemetryPolicy;
        let default = if policy { AttachmentDirection::Both } else { AttachmentDirection::Inbound };
        match (direction, self.spec.direction.unwrap_or(default)) {
            (DirectionPlan::Gateway, _) | (_, AttachmentDirection::Both) => true,
            (DirectionPlan::Inbound, wanted) => wanted == AttachmentDirection::Inbound,
            (DirectionPlan::Outbound, wanted) => wanted == AttachmentDirection::Outbound,
        }
    }
}

fn hangs_here(route: &Route<'_>, place: &Place<'_>, socket: &Socket<'_>) -> bool {
    match place {
        Place::Gateway(gateway, _) => route.hangs_on_listener(&gateway.key(), socket),
        Place::Sidecar(..) => {
            socket.plan.direction == DirectionPlan::Outbound && route.hangs_on_a_service()
        }
    }
}

/// Worlds of which a chain has at most one.
fn alone(world: World) -> bool {
    use World::{BalancePolicy, BreakerPolicy, HedgePolicy, RetryPolicy, RoutePolicy};
    matches!(world, RoutePolicy | RetryPolicy | HedgePolicy | BreakerPolicy | BalancePolicy)
}

/// Whether a phase decides who may pass.
fn guards(phase: Phase) -> bool {
    matches!(phase, Phase::Authn | Phase::Authz)
}

/// Takes the attachment's slots; a problem when another has one of them.
fn tie<'a>(
    document: &'a Document,
    spec: &FilterAttachmentSpec,
    targets: &[Target],
    slots: &mut BTreeMap<Slot, &'a Document>,
) -> Option<Problem> {
    let mut problem = None;
    for target in targets {
        let slot =
            (target.kind, target.key.clone(), target.section.clone(), spec.phase, spec.order);
        let first = *slots.entry(slot).or_insert(document);
        if first.key() != document.key() {
            let message = format!(
                "{} and {} both have order {} in one phase of one target",
                first.key(),
                document.key(),
                spec.order
            );
            let found = document.problem("attachment.tie", "/spec/order", message);
            let found = found.help("give one of them another order");
            problem = Some(found.also(first.place("/spec/order", "the other")));
        }
    }
    problem
}

/// What the fields of an attachment do not allow together.
fn misuse(document: &Document, spec: &FilterAttachmentSpec, world: World) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let mut refuse = |code: &str, pointer: &str, message: &str| {
        refusals.push((ACCEPTED, "Invalid", document.problem(code, pointer, message)));
    };
    let guard = guards(spec.phase);
    if guard && spec.on_failure != OnFailure::Closed {
        refuse(
            "attachment.on-failure",
            "/spec/onFailure",
            "authn and authz fail closed; leave onFailure out",
        );
    }
    let scoped = |kind| matches!(kind, TargetKind::HTTPRoute | TargetKind::GRPCRoute);
    if alone(world) && spec.target_refs.iter().any(|target| scoped(target.kind)) {
        let message =
            "this policy is for whole chains; attach it to a Gateway, a Service or the Mesh";
        refuse("attachment.scope", "/spec/targetRefs", message);
    }
    let empty =
        spec.config.is_null() || spec.config.as_object().is_some_and(serde_json::Map::is_empty);
    if world == World::RoutePolicy && !empty {
        refuse(
            "attachment.config",
            "/spec/config",
            "routers are configured by routes; leave config out",
        );
    }
    refusals
}

fn blank(document: &Document, spec: &FilterAttachmentSpec) -> FilterPlan {
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
        scope: None,
        signed_by: None,
        grant: GrantPlan::default(),
        refused: None,
    }
}

/// Puts key sets in the place of their files: `jwks: {file: PATH}` becomes `jwks: {inline: …}`.
fn inline(config: &mut Json, files: super::Files<'_>) -> Result<(), String> {
    match config {
        Json::Array(items) => items.iter_mut().try_for_each(|item| inline(item, files)),
        Json::Object(map) => {
            for (name, value) in map.iter_mut() {
                let path = value.get("file").and_then(Json::as_str).filter(|_| name == "jwks");
                let Some(path) = path.map(str::to_owned) else {
                    inline(value, files)?;
                    continue;
                };
                let bytes =
                    files(&path).map_err(|error| format!("could not read {path}: {error}"))?;
                let json: Json = serde_json::from_slice(&bytes)
                    .map_err(|error| format!("{path} is not JSON: {error}"))?;
                *value = serde_json::json!({ "inline": json });
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

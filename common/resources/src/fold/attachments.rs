//! Attachments: checked, pinned, granted, and put into the chain of each socket.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value as Json;

use super::attachment::{Attachment, DOCUMENTS, Place, Target, alone, blank, guards, refused};
use super::authorization::{Member, Policy, because, receive};
use super::grants::Grants;
use super::listeners::Socket;
use super::routes::Route;
use super::{ACCEPTED, Claim, Fold, PlannedProxy, RESOLVED, Security, longest};
use crate::check::suggestion;
use crate::document::{Document, UnusableReach};
use crate::kinds::{
    AttachmentDirection, FilterAttachmentSpec, FilterSpec, FiltersLockSpec, GatewaySpec, LOCK,
    OnFailure, Phase, Pin, ServiceSpec, Spec as _, TargetKind, World,
};
use crate::plan::{FilterPlan, ListenerPlan, Refused};
use crate::problem::{Problem, grant_of};
use crate::stray::{CLOSED, GuardedPlaces, MissingReach, kind_of};

/// The code for a second filter of a world that a chain has only once.
const SECOND: &str = "attachment.second";

/// Why an attachment cannot run: condition, reason of the condition, problem.
type Refusal = (&'static str, &'static str, Problem);

/// A place in which two attachments may not have the same order.
type OrderedPlace = (Target, Phase, i32);

/// The targets of an attachment, and their problems.
#[derive(Default)]
pub(super) struct Targets {
    found: Vec<Target>,
    /// The problem of a guard of which a part is unknown or not enforced; it is refused as a whole.
    unguarded: Option<Problem>,
}

impl Targets {
    /// The targets, and the problem of those that are unknown.
    pub(super) fn split(self) -> (Vec<Target>, Option<Problem>) {
        (self.found, self.unguarded)
    }
}

impl<'a> Fold<'a> {
    /// All attachments that are in some chain, in the order of chains.
    pub(super) fn attachments(&mut self, routes: &[Route<'_>]) -> Vec<Attachment<'a>> {
        let grants = self.grants();
        self.check_locks();
        let mut all = Vec::new();
        for (document, spec) in self.all::<FilterAttachmentSpec>() {
            all.push((document, spec, self.targets(document, spec, routes)));
        }
        let ties = self.ties(&all);
        let shared = self.shared_memories(all.iter().map(|(document, spec, _)| (*document, *spec)));
        let mut out = Vec::new();
        for (document, spec, Targets { found: targets, unguarded }) in all {
            let filter = self.find::<FilterSpec>(&spec.filter);
            let world = filter.map_or(World::Authorizer, |(_, filter)| filter.world);
            let mut plan = blank(document, spec);
            plan.world = filter.map(|(_, filter)| filter.world);
            let receives = filter.is_some_and(|(_, filter)| filter.receives.is_some());
            let attachment = |targets, plan| {
                let spec = Cow::Borrowed(spec);
                Attachment { document, spec, world, targets, plan, receives }
            };
            if let Some(stub) = &document.stub {
                let (code, reason) = ("document.invalid".to_owned(), stub.why.clone());
                plan.refused = Some(refused(&code, reason));
                out.push(attachment(targets, plan));
                continue;
            }
            let mut refusals = Vec::new();
            refusals.extend(unguarded.map(|problem| (RESOLVED, "TargetNotFound", problem)));
            refusals.extend(misuse(document, spec, world));
            refusals.extend(receives.then(|| misplaced(document, spec)).flatten());
            if filter.is_none() {
                refusals.push(self.unknown_filter(document, spec));
            } else {
                let here = targets.iter().any(|target| target.may_concern(self.node));
                refusals.extend(self.resolve(document, spec, &grants, here, &mut plan));
            }
            let first = refusals.first().map(|(_, _, problem)| problem);
            if let Some(problem) =
                first.or(ties.get(&document.key())).or(shared.get(&document.key()))
            {
                let (code, rule) = (problem.code.clone(), problem.message.clone());
                let remedy = problem.help.clone().unwrap_or_default();
                plan.refused = Some(Refused::new(code, rule, DOCUMENTS, remedy));
            }
            for (condition, reason, problem) in refusals {
                self.fail(document, condition, reason, problem);
            }
            // What fails closed stays in the chain, refused: without it, traffic would pass unchecked.
            if plan.refused.is_none() || plan.on_failure == OnFailure::Closed {
                out.push(attachment(targets, plan));
            }
        }
        out.extend(self.doubled(routes));
        out.sort_by_key(|one| (one.spec.phase, one.spec.order, one.plan.attachment.clone()));
        out
    }

    /// Attachments that share their name with others and are not in force: refused, each under a name of
    /// its own, unless their faults leave exchanges alone.
    fn doubled(&mut self, routes: &[Route<'_>]) -> Vec<Attachment<'a>> {
        let mut out = Vec::new();
        for (at, document) in self.doubles.clone().into_iter().enumerate() {
            let Some(spec) = FilterAttachmentSpec::of(&document.resource) else { continue };
            let Targets { found: targets, .. } = self.targets(document, spec, routes);
            let mut plan = blank(document, spec);
            if plan.on_failure != OnFailure::Closed {
                continue;
            }
            plan.attachment = format!("{}~{at}", plan.attachment);
            let reason = format!("FilterAttachment {} exists twice", document.key());
            plan.refused = Some(refused("document.duplicate", reason));
            let (spec, world) = (Cow::Borrowed(spec), World::Authorizer);
            out.push(Attachment { document, spec, world, targets, plan, receives: false });
        }
        out
    }

    /// Orders that several attachments have in one phase of one target: the one longest in force stays; the
    /// others, or all, are refused.
    fn ties(
        &mut self,
        all: &[(&'a Document, &'a FilterAttachmentSpec, Targets)],
    ) -> BTreeMap<String, Problem> {
        let mut claims: Vec<(OrderedPlace, Claim<'a>)> = Vec::new();
        for (document, spec, targets) in all.iter().filter(|(document, ..)| !document.is_stub()) {
            let mut own: Vec<&Target> = targets.found.iter().filter(|one| !one.all).collect();
            own.sort();
            own.dedup();
            let claim = || Claim { document, pointer: "/spec/order".to_owned() };
            claims
                .extend(own.into_iter().map(|it| ((it.clone(), spec.phase, spec.order), claim())));
        }
        let said = |(_, _, order): &OrderedPlace| {
            format!("several attachments have order {order} in one phase of one target")
        };
        let help = Some("give one of them another order");
        let lost = self.contradicted(&claims, "attachment.tie", said, help);
        let mut ties: BTreeMap<String, Problem> = BTreeMap::new();
        for ((_, claim), problem) in claims.iter().zip(lost) {
            if let Some(problem) = problem {
                ties.entry(claim.document.key()).or_insert(problem);
            }
        }
        ties
    }

    /// The existing targets. A guard (`authn`, `authz`) whose target does not exist is refused for
    /// everything that it may have been meant for: with a misspelt rule the whole route, with a misspelt
    /// route all routes of the namespace, and where it has none, everything in it.
    pub(super) fn targets(
        &mut self,
        document: &Document,
        spec: &FilterAttachmentSpec,
        routes: &[Route<'_>],
    ) -> Targets {
        let mut targets = Targets::default();
        let closed = guards(spec.phase) || document.is_stub();
        let space = &document.metadata.namespace;
        match document.stub.as_ref().map(|stub| stub.reach) {
            Some(UnusableReach::Everything) => targets.found.push(Target::mesh()),
            Some(UnusableReach::Namespace) => targets.found.extend(Target::everything(space)),
            Some(UnusableReach::Targets) | None => {}
        }
        for (at, target) in spec.target_refs.iter().enumerate() {
            let name = target.name.as_deref().unwrap_or_default();
            let key = format!("{space}/{name}");
            let section = target.section_name.as_deref();
            let missing = |what: String, wider: Target| Some((what, wider));
            let whole = Target { kind: target.kind, key: key.clone(), section: None, all: false };
            let wrong = match target.kind {
                TargetKind::Mesh => (target.name.is_some() || section.is_some())
                    .then(|| ("Mesh has no name and no section".to_owned(), Target::mesh())),
                TargetKind::Service => match self.find::<ServiceSpec>(&key) {
                    None => missing(
                        format!("there is no Service {key}"),
                        Target::all(target.kind, space),
                    ),
                    Some(_) => section.map(|_| ("a Service has no sections".to_owned(), whole)),
                },
                TargetKind::Gateway => match self.find::<GatewaySpec>(&key) {
                    None => missing(
                        format!("there is no Gateway {key}"),
                        Target::all(target.kind, space),
                    ),
                    Some((_, gateway)) => section
                        .filter(|name| !gateway.listeners.iter().any(|one| one.name == *name))
                        .map(|name| (format!("Gateway {key} has no listener `{name}`"), whole)),
                },
                TargetKind::HTTPRoute | TargetKind::GRPCRoute => {
                    let kind = if target.kind == TargetKind::HTTPRoute {
                        "HTTPRoute"
                    } else {
                        "GRPCRoute"
                    };
                    let found = routes
                        .iter()
                        .find(|one| one.document.kind() == kind && one.document.has_key(&key));
                    let all = Target::all(target.kind, space);
                    match found {
                        None => missing(format!("there is no {kind} {key}"), all),
                        Some(route) if route.left_out => {
                            missing(format!("{kind} {key} cannot be used as it is written"), all)
                        }
                        Some(route) if closed && route.hangs_on_a_service() => {
                            // Only the caller's proxy applies this route, so the filter would run only for
                            // callers that have a proxy.
                            targets.found.extend(route.callees().map(Target::service));
                            let what = format!(
                                "{kind} {key} routes calls between services, which only the caller's proxy applies: a caller without a proxy would bypass this filter"
                            );
                            missing(what, whole)
                        }
                        Some(route) => section
                            .filter(|name| !route.names.contains(&Some(name)))
                            .map(|name| (format!("{kind} {key} has no rule `{name}`"), whole)),
                    }
                }
            };
            if let Some((message, wider)) = wrong {
                let pointer = format!("/spec/targetRefs/{at}");
                let mut problem = document.problem("attachment.target", &pointer, message);
                if let (true, Some(kind)) = (wider.all, kind_of(target.kind)) {
                    problem = problem.lacks(format!("{kind}/{key}"));
                }
                if closed {
                    let help = if wider.all {
                        let missing = self.guarded_places().missing(target.kind, &key);
                        if missing.reach == MissingReach::Namespace {
                            targets.found.extend(Target::everything(space));
                        }
                        missing.help
                    } else {
                        CLOSED.to_owned()
                    };
                    targets.found.push(wider);
                    targets.unguarded.get_or_insert(problem.help(help));
                    continue;
                }
                self.fail(document, RESOLVED, "TargetNotFound", problem);
                continue;
            }
            let key = if target.kind == TargetKind::Mesh { String::new() } else { key };
            let section = target.section_name.clone();
            targets.found.push(Target { kind: target.kind, key, section, all: false });
        }
        targets
    }

    /// The way out for a filter that is not pinned: a folder of one owner has its pins in a file, and no registry.
    fn how_to_pin(&self, filter: &str) -> String {
        match self.security {
            Security::Namespaces(_) => format!("`tamis pin {} {filter}@VERSION`", self.node.key()),
            Security::Everybody => format!(
                "in a folder, `tamis filter sign COMPONENT --name {filter} --version VERSION --key KEY --store FOLDER/.tamis/store --pin FOLDER/.tamis/filters.lock.yaml`, or `tamis up FOLDER --prepare` for one that is built in; in a registry, `tamis pin {} {filter}@VERSION`",
                self.node.key()
            ),
        }
    }

    fn guarded_places(&self) -> &GuardedPlaces {
        self.places.get_or_init(|| {
            let all = self.documents.values().copied().chain(self.doubles.iter().copied());
            GuardedPlaces::of(all, self.security)
        })
    }

    fn unknown_filter(&self, document: &Document, spec: &FilterAttachmentSpec) -> Refusal {
        let known: Vec<String> =
            self.all::<FilterSpec>().iter().map(|(one, _)| one.key()).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let message = format!("there is no Filter {}", spec.filter);
        let mut problem = document.problem("filter.unknown", "/spec/filter", message);
        // All names of a namespace begin alike: only what follows tells them apart.
        let near: Vec<&str> = match spec.filter.split_once('/') {
            Some((space, name)) => {
                let of = |one: &&&str| {
                    one.split_once('/').is_some_and(|(other, last)| {
                        other == space && suggestion(name, &[last]).is_some()
                    })
                };
                let same: Vec<&str> = known.iter().filter(of).copied().collect();
                if same.is_empty() {
                    known
                        .iter()
                        .filter(|one| !one.starts_with(&format!("{space}/")))
                        .copied()
                        .collect()
                } else {
                    same
                }
            }
            None => known,
        };
        problem.help = suggestion(&spec.filter, &near);
        problem.lacks = Some(format!("Filter/{}", spec.filter));
        (RESOLVED, "FilterNotFound", problem)
    }

    /// Pin, grant and configuration. A missing pin is not a problem for a proxy whose chains do not contain
    /// the attachment (`here`): filters are pinned for each service separately.
    fn resolve(
        &mut self,
        document: &Document,
        spec: &FilterAttachmentSpec,
        grants: &Grants<'_>,
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
                let problem = problem.help(self.how_to_pin(&spec.filter)).lacks(LOCK);
                refusals.push((RESOLVED, "PinMissing", problem));
            }
        }
        if let Some((grant, signed_by)) = grants.of(&document.metadata.namespace, &spec.filter) {
            plan.grant = grant;
            plan.signed_by = signed_by;
        } else {
            let (message, help) = self.no_grant(&spec.filter);
            let problem = document.problem("grant.missing", "/spec/filter", message).help(help);
            let problem = problem.lacks(grant_of(&spec.filter));
            refusals.push((RESOLVED, "GrantMissing", problem));
        }
        if let Err(message) = inline(Arc::make_mut(&mut plan.config), self.files) {
            let problem = document.problem("file.unreadable", "/spec/config", message);
            refusals.push((RESOLVED, "FileUnreadable", problem));
        }
        refusals
    }

    /// Pins that contradict each other do not count; equal ones do.
    fn check_locks(&mut self) {
        let mut claims = Vec::new();
        for (document, lock) in self.all::<FiltersLockSpec>() {
            for (at, pin) in lock.filters.iter().enumerate() {
                let pointer = format!("/filters/{at}/filter");
                let key = (pin.filter.clone(), pin.service.clone());
                claims.push((key, Claim { document, pointer }));
            }
        }
        self.contradictions(&claims, "pin.duplicate", |(filter, service)| {
            format!("{filter} is pinned twice for {service}")
        });
    }

    /// The pin of this proxy's service, else that of all services. `None` also when two pins contradict
    /// each other.
    fn pin(&self, filter: &str, service: &str) -> Option<&'a Pin> {
        let locks = self.all::<FiltersLockSpec>();
        let find = |service: &str| {
            let pins = locks
                .iter()
                .flat_map(|(document, lock)| lock.filters.iter().map(|pin| (document.since, pin)));
            let of: Vec<(u64, &'a Pin)> =
                pins.filter(|(_, pin)| pin.filter == filter && pin.service == service).collect();
            let same = of
                .iter()
                .all(|(_, pin)| of.first().is_some_and(|(_, one)| one.digest == pin.digest));
            if same {
                return of.first().map(|(_, pin)| Some(*pin));
            }
            let stays = longest(of.iter().map(|(since, _)| *since));
            Some(stays.and_then(|at| of.get(at)).map(|(_, pin)| *pin))
        };
        find(service).or_else(|| find("*")).flatten()
    }

    /// Fills the chain of each socket.
    pub(super) fn chains(
        &mut self,
        place: &PlannedProxy<'a>,
        sockets: Vec<Socket<'a>>,
        (attachments, policies): (&[Attachment<'a>], &[Policy<'a>]),
        routes: &[Route<'a>],
    ) -> (Vec<ListenerPlan>, Vec<FilterPlan>) {
        let mut filters: Vec<FilterPlan> = Vec::new();
        let mut listeners = Vec::new();
        let members = sockets.iter().map(|socket| -> Vec<_> {
            let scoped = |one| Some((one, Attachment::scope(one, place, socket, routes)?));
            attachments.iter().filter_map(scoped).collect()
        });
        let members: Vec<Vec<_>> = members.collect();
        let scopes = members.iter().flatten().filter_map(|(_, scope)| scope.as_ref());
        let covers: BTreeSet<&String> = scopes.flatten().collect();
        let covers: Vec<String> = covers.into_iter().cloned().collect();
        for (mut socket, mut here) in sockets.into_iter().zip(members) {
            let mut closed = self.enforce(place, &socket, &mut here, policies, routes);
            if socket.plan.tcp.is_some() {
                closed.extend(self.only_connections(place, &socket, &mut here));
            }
            let lost = self.seconds(&here);
            // A surplus attachment, or one that may not run, does not displace one that may run: it is left
            // out, not refused, unless it guards something or is the only one.
            let served: BTreeSet<Place> = here
                .iter()
                .zip(&lost)
                .filter(|((one, _), lost)| is_able(one) && lost.is_none())
                .map(|((one, _), _)| one.place())
                .collect();
            for ((attachment, scope), lost) in here.into_iter().zip(lost) {
                let mut plan = attachment.plan.clone();
                plan.scope = scope;
                let idle = lost.is_some() || (alone(attachment.world) && plan.refused.is_some());
                if idle && !guards(plan.phase) && served.contains(&attachment.place()) {
                    continue;
                }
                if let Some(reason) = lost {
                    if plan.on_failure != OnFailure::Closed {
                        continue;
                    }
                    plan.refused = Some(refused(SECOND, reason));
                }
                if attachment.world == World::RoutePolicy {
                    let mut config = self.router_config(place, &socket, routes);
                    add_settings(&mut config, &plan.config);
                    plan.config = Arc::new(config);
                    if !plan.extend {
                        plan.covers.clone_from(&covers);
                    }
                }
                if attachment.receives {
                    receive(&mut plan, place, &socket, policies, routes);
                }
                socket.plan.chain.attachments.push(place_of(&mut filters, plan));
            }
            for plan in closed {
                socket.plan.chain.attachments.push(place_of(&mut filters, plan));
            }
            // Stable: what attachments there are is in this order already.
            let order = |at: &usize| {
                filters.get(*at).map(|one| (one.phase, one.order, one.attachment.clone()))
            };
            socket.plan.chain.attachments.sort_by_key(order);
            listeners.push(socket.plan);
        }
        (listeners, filters)
    }

    /// Leaves only those members in the chain of a `tcp` port that have a part in connections. Guards that judge requests
    /// alone close the port: nobody can ask them about a connection.
    fn only_connections(
        &mut self,
        place: &PlannedProxy<'a>,
        socket: &Socket<'_>,
        here: &mut Vec<Member<'_, 'a>>,
    ) -> Vec<FilterPlan> {
        let mut closed = Vec::new();
        here.retain(|(one, _)| one.is_for_connections());
        let (document, pointer, help) = match place {
            PlannedProxy::Sidecar(document, spec, _) => {
                let port = socket.plan.tcp.as_ref().and_then(|tcp| tcp.asked);
                let at = spec.ports.iter().position(|one| Some(one.port) == port);
                let pointer =
                    at.map_or_else(|| "/spec".to_owned(), |at| format!("/spec/ports/{at}"));
                (
                    document,
                    pointer,
                    "attach it to the Services that serve HTTP alone, or put this port into a Service of its own",
                )
            }
            PlannedProxy::Gateway(document, spec) => {
                let at = spec.listeners.iter().position(|one| one.name == socket.plan.name);
                let pointer =
                    at.map_or_else(|| "/spec".to_owned(), |at| format!("/spec/listeners/{at}"));
                (
                    document,
                    pointer,
                    "attach it to the listeners for HTTP alone, by `sectionName`, or put this listener into a Gateway of its own",
                )
            }
        };
        for (one, _) in here.iter().filter(|(one, _)| one.guards_requests_alone()) {
            let message = format!(
                "FilterAttachment {} guards requests, and can decide about no connection of `{}`, which stays closed",
                one.document.key(),
                socket.plan.name
            );
            let problem = document
                .problem("tcp.unguarded", &pointer, message)
                .help(help)
                .also([one.document.place("/spec/targetRefs", "it guards the port here")]);
            let plan = one.plan.clone();
            closed.push(FilterPlan { refused: Some(because(&problem)), ..plan });
            self.fail_once(document, ACCEPTED, "Invalid", problem);
        }
        here.retain(|(one, _)| !one.guards_requests_alone());
        closed
    }

    /// The members of a chain that are surplus in their world, and why. One that documents do not allow to
    /// run does not displace one that they do.
    fn seconds(&mut self, here: &[(&Attachment<'a>, Option<Vec<String>>)]) -> Vec<Option<String>> {
        let mut lost = vec![None; here.len()];
        let places: BTreeSet<Place> =
            here.iter().filter(|(one, _)| is_able(one)).map(|(one, _)| one.place()).collect();
        for place in places {
            let (world, _) = place;
            let all: Vec<(usize, &Attachment<'a>)> = here
                .iter()
                .enumerate()
                .filter(|(_, (one, _))| one.place() == place && is_able(one))
                .map(|(at, (one, _))| (at, *one))
                .collect();
            if all.len() < 2 {
                continue;
            }
            let stays = longest(all.iter().map(|(_, one)| one.document.since));
            for (member, (at, one)) in all.iter().enumerate() {
                if stays == Some(member) {
                    continue;
                }
                let others = all.iter().filter(|(other, _)| other != at).map(|(_, one)| one);
                let kept = stays.and_then(|at| all.get(at)).map(|(_, one)| one.document.key());
                let message = crowded(world, all.iter().map(|(_, one)| *one), kept.as_deref());
                if let Some(lost) = lost.get_mut(*at) {
                    *lost = Some(message.clone());
                }
                let mut problem = one.document.problem(SECOND, "/spec/filter", message);
                problem = problem.help(if world == World::RoutePolicy {
                    "delete one of the attachments, or write `extend: true` in the one that should fall back to the other"
                } else {
                    "delete one of the attachments, or give it targets that the other does not have"
                });
                problem = problem
                    .also(others.map(|other| other.document.place("/spec/filter", "the other")));
                self.fail_once(one.document, ACCEPTED, "Conflicted", problem);
            }
        }
        lost
    }
}

/// Why only one of several attachments of a world may serve, and which one does. Which of them is in force is known where
/// documents are stored, not from the documents: a proxy keeps that over a restart.
fn crowded<'a: 'b, 'b>(
    world: World,
    all: impl Iterator<Item = &'b Attachment<'a>>,
    kept: Option<&str>,
) -> String {
    let all: Vec<String> = all.map(attached_to).collect();
    let then = match kept {
        Some(key) => format!("{key} has served before and stays"),
        None => "a proxy keeps the one that it used before, also over a restart; if it used none of them before, it uses none".to_owned(),
    };
    let (count, names) = (all.len(), all.join(" and "));
    format!(
        "{count} attachments have filters of the world {world} where only one can serve: {names}; {then}"
    )
}

/// An attachment, and what it is attached to.
fn attached_to(one: &Attachment<'_>) -> String {
    let target = |target: &crate::kinds::TargetRef| match target.kind {
        TargetKind::Mesh => "the Mesh".to_owned(),
        kind => {
            let name = target.name.as_deref().unwrap_or_default();
            format!("{kind:?} {}/{name}", one.document.metadata.namespace)
        }
    };
    let targets: Vec<String> = one.spec.target_refs.iter().map(target).collect();
    format!("{} (attached to {})", one.document.key(), targets.join(", "))
}

/// The index of a plan in the list, which has each plan once.
fn place_of(filters: &mut Vec<FilterPlan>, plan: FilterPlan) -> usize {
    filters.iter().position(|one| *one == plan).unwrap_or_else(|| {
        filters.push(plan);
        filters.len().saturating_sub(1)
    })
}

/// Whether it may take the only place of its world in a chain.
fn is_able(one: &Attachment<'_>) -> bool {
    alone(one.world) && one.plan.refused.is_none()
}

/// The fault of an attachment whose filter receives policies, at a place where they would not hold.
fn misplaced(document: &Document, spec: &FilterAttachmentSpec) -> Option<Refusal> {
    let (pointer, message) = match spec.direction {
        _ if spec.phase != Phase::Authz => {
            ("/spec/phase", "a filter that receives AuthorizationPolicy runs in the phase authz")
        }
        Some(AttachmentDirection::Outbound | AttachmentDirection::Both) => (
            "/spec/direction",
            "policies guard a service where its requests arrive; remove direction",
        ),
        Some(AttachmentDirection::Inbound) | None => return None,
    };
    Some((ACCEPTED, "Invalid", document.problem("authorization.place", pointer, message)))
}

/// Combinations of fields that an attachment must not have.
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
            "authn and authz always fail closed; remove onFailure",
        );
    }
    let scoped = |kind| matches!(kind, TargetKind::HTTPRoute | TargetKind::GRPCRoute);
    if alone(world) && spec.target_refs.iter().any(|target| scoped(target.kind)) {
        let message = "this kind of filter works on whole chains; attach it to a Gateway, a Service or the Mesh";
        refuse("attachment.scope", "/spec/targetRefs", message);
    }
    if alone(world) && spec.phase != world.phase() {
        let message = format!(
            "a filter of the world {world} is asked when a request needs its decision, and not in a phase: write `phase: {}`",
            world.phase()
        );
        refuse("attachment.phase", "/spec/phase", &message);
    }
    if spec.extend && world != World::RoutePolicy {
        refuse(
            "attachment.extend",
            "/spec/extend",
            "only a router can extend another; remove extend",
        );
    }
    if world == World::RoutePolicy && !spec.config.is_null() && !spec.config.is_object() {
        let message = "the settings of a router are an object, which it receives as `config` together with its `routes`: write a map, such as `config: { SETTING: VALUE }`";
        refuse("attachment.config", "/spec/config", message);
    }
    refusals
}

/// Adds the settings of a router's own, if it has any, to the routes that it is configured with.
fn add_settings(config: &mut Json, settings: &Json) {
    let settings = settings.as_object().filter(|settings| !settings.is_empty());
    if let (Some(config), Some(settings)) = (config.as_object_mut(), settings) {
        config.insert("config".to_owned(), Json::Object(settings.clone()));
    }
}

/// Replaces key set files by their content: `jwks: {file: PATH}` becomes `jwks: {inline: …}`.
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

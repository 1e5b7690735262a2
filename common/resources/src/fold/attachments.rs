//! Attachments: checked, pinned and granted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::attachment::{Attachment, DOCUMENTS, Target, alone, blank, guards, refused};
use super::grants::Grants;
use super::route::Route;
use super::targets::Targets;
use super::{ACCEPTED, Claim, Fold, RESOLVED, Security, longest};
use crate::check::suggestion;
use crate::document::Document;
use crate::kinds::{
    AttachmentDirection, FilterAttachmentSpec, FilterSpec, FiltersLockSpec, LOCK, OnFailure, Phase,
    Pin, Spec as _, TargetKind, World,
};
use crate::plan::{FilterPlan, Refused};
use crate::problem::{Problem, grant_of};

/// Why an attachment cannot run: condition, reason of the condition, problem.
type Refusal = (&'static str, &'static str, Problem);

/// A place in which two attachments may not have the same order.
type OrderedPlace = (Target, Phase, i32);

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

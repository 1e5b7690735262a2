//! What the targets of attachments and of policies name, and what is guarded instead of a target that is not there.

use super::attachment::{Target, guards};
use super::route::Route;
use super::{Fold, RESOLVED};
use crate::document::{Document, UnusableReach};
use crate::kinds::{FilterAttachmentSpec, GatewaySpec, ServiceSpec, TargetKind, TargetRef};
use crate::problem::Problem;
use crate::stray::{CLOSED, GuardedPlaces, MissingReach, kind_of};

/// The targets of an attachment, and their problems.
#[derive(Default)]
pub(super) struct Targets {
    pub(super) found: Vec<Target>,
    /// The problem of a guard of which a part is unknown or not enforced; it is refused as a whole.
    pub(super) unguarded: Option<Problem>,
}

impl Targets {
    /// The targets, and the problem of those that are unknown.
    pub(super) fn split(self) -> (Vec<Target>, Option<Problem>) {
        (self.found, self.unguarded)
    }
}

impl Fold<'_> {
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
            let missing = match target.kind {
                TargetKind::Mesh => misnamed_mesh(target),
                TargetKind::Service => self.missing_service(target, &key),
                TargetKind::Gateway => self.missing_gateway(target, &key),
                TargetKind::HTTPRoute | TargetKind::GRPCRoute => {
                    let kind = RouteKind { name: format!("{:?}", target.kind), closed };
                    let callees = &mut targets.found;
                    missing_route(target, &key, &kind, routes, callees)
                }
            };
            let Some(MissingTarget { message, wider }) = missing else {
                let key = if target.kind == TargetKind::Mesh { String::new() } else { key };
                let section = target.section_name.clone();
                targets.found.push(Target { kind: target.kind, key, section, all: false });
                continue;
            };
            let pointer = format!("/spec/targetRefs/{at}");
            let mut problem = document.problem("attachment.target", &pointer, message);
            if let (true, Some(kind)) = (wider.all, kind_of(target.kind)) {
                problem = problem.lacks(format!("{kind}/{key}"));
            }
            if !closed {
                self.fail(document, RESOLVED, "TargetNotFound", problem);
                continue;
            }
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
        }
        targets
    }

    fn missing_service(&self, target: &TargetRef, key: &str) -> Option<MissingTarget> {
        if self.find::<ServiceSpec>(key).is_none() {
            let message = format!("there is no Service {key}");
            return Some(MissingTarget {
                message,
                wider: Target::all(target.kind, namespace(key)),
            });
        }
        target.section_name.as_ref()?;
        let message = "a Service has no sections".to_owned();
        Some(MissingTarget { message, wider: whole(target, key) })
    }

    fn missing_gateway(&self, target: &TargetRef, key: &str) -> Option<MissingTarget> {
        let Some((_, gateway)) = self.find::<GatewaySpec>(key) else {
            let message = format!("there is no Gateway {key}");
            return Some(MissingTarget {
                message,
                wider: Target::all(target.kind, namespace(key)),
            });
        };
        let section = target.section_name.as_deref()?;
        if gateway.listeners.iter().any(|one| one.name == section) {
            return None;
        }
        let message = format!("Gateway {key} has no listener `{section}`");
        Some(MissingTarget { message, wider: whole(target, key) })
    }

    fn guarded_places(&self) -> &GuardedPlaces {
        self.places.get_or_init(|| {
            let all = self.documents.values().copied().chain(self.doubles.iter().copied());
            GuardedPlaces::of(all, self.security)
        })
    }
}

/// A target that is not there, and what is guarded instead of it.
struct MissingTarget {
    message: String,
    wider: Target,
}

/// How a target names a route.
struct RouteKind {
    name: String,
    /// Whether the attachment guards: it must cover every request that the route means.
    closed: bool,
}

fn namespace(key: &str) -> &str {
    key.split_once('/').map_or("", |(namespace, _)| namespace)
}

/// The target without its section.
fn whole(target: &TargetRef, key: &str) -> Target {
    Target { kind: target.kind, key: key.to_owned(), section: None, all: false }
}

fn misnamed_mesh(target: &TargetRef) -> Option<MissingTarget> {
    let named = target.name.is_some() || target.section_name.is_some();
    let message = "Mesh has no name and no section".to_owned();
    named.then(|| MissingTarget { message, wider: Target::mesh() })
}

/// Why there is no such route. For a guard, the services that a route between services leads to are added to `callees`.
fn missing_route(
    target: &TargetRef,
    key: &str,
    RouteKind { name: kind, closed }: &RouteKind,
    routes: &[Route<'_>],
    callees: &mut Vec<Target>,
) -> Option<MissingTarget> {
    let all = || Target::all(target.kind, namespace(key));
    let mut routes = routes.iter();
    let found = routes.find(|one| one.document.kind() == kind && one.document.has_key(key));
    let Some(route) = found else {
        let message = format!("there is no {kind} {key}");
        return Some(MissingTarget { message, wider: all() });
    };
    if route.left_out {
        let message = format!("{kind} {key} cannot be used as it is written");
        return Some(MissingTarget { message, wider: all() });
    }
    if *closed && route.hangs_on_a_service() {
        // Only the caller's proxy applies this route, so the filter would run only for callers that have a proxy.
        callees.extend(route.callees().map(Target::service));
        let message = format!(
            "{kind} {key} routes calls between services, which only the caller's proxy applies: a caller without a proxy would bypass this filter"
        );
        return Some(MissingTarget { message, wider: whole(target, key) });
    }
    let section = target.section_name.as_deref()?;
    if route.names.contains(&Some(section)) {
        return None;
    }
    let message = format!("{kind} {key} has no rule `{section}`");
    Some(MissingTarget { message, wider: whole(target, key) })
}

//! What the targets of attachments and of policies name, and what is guarded instead of a target that is not there.

use super::attachment::{Target, guards};
use super::routes::Route;
use super::{Fold, RESOLVED};
use crate::document::{Document, UnusableReach};
use crate::kinds::{FilterAttachmentSpec, GatewaySpec, ServiceSpec, TargetKind};
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

    fn guarded_places(&self) -> &GuardedPlaces {
        self.places.get_or_init(|| {
            let all = self.documents.values().copied().chain(self.doubles.iter().copied());
            GuardedPlaces::of(all, self.security)
        })
    }
}

//! Policies at a socket: the filters that receive them, and what stays closed because nothing enforces them.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::attachment::Attachment;
use super::authorization::Policy;
use super::ports::tcp_ports;
use super::route::Route;
use super::socket::Socket;
use super::{ACCEPTED, Fold, PlannedProxy, RESOLVED, because, longest};
use crate::kinds::{AuthorizationMode, TargetKind};
use crate::plan::{FilterPlan, TrafficDirection};

const UNGUARDED: &str = "authorization.unguarded";
const SECOND: &str = "authorization.second";

/// An attachment that applies to a socket, with the rules to which it applies (`None`: all).
pub(super) type Member<'m, 'a> = (&'m Attachment<'a>, Option<Vec<String>>);

impl<'a> Fold<'a> {
    /// Leaves out the receivers that a socket does not need, and refuses those that are surplus. Returns the guards that
    /// close what policies were to guard that cannot be used or that nothing enforces.
    pub(super) fn enforce(
        &mut self,
        place: &PlannedProxy<'_>,
        socket: &Socket<'_>,
        here: &mut Vec<Member<'_, 'a>>,
        policies: &[Policy<'a>],
        routes: &[Route<'_>],
    ) -> Vec<FilterPlan> {
        let applying: Vec<(&Policy<'a>, Option<Vec<String>>)> = policies
            .iter()
            .filter_map(|one| Some((one, one.guard.scope(place, socket, routes)?)))
            .collect();
        // What comes from outside is let in by policies that name the gateway, and by nobody where none does.
        let at_gateway = socket.plan.direction == TrafficDirection::Gateway;
        let names =
            |one: &Attachment<'_>| one.targets.iter().any(|it| it.kind == TargetKind::Gateway);
        let asked = applying.iter().any(|(one, scope)| scope.is_none() && names(&one.guard));
        here.retain(|(one, scope)| {
            !one.receives || !at_gateway || scope.is_some() || asked || names(one)
        });
        let mut closed = self.surplus(here);
        for (policy, scope) in applying {
            let plan = FilterPlan { scope: scope.clone(), ..policy.guard.plan.clone() };
            if plan.refused.is_some() {
                closed.extend((policy.mode == AuthorizationMode::Enforce).then_some(plan));
                continue;
            }
            let covered = here.iter().any(|(one, of)| one.receives && covers(of, &scope));
            // A policy for the whole mesh does not apply to a gateway where no filter enforces policies.
            let aside = at_gateway && scope.is_none() && !names(&policy.guard);
            if covered || aside {
                continue;
            }
            let message = "nothing enforces this policy here: no FilterAttachment of a filter that receives AuthorizationPolicy has this target";
            let document = policy.guard.document;
            let help = match scope {
                None => "attach tamis/authz in the phase authz to the Mesh, or to this target",
                Some(_) => {
                    "attach tamis/authz in the phase authz to this target itself: one that is attached to the Mesh, or to a Gateway or a Service, is asked before the route is known"
                }
            };
            let problem = document.problem(UNGUARDED, "/spec/targetRefs", message).help(help);
            if policy.mode == AuthorizationMode::Enforce {
                closed.push(FilterPlan { refused: Some(because(&problem)), ..plan });
            }
            self.fail_once(document, RESOLVED, "TargetNotFound", problem);
        }
        closed
    }

    /// Of several receivers of the same exchanges, the one longest in force stays.
    fn surplus(&mut self, here: &mut Vec<Member<'_, 'a>>) -> Vec<FilterPlan> {
        let whole: Vec<(usize, &Attachment<'a>)> = here
            .iter()
            .enumerate()
            .filter(|(_, (one, scope))| one.receives && scope.is_none())
            .map(|(at, (one, _))| (at, *one))
            .collect();
        if whole.len() < 2 {
            return Vec::new();
        }
        let stays = longest(whole.iter().map(|(_, one)| one.document.since));
        let mut closed = Vec::new();
        let mut lost = Vec::new();
        for (member, (at, one)) in whole.iter().enumerate() {
            if stays == Some(member) {
                continue;
            }
            lost.push(*at);
            let then = if stays.is_some() {
                "the one that served before stays"
            } else {
                "a proxy keeps the one that it already runs, also after a restart; a proxy that runs neither refuses all requests"
            };
            let message = format!(
                "only one filter can receive AuthorizationPolicy for the same exchanges, and there are {}: {then}",
                whole.len()
            );
            let help = "delete one of the attachments, or change their `targetRefs` so that no proxy belongs to both (the Mesh is every proxy)";
            let problem = one.document.problem(SECOND, "/spec/filter", message).help(help);
            let others = whole.iter().filter(|(other, _)| other != at);
            let problem = problem
                .also(others.map(|(_, other)| other.document.place("/spec/filter", "the other")));
            if stays.is_none() {
                let plan = FilterPlan { refused: Some(because(&problem)), ..one.plan.clone() };
                closed.push(plan);
            }
            self.fail_once(one.document, ACCEPTED, "Conflicted", problem);
        }
        let mut kept = Vec::new();
        for (at, member) in std::mem::take(here).into_iter().enumerate() {
            if !lost.contains(&at) {
                kept.push(member);
            }
        }
        *here = kept;
        closed
    }
}

/// Sets the configuration of a receiver.
pub(super) fn receive(
    plan: &mut FilterPlan,
    place: &PlannedProxy<'_>,
    socket: &Socket<'_>,
    policies: &[Policy<'_>],
    (routes, home): (&[Route<'_>], Option<&str>),
) {
    let mut config = received(place, socket, (&plan.scope, &plan.config), policies, routes);
    // A rule that names nobody, or everybody, is about the members of one's own domain and about strangers.
    if let (Some(domain), Some(map)) = (home, config.as_object_mut()) {
        map.insert("home".to_owned(), json!(domain));
    }
    plan.config = Arc::new(config);
    plan.receives = true;
}

/// The configuration of a receiver: the policies that it enforces on a socket, what it guards there, and its own settings.
fn received(
    place: &PlannedProxy<'_>,
    socket: &Socket<'_>,
    (scope, settings): (&Option<Vec<String>>, &Json),
    policies: &[Policy<'_>],
    routes: &[Route<'_>],
) -> Json {
    let mut all = Vec::new();
    for policy in policies.iter().filter(|one| one.guard.plan.refused.is_none()) {
        let Some(own) = policy.guard.scope(place, socket, routes) else { continue };
        if !covers(scope, &own) {
            continue;
        }
        let mut config = policy.config.clone();
        if let (Some(map), Some(own)) = (config.as_object_mut(), own) {
            map.insert("scope".to_owned(), json!(own));
        }
        all.push(config);
    }
    let (guarded, ports) = match place {
        PlannedProxy::Gateway(document, spec) => {
            let ports = spec.listeners.iter().map(|one| (one.name.clone(), json!(one.port)));
            (json!({ "kind": "Gateway", "name": document.key() }), ports.collect())
        }
        PlannedProxy::Sidecar(document, spec, _) => {
            let ports: serde_json::Map<String, Json> = match &socket.plan.tcp {
                // The same for all of them, so that one filter decides about all.
                Some(_) => tcp_ports(spec)
                    .map(|port| (format!("inbound:{}", port.port), json!(port.port)))
                    .collect(),
                None => {
                    let port = spec.ports.first().map(|one| json!(one.port));
                    port.map(|port| (socket.plan.name.clone(), port)).into_iter().collect()
                }
            };
            (json!({ "kind": "Service", "name": document.key() }), ports)
        }
    };
    let mut config = json!({ "policies": all, "guarded": guarded, "ports": ports });
    if let (Some(_), Some(map)) = (&socket.plan.tcp, config.as_object_mut()) {
        map.insert("connections".to_owned(), json!(true));
    }
    let settings = settings.as_object().filter(|settings| !settings.is_empty());
    if let (Some(map), Some(settings)) = (config.as_object_mut(), settings) {
        map.insert("config".to_owned(), Json::Object(settings.clone()));
    }
    config
}

/// Whether an attachment with that scope sees all exchanges of the other.
fn covers(scope: &Option<Vec<String>>, other: &Option<Vec<String>>) -> bool {
    match (scope, other) {
        (None, None) => true,
        // A whole chain is asked before the route is known, and a route does not see the whole chain.
        (None, Some(_)) | (Some(_), None) => false,
        (Some(scope), Some(other)) => other.iter().all(|entry| {
            scope.iter().any(|one| one == entry || (one.ends_with('/') && entry.starts_with(one)))
        }),
    }
}

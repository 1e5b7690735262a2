//! The chain of each socket: which attachments are in it, and which of them may not run there.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value as Json;

use super::attachment::{Attachment, Place, alone, guards, refused};
use super::authorization::Policy;
use super::enforcement::{Member, receive};
use super::route::Route;
use super::socket::Socket;
use super::{ACCEPTED, Fold, PlannedProxy, because, longest};
use crate::kinds::{OnFailure, TargetKind, World};
use crate::plan::{FilterPlan, ListenerPlan};

/// The code for a second filter of a world that a chain has only once.
const SECOND: &str = "attachment.second";

impl<'a> Fold<'a> {
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
                    let home = self.home(place);
                    receive(&mut plan, place, &socket, policies, (routes, home));
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
                    "delete one of the attachments, or write `extend: true` in the one that is asked first, and let it answer `extend` for what the other should decide"
                } else {
                    "delete one of the attachments, or change their `targetRefs` so that no proxy belongs to both (the Mesh is every proxy)"
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
        None => "a proxy keeps the one that it already runs, also after a restart; a proxy that runs neither starts neither".to_owned(),
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

/// Adds the settings of a router's own, if it has any, to the routes that it is configured with.
fn add_settings(config: &mut Json, settings: &Json) {
    let settings = settings.as_object().filter(|settings| !settings.is_empty());
    if let (Some(config), Some(settings)) = (config.as_object_mut(), settings) {
        config.insert("config".to_owned(), Json::Object(settings.clone()));
    }
}

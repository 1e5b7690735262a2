//! From documents or a director's plan to the next generation.

use crate::NodeError;
use crate::build::{Builder, BuiltAttachment, DesiredSlot, PoliciesInForce};
use crate::documents::DocumentPlaces;
use crate::follow::{FollowedPlan, SlotOutcome};
use crate::good::{CompletedDocuments, LastGoodDocuments};
use crate::policies::policies;
use crate::sockets::{MissingSvid, PlannedSockets, Sockets};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tamis_proxy::{Attachment, CertificateStatus, ChainLayout, Generation, SlotState, SlotStatus};
use tamis_resources::plan::{AcmePlan, DnsPlan, ListenerPlan, NodePlan};
use tamis_resources::redact::{redact, without};
use tamis_resources::{
    Document, NodeName, Problem, ResourceStatus, RouteFault, fold, stray_guards,
};
use tamis_sync::{SHADOW, slots_of_filters};
use tamis_trust::Digest;

/// The data of reloads, one at a time.
pub(crate) struct Staging {
    pub(crate) builder: Builder,
    pub(crate) sockets: Sockets,
    /// The last good documents.
    pub(crate) good: LastGoodDocuments,
    pub(crate) number: u64,
    pub(crate) revision: String,
}

impl Staging {
    /// The next generation, from the documents or from the plan of the director.
    pub(crate) fn stage(
        &mut self,
        source: &DocumentPlaces,
        name: &NodeName,
        followed: Option<&FollowedPlan>,
    ) -> Result<StageResult, NodeError> {
        match followed {
            None => self.stage_documents(source, name),
            Some(followed) => Ok(self.stage_followed(source, followed)),
        }
    }

    fn stage_followed(&mut self, source: &DocumentPlaces, followed: &FollowedPlan) -> StageResult {
        let mut notes = Vec::new();
        let Some(assembled) = followed.assembled() else {
            notes.push("the director has not sent a plan for this proxy yet".to_owned());
            return StageResult::nothing(Vec::new(), notes);
        };
        let policies = followed.policies(&assembled.plan, &mut notes);
        let rules = PoliciesInForce { policies: &policies, age: followed.policy_age() };
        let wanted = followed.desired_slots(&assembled, &mut notes);
        let built = self.builder.build(&wanted, rules);
        drop(wanted);
        followed.record_outcomes(&assembled, now_runs(&built));
        self.generate(source, &assembled.plan, built, Vec::new(), notes)
    }

    fn stage_documents(
        &mut self,
        source: &DocumentPlaces,
        name: &NodeName,
    ) -> Result<StageResult, NodeError> {
        let cold = self.number == 0;
        let read = read_plan(&self.good, source, name, cold)?;
        let ReadPlan { completed, plan, statuses, mut problems, mut notes } = read;
        let Some(plan) = plan else { return Ok(StageResult::nothing(problems, notes)) };
        let documents = &completed.documents;
        self.good.keep(&completed, &statuses, &mut notes);
        let policies = policies(&plan, &mut notes);
        let slots = slots_of_filters(&plan);
        let wanted = plan.filters.iter().zip(&slots);
        let wanted: Vec<DesiredSlot<'_>> =
            wanted.map(|(plan, slot)| DesiredSlot::of_documents(slot, plan)).collect();
        let built = self
            .builder
            .build(&wanted, PoliciesInForce { policies: &policies, age: Duration::ZERO });
        for one in &built {
            problems.extend(one.left_out.iter().filter_map(|left| refused_route(documents, left)));
        }
        let mut staged = self.generate(source, &plan, built, problems, notes);
        if let Some(missing) = staged.missing_svid.take() {
            staged.problems.extend(no_svid(documents, name, missing));
        }
        Ok(staged)
    }

    /// The generation of a plan whose filters are built.
    fn generate(
        &mut self,
        source: &DocumentPlaces,
        plan: &NodePlan,
        built: Vec<BuiltAttachment>,
        problems: Vec<Problem>,
        mut notes: Vec<String>,
    ) -> StageResult {
        let built = crate::chains::one_of_each(plan, built);
        let shadows = built.iter().map(shadow_digest).collect::<Vec<_>>();
        let sockets = self.sockets.of_plan(source, plan, &mut notes);
        let PlannedSockets { mut listeners, services, missing_svid, .. } = sockets;
        let PlacedAttachments { filters, places, slots } = PlacedAttachments::of(built);
        let chain = |listener: &ListenerPlan| {
            let members = listener.chain.attachments.iter();
            let members: Vec<usize> =
                members.filter_map(|index| places.get(*index).copied().flatten()).collect();
            match &listener.tcp {
                None => ChainLayout::build(&filters, &members, &services),
                Some(tcp) => {
                    let routed = tcp.routed.as_ref().or(tcp.datagrams.as_ref());
                    let routes = routed.into_iter().flat_map(|routed| &routed.routes);
                    let routed = routes.flat_map(|route| &route.backends);
                    let routed: Vec<String> = routed.map(|one| one.service.clone()).collect();
                    ChainLayout::build_tcp(&filters, &members, &services, (&tcp.service, &routed))
                }
            }
        };
        let chains: Vec<ChainLayout> = plan.listeners.iter().map(chain).collect();
        listeners.retain(|listener| listener.chain < chains.len());
        let revision = revision(plan, &slots, &shadows, &notes, &sockets.stamp);
        if revision != self.revision {
            self.number += 1;
            self.revision.clone_from(&revision);
        }
        let (config, secrets) = shown(plan);
        let generation = Generation {
            number: self.number,
            revision,
            listeners,
            filters,
            chains,
            services: Arc::new(services),
            config,
        };
        StageResult {
            generation: Some(generation),
            problems,
            notes,
            missing_svid,
            slots,
            admin: plan.admin.clone(),
            dns: plan.dns.clone(),
            acme: plan.acme.clone(),
            federated: plan.federated.clone(),
            renewed: sockets.renewed,
            certificates: sockets.certificates,
            secrets,
        }
    }
}

/// What documents say about a proxy.
pub(crate) struct ReadPlan {
    completed: CompletedDocuments,
    /// `None`: they do not declare it.
    pub(crate) plan: Option<NodePlan>,
    statuses: Vec<ResourceStatus>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) notes: Vec<String>,
}

/// Reads documents, at a `cold` start or later.
///
/// # Errors
/// At a cold start: a part cannot be read, or a guard stands where it guards nothing.
pub(crate) fn read_plan(
    good: &LastGoodDocuments,
    source: &DocumentPlaces,
    name: &NodeName,
    cold: bool,
) -> Result<ReadPlan, NodeError> {
    let read = source.read()?;
    let mut problems = read.problems.clone();
    let unread = read.unreadable.iter().chain(&read.unread);
    let mut notes: Vec<String> = unread.map(ToString::to_string).collect();
    let unusable = read.unusable.clone();
    let completed = good.complete(read, cold, &mut notes);
    let completed = completed.map_err(|files| NodeError::Unready {
        node: name.to_string(),
        files,
        why: why(&problems, &notes),
    })?;
    let documents = &completed.documents;
    let folded = fold(documents, name, &|file| source.file(file));
    problems.extend(folded.problems);
    if cold && folded.plan.is_some() {
        // A document that was in force unchanged opens nothing at a start.
        let strays = stray_guards(documents, &unusable, |one| one.since != 0);
        if !strays.is_empty() {
            let (node, why) = (name.to_string(), why(&strays, &[]));
            return Err(NodeError::Stray { node, why });
        }
    }
    let (plan, statuses) = (folded.plan, folded.statuses);
    Ok(ReadPlan { completed, plan, statuses, problems, notes })
}

/// Hash of everything that a generation is made of.
fn revision(
    plan: &NodePlan,
    slots: &[SlotStatus],
    shadows: &[Option<String>],
    notes: &[String],
    sockets: &[String],
) -> String {
    let parts = json!({
        "plan": plan, "slots": slots, "shadows": shadows, "notes": notes, "sockets": sockets,
    });
    Digest::of(parts.to_string().as_bytes()).hex().chars().take(12).collect()
}

/// The filters of a generation. Some of its plan may have been left out.
struct PlacedAttachments {
    filters: Vec<Arc<Attachment>>,
    /// By the index of a filter in the plan: its index in the generation.
    places: Vec<Option<usize>>,
    slots: Vec<SlotStatus>,
}

impl PlacedAttachments {
    fn of(built: Vec<BuiltAttachment>) -> Self {
        let (mut filters, mut places, mut slots) = (Vec::new(), Vec::new(), Vec::new());
        for BuiltAttachment { attached, mut status, left_out, .. } in built {
            if !left_out.is_empty() && status.detail.is_none() {
                status.detail = Some(left_out_line(&left_out));
            }
            places.push(attached.is_some().then_some(filters.len()));
            filters.extend(attached.map(Arc::new));
            slots.push(status);
        }
        Self { filters, places, slots }
    }
}

/// The result of a pass over the documents.
pub(crate) struct StageResult {
    pub(crate) generation: Option<Generation>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) notes: Vec<String>,
    /// Why the proxy lacks the SVID that its plan needs. Set only under a director: with documents it is one of
    /// `problems`.
    pub(crate) missing_svid: Option<MissingSvid>,
    pub(crate) slots: Vec<SlotStatus>,
    pub(crate) admin: Option<String>,
    /// The DNS to answer.
    pub(crate) dns: Option<DnsPlan>,
    /// The certificates to order.
    pub(crate) acme: Option<AcmePlan>,
    /// The trust domains to recognise, by domain: their authorities in PEM.
    pub(crate) federated: BTreeMap<String, String>,
    /// See [`Reload::renewed`](crate::Reload::renewed).
    pub(crate) renewed: Vec<String>,
    pub(crate) certificates: Vec<CertificateStatus>,
    /// Secrets of configurations, which are removed from everything shown.
    pub(crate) secrets: Vec<String>,
}

impl StageResult {
    pub(crate) fn nothing(problems: Vec<Problem>, notes: Vec<String>) -> Self {
        Self {
            generation: None,
            problems,
            notes,
            missing_svid: None,
            slots: Vec::new(),
            admin: None,
            dns: None,
            acme: None,
            federated: BTreeMap::new(),
            renewed: Vec::new(),
            certificates: Vec::new(),
            secrets: Vec::new(),
        }
    }

    /// Removes the secrets of configurations from everything shown.
    pub(crate) fn redacted(mut self) -> Self {
        let Self { problems, notes, slots, secrets, .. } = &mut self;
        let mut texts: Vec<&mut String> = notes.iter_mut().collect();
        for SlotStatus { state, detail, .. } in slots {
            texts.extend(detail);
            if let SlotState::Refused(refusal) = state {
                texts.extend([&mut refusal.rule, &mut refusal.remedy]);
            }
        }
        for problem in problems {
            texts.push(&mut problem.message);
            texts.extend(&mut problem.help);
        }
        for text in texts {
            *text = without(text, secrets);
        }
        self
    }
}

/// The plan as it is shown: the configurations of filters without their secrets; and the secrets.
fn shown(plan: &NodePlan) -> (serde_json::Value, Vec<String>) {
    let mut value = serde_json::to_value(plan).unwrap_or_default();
    let mut secrets = Vec::new();
    let filters = value.get_mut("filters").and_then(serde_json::Value::as_array_mut);
    for filter in filters.into_iter().flatten() {
        secrets.extend(filter.get_mut("config").map(redact).unwrap_or_default());
    }
    (value, secrets)
}

/// The digest of the candidate in the shadow of a slot.
fn shadow_digest(built: &BuiltAttachment) -> Option<String> {
    let (digest, _) = built.shadow.as_ref()?.as_ref().ok()?;
    Some(digest.to_string())
}

/// What runs in slots and their shadows.
fn now_runs(built: &[BuiltAttachment]) -> Vec<SlotOutcome> {
    let mut all = Vec::new();
    for one in built {
        let slot = one.status.attachment.clone();
        let refusal = one.status.state.refusal().cloned();
        if let Some(shadow) = &one.shadow {
            let (runs, refusal) = match shadow {
                Ok(running) => (Some(running.clone()), None),
                Err(refusal) => (None, Some(refusal.clone())),
            };
            all.push(SlotOutcome { slot: format!("{slot}{SHADOW}"), runs, refusal });
        }
        all.push(SlotOutcome { slot, runs: one.running.clone(), refusal });
    }
    all
}

/// The problem of a proxy without the SVID that its document needs, at the place of its identity.
fn no_svid(documents: &[Document], name: &NodeName, missing: MissingSvid) -> Option<Problem> {
    let (kind, key) = match name {
        NodeName::Gateway { key } => ("Gateway", key),
        NodeName::Sidecar { key, .. } => ("Service", key),
    };
    let document = documents.iter().find(|one| one.kind() == kind && one.key() == *key)?;
    let MissingSvid { code, message, help } = missing;
    let mut problem = document.problem(code, "/spec/identity", message);
    problem.help = Some(help.to_owned());
    Some(problem)
}

/// The problem of a route that a router refuses, at its place in the route's document.
pub(crate) fn refused_route(documents: &[Document], left_out: &RouteFault) -> Option<Problem> {
    let of = |one: &&Document| one.kind() == left_out.kind && one.key() == left_out.route;
    let document = documents.iter().find(of)?;
    let message = format!("the router refuses this: {}", left_out.message);
    let mut problem = document.problem("route.refused", &left_out.pointer, message);
    let share =
        if left_out.whole { "all requests for its hosts" } else { "the requests it matches" };
    problem.help = Some(format!("until it is corrected, {share} get 500"));
    Some(problem)
}

/// What a router left out, on one line.
fn left_out_line(left_out: &[RouteFault]) -> String {
    let lines: Vec<String> = left_out
        .iter()
        .map(|one| {
            format!("{} {} is left out: {}: {}", one.kind, one.route, one.pointer, one.message)
        })
        .collect();
    lines.join("; ")
}

/// Why there is no plan, on one line.
pub(crate) fn why(problems: &[Problem], notes: &[String]) -> String {
    let mut lines: Vec<String> = problems.iter().map(Problem::in_one_line).collect();
    lines.extend(notes.iter().cloned());
    if lines.is_empty() {
        "there is no Gateway or Service of that name".to_owned()
    } else {
        lines.join("; ")
    }
}

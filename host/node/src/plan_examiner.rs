//! Finds what a proxy would refuse, without running one: the same verifier, compiler and `validate`, but
//! nothing that serves.

use crate::build::{Builder, PlacedRefusal};
use crate::fetch::Fetcher;
use crate::node_resources::NodeResources;
use crate::policies::policies;
use crate::sockets::{Membership, Sockets};
use crate::staging::refused_route;
use crate::stand_in_secrets::stand_ins;
use crate::store::ArtifactStore;
use crate::ticks::TickStarter;
use crate::{DocumentPlaces, NodeError};
use std::collections::HashSet;
use std::sync::Arc;
use tamis_ambient::Clock;
use tamis_engine::{Exporter, FilterSpan, Secrets};
use tamis_observe::Metrics;
use tamis_resources::plan::{FilterPlan, NodePlan};
use tamis_resources::{Document, NodeName, Problem, Resource, fold};
use tamis_trust::Refused;

/// Discards what a filter exports while it is examined.
struct NullExporter;

impl Exporter for NullExporter {
    fn record(&self, _: &str, _: &str) {}
    fn span(&self, _: &str, _: &FilterSpan) {}
}

/// Something that a proxy would refuse or could not use.
#[derive(Debug, Clone)]
pub enum Finding {
    /// With a place in a document.
    Problem(Box<Problem>),
    /// Without one: a certificate, a file, a trust policy.
    Note(String),
}

/// Examines plans as the proxies that run them do.
pub struct PlanExaminer {
    builder: Builder,
    source: DocumentPlaces,
    clock: Clock,
    /// What stands in for the secrets of the proxies.
    secrets: Secrets,
    /// What was examined already: other proxies have the same.
    seen: HashSet<String>,
}

impl PlanExaminer {
    /// For documents of a source, with the artifacts of a store.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new(
        shared: &NodeResources,
        source: DocumentPlaces,
        store: ArtifactStore,
    ) -> Result<Self, NodeError> {
        let secrets = Secrets::default();
        let builder = Builder::new(
            shared,
            store,
            Arc::new(Metrics::new()),
            Arc::new(NullExporter),
            Arc::new(Fetcher::default()),
            secrets.clone(),
            TickStarter::new()?,
        );
        let (clock, seen) = (shared.clock, HashSet::new());
        Ok(Self { builder, source, clock, secrets, seen })
    }

    /// What the proxy of that name would refuse of these documents, beyond problems found when combining
    /// them: filters that are missing, not signed, not granted, of another world or that refuse their
    /// configuration; routes that a router refuses; certificates that cannot be used.
    pub fn look(&mut self, documents: &[Document], node: &NodeName) -> Vec<Finding> {
        let source = self.source.clone();
        let folded = fold(documents, node, &|file| source.file(file));
        let Some(plan) = folded.plan else { return Vec::new() };
        let mut notes = Vec::new();
        let policies = policies(&plan, &mut notes);
        let mut findings = Vec::new();
        self.secrets.replace(stand_ins(plan.filters.iter().map(AsRef::as_ref)));
        // What documents do not allow to run was reported when they were combined.
        let filters: Vec<&FilterPlan> = (plan.filters.iter().map(|filter| &**filter))
            .filter(|filter| filter.refused.is_none() && self.seen.insert(stamp(filter, &plan)))
            .collect();
        for (tried, filter) in
            self.builder.try_filters(&filters, &policies).into_iter().zip(filters)
        {
            match tried {
                Ok(left_out) => {
                    let problems = left_out.iter().filter_map(|it| refused_route(documents, it));
                    findings.extend(problems.map(|it| Finding::Problem(Box::new(it))));
                }
                Err(faulty) => findings.extend(at_its_place(documents, filter, faulty)),
            }
        }
        let mut sockets = Sockets::new(self.clock, Membership::Assumed);
        drop(sockets.of_plan(&source, &plan, &mut notes));
        let fresh = notes.into_iter().filter(|note| self.seen.insert(note.clone()));
        findings.extend(fresh.map(Finding::Note));
        findings
    }
}

/// Everything that decides about a filter.
fn stamp(filter: &FilterPlan, plan: &NodePlan) -> String {
    let (config, trust) = (&filter.config, serde_json::json!(plan.trust));
    let grant = serde_json::to_string(&filter.grant).unwrap_or_default();
    let world = filter.world;
    format!(
        "{} {} {world:?} {config} {grant} {:?} {trust}",
        filter.attachment, filter.digest, filter.signed_by
    )
}

/// The refusal of a filter, at its attachment: if its configuration is at fault, at each fault.
fn at_its_place(
    documents: &[Document],
    filter: &FilterPlan,
    PlacedRefusal { refusal, places }: PlacedRefusal,
) -> Vec<Finding> {
    let (code, said) = (refusal.code.clone(), refusal.sentence());
    let of = |one: &&Document| one.kind() == "FilterAttachment" && one.key() == filter.attachment;
    let Some(document) = documents.iter().find(of) else {
        return vec![Finding::Note(format!("{}: {said}", filter.attachment))];
    };
    if places.is_empty() {
        let rule = Refused { remedy: String::new(), ..refusal.clone() }.sentence();
        let mut found = match at_fault(documents, filter, &refusal) {
            Some((it, pointer)) => {
                let mut found = it.problem(&code, &pointer, rule);
                found.also.push(document.place("/spec/filter", "the attachment"));
                found
            }
            None => document.problem(&code, "/spec/filter", rule),
        };
        found.help = Some(refusal.remedy).filter(|remedy| !remedy.is_empty());
        return vec![Finding::Problem(Box::new(found))];
    }
    let at = |(pointer, message): (String, String)| {
        let message = format!("{} refuses this and says: {message}", filter.filter);
        let received = filter.received_place(&pointer).and_then(|(key, place)| {
            let of = |one: &&Document| one.kind() == "AuthorizationPolicy" && one.key() == key;
            Some(documents.iter().find(of)?.problem(&code, &place, &message))
        });
        let own = || document.problem(&code, &filter.config_place(&pointer), &message);
        let remedy = match &received {
            Some(_) => "correct the policy: what it guards is closed until then".to_owned(),
            None => refusal.remedy.clone(),
        };
        let mut found = received.unwrap_or_else(own);
        found.help = Some(remedy);
        Finding::Problem(Box::new(found))
    };
    places.into_iter().map(at).collect()
}

/// The document that has to change so that a filter runs, and where in it, if that is not its attachment.
fn at_fault<'a>(
    documents: &'a [Document],
    filter: &FilterPlan,
    refusal: &Refused,
) -> Option<(&'a Document, String)> {
    match &*refusal.code {
        "filter.world" => {
            let mut all = documents.iter();
            let found = all.find(|one| one.kind() == "Filter" && one.key() == filter.filter)?;
            Some((found, "/spec/world".to_owned()))
        }
        "grant.import" | "grant.field" | "grant.limit" | "grant.scope" => {
            let mut all = documents.iter();
            let of = |one: &&Document| match &one.resource {
                Resource::Grant(spec) => spec.filter == filter.filter,
                _ => false,
            };
            let found = all.find(of)?;
            // The way out names the field, with `spec` before it.
            let field = refusal.remedy.split('`').find(|part| part.starts_with("spec."));
            let pointer = field.map(|field| format!("/{}", field.replace('.', "/")));
            Some((found, pointer.unwrap_or_else(|| "/spec".to_owned())))
        }
        _ => None,
    }
}

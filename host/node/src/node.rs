//! One proxy with its documents: start, reload, stop.

use crate::NodeError;
use crate::build::{Builder, Built, Code, Rules};
use crate::documents::{Source, plain};
use crate::fetch::Fetcher;
use crate::follow::{Followed, NowRuns};
use crate::good::Good;
use crate::sockets::Sockets;
use crate::store::Store;
use crate::ticks::Ticks;
use serde_json::json;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tamis_ambient::{Clock, Random};
use tamis_engine::{Cache, CacheFolders, Engine, Exporter, FilterSpan, Secrets};
use tamis_observe::Recorder;
use tamis_proxy::{
    CertificateStatus, ChainLayout, Generation, Proxy, ProxyOptions, SlotState, SlotStatus, Status,
};
use tamis_resources::plan::{ListenerPlan, NodePlan};
use tamis_resources::redact::{redact, without};
use tamis_resources::{Document, LeftOut, NodeName, Problem, fold};
use tamis_sync::SHADOW;
use tamis_trust::{Digest, Policy};

/// Resources that the nodes of a process share.
#[derive(Clone)]
pub struct Shared {
    pub(crate) engine: Engine,
    pub(crate) cache: Option<Arc<Cache>>,
    pub(crate) code: Code,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
}

impl Shared {
    /// An engine, with compiled code cached if folders for it are given. What expires is judged by `clock`; tries to
    /// reach a director are spread by `random`.
    ///
    /// # Errors
    /// The engine cannot run here, or the cache cannot be opened.
    pub fn new(
        cache: Option<CacheFolders<'_>>,
        clock: Clock,
        random: Random,
    ) -> Result<Self, NodeError> {
        let open = |folders: CacheFolders<'_>| {
            let path = folders.code.to_owned();
            Cache::open(folders).map_err(|source| NodeError::Cache { path, source })
        };
        let cache = cache.map(open).transpose()?.map(Arc::new);
        Ok(Self { engine: Engine::new()?, cache, code: Code::default(), clock, random })
    }
}

/// The options of a node.
pub struct NodeOptions {
    /// The name of the proxy.
    pub name: NodeName,
    /// Its documents.
    pub source: Source,
    /// Its artifacts.
    pub store: Store,
    /// Secrets that filters may open by name, if their grant allows it.
    pub secrets: Secrets,
    /// Options of its proxy; its admin address comes from the documents unless one is given.
    pub proxy: ProxyOptions,
}

impl NodeOptions {
    /// A copy of the options.
    pub(crate) fn again(&self) -> Self {
        Self {
            name: self.name.clone(),
            source: self.source.clone(),
            store: self.store.clone(),
            secrets: self.secrets.clone(),
            proxy: self.proxy.clone(),
        }
    }
}

/// The code of a proxy's problems outside its documents: files, sockets, certificates.
pub(crate) const NODE_PROBLEM: &str = "node.problem";

/// The result of a reload.
#[derive(Debug, Clone)]
pub struct Reload {
    /// Name of the node.
    pub node: String,
    /// Generation in use now.
    pub generation: u64,
    /// Whether it differs from the previous one.
    pub changed: bool,
    /// Problems of documents.
    pub problems: Vec<Problem>,
    /// Problems elsewhere: files, sockets, certificates.
    pub notes: Vec<String>,
    /// What every slot runs.
    pub slots: Vec<SlotStatus>,
    /// Renewed certificates, each on a line with its expiry.
    pub renewed: Vec<String>,
}

/// One proxy with its documents, or with the plan of a director.
pub struct Node {
    name: NodeName,
    source: Source,
    /// The director's plan; `None`: the plan comes from documents.
    followed: Option<Arc<Followed>>,
    proxy: Proxy,
    staging: Mutex<Staging>,
}

/// The data of reloads, one at a time.
struct Staging {
    builder: Builder,
    sockets: Sockets,
    /// The last good documents.
    good: Good,
    number: u64,
    revision: String,
}

/// Writes filters' own records and spans to the access log.
struct Records(Recorder);

impl Exporter for Records {
    fn record(&self, filter: &str, json: &str) {
        self.0.line(&format!("{{\"filter\":{},\"record\":{json}}}", json!(filter)));
    }

    fn span(&self, filter: &str, span: &FilterSpan) {
        let attributes: HashMap<_, _> = span.attributes.iter().cloned().collect();
        let value = json!({
            "filter": filter, "exchange": span.exchange, "span": span.name,
            "start_unix_us": span.start_unix_us, "duration_us": span.duration_us,
            "attributes": attributes,
        });
        self.0.line(&value.to_string());
    }
}

/// The result of a pass over the documents.
struct Staged {
    generation: Option<Generation>,
    problems: Vec<Problem>,
    notes: Vec<String>,
    slots: Vec<SlotStatus>,
    admin: Option<String>,
    /// See [`Reload::renewed`].
    renewed: Vec<String>,
    certificates: Vec<CertificateStatus>,
    /// Secrets of configurations, which are removed from everything shown.
    secrets: Vec<String>,
}

impl Staged {
    fn nothing(problems: Vec<Problem>, notes: Vec<String>) -> Self {
        Self {
            generation: None,
            problems,
            notes,
            slots: Vec::new(),
            admin: None,
            renewed: Vec::new(),
            certificates: Vec::new(),
            secrets: Vec::new(),
        }
    }

    /// Removes the secrets of configurations from everything shown.
    fn redacted(mut self) -> Self {
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

/// What runs in slots and their shadows.
fn now_runs(built: &[Built]) -> Vec<NowRuns> {
    let mut all = Vec::new();
    for one in built {
        let slot = one.status.attachment.clone();
        let refusal = one.status.state.refusal().cloned();
        if let Some(shadow) = &one.shadow {
            let (runs, refusal) = match shadow {
                Ok(running) => (Some(running.clone()), None),
                Err(refusal) => (None, Some(refusal.0.clone())),
            };
            all.push(NowRuns { slot: format!("{slot}{SHADOW}"), runs, refusal });
        }
        all.push(NowRuns { slot, runs: one.running.clone(), refusal });
    }
    all
}

/// The trust policies of a plan; an invalid one is replaced by a policy that trusts no key for its filters.
pub(crate) fn policies(plan: &NodePlan, notes: &mut Vec<String>) -> Vec<Policy> {
    let mut policies = Vec::new();
    for policy in &plan.trust {
        let (policy, error) = Policy::read_or_nobody(policy);
        policies.push(policy);
        notes.extend(error.map(|error| format!("trust policy: {error}; it trusts nobody")));
    }
    policies
}

impl Node {
    /// Reads the documents and serves them.
    ///
    /// # Errors
    /// The documents do not declare such a proxy, or its sockets cannot be opened.
    pub fn start(shared: &Shared, options: NodeOptions) -> Result<(Self, Reload), NodeError> {
        Self::start_with(shared, options, None)
    }

    /// Serves the director's plan, which `followed` has by now.
    ///
    /// # Errors
    /// The parts form no plan, or its sockets cannot be opened.
    pub(crate) fn start_with(
        shared: &Shared,
        options: NodeOptions,
        followed: Option<Arc<Followed>>,
    ) -> Result<(Self, Reload), NodeError> {
        let NodeOptions { name, source, store, secrets, mut proxy } = options;
        let builder = Builder::new(
            shared,
            store,
            Arc::clone(&proxy.metrics),
            Arc::new(Records(proxy.recorder.clone())),
            Arc::new(Fetcher),
            secrets,
            Ticks::new()?,
        );
        let (good, distrust) = Good::open(&source.root, &name);
        let mut staging = Staging {
            builder,
            sockets: Sockets::new(shared.clock),
            good,
            number: 0,
            revision: String::new(),
        };
        let mut staged = staging.stage(&source, &name, followed.as_deref())?.redacted();
        staged.notes.extend(distrust.filter(|_| followed.is_none()));
        let Some(generation) = staged.generation.take() else {
            let why = why(&staged.problems, &staged.notes);
            return Err(NodeError::NoPlan { node: name.to_string(), why });
        };
        if proxy.admin.is_none() {
            proxy.admin = staged.admin.as_ref().and_then(|address| address.parse().ok());
        }
        let proxy = Proxy::start(proxy, generation)?;
        let node = Self { name, source, followed, proxy, staging: Mutex::new(staging) };
        let reload = node.report(staged, true);
        Ok((node, reload))
    }

    /// Reads the documents again and swaps if something changed. Never stops what runs.
    pub fn reload(&self) -> Reload {
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        let before = (staging.number, staging.revision.clone());
        let staged = match staging.stage(&self.source, &self.name, self.followed.as_deref()) {
            Ok(staged) => staged,
            Err(error) => {
                let mut staged = Staged::nothing(Vec::new(), vec![crate::sockets::causes(&error)]);
                staged.slots = self.slots();
                staged.certificates = staging.sockets.certificates();
                return self.report(staged, false);
            }
        };
        let (mut staged, mut changed) = (staged.redacted(), false);
        match staged.generation.take() {
            None => {
                staged.notes.push(
                    "no document declares this proxy any more; it keeps its last configuration"
                        .to_owned(),
                );
            }
            Some(generation) if generation.number == before.0 => {}
            Some(generation) => match self.proxy.swap(generation) {
                Ok(()) => changed = true,
                Err(error) => {
                    (staging.number, staging.revision) = before;
                    let why = crate::sockets::causes(&error);
                    staged.notes.push(format!("{why}; nothing changed"));
                }
            },
        }
        self.report(staged, changed)
    }

    /// Whether a file of a certificate has changed since the last check.
    pub(crate) fn certificates_changed(&self) -> bool {
        self.staging.lock().unwrap_or_else(PoisonError::into_inner).sockets.changed()
    }

    fn slots(&self) -> Vec<SlotStatus> {
        self.proxy.status().slots.clone()
    }

    fn report(&self, staged: Staged, changed: bool) -> Reload {
        let Staged { problems, notes, slots, renewed, certificates, .. } = staged;
        let mut told: Vec<_> =
            problems.iter().map(|one| serde_json::to_value(one).unwrap_or_default()).collect();
        told.extend(notes.iter().map(|note| json!({ "code": NODE_PROBLEM, "message": note })));
        self.proxy.report(Status { slots: slots.clone(), problems: told, certificates });
        Reload {
            node: self.name.to_string(),
            generation: self.proxy.generation().number,
            changed,
            problems,
            notes,
            slots,
            renewed,
        }
    }

    /// Its proxy.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Its name.
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// Folders to watch for changes.
    pub fn folders(&self) -> Vec<PathBuf> {
        let staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        let mut folders: Vec<PathBuf> =
            self.source.paths.iter().chain(staging.builder.store.folders()).cloned().collect();
        folders.retain(|path| path.exists());
        // Watching a folder covers its content.
        let all = folders.clone();
        folders.retain(|path| !all.iter().any(|other| path != other && path.starts_with(other)));
        folders.dedup();
        folders
    }

    /// Whether a change of a path in one of its folders can change what it runs.
    pub(crate) fn concerns(&self) -> impl Fn(&Path) -> bool + Send + 'static {
        let staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        let folders = staging.builder.store.folders().iter();
        let (source, store) =
            (self.source.clone(), folders.map(|one| plain(one)).collect::<Vec<_>>());
        move |path| {
            let path = plain(path);
            source.concerns(&path) || store.iter().any(|folder| path.starts_with(folder))
        }
    }

    /// Finishes what is in progress and stops.
    pub fn shutdown(self, deadline: Duration) {
        self.proxy.shutdown(deadline);
    }
}

impl Staging {
    fn stage(
        &mut self,
        source: &Source,
        name: &NodeName,
        followed: Option<&Followed>,
    ) -> Result<Staged, NodeError> {
        match followed {
            None => self.stage_documents(source, name),
            Some(followed) => Ok(self.stage_followed(source, followed)),
        }
    }

    fn stage_followed(&mut self, source: &Source, followed: &Followed) -> Staged {
        let mut notes = Vec::new();
        let Some(assembled) = followed.assembled() else {
            notes.push("the director has not sent a plan for this proxy yet".to_owned());
            return Staged::nothing(Vec::new(), notes);
        };
        let policies = followed.policies(&assembled.plan, &mut notes);
        let wanted = followed.wanted(&assembled, &mut notes);
        let rules = Rules { policies: &policies, age: followed.age() };
        let built = self.builder.build_wanted(&wanted, rules);
        drop(wanted);
        followed.runs(&assembled, now_runs(&built));
        self.generate(source, &assembled.plan, built, Vec::new(), notes)
    }

    fn stage_documents(&mut self, source: &Source, name: &NodeName) -> Result<Staged, NodeError> {
        let read = source.read()?;
        let mut problems = read.problems.clone();
        let mut notes: Vec<String> = read.unreadable.iter().map(ToString::to_string).collect();
        let cold = self.number == 0;
        let completed = self.good.complete(read, cold, &mut notes);
        let documents = completed.map_err(|files| NodeError::Unready {
            node: name.to_string(),
            files,
            why: why(&problems, &notes),
        })?;
        let folded = fold(&documents, name, &|file| source.file(file));
        problems.extend(folded.problems);
        let Some(plan) = folded.plan else { return Ok(Staged::nothing(problems, notes)) };
        self.good.keep(&documents, &folded.statuses, &mut notes);
        let policies = policies(&plan, &mut notes);
        let built = self.builder.build(&plan.filters, &policies);
        for one in &built {
            problems.extend(one.left_out.iter().filter_map(|left| refused_route(&documents, left)));
        }
        Ok(self.generate(source, &plan, built, problems, notes))
    }

    /// The generation of a plan whose filters are built.
    fn generate(
        &mut self,
        source: &Source,
        plan: &NodePlan,
        built: Vec<Built>,
        problems: Vec<Problem>,
        mut notes: Vec<String>,
    ) -> Staged {
        let built = crate::chains::one_of_each(plan, built);
        self.sockets.begin(plan.identity.as_deref());
        let mut listeners = self.sockets.listeners(source, &plan.listeners, &mut notes);
        let services = self.sockets.services(source, &plan.services, &mut notes);
        // Maps indices of the plan's filters to those of the generation: some may have been left out.
        let (mut filters, mut places, mut slots) = (Vec::new(), Vec::new(), Vec::new());
        for Built { attached, mut status, left_out, .. } in built {
            if !left_out.is_empty() && status.detail.is_none() {
                status.detail = Some(told(&left_out));
            }
            places.push(attached.is_some().then_some(filters.len()));
            filters.extend(attached.map(Arc::new));
            slots.push(status);
        }
        let chain = |listener: &ListenerPlan| {
            let members = listener.chain.attachments.iter();
            let members: Vec<usize> =
                members.filter_map(|index| places.get(*index).copied().flatten()).collect();
            ChainLayout::build(&filters, &members, &services)
        };
        let chains: Vec<ChainLayout> = plan.listeners.iter().map(chain).collect();
        listeners.retain(|listener| listener.chain < chains.len());
        let shadows: Vec<String> = filters.iter().map(|one| format!("{:?}", one.shadow)).collect();
        let revision = self.revision(plan, &slots, &shadows, &notes);
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
        Staged {
            generation: Some(generation),
            problems,
            notes,
            slots,
            admin: plan.admin.clone(),
            renewed: self.sockets.renewed(),
            certificates: self.sockets.certificates(),
            secrets,
        }
    }

    /// Hash of everything that a generation is made of.
    fn revision(
        &self,
        plan: &NodePlan,
        slots: &[SlotStatus],
        shadows: &[String],
        notes: &[String],
    ) -> String {
        let sockets = self.sockets.stamp();
        let parts = json!({
            "plan": plan, "slots": slots, "shadows": shadows, "notes": notes, "sockets": sockets,
        });
        Digest::of(parts.to_string().as_bytes()).hex().chars().take(12).collect()
    }
}

/// The problem of a route that a router refuses, at its place in the route's document.
pub(crate) fn refused_route(documents: &[Document], left_out: &LeftOut) -> Option<Problem> {
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
fn told(left_out: &[LeftOut]) -> String {
    let lines: Vec<String> = left_out
        .iter()
        .map(|one| {
            format!("{} {} is left out: {}: {}", one.kind, one.route, one.pointer, one.message)
        })
        .collect();
    lines.join("; ")
}

/// Why there is no plan, on one line.
fn why(problems: &[Problem], notes: &[String]) -> String {
    let mut lines: Vec<String> = problems
        .iter()
        .map(|one| {
            let place = &one.place;
            format!("{}:{}:{}: {}", place.source, place.line, place.column, one.message)
        })
        .collect();
    lines.extend(notes.iter().cloned());
    if lines.is_empty() {
        "there is no Gateway or Service of that name".to_owned()
    } else {
        lines.join("; ")
    }
}

#[cfg(test)]
pub(crate) mod tests;

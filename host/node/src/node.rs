//! One proxy with its documents: start, reload, stop.

use crate::NodeError;
use crate::build::Builder;
use crate::documents::{DocumentPlaces, plain};
use crate::fetch::Fetcher;
use crate::follow::FollowedPlan;
use crate::good::{LastGoodDocuments, file_name};
use crate::issuance::{Issuance, kept};
use crate::names::AnsweredNames;
use crate::node_resources::NodeResources;
use crate::sockets::{MissingSvid, Sockets};
use crate::staging::{StageResult, Staging, why};
use crate::store::ArtifactStore;
use crate::ticks::TickStarter;
use serde_json::json;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tamis_engine::{Exporter, FilterSpan, Secrets};
use tamis_observe::Recorder;
use tamis_proxy::{Generation, MeshCalls, Proxy, ProxyError, ProxyOptions, SlotStatus, Status};
use tamis_resources::{NodeName, Problem};
use tamis_transport::{CertificateOrders, MeshIdentity, TlsError};

/// The options of a node.
pub struct NodeOptions {
    /// The name of the proxy.
    pub name: NodeName,
    /// Its documents.
    pub source: DocumentPlaces,
    /// Its artifacts.
    pub store: ArtifactStore,
    /// Secrets that filters may open by name, if their grant allows it.
    pub secrets: Secrets,
    /// Where the certificates that it orders are kept, each proxy in a folder of its own; default: `.tamis/acme` below the root
    /// of its source.
    pub certificates: Option<PathBuf>,
    /// Options of its proxy; its admin address comes from the documents unless one is given.
    pub proxy: ProxyOptions,
}

impl NodeOptions {
    /// A copy of the options.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            name: self.name.clone(),
            source: self.source.clone(),
            store: self.store.clone(),
            secrets: self.secrets.clone(),
            certificates: self.certificates.clone(),
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
    source: DocumentPlaces,
    /// The director's plan; `None`: the plan comes from documents.
    followed: Option<Arc<FollowedPlan>>,
    proxy: Proxy,
    staging: Mutex<Staging>,
    names: Mutex<AnsweredNames>,
    issuance: Mutex<Issuance>,
    /// `None`: it has not joined the mesh.
    identity: Option<MeshIdentity>,
}

/// Notes which trust domains of a plan are not recognised.
fn note_unfederated(faults: &[TlsError], staged: &mut StageResult) {
    staged.notes.extend(faults.iter().map(|fault| tamis_transport::causes(fault)));
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

impl Node {
    /// Reads the documents and serves them.
    ///
    /// # Errors
    /// The documents do not declare such a proxy, or its sockets cannot be opened.
    pub fn start(
        shared: &NodeResources,
        options: NodeOptions,
    ) -> Result<(Self, Reload), NodeError> {
        Self::start_with(shared, options, None)
    }

    /// Serves the director's plan, which `followed` has by now.
    ///
    /// # Errors
    /// The parts form no plan, or its sockets cannot be opened.
    pub(crate) fn start_with(
        shared: &NodeResources,
        options: NodeOptions,
        followed: Option<Arc<FollowedPlan>>,
    ) -> Result<(Self, Reload), NodeError> {
        let NodeOptions { name, source, store, secrets, certificates, mut proxy } = options;
        // Each proxy has its own way into the mesh.
        proxy.mesh_calls = MeshCalls::default();
        proxy.orders = CertificateOrders::default();
        let folder = certificates.unwrap_or_else(|| source.root.join(".tamis/acme"));
        let kept = kept(folder, &file_name(&name));
        let workers = proxy.worker_count().get();
        let mut builder = Builder::new(
            shared,
            store,
            Arc::clone(&proxy.metrics),
            Arc::new(Records(proxy.recorder.clone())),
            Arc::new(Fetcher::new(proxy.mesh_calls.clone())),
            secrets,
            TickStarter::new()?,
        );
        builder.workers = workers;
        let (good, distrust) = LastGoodDocuments::open(&source.root, &name);
        let mut staging = Staging {
            builder,
            sockets: Sockets::new(shared.clock, proxy.identity.clone().into())
                .with_ordered(kept.clone()),
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
        let identity = proxy.identity.clone();
        let faults = identity.as_ref().map(|identity| identity.federate(&staged.federated));
        note_unfederated(&faults.unwrap_or_default(), &mut staged);
        let mut names = AnsweredNames::new(shared.clock, proxy.random);
        let orders = proxy.orders.clone();
        let mut issuance = Issuance::new(kept, orders, (shared.clock, proxy.random));
        let proxy = Proxy::start(proxy, generation)?;
        names.follow(staged.dns.as_ref(), &mut staged.notes);
        issuance.follow(staged.acme.as_ref(), &mut staged.notes);
        let (staging, names) = (Mutex::new(staging), Mutex::new(names));
        let issuance = Mutex::new(issuance);
        let node = Self { name, source, followed, proxy, staging, names, issuance, identity };
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
                let mut staged =
                    StageResult::nothing(Vec::new(), vec![tamis_transport::causes(&error)]);
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
            Some(generation) if generation.number == before.0 => self.follow_beside(&mut staged),
            Some(generation) => match self.swap(generation, &mut staged) {
                Ok(()) => {
                    changed = true;
                    self.follow_beside(&mut staged);
                }
                Err(error) => {
                    (staging.number, staging.revision) = before;
                    let why = tamis_transport::causes(&error);
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

    /// Serves a generation, and recognises the trust domains of its plan.
    fn swap(&self, generation: Generation, staged: &mut StageResult) -> Result<(), ProxyError> {
        let swap = || self.proxy.swap(generation);
        let Some(identity) = &self.identity else { return swap() };
        let faults = identity.federate_around(&staged.federated, swap)?;
        note_unfederated(&faults, staged);
        Ok(())
    }

    /// Answers DNS and orders certificates as the plan in force says.
    fn follow_beside(&self, staged: &mut StageResult) {
        let mut issuance = self.issuance.lock().unwrap_or_else(PoisonError::into_inner);
        issuance.follow(staged.acme.as_ref(), &mut staged.notes);
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.follow(staged.dns.as_ref(), &mut staged.notes);
    }

    fn slots(&self) -> Vec<SlotStatus> {
        self.proxy.status().slots.clone()
    }

    fn report(&self, staged: StageResult, changed: bool) -> Reload {
        let StageResult { problems, mut notes, missing_svid, slots, renewed, certificates, .. } =
            staged;
        let mut problems_shown: Vec<_> =
            problems.iter().map(|one| serde_json::to_value(one).unwrap_or_default()).collect();
        problems_shown
            .extend(notes.iter().map(|note| json!({ "code": NODE_PROBLEM, "message": note })));
        if let Some(MissingSvid { code, message, help }) = missing_svid {
            notes.push(format!("{message}; {help}"));
            problems_shown.push(json!({ "code": code, "message": message, "help": help }));
        }
        // The status shows these problems by itself, as long as they last, so only people need them as notes.
        notes.extend(self.proxy.http3_problems());
        self.proxy.report(Status {
            slots: slots.clone(),
            problems: problems_shown,
            certificates,
            // The proxy knows them.
            identity: None,
            plaintext: Vec::new(),
            orders: Vec::new(),
        });
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

#[cfg(test)]
pub(crate) mod tests;

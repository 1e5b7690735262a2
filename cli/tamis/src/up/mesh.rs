//! The proxies of a folder, each following the folder's registry, all in this process.

use super::admission::RevokedProxy;
use super::feed::PlannedDocuments;
use super::member::{self, Member};
use super::prepare;
use super::proof::{ProofIssuer, ProxyProof};
use super::registry::EmbeddedRegistry;
use crate::declared;
use crate::output::{self, Output};
use crate::proxy::{JoinedProxy, RecordFile, RunFolder, print_reload};
use crate::user_state;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tamis_ambient::{Clock, Random};
use tamis_node::{
    ArtifactStore, CacheFolders, CertificateWatch, DirectorLogin, DocumentPlaces, FollowSettings,
    FollowedNode, Node, NodeOptions, NodeResources, Secrets, causes,
};
use tamis_observe::AccessLog;
use tamis_proxy::ProxyOptions;
use tamis_resources::NodeName;
use tamis_trust::DirectorKeys;

/// Interval between reports of proxies: short, since the user of the registry sits in front of them.
const REPORT: Duration = Duration::from_secs(2);

/// How long clients of a proxy that is planned no more get to end what they began.
const LEAVE: Duration = Duration::from_secs(10);

/// Proxies that run.
pub(crate) struct Mesh {
    proxies: Vec<Proxy>,
    /// Those that are started.
    coming: Vec<(NodeName, mpsc::Receiver<Result<Proxy>>)>,
    /// The documents of the last change, while one of the proxies in them is being started.
    waiting: Option<PlannedDocuments>,
    /// What keeps a proxy from running, by its name.
    wrongs: BTreeMap<String, String>,
    setup: Arc<Setup>,
    run: Option<RunFolder>,
}

/// What every proxy is given from the command line.
pub(crate) struct ProxySettings {
    pub(crate) secrets: Secrets,
    /// Responses name the generation that served them.
    pub(crate) name_generation: bool,
}

/// A proxy that runs.
struct Proxy {
    node: Arc<Node>,
    following: FollowedNode,
    certificates: CertificateWatch,
    /// Its SVID, if it has one.
    joined: Option<JoinedProxy>,
}

/// The settings for starting a proxy that are not in its document.
struct Setup {
    folder: PathBuf,
    shared: NodeResources,
    /// Where the registry is.
    proxies: String,
    proofs: ProofIssuer,
    keys: DirectorKeys,
    given: ProxySettings,
    output: Output,
}

/// Starts every proxy, as the registry wants it.
pub(crate) fn start(
    folder: &Path,
    members: &[Member],
    registry: &EmbeddedRegistry,
    given: ProxySettings,
    output: Output,
) -> Result<Mesh> {
    let shared = shared(folder)?;
    let (access, state) = (folder.join(".tamis/access"), folder.join(".tamis/state"));
    tamis_private::folder(&access).with_context(|| format!("{}", access.display()))?;
    // What a proxy kept is for the day its registry does not answer. This one runs in this process and knows better, from
    // the first address on that a proxy listens on.
    forget(&state)?;
    let setup = Setup {
        folder: folder.to_owned(),
        shared,
        proxies: registry.proxies.clone(),
        proofs: registry.proofs(folder),
        keys: registry.keys()?,
        given,
        output,
    };
    let setup = Arc::new(setup);
    let run = RunFolder::open(None).inspect_err(|error| output::note(&format!("{error:#}"))).ok();
    let (proxies, coming, waiting, wrongs) = (Vec::new(), Vec::new(), None, BTreeMap::new());
    let mut mesh = Mesh { proxies, coming, waiting, wrongs, setup, run };
    for member in members {
        let busy = output::busy(format!("starting {}", member.name));
        let started = mesh.setup.start(member, mesh.control(&member.name));
        drop(busy);
        match started {
            Ok(proxy) => mesh.proxies.push(proxy),
            // The others run, so that somebody can admit it again.
            Err(error) if error.is::<RevokedProxy>() => mesh.failed(&member.name, &error),
            Err(error) => return Err(error),
        }
    }
    Ok(mesh)
}

fn forget(state: &Path) -> Result<()> {
    if state.exists() {
        fs::remove_dir_all(state)
            .with_context(|| format!("{} cannot be removed", state.display()))?;
    }
    Ok(())
}

impl Setup {
    fn start(&self, member: &Member, control: Option<PathBuf>) -> Result<Proxy> {
        let (folder, output) = (&self.folder, self.output);
        let name = member.name.to_string();
        let ProxyProof { login, joined } = self.proofs.give(member)?;
        let short = name.replace([':', '/'], "-");
        let records = folder.join(".tamis/access").join(format!("{short}.jsonl"));
        let mut proxy = proxy(&records, &member.name, self.given.name_generation)?;
        proxy.control = control;
        proxy.identity = joined.as_ref().map(|joined| joined.identity.clone());
        let options = NodeOptions {
            name: member.name.clone(),
            source: DocumentPlaces::folder(folder),
            store: ArtifactStore::new(Vec::new()),
            secrets: self.given.secrets.clone(),
            certificates: None,
            proxy,
        };
        let state = folder.join(".tamis/state").join(short);
        forget(&state)?;
        let print_later = move |reload: &_| print_reload(reload, output);
        let (following, reload) =
            FollowedNode::start(&self.shared, options, self.follow(login, state), print_later)
                .with_context(|| format!("{name} does not start"))?;
        print_reload(&reload, output);
        let node = Arc::clone(following.node());
        let renewed = move |reload: &_| print_reload(reload, output);
        let certificates = CertificateWatch::start(Arc::clone(&node), renewed)?;
        Ok(Proxy { node, following, certificates, joined })
    }

    fn follow(&self, login: DirectorLogin, state: PathBuf) -> FollowSettings {
        FollowSettings {
            director: self.proxies.clone(),
            login,
            state,
            keys: self.keys.clone(),
            policy_root: None,
            report_every: REPORT,
            release: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn event(&self, node: &NodeName, what: &str, why: Option<&str>) {
        let node = node.to_string();
        let value = json!({ "event": "proxy", "node": node, "state": what, "why": why });
        output::event(self.output, &value, || match why {
            Some(why) => format!("{node}: {why}"),
            None => format!("{node} {what}"),
        });
    }
}

/// Options shared by the proxies: compiled code is kept in the folder if that can be trusted; otherwise
/// filters are compiled at each start.
fn shared(folder: &Path) -> Result<NodeResources> {
    let code = folder.join(".tamis/cache");
    let cached = user_state::folder().and_then(|state| {
        let also = user_state::code();
        let folders = CacheFolders { code: &code, state: &state, also: also.as_deref() };
        Ok(NodeResources::new(Some(folders), Clock::system(), Random::system())?)
    });
    match cached {
        Ok(shared) => Ok(shared),
        Err(error) => {
            tracing::warn!("compiled code is not kept: {error:#}");
            Ok(NodeResources::new(None, Clock::system(), Random::system())?)
        }
    }
}

fn proxy(access: &Path, name: &NodeName, name_generation: bool) -> Result<ProxyOptions> {
    let records = RecordFile::open(Some(access), 0o600)?;
    // The sidecars of a laptop share its cores.
    let workers = match name {
        NodeName::Gateway { .. } => NonZeroUsize::new(2),
        NodeName::Sidecar { .. } => NonZeroUsize::new(1),
    };
    let recorder = records.recorder(AccessLog::All)?;
    Ok(ProxyOptions { workers, recorder, name_generation, ..ProxyOptions::default() })
}

impl Proxy {
    /// Whether its document says that it is somebody else than it joined as.
    fn is_other(&self, member: &Member) -> bool {
        self.joined.as_ref().is_some_and(|joined| joined.identity.id() != member.identity)
    }

    /// Ends it once requests in progress are completed.
    fn end(self, run: Option<&RunFolder>) {
        let Self { node, following, certificates, joined } = self;
        let name = node.name().clone();
        drop((following, certificates));
        node.proxy().drain();
        node.proxy().wait_idle(LEAVE);
        // The live view may hold it until the next frame; its listeners are closed already.
        if let Some(node) = Arc::into_inner(node) {
            node.shutdown(Duration::ZERO);
        }
        drop(joined);
        if let Some(run) = run {
            run.tidy(&name);
        }
    }
}

impl Mesh {
    /// Its proxies.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.proxies.iter().map(|proxy| &proxy.node)
    }

    /// What keeps proxies from running, each in one line.
    pub(crate) fn wrongs(&self) -> impl Iterator<Item = &String> {
        self.wrongs.values()
    }

    fn control(&self, name: &NodeName) -> Option<PathBuf> {
        self.run.as_ref().map(|run| run.admin(name))
    }

    /// Starts the proxies that documents plan since the last time, each with the certificate that is made for it, starts
    /// those again that are somebody else now, and ends those that none plans any more. It waits for none of it.
    pub(crate) fn follow(&mut self, planned: &PlannedDocuments) {
        self.wrongs.clear();
        self.waiting = None;
        let names = declared::nodes(&planned.documents);
        if let Err(error) =
            prepare::certificates(&self.setup.folder, &planned.documents, self.setup.output)
        {
            let why = output::one_line(&causes(error.as_ref()));
            self.wrongs.insert(String::new(), why);
        }
        for name in &names {
            if self.coming.iter().any(|(coming, _)| coming == name) {
                // It may be planned otherwise now than when its start began.
                self.waiting = Some(planned.clone());
                continue;
            }
            let runs = self.proxies.iter().position(|proxy| proxy.node.name() == name);
            match (member::member(name.clone(), &planned.documents), runs) {
                (Ok(member), None) => self.begin(member, None),
                (Ok(member), Some(index)) => self.compare(member, index),
                (Err(error), None) => self.failed(name, &error),
                // What its document does not say any more it still is.
                (Err(_), Some(_)) => {}
            }
        }
        // What cannot be read may plan it still.
        if !planned.whole {
            return;
        }
        self.coming.retain(|(name, _)| names.contains(name));
        let gone = |proxy: &Proxy| !names.contains(proxy.node.name());
        let (gone, stay) = self.proxies.drain(..).partition(gone);
        self.proxies = stay;
        for proxy in gone {
            self.leave(proxy);
        }
    }

    /// Starts a proxy that runs again if its document says that it is somebody else now.
    fn compare(&mut self, member: Member, index: usize) {
        if self.proxies.get(index).is_some_and(|proxy| proxy.is_other(&member)) {
            let before = self.proxies.remove(index);
            self.begin(member, Some(before));
        }
    }

    fn failed(&mut self, name: &NodeName, error: &anyhow::Error) {
        let why = format!("{name} does not run: {}", output::one_line(&causes(error.as_ref())));
        self.setup.event(name, "refused", Some(&why));
        self.wrongs.insert(name.to_string(), why);
    }

    /// Elsewhere: a proxy serves after it has received its plan from the registry, and after the one with its name
    /// before it has ended.
    fn begin(&mut self, member: Member, before: Option<Proxy>) {
        let (setup, control) = (Arc::clone(&self.setup), self.control(&member.name));
        let (done, coming) = mpsc::channel();
        let (name, folder) = (member.name.clone(), self.run.clone());
        let run = move || {
            if let Some(before) = before {
                before.end(folder.as_ref());
            }
            drop(done.send(setup.start(&member, control)));
        };
        match std::thread::Builder::new().name("tamis-start".to_owned()).spawn(run) {
            Ok(_) => self.coming.push((name, coming)),
            Err(error) => self.failed(&name, &error.into()),
        }
    }

    /// Elsewhere, too: requests in progress are completed.
    fn leave(&self, proxy: Proxy) {
        self.setup.event(proxy.node.name(), "ended", None);
        let run = self.run.clone();
        let leave = move || proxy.end(run.as_ref());
        // Without a thread it ends at once.
        drop(std::thread::Builder::new().name("tamis-leave".to_owned()).spawn(leave));
    }

    /// Adds the proxies that have started to serve meanwhile, and follows what was planned while one of them started.
    pub(crate) fn settle(&mut self) {
        let started = self.coming.len();
        self.add_started();
        if self.coming.len() < started
            && let Some(planned) = self.waiting.take()
        {
            self.follow(&planned);
        }
    }

    fn add_started(&mut self) {
        for (name, coming) in std::mem::take(&mut self.coming) {
            match coming.try_recv() {
                Ok(Ok(proxy)) => {
                    self.setup.event(&name, "serving", None);
                    self.proxies.push(proxy);
                }
                Ok(Err(error)) => self.failed(&name, &error),
                Err(mpsc::TryRecvError::Empty) => self.coming.push((name, coming)),
                Err(mpsc::TryRecvError::Disconnected) => {
                    self.failed(&name, &anyhow::anyhow!("its start failed; the log says why"));
                }
            }
        }
    }

    /// The address of the first listener of a gateway for requests in clear text.
    pub(crate) fn entrance(&self) -> Option<String> {
        let gateways = self.nodes().filter(|node| matches!(node.name(), NodeName::Gateway { .. }));
        let mut addresses = gateways.flat_map(|node| {
            let generation = node.proxy().generation();
            let clear = generation
                .listeners
                .iter()
                .filter(|listener| listener.tls.is_none() && listener.tcp.is_none());
            clear.map(|listener| listener.address.to_string()).collect::<Vec<_>>()
        });
        addresses.next()
    }

    /// What runs where, for programs.
    pub(crate) fn describe(&self) -> Vec<Value> {
        let describe = |node: &Arc<Node>| {
            let generation = node.proxy().generation();
            let listeners = generation.listeners.iter().map(|listener| {
                json!({ "name": listener.name, "address": listener.address.to_string() })
            });
            json!({
                "node": node.name().to_string(),
                "listeners": listeners.collect::<Vec<_>>(),
                "admin": node.proxy().admin_address().map(|address| address.to_string()),
            })
        };
        self.nodes().map(describe).collect()
    }

    /// Ends all proxies, the gateway first.
    pub(crate) fn end(self, deadline: Duration) {
        let Self { proxies, run, .. } = self;
        let nodes: Vec<Arc<Node>> = proxies.into_iter().map(|proxy| proxy.node).collect();
        for node in &nodes {
            node.proxy().drain();
        }
        for node in &nodes {
            node.proxy().wait_idle(deadline);
        }
        nodes.iter().for_each(|node| run.iter().for_each(|run| run.tidy(node.name())));
    }
}

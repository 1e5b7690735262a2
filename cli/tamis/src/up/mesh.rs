//! The proxies of a folder, each following the folder's registry, all in this process.

use super::feed::PlannedDocuments;
use super::member::{self, Member};
use super::prepare;
use super::registry::EmbeddedRegistry;
use crate::declared;
use crate::output::{self, Output};
use crate::proxy::{RecordFile, RunFolder, told};
use crate::user_state;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tamis_ambient::{Clock, Random};
use tamis_node::{
    ArtifactStore, CacheFolders, CertificateWatch, DirectorLogin, FollowSettings, FollowedNode,
    Node, NodeOptions, NodeResources, Secrets, Source, causes, private,
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
}

/// The settings for starting a proxy that are not in its document.
struct Setup {
    folder: PathBuf,
    shared: NodeResources,
    /// Where the registry is, and who it is.
    proxies: String,
    identity: String,
    /// The authority of every certificate.
    ca: String,
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
    private::folder(&access).with_context(|| format!("{}", access.display()))?;
    // What a proxy kept is for the day its registry does not answer. This one runs in this process and knows better, from
    // the first address on that a proxy listens on.
    forget(&state)?;
    let setup = Setup {
        folder: folder.to_owned(),
        shared,
        proxies: registry.proxies.clone(),
        identity: registry.identity.clone(),
        ca: members.first().map(|member| member.files.ca.clone()).unwrap_or_default(),
        keys: registry.keys()?,
        given,
        output,
    };
    let setup = Arc::new(setup);
    let run = RunFolder::open(None).inspect_err(|error| output::note(&format!("{error:#}"))).ok();
    let (proxies, coming, wrongs) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut mesh = Mesh { proxies, coming, wrongs, setup, run };
    for member in members {
        let busy = output::busy(format!("starting {}", member.name));
        let proxy = mesh.setup.start(member, mesh.control(&member.name))?;
        drop(busy);
        mesh.proxies.push(proxy);
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
        if member.files.ca != self.ca {
            bail!(
                "{name} is of the authority {} and the others of {}; the proxies of one folder need one authority",
                member.files.ca,
                self.ca
            );
        }
        let short = name.replace([':', '/'], "-");
        let records = folder.join(".tamis/access").join(format!("{short}.jsonl"));
        let mut proxy = proxy(&records, &member.name, self.given.name_generation)?;
        proxy.control = control;
        let options = NodeOptions {
            name: member.name.clone(),
            source: Source::folder(folder),
            store: ArtifactStore::new(Vec::new()),
            secrets: self.given.secrets.clone(),
            proxy,
        };
        let state = folder.join(".tamis/state").join(short);
        forget(&state)?;
        let told_later = move |reload: &_| told(reload, output);
        let (following, reload) =
            FollowedNode::start(&self.shared, options, self.follow(member, state), told_later)
                .with_context(|| format!("{name} does not start"))?;
        told(&reload, output);
        let node = Arc::clone(following.node());
        let renewed = move |reload: &_| told(reload, output);
        let certificates = CertificateWatch::start(Arc::clone(&node), renewed)?;
        Ok(Proxy { node, following, certificates })
    }

    fn follow(&self, member: &Member, state: PathBuf) -> FollowSettings {
        let files = &member.files;
        FollowSettings {
            director: self.proxies.clone(),
            login: DirectorLogin::Files {
                certificate: self.folder.join(&files.certificate),
                key: self.folder.join(&files.key),
                ca: self.folder.join(&files.ca),
                director: Some(self.identity.clone()),
            },
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

    /// Starts the proxies that documents plan since the last time, each with the certificate that is made for it, and ends
    /// those that none plans any more. It waits for neither.
    pub(crate) fn follow(&mut self, planned: &PlannedDocuments) {
        self.wrongs.clear();
        let names = declared::nodes(&planned.documents);
        if let Err(error) =
            prepare::certificates(&self.setup.folder, &planned.documents, self.setup.output)
        {
            let why = output::one_line(&causes(error.as_ref()));
            self.wrongs.insert(String::new(), why);
        }
        for name in &names {
            let runs = self.nodes().any(|node| node.name() == name);
            if runs || self.coming.iter().any(|(coming, _)| coming == name) {
                continue;
            }
            match member::member(name.clone(), &planned.documents) {
                Ok(member) => self.begin(member),
                Err(error) => self.failed(name, &error),
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

    fn failed(&mut self, name: &NodeName, error: &anyhow::Error) {
        let why = format!("{name} does not run: {}", output::one_line(&causes(error.as_ref())));
        self.setup.event(name, "refused", Some(&why));
        self.wrongs.insert(name.to_string(), why);
    }

    /// Elsewhere: a proxy serves after it has received its plan from the registry.
    fn begin(&mut self, member: Member) {
        let (setup, control) = (Arc::clone(&self.setup), self.control(&member.name));
        let (done, coming) = mpsc::channel();
        let name = member.name.clone();
        let run = move || drop(done.send(setup.start(&member, control)));
        match std::thread::Builder::new().name("tamis-start".to_owned()).spawn(run) {
            Ok(_) => self.coming.push((name, coming)),
            Err(error) => self.failed(&name, &error.into()),
        }
    }

    /// Elsewhere, too: requests in progress are completed.
    fn leave(&self, proxy: Proxy) {
        let (name, run) = (proxy.node.name().clone(), self.run.clone());
        self.setup.event(&name, "ended", None);
        let leave = move || {
            let Proxy { node, following, certificates } = proxy;
            drop((following, certificates));
            node.proxy().drain();
            node.proxy().wait_idle(LEAVE);
            // Whoever still looks at it lets go within a picture; its listeners are closed already.
            if let Some(node) = Arc::into_inner(node) {
                node.shutdown(Duration::ZERO);
            }
            if let Some(run) = run {
                run.tidy(&name);
            }
        };
        // Without a thread it ends at once.
        drop(std::thread::Builder::new().name("tamis-leave".to_owned()).spawn(leave));
    }

    /// Adds the proxies that have started to serve meanwhile.
    pub(crate) fn settle(&mut self) {
        for (name, coming) in std::mem::take(&mut self.coming) {
            match coming.try_recv() {
                Ok(Ok(proxy)) => {
                    self.setup.event(&name, "serving", None);
                    self.proxies.push(proxy);
                }
                Ok(Err(error)) => self.failed(&name, &error),
                Err(mpsc::TryRecvError::Empty) => self.coming.push((name, coming)),
                Err(mpsc::TryRecvError::Disconnected) => {
                    self.failed(&name, &anyhow::anyhow!("its start broke off; the log says why"));
                }
            }
        }
    }

    /// The address of the first clear-text listener of a gateway.
    pub(crate) fn entrance(&self) -> Option<String> {
        let gateways = self.nodes().filter(|node| matches!(node.name(), NodeName::Gateway { .. }));
        let mut addresses = gateways.flat_map(|node| {
            let generation = node.proxy().generation();
            let clear = generation.listeners.iter().filter(|listener| listener.tls.is_none());
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

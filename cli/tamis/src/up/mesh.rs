//! The proxies of a folder, each following the folder's registry, all in this process.

use super::member::Member;
use super::registry::Embedded;
use crate::output::{self, Output};
use crate::proxy::{RecordFile, RunFolder, told};
use crate::user_state;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tamis_ambient::{Clock, Random};
use tamis_node::{
    CacheFolders, CertificateWatch, Follow, Following, Node, NodeOptions, Secrets, Shared, Source,
    Store, private,
};
use tamis_observe::AccessLog;
use tamis_proxy::ProxyOptions;
use tamis_resources::NodeName;
use tamis_trust::DirectorKeys;

/// Interval between reports of proxies: short, since the user of the registry sits in front of them.
const REPORT: Duration = Duration::from_secs(2);

/// The running proxies.
pub(crate) struct Mesh {
    nodes: Vec<Arc<Node>>,
    following: Vec<(Following, CertificateWatch)>,
    run: Option<RunFolder>,
}

/// What every proxy is given from the command line.
pub(crate) struct Given {
    pub(crate) secrets: Secrets,
    /// Responses name the generation that served them.
    pub(crate) name_generation: bool,
}

/// Starts every proxy that the registry has a plan for.
pub(crate) fn start(
    folder: &Path,
    members: &[Member],
    registry: &Embedded,
    given: Given,
    output: Output,
) -> Result<Mesh> {
    let shared = shared(folder)?;
    let (access, state) = (folder.join(".tamis/access"), folder.join(".tamis/state"));
    private::folder(&access).with_context(|| format!("{}", access.display()))?;
    // The state that a proxy keeps is for a registry that does not respond. This one runs in the same
    // process and has newer plans, beginning with the addresses to listen on.
    if state.exists() {
        fs::remove_dir_all(&state)
            .with_context(|| format!("{} cannot be removed", state.display()))?;
    }
    let keys = registry.keys()?;
    let run = RunFolder::open(None).inspect_err(|error| output::note(&format!("{error:#}"))).ok();
    let mut mesh = Mesh { nodes: Vec::new(), following: Vec::new(), run };
    for member in members {
        let name = member.name.to_string();
        let short = name.replace([':', '/'], "-");
        let records = access.join(format!("{short}.jsonl"));
        let mut proxy = proxy(&records, &member.name, given.name_generation)?;
        proxy.control = mesh.run.as_ref().map(|run| run.admin(&member.name));
        let options = NodeOptions {
            name: member.name.clone(),
            source: Source::folder(folder),
            store: Store::new(Vec::new()),
            secrets: given.secrets.clone(),
            proxy,
        };
        let follow = follow(folder, member, registry, keys.clone(), &state.join(short));
        let busy = output::busy(format!("starting {name}"));
        let told_later = move |reload: &_| told(reload, output);
        let (following, reload) = Following::start(&shared, options, follow, told_later)
            .with_context(|| format!("{name} does not start"))?;
        drop(busy);
        told(&reload, output);
        let node = Arc::clone(following.node());
        let renewed = move |reload: &_| told(reload, output);
        let certificates = CertificateWatch::start(Arc::clone(&node), renewed)?;
        mesh.nodes.push(node);
        mesh.following.push((following, certificates));
    }
    Ok(mesh)
}

/// Options shared by the proxies: compiled code is kept in the folder if that can be trusted; otherwise
/// filters are compiled at each start.
fn shared(folder: &Path) -> Result<Shared> {
    let code = folder.join(".tamis/cache");
    let cached = user_state::folder().and_then(|state| {
        let folders = CacheFolders { code: &code, state: &state };
        Ok(Shared::new(Some(folders), Clock::system(), Random::system())?)
    });
    match cached {
        Ok(shared) => Ok(shared),
        Err(error) => {
            tracing::warn!("compiled code is not kept: {error:#}");
            Ok(Shared::new(None, Clock::system(), Random::system())?)
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

fn follow(
    folder: &Path,
    member: &Member,
    registry: &Embedded,
    keys: DirectorKeys,
    state: &Path,
) -> Follow {
    let files = &member.files;
    Follow {
        director: registry.proxies.clone(),
        certificate: folder.join(&files.certificate),
        key: folder.join(&files.key),
        ca: folder.join(&files.ca),
        identity: Some(registry.identity.clone()),
        state: state.to_owned(),
        keys,
        policy_root: None,
        report_every: REPORT,
        release: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

impl Mesh {
    /// Its proxies.
    pub(crate) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// The address of the first clear-text listener of a gateway.
    pub(crate) fn entrance(&self) -> Option<String> {
        let gateways =
            self.nodes.iter().filter(|node| matches!(node.name(), NodeName::Gateway { .. }));
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
        self.nodes.iter().map(describe).collect()
    }

    /// Ends all proxies, the gateway first.
    pub(crate) fn end(self, deadline: Duration) {
        drop(self.following);
        for node in &self.nodes {
            node.proxy().drain();
        }
        for node in &self.nodes {
            node.proxy().wait_idle(deadline);
        }
        let run = self.run.as_ref();
        self.nodes.iter().for_each(|node| run.into_iter().for_each(|run| run.tidy(node.name())));
    }
}

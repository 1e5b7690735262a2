//! The proxies of a folder, each with its documents, all in this process.

use super::prepare::Prepared;
use crate::check;
use crate::output::{self, Output};
use crate::proxy::told;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tamis_node::{Node, NodeOptions, Shared, Source, Store, Watch};
use tamis_observe::{AccessLog, Recorder};
use tamis_proxy::ProxyOptions;
use tamis_resources::NodeName;

/// Proxies that run.
pub(crate) struct Mesh {
    nodes: Vec<Arc<Node>>,
    watches: Vec<Watch>,
}

/// Starts every proxy the documents plan.
pub(crate) fn start(
    folder: &Path,
    prepared: &Prepared,
    name_generation: bool,
    output: Output,
) -> Result<Mesh> {
    let names = check::nodes(&prepared.documents);
    if prepared.documents.is_empty() && prepared.wrong.is_none() {
        bail!(
            "{} has no documents: no *.yaml, no *.yml; `examples/shop` of the sources is a mesh to start from",
            folder.display()
        );
    }
    if names.is_empty() {
        bail!(
            "{folder} plans no proxy: it has neither a Gateway nor a Service with a sidecar{why}; \
             `tamis check {folder}` says more",
            folder = folder.display(),
            why = prepared.wrong.as_deref().map(|why| format!(" ({why})")).unwrap_or_default(),
        );
    }
    let shared = Shared::new(Some(&folder.join(".tamis/cache")))?;
    let access = folder.join(".tamis/access");
    std::fs::create_dir_all(&access).with_context(|| format!("{}", access.display()))?;
    let mut mesh = Mesh { nodes: Vec::new(), watches: Vec::new() };
    for name in names {
        let file = access.join(format!("{}.jsonl", name.to_string().replace([':', '/'], "-")));
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&file)
            .with_context(|| format!("{} cannot be written", file.display()))?;
        // Sidecars of a laptop share its cores.
        let workers = match name {
            NodeName::Gateway { .. } => NonZeroUsize::new(2),
            NodeName::Sidecar { .. } => NonZeroUsize::new(1),
        };
        let proxy = ProxyOptions {
            workers,
            recorder: Recorder::to(AccessLog::All, file)?,
            name_generation,
            ..ProxyOptions::default()
        };
        let options = NodeOptions {
            name: name.clone(),
            source: Source::folder(folder),
            store: Store::new(vec![prepared.store.clone()]),
            secrets: Default::default(),
            proxy,
        };
        let busy = output::busy(format!("starting {name}"));
        let (node, reload) =
            Node::start(&shared, options).with_context(|| format!("{name} does not start"))?;
        drop(busy);
        let first = mesh.nodes.is_empty();
        let node = Arc::new(node);
        // Problems of documents are the same for all; the first tells them.
        if first || output == Output::Json {
            told(&reload, output);
        }
        let quiet = !first;
        let watch = Watch::start(Arc::clone(&node), &node.folders(), move |reload| {
            let mut reload = reload.clone();
            if quiet {
                reload.problems.clear();
            }
            told(&reload, output);
        })?;
        mesh.nodes.push(node);
        mesh.watches.push(watch);
    }
    Ok(mesh)
}

impl Mesh {
    /// Its proxies.
    pub(crate) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// The first clear-text listener of a gateway.
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

    /// Ends all proxies, the entrance first.
    pub(crate) fn end(self, deadline: Duration) {
        drop(self.watches);
        for node in &self.nodes {
            node.proxy().drain();
        }
        for node in &self.nodes {
            node.proxy().wait_idle(deadline);
        }
    }
}

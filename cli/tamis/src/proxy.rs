//! `tamis proxy`: one proxy in the foreground.

use crate::check;
use crate::ending::Ending;
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use serde_json::json;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tamis_node::{Follow, Following, Node, NodeOptions, Reload, Shared, Source, Store, Watch};
use tamis_observe::{AccessLog, Recorder};
use tamis_proxy::ProxyOptions;
use tamis_resources::NodeName;
use tamis_transport::{Address, ServeLimits};
use tamis_trust::DirectorKeys;

/// What `proxy` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which proxy: gateway:NAMESPACE/NAME or sidecar:NAMESPACE/SERVICE[/INDEX].
    #[arg(long)]
    node: NodeName,
    /// Folder of resources; paths in them are relative to it.
    #[arg(long, default_value = ".")]
    documents: PathBuf,
    /// Folder of signed filters; may be repeated.
    #[arg(long)]
    store: Vec<PathBuf>,
    /// Director to follow, HOST:PORT, instead of a folder of resources; several with commas between are asked in turn.
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["store", "no_watch"],
        requires_all = ["state", "director_keys", "certificate", "key", "ca"])]
    follow: Option<String>,
    /// Folder the proxy starts from when the director does not answer.
    #[arg(long, requires = "follow")]
    state: Option<PathBuf>,
    /// File with the keys that assignments have to be signed with: the registry's director.json.
    #[arg(long, requires = "follow")]
    director_keys: Option<PathBuf>,
    /// SPIFFE id the director has to have; without it its certificate has to be valid for its host.
    #[arg(long, requires = "follow")]
    director_id: Option<String>,
    /// The proxy's certificate in PEM, shown to the director.
    #[arg(long, requires = "follow")]
    certificate: Option<PathBuf>,
    /// Key of the certificate in PEM.
    #[arg(long, requires = "follow")]
    key: Option<PathBuf>,
    /// Authority of the director's certificate in PEM.
    #[arg(long, requires = "follow")]
    ca: Option<PathBuf>,
    /// Root that policy metadata is believed from on; the policies in the director's documents do not count then.
    #[arg(long, value_name = "FILE", requires = "follow")]
    policy_root: Option<PathBuf>,
    /// Seconds between reports to the director.
    #[arg(long, default_value_t = 10, requires = "follow",
        value_parser = clap::value_parser!(u64).range(1..=50))]
    report_seconds: u64,
    /// Folder for compiled code; none is kept when not said.
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Admin address, instead of the one in the resources.
    #[arg(long)]
    admin: Option<Address>,
    /// Threads; one a core when not said.
    #[arg(long)]
    workers: Option<NonZeroUsize>,
    /// Which exchanges are recorded.
    #[arg(long, value_enum, default_value_t = Log::All)]
    access_log: Log,
    /// File that records are appended to, instead of standard output.
    #[arg(long)]
    access_log_file: Option<PathBuf>,
    /// Longest request body in bytes; no limit when not said.
    #[arg(long)]
    max_body_bytes: Option<u64>,
    /// Longest head of an HTTP/1 request in bytes.
    #[arg(long, default_value_t = 64 * 1024)]
    max_head_bytes: usize,
    /// Most fields in a head.
    #[arg(long, default_value_t = 100)]
    max_fields: usize,
    /// Streams at once on an HTTP/2 connection.
    #[arg(long, default_value_t = 128)]
    max_streams: u32,
    /// Connections at once.
    #[arg(long, default_value_t = 65_536)]
    max_connections: u64,
    /// Seconds connections get to end in.
    #[arg(long, default_value_t = 10)]
    drain_seconds: u64,
    /// Responses name the generation that served them (`x-tamis-generation`).
    #[arg(long)]
    name_generation: bool,
    /// Leave documents and filters alone after the start.
    #[arg(long)]
    no_watch: bool,
}

/// Which exchanges are recorded.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Log {
    /// None.
    Off,
    /// Those refused or failed.
    Refused,
    /// All.
    All,
}

/// Runs the proxy until it is told to end.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let shared = Shared::new(arguments.cache.as_deref())?;
    let limits = ServeLimits { max_streams: arguments.max_streams, ..ServeLimits::default() };
    let limits = ServeLimits {
        gate: tamis_transport::GateLimits {
            max_head_bytes: arguments.max_head_bytes,
            max_fields: arguments.max_fields,
            ..limits.gate
        },
        max_header_list_bytes: u32::try_from(arguments.max_head_bytes).unwrap_or(u32::MAX),
        ..limits
    };
    let proxy = ProxyOptions {
        workers: arguments.workers,
        limits,
        max_body_bytes: arguments.max_body_bytes,
        max_connections: arguments.max_connections,
        recorder: recorder(arguments)?,
        name_generation: arguments.name_generation,
        admin: arguments.admin.clone(),
        ..ProxyOptions::default()
    };
    let options = NodeOptions {
        name: arguments.node.clone(),
        source: Source::folder(&arguments.documents),
        store: Store::new(arguments.store.clone()),
        secrets: HashMap::new(),
        proxy,
    };
    if let Some(follow) = arguments.follow()? {
        return following(arguments, &shared, options, follow, output);
    }
    let busy = output::busy(format!("starting {}", arguments.node));
    let (node, reload) = Node::start(&shared, options)?;
    drop(busy);
    // Until here Ctrl-C ends the process at once: nothing is under way that could be finished.
    let ending = Ending::new()?;
    let node = Arc::new(node);
    told(&reload, output);
    let watch = if arguments.no_watch {
        None
    } else {
        Some(Watch::start(Arc::clone(&node), &node.folders(), move |reload| told(reload, output))?)
    };
    serves(&node, output);
    wait(&ending, &node);
    drop(watch);
    node.proxy().drain();
    node.proxy().wait_idle(Duration::from_secs(arguments.drain_seconds));
    Ok(ExitCode::SUCCESS)
}

/// Runs a proxy that asks a director what it is to run.
fn following(
    arguments: &Arguments,
    shared: &Shared,
    options: NodeOptions,
    follow: Follow,
    output: Output,
) -> Result<ExitCode> {
    let busy = output::busy(format!("waiting for {}", follow.director));
    let (following, reload) =
        Following::start(shared, options, follow, move |reload| told(reload, output))?;
    drop(busy);
    let ending = Ending::new()?;
    let node = Arc::clone(following.node());
    told(&reload, output);
    serves(&node, output);
    wait(&ending, &node);
    drop(following);
    node.proxy().drain();
    node.proxy().wait_idle(Duration::from_secs(arguments.drain_seconds));
    Ok(ExitCode::SUCCESS)
}

fn serves(node: &Node, output: Output) {
    output::event(output, &ready(node), || {
        let admin = node.proxy().admin_address().map(|address| format!(", admin {address}"));
        format!("{} serves{}", node.name(), admin.unwrap_or_default())
    });
}

impl Arguments {
    fn follow(&self) -> Result<Option<Follow>> {
        let files = (&self.certificate, &self.key, &self.ca, &self.state, &self.director_keys);
        let (Some(director), (Some(certificate), Some(key), Some(ca), Some(state), Some(keys))) =
            (&self.follow, files)
        else {
            return Ok(None);
        };
        let text = std::fs::read(keys)
            .with_context(|| format!("the director's keys {} cannot be read", keys.display()))?;
        let keys = DirectorKeys::from_json(&text).with_context(|| format!("{}", keys.display()))?;
        let root = self.policy_root.as_ref().map(|path| {
            std::fs::read(path)
                .with_context(|| format!("the root {} cannot be read", path.display()))
        });
        Ok(Some(Follow {
            policy_root: root.transpose()?,
            director: director.clone(),
            certificate: certificate.clone(),
            key: key.clone(),
            ca: ca.clone(),
            identity: self.director_id.clone(),
            state: state.clone(),
            keys,
            report_every: Duration::from_secs(self.report_seconds),
            release: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }
}

/// Until a signal, or until somebody asked it to drain and it has.
fn wait(ending: &Ending, node: &Node) {
    while !ending.within(Duration::from_millis(50)) {
        if node.proxy().is_draining() && node.proxy().connections() == 0 {
            return;
        }
    }
}

fn ready(node: &Node) -> serde_json::Value {
    let generation = node.proxy().generation();
    let listeners = generation.listeners.iter().map(|listener| {
        let address = node.proxy().address(&listener.name).unwrap_or_else(|| listener.address.clone());
        json!({ "name": listener.name, "address": address.to_string(), "tls": listener.tls.is_some() })
    });
    json!({
        "event": "ready",
        "node": node.name().to_string(),
        "listeners": listeners.collect::<Vec<_>>(),
        "admin": node.proxy().admin_address().map(|address| address.to_string()),
    })
}

fn recorder(arguments: &Arguments) -> Result<Recorder> {
    let mode = match arguments.access_log {
        Log::Off => return Ok(Recorder::off()),
        Log::Refused => AccessLog::Refused,
        Log::All => AccessLog::All,
    };
    let started = match &arguments.access_log_file {
        None => Recorder::to(mode, std::io::stdout()),
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            let file = file.with_context(|| format!("{} cannot be written", path.display()))?;
            Recorder::to(mode, file)
        }
    };
    started.context("access records cannot be written")
}

/// Says what a reload came to: every problem with its place, every slot that does not run what it should.
pub(crate) fn told(reload: &Reload, output: Output) {
    if output == Output::Json {
        output::event(output, &event(reload), String::new);
        return;
    }
    for problem in &reload.problems {
        output::note(&check::render(problem));
    }
    for note in &reload.notes {
        output::note(&format!("{}: {note}", reload.node));
    }
    for slot in reload.slots.iter().filter(|slot| !slot.state.is_serving()) {
        let detail = slot.detail.as_deref().unwrap_or_default();
        output::note(&format!("{}: {} {}: {detail}", reload.node, slot.attachment, slot.state));
    }
    if reload.changed {
        output::note(&format!("{}: generation {}", reload.node, reload.generation));
    }
}

fn event(reload: &Reload) -> serde_json::Value {
    json!({
        "event": "reload",
        "node": reload.node,
        "generation": reload.generation,
        "changed": reload.changed,
        "problems": reload.problems,
        "notes": reload.notes,
        "slots": reload.slots,
    })
}

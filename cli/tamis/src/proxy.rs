//! `tamis proxy`: one proxy in the foreground, and what one asks one that runs.

mod ask;
mod records;
mod run;

use crate::check;
use crate::ending::Ending;
use crate::output::{self, Output};
use crate::secrets;
use crate::user_state;
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tamis_node::{
    CacheFolders, CertificateWatch, Follow, Following, Node, NodeOptions, Reload, Shared, Source,
    Store, Watch,
};
use tamis_observe::AccessLog;
use tamis_proxy::{AdminAccess, Inherited, ProxyOptions};
use tamis_resources::NodeName;
use tamis_transport::handover::Predecessor;
use tamis_transport::{Address, ServeLimits};
use tamis_trust::DirectorKeys;

pub(crate) use records::RecordFile;
pub(crate) use run::RunFolder;

/// What `proxy` takes.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<ask::Command>,
    #[command(flatten)]
    serve: Serve,
}

/// What running a proxy takes.
#[derive(clap::Args)]
struct Serve {
    /// Which proxy: gateway:NAMESPACE/NAME or sidecar:NAMESPACE/SERVICE[/INDEX].
    #[arg(long, required = true)]
    node: Option<NodeName>,
    /// Folder of resources; paths in them are relative to it, also with `--follow`. When not said: the working directory,
    /// and with `--follow` the folder whose `.tamis` the certificate is in, if it is in one.
    #[arg(long)]
    documents: Option<PathBuf>,
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
    /// Folder for compiled code; none is kept when not said. The key that it is believed by is in the user's state
    /// folder (`$XDG_STATE_HOME/tamis`, `~/.local/state/tamis`).
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Admin address, instead of the one in the resources.
    #[arg(long)]
    admin: Option<Address>,
    /// Name that the admin listener is asked by, beside its address, loopback addresses and localhost; may be repeated.
    #[arg(long, value_name = "NAME")]
    admin_host: Vec<String>,
    /// File with the token, of at least 16 characters, that lets callers over the network drain; without it only
    /// `tamis proxy drain` on this machine can.
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    /// Folder for the sockets that `tamis proxy drain` and successors ask at, the user's own when not said:
    /// $XDG_RUNTIME_DIR/tamis, or tamis/run where the user's state is.
    #[arg(long, value_name = "FOLDER")]
    run_folder: Option<PathBuf>,
    /// Take over from the process that runs this proxy in the same run folder: it hands its listening sockets over, and ends
    /// when this one serves. Without one it starts as always.
    #[arg(long)]
    take_over: bool,
    /// Threads; one a core when not said.
    #[arg(long)]
    workers: Option<NonZeroUsize>,
    /// Which exchanges are recorded.
    #[arg(long, value_enum, default_value_t = Log::All)]
    access_log: Log,
    /// File that records are appended to, instead of standard output; opened again at SIGHUP and when it was renamed.
    #[arg(long)]
    access_log_file: Option<PathBuf>,
    /// Who may read that file, as chmod takes it: records hold paths and queries, and those may hold tokens.
    #[arg(long, value_name = "MODE", default_value = "600", value_parser = records::mode)]
    access_log_mode: u32,
    #[command(flatten)]
    secrets: secrets::SecretArguments,
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
    /// Seconds that clients are sent elsewhere and served meanwhile, after SIGTERM or a drain, before listeners close: longer
    /// than a load balancer takes to see /readyz.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    lame_duck_seconds: u64,
    /// Seconds connections get to end in after that.
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

impl Log {
    fn mode(self) -> AccessLog {
        match self {
            Self::Off => AccessLog::Off,
            Self::Refused => AccessLog::Refused,
            Self::All => AccessLog::All,
        }
    }
}

/// Runs the proxy until it receives a signal to end, or sends a question to a running one.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    match &arguments.command {
        Some(command) => ask::run(command, output),
        None => serve(&arguments.serve, output),
    }
}

fn serve(arguments: &Serve, output: Output) -> Result<ExitCode> {
    let Some(name) = &arguments.node else { bail!("--node says which proxy") };
    let run = RunFolder::open(arguments.run_folder.as_deref());
    // Without its run folder a proxy still serves; the note names what is missing.
    let run = run.inspect_err(|error| output::note(&format!("{error:#}"))).ok();
    if let Some(run) = &run {
        run.tidy_ended(name);
    }
    let (predecessor, inherited) = arguments.inherit(run.as_ref(), name)?;
    let access_log = arguments.access_log_file.as_deref();
    let records = RecordFile::open(access_log, arguments.access_log_mode)?;
    let state = arguments.cache.as_ref().map(|_| user_state::folder()).transpose()?;
    let folders = arguments.cache.as_deref().zip(state.as_deref());
    let shared = Shared::new(folders.map(|(code, state)| CacheFolders { code, state }))?;
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
        recorder: records.recorder(arguments.access_log.mode())?,
        name_generation: arguments.name_generation,
        admin: arguments.admin.clone(),
        access: arguments.access()?,
        control: run.as_ref().map(|run| run.admin(name)),
        lame_duck: Duration::from_secs(arguments.lame_duck_seconds),
        inherited: inherited.clone(),
        ..ProxyOptions::default()
    };
    let options = NodeOptions {
        name: name.clone(),
        source: Source::folder(&arguments.root()),
        store: Store::new(arguments.store.clone()),
        secrets: secrets::kept(&arguments.secrets)?,
        proxy,
    };
    let start = Start { arguments, run, predecessor, inherited };
    if let Some(follow) = arguments.follow()? {
        return start.following(&shared, options, follow, output);
    }
    let root = arguments.root();
    if crate::up::is_copy(&root) {
        let folder = root.display();
        output::note(&format!(
            "{folder}/.tamis is a copy: whoever has the other has its keys as well"
        ));
    }
    let busy = output::busy(format!("starting {name}"));
    let (node, reload) = Node::start(&shared, options)?;
    drop(busy);
    // Until here Ctrl-C ends the process at once: nothing is under way that could be finished.
    let ending = Ending::new()?;
    let node = Arc::new(node);
    let teller = Teller::new(output);
    teller.tell(&reload);
    let watch = if arguments.no_watch {
        None
    } else {
        let folders = node.folders();
        let tell = move |reload: &Reload| teller.tell(reload);
        let documents = Watch::start(Arc::clone(&node), &folders, tell)?;
        Some((documents, certificates(&node, output)?))
    };
    let start = start.serves(&node, output)?;
    start.until_closed(&ending, &node);
    drop(watch);
    start.end(&node);
    Ok(ExitCode::SUCCESS)
}

fn certificates(node: &Arc<Node>, output: Output) -> Result<CertificateWatch> {
    Ok(CertificateWatch::start(Arc::clone(node), move |reload| told(reload, output))?)
}

/// How a proxy begins and ends, whoever says what it runs.
struct Start<'a> {
    arguments: &'a Serve,
    run: Option<RunFolder>,
    predecessor: Option<Predecessor>,
    inherited: Inherited,
}

impl Start<'_> {
    /// Runs a proxy that receives its plan from a director.
    fn following(
        self,
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
        let certificates = certificates(&node, output)?;
        let start = self.serves(&node, output)?;
        start.until_closed(&ending, &node);
        drop((following, certificates));
        start.end(&node);
        Ok(ExitCode::SUCCESS)
    }

    /// Says that it serves: to people, and to the process before, which ends by that.
    fn serves(mut self, node: &Node, output: Output) -> Result<Self> {
        if let Some(run) = &self.run {
            node.proxy().hand_over_at(&run.give(node.name()))?;
        }
        if let Some(predecessor) = self.predecessor.take() {
            // Fails when it ended by itself, which is as good.
            let _ = predecessor.serving();
            // What no listener here asked for is closed.
            self.inherited.clear();
        }
        output::event(output, &ready(node), || {
            let admin = node.proxy().admin_address().map(|address| format!(", admin {address}"));
            format!("{} serves{}", node.name(), admin.unwrap_or_default())
        });
        Ok(self)
    }

    /// Until the listeners are closed: after a signal, a drain, or because a successor has them.
    fn until_closed(&self, ending: &Ending, node: &Node) {
        let proxy = node.proxy();
        while !proxy.has_closed() && !ending.within(STEP) {}
        if ending.gently() {
            proxy.leave(Duration::from_secs(self.arguments.lame_duck_seconds));
            while !proxy.has_closed() {
                std::thread::sleep(STEP);
            }
        }
    }

    /// Lets connections end: those that a successor left here are sent to it first.
    fn end(&self, node: &Node) {
        let proxy = node.proxy();
        while proxy.is_leaving() {
            std::thread::sleep(STEP);
        }
        proxy.drain();
        proxy.wait_idle(Duration::from_secs(self.arguments.drain_seconds));
        if let Some(run) = &self.run {
            run.tidy(node.name());
        }
    }
}

/// How often it is looked whether something ended.
const STEP: Duration = Duration::from_millis(20);
/// A shorter token can be guessed.
const TOKEN_MIN: usize = 16;

impl Serve {
    /// What paths in documents are relative to.
    fn root(&self) -> PathBuf {
        let said = self.documents.clone();
        let certificate = self.certificate.as_deref().filter(|_| self.follow.is_some());
        said.or_else(|| beside_dot_tamis(certificate?)).unwrap_or_else(|| PathBuf::from("."))
    }

    /// The sockets of the process that runs the proxy now, if they are to be taken over and there is one.
    fn inherit(
        &self,
        run: Option<&RunFolder>,
        name: &NodeName,
    ) -> Result<(Option<Predecessor>, Inherited)> {
        let path = match run {
            Some(run) if self.take_over => run.giver(name)?,
            _ => None,
        };
        let Some(path) = path else { return Ok((None, Inherited::default())) };
        let (predecessor, sockets) = Predecessor::ask(&path).with_context(|| {
            let path = path.display();
            format!("the process that runs {name} does not hand its sockets over ({path})")
        })?;
        Ok((Some(predecessor), Inherited::new(sockets)))
    }

    fn access(&self) -> Result<AdminAccess> {
        let token = self.admin_token_file.as_ref().map(|path| {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("the admin token {} cannot be read", path.display()))?;
            let token = text.trim().to_owned();
            if token.len() < TOKEN_MIN || token.contains(char::is_whitespace) {
                bail!(
                    "{} holds no token: one word of at least {TOKEN_MIN} characters",
                    path.display()
                );
            }
            Ok(token)
        });
        Ok(AdminAccess { hosts: self.admin_host.clone(), token: token.transpose()? })
    }

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

/// Says what reloads came to, to people once: what is wrong still was said already.
struct Teller {
    output: Output,
    last: Mutex<Vec<String>>,
}

impl Teller {
    fn new(output: Output) -> Self {
        Self { output, last: Mutex::default() }
    }

    fn tell(&self, reload: &Reload) {
        if self.output == Output::Json {
            return told(reload, self.output);
        }
        let now = lines(reload);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        now.iter().filter(|line| !last.contains(line)).for_each(|line| output::note(line));
        *last = now;
    }
}

/// The folder that has the `.tamis` a path is in.
fn beside_dot_tamis(path: &Path) -> Option<PathBuf> {
    let dot = path.ancestors().find(|one| one.file_name().is_some_and(|name| name == ".tamis"))?;
    let folder = dot.parent().filter(|folder| !folder.as_os_str().is_empty());
    Some(folder.unwrap_or_else(|| Path::new(".")).to_owned())
}

/// Says what a reload came to: every problem with its place, every slot that does not run what it should.
pub(crate) fn told(reload: &Reload, output: Output) {
    if output == Output::Json {
        output::event(output, &event(reload), String::new);
        return;
    }
    lines(reload).iter().for_each(|line| output::note(line));
}

fn lines(reload: &Reload) -> Vec<String> {
    let mut lines: Vec<String> = reload.problems.iter().map(check::render).collect();
    let whose = |line: &String| format!("{}: {line}", reload.node);
    lines.extend(reload.notes.iter().map(whose));
    lines.extend(reload.renewed.iter().map(whose));
    for slot in reload.slots.iter().filter(|slot| !slot.state.is_serving()) {
        let detail = slot.detail.as_deref().unwrap_or_default();
        lines.push(format!("{}: {} {}: {detail}", reload.node, slot.attachment, slot.state));
    }
    if reload.changed {
        lines.push(format!("{}: generation {}", reload.node, reload.generation));
    }
    lines
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
        "renewed": reload.renewed,
    })
}

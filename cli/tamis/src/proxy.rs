//! `tamis proxy`: runs one proxy in the foreground, or queries a running one.

mod ask;
mod join;
mod records;
mod run;
mod start;
mod workload;

use crate::ending::EndSignal;
use crate::named_file;
use crate::output::{self, Output};
use crate::problem_text;
use crate::secrets;
use crate::user_state;
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tamis_ambient::{Clock, Random};
use tamis_identity::{AgentSocket, AgentSvid, WantedSvid};
use tamis_node::{
    ArtifactStore, CacheFolders, CertificateWatch, DirectorLogin, DocumentPlaces, FollowSettings,
    FollowedNode, Node, NodeOptions, NodeResources, Reload, Watch,
};
use tamis_observe::AccessLog;
use tamis_proxy::{AdminAccess, InheritedSockets, ProxyOptions};
use tamis_resources::NodeName;
use tamis_transport::handover::Predecessor;
use tamis_transport::{Address, ServeLimits};
use tamis_trust::DirectorKeys;

use join::Admission;
pub(crate) use join::JoinedProxy;
pub(crate) use records::RecordFile;
pub(crate) use run::RunFolder;
use start::{FollowFiles, rehearse, until_started};

/// Arguments of `proxy`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<ask::Command>,
    #[command(flatten)]
    serve: Serve,
}

/// Options for running a proxy.
#[derive(clap::Args)]
struct Serve {
    /// Which proxy: gateway:NAMESPACE/NAME or sidecar:NAMESPACE/SERVICE[/INDEX].
    #[arg(long, required_unless_present = "join")]
    node: Option<NodeName>,
    /// Join file of the registry, made for this proxy: the proxy joins the mesh with its token, once, and proves
    /// its identity with an SVID that it renews; its key stays in memory. Proves it to the director of
    /// `--follow`, too.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["certificate", "key", "ca", "director_id"])]
    join: Option<PathBuf>,
    /// Socket of a SPIFFE agent, such as SPIRE's, unix:///PATH: inside the mesh the proxy proves its identity with an SVID of
    /// that agent, and recognises the authorities that the agent gives. With `--join`, the identity of the registry serves
    /// towards the registry only. With `--follow` and without `--join` or `--certificate`, the SVID of the agent is shown to
    /// the director, too, which must have the `--director-id`.
    #[arg(long, value_name = "SOCKET")]
    workload_api: Option<AgentSocket>,
    /// Folder of documents; paths in them are relative to it, also with `--follow`. Default: the working
    /// directory; with `--follow` the folder whose `.tamis` holds the certificate, if there is one.
    #[arg(long)]
    documents: Option<PathBuf>,
    /// Folder of signed filters; may be repeated.
    #[arg(long)]
    store: Vec<PathBuf>,
    /// Director to follow, HOST:PORT, instead of a folder of documents; several, separated by commas, are
    /// tried in turn. Needs `--join`, or `--certificate`, `--key` and `--ca`, or `--workload-api` and `--director-id`.
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["store", "no_watch"],
        requires_all = ["state", "director_keys"])]
    follow: Option<String>,
    /// Folder from which the proxy starts when the director does not respond.
    #[arg(long, requires = "follow")]
    state: Option<PathBuf>,
    /// File with the keys that must have signed assignments: the registry's director.json.
    #[arg(long, requires = "follow")]
    director_keys: Option<PathBuf>,
    /// SPIFFE id that the director must have; without it, its certificate must be valid for its host.
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
    /// Root from which policy metadata is trusted; the policies in the director's documents are then
    /// ignored.
    #[arg(long, value_name = "FILE", requires = "follow")]
    policy_root: Option<PathBuf>,
    /// Seconds between reports to the director.
    #[arg(long, default_value_t = 10, requires = "follow",
        value_parser = clap::value_parser!(u64).range(1..=50))]
    report_seconds: u64,
    /// Folder for compiled code; without it, compiled code is not kept. The key that protects it is in the
    /// user's state folder (`$XDG_STATE_HOME/tamis`, `~/.local/state/tamis`).
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Admin address, instead of the one in the resources.
    #[arg(long)]
    admin: Option<Address>,
    /// Host name that requests to the admin listener may carry, in addition to its address, loopback
    /// addresses and localhost; may be repeated.
    #[arg(long, value_name = "NAME")]
    admin_host: Vec<String>,
    /// File with the token, of at least 16 characters, with which callers over the network may drain;
    /// without it only `tamis proxy drain` on this machine may.
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    /// Folder for the sockets that `tamis proxy drain` and successors connect to. Default:
    /// $XDG_RUNTIME_DIR/tamis, or tamis/run in the user's state folder.
    #[arg(long, value_name = "FOLDER")]
    run_folder: Option<PathBuf>,
    /// Take over from the process that runs this proxy in the same run folder: it hands over its listening
    /// sockets, and ends when this process serves. If there is no such process, start as usual.
    #[arg(long)]
    take_over: bool,
    /// Worker threads; default: one per core.
    #[arg(long)]
    workers: Option<NonZeroUsize>,
    /// Which exchanges are recorded.
    #[arg(long, value_enum, default_value_t = Log::All)]
    access_log: Log,
    /// File to append records to, instead of standard output; reopened at SIGHUP and after it was renamed.
    #[arg(long)]
    access_log_file: Option<PathBuf>,
    /// Mode of that file, as chmod takes it: records contain paths and queries, and those may contain
    /// tokens.
    #[arg(long, value_name = "MODE", default_value = "600", value_parser = records::mode)]
    access_log_mode: u32,
    #[command(flatten)]
    secrets: secrets::SecretArguments,
    /// Longest request body in bytes; default: no limit.
    #[arg(long)]
    max_body_bytes: Option<u64>,
    /// Longest head of a request in bytes, 1024 to 1048576.
    #[arg(long, default_value_t = 64 * 1024, value_parser = clap::value_parser!(u32).range(1_024..=1_048_576))]
    max_head_bytes: u32,
    /// Most fields in a head, 1 to 1000.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    max_fields: u32,
    /// Concurrent streams on an HTTP/2 connection.
    #[arg(long, default_value_t = 128)]
    max_streams: u32,
    /// Concurrent connections.
    #[arg(long, default_value_t = 65_536)]
    max_connections: u64,
    /// After SIGTERM or a drain: seconds during which /readyz fails and requests are still served, before
    /// listeners close. Must be longer than a load balancer needs to notice /readyz.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    lame_duck_seconds: u64,
    /// Seconds that connections then have to end.
    #[arg(long, default_value_t = 10)]
    drain_seconds: u64,
    /// Add the generation that served a request to its response (`x-tamis-generation`).
    #[arg(long)]
    name_generation: bool,
    /// Do not watch documents and filters after the start.
    #[arg(long)]
    no_watch: bool,
}

/// Which exchanges are recorded.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Log {
    /// No exchange.
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

/// Runs the proxy until it receives a signal to end, or queries a running one.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    match &arguments.command {
        Some(command) => ask::run(command, output),
        None => serve(&arguments.serve, output),
    }
}

fn serve(arguments: &Serve, output: Output) -> Result<ExitCode> {
    let named = arguments.node.as_ref();
    let admission =
        arguments.join.as_deref().map(|file| Admission::read(file, named)).transpose()?;
    let name = arguments.node.clone().or(admission.as_ref().map(|it| it.node.clone()));
    let Some(name) = &name else { bail!("name the proxy with --node") };
    let run = RunFolder::open(arguments.run_folder.as_deref());
    // Without its run folder a proxy still serves; the note reports what is unavailable.
    let run = run.inspect_err(|error| output::note(&format!("{error:#}"))).ok();
    if let Some(run) = &run {
        run.tidy_ended(name);
    }
    let (predecessor, inherited) = arguments.inherit(run.as_ref(), name)?;
    let access_log = arguments.access_log_file.as_deref();
    let records = RecordFile::open(access_log, arguments.access_log_mode)?;
    let state = arguments.cache.as_ref().map(|_| user_state::folder()).transpose()?;
    let folders = arguments.cache.as_deref().zip(state.as_deref());
    let also = user_state::code();
    let shared = NodeResources::new(
        folders.map(|(code, state)| CacheFolders { code, state, also: also.as_deref() }),
        Clock::system(),
        Random::system(),
    )?;
    let proxy = ProxyOptions {
        recorder: records.recorder(arguments.access_log.mode())?,
        control: run.as_ref().map(|run| run.admin(name)),
        inherited: inherited.clone(),
        ..arguments.proxy_options()?
    };
    let mut options = NodeOptions {
        name: name.clone(),
        source: DocumentPlaces::folder(&arguments.root()),
        store: ArtifactStore::new(arguments.store.clone()),
        secrets: secrets::kept(&arguments.secrets)?,
        certificates: arguments.state.as_ref().map(|state| state.join("acme")),
        proxy,
    };
    let files = arguments.follow_files()?;
    let joined = match admission {
        Some(admission) => {
            rehearse(&options, files.as_ref(), predecessor.as_ref())?;
            Some(admission.join()?)
        }
        None => None,
    };
    let agent = arguments.agent(&options, files.is_some(), joined.as_ref())?;
    options.proxy.identity = match (&agent, &joined) {
        (Some(agent), _) => Some(agent.identity().clone()),
        (None, joined) => joined.as_ref().map(|joined| joined.identity.clone()),
    };
    let start = Start { arguments, run, predecessor, inherited, has_joined: joined.is_some() };
    if let Some(files) = files {
        let follow = arguments.follow(files, joined.as_ref(), agent.as_ref())?;
        return start.following(&shared, options, follow, output);
    }
    start.reading(&shared, &options, output)
}

fn certificates(node: &Arc<Node>, output: Output) -> Result<CertificateWatch> {
    Ok(CertificateWatch::start(Arc::clone(node), move |reload| print_reload(reload, output))?)
}

/// The start and the end of a proxy, wherever its plan comes from.
struct Start<'a> {
    arguments: &'a Serve,
    run: Option<RunFolder>,
    predecessor: Option<Predecessor>,
    inherited: InheritedSockets,
    /// A token was used up for it.
    has_joined: bool,
}

impl Start<'_> {
    /// Runs a proxy that makes its plan of a folder of documents.
    fn reading(
        self,
        shared: &NodeResources,
        options: &NodeOptions,
        output: Output,
    ) -> Result<ExitCode> {
        let root = self.arguments.root();
        if crate::up::is_copy(&root) {
            let folder = root.display();
            output::note(&format!(
                "{folder}/.tamis is a copy: whoever has the original also has its keys"
            ));
        }
        let busy = output::busy(format!("starting {}", options.name));
        let (node, reload) =
            until_started(options, self.has_joined, || Node::start(shared, options.again()))?;
        drop(busy);
        // Until here Ctrl-C ends the process at once: there is nothing in progress to finish.
        let ending = EndSignal::new()?;
        let node = Arc::new(node);
        let printer = ReloadPrinter::new(output);
        printer.print(&reload);
        let watch = if self.arguments.no_watch {
            None
        } else {
            let folders = node.folders();
            let print = move |reload: &Reload| printer.print(reload);
            let documents = Watch::start(Arc::clone(&node), &folders, print)?;
            Some((documents, certificates(&node, output)?))
        };
        let start = self.serves(&node, output)?;
        start.until_closed(&ending, &node)?;
        drop(watch);
        start.end(&node);
        Ok(ExitCode::SUCCESS)
    }

    /// Runs a proxy that receives its plan from a director.
    fn following(
        self,
        shared: &NodeResources,
        options: NodeOptions,
        follow: FollowSettings,
        output: Output,
    ) -> Result<ExitCode> {
        let busy = output::busy(format!("waiting for {}", follow.director));
        let (following, reload) = until_started(&options, self.has_joined, || {
            let print_reload = move |reload: &Reload| print_reload(reload, output);
            FollowedNode::start(shared, options.again(), follow.clone(), print_reload)
        })?;
        drop(busy);
        let ending = EndSignal::new()?;
        let node = Arc::clone(following.node());
        print_reload(&reload, output);
        let certificates = certificates(&node, output)?;
        let start = self.serves(&node, output)?;
        start.until_closed(&ending, &node)?;
        drop((following, certificates));
        start.end(&node);
        Ok(ExitCode::SUCCESS)
    }

    /// Reports that it serves: to people, and to the previous process, which then ends.
    fn serves(mut self, node: &Node, output: Output) -> Result<Self> {
        if let Some(run) = &self.run {
            node.proxy().hand_over_at(&run.give(node.name()))?;
        }
        if let Some(predecessor) = self.predecessor.take() {
            // Fails when that process has already ended, which is fine.
            let _ = predecessor.serving();
            // Inherited sockets that no listener here uses are closed.
            self.inherited.clear();
        }
        output::event(output, &ready(node), || {
            let admin = node.proxy().admin_address().map(|address| format!(", admin {address}"));
            format!("{} serves{}", node.name(), admin.unwrap_or_default())
        });
        Ok(self)
    }

    /// Waits until the listeners are closed: after a signal, after a drain, or because a successor took
    /// them.
    fn until_closed(&self, ending: &EndSignal, node: &Node) -> Result<()> {
        let proxy = node.proxy();
        let bell = ending.bell().context("cannot wait for the end")?;
        proxy.on_close(move || bell.ring());
        while !proxy.has_closed() && !ending.asked() {
            ending.wait();
        }
        if ending.gently() {
            proxy.leave(Duration::from_secs(self.arguments.lame_duck_seconds));
            while !proxy.has_closed() {
                std::thread::sleep(STEP);
            }
        }
        Ok(())
    }

    /// Lets connections end; those that wait on handed-over sockets go to the successor first.
    fn end(&self, node: &Node) {
        let proxy = node.proxy();
        while proxy.is_leaving() {
            std::thread::sleep(STEP);
        }
        proxy.drain();
        proxy.wait_idle(Duration::from_secs(self.arguments.drain_seconds));
        proxy.wait_answered(ANSWERED);
        if let Some(run) = &self.run {
            run.tidy(node.name());
        }
    }
}

/// Interval at which an end is checked for.
const STEP: Duration = Duration::from_millis(20);
/// How long the end waits for answers of the admin listener; they take milliseconds.
const ANSWERED: Duration = Duration::from_secs(1);
/// Least length of a token; a shorter one can be guessed.
const TOKEN_MIN: usize = 16;

impl Serve {
    /// The options that arguments set, without those that come of the run folder.
    ///
    /// # Errors
    /// The rules of the admin listener cannot be used.
    fn proxy_options(&self) -> Result<ProxyOptions> {
        let limits = ServeLimits::default();
        let intake = tamis_transport::IntakeLimits {
            max_head_bytes: self.max_head_bytes as usize,
            max_fields: self.max_fields as usize,
            ..limits.intake
        };
        Ok(ProxyOptions {
            workers: self.workers,
            limits: ServeLimits {
                intake,
                max_streams: self.max_streams,
                max_header_list_bytes: self.max_head_bytes,
                ..limits
            },
            max_body_bytes: self.max_body_bytes,
            max_connections: self.max_connections,
            name_generation: self.name_generation,
            admin: self.admin.clone(),
            access: self.access()?,
            lame_duck: Duration::from_secs(self.lame_duck_seconds),
            ..ProxyOptions::default()
        })
    }

    /// The folder that paths in documents are relative to.
    fn root(&self) -> PathBuf {
        let said = self.documents.clone();
        let certificate = self.certificate.as_deref().filter(|_| self.follow.is_some());
        said.or_else(|| beside_dot_tamis(certificate?)).unwrap_or_else(|| PathBuf::from("."))
    }

    /// The sockets of the process that runs the proxy now, if `--take-over` is given and there is one.
    fn inherit(
        &self,
        run: Option<&RunFolder>,
        name: &NodeName,
    ) -> Result<(Option<Predecessor>, InheritedSockets)> {
        let path = match run {
            Some(run) if self.take_over => run.giver(name)?,
            _ => None,
        };
        let Some(path) = path else { return Ok((None, InheritedSockets::default())) };
        let (predecessor, sockets) = Predecessor::ask(&path).with_context(|| {
            let path = path.display();
            format!("the process that runs {name} does not hand over its sockets ({path})")
        })?;
        Ok((Some(predecessor), InheritedSockets::new(sockets)))
    }

    fn access(&self) -> Result<AdminAccess> {
        let token = self.admin_token_file.as_ref().map(|path| {
            let text = named_file::text(path)
                .with_context(|| format!("the admin token {} cannot be read", path.display()))?;
            let token = text.trim().to_owned();
            if token.len() < TOKEN_MIN || token.contains(char::is_whitespace) {
                bail!(
                    "{} contains no token: it must be one word of at least {TOKEN_MIN} characters",
                    path.display()
                );
            }
            Ok(token)
        });
        Ok(AdminAccess { hosts: self.admin_host.clone(), token: token.transpose()? })
    }

    /// How the proxy and the director prove who they are.
    fn login(
        &self,
        joined: Option<&JoinedProxy>,
        agent: Option<&AgentSvid>,
    ) -> Result<DirectorLogin> {
        if let Some(joined) = joined {
            return Ok(joined.login());
        }
        let files = (&self.certificate, &self.key, &self.ca);
        if let (Some(agent), (None, None, None)) = (agent, files) {
            let identity = agent.identity().clone();
            return workload::login(identity, self.director_id.as_deref());
        }
        let (Some(certificate), Some(key), Some(ca)) = files else {
            bail!(
                "--follow needs --join FILE, or --certificate, --key and --ca, or --workload-api and --director-id"
            );
        };
        Ok(DirectorLogin::Files {
            certificate: certificate.clone(),
            key: key.clone(),
            ca: ca.clone(),
            director: self.director_id.clone(),
        })
    }

    /// What is read from files to follow a director; `None`: it follows none.
    fn follow_files(&self) -> Result<Option<FollowFiles>> {
        let (Some(director), Some(state), Some(keys)) =
            (&self.follow, &self.state, &self.director_keys)
        else {
            return Ok(None);
        };
        let text = named_file::octets(keys)
            .with_context(|| format!("the director's keys {} cannot be read", keys.display()))?;
        let keys = DirectorKeys::from_json(&text).with_context(|| format!("{}", keys.display()))?;
        let root = self.policy_root.as_ref().map(|path| {
            named_file::octets(path)
                .with_context(|| format!("the root {} cannot be read", path.display()))
        });
        let (director, state) = (director.clone(), state.clone());
        Ok(Some(FollowFiles { director, state, keys, policy_root: root.transpose()? }))
    }

    /// The SVID of the SPIFFE agent that the arguments name; `None`: they name none.
    fn agent(
        &self,
        options: &NodeOptions,
        follows: bool,
        joined: Option<&JoinedProxy>,
    ) -> Result<Option<AgentSvid>> {
        let Some(socket) = &self.workload_api else { return Ok(None) };
        let wanted = match joined {
            // The registry gives a proxy the identity of its document.
            Some(joined) => WantedSvid::Id(joined.identity.id()),
            None if follows => WantedSvid::Only,
            None => workload::declared(options)?,
        };
        if follows && joined.is_none() && self.certificate.is_none() {
            workload::director(self.director_id.as_deref())?;
        }
        workload::supplied(socket, wanted).map(Some)
    }

    fn follow(
        &self,
        files: FollowFiles,
        joined: Option<&JoinedProxy>,
        agent: Option<&AgentSvid>,
    ) -> Result<FollowSettings> {
        let FollowFiles { director, state, keys, policy_root } = files;
        Ok(FollowSettings {
            policy_root,
            director,
            login: self.login(joined, agent)?,
            state,
            keys,
            report_every: Duration::from_secs(self.report_seconds),
            release: env!("CARGO_PKG_VERSION").to_owned(),
        })
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

/// Prints the results of reloads; a problem that persists is printed once.
struct ReloadPrinter {
    output: Output,
    last: Mutex<Vec<String>>,
}

impl ReloadPrinter {
    fn new(output: Output) -> Self {
        Self { output, last: Mutex::default() }
    }

    fn print(&self, reload: &Reload) {
        if self.output == Output::Json {
            return print_reload(reload, self.output);
        }
        let now = lines(reload);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        now.iter().filter(|line| !last.contains(line)).for_each(|line| output::note(line));
        *last = now;
    }
}

/// The folder whose `.tamis` contains a path.
fn beside_dot_tamis(path: &Path) -> Option<PathBuf> {
    let dot = path.ancestors().find(|one| one.file_name().is_some_and(|name| name == ".tamis"))?;
    let folder = dot.parent().filter(|folder| !folder.as_os_str().is_empty());
    Some(folder.unwrap_or_else(|| Path::new(".")).to_owned())
}

/// Prints the result of a reload: every problem with its place, every slot that does not run what it
/// should.
pub(crate) fn print_reload(reload: &Reload, output: Output) {
    if output == Output::Json {
        output::event(output, &event(reload), String::new);
        return;
    }
    lines(reload).iter().for_each(|line| output::drawn_note(line));
}

fn lines(reload: &Reload) -> Vec<String> {
    let mut lines: Vec<String> = reload.problems.iter().map(problem_text::noted).collect();
    let whose = |line: &String| output::plain(&format!("{}: {line}", reload.node)).into_owned();
    lines.extend(reload.notes.iter().map(whose));
    lines.extend(reload.renewed.iter().map(whose));
    for slot in reload.slots.iter().filter(|slot| !slot.state.is_serving()) {
        let detail = slot.detail.as_deref().unwrap_or_default();
        let line = format!("{}: {} {}: {detail}", reload.node, slot.attachment, slot.state);
        lines.push(output::plain(&line).into_owned());
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

//! `tamis up`: a whole mesh from a folder, in one process.

mod admission;
pub(crate) mod apps;
mod feed;
mod gather;
mod home;
mod member;
mod mesh;
mod ports;
mod prepare;
mod proof;
mod refused_call;
mod registry;
mod suggestions;
mod token;
mod view;

use crate::ending::EndSignal;
use crate::output::{self, Output};
use crate::secrets;
use crate::user_state;
use anyhow::{Context as _, Result, bail};
use feed::FolderFeed;
use home::ForeignState;
pub(crate) use home::is_copy;
use member::Member;
use ports::Ports;
use prepare::PreparedFolder;
pub(crate) use prepare::makes_key;
use registry::EmbeddedRegistry;
use serde_json::json;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use suggestions::Suggestion;
use tamis_ambient::Clock;
use tamis_server::{SVID_LIFETIME, SVID_LIFETIME_MAX, SVID_LIFETIME_MIN};
use tamis_transport::Address;

/// Arguments of `up`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder of documents.
    #[arg(default_value = "examples/shop")]
    folder: PathBuf,
    /// Start no sample services: the endpoints in the resources run already.
    #[arg(long)]
    no_apps: bool,
    /// Prepare keys, certificates, filters and pins, and stop.
    #[arg(long)]
    prepare: bool,
    /// Number added to every port of the folder, so that a second mesh can run on the same machine.
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    port_offset: u16,
    /// Address of the registry that runs in the same process; default: 127.0.0.1:5000, or a free port if
    /// that is in use.
    #[arg(long, value_name = "ADDRESS")]
    registry: Option<Address>,
    /// Seconds for which the identities of proxies without certificate files are valid; each is renewed at 50 to 70
    /// percent of that time.
    #[arg(long, default_value_t = SVID_LIFETIME.as_secs(), value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(SVID_LIFETIME_MIN.as_secs()..=SVID_LIFETIME_MAX.as_secs()))]
    identity_seconds: u64,
    /// Accept the .tamis of a folder that was moved here from another disk or machine; there must be no
    /// other copy.
    #[arg(long)]
    adopt: bool,
    /// Add the generation that served a request to its response (`x-tamis-generation`).
    #[arg(long)]
    name_generation: bool,
    #[command(flatten)]
    secrets: secrets::SecretArguments,
}

/// Interval between two frames of the live view.
const PICTURE: Duration = Duration::from_secs(1);
/// Time that connections have to end.
const DRAIN: Duration = Duration::from_secs(3);

/// Runs the mesh until Ctrl-C.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let clock = Clock::system();
    let began = clock.now();
    let folder = &arguments.folder;
    let ports = Ports { offset: arguments.port_offset, apps: !arguments.no_apps };
    let elsewhere = if arguments.adopt { ForeignState::Adopt } else { ForeignState::Refuse };
    let prepared = prepare::run(folder, ports, elsewhere, output)?;
    compile(&prepared.signed);
    if arguments.prepare {
        return report_prepared(folder, &prepared, output);
    }
    let members = members(folder, &prepared)?;
    // Before anything runs: a secret that cannot be read is one that a filter would miss.
    let secrets = secrets::kept_apart(&arguments.secrets, folder)?;
    let lifetime = Duration::from_secs(arguments.identity_seconds);
    let at = (arguments.registry.as_ref(), ports);
    let registry = EmbeddedRegistry::start(folder, &members, at, lifetime)?;
    feed::ready(folder, &registry)?;
    let mut apps = if arguments.no_apps { None } else { Some(apps::start(&prepared.documents)?) };
    let busy = output::busy("filling the registry");
    let feeding = FolderFeed::start(folder, ports, &prepared.store, &registry, output)?;
    drop(busy);
    // Rights are narrowed before a proxy starts: a running proxy would take a file whose rights change for a renewed one.
    narrow(folder)?;
    let given = mesh::ProxySettings { secrets, name_generation: arguments.name_generation };
    let mut mesh = mesh::start(folder, &members, &registry, given, output)?;
    // Until here Ctrl-C ends the process at once: there is nothing in progress to finish.
    let ending = EndSignal::new()?;
    // Also covers files that were made since the start.
    narrow(folder)?;
    let took = clock.since(began);
    let ask = ask(&registry);
    let tries = suggestions::suggestions(folder, &prepared, &mesh, (&ask, &registry));
    let event = json!({
        "event": "up",
        "seconds": took.as_secs_f64(),
        "proxies": mesh.describe(),
        "token": prepared.token,
        "registry": { "address": registry.url, "tokenFile": registry.token, "proxies": registry.proxies,
            "trustDomain": registry.domain().map(ToString::to_string) },
        "try": tries.iter().map(Suggestion::describe).collect::<Vec<_>>(),
    });
    output::event(output, &event, || view::banner(&mesh, took, &format!("export {ask}"), &tries));
    let try_file = folder.join(".tamis/try.txt");
    tamis_private::file(&try_file)
        .and_then(|mut file| file.write_all(view::try_this(&tries).as_bytes()))
        .with_context(|| format!("{} cannot be written", try_file.display()))?;
    let try_file = try_file.display().to_string();
    let mut view = view::View::new(output);
    let mut missing = Vec::new();
    while !ending.within(PICTURE) {
        if registry.has_ended() {
            bail!("the registry of the folder ended unexpectedly; see its log");
        }
        if let Some(planned) = feeding.planned() {
            mesh.follow(&planned);
            missing = apps.as_mut().map(|apps| apps.add(&planned.documents)).unwrap_or_default();
        }
        mesh.settle();
        let mut wrongs = feeding.wrongs().lines();
        wrongs.extend(mesh.wrongs().chain(&missing).cloned());
        let (registry, tries, wrongs) = (&registry.url, &tries, &wrongs);
        view.show(
            &mesh,
            &view::FolderSurroundings { registry, wrongs, tries, try_file: &try_file },
        );
    }
    if output == Output::Text {
        output::note("\nstopping; press Ctrl-C again to stop at once");
    }
    drop(feeding);
    mesh.end(DRAIN);
    drop(registry);
    drop(apps);
    Ok(ExitCode::SUCCESS)
}

/// Says that a folder is prepared.
///
/// # Errors
/// Not all of its documents could be read.
fn report_prepared(folder: &Path, prepared: &PreparedFolder, output: Output) -> Result<ExitCode> {
    let shown = folder.display();
    if let Some(wrong) = &prepared.wrong {
        bail!(
            "{shown} is prepared as far as it can be read: {wrong}; `tamis check {shown}` lists the problems"
        );
    }
    let value = json!({ "event": "prepared", "folder": folder, "store": prepared.store, "token": prepared.token });
    output::event(output, &value, || format!("{shown} is prepared; `tamis up {shown}` runs it"));
    Ok(ExitCode::SUCCESS)
}

/// Compiles components that were signed now: once for the registry, for all proxies, and for the next folder.
fn compile(signed: &[&[u8]]) {
    if !signed.is_empty() {
        let _busy = output::busy("compiling the filters");
        user_state::keep_all_compiled(signed);
    }
}

/// Closes what a folder needs to run to everybody but its owner.
fn narrow(folder: &Path) -> Result<()> {
    let dot = folder.join(".tamis");
    tamis_private::narrow(&dot)
        .with_context(|| format!("{} cannot be made private to its owner", dot.display()))
}

/// Makes keys, the signed built-in filters and their pins for a folder that a command made for itself; returns its documents.
pub(crate) fn folder_keys(folder: &Path) -> Result<Vec<tamis_resources::Document>> {
    let ports = Ports { offset: 0, apps: false };
    let prepared = prepare::run(folder, ports, ForeignState::Adopt, Output::Json)?;
    match prepared.wrong {
        None => Ok(prepared.documents),
        Some(wrong) => bail!("{wrong}"),
    }
}

/// The proxies of a folder; each of them can be started.
fn members(folder: &Path, prepared: &PreparedFolder) -> Result<Vec<Member>> {
    let shown = folder.display();
    if prepared.documents.is_empty() && prepared.wrong.is_none() {
        bail!(
            "{shown} has no documents: it contains no *.yaml or *.yml file; `examples/shop` of the sources is a mesh to start from"
        );
    }
    let members = member::members(&prepared.documents)?;
    if members.is_empty() {
        bail!(
            "{shown} declares no proxy: it has neither a Gateway nor a Service with a sidecar{why}; `tamis check {shown}` lists the problems",
            why = prepared.wrong.as_deref().map(|why| format!(" ({why})")).unwrap_or_default(),
        );
    }
    Ok(members)
}

/// The variables with which commands reach the registry, as a shell takes them.
fn ask(registry: &EmbeddedRegistry) -> String {
    format!("TAMIS_REGISTRY={} TAMIS_TOKEN=\"$(cat {})\"", registry.url, quoted(&registry.token))
}

/// A path quoted for a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests;

//! `tamis filter run`: a gateway with one filter, rebuilt whenever its folder is saved.

mod changes;
mod decisions;
mod documents;

use super::build::{self, BuiltFilter};
use super::{artifact, lock};
use crate::ending::EndSignal;
use crate::keys;
use crate::output::{self, Output};
use crate::up::{apps, folder_keys};
use crate::user_state;
use anyhow::{Context as _, Result, bail};
use changes::ChangeTimes;
use decisions::Decisions;
use documents::{Rights, RunDocuments};
use serde_json::json;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tamis_node::{ArtifactStore, DocumentPlaces, Node, NodeOptions, Reload, Secrets};
use tamis_observe::{AccessLog, LogFile, Recorder};
use tamis_proxy::ProxyOptions;
use tamis_resources::Pin;
use tamis_trust::Digest;

/// Arguments of `run`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder of the filter.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// A built component, in any language; it is read again whenever it or the folder changes. The folder needs a `filter.yaml` with `name`, `version` and `world`. Default: the folder is built.
    #[arg(long)]
    component: Option<PathBuf>,
    /// Port of the gateway, on this machine only.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Configuration of the filter, as JSON, in one of the forms of `tamis filter inspect`; default: that of its first table
    /// of cases.
    #[arg(long)]
    config: Option<String>,
    /// File with the Grant of the filter; default: `grant.yaml` of the folder, else the grant of its first table of
    /// cases, else everything that the filter imports.
    #[arg(long)]
    grant: Option<PathBuf>,
    /// Address of the service behind the gateway; default: one that answers every request with what it received.
    #[arg(long)]
    upstream: Option<SocketAddr>,
}

/// Interval between two looks at the folder and at the records.
const PAUSE: Duration = Duration::from_millis(200);
/// Time that requests have to end.
const DRAIN: Duration = Duration::from_secs(2);

/// Builds, serves, and builds again until Ctrl-C.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let built = built(arguments)?;
    let mut saved = times(arguments);
    let place = build::made_folder(&arguments.folder)?.join("run");
    let run = RunFolder::make(&place, arguments, &built)?;
    let decisions = Decisions::begin(&place)?;
    let busy = output::busy(format!("compiling {}", built.file.display()));
    let (node, reload) = run.start(&decisions)?;
    drop(busy);
    let sample = arguments.upstream.is_none();
    let _apps = if sample { Some(apps::start(&run.documents)?) } else { None };
    // Until here Ctrl-C ends the process at once: there is nothing in progress to finish.
    let ending = EndSignal::new()?;
    let address = format!("127.0.0.1:{}", arguments.port);
    let name = &built.description.name;
    let value = json!({ "event": "ready", "filter": name, "address": address });
    output::event(output, &value, || {
        format!(
            "{name} serves at http://{address}; it is rebuilt whenever its folder is saved, and Ctrl-C ends it"
        )
    });
    print_filter_state(&reload, output);
    let mut decisions = decisions;
    while !ending.within(PAUSE) {
        decisions.show(output);
        let now = times(arguments);
        if now == saved {
            continue;
        }
        saved = now;
        match again(&run, arguments) {
            Ok(()) => {
                let busy = output::busy("compiling what was saved");
                let reload = node.reload();
                drop(busy);
                print_filter_state(&reload, output);
            }
            Err(error) => failed(&error, output),
        }
    }
    decisions.show(output);
    node.shutdown(DRAIN);
    Ok(ExitCode::SUCCESS)
}

/// Builds the filter, or reads the component that was built by other tools.
fn built(arguments: &Arguments) -> Result<BuiltFilter> {
    match &arguments.component {
        Some(file) => build::taken(&arguments.folder, file),
        None => build::make(&arguments.folder),
    }
}

/// When the folder, and a component that is given, were changed last.
fn times(arguments: &Arguments) -> ChangeTimes {
    ChangeTimes::now(&arguments.folder, arguments.component.as_deref())
}

/// Builds the filter again, and writes what the gateway reads.
fn again(run: &RunFolder, arguments: &Arguments) -> Result<()> {
    let built = built(arguments)?;
    run.write(arguments, &built)?;
    run.sign(&built)
}

/// Reports whether the filter serves now.
fn print_filter_state(reload: &Reload, output: Output) {
    let slot = reload.slots.iter().find(|slot| slot.attachment == documents::ATTACHMENT);
    let state = slot.map_or_else(|| "absent".to_owned(), |slot| slot.state.to_string());
    let mut why: Vec<String> = slot.and_then(|slot| slot.detail.clone()).into_iter().collect();
    why.extend(reload.problems.iter().map(|problem| problem.message.clone()));
    let value = json!({ "event": "filter", "state": state, "digest": slot.map(|slot| &slot.digest), "why": why });
    output::event(output, &value, || {
        let why = why.iter().map(|line| format!("\n  {line}")).collect::<String>();
        format!("filter {state}{why}")
    });
}

/// Reports a build that failed; cargo has printed its own messages by then.
fn failed(error: &anyhow::Error, output: Output) {
    let why = format!("{error:#}");
    let value = json!({ "event": "build-failed", "why": why });
    output::event(output, &value, || format!("{why}; the last good one keeps serving"));
}

/// Makes an empty folder for this user alone; what an earlier run left is removed. A link in its place is removed itself, and what
/// it leads to stays.
fn make_empty(place: &Path) -> Result<()> {
    match std::fs::symlink_metadata(place) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(place),
        Ok(_) => std::fs::remove_file(place),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
    .with_context(|| format!("{} cannot be removed", place.display()))?;
    tamis_private::folder(place).with_context(|| format!("{} cannot be made", place.display()))
}

/// The folder that the gateway runs from: documents, keys, signed filters, records.
struct RunFolder {
    place: PathBuf,
    documents: Vec<tamis_resources::Document>,
}

impl RunFolder {
    /// Makes the folder; one that is there from an earlier run is removed first.
    fn make(place: &Path, arguments: &Arguments, built: &BuiltFilter) -> Result<Self> {
        make_empty(place)?;
        let mut run = Self { place: place.to_owned(), documents: Vec::new() };
        run.write(arguments, built)?;
        run.documents = folder_keys(place)?;
        run.sign(built)?;
        Ok(run)
    }

    /// Writes the documents.
    fn write(&self, arguments: &Arguments, built: &BuiltFilter) -> Result<()> {
        let rights = Rights::read(&arguments.folder, arguments.grant.as_deref(), built)?;
        let config = match &arguments.config {
            Some(text) => serde_json::from_str(text).context("--config is not JSON")?,
            None => rights.config.clone(),
        };
        let upstream = match arguments.upstream {
            Some(address) => address,
            None => free_address()?,
        };
        let documents = RunDocuments {
            port: arguments.port,
            upstream: self.upstream().unwrap_or(upstream),
            name: &built.description.name,
            world: built.description.world.as_deref().unwrap_or("everything"),
            config: &config,
            grant: &rights.grant,
        };
        artifact::put(&self.place.join("run.yaml"), documents.text().as_bytes())
    }

    /// The address of the service, once the documents were read.
    fn upstream(&self) -> Option<SocketAddr> {
        self.documents.iter().find_map(|document| match &document.resource {
            tamis_resources::Resource::Service(spec) => {
                spec.endpoints.first()?.address.parse().ok()
            }
            _ => None,
        })
    }

    /// Signs the filter with the folder's key and pins it.
    fn sign(&self, built: &BuiltFilter) -> Result<()> {
        let (name, version) = (&built.description.name, &built.description.version);
        let manifest = artifact::manifest(&built.component, name, version)?;
        let key = keys::read_private(&self.place.join(".tamis/keys/local-dev.key"))?;
        let file = self.place.join(".tamis/store").join(artifact::file_name(name, version));
        artifact::write(&file, &built.component, &manifest, &[&key])?;
        let pin = Pin {
            service: "*".to_owned(),
            filter: name.clone(),
            version: version.clone(),
            digest: Digest::of(&manifest).to_string(),
        };
        lock::pin(&self.place.join(".tamis/filters.lock.yaml"), pin)
    }

    /// Starts the gateway.
    fn start(&self, decisions: &Decisions) -> Result<(Node, Reload)> {
        let file = LogFile::open(decisions.path(), 0o600)
            .with_context(|| format!("{} cannot be written", decisions.path().display()))?;
        let recorder =
            Recorder::to(AccessLog::All, file).context("access records cannot be written")?;
        let options = NodeOptions {
            name: documents::NODE.parse().context("the name of the gateway")?,
            source: DocumentPlaces::folder(&self.place),
            store: ArtifactStore::new(vec![self.place.join(".tamis/store")]),
            secrets: Secrets::default(),
            certificates: None,
            proxy: ProxyOptions {
                workers: std::num::NonZeroUsize::new(1),
                recorder,
                ..ProxyOptions::default()
            },
        };
        let shared = user_state::node_resources()?;
        let started = Node::start(&shared, options);
        started.context("the gateway does not start; is its port in use? --port takes another")
    }
}

/// An address of this machine where nothing listens now.
fn free_address() -> Result<SocketAddr> {
    let free =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    match free {
        Ok(address) => Ok(address),
        Err(error) => bail!("no port is free for the sample service: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use tempfile::TempDir;

    #[test]
    fn a_run_begins_in_an_empty_folder_and_follows_no_link() {
        type Plant<'a> = &'a dyn Fn(&Path);
        let out = TempDir::new().unwrap();
        let mine = out.path().join("mine");
        fs::write(&mine, "precious").unwrap();
        let rows: [(&str, Plant<'_>); 5] = [
            ("nothing", &|_| {}),
            ("an earlier run", &|place| {
                fs::create_dir_all(place.join(".tamis")).unwrap();
                symlink(&mine, place.join("access.jsonl")).unwrap();
                symlink(out.path(), place.join(".tamis/store")).unwrap();
            }),
            ("a link to a folder", &|place| symlink(out.path(), place).unwrap()),
            ("a link to nothing", &|place| symlink(out.path().join("new"), place).unwrap()),
            ("a file", &|place| fs::write(place, "").unwrap()),
        ];
        for (what, plant) in rows {
            let filter = TempDir::new().unwrap();
            let place = build::made_folder(filter.path()).unwrap().join("run");
            fs::create_dir(filter.path().join("target")).unwrap();
            plant(&place);
            make_empty(&place).unwrap();
            let found = fs::symlink_metadata(&place).unwrap();
            assert!(found.is_dir(), "{what}");
            assert_eq!(found.permissions().mode() & 0o777, 0o700, "{what}");
            assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "{what}");
            let began = Decisions::begin(&place).unwrap();
            let mode = fs::metadata(began.path()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{what}");
            // What is put in the way once the run has begun.
            fs::remove_file(began.path()).unwrap();
            symlink(&mine, began.path()).unwrap();
            assert!(Decisions::begin(&place).is_err(), "{what}");
            assert_eq!(fs::read_to_string(&mine).unwrap(), "precious", "{what}");
            assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1, "{what}");
        }
    }

    #[test]
    fn nothing_is_made_or_removed_behind_a_link_in_the_place_of_the_folder_for_what_is_made() {
        let (filter, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        fs::create_dir(out.path().join("run")).unwrap();
        symlink(out.path(), filter.path().join("target")).unwrap();
        let said = build::made_folder(filter.path()).unwrap_err().to_string();
        assert!(said.contains("is a link") && said.contains("remove it"), "{said}");
        assert!(out.path().join("run").exists());
    }
}

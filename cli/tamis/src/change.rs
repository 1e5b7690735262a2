//! `tamis plan` and `tamis apply`: put documents in force.

use crate::declared::nodes;
use crate::failure::REFUSED;
use crate::named_file;
use crate::output::{self, Output};
use crate::problem_text::render;
use crate::remote::RegistryAccess;
use anyhow::{Context as _, Result, bail};
use diff::ChangeState;
use serde_json::json;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use tamis_api::{ApplyRequest, FileText, Refused, SourceText};
use tamis_client::ClientError;
use tamis_node::DocumentPlaces;
use tamis_resources::{Document, Resource, fold};

pub(crate) mod diff;

/// Which documents to send.
#[derive(clap::Args)]
struct Documents {
    /// Folder with the documents; the files that they name must be in it too.
    #[arg(short, long, value_name = "FOLDER")]
    file: PathBuf,
    /// Remove every document that is in force but not in the folder.
    #[arg(long)]
    prune: bool,
}

/// Arguments of `plan`.
#[derive(clap::Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    documents: Documents,
    #[command(flatten)]
    at: RegistryAccess,
}

/// Arguments of `apply`.
#[derive(clap::Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    documents: Documents,
    /// Confirm what `tamis plan` shows: passes the guards against emptied chains, lost protection, wide changes, and trust
    /// policies that refuse what runs.
    #[arg(long)]
    confirm: bool,
    #[command(flatten)]
    at: RegistryAccess,
}

/// Shows what an apply would do, and the rules that would refuse it.
pub(crate) fn plan(arguments: &Plan, output: Output) -> Result<ExitCode> {
    let Some(request) = request(&arguments.documents, output)? else {
        return Ok(ExitCode::FAILURE);
    };
    let remote = arguments.at.remote()?;
    let planned = remote.ask("planning", async |client| client.plan(&request).await)?;
    output::result(output, &planned, || {
        let mut text = diff::text(&planned.diff, ChangeState::No);
        if !planned.refusals.is_empty() {
            text.push_str("\nWith these options it would be refused:\n");
            planned.refusals.iter().for_each(|one| text.push_str(&refusal(one)));
            if planned.refusals.iter().any(|one| one.code == "guard.approvals") {
                text.push_str(&format!("  tamis approve {}\n", planned.subject));
            }
        }
        text
    });
    let refused = !planned.refusals.is_empty();
    Ok(if refused { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS })
}

fn refusal(one: &Refused) -> String {
    let Refused { code, rule, set_by, remedy } = one;
    format!("  {code}: {rule} (rule of {set_by}); {remedy}\n")
}

/// Applies the documents and prints what changed; when rules refuse, prints what would change.
pub(crate) fn apply(arguments: &Apply, output: Output) -> Result<ExitCode> {
    let Some(mut request) = request(&arguments.documents, output)? else {
        return Ok(ExitCode::FAILURE);
    };
    request.confirm = arguments.confirm;
    let remote = arguments.at.remote()?;
    let applied = match remote.ask("applying", async |client| client.apply(&request).await) {
        Ok(applied) => applied,
        Err(error) => {
            let by_rule =
                error.downcast_ref::<ClientError>().is_some_and(ClientError::is_refused_by_rule);
            if by_rule && output == Output::Text {
                let planned = remote.ask("planning", async |client| client.plan(&request).await);
                // The refusal is the message that matters; a failure to get its plan is not reported.
                if let Ok(planned) = planned {
                    output::line(&diff::text(&planned.diff, ChangeState::No));
                }
            }
            return Err(error);
        }
    };
    output::result(output, &applied, || {
        let changed = !applied.diff.documents_changed.is_empty()
            || !applied.diff.documents_removed.is_empty();
        let end = if changed {
            format!("\nin force at revision {}\n", applied.revision)
        } else {
            String::new()
        };
        format!("{}{end}", diff::text(&applied.diff, ChangeState::Yes))
    });
    Ok(ExitCode::SUCCESS)
}

/// The request for a folder; `None` when documents are invalid, which has been reported by then.
fn request(documents: &Documents, output: Output) -> Result<Option<ApplyRequest>> {
    let folder = &documents.file;
    let source = DocumentPlaces::folder(folder);
    let read = source.read().context("no resources to apply; name their folder")?;
    if let Some(file) = read.unreadable.first() {
        bail!("{file}");
    }
    read.unread.iter().for_each(|file| output::note(&file.to_string()));
    if !read.problems.is_empty() {
        let value = json!({ "problems": read.problems });
        output::drawn_result(output, &value, || read.problems.iter().map(render).collect());
        output::note("nothing was sent: correct the documents first");
        return Ok(None);
    }
    if read.documents.is_empty() {
        bail!("{} has no documents: it contains no *.yaml or *.yml file", folder.display());
    }
    let prune = documents.prune;
    Ok(Some(ApplyRequest { prune, ..whole(&source, &read.documents)? }))
}

/// The request for all documents of a folder.
fn whole(source: &DocumentPlaces, documents: &[Document]) -> Result<ApplyRequest> {
    let mut sources = Vec::new();
    for name in sendable(documents)? {
        let path = source.root.join(name);
        let text = named_file::text(&path);
        let text = text.with_context(|| format!("{} cannot be read", path.display()))?;
        sources.push(SourceText { source: name.to_owned(), text });
    }
    let files = files(source, documents)?;
    Ok(ApplyRequest { sources, files, ..ApplyRequest::default() })
}

/// What a check finds in documents apart from faults with a place.
#[derive(Default)]
pub(crate) struct LiveFindings {
    /// Their problems, each in one line.
    pub(crate) problems: Vec<String>,
    /// What their apply would ask a person to confirm, although nothing is wrong with them: lost protection.
    pub(crate) asks: Vec<String>,
}

/// What a running registry finds in documents, checked together with those in force there. Nothing is changed.
///
/// # Errors
/// The registry cannot be asked, or does not let this token see what the documents name.
pub(crate) fn judged(
    source: &DocumentPlaces,
    documents: &[Document],
    at: &RegistryAccess,
) -> Result<LiveFindings> {
    let request = whole(source, documents)?;
    let remote = at.remote()?;
    let planned = remote.ask("asking the registry", async |client| client.plan(&request).await)?;
    // Other rules ask for a confirmation or an approval; they say nothing of the documents.
    let of = |codes: &'static [&str]| {
        planned.refusals.iter().filter(move |one| codes.contains(&&*one.code))
    };
    let problems = of(&FAULTS).map(|one| format!("{}; {}", one.rule, one.remedy)).collect();
    let asks = of(&ASKS).map(|one| format!("apply will ask for --confirm: {}", one.rule));
    Ok(LiveFindings { problems, asks: asks.collect() })
}

/// The codes of what is wrong with documents, or with what they would make of that which runs, among the rules that refuse.
const FAULTS: [&str; 2] = ["document.problem", "guard.trust"];
/// The code of lost protection among them.
const ASKS: [&str; 1] = ["guard.protection"];

/// The documents of a folder with their texts, by `Kind/namespace/name`.
pub(crate) fn texts(folder: &Path) -> Result<BTreeMap<String, String>> {
    let read = DocumentPlaces::folder(folder)
        .read()
        .context("no resources to compare; name their folder")?;
    if let Some(file) = read.unreadable.first() {
        bail!("{file}");
    }
    if let Some(problem) = read.problems.first() {
        let problem = problem.printable();
        let (place, more) = (&problem.place, read.problems.len() - 1);
        bail!(
            "{}:{}: {problem}, and {more} more; `tamis check` lists all",
            place.source,
            place.line
        );
    }
    let mut texts = BTreeMap::new();
    for name in sendable(&read.documents)? {
        let path = folder.join(name);
        let text = named_file::text(&path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        for (document, text) in tamis_resources::texts(name, &text) {
            texts.insert(format!("{}/{}", document.kind(), document.key()), text);
        }
    }
    Ok(texts)
}

/// The sources to send: all but locks, since pins are made with `tamis pin`.
fn sendable(documents: &[Document]) -> Result<BTreeSet<&str>> {
    let is_lock = |one: &&Document| matches!(one.resource, Resource::FiltersLock(_));
    let name = |one: &'_ Document| -> String { one.source.clone() };
    let locks: BTreeSet<String> = documents.iter().filter(is_lock).map(name).collect();
    let others: BTreeSet<&str> =
        documents.iter().filter(|one| !is_lock(one)).map(|one| one.source.as_str()).collect();
    if let Some(mixed) = locks.iter().find(|lock| others.contains(lock.as_str())) {
        bail!(
            "{mixed} has a FiltersLock together with other documents; move it into a file of its own (a registry takes pins from `tamis pin`)"
        );
    }
    for lock in &locks {
        output::note(&format!("{lock} is not sent: a registry takes pins from `tamis pin`"));
    }
    Ok(others)
}

/// The files that the documents name, as far as they exist in the folder; the registry reports missing ones with their
/// place.
pub(crate) fn files(source: &DocumentPlaces, documents: &[Document]) -> Result<Vec<FileText>> {
    let named: RefCell<BTreeMap<String, Vec<u8>>> = RefCell::default();
    let outside: RefCell<BTreeSet<String>> = RefCell::default();
    let file = |name: &str| {
        let octets = match file_of_document(&source.root, name) {
            Ok(octets) => octets,
            Err(NamedFileFault::Outside) => {
                outside.borrow_mut().insert(name.to_owned());
                return Err(format!("{name} is outside of the folder"));
            }
            Err(NamedFileFault::Unreadable(why)) => return Err(format!("{name}: {why}")),
        };
        named.borrow_mut().insert(name.to_owned(), octets.clone());
        Ok(octets)
    };
    for node in nodes(documents) {
        // The registry reports what is wrong: it knows the documents that are already in force.
        drop(fold(documents, &node, &file));
    }
    for name in outside.into_inner() {
        output::note(&format!(
            "{name} is not sent: it is outside of the folder of the documents; copy it into the folder, and name the copy"
        ));
    }
    let mut files = Vec::new();
    for (path, octets) in named.into_inner() {
        let text = String::from_utf8(octets);
        let text = text.with_context(|| {
            format!("{path} is not UTF-8 text, and only text files can be applied")
        })?;
        files.push(FileText { path, text });
    }
    Ok(files)
}

/// Why a file that a document names is not read.
#[derive(Debug)]
enum NamedFileFault {
    /// It is not in the folder. Who wrote the documents is perhaps not who sends them, and would get any file that the
    /// sender may read.
    Outside,
    /// It is no file, too large, or cannot be read.
    Unreadable(String),
}

/// Bytes of a file that a document names: as of a document.
const MAX_FILE: u64 = 4 << 20;

/// The content of a file that a document names, in the folder itself: no absolute path, no `..`, and no link that leads
/// out of it.
fn file_of_document(root: &Path, name: &str) -> Result<Vec<u8>, NamedFileFault> {
    let unreadable = |error: std::io::Error| NamedFileFault::Unreadable(error.to_string());
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(name).components().all(plain) {
        return Err(NamedFileFault::Outside);
    }
    let root = root.canonicalize().map_err(unreadable)?;
    let path = root.join(name).canonicalize().map_err(unreadable)?;
    if !path.starts_with(&root) {
        return Err(NamedFileFault::Outside);
    }
    named_file::up_to(&path, MAX_FILE).map_err(unreadable)
}

#[cfg(test)]
mod tests;

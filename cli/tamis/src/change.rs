//! `tamis plan` and `tamis apply`: documents into force.

use crate::check::render;
use crate::failure::REFUSED;
use crate::output::{self, Output};
use crate::remote::Where;
use anyhow::{Context as _, Result, bail};
use diff::Made;
use serde_json::json;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tamis_api::{ApplyRequest, FileText, Refusal, SourceText};
use tamis_client::ClientError;
use tamis_node::Source;
use tamis_resources::{Document, Resource, fold};

pub(crate) mod diff;

/// Which documents.
#[derive(clap::Args)]
struct Documents {
    /// Folder of resources; the files they name are read below it.
    #[arg(short, long, value_name = "FOLDER")]
    file: PathBuf,
    /// Take out every document that is in force and not in the folder.
    #[arg(long)]
    prune: bool,
}

/// What `plan` takes.
#[derive(clap::Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    documents: Documents,
    #[command(flatten)]
    at: Where,
}

/// What `apply` takes.
#[derive(clap::Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    documents: Documents,
    /// You have seen what it does and want it: passes the guards against emptied chains and wide changes.
    #[arg(long)]
    confirm: bool,
    #[command(flatten)]
    at: Where,
}

/// Shows what an apply would do, and the rules that would refuse it.
pub(crate) fn plan(arguments: &Plan, output: Output) -> Result<ExitCode> {
    let Some(request) = request(&arguments.documents, output)? else {
        return Ok(ExitCode::FAILURE);
    };
    let remote = arguments.at.remote()?;
    let planned = remote.ask("planning", async |client| client.plan(&request).await)?;
    output::answer(output, &planned, || {
        let mut text = diff::text(&planned.diff, Made::No);
        if !planned.refusals.is_empty() {
            text.push_str("\nAs it is asked now, it would be refused:\n");
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

fn refusal(one: &Refusal) -> String {
    let Refusal { code, rule, set_by, remedy } = one;
    format!("  {code}: {rule} (set by {set_by}); {remedy}\n")
}

/// Puts the documents in force and shows what that did; shows what it would do when rules refuse it.
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
                // The refusal is the news; that its plan cannot be had as well is none.
                if let Ok(planned) = planned {
                    output::line(&output::plain(&diff::text(&planned.diff, Made::No)));
                }
            }
            return Err(error);
        }
    };
    output::answer(output, &applied, || {
        let changed = !applied.diff.documents_changed.is_empty()
            || !applied.diff.documents_removed.is_empty();
        let end = if changed {
            format!("\nin force at revision {}\n", applied.revision)
        } else {
            String::new()
        };
        format!("{}{end}", diff::text(&applied.diff, Made::Yes))
    });
    Ok(ExitCode::SUCCESS)
}

/// What is sent of a folder; none when its documents are wrong in themselves, which has been told then.
fn request(documents: &Documents, output: Output) -> Result<Option<ApplyRequest>> {
    let folder = &documents.file;
    let source = Source::folder(folder);
    let read = source.read().context("no resources to apply; name their folder")?;
    if let Some(file) = read.unreadable.first() {
        bail!("{file}");
    }
    if !read.problems.is_empty() {
        let value = json!({ "problems": read.problems });
        output::result(output, &value, || read.problems.iter().map(render).collect());
        output::note("nothing was sent: the documents are wrong in themselves");
        return Ok(None);
    }
    if read.documents.is_empty() {
        bail!("{} has no documents: no *.yaml, no *.yml", folder.display());
    }
    let mut sources = Vec::new();
    for name in sendable(&read.documents)? {
        let path = folder.join(name);
        let text = std::fs::read_to_string(&path);
        let text = text.with_context(|| format!("{} cannot be read", path.display()))?;
        sources.push(SourceText { source: name.to_owned(), text });
    }
    let files = files(&source, &read.documents)?;
    let prune = documents.prune;
    Ok(Some(ApplyRequest { sources, files, prune, ..ApplyRequest::default() }))
}

/// The documents of a folder with their texts, by `Kind/namespace/name`.
pub(crate) fn texts(folder: &Path) -> Result<BTreeMap<String, String>> {
    let read =
        Source::folder(folder).read().context("no resources to compare; name their folder")?;
    if let Some(file) = read.unreadable.first() {
        bail!("{file}");
    }
    if let Some(problem) = read.problems.first() {
        let (place, more) = (&problem.place, read.problems.len() - 1);
        bail!(
            "{}:{}: {problem}, and {more} more like it; tamis check says all",
            place.source,
            place.line
        );
    }
    let mut texts = BTreeMap::new();
    for name in sendable(&read.documents)? {
        let path = folder.join(name);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        for (document, text) in tamis_resources::texts(name, &text) {
            texts.insert(format!("{}/{}", document.kind(), document.key()), text);
        }
    }
    Ok(texts)
}

/// The sources that are sent: all but those of locks, since pins are made by pinning.
fn sendable(documents: &[Document]) -> Result<BTreeSet<&str>> {
    let is_lock = |one: &&Document| matches!(one.resource, Resource::FiltersLock(_));
    let name = |one: &'_ Document| -> String { one.source.clone() };
    let locks: BTreeSet<String> = documents.iter().filter(is_lock).map(name).collect();
    let others: BTreeSet<&str> =
        documents.iter().filter(|one| !is_lock(one)).map(|one| one.source.as_str()).collect();
    if let Some(mixed) = locks.iter().find(|lock| others.contains(lock.as_str())) {
        bail!(
            "{mixed} has a FiltersLock beside other documents; move it into a file of its own (a registry takes pins \
             from `tamis pin`)"
        );
    }
    for lock in &locks {
        output::note(&format!("{lock} is left out: a registry takes pins from `tamis pin`"));
    }
    Ok(others)
}

/// The files that the documents name, as far as they are there: what is missing, the registry says with its place.
pub(crate) fn files(source: &Source, documents: &[Document]) -> Result<Vec<FileText>> {
    let named: RefCell<BTreeMap<String, Vec<u8>>> = RefCell::default();
    let file = |name: &str| {
        let octets =
            std::fs::read(source.root.join(name)).map_err(|error| format!("{name}: {error}"))?;
        named.borrow_mut().insert(name.to_owned(), octets.clone());
        Ok(octets)
    };
    for node in crate::check::nodes(documents) {
        // What is wrong is for the registry to say, which knows the documents that are in force already.
        drop(fold(documents, &node, &file));
    }
    let mut files = Vec::new();
    for (path, octets) in named.into_inner() {
        let text = String::from_utf8(octets);
        let text =
            text.with_context(|| format!("{path} is no text, and only texts are applied"))?;
        files.push(FileText { path, text });
    }
    Ok(files)
}

#[cfg(test)]
mod tests;

//! `tamis diff`, `tamis delete`, and the versions of a document.

use crate::change::diff::{self, ChangeState, fields};
use crate::failure::NotFound;
use crate::get::Kind;
use crate::names;
use crate::output::{self, Output};
use crate::remote::{RegistryAccess, Remote};
use crate::table::table;
use crate::when::{ago, dated, now_ms};
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use tamis_api::{ApplyRequest, ApplyResult, DocumentVersion, SourceText};
use tamis_client::ClientError;

mod lines;

pub(crate) use lines::unified;

/// Arguments of `delete`.
#[derive(clap::Args)]
pub(crate) struct Delete {
    /// Kind of document.
    #[arg(value_parser = crate::get::kind)]
    kind: Kind,
    /// Name.
    name: String,
    /// Namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Show the effect, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Confirm what --dry-run shows: passes the guards against emptied chains, lost protection and wide changes.
    #[arg(long)]
    confirm: bool,
    #[command(flatten)]
    at: RegistryAccess,
}

/// Removes a document, or shows what that would do.
pub(crate) fn delete(arguments: &Delete, output: Output) -> Result<ExitCode> {
    let Kind::One(kind) = arguments.kind else {
        bail!("one document is removed at a time; give its kind instead of `all`")
    };
    let (namespace, name) = (arguments.namespace.as_str(), arguments.name.as_str());
    let remote = arguments.at.remote()?;
    exists(&remote, kind, namespace, name)?;
    let removed = vec![format!("{kind}/{namespace}/{name}")];
    let confirm = arguments.confirm;
    let request = ApplyRequest { removed, confirm, ..ApplyRequest::default() };
    if arguments.dry_run {
        let planned = remote.ask("planning", async |client| client.plan(&request).await)?;
        output::result(output, &planned, || diff::text(&planned.diff, ChangeState::No));
        return Ok(ExitCode::SUCCESS);
    }
    let applied = remote.ask("deleting", async |client| client.apply(&request).await)?;
    output::result(output, &applied, || taken_out(&applied));
    Ok(ExitCode::SUCCESS)
}

fn taken_out(applied: &ApplyResult) -> String {
    format!(
        "{}\nremoved at revision {}\n",
        diff::text(&applied.diff, ChangeState::Yes),
        applied.revision
    )
}

/// Fails when there is no such document, and names similar ones.
fn exists(remote: &Remote, kind: &str, namespace: &str, name: &str) -> Result<()> {
    let all = remote.ask("reading", async |client| client.resources().await)?;
    let found = |one: &tamis_api::ResourceSummary| {
        (one.kind.as_str(), one.namespace.as_str(), one.name.as_str()) == (kind, namespace, name)
    };
    if all.items.iter().any(found) {
        return Ok(());
    }
    let of_kind = all.items.iter().filter(|one| one.kind == kind);
    let names: Vec<String> =
        of_kind.map(|one| format!("{} -n {}", one.name, one.namespace)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let meant = match names::meant(&format!("{name} -n {namespace}"), &names) {
        none if none.is_empty() => {
            format!("; there is no {kind} at all: `tamis get all` lists what is in force")
        }
        meant => meant,
    };
    Err(NotFound(format!("no {kind} {name} is in force in namespace {namespace}{meant}")).into())
}

/// Lists the versions of a document.
pub(crate) fn history(
    (kind, namespace, name): (&'static str, &str, &str),
    at: &RegistryAccess,
    output: Output,
) -> Result<ExitCode> {
    let remote = at.remote()?;
    let versions = versions(&remote, (kind, namespace, name))?;
    output::result(output, &crate::get::items(&versions), || versions_text(&versions, now_ms()));
    Ok(ExitCode::SUCCESS)
}

fn versions(
    remote: &Remote,
    (kind, namespace, name): (&'static str, &str, &str),
) -> Result<Vec<DocumentVersion>> {
    let asked = remote.ask("reading", async |client| client.versions(kind, namespace, name).await);
    asked.map_err(|error| match error.downcast_ref::<ClientError>() {
        Some(said) if said.is_not_found() => match exists(remote, kind, namespace, name) {
            Err(better) => better,
            Ok(()) => error,
        },
        _ => error,
    })
}

fn versions_text(versions: &[DocumentVersion], now: u64) -> String {
    let row = |one: &DocumentVersion| {
        let what = match (&one.digest, one.back_to) {
            (None, _) => "taken out".to_owned(),
            (Some(_), Some(revision)) => format!("rolled back to revision {revision}"),
            (Some(_), None) if one.fields.is_empty() => "put in force".to_owned(),
            (Some(_), None) => "changed".to_owned(),
        };
        [one.revision.to_string(), ago(now, one.time_ms), one.actor.clone(), what]
    };
    let rows: Vec<_> = versions.iter().map(row).collect();
    let table = table(["REVISION", "WHEN", "BY", "WHAT"], &rows);
    let mut text = String::new();
    let mut lines = table.lines();
    let _ = writeln!(text, "{}", lines.next().unwrap_or_default());
    for (line, one) in lines.zip(versions) {
        let _ = writeln!(text, "{line}");
        fields(&mut text, "          ", &one.fields);
    }
    text
}

/// Restores an earlier version of a document: that of a revision, or the one before the current.
pub(crate) fn rollback(
    (kind, namespace, name): (&'static str, &str, &str),
    to: Option<u64>,
    confirm: bool,
    at: &RegistryAccess,
    output: Output,
) -> Result<ExitCode> {
    let remote = at.remote()?;
    let known = versions(&remote, (kind, namespace, name))?;
    let revision = match to {
        Some(revision) => revision,
        None => before(&known)?,
    };
    let document = (kind, namespace, name);
    let text = remote.ask("reading", async |client| client.text_at(document, revision).await)?;
    let sources = vec![SourceText { source: text.source, text: text.text }];
    let request = ApplyRequest { sources, confirm, ..ApplyRequest::default() };
    let applied = remote.ask("rolling back", async |client| client.apply(&request).await)?;
    output::result(output, &dated(&applied), || {
        format!(
            "{kind} {namespace}/{name} rolled back to what it was at revision {revision} (revision {})\n\n{}",
            applied.revision,
            diff::text(&applied.diff, ChangeState::Yes)
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// The newest revision whose text differs from the one in force.
fn before(versions: &[DocumentVersion]) -> Result<u64> {
    let now = versions.last().and_then(|last| last.digest.as_ref());
    let found = versions
        .iter()
        .rev()
        .find(|one| one.digest.is_some() && one.digest.as_ref() != now)
        .map(|one| one.revision);
    match found {
        Some(revision) => Ok(revision),
        None => bail!("it has no earlier version; `tamis history` lists its versions"),
    }
}

/// Arguments of `diff`.
#[derive(clap::Args)]
pub(crate) struct Diff {
    /// Folder with the documents; the files that they name must be in it too.
    #[arg(short, long, value_name = "FOLDER")]
    file: std::path::PathBuf,
    /// Also show documents that are in force but not in the folder.
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    at: RegistryAccess,
}

/// Shows how the texts of a folder differ from those in force; exits with 1 when they do.
pub(crate) fn diff(arguments: &Diff, output: Output) -> Result<ExitCode> {
    let documents = crate::change::texts(&arguments.file)?;
    let remote = arguments.at.remote()?;
    let in_force = remote.ask("reading", async |client| client.resources().await)?;
    let known: BTreeMap<String, String> = in_force
        .items
        .iter()
        .map(|one| (format!("{}/{}/{}", one.kind, one.namespace, one.name), one.digest.clone()))
        .collect();
    let mut versions_text = BTreeMap::new();
    for (key, text) in &documents {
        let digest = tamis_trust::Digest::of(text.as_bytes()).to_string();
        if known.get(key) == Some(&digest) {
            continue;
        }
        let before = if known.contains_key(key) { text_of(&remote, key)? } else { String::new() };
        versions_text.insert(key.clone(), unified(&before, text));
    }
    for key in known.keys().filter(|key| arguments.prune && !documents.contains_key(*key)) {
        versions_text.insert(key.clone(), unified(&text_of(&remote, key)?, ""));
    }
    versions_text.retain(|_, lines| !lines.is_empty());
    output::result(output, &versions_text, || {
        if versions_text.is_empty() {
            return "nothing differs\n".to_owned();
        }
        versions_text
            .iter()
            .map(|(key, lines)| format!("{key}\n{lines}"))
            .collect::<Vec<_>>()
            .join("\n")
    });
    Ok(if versions_text.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text_of(remote: &Remote, key: &str) -> Result<String> {
    let mut parts = key.splitn(3, '/');
    let mut part = || parts.next().unwrap_or_default();
    let (kind, namespace, name) = (part(), part(), part());
    let found =
        remote.ask("reading", async |client| client.resource(kind, namespace, name).await)?;
    Ok(found.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_api::FieldChange;

    fn version(revision: u64, digest: Option<&str>, back_to: Option<u64>) -> DocumentVersion {
        let change = |before: &str, after: &str| FieldChange {
            field: "spec.weight".into(),
            before: Some(before.into()),
            after: Some(after.into()),
        };
        let fields = match revision {
            2 => vec![change("90", "50")],
            3 => vec![change("50", "90")],
            _ => Vec::new(),
        };
        let digest = digest.map(str::to_owned);
        DocumentVersion { revision, time_ms: 60_000, actor: "ada".into(), digest, fields, back_to }
    }

    #[test]
    fn the_history_of_a_document_says_what_changed_and_calls_a_rollback_one() {
        let all = [
            version(1, Some("a"), None),
            version(2, Some("b"), None),
            version(3, Some("a"), Some(1)),
            version(4, None, None),
        ];
        assert_eq!(
            versions_text(&all, 240_000),
            "REVISION  WHEN    BY   WHAT\n\
             1         3m ago  ada  put in force\n\
             2         3m ago  ada  changed\n          spec.weight  90 → 50\n\
             3         3m ago  ada  rolled back to revision 1\n          spec.weight  50 → 90\n\
             4         3m ago  ada  taken out\n"
        );
    }

    #[test]
    fn the_way_back_is_the_newest_text_that_is_not_in_force() {
        let all = [
            version(1, Some("a"), None),
            version(2, Some("b"), None),
            version(3, Some("a"), Some(1)),
            version(4, None, None),
        ];
        for (versions, wanted) in [(&all[..2], Some(1)), (&all[..3], Some(2)), (&all, Some(3))] {
            assert_eq!(before(versions).ok(), wanted);
        }
        assert!(before(&all[..1]).unwrap_err().to_string().contains("no earlier version"));
    }
}

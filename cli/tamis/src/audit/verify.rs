//! `tamis audit verify`: checks proofs offline.
//!
//! It checks that the log's key signed the checkpoint, that every entry is in that log at its place, and
//! that each run in the answer was reported by that proxy in one of these entries. No proof can show that
//! the answer is complete: that takes the whole log, whose tiles are served below `/log/`.

use crate::named_file;
use crate::output::{self, Output};
use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tamis_api::{Proof, ProvenEntry, RunHistory, RunView};
use tamis_journal::Hash;
use tamis_journal::log::{NoteVerifier, verify_inclusion};
use tamis_resources::NodeName;

/// Arguments of `verify`.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Files with proofs, as `tamis audit who-ran --proof` writes them.
    #[arg(required = true)]
    file: Vec<PathBuf>,
    /// Public key of the log, or a file with it (`tamis audit key` prints it). Get it from elsewhere than
    /// the proof: a proof checked with its own key proves nothing.
    #[arg(long, value_name = "KEY")]
    log_key: String,
}

/// Largest file of a proof in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The content of a proof that holds.
#[derive(Debug)]
pub(super) struct ProofContent {
    /// Entries in the log that the checkpoint covers.
    size: u64,
    /// The entries, by revision.
    entries: BTreeMap<u64, Value>,
}

/// Checks the files one by one; the first whose proof fails is an error.
pub(super) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let key = key(&arguments.log_key)?;
    let mut told = Vec::new();
    for path in &arguments.file {
        let named = || format!("the proof {} does not hold", path.display());
        let value = read(path)?;
        // An answer of `who-ran` contains its proof; otherwise the file is a proof.
        let (proven, ran) = if value.get("runs").is_some() {
            let ran: RunHistory = serde_json::from_value(value).with_context(named)?;
            (who_ran(&ran, &key).with_context(named)?, Some(ran))
        } else {
            let proof: Proof = serde_json::from_value(value).with_context(named)?;
            (self::proof(&proof, &key).with_context(named)?, None)
        };
        let revisions: Vec<u64> = proven.entries.keys().copied().collect();
        told.push(json!({
            "file": path, "holds": true, "entries": revisions, "size": proven.size,
            "service": ran.as_ref().map(|ran| &ran.service),
            "runs": ran.as_ref().map(|ran| ran.runs.len()),
        }));
    }
    output::result(output, &told, || text(&arguments.file, &told));
    Ok(ExitCode::SUCCESS)
}

fn text(files: &[PathBuf], told: &[Value]) -> String {
    let mut text = String::new();
    for (path, one) in files.iter().zip(told) {
        let entries = one.get("entries").and_then(Value::as_array).map_or(0, Vec::len);
        let size = one.get("size").and_then(Value::as_u64).unwrap_or_default();
        let runs = match (one.get("runs").and_then(Value::as_u64), one.get("service")) {
            (Some(0), Some(service)) => {
                format!(
                    "; the answer names no run of {service}, which does not prove that there was none"
                )
            }
            (Some(1), Some(service)) => format!(", and report the one run of {service}"),
            (Some(runs), Some(service)) => format!(", and report the {runs} runs of {service}"),
            _ => String::new(),
        };
        text.push_str(&format!(
            "{} holds: {} in the log of {size}{runs}\n",
            path.display(),
            crate::table::count(entries, "entry is", "entries are")
        ));
    }
    text
}

fn read(path: &Path) -> Result<Value> {
    let told = || format!("the proof {} cannot be read", path.display());
    let octets = named_file::up_to(path, MAX_BYTES).with_context(told)?;
    serde_json::from_slice(&octets).with_context(|| format!("{} is not a proof", path.display()))
}

/// The key of a log: the key itself, or the path of a file with it.
pub(super) fn key(text: &str) -> Result<NoteVerifier> {
    let written = NoteVerifier::parse(text.trim());
    if let Ok(key) = written {
        return Ok(key);
    }
    let file = named_file::text(text).with_context(|| {
        format!("{text} is neither the key of a log (NAME+ID+BASE64) nor a file with one")
    })?;
    Ok(NoteVerifier::parse(file.trim())?)
}

/// Checks a proof.
pub(super) fn proof(proof: &Proof, key: &NoteVerifier) -> Result<ProofContent> {
    let checkpoint = key.verify(&proof.checkpoint)?;
    let mut entries = BTreeMap::new();
    for one in &proof.entries {
        let entry = entry(one, checkpoint.size, &checkpoint.root)
            .with_context(|| format!("entry {}", one.revision))?;
        entries.insert(one.revision, entry);
    }
    Ok(ProofContent { size: checkpoint.size, entries })
}

fn entry(one: &ProvenEntry, size: u64, root: &Hash) -> Result<Value> {
    let index = one.revision.checked_sub(1).context("revisions begin with 1")?;
    let hashes = one.hashes.iter().map(|hash| hash.parse::<Hash>());
    let hashes = hashes.collect::<Result<Vec<_>, _>>().map_err(|why| anyhow!("{why}"))?;
    verify_inclusion(&Hash::leaf(one.canonical.as_bytes()), index, size, &hashes, root)?;
    let entry: Value = serde_json::from_str(&one.canonical)?;
    if entry.get("revision").and_then(Value::as_u64) != Some(one.revision) {
        bail!("the entry in the file carries another revision");
    }
    Ok(entry)
}

/// Checks an answer of `who-ran`: its proof, and that an entry reports each run.
pub(super) fn who_ran(ran: &RunHistory, key: &NoteVerifier) -> Result<ProofContent> {
    let proven = proof(&ran.proof, key)?;
    for run in &ran.runs {
        reported(ran, run, &proven).with_context(|| format!("{} {}", run.node, run.slot))?;
    }
    Ok(proven)
}

/// Checks that a proxy reported a run as the answer states it.
fn reported(ran: &RunHistory, run: &RunView, proven: &ProofContent) -> Result<()> {
    let entry = proven.entries.get(&run.revision);
    let entry = entry.with_context(|| format!("entry {} is not in the proof", run.revision))?;
    let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str);
    if text("/kind") != Some("node-reported") || text("/body/node") != Some(&run.node) {
        bail!("entry {} is not a report of this proxy", run.revision);
    }
    if run.node.parse::<NodeName>().ok().is_none_or(|node| node.key() != ran.service) {
        bail!("this proxy does not belong to {}", ran.service);
    }
    let slots = entry.pointer("/body/slots").and_then(Value::as_array);
    let says = |slot: &Value, pointer: &str, what: &str| {
        slot.pointer(pointer).and_then(Value::as_str) == Some(what)
    };
    let found = slots.into_iter().flatten().any(|slot| {
        says(slot, "/slot", &run.slot)
            && says(slot, "/filter", &run.filter)
            && says(slot, "/running/digest", &run.digest)
            && says(slot, "/running/version", &run.version)
    });
    if !found {
        bail!("entry {} does not report this", run.revision);
    }
    let time_ms = entry.get("time_ms").and_then(Value::as_u64).unwrap_or_default();
    let last_ms = ran.to_ms.unwrap_or(ran.at_ms);
    let covers = run.from_ms <= last_ms && run.until_ms.is_none_or(|until| ran.at_ms < until);
    if run.from_ms > time_ms || !covers {
        bail!("its times are not those of the report and of the question");
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! `tamis audit verify`: checks proofs offline.
//!
//! It checks that the log's key signed the checkpoint, that every entry is in that log at its place, and
//! that each run in the answer was reported by that proxy in these entries, with its beginning, its end and when it was seen
//! last. No proof can show that the answer is complete: that takes the whole log, whose tiles are served below `/log/`.

use crate::named_file;
use crate::output::{self, Output};
use crate::when::{dated, rfc3339};
use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
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
    let mut verdicts = Vec::new();
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
        verdicts.push(json!({
            "file": path, "holds": true, "entries": revisions, "size": proven.size,
            "service": ran.as_ref().map(|ran| &ran.service),
            "atMs": ran.as_ref().map(|ran| ran.at_ms),
            "toMs": ran.as_ref().and_then(|ran| ran.to_ms),
            "runs": ran.as_ref().map(|ran| ran.runs.len()),
        }));
    }
    output::result(output, &dated(&verdicts), || text(&arguments.file, &verdicts));
    Ok(ExitCode::SUCCESS)
}

fn text(files: &[PathBuf], verdicts: &[Value]) -> String {
    let mut text = String::new();
    for (path, one) in files.iter().zip(verdicts) {
        let entries = one.get("entries").and_then(Value::as_array).map_or(0, Vec::len);
        let size = one.get("size").and_then(Value::as_u64).unwrap_or_default();
        let moment = |name: &str| one.get(name).and_then(Value::as_u64).map(rfc3339);
        let asked = match (moment("atMs"), moment("toMs")) {
            (Some(from), Some(to)) => format!(" from {from} to {to}"),
            (Some(at), None) => format!(" at {at}"),
            (None, _) => String::new(),
        };
        let runs = match (one.get("runs").and_then(Value::as_u64), one.get("service")) {
            (Some(0), Some(service)) => {
                format!(
                    "; the answer names no run of {service}{asked}, which does not prove that there was none"
                )
            }
            (Some(1), Some(service)) => format!(", and report the one run of {service}{asked}"),
            (Some(runs), Some(service)) => {
                format!(", and report the {runs} runs of {service}{asked}")
            }
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
    let unreadable = || format!("the proof {} cannot be read", path.display());
    let octets = named_file::up_to(path, MAX_BYTES).with_context(unreadable)?;
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

/// Checks an answer of `who-ran`: its proof, and that entries report each run with its times.
pub(super) fn who_ran(ran: &RunHistory, key: &NoteVerifier) -> Result<ProofContent> {
    let proven = proof(&ran.proof, key)?;
    let mut told = BTreeSet::new();
    for run in &ran.runs {
        reported(ran, run, &proven).with_context(|| format!("{} {}", run.node, run.slot))?;
        if !told.insert((&run.node, &run.slot, run.revision)) {
            bail!("{} {}: entry {} appears twice", run.node, run.slot, run.revision);
        }
    }
    Ok(proven)
}

/// Checks that an answer is one to this question.
pub(super) fn answers(
    ran: &RunHistory,
    service: &str,
    at_ms: u64,
    to_ms: Option<u64>,
) -> Result<()> {
    let range = |at_ms, to_ms: Option<u64>| match to_ms {
        Some(to_ms) => format!("from {} to {}", rfc3339(at_ms), rfc3339(to_ms)),
        None => format!("at {}", rfc3339(at_ms)),
    };
    if ran.service != service || (ran.at_ms, ran.to_ms) != (at_ms, to_ms) {
        bail!(
            "the registry answers another question: what ran for {} {}, and not for {service} {}",
            ran.service,
            range(ran.at_ms, ran.to_ms),
            range(at_ms, to_ms)
        );
    }
    ran.runs.iter().try_for_each(|run| is_asked(ran, run))
}

/// Checks that a run is of the service and of the time of the question.
fn is_asked(ran: &RunHistory, run: &RunView) -> Result<()> {
    if run.node.parse::<NodeName>().ok().is_none_or(|node| node.key() != ran.service) {
        bail!("{} does not belong to {}", run.node, ran.service);
    }
    let last_ms = ran.to_ms.unwrap_or(ran.at_ms);
    if run.from_ms > last_ms || run.until_ms.is_some_and(|until| until <= ran.at_ms) {
        bail!("{} {}: its times are not those of the question", run.node, run.slot);
    }
    Ok(())
}

/// Checks that a proxy reported a run as the answer states it, and that each of its times is the one of an entry.
fn reported(ran: &RunHistory, run: &RunView, proven: &ProofContent) -> Result<()> {
    is_asked(ran, run)?;
    let first = Report::of(run, run.revision, proven)?;
    let running = first.running(run).filter(|running| running.is(run));
    let running =
        running.with_context(|| format!("entry {} does not report this", run.revision))?;
    if running.version != run.version {
        bail!("entry {} reports version {}", run.revision, running.version);
    }
    begins(run, &first, &running, proven).context("its beginning")?;
    let seen = Report::of(run, run.seen_revision, proven)
        .context("its last report; registries of an earlier release do not prove it")?;
    let still = seen.running(run).is_some_and(|running| running.is(run));
    if run.seen_revision < run.revision || seen.time_ms != run.seen_ms || !still {
        bail!("entry {} is not its last report", run.seen_revision);
    }
    ends(run, &seen, proven).context("its end")
}

/// Checks the beginning: what the proxy said, as late as its first report at most and as early as the report before.
fn begins(
    run: &RunView,
    first: &Report<'_>,
    running: &Running<'_>,
    proven: &ProofContent,
) -> Result<()> {
    let begin_ms = match run.from_revision {
        None => running.since_ms.min(first.time_ms),
        Some(revision) => {
            let before = Report::of(run, revision, proven)?;
            if revision >= run.revision || running.since_ms > before.time_ms {
                bail!("entry {revision} does not bound it");
            }
            before.time_ms
        }
    };
    is_moment(run.from_ms, begin_ms)
}

/// Checks the end: the next report that no longer says it, or the moment that this report gives for what came after it.
fn ends(run: &RunView, seen: &Report<'_>, proven: &ProofContent) -> Result<()> {
    let (until_ms, revision) = match (run.until_ms, run.until_revision) {
        (None, None) => return Ok(()),
        (Some(until_ms), Some(revision)) => (until_ms, revision),
        (Some(_), None) | (None, Some(_)) => bail!("its end lacks the journal entry or the time"),
    };
    let end = Report::of(run, revision, proven)?;
    if revision <= run.seen_revision || end.time_ms < seen.time_ms {
        bail!("entry {revision} is before its last report");
    }
    let end_ms = match end.running(run) {
        Some(next) if next.is(run) => bail!("entry {revision} still reports it"),
        Some(next) => next.since_ms.clamp(seen.time_ms, end.time_ms),
        None => end.time_ms,
    };
    is_moment(until_ms, end_ms)
}

fn is_moment(told_ms: u64, proven_ms: u64) -> Result<()> {
    if told_ms != proven_ms {
        bail!(
            "the answer says {} ({told_ms} ms), the log {} ({proven_ms} ms)",
            rfc3339(told_ms),
            rfc3339(proven_ms)
        );
    }
    Ok(())
}

/// A report of a proxy, in the log.
struct Report<'a> {
    time_ms: u64,
    slots: &'a [Value],
}

/// What runs in a slot, by a report.
struct Running<'a> {
    filter: &'a str,
    digest: &'a str,
    version: &'a str,
    since_ms: u64,
}

impl Running<'_> {
    fn is(&self, run: &RunView) -> bool {
        self.filter == run.filter && self.digest == run.digest
    }
}

impl<'a> Report<'a> {
    /// The report of the proxy of a run at that revision.
    fn of(run: &RunView, revision: u64, proven: &'a ProofContent) -> Result<Self> {
        let entry = proven.entries.get(&revision);
        let entry = entry.with_context(|| format!("entry {revision} is not in the proof"))?;
        let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str);
        if text("/kind") != Some("node-reported") || text("/body/node") != Some(&run.node) {
            bail!("entry {revision} is not a report of this proxy");
        }
        let time_ms = entry.get("time_ms").and_then(Value::as_u64);
        let time_ms = time_ms.with_context(|| format!("entry {revision} has no time"))?;
        let slots = entry.pointer("/body/slots").and_then(Value::as_array);
        Ok(Self { time_ms, slots: slots.map(Vec::as_slice).unwrap_or_default() })
    }

    /// What runs in the slot of a run. Of two reports about one slot the first counts, as in the registry.
    fn running(&self, run: &RunView) -> Option<Running<'a>> {
        let is_it = |slot: &&Value| slot.get("slot").and_then(Value::as_str) == Some(&run.slot);
        let slot = self.slots.iter().find(is_it)?;
        let text = |pointer: &str| slot.pointer(pointer).and_then(Value::as_str);
        Some(Running {
            filter: text("/filter")?,
            digest: text("/running/digest")?,
            version: text("/running/version")?,
            since_ms: slot.pointer("/running/since_ms").and_then(Value::as_u64)?,
        })
    }
}

#[cfg(test)]
mod tests;

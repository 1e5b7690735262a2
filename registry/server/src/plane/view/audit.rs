//! What happened, with proof.

use std::collections::BTreeSet;

use tamis_api::{LogEntry, LogPage, Problem, Proof, ProvenEntry, Ran, WhoRan};
use tamis_journal::log::{LogError, TilePath};

use crate::plane::control::Control;
use crate::plane::problem::{bad, journal, missing, problem};

/// The most entries of a page.
const MAX_PAGE: usize = 1_000;

impl Control {
    /// Entries behind a revision, at most `limit` and 1,000.
    ///
    /// # Errors
    /// [`Problem`] when the journal cannot be read.
    pub async fn log(&self, after: u64, limit: usize) -> Result<LogPage, Problem> {
        let entries = self.0.journal.read(after, limit.clamp(1, MAX_PAGE)).await;
        let entries = entries.map_err(|error| journal(&error))?;
        let head = self.state().head().max(entries.last().map_or(0, |entry| entry.revision));
        let entries = entries.into_iter().map(|entry| LogEntry {
            revision: entry.revision,
            time_ms: entry.time_ms,
            actor: entry.actor,
            kind: entry.record.kind,
            body: entry.record.body,
            hash: entry.hash.to_string(),
        });
        Ok(LogPage { entries: entries.collect(), head })
    }

    /// What ran for a service at a moment, or between two, with the proof that the reports it is told from are in the log.
    ///
    /// # Errors
    /// [`Problem`] when there never was such a service, the range ends before it begins, or the journal cannot be read.
    pub async fn who_ran(
        &self,
        service: &str,
        at_ms: u64,
        to_ms: Option<u64>,
    ) -> Result<WhoRan, Problem> {
        self.catch_up().await.map_err(|error| journal(&error))?;
        if to_ms.is_some_and(|to_ms| to_ms < at_ms) {
            return Err(bad("the range ends before it begins", "turn it round"));
        }
        let runs: Vec<Ran> = {
            let state = self.state();
            let known = state.known_services();
            if !known.contains(service) {
                return Err(missing(format!("no proxy is or was of {service}"), meant(&known)));
            }
            let runs =
                state.who_ran(service, (at_ms, to_ms.unwrap_or(at_ms))).into_iter().map(|ran| {
                    Ran {
                        node: ran.node.clone(),
                        slot: ran.slot.clone(),
                        filter: ran.filter.to_string(),
                        digest: ran.digest.to_string(),
                        version: ran.version.to_string(),
                        from_ms: ran.from_ms,
                        until_ms: ran.until_ms,
                        seen_ms: ran.seen_ms,
                        revision: ran.revision,
                    }
                });
            runs.collect()
        };
        let revisions: BTreeSet<u64> = runs.iter().map(|ran| ran.revision).collect();
        let proof = self.prove(revisions).await?;
        Ok(WhoRan { service: service.to_owned(), at_ms, to_ms, runs, proof })
    }

    /// The proof that these entries are in the log.
    ///
    /// # Errors
    /// [`Problem`] when one is not, or the journal cannot be read.
    pub async fn prove(&self, revisions: BTreeSet<u64>) -> Result<Proof, Problem> {
        let size = self.0.log.catch_up().await.map_err(|error| log(&error))?;
        let checkpoint = self.checkpoint().await?;
        let mut entries = Vec::new();
        for revision in revisions {
            let Some(after) = revision.checked_sub(1) else { continue };
            let found = self.0.journal.read(after, 1).await.map_err(|error| journal(&error))?;
            let Some(entry) = found.first() else { continue };
            let canonical = entry.canonical().map_err(|error| journal(&error))?;
            let hashes = self.0.log.inclusion(revision, size).await.map_err(|error| log(&error))?;
            entries.push(ProvenEntry {
                revision,
                canonical: String::from_utf8_lossy(&canonical).into_owned(),
                hashes: hashes.iter().map(ToString::to_string).collect(),
            });
        }
        Ok(Proof { key: self.log_key(), checkpoint, entries })
    }

    /// The newest checkpoint of the log, signed.
    ///
    /// # Errors
    /// [`Problem`] when the journal cannot be read.
    pub async fn checkpoint(&self) -> Result<String, Problem> {
        self.0.log.catch_up().await.map_err(|error| log(&error))?;
        self.0.log.checkpoint(&self.0.keys.log).await.map_err(|error| log(&error))
    }

    /// A tile or an entry bundle of the log; none: it has not grown that far, or there is no such path.
    ///
    /// # Errors
    /// [`Problem`] when the journal cannot be read.
    pub async fn tile(&self, path: &str) -> Result<Option<Vec<u8>>, Problem> {
        let Ok(path) = path.parse::<TilePath>() else { return Ok(None) };
        self.0.log.tile(path).await.map_err(|error| log(&error))
    }

    /// The log's key as others verify with it, `NAME+ID+BASE64`.
    #[must_use]
    pub fn log_key(&self) -> String {
        self.0.keys.log_verifier()
    }
}

/// The services there are, so that somebody finds the one that was meant.
fn meant(known: &BTreeSet<String>) -> String {
    let shown: Vec<&str> = known.iter().map(String::as_str).take(SHOWN).collect();
    match (shown.as_slice(), known.len().saturating_sub(SHOWN)) {
        ([], _) => "apply documents with a proxy first".to_owned(),
        (shown, 0) => format!("name one of {}", shown.join(", ")),
        (shown, more) => format!("name one of {} and {more} more", shown.join(", ")),
    }
}

/// Services that are named to somebody who meant one.
const SHOWN: usize = 20;

fn log(error: &LogError) -> Problem {
    tracing::warn!(error = %crate::plane::problem::chain(error), "the log failed");
    problem(503, "unavailable", "the log cannot be told right now")
}

//! The journal, and proofs.

use std::collections::BTreeSet;

use serde_json::Value;
use tamis_api::{ApiProblem, LogEntry, LogPage, Proof, ProvenEntry, RunHistory, RunView};
use tamis_journal::log::{LogError, TilePath};
use tamis_oci::Verb;
use tamis_resources::{NodeName, secret_of};

use crate::plane::control::Control;
use crate::plane::problem::{bad, journal, missing, problem};
use crate::plane::rights::AuthorizedCaller;

/// The most entries of a page.
const MAX_PAGE: usize = 1_000;
/// Most pages read for one response.
const MAX_PAGES: usize = 20;

impl Control {
    /// Entries after a revision that the caller may see, at most `limit` and 1,000. Of an entry about
    /// several things the caller sees their own; secrets in files are never shown.
    ///
    /// # Errors
    /// [`ApiProblem`] when the journal cannot be read.
    pub async fn log(
        &self,
        holder: &AuthorizedCaller,
        after: u64,
        limit: usize,
    ) -> Result<LogPage, ApiProblem> {
        let limit = limit.clamp(1, MAX_PAGE);
        let (mut until, mut found) = (after, Vec::new());
        for _ in 0..MAX_PAGES {
            let entries = self.0.journal.read(until, limit).await;
            let entries = entries.map_err(|error| journal(&error))?;
            let last = entries.len() < limit;
            for entry in entries {
                if found.len() == limit {
                    break;
                }
                until = entry.revision;
                let Some(body) = seen(holder, &entry.record.kind, entry.record.body) else {
                    continue;
                };
                found.push(LogEntry {
                    revision: entry.revision,
                    time_ms: entry.time_ms,
                    actor: entry.actor,
                    kind: entry.record.kind,
                    body,
                    hash: entry.hash.to_string(),
                });
            }
            if last || found.len() == limit {
                break;
            }
        }
        let head = self.state().head().max(until);
        Ok(LogPage { entries: found, head, until })
    }

    /// What ran for a service at a moment, or between two, with the proof that the underlying reports are
    /// in the log.
    ///
    /// # Errors
    /// [`ApiProblem`] when there never was such a service, the range ends before it begins, or the journal cannot be read. It
    /// names services that were perhaps meant, of those that whoever asks may see.
    pub async fn who_ran(
        &self,
        holder: &AuthorizedCaller,
        service: &str,
        at_ms: u64,
        to_ms: Option<u64>,
    ) -> Result<RunHistory, ApiProblem> {
        self.catch_up().await.map_err(|error| journal(&error))?;
        if to_ms.is_some_and(|to_ms| to_ms < at_ms) {
            return Err(bad("the range ends before it begins", "swap its ends"));
        }
        let runs: Vec<RunView> = {
            let state = self.state();
            let mut known = state.known_services();
            known.retain(|one| holder.may_at(Verb::Observe, one));
            if !known.contains(service) {
                return Err(missing(
                    format!("no proxy belongs or belonged to {service}"),
                    meant(&known),
                ));
            }
            let runs =
                state.who_ran(service, (at_ms, to_ms.unwrap_or(at_ms))).into_iter().map(|ran| {
                    RunView {
                        node: ran.node.clone(),
                        slot: ran.slot.clone(),
                        filter: ran.filter.to_string(),
                        digest: ran.digest.to_string(),
                        version: ran.version.to_string(),
                        from_ms: ran.from_ms,
                        until_ms: ran.until_ms,
                        seen_ms: ran.seen_ms,
                        revision: ran.revision,
                        from_revision: ran.from_revision,
                        seen_revision: ran.seen_revision,
                        until_revision: ran.until_revision,
                    }
                });
            runs.collect()
        };
        let revisions = runs.iter().flat_map(|ran| {
            let others = [Some(ran.seen_revision), ran.from_revision, ran.until_revision];
            std::iter::once(ran.revision).chain(others.into_iter().flatten())
        });
        let revisions: BTreeSet<u64> = revisions.collect();
        let proof = self.prove(revisions).await?;
        Ok(RunHistory { service: service.to_owned(), at_ms, to_ms, runs, proof })
    }

    /// The proof that these entries are in the log.
    ///
    /// # Errors
    /// [`ApiProblem`] when one is not, or the journal cannot be read.
    pub async fn prove(&self, revisions: BTreeSet<u64>) -> Result<Proof, ApiProblem> {
        self.0.log.catch_up().await.map_err(|error| log(&error))?;
        let proof = self.0.log.prove(&self.0.keys.log, revisions).await;
        let proof = proof.map_err(|error| log(&error))?;
        let entries = proof.entries.into_iter().map(|entry| ProvenEntry {
            revision: entry.revision,
            canonical: String::from_utf8_lossy(&entry.canonical).into_owned(),
            hashes: entry.hashes.iter().map(ToString::to_string).collect(),
        });
        let (checkpoint, entries) = (proof.checkpoint, entries.collect());
        Ok(Proof { key: self.log_key(), checkpoint, entries })
    }

    /// The newest checkpoint of the log, signed.
    ///
    /// # Errors
    /// [`ApiProblem`] when the journal cannot be read.
    pub async fn checkpoint(&self) -> Result<String, ApiProblem> {
        self.0.log.catch_up().await.map_err(|error| log(&error))?;
        self.0.log.checkpoint(&self.0.keys.log).await.map_err(|error| log(&error))
    }

    /// A tile or an entry bundle of the log; `None`: it has not grown that far, or there is no such path.
    ///
    /// # Errors
    /// [`ApiProblem`] when the journal cannot be read.
    pub async fn tile(&self, path: &str) -> Result<Option<Vec<u8>>, ApiProblem> {
        let Ok(path) = path.parse::<TilePath>() else { return Ok(None) };
        self.0.log.tile(path).await.map_err(|error| log(&error))
    }

    /// The log's key for verifiers, `NAME+ID+BASE64`.
    #[must_use]
    pub fn log_key(&self) -> String {
        self.0.keys.log_verifier()
    }
}

/// The existing services, as a suggestion.
fn meant(known: &BTreeSet<String>) -> String {
    let shown: Vec<&str> = known.iter().map(String::as_str).take(SHOWN).collect();
    match (shown.as_slice(), known.len().saturating_sub(SHOWN)) {
        ([], _) => "apply documents with a proxy first".to_owned(),
        (shown, 0) => format!("name one of {}", shown.join(", ")),
        (shown, more) => format!("name one of {} and {more} more", shown.join(", ")),
    }
}

/// Most services in a suggestion.
const SHOWN: usize = 20;

fn log(error: &LogError) -> ApiProblem {
    tracing::warn!(error = %tamis_journal::causes(error), "the log failed");
    problem(503, "unavailable", "the log cannot be read right now")
}

/// The part of an entry that the caller may see; `None`: nothing.
fn seen(holder: &AuthorizedCaller, kind: &str, mut body: Value) -> Option<Value> {
    let everything = holder.may_at(Verb::Observe, "*");
    let sees = |place: &str| everything || holder.may_at(Verb::Observe, place);
    let of_key = |key: &str| sees(key.split_once('/').map_or(key, |(_, place)| place));
    let text = |body: &Value, name: &str| {
        body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    if kind == "applied" {
        keep(&mut body, "documents", |one| of_key(&text(one, "key")));
        keep(&mut body, "removed", |one| of_key(one.as_str().unwrap_or_default()));
        // The owner of a file may change; its content is shown with today's documents.
        keep(&mut body, "files", |_| everything);
        keep(&mut body, "removed_files", |_| everything);
        for file in body.get_mut("files").and_then(Value::as_array_mut).into_iter().flatten() {
            if secret_of(&text(file, "text")).is_some()
                && let Some(map) = file.as_object_mut()
            {
                map.insert("text".to_owned(), Value::from("(a secret)"));
            }
        }
        let lists = body.as_object().into_iter().flat_map(serde_json::Map::values);
        let mut lists = lists.filter_map(Value::as_array);
        return lists.any(|list| !list.is_empty()).then_some(body);
    }
    let of_node = |node: &str| node.parse::<NodeName>().is_ok_and(|node| sees(node.key()));
    if kind == "identity-renewed" {
        keep(&mut body, "svids", |one| of_node(&text(one, "node")));
        let svids = body.get("svids").and_then(Value::as_array);
        return svids.is_some_and(|svids| !svids.is_empty()).then_some(body);
    }
    let with = |service: &str| holder.may_with(Verb::Observe, service);
    let shown = everything
        || match kind {
            "pinned" | "unpinned" | "assigned" => with(&text(&body, "service")),
            "node-reported" | "identity-token" | "identity-joined" | "identity-revoked" => {
                of_node(&text(&body, "node"))
            }
            "rollout-started" => {
                let services = body.pointer("/rollout/services").and_then(Value::as_array);
                services.is_some_and(|all| {
                    !all.is_empty() && all.iter().all(|one| with(one.as_str().unwrap_or_default()))
                })
            }
            "blob-linked" | "blob-unlinked" | "manifest-put" | "manifest-deleted" | "tag-put"
            | "tag-deleted" => sees(&text(&body, "repository")),
            // The owner of the other kinds is not recorded.
            _ => false,
        };
    shown.then_some(body)
}

fn keep(body: &mut Value, list: &str, sees: impl Fn(&Value) -> bool) {
    if let Some(list) = body.get_mut(list).and_then(Value::as_array_mut) {
        list.retain(sees);
    }
}

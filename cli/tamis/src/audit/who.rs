//! `tamis audit who-ran`.

use super::verify;
use crate::filter::artifact::put;
use crate::names;
use crate::output::{self, Output};
use crate::remote::Where;
use crate::table::{short, table};
use crate::when::{dated, moment, now_ms, rfc3339};
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use tamis_api::{Ran, WhoRan};

/// What `who-ran` takes.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Service or gateway, NAMESPACE/NAME.
    #[arg(value_parser = names::service)]
    service: String,
    /// The moment: RFC 3339 in UTC, how long ago (10m, 1h30m), or now.
    #[arg(long, value_name = "TIME", default_value = "now")]
    at: String,
    /// File that the answer goes to with its proof, for `tamis audit verify`.
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// Public key of the log, or the file it is in: check the answer with it at once.
    #[arg(long, value_name = "KEY")]
    log_key: Option<String>,
    #[command(flatten)]
    registry: Where,
}

/// Asks, checks if there is a key to check with, and keeps the proof.
pub(super) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let at_ms = moment(&arguments.at, now_ms())?;
    let key = arguments.log_key.as_deref().map(verify::key).transpose()?;
    let remote = arguments.registry.remote()?;
    let service = &arguments.service;
    let ran = remote.ask("asking", async |client| client.who_ran(service, at_ms).await)?;
    if let Some(key) = &key {
        verify::who_ran(&ran, key).context("the answer does not hold")?;
    }
    if let Some(path) = &arguments.proof {
        put(path, &serde_json::to_vec_pretty(&ran)?)?;
    }
    output::answer(output, &dated(&ran), || {
        let mut text = told(&ran);
        if key.is_some() {
            text.push_str("the proof holds\n");
        }
        if let Some(path) = &arguments.proof {
            let _ =
                writeln!(text, "the proof is in {}; tamis audit verify checks it", path.display());
        }
        text
    });
    Ok(ExitCode::SUCCESS)
}

fn told(ran: &WhoRan) -> String {
    let at = rfc3339(ran.at_ms);
    if ran.runs.is_empty() {
        return format!("no proxy of {} reported to run a filter at {at}\n", ran.service);
    }
    let row = |one: &Ran| {
        [
            one.node.clone(),
            one.slot.clone(),
            format!("{} {}", one.filter, one.version),
            short(&one.digest),
            rfc3339(one.from_ms),
            one.until_ms.map_or_else(|| "now".to_owned(), rfc3339),
            one.revision.to_string(),
        ]
    };
    let rows: Vec<_> = ran.runs.iter().map(row).collect();
    let head = ["PROXY", "SLOT", "FILTER", "DIGEST", "FROM", "UNTIL", "REPORTED AT REVISION"];
    format!("{} at {at}\n\n{}\n", ran.service, table(head, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_api::Proof;

    #[test]
    fn runs_are_told_with_their_times_and_reports() {
        let run = Ran {
            node: "sidecar:shop/a/0".into(),
            slot: "retry".into(),
            filter: "acme/retry".into(),
            digest: "sha256:00".into(),
            version: "1.4.2".into(),
            from_ms: 60_000,
            until_ms: None,
            seen_ms: 120_000,
            revision: 9,
        };
        let proof = Proof { key: String::new(), checkpoint: String::new(), entries: Vec::new() };
        let mut ran = WhoRan { service: "shop/a".into(), at_ms: 90_000, runs: vec![run], proof };
        assert_eq!(
            told(&ran),
            "shop/a at 1970-01-01T00:01:30Z\n\n\
             PROXY             SLOT   FILTER            DIGEST     FROM                  UNTIL  REPORTED AT REVISION\n\
             sidecar:shop/a/0  retry  acme/retry 1.4.2  sha256:00  1970-01-01T00:01:00Z  now    9\n\n"
        );
        ran.runs.clear();
        assert!(told(&ran).starts_with("no proxy of shop/a"));
    }
}

//! `tamis audit who-ran`.

use super::verify;
use crate::filter::artifact::put;
use crate::names;
use crate::output::{self, Output};
use crate::remote::RegistryAccess;
use crate::table::{short, table};
use crate::when::{dated, day, moment, now_ms, rfc3339};
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use tamis_api::{RunHistory, RunView};

/// Arguments of `who-ran`.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Service or gateway, NAMESPACE/NAME.
    #[arg(value_parser = names::service)]
    service: String,
    /// The moment: RFC 3339 in UTC, an age (10m, 1h30m), or now; a day (2027-01-31, today, yesterday) means
    /// all of it.
    #[arg(long, value_name = "TIME", default_value = "now")]
    at: String,
    /// Start of a range, instead of a moment; written like --at.
    #[arg(long, value_name = "TIME", conflicts_with = "at")]
    from: Option<String>,
    /// End of the range; default: now.
    #[arg(long, value_name = "TIME", requires = "from")]
    to: Option<String>,
    /// File to write the answer and its proof to, for `tamis audit verify`.
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// Public key of the log, or a file with it: check the answer at once.
    #[arg(long, value_name = "KEY")]
    log_key: Option<String>,
    #[command(flatten)]
    registry: RegistryAccess,
}

/// Asks the registry, checks the answer when a key is given, and writes the proof.
pub(super) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let (at_ms, to_ms) = arguments.range(now_ms())?;
    let key = arguments.log_key.as_deref().map(verify::key).transpose()?;
    let remote = arguments.registry.remote()?;
    let service = &arguments.service;
    let ran = remote.ask("asking", async |client| client.who_ran(service, at_ms, to_ms).await)?;
    verify::answers(&ran, service, at_ms, to_ms).context("the answer does not hold")?;
    if let Some(key) = &key {
        verify::who_ran(&ran, key).context("the answer does not hold")?;
    }
    if let Some(path) = &arguments.proof {
        put(path, &serde_json::to_vec_pretty(&ran)?)?;
    }
    output::result(output, &dated(&ran), || {
        let mut text = history_text(&ran);
        if key.is_some() && !ran.runs.is_empty() {
            text.push_str("the proof holds: these reports are in the log\n");
        }
        if let Some(path) = &arguments.proof {
            let _ =
                writeln!(text, "the proof is in {}; tamis audit verify checks it", path.display());
        }
        text
    });
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    /// The first and the last moment of the question; the last is `None` for a single moment. Nothing is known of the future,
    /// so that an answer about it would only repeat what runs now.
    fn range(&self, now_ms: u64) -> Result<(u64, Option<u64>)> {
        let (from_ms, to_ms) = self.asked(now_ms)?;
        let last = to_ms.unwrap_or(from_ms);
        if last > now_ms.saturating_add(CLOCKS_DIFFER_MS) {
            anyhow::bail!("{} is in the future; write a moment that has passed", rfc3339(last));
        }
        Ok((from_ms, to_ms))
    }

    fn asked(&self, now_ms: u64) -> Result<(u64, Option<u64>)> {
        let end = |text: &str| match day(text, now_ms) {
            Some((_, to_ms)) => Ok(to_ms.min(now_ms)),
            None => moment(text, now_ms),
        };
        match &self.from {
            Some(from) => {
                let from_ms = moment(from, now_ms)?;
                let to_ms = self.to.as_deref().map_or(Ok(now_ms), end)?;
                if to_ms < from_ms {
                    anyhow::bail!(
                        "the range ends at {}, before it begins at {}",
                        rfc3339(to_ms),
                        rfc3339(from_ms)
                    );
                }
                Ok((from_ms, Some(to_ms)))
            }
            None => match day(&self.at, now_ms) {
                Some((from_ms, to_ms)) => Ok((from_ms, Some(to_ms.min(now_ms).max(from_ms)))),
                None => Ok((moment(&self.at, now_ms)?, None)),
            },
        }
    }
}

/// What the clocks of two machines may differ by.
const CLOCKS_DIFFER_MS: u64 = 60_000;
/// Reports cannot prove that nothing ran.
const UNPROVEN: &str = "this does not prove that nothing ran: the log proves reports, and a proxy may not have reported\n";

fn history_text(ran: &RunHistory) -> String {
    let at = match ran.to_ms {
        None => format!("at {}", rfc3339(ran.at_ms)),
        Some(to_ms) => format!("from {} to {}", rfc3339(ran.at_ms), rfc3339(to_ms)),
    };
    if ran.runs.is_empty() {
        return format!(
            "no proxy of {} reported that it runs a filter {at}\n{UNPROVEN}",
            ran.service
        );
    }
    let row = |one: &RunView| {
        [
            one.node.clone(),
            one.slot.clone(),
            format!("{} {}", one.filter, one.version),
            short(&one.digest),
            rfc3339(one.from_ms),
            one.until_ms.map_or_else(|| format!("at least {}", rfc3339(one.seen_ms)), rfc3339),
            one.revision.to_string(),
        ]
    };
    let rows: Vec<_> = ran.runs.iter().map(row).collect();
    let head = ["PROXY", "SLOT", "FILTER", "DIGEST", "FROM", "UNTIL", "REPORTED AT REVISION"];
    format!("{} {at}\n\n{}\n", ran.service, table(head, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_api::Proof;

    #[test]
    fn runs_are_told_with_their_times_and_reports() {
        let run = RunView {
            node: "sidecar:shop/a/0".into(),
            slot: "retry".into(),
            filter: "acme/retry".into(),
            digest: "sha256:00".into(),
            version: "1.4.2".into(),
            from_ms: 60_000,
            until_ms: None,
            seen_ms: 120_000,
            revision: 9,
            from_revision: None,
            seen_revision: 10,
            until_revision: None,
        };
        let proof = Proof { key: String::new(), checkpoint: String::new(), entries: Vec::new() };
        let mut ran = RunHistory {
            service: "shop/a".into(),
            at_ms: 90_000,
            to_ms: None,
            runs: vec![run],
            proof,
        };
        assert_eq!(
            history_text(&ran),
            "shop/a at 1970-01-01T00:01:30Z\n\n\
             PROXY             SLOT   FILTER            DIGEST     FROM                  UNTIL                          REPORTED AT REVISION\n\
             sidecar:shop/a/0  retry  acme/retry 1.4.2  sha256:00  1970-01-01T00:01:00Z  at least 1970-01-01T00:02:00Z  9\n\n"
        );
        ran.to_ms = Some(150_000);
        assert!(
            history_text(&ran)
                .starts_with("shop/a from 1970-01-01T00:01:30Z to 1970-01-01T00:02:30Z\n")
        );
        ran.runs.clear();
        let none = history_text(&ran);
        assert!(none.starts_with("no proxy of shop/a") && none.ends_with(UNPROVEN), "{none}");
    }

    /// A registry that gives the same answer to every question.
    fn lies(answer: &RunHistory) -> String {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let body = serde_json::to_string(answer).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let (mut head, mut octets) = (Vec::new(), [0; 1_024]);
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut octets) {
                        Ok(read @ 1..) => head.extend_from_slice(&octets[..read]),
                        _ => break,
                    }
                }
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
            }
        });
        url
    }

    #[test]
    fn a_registry_that_answers_another_question_is_not_believed() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            arguments: Arguments,
        }
        let proof = Proof { key: String::new(), checkpoint: String::new(), entries: Vec::new() };
        let nothing = |service: &str, at_ms, to_ms| RunHistory {
            service: service.into(),
            at_ms,
            to_ms,
            runs: Vec::new(),
            proof: proof.clone(),
        };
        for (answer, says) in [
            (nothing("shop/a", 60_000, None), None),
            (nothing("shop/b", 60_000, None), Some("what ran for shop/b")),
            (nothing("shop/a", 61_000, None), Some("at 1970-01-01T00:01:01Z")),
            (nothing("shop/a", 60_000, Some(61_000)), Some("from 1970-01-01T00:01:00Z to")),
        ] {
            let url = lies(&answer);
            let all = ["who-ran", "shop/a", "--at", "1970-01-01T00:01:00Z", "--registry", &url];
            let line = <Line as clap::Parser>::parse_from(all);
            let said = run(&line.arguments, Output::Json).map_err(|error| format!("{error:#}"));
            match (said, says) {
                (Ok(_), None) => {}
                (Err(said), Some(says)) => assert!(said.contains(says), "{said}"),
                (said, _) => panic!("{answer:?}: {said:?}"),
            }
        }
    }

    #[test]
    fn a_day_is_a_range_and_a_range_ends_after_it_begins() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            arguments: Arguments,
        }
        let (now, day) = (10 * 86_400_000 + 1_000, 86_400_000);
        let range = |line: &str| {
            let line = ["who-ran", "shop/a"].into_iter().chain(line.split_whitespace());
            <Line as clap::Parser>::try_parse_from(line).ok()?.arguments.range(now).ok()
        };
        for (line, wanted) in [
            ("", Some((now, None))),
            ("--at 1s", Some((now - 1_000, None))),
            ("--at yesterday", Some((9 * day, Some(10 * day - 1)))),
            ("--at today", Some((10 * day, Some(now)))),
            ("--from yesterday", Some((9 * day, Some(now)))),
            ("--from yesterday --to yesterday", Some((9 * day, Some(10 * day - 1)))),
            ("--from 2h --to 1h", Some((now - 7_200_000, Some(now - 3_600_000)))),
            ("--from 1h --to 2h", None),
            ("--to 1h", None),
            ("--from 1h --at now", None),
            // Nothing is known of the future; clocks may differ.
            ("--at 1970-01-11T00:00:31Z", Some((now + 30_000, None))),
            ("--at 1970-01-12T00:00:00Z", None),
            ("--from 1h --to 1970-01-12T00:00:00Z", None),
        ] {
            assert_eq!(range(line), wanted, "{line}");
        }
    }
}

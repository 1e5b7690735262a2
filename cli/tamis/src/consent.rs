//! `tamis approve` and `tamis revoke`: consent and its opposite.

use crate::get::items;
use crate::output::{self, Output};
use crate::remote::Where;
use crate::table::table;
use crate::when::{ago, dated, now_ms};
use anyhow::Result;
use std::process::ExitCode;
use tamis_api::{ApproveRequest, RevokeRequest, Revoked};
use tamis_trust::Digest;

/// What `approve` takes.
#[derive(clap::Args)]
pub(crate) struct Approve {
    /// Digest of the change, as a plan or a refusal names it.
    subject: Digest,
    #[command(flatten)]
    at: Where,
}

/// What `revoke` takes.
#[derive(clap::Args)]
pub(crate) struct Revoke {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Withdraw a filter by the digest of its manifest, everywhere: nothing new is pinned; with --now what runs ends.
    #[command(
        after_help = "Example:\n  tamis revoke digest sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 --reason 'leaks tokens'"
    )]
    Digest(RevokeDigest),
    /// Withdraw an author's key, everywhere: all it signed, or what it signed from an index of the log on.
    #[command(
        after_help = "Example:\n  tamis revoke key release --from-index 4711 --reason 'laptop lost'"
    )]
    Key(RevokeKey),
    /// List what is withdrawn.
    #[command(after_help = "Example:\n  tamis revoke list")]
    List(List),
}

#[derive(clap::Args)]
struct RevokeDigest {
    /// Digest of the manifest.
    digest: Digest,
    #[command(flatten)]
    how: Withdraw,
}

#[derive(clap::Args)]
struct RevokeKey {
    /// Id or name of the key.
    key: String,
    /// What the log recorded before this index still counts; nothing it ever signed when not said.
    #[arg(long)]
    from_index: Option<u64>,
    #[command(flatten)]
    how: Withdraw,
}

/// How something is withdrawn.
#[derive(clap::Args)]
struct Withdraw {
    /// Why, for those who look later; a later pin says it.
    #[arg(long)]
    reason: String,
    /// What runs ends at once; otherwise it goes on, and nothing new is pinned.
    #[arg(long)]
    now: bool,
    /// You have seen what ends and want it.
    #[arg(long)]
    confirm: bool,
    /// Only say where it runs.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    at: Where,
}

impl Withdraw {
    fn request(&self) -> RevokeRequest {
        RevokeRequest {
            digest: None,
            key: None,
            from_index: None,
            reason: self.reason.clone(),
            now: self.now,
            confirm: self.confirm,
            dry_run: self.dry_run,
        }
    }
}

#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    at: Where,
}

/// Agrees to a change of somebody else.
pub(crate) fn approve(arguments: &Approve, output: Output) -> Result<ExitCode> {
    let request = ApproveRequest { subject: arguments.subject.to_string() };
    let remote = arguments.at.remote()?;
    let approved = remote.ask("approving", async |client| client.approve(&request).await)?;
    output::answer(output, &approved, || {
        format!(
            "{} agrees to {} (revision {}); it counts when somebody else asks for that change, never when {} does",
            approved.actor, approved.subject, approved.revision, approved.actor
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// Withdraws, or lists what is withdrawn.
pub(crate) fn revoke(arguments: &Revoke, output: Output) -> Result<ExitCode> {
    let (how, request) = match &arguments.what {
        What::List(List { at }) => {
            let remote = at.remote()?;
            let all = remote.ask("reading", async |client| client.revocations().await)?;
            output::answer(output, &items(&all), || listed(&all, now_ms()));
            return Ok(ExitCode::SUCCESS);
        }
        What::Digest(RevokeDigest { digest, how }) => {
            (how, RevokeRequest { digest: Some(digest.to_string()), ..how.request() })
        }
        What::Key(RevokeKey { key, from_index, how }) => {
            let (key, from_index) = (Some(key.clone()), *from_index);
            (how, RevokeRequest { key, from_index, ..how.request() })
        }
    };
    let remote = how.at.remote()?;
    let revoked = remote.ask("revoking", async |client| client.revoke(&request).await)?;
    output::answer(output, &dated(&revoked), || told(&revoked, how.dry_run));
    Ok(ExitCode::SUCCESS)
}

/// What a withdrawal did, or would do, and where the filter runs.
fn told(revoked: &Revoked, dry: bool) -> String {
    let done = if dry { "would be" } else { "is" };
    let mut text = format!(
        "{} {done} withdrawn (revision {}): {}\n",
        scope(revoked),
        revoked.revision,
        revoked.reason
    );
    text.push_str(match (revoked.stops.is_empty(), revoked.now) {
        (true, _) => "it runs nowhere\n",
        (false, true) => "what ran ends:\n",
        (false, false) => {
            "what runs goes on until another is pinned, or until it is revoked with --now:\n"
        }
    });
    for stop in &revoked.stops {
        text.push_str(&format!("  {}  {}  {}\n", stop.service, stop.slot, stop.filter));
    }
    text
}

fn scope(revoked: &Revoked) -> String {
    match revoked.from_index {
        Some(index) => format!("{} from index {index} on", revoked.what),
        None => revoked.what.clone(),
    }
}

fn listed(all: &[Revoked], now: u64) -> String {
    if all.is_empty() {
        return "nothing is withdrawn\n".to_owned();
    }
    let row =
        |one: &Revoked| [scope(one), ago(now, one.time_ms), one.actor.clone(), one.reason.clone()];
    let rows: Vec<_> = all.iter().map(row).collect();
    table(["WHAT", "WHEN", "BY", "REASON"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_withdrawn_key_says_from_where_on() {
        let one = Revoked {
            what: "release".into(),
            from_index: Some(7),
            reason: "lost".into(),
            revision: 3,
            time_ms: 0,
            actor: "ada".into(),
            now: false,
            stops: Vec::new(),
        };
        assert_eq!(
            listed(&[one], 60_000),
            "WHAT                     WHEN    BY   REASON\n\
             release from index 7 on  1m ago  ada  lost\n"
        );
        assert_eq!(listed(&[], 0), "nothing is withdrawn\n");
    }
}

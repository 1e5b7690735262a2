//! `tamis approve` and `tamis revoke`.

use crate::get::items;
use crate::output::{self, Output};
use crate::remote::RegistryAccess;
use crate::table::table;
use crate::when::{ago, dated, now_ms};
use anyhow::Result;
use std::process::ExitCode;
use tamis_api::{ApproveRequest, RevocationView, RevokeRequest};
use tamis_trust::Digest;

/// Arguments of `approve`.
#[derive(clap::Args)]
pub(crate) struct Approve {
    /// Digest of the change, as a plan or a refusal names it.
    subject: Digest,
    #[command(flatten)]
    at: RegistryAccess,
}

/// Arguments of `revoke`.
#[derive(clap::Args)]
pub(crate) struct Revoke {
    #[command(subcommand)]
    what: RevocationSubject,
}

#[derive(clap::Subcommand)]
enum RevocationSubject {
    /// Revoke a filter by the digest of its manifest, everywhere: it can no longer be pinned; with --now it
    /// also stops where it runs.
    #[command(
        after_help = "Example:\n  tamis revoke digest sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 --reason 'leaks tokens'"
    )]
    Digest(RevokeDigest),
    /// Revoke an author's key, everywhere: all that it signed, or what it signed from an index of the log
    /// on.
    #[command(
        after_help = "Example:\n  tamis revoke key release --from-index 4711 --reason 'laptop lost'"
    )]
    Key(RevokeKey),
    /// List what is revoked.
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
    /// Signatures that the log recorded before this index stay valid; default: no signature of the key
    /// stays valid.
    #[arg(long)]
    from_index: Option<u64>,
    #[command(flatten)]
    how: Withdraw,
}

/// Options of a revocation.
#[derive(clap::Args)]
struct Withdraw {
    /// Reason, shown with the revocation and to people who try to pin it.
    #[arg(long)]
    reason: String,
    /// Stop what runs at once. Default: what runs continues, and nothing new is pinned.
    #[arg(long)]
    now: bool,
    /// Confirm that what runs stops.
    #[arg(long)]
    confirm: bool,
    /// Only show where it runs.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    at: RegistryAccess,
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
    at: RegistryAccess,
}

/// Approves another person's change.
pub(crate) fn approve(arguments: &Approve, output: Output) -> Result<ExitCode> {
    let request = ApproveRequest { subject: arguments.subject.to_string() };
    let remote = arguments.at.remote()?;
    let approved = remote.ask("approving", async |client| client.approve(&request).await)?;
    output::result(output, &approved, || {
        format!(
            "{} approves {} (revision {}); the approval counts when another person asks for that change, not when {} does",
            approved.actor, approved.subject, approved.revision, approved.actor
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// Revokes, or lists what is revoked.
pub(crate) fn revoke(arguments: &Revoke, output: Output) -> Result<ExitCode> {
    let (how, request) = match &arguments.what {
        RevocationSubject::List(List { at }) => {
            let remote = at.remote()?;
            let all = remote.ask("reading", async |client| client.revocations().await)?;
            output::result(output, &items(&all), || listed(&all, now_ms()));
            return Ok(ExitCode::SUCCESS);
        }
        RevocationSubject::Digest(RevokeDigest { digest, how }) => {
            (how, RevokeRequest { digest: Some(digest.to_string()), ..how.request() })
        }
        RevocationSubject::Key(RevokeKey { key, from_index, how }) => {
            let (key, from_index) = (Some(key.clone()), *from_index);
            (how, RevokeRequest { key, from_index, ..how.request() })
        }
    };
    let remote = how.at.remote()?;
    let revoked = remote.ask("revoking", async |client| client.revoke(&request).await)?;
    output::result(output, &dated(&revoked), || revocation_text(&revoked, how.dry_run));
    Ok(ExitCode::SUCCESS)
}

/// What a revocation did or would do, and where the filter runs.
fn revocation_text(revoked: &RevocationView, dry: bool) -> String {
    let done = if dry { "would be" } else { "is" };
    let mut text = format!(
        "{} {done} revoked (revision {}): {}\n",
        scope(revoked),
        revoked.revision,
        revoked.reason
    );
    text.push_str(match (revoked.stops.is_empty(), revoked.now) {
        (true, _) => "it runs nowhere\n",
        (false, true) => "it stops in:\n",
        (false, false) => {
            "it keeps running, until another version is pinned or it is revoked with --now, in:\n"
        }
    });
    for stop in &revoked.stops {
        text.push_str(&format!("  {}  {}  {}\n", stop.service, stop.slot, stop.filter));
    }
    text
}

fn scope(revoked: &RevocationView) -> String {
    match revoked.from_index {
        Some(index) => format!("{} from index {index} on", revoked.what),
        None => revoked.what.clone(),
    }
}

fn listed(all: &[RevocationView], now: u64) -> String {
    if all.is_empty() {
        return "nothing is revoked\n".to_owned();
    }
    let row = |one: &RevocationView| {
        [scope(one), ago(now, one.time_ms), one.actor.clone(), one.reason.clone()]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    table(["WHAT", "WHEN", "BY", "REASON"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_withdrawn_key_says_from_where_on() {
        let one = RevocationView {
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
        assert_eq!(listed(&[], 0), "nothing is revoked\n");
    }
}

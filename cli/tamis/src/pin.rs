//! `tamis pin`, `unpin`, `rollback`, `pins`, `history`: the digest of a service's filter.

use crate::change::diff::{self, ChangeState};
use crate::document;
use crate::get::{Kind, items, kind};
use crate::names::{self, Release};
use crate::output::{self, Output};
use crate::remote::RegistryAccess;
use crate::table::{short, table};
use crate::when::{ago, dated, now_ms};
use anyhow::{Result, bail};
use std::fmt::Write as _;
use std::process::ExitCode;
use tamis_api::{HistoryItem, PinRequest, PinResult, PinView, RollbackRequest, UnpinRequest};

/// Arguments of `pin`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Service or gateway, NAMESPACE/NAME; `*` means all that have no pin of their own.
    #[arg(value_parser = names::service)]
    service: String,
    /// FILTER@VERSION, whose tag is resolved once, now; or FILTER@sha256:….
    #[arg(value_parser = names::release, value_name = "FILTER@VERSION")]
    release: Release,
    /// Allow a version older than the pinned one.
    #[arg(long)]
    allow_older: bool,
    /// Show the effect, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    how: PinOptions,
}

/// Options that all changes of pins have.
#[derive(clap::Args)]
struct PinOptions {
    /// Confirm what --dry-run shows: passes the guards against emptied chains, lost protection and wide changes.
    #[arg(long)]
    confirm: bool,
    #[command(flatten)]
    at: RegistryAccess,
}

/// Arguments of `unpin`.
#[derive(clap::Args)]
pub(crate) struct UnpinArguments {
    /// Service or gateway, NAMESPACE/NAME, or `*`, as it was pinned.
    #[arg(value_parser = names::service)]
    service: String,
    /// NAMESPACE/NAME of the filter.
    #[arg(value_parser = names::filter)]
    filter: String,
    #[command(flatten)]
    how: PinOptions,
}

/// Arguments of `rollback`.
#[derive(clap::Args)]
pub(crate) struct Rollback {
    /// Service or gateway, NAMESPACE/NAME, or `*`, as it was pinned; or the kind of a document.
    what: String,
    /// NAMESPACE/NAME of the filter; or the name of the document.
    which: String,
    /// Of a document: its namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Of a document: the revision whose version to restore; default: the version before the current one.
    #[arg(long, value_name = "REVISION")]
    to: Option<u64>,
    #[command(flatten)]
    how: PinOptions,
}

/// Arguments of `pins`.
#[derive(clap::Args)]
pub(crate) struct PinsArguments {
    #[command(flatten)]
    at: RegistryAccess,
}

/// Arguments of `history`.
#[derive(clap::Args)]
pub(crate) struct History {
    /// Service or gateway, NAMESPACE/NAME; or the kind of a document.
    what: String,
    /// NAMESPACE/NAME of the filter; default: all filters and the documents. Or the name of the document.
    which: Option<String>,
    /// Of a document: its namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[command(flatten)]
    at: RegistryAccess,
}

/// Pins a filter for a service, or shows what that would do.
pub(crate) fn pin(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let Arguments { service, release, allow_older, dry_run, how } = arguments;
    let request = PinRequest {
        service: service.clone(),
        filter: release.filter.clone(),
        version: release.version.clone(),
        digest: release.digest.clone(),
        allow_older: *allow_older,
        confirm: how.confirm,
        dry_run: *dry_run,
    };
    let remote = how.at.remote()?;
    let pinned = remote.ask("pinning", async |client| client.pin(&request).await)?;
    let (done, made) =
        if *dry_run { ("would be pinned", ChangeState::No) } else { ("pinned", ChangeState::Yes) };
    output::result(output, &dated(&pinned), || {
        pin_report(&pinned, service, &release.filter, done, made)
    });
    Ok(ExitCode::SUCCESS)
}

/// Removes a pin.
pub(crate) fn unpin(arguments: &UnpinArguments, output: Output) -> Result<ExitCode> {
    let UnpinArguments { service, filter, how } = arguments;
    let (service, filter, confirm) = (service.clone(), filter.clone(), how.confirm);
    let request = UnpinRequest { service, filter, confirm };
    let remote = how.at.remote()?;
    let pinned = remote.ask("unpinning", async |client| client.unpin(&request).await)?;
    let pin_report =
        || pin_report(&pinned, &request.service, &request.filter, "unpinned", ChangeState::Yes);
    output::result(output, &dated(&pinned), pin_report);
    Ok(ExitCode::SUCCESS)
}

/// Restores the previous pin.
pub(crate) fn rollback(arguments: &Rollback, output: Output) -> Result<ExitCode> {
    let Rollback { what, which, namespace, to, how } = arguments;
    if let Some(kind) = of_document(what) {
        let document = (kind, namespace.as_str(), which.as_str());
        return document::rollback(document, *to, how.confirm, &how.at, output);
    }
    if to.is_some() {
        bail!(
            "--to applies to documents only; a filter returns to its previous pin, or choose a version with `tamis pin`"
        );
    }
    let words = |error: String| anyhow::anyhow!("{error}");
    let service = names::service(what).map_err(words)?;
    let (filter, confirm) = (names::filter(which).map_err(words)?, how.confirm);
    let request = RollbackRequest { service, filter, confirm };
    let remote = how.at.remote()?;
    let pinned = remote.ask("rolling back", async |client| client.rollback(&request).await)?;
    let pin_report =
        || pin_report(&pinned, &request.service, &request.filter, "rolled back", ChangeState::Yes);
    output::result(output, &dated(&pinned), pin_report);
    Ok(ExitCode::SUCCESS)
}

/// The kind of document that the argument names; `None` when it names a service: a service has a slash, or
/// is not a kind.
fn of_document(what: &str) -> Option<&'static str> {
    match kind(what) {
        Ok(Kind::One(kind)) if !what.contains('/') => Some(kind),
        Ok(_) | Err(_) => None,
    }
}

/// What a change of a pin did, and what the new digest may do that the previous one could not.
fn pin_report(
    pinned: &PinResult,
    service: &str,
    filter: &str,
    done: &str,
    made: ChangeState,
) -> String {
    let release = pinned.pin.as_ref().map(|pin| format!(" {}", pin.version)).unwrap_or_default();
    let all = if service == "*" { "all services without a pin of their own" } else { service };
    let mut text = format!("{filter}{release} {done} for {all}");
    let _ = writeln!(text, " (revision {})", pinned.revision);
    if let Some(pin) = &pinned.pin {
        let _ = writeln!(text, "{}", pin.digest);
    }
    if !pinned.signers.is_empty() {
        let _ = writeln!(text, "signed by {}", pinned.signers.join(", "));
    }
    for one in &pinned.grown {
        let _ = writeln!(
            text,
            "! it may do what the previous one could not: {} {}",
            one.kind, one.what
        );
    }
    text.push('\n');
    text.push_str(&diff::text(&pinned.diff, made));
    text
}

/// Lists the pins in force.
pub(crate) fn pins(arguments: &PinsArguments, output: Output) -> Result<ExitCode> {
    let remote = arguments.at.remote()?;
    let pins = remote.ask("reading", async |client| client.pins().await)?;
    output::result(output, &items(&pins), || listed(&pins, now_ms()));
    Ok(ExitCode::SUCCESS)
}

fn listed(pins: &[PinView], now: u64) -> String {
    if pins.is_empty() {
        return "nothing is pinned\n".to_owned();
    }
    let row = |pin: &PinView| {
        let (digest, when) = (short(&pin.digest), ago(now, pin.time_ms));
        let (service, filter) = (pin.service.clone(), pin.filter.clone());
        [service, filter, pin.version.clone(), digest, when, pin.actor.clone()]
    };
    let rows: Vec<_> = pins.iter().map(row).collect();
    table(["SERVICE", "FILTER", "VERSION", "DIGEST", "PINNED", "BY"], &rows)
}

/// Lists the events of a service's filters.
pub(crate) fn history(arguments: &History, output: Output) -> Result<ExitCode> {
    let History { what, which, namespace, at } = arguments;
    if let Some(kind) = of_document(what) {
        let Some(name) = which else { bail!("which {kind}? give its name, and -n NAMESPACE") };
        return document::history((kind, namespace, name), at, output);
    }
    let words = |error: String| anyhow::anyhow!("{error}");
    let service = &names::service(what).map_err(words)?;
    let filter = which.as_deref().map(names::filter).transpose().map_err(words)?;
    let remote = at.remote()?;
    let happened =
        remote.ask("reading", async |client| client.history(service, filter.as_deref()).await)?;
    output::result(output, &items(&happened), || past(&happened, now_ms()));
    Ok(ExitCode::SUCCESS)
}

fn past(happened: &[HistoryItem], now: u64) -> String {
    if happened.is_empty() {
        return "no events yet\n".to_owned();
    }
    let row = |one: &HistoryItem| {
        let (revision, when) = (one.revision.to_string(), ago(now, one.time_ms));
        let services = one.services.join(", ");
        let about = one.document.clone().unwrap_or_else(|| one.filter.clone());
        [revision, when, one.actor.clone(), about, services, one.what.clone()]
    };
    let rows: Vec<_> = happened.iter().map(row).collect();
    table(["REVISION", "WHEN", "BY", "FILTER OR DOCUMENT", "SERVICES", "WHAT"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_api::{Diff, GrowthView};

    fn pinned() -> PinResult {
        let pin = PinView {
            service: "shop/a".into(),
            filter: "acme/retry".into(),
            version: "1.4.2".into(),
            digest: "sha256:00".into(),
            revision: 9,
            time_ms: 60_000,
            actor: "ada".into(),
        };
        PinResult {
            revision: 9,
            subject: "sha256:01".into(),
            pin: Some(pin),
            diff: Diff::default(),
            grown: vec![GrowthView { kind: "import".into(), what: "http-client".into() }],
            signers: vec!["release".into()],
        }
    }

    #[test]
    fn a_pin_tells_the_digest_the_signers_and_what_grew() {
        assert_eq!(
            pin_report(&pinned(), "shop/a", "acme/retry", "pinned", ChangeState::Yes),
            "acme/retry 1.4.2 pinned for shop/a (revision 9)\nsha256:00\nsigned by release\n\
             ! it may do what the previous one could not: import http-client\n\nnothing changes\n"
        );
    }

    #[test]
    fn pins_and_history_are_tables_and_empty_ones_say_so() {
        let text = listed(&[pinned().pin.unwrap()], 240_000);
        assert!(text.contains("shop/a   acme/retry  1.4.2    sha256:00  3m ago  ada"), "{text}");
        assert_eq!(listed(&[], 0), "nothing is pinned\n");
        let one = HistoryItem {
            revision: 9,
            time_ms: 60_000,
            actor: "ada".into(),
            filter: "acme/retry".into(),
            document: None,
            services: vec!["shop/a".into()],
            what: "pinned 1.4.2 sha256:00".into(),
        };
        let weight = HistoryItem {
            filter: String::new(),
            document: Some("HTTPRoute/shop/r".into()),
            what: "spec.weight 90 → 50".into(),
            ..one.clone()
        };
        let text = past(&[one, weight], 240_000);
        for row in [
            "9         3m ago  ada  acme/retry          shop/a    pinned 1.4.2 sha256:00\n",
            "9         3m ago  ada  HTTPRoute/shop/r    shop/a    spec.weight 90 → 50\n",
        ] {
            assert!(text.contains(row), "{text}");
        }
        assert_eq!(past(&[], 0), "no events yet\n");
    }
}

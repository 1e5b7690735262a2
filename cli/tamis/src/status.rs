//! `tamis status`: who runs what.

use crate::names;
use crate::output::{self, Output};
use crate::remote::{Remote, Where};
use crate::table::{count, short, table};
use crate::watch::{Look, watch};
use crate::when::{ago, dated};
use anyhow::Result;
use std::fmt::Write as _;
use std::process::ExitCode;
use tamis_api::{ProxyStatus, SlotState, SlotStatus, Status};

/// What `status` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only the proxies of this service or gateway, NAMESPACE/NAME.
    #[arg(long, value_parser = names::service)]
    service: Option<String>,
    /// Look again every two seconds.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    at: Where,
}

/// Prints every proxy and every slot of it.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let remote = arguments.at.remote()?;
    let service = arguments.service.as_deref();
    if arguments.watch {
        return watch(output, || {
            let status = ask(&remote, service)?;
            Ok(Look { value: dated(&status), text: text(&status), key: key(&status), over: false })
        });
    }
    let status = ask(&remote, service)?;
    output::answer(output, &dated(&status), || text(&status));
    Ok(ExitCode::SUCCESS)
}

fn ask(remote: &Remote, service: Option<&str>) -> Result<Status> {
    remote.ask("asking", async |client| client.status(service).await)
}

/// A status without the moments that pass by themselves.
fn key(status: &Status) -> String {
    let mut still = status.clone();
    still.now_ms = 0;
    still.proxies.iter_mut().for_each(|proxy| proxy.seen_ms = None);
    serde_json::to_string(&still).unwrap_or_default()
}

fn text(status: &Status) -> String {
    if status.proxies.is_empty() {
        return "no documents in force speak of a proxy\n".to_owned();
    }
    let mut rows = Vec::new();
    for proxy in &status.proxies {
        if proxy.slots.is_empty() {
            rows.push(row(proxy, None, status.now_ms));
        }
        rows.extend(proxy.slots.iter().map(|slot| row(proxy, Some(slot), status.now_ms)));
    }
    let head = ["PROXY", "SLOT", "FILTER", "ASSIGNED", "RUNNING", "SINCE", "STATE", "WHY"];
    let mut text = table(head, &rows);
    let mut summary = Vec::new();
    let number =
        |is: &dyn Fn(&ProxyStatus) -> bool| status.proxies.iter().filter(|it| is(it)).count();
    let away = number(&|proxy| !proxy.connected);
    let drifted = number(&|proxy| proxy.slots.iter().any(|slot| slot.state == SlotState::Drift));
    summary.push(count(status.proxies.len(), "proxy", "proxies"));
    if away > 0 {
        summary.push(format!("{away} not connected"));
    }
    if drifted > 0 {
        summary.push(format!("{drifted} in drift"));
    }
    let _ = writeln!(text, "\n{} at revision {}", summary.join(", "), status.revision);
    text
}

fn row(proxy: &ProxyStatus, slot: Option<&SlotStatus>, now: u64) -> [String; 8] {
    let away = match (proxy.connected, proxy.seen_ms) {
        (true, _) => None,
        (false, Some(seen)) => Some(format!("not connected, seen {}", ago(now, seen))),
        (false, None) => Some("never connected".to_owned()),
    };
    let own = slot.and_then(|slot| slot.why.clone()).or_else(|| proxy.why.clone());
    let why = own.into_iter().chain(away).collect::<Vec<_>>().join("; ");
    let Some(slot) = slot else {
        let state = if proxy.current { "no slots" } else { "pending" };
        let none = String::new;
        return [proxy.node.clone(), none(), none(), none(), none(), none(), state.to_owned(), why];
    };
    let assigned = slot.assigned.as_ref().map(|one| match &one.rollout {
        Some(rollout) => format!("{} by {rollout}", short(&one.digest)),
        None => short(&one.digest),
    });
    let running =
        slot.running.as_ref().map(|one| format!("{} {}", one.version, short(&one.digest)));
    let since = slot.running.as_ref().map(|one| ago(now, one.since_ms));
    [
        proxy.node.clone(),
        slot.slot.clone(),
        slot.filter.clone(),
        assigned.unwrap_or_else(|| "nothing".to_owned()),
        running.unwrap_or_else(|| "nothing".to_owned()),
        since.unwrap_or_default(),
        state(slot.state).to_owned(),
        why,
    ]
}

fn state(state: SlotState) -> &'static str {
    match state {
        SlotState::Serving => "serving",
        SlotState::Pending => "pending",
        SlotState::KeptLastGood => "kept last good",
        SlotState::Refused => "refused",
        // In capitals: somebody changed what nobody assigned.
        SlotState::Drift => "DRIFT",
        SlotState::Unassigned => "unassigned",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_api::{AssignedView, RunningView};

    fn status() -> Status {
        let digest = format!("sha256:{}", "0".repeat(64));
        let slot = SlotStatus {
            slot: "retry".into(),
            filter: "acme/retry".into(),
            assigned: Some(AssignedView {
                digest: digest.clone(),
                config: String::new(),
                assignment: 4,
                expires_ms: 0,
                rollout: None,
            }),
            running: Some(RunningView {
                digest,
                config: String::new(),
                version: "1.4.2".into(),
                assignment: 4,
                since_ms: 60_000,
            }),
            state: SlotState::Serving,
            why: None,
        };
        let bad = SlotStatus {
            slot: "jwt".into(),
            state: SlotState::Drift,
            running: None,
            ..slot.clone()
        };
        let proxy = ProxyStatus {
            node: "sidecar:shop/a/0".into(),
            service: "shop/a".into(),
            connected: true,
            seen_ms: Some(239_000),
            release: None,
            current: true,
            why: None,
            slots: vec![slot, bad],
        };
        let away = ProxyStatus {
            node: "gateway:shop/edge".into(),
            connected: false,
            slots: Vec::new(),
            ..proxy.clone()
        };
        Status { revision: 9, now_ms: 240_000, proxies: vec![proxy, away] }
    }

    #[test]
    fn every_slot_says_what_is_assigned_what_runs_and_why_not() {
        assert_eq!(
            text(&status()),
            "PROXY              SLOT   FILTER      ASSIGNED              RUNNING                     SINCE   STATE     WHY\n\
             sidecar:shop/a/0   retry  acme/retry  sha256:000000000000…  1.4.2 sha256:000000000000…  3m ago  serving\n\
             sidecar:shop/a/0   jwt    acme/retry  sha256:000000000000…  nothing                             DRIFT\n\
             gateway:shop/edge                                                                               no slots  not connected, seen 1s ago\n\
             \n2 proxies, 1 not connected, 1 in drift at revision 9\n"
        );
    }

    #[test]
    fn time_alone_is_no_change() {
        let (one, mut other) = (status(), status());
        other.now_ms += 2_000;
        other.proxies[0].seen_ms = Some(241_000);
        assert_eq!(key(&one), key(&other));
        other.proxies[0].slots[0].state = SlotState::Pending;
        assert_ne!(key(&one), key(&other));
    }
}

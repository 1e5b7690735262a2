//! `tamis status`: the problems of the fleet, and what each proxy runs.

use crate::failure::NotFound;
use crate::names;
use crate::output::{self, Output};
use crate::remote::{RegistryAccess, Remote};
use crate::watch::{RefreshView, watch};
use crate::when::dated;
use anyhow::Result;
use std::process::ExitCode;
use tamis_api::{FleetStatus, ProxyStatus, SlotStateView, SlotView};

#[cfg(test)]
mod tests;
mod text;

/// Arguments of `status`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only the proxies of this service or gateway, NAMESPACE/NAME.
    #[arg(long, value_parser = names::service)]
    service: Option<String>,
    /// Only the slots of this filter, NAMESPACE/NAME.
    #[arg(long, value_parser = names::filter)]
    filter: Option<String>,
    /// Only slots in this state; may be repeated.
    #[arg(long, value_enum)]
    state: Vec<State>,
    /// Only problems.
    #[arg(long, conflicts_with = "all")]
    problems: bool,
    /// Every slot of every proxy, one per line.
    #[arg(long)]
    all: bool,
    /// Refresh every two seconds; a terminal shows as much as fits.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    at: RegistryAccess,
}

/// The state of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum State {
    /// It runs what is assigned to it.
    Serving,
    /// Its proxy has not reported yet.
    Pending,
    /// It refused what is assigned to it and keeps its last good one.
    KeptLastGood,
    /// It refused what is assigned to it and runs nothing.
    Refused,
    /// It runs something other than what is assigned to it.
    Drift,
    /// Nothing is assigned to it.
    Unassigned,
    /// Its proxy is not connected.
    Disconnected,
}

impl State {
    fn is(self, state: SlotStateView) -> bool {
        self == match state {
            SlotStateView::Serving => Self::Serving,
            SlotStateView::Pending => Self::Pending,
            SlotStateView::KeptLastGood => Self::KeptLastGood,
            SlotStateView::Refused => Self::Refused,
            SlotStateView::Drift => Self::Drift,
            SlotStateView::Unassigned => Self::Unassigned,
            SlotStateView::Disconnected => Self::Disconnected,
        }
    }
}

/// The part of a status that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Problems first, then one line per service.
    Summary,
    /// Problems only.
    Problems,
    /// Every slot.
    All,
}

/// Prints the problems and what each proxy runs.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let remote = arguments.at.remote()?;
    if arguments.watch {
        return watch(output, || {
            let status = ask(&remote, arguments)?;
            Ok(RefreshView {
                value: dated(&status),
                text: text::text(&status, arguments.part()),
                key: key(&status),
                over: false,
            })
        });
    }
    let status = ask(&remote, arguments)?;
    output::result(output, &dated(&status), || text::text(&status, arguments.part()));
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn part(&self) -> Part {
        // Whoever names slots wants to see them.
        if self.all || self.filter.is_some() || !self.state.is_empty() {
            return Part::All;
        }
        if self.problems { Part::Problems } else { Part::Summary }
    }

    /// The requested part of a status.
    fn select(&self, mut status: FleetStatus) -> FleetStatus {
        let wanted = |slot: &SlotView| {
            self.filter.as_ref().is_none_or(|filter| slot.filter == *filter)
                && (self.state.is_empty() || self.state.iter().any(|state| state.is(slot.state)))
                && (!self.problems
                    || slot.state != SlotStateView::Serving
                    || slot.revoked.is_some())
        };
        let narrow = self.filter.is_some() || !self.state.is_empty();
        for proxy in &mut status.proxies {
            proxy.slots.retain(wanted);
        }
        let kept = |proxy: &ProxyStatus| {
            !proxy.slots.is_empty() || (!narrow && (!self.problems || is_wrong(proxy)))
        };
        status.proxies.retain(kept);
        status
    }
}

/// Whether a proxy or one of its slots has a problem.
fn is_wrong(proxy: &ProxyStatus) -> bool {
    !proxy.connected
        || proxy.why.is_some()
        || !proxy.problems.is_empty()
        || proxy
            .slots
            .iter()
            .any(|slot| slot.state != SlotStateView::Serving || slot.revoked.is_some())
}

fn ask(remote: &Remote, arguments: &Arguments) -> Result<FleetStatus> {
    let service = arguments.service.as_deref();
    let status = remote.ask("asking", async |client| client.status(service).await)?;
    if let (Some(service), true) = (service, status.proxies.is_empty()) {
        let all = remote.ask("asking", async |client| client.status(None).await)?;
        let mut names: Vec<&str> = all.proxies.iter().map(|one| one.service.as_str()).collect();
        names.dedup();
        let meant = meant(service, &names);
        return Err(NotFound(format!("no proxy belongs to {service}{meant}")).into());
    }
    if let Some(filter) = &arguments.filter {
        let slots = || status.proxies.iter().flat_map(|proxy| &proxy.slots);
        if slots().all(|slot| slot.filter != *filter) {
            let names: Vec<&str> = slots().map(|slot| slot.filter.as_str()).collect();
            let meant = meant(filter, &names);
            return Err(NotFound(format!("no slot has the filter {filter}{meant}")).into());
        }
    }
    Ok(arguments.select(status))
}

/// What was meant by a name, or where to look.
fn meant(text: &str, names: &[&str]) -> String {
    match names::meant(text, names) {
        none if none.is_empty() => {
            "; there is none: `tamis get all` lists what is in force".to_owned()
        }
        meant => meant,
    }
}

/// A status without values that change only with time.
fn key(status: &FleetStatus) -> String {
    let mut still = status.clone();
    still.now_ms = 0;
    for proxy in &mut still.proxies {
        proxy.seen_ms = None;
        for port in &mut proxy.plaintext {
            (port.open, port.total, port.used_ms) = (port.open.min(1), 0, None);
        }
    }
    serde_json::to_string(&still).unwrap_or_default()
}

//! `tamis status`: what is wrong with the fleet, and who runs what.

use crate::names;
use crate::output::{self, Output};
use crate::remote::{Remote, Where};
use crate::watch::{Look, watch};
use crate::when::dated;
use anyhow::{Result, bail};
use std::process::ExitCode;
use tamis_api::{ProxyStatus, SlotState, SlotStatus, Status};

#[cfg(test)]
mod tests;
mod text;

/// What `status` takes.
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
    /// Only what is wrong.
    #[arg(long, conflicts_with = "all")]
    problems: bool,
    /// Every slot of every proxy, a line each.
    #[arg(long)]
    all: bool,
    /// Look again every two seconds; on a terminal it shows as much as fits.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    at: Where,
}

/// How a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum State {
    /// It runs what it is assigned.
    Serving,
    /// Its proxy has not said yet.
    Pending,
    /// It refused what it is assigned and keeps its last good one.
    KeptLastGood,
    /// It refused what it is assigned and runs nothing.
    Refused,
    /// It runs something else than it is assigned.
    Drift,
    /// Nothing is assigned to it.
    Unassigned,
    /// Its proxy is not connected.
    Disconnected,
}

impl State {
    fn is(self, state: SlotState) -> bool {
        self == match state {
            SlotState::Serving => Self::Serving,
            SlotState::Pending => Self::Pending,
            SlotState::KeptLastGood => Self::KeptLastGood,
            SlotState::Refused => Self::Refused,
            SlotState::Drift => Self::Drift,
            SlotState::Unassigned => Self::Unassigned,
            SlotState::Disconnected => Self::Disconnected,
        }
    }
}

/// Which part of a status is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// What is wrong first, then a line a service.
    Summary,
    /// What is wrong alone.
    Problems,
    /// Every slot.
    All,
}

/// Prints what is wrong and who runs what.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let remote = arguments.at.remote()?;
    if arguments.watch {
        return watch(output, || {
            let status = ask(&remote, arguments)?;
            Ok(Look {
                value: dated(&status),
                text: text::text(&status, arguments.part()),
                key: key(&status),
                over: false,
            })
        });
    }
    let status = ask(&remote, arguments)?;
    output::answer(output, &dated(&status), || text::text(&status, arguments.part()));
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn part(&self) -> Part {
        // Who asks for some slots wants to see them.
        if self.all || self.filter.is_some() || !self.state.is_empty() {
            return Part::All;
        }
        if self.problems { Part::Problems } else { Part::Summary }
    }

    /// What was asked for of a status.
    fn select(&self, mut status: Status) -> Status {
        let wanted = |slot: &SlotStatus| {
            self.filter.as_ref().is_none_or(|filter| slot.filter == *filter)
                && (self.state.is_empty() || self.state.iter().any(|state| state.is(slot.state)))
                && (!self.problems || slot.state != SlotState::Serving)
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

/// Whether something is wrong with a proxy, or with one of its slots.
fn is_wrong(proxy: &ProxyStatus) -> bool {
    !proxy.connected
        || proxy.why.is_some()
        || !proxy.problems.is_empty()
        || proxy.slots.iter().any(|slot| slot.state != SlotState::Serving)
}

fn ask(remote: &Remote, arguments: &Arguments) -> Result<Status> {
    let service = arguments.service.as_deref();
    let status = remote.ask("asking", async |client| client.status(service).await)?;
    if let (Some(service), true) = (service, status.proxies.is_empty()) {
        let all = remote.ask("asking", async |client| client.status(None).await)?;
        let mut names: Vec<&str> = all.proxies.iter().map(|one| one.service.as_str()).collect();
        names.dedup();
        bail!("no proxy is of {service}{}", names::meant(service, &names));
    }
    Ok(arguments.select(status))
}

/// A status without the moments that pass by themselves.
fn key(status: &Status) -> String {
    let mut still = status.clone();
    still.now_ms = 0;
    still.proxies.iter_mut().for_each(|proxy| proxy.seen_ms = None);
    serde_json::to_string(&still).unwrap_or_default()
}

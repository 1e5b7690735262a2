//! `tamis rollout`: replaces a digest by another, wave by wave.

mod request;
mod view;

use crate::get::items;
use crate::output::{self, Output};
use crate::remote::RegistryAccess;
use crate::watch::{RefreshView, watch};
use crate::when::{dated, now_ms};
use anyhow::Result;
use std::process::ExitCode;
use tamis_api::{MoveRequest, RolloutMove};

/// Arguments of `rollout`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Start a rollout, from arguments or from a file.
    #[command(
        after_help = "Example:\n  tamis rollout start retry-1.4.2 acme/retry@1.4.2 --service shop/checkout --wave 10:5m --wave 100:10m --max-trap-rate 0.001"
    )]
    Start(Box<request::RolloutStartArguments>),
    /// Pause: every proxy keeps what it runs until somebody decides.
    #[command(
        after_help = "Example:\n  tamis rollout pause retry-1.4.2 --reason 'looking at a spike'"
    )]
    Pause(Move),
    /// Resume after a pause.
    #[command(after_help = "Example:\n  tamis rollout resume retry-1.4.2")]
    Resume(Move),
    /// Take the next step now, whatever the gates report.
    #[command(after_help = "Example:\n  tamis rollout advance retry-1.4.2")]
    Advance(Move),
    /// Abort: all proxies return to the pinned digest.
    #[command(after_help = "Example:\n  tamis rollout abort retry-1.4.2 --reason 'not needed'")]
    Abort(Move),
    /// Kill: all proxies return at once, from any step.
    #[command(
        after_help = "Example:\n  tamis rollout kill retry-1.4.2 --reason 'errors at checkout'"
    )]
    Kill(Move),
    /// Show rollouts, or one of them with what it measured.
    #[command(after_help = "Example:\n  tamis rollout status retry-1.4.2 --watch")]
    Status(Status),
}

#[derive(clap::Args)]
struct Move {
    /// Name of the rollout.
    name: String,
    /// Reason, shown with the rollout.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    at: RegistryAccess,
}

#[derive(clap::Args)]
struct Status {
    /// Name of the rollout; default: all rollouts.
    name: Option<String>,
    /// Refresh every two seconds, until it is over.
    #[arg(long, requires = "name")]
    watch: bool,
    #[command(flatten)]
    at: RegistryAccess,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    match &arguments.command {
        Command::Start(start) => begin(start, output),
        Command::Pause(it) => make(it, RolloutMove::Pause, output),
        Command::Resume(it) => make(it, RolloutMove::Resume, output),
        Command::Advance(it) => make(it, RolloutMove::Advance, output),
        Command::Abort(it) => make(it, RolloutMove::Abort, output),
        Command::Kill(it) => make(it, RolloutMove::Kill, output),
        Command::Status(it) => status(it, output),
    }
}

fn begin(start: &request::RolloutStartArguments, output: Output) -> Result<ExitCode> {
    let request = start.request()?;
    let remote = start.at.remote()?;
    let view = remote.ask("starting", async |client| client.start_rollout(&request).await)?;
    output::result(output, &dated(&view), || {
        let text = view::text(&view, now_ms());
        if start.dry_run { format!("only checked, nothing was started\n{text}") } else { text }
    });
    Ok(ExitCode::SUCCESS)
}

fn make(it: &Move, action: RolloutMove, output: Output) -> Result<ExitCode> {
    let request = MoveRequest { action, why: it.reason.clone() };
    let remote = it.at.remote()?;
    let view =
        remote.ask("asking", async |client| client.move_rollout(&it.name, &request).await)?;
    output::result(output, &dated(&view), || view::text(&view, now_ms()));
    Ok(ExitCode::SUCCESS)
}

fn status(it: &Status, output: Output) -> Result<ExitCode> {
    let remote = it.at.remote()?;
    let Some(name) = &it.name else {
        let all = remote.ask("reading", async |client| client.rollouts().await)?;
        output::result(output, &items(&all), || view::table_of(&all, now_ms()));
        return Ok(ExitCode::SUCCESS);
    };
    let look = || remote.ask("reading", async |client| client.rollout(name).await);
    if it.watch {
        return watch(output, || {
            let view = look()?;
            let (value, over) = (dated(&view), view.ended);
            Ok(RefreshView {
                key: value.to_string(),
                value,
                text: view::text(&view, now_ms()),
                over,
            })
        });
    }
    let view = look()?;
    output::result(output, &dated(&view), || view::text(&view, now_ms()));
    Ok(ExitCode::SUCCESS)
}

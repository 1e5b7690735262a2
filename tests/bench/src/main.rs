//! `cargo xtask bench`: the cost of a request, compared with other proxies, in one run.
//!
//! The proxy under test has a core of its own; the load generator, the upstream and this program have the
//! other. The proxies take turns in every round, and ratios within a round are compared: their medians are
//! meaningful on a noisy machine. Everything is written to `target/bench`: every round as JSON, the table,
//! and a picture.
#![expect(clippy::print_stdout, reason = "a developer's tool talks to the developer")]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use clap::Parser;
use tamis_harness::{Workspace, shell};

mod allocations;
mod bodies;
mod calls;
mod cores;
mod costs;
mod cpu;
mod fleet;
mod hop;
mod http2;
mod idle;
mod innocents;
mod latency;
mod memory;
mod mesh;
mod peers;
mod picture;
mod report;
mod routes;
mod running;
mod secured;
mod start;
mod steady;
mod swap;
mod turns;
mod wrk;

use report::Report;

/// Arguments of `bench`.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// What to measure; default: everything.
    #[arg(value_enum)]
    names: Vec<Name>,
    /// How often each proxy has its turn.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Seconds of one turn.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Another tamis program that takes its turns in `cpu` and `http2`, for a comparison in one run.
    #[arg(long, value_name = "PATH")]
    other: Option<PathBuf>,
    /// Measure this tamis program and use what is beside it: nothing is built, and the figures are those of its profile.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Of `innocents`, only the ways whose names contain this text.
    #[arg(long, value_name = "TEXT", default_value = "")]
    way: String,
    /// Print what can be measured, and measure nothing.
    #[arg(long)]
    list: bool,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    /// P1–P4: processor time per request, compared with Envoy, nginx and HAProxy.
    Cpu,
    /// A1: what an exchange with five policies allocates.
    Allocations,
    /// P5: one call into a filter, and into the same filter in five languages.
    Calls,
    /// C1–C4: one filter as a component of contract 0.1 and of the newest one, in turns: a chain of five, a hook with a view, a
    /// body of 5 MiB; and an exchange while `finished` is used elsewhere.
    Costs,
    /// P6: a thousand swaps under a constant load.
    Swap,
    /// P7: resident memory of a sidecar.
    Memory,
    /// P8: from the start of the program to the first response, with and without compiled code.
    Start,
    /// P12–P14: wake-ups of an idle proxy, and the memory of its idle connections.
    Idle,
    /// P15: latency at a constant rate.
    Latency,
    /// P16–P17: tables of ten thousand routes.
    Routes,
    /// P18–P19: TLS at the gateway, over kept and over new connections.
    Secured,
    /// P20–P21: HTTP/2 to upstreams of HTTP/1 and HTTP/2.
    Http2,
    /// P23: a hop between two sidecars.
    Hop,
    /// P22: bodies of 1 and 16 MiB in both directions.
    Bodies,
    /// I1–I2: an innocent service while one upstream, one client or one filter misbehaves, in each known way.
    Innocents,
    /// F1–F3: a registry under a thousand simulated proxies: commit to serving, bytes pushed, a restart.
    Fleet,
}

const ALL: [Name; 16] = [
    Name::Cpu,
    Name::Allocations,
    Name::Calls,
    Name::Costs,
    Name::Swap,
    Name::Memory,
    Name::Start,
    Name::Innocents,
    Name::Fleet,
    Name::Idle,
    Name::Latency,
    Name::Routes,
    Name::Secured,
    Name::Http2,
    Name::Hop,
    Name::Bodies,
];

/// What a measurement needs beside tamis: arguments of `cargo build`.
const HELPERS: [(Name, &[&str]); 3] = [
    (Name::Cpu, &["--package", "tamis-floor"]),
    (Name::Allocations, &["--package", "tamis-allocations"]),
    (Name::Costs, &["--package", "tamis-engine", "--examples"]),
];

/// What every measurement needs.
struct Bench {
    rounds: u32,
    seconds: u32,
    binary: PathBuf,
    /// Another program that is compared with it.
    other: Option<PathBuf>,
    cores: cores::Cores,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, prints the table, writes the files.
fn run(arguments: &Arguments) -> Result<()> {
    if arguments.list {
        for name in ALL {
            let value = clap::ValueEnum::to_possible_value(&name).context("it has a name")?;
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            println!("{:<8} {help}", value.get_name());
        }
        return Ok(());
    }
    let names = if arguments.names.is_empty() { &ALL[..] } else { &arguments.names };
    let target = Workspace::load()?.target_directory;
    let bench = Bench {
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        binary: program(arguments, names)?,
        other: arguments.other.as_deref().map(fs::canonicalize).transpose()?,
        cores: cores::Cores::take()?,
    };
    let folder = target.join("bench");
    fs::create_dir_all(&folder)?;
    let mut report = Report::new(&bench.cores);
    for name in names {
        match name {
            Name::Cpu => shell::step("cpu", || cpu::measure(&bench, &mut report))?,
            Name::Allocations => {
                shell::step("allocations", || allocations::measure(&bench, &mut report))?
            }
            Name::Calls => {
                shell::step("guests", || shell::run(shell::cargo().args(["xtask", "guests"])))?;
                shell::step("calls", || calls::measure(&bench, &mut report))?
            }
            Name::Costs => shell::step("costs", || costs::measure(&bench, &mut report))?,
            Name::Swap => shell::step("swap", || swap::measure(&bench, &mut report))?,
            Name::Memory => shell::step("memory", || memory::measure(&bench, &mut report))?,
            Name::Start => shell::step("start", || start::measure(&bench, &mut report))?,
            Name::Idle => shell::step("idle", || idle::measure(&bench, &mut report))?,
            Name::Latency => shell::step("latency", || latency::measure(&bench, &mut report))?,
            Name::Routes => shell::step("routes", || routes::measure(&bench, &mut report))?,
            Name::Secured => shell::step("secured", || secured::measure(&bench, &mut report))?,
            Name::Http2 => shell::step("http2", || http2::measure(&bench, &mut report))?,
            Name::Hop => shell::step("hop", || hop::measure(&bench, &mut report))?,
            Name::Bodies => shell::step("bodies", || bodies::measure(&bench, &mut report))?,
            Name::Innocents => shell::step("innocents", || {
                innocents::measure(&bench, &mut report, &arguments.way)
            })?,
            Name::Fleet => shell::step("fleet", || fleet::measure(&bench, &mut report))?,
        };
        // After each, so that what was measured is there when a later one fails.
        report.write(&folder)?;
    }
    println!("==> bench\n{}", report.table());
    println!("    every round: {}", folder.join("bench.json").display());
    println!("    the picture: {}", folder.join("bench.svg").display());
    Ok(())
}

/// Builds tamis and what these measurements need beside it, optimised; returns tamis. One that was named is taken as it is, with
/// what is beside it.
fn program(arguments: &Arguments, names: &[Name]) -> Result<PathBuf> {
    if let Some(named) = &arguments.binary {
        return fs::canonicalize(named).with_context(|| format!("there is no {}", named.display()));
    }
    shell::step("optimised build", || {
        shell::run(shell::cargo().args(["xtask", "build", "--release"]))?;
        for (_, helper) in HELPERS.iter().filter(|(name, _)| names.contains(name)) {
            shell::run(shell::cargo().args(["build", "--release"]).args(*helper))?;
        }
        Ok(())
    })?;
    Ok(Workspace::load()?.target_directory.join("release/tamis"))
}

/// The middle of values; of an even number, the lower of the two.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_one_of_the_values() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 3.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }
}

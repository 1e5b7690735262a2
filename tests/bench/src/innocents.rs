//! Effects on others when one service, one client or one filter of the same worker misbehaves, in each
//! known way.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;
use tempfile::TempDir;

use super::Bench;
use super::report::{Bar, Report};
use super::running::RunningServer;
use super::steady::SteadyLoad;
use tamis_harness::Workspace;
use tamis_harness::shell;

mod rogues;

use rogues::{ROGUES, RogueClient, ServedClients};

/// Requests of innocents per second, over a number of connections: far below what a worker can serve.
const PER_SECOND: u32 = 400;
const CONNECTIONS: u32 = 8;
/// Rogue clients at once.
const CLIENTS: usize = 4;
/// Allowed rise of an innocent's p99.
const RATIO_MAX: f64 = 3.0;
/// What memory may grow by while a few misbehave, in MiB: for each exchange two heads, a body kept for another attempt
/// and HTTP/2's windows, at their default limits, and what the allocator keeps of it.
const GROWN_MAX_MIB: f64 = 64.0;
/// Maximum number of turns for each way: a p99 of two seconds varies threefold on a shared machine.
const ROUNDS_MAX: u32 = 9;

/// Measures each way whose name contains `way`, in turns with quiet.
pub(super) fn measure(bench: &Bench, report: &mut Report, way: &str) -> Result<()> {
    let (good, bad) = (listener()?, listener()?);
    let (good_address, bad_address) = (good.local_addr()?, bad.local_addr()?);
    let _good = rogues::serve(
        good,
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"",
        ServedClients::Innocents,
    )?;
    let folder = folder(bench, good_address, bad_address)?;
    let mut bad = Some(bad);
    let ways: Vec<_> = ROGUES.iter().filter(|rogue| rogue.name.contains(way)).collect();
    anyhow::ensure!(!ways.is_empty(), "no way is called so: {way}");
    let each = expected_seconds(rounds(bench), bench.seconds);
    println!("    {}", expected(ways.len(), each));
    println!("    {}", super::report::innocents_head());
    for rogue in ways {
        let listener = match bad.take() {
            Some(listener) => listener,
            None => TcpListener::bind(bad_address)?,
        };
        let _upstream =
            rogues::serve(listener, rogue.answer, rogue.endless, ServedClients::Rogues)?;
        // Each way has its own proxy, so that none suffers from the leftovers of another.
        let gateway = folder.gateway(bench)?;
        one(bench, report, &gateway, rogue)?;
    }
    Ok(())
}

fn listener() -> Result<TcpListener> {
    Ok(TcpListener::bind("127.0.0.1:0")?)
}

/// Seconds in which the requests of a new gateway are not representative.
const WARM_SECONDS: u32 = 1;
/// Seconds for the start of a gateway, and for the threads of the load and of rogues to begin and to end.
const START_SECONDS: u32 = 2;

/// Turns of each way.
fn rounds(bench: &Bench) -> u32 {
    bench.rounds.min(ROUNDS_MAX)
}

/// How long all of it takes, in words.
fn expected(ways: usize, each: u32) -> String {
    let all = u32::try_from(ways).unwrap_or(u32::MAX).saturating_mul(each);
    let all = match all {
        0..120 => format!("{all} s"),
        _ => format!("{} min", all.div_ceil(60)),
    };
    format!("{ways} ways, {each} s each: about {all}; a row is printed as soon as it is known")
}

/// How long the measurement of one way takes: a turn with rogues and one without in every round.
fn expected_seconds(rounds: u32, seconds: u32) -> u32 {
    START_SECONDS + WARM_SECONDS + 2 * rounds * seconds
}

fn one(
    bench: &Bench,
    report: &mut Report,
    gateway: &RunningServer,
    rogue: &'static RogueClient,
) -> Result<()> {
    let address: SocketAddr = gateway.address.parse()?;
    p99_us(gateway, WARM_SECONDS)?;
    let before = resident_mib(gateway)?;
    let (mut quiet, mut loud, mut resident) = (Vec::new(), Vec::new(), before);
    for round in 1..=rounds(bench) {
        let without = p99_us(gateway, bench.seconds)?;
        let rogues = rogues::ask(address, rogue, CLIENTS);
        let with = p99_us(gateway, bench.seconds)?;
        resident = resident.max(resident_mib(gateway)?);
        drop(rogues);
        println!("      round {round} of {}: {without:.0} → {with:.0} µs", rounds(bench));
        quiet.push(without);
        loud.push(with);
    }
    let ratios: Vec<f64> = loud.iter().zip(&quiet).map(|(loud, quiet)| loud / quiet).collect();
    let row = json!({
        "name": rogue.name,
        "quietUs": super::median(&quiet),
        "loudUs": super::median(&loud),
        "ratio": super::median(&ratios),
        "residentMib": resident,
        "boundMib": before + GROWN_MAX_MIB,
    });
    println!("    {}", super::report::innocent_row(&row));
    report.innocent(row);
    let what = format!("p99 of innocents ÷ quiet, {}", rogue.name);
    report.ratio("I1", &what, &ratios, Bar::at_most(RATIO_MAX));
    let what = format!("memory grown, {}", rogue.name);
    report.figure("I2", &what, "MiB", &[resident - before], Bar::at_most(GROWN_MAX_MIB));
    Ok(())
}

/// The p99 of innocents over so many seconds, in microseconds.
fn p99_us(gateway: &RunningServer, seconds: u32) -> Result<f64> {
    let rate = (CONNECTIONS, PER_SECOND);
    let load = SteadyLoad::start_after(&gateway.address, "", rate, rogues::go_before_rogues);
    std::thread::sleep(std::time::Duration::from_secs(seconds.into()));
    let seen = load.end()?;
    anyhow::ensure!(seen.failed.is_empty(), "innocents failed: {:?}", seen.failed.first());
    Ok(seen.percentile_us(99))
}

fn resident_mib(gateway: &RunningServer) -> Result<f64> {
    #[expect(clippy::cast_precision_loss, reason = "memory of a machine")]
    Ok(gateway.memory_kib("Rss")? as f64 / 1024.0)
}

/// Documents, keys and filters of a gateway with innocents and rogues.
struct Folder {
    folder: TempDir,
    http: String,
}

impl Folder {
    fn gateway(&self, bench: &Bench) -> Result<RunningServer> {
        let mut command = bench.cores.proxy(&bench.binary.to_string_lossy());
        command
            .args(["proxy", "--node", "gateway:bench/edge", "--documents", ".", "--no-watch"])
            .args(["--store", ".tamis/store", "--cache", ".tamis/cache", "--access-log", "off"])
            .args(["--workers", "1"])
            .current_dir(self.folder.path());
        RunningServer::start(command, &self.http, "")
    }
}

fn folder(bench: &Bench, good: SocketAddr, bad: SocketAddr) -> Result<Folder> {
    let (http, admin) = (tamis_harness::ports::free(), tamis_harness::ports::free());
    let folder = Folder { folder: TempDir::new()?, http: format!("127.0.0.1:{http}") };
    let documents = super::mesh::template("innocents.yaml")?
        .replace("@HTTP@", &http.to_string())
        .replace("@ADMIN@", &admin.to_string())
        .replace("@GOOD@", &good.to_string())
        .replace("@BAD@", &bad.to_string());
    std::fs::write(folder.folder.path().join("mesh.yaml"), documents)?;
    let tamis = |arguments: &[&str]| {
        let mut command = shell::command(&bench.binary);
        shell::read(command.args(arguments).current_dir(folder.folder.path()))
    };
    tamis(&["up", ".", "--prepare"])?;
    let guest = guest()?.display().to_string();
    tamis(&[
        "filter",
        "sign",
        &guest,
        "--name",
        "bench/behaviour",
        "--version",
        "1.0.0",
        "--key",
        ".tamis/keys/local-dev.key",
        "--store",
        ".tamis/store",
        "--pin",
        ".tamis/filters.lock.yaml",
    ])?;
    Ok(folder)
}

/// The guest whose configuration states how it behaves, built.
fn guest() -> Result<PathBuf> {
    let target = Workspace::load()?.target_directory.join("guests");
    let mut build: Command = shell::cargo();
    build
        .args(["build", "--quiet", "--release", "--target", tamis_harness::WASM_TARGET])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(shell::root().join("tests/guests/rust/behaviour"));
    shell::read(&mut build).context("the guest could not be built")?;
    let module = target.join(tamis_harness::WASM_TARGET).join("release/guest_behaviour.wasm");
    let component = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&std::fs::read(module)?)?
        .encode()?;
    let file = target.join("bench-behaviour.wasm");
    std::fs::write(&file, component)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_expected_duration_counts_every_turn() {
        let each = super::expected_seconds(3, 2);
        assert_eq!(each, 15);
        let said = super::expected(20, each);
        assert!(said.starts_with("20 ways, 15 s each: about 5 min;"), "{said}");
        let said = super::expected(2, each);
        assert!(said.starts_with("2 ways, 15 s each: about 30 s;"), "{said}");
    }
}

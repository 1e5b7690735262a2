//! What an idle proxy costs: how often it wakes, and the memory that each idle connection keeps.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Bench;
use super::mesh::{Mesh, Policies, lines};
use super::peers::{Peers, Secured};
use super::report::{Bar, Report};
use super::running::RunningServer;
use tamis_harness::{Process, shell};

/// Connections that are opened, besides those that the allocator has room for already.
const CONNECTIONS: u32 = 2_000;
/// What has settled by then: connections of the start, allocations, caches.
const SETTLES: Duration = Duration::from_secs(2);

/// Measures Tamis and the other proxies, each in processes of its own.
pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let peers = Peers::install()?;
    let backend = peers.backend(bench)?;
    let mesh = Mesh::new(bench, &backend.address, Policies::Five)?;
    let headers = mesh.headers()?;
    let certificate = mesh.certificate();
    let start = |name: &str| -> Result<Secured> {
        match name {
            "envoy" => peers.envoy_secured(bench, &backend.address, &certificate),
            "nginx" => peers.nginx_secured(bench, &backend.address, &certificate),
            "haproxy" => peers.haproxy_secured(bench, &backend.address, &certificate),
            _ => Ok(Secured { running: mesh.gateway(bench, false)?, tls: mesh.https() }),
        }
    };
    for name in ["tamis", "envoy", "nginx", "haproxy"] {
        let ours = |id: &'static str, most: f64| match name {
            "tamis" => (id, Bar::at_most(most)),
            _ => ("", Bar::none()),
        };
        let proxy = start(name)?;
        let rounds: Result<Vec<f64>> =
            (0..bench.rounds.min(3)).map(|_| wakes(&proxy.running, bench.seconds)).collect();
        let (id, bar) = ours("P12", 20.0);
        report.figure(id, &format!("wake-ups of an idle {name}"), "a second", &rounds?, bar);
        drop(proxy);
        for (id, tls, most) in [("P13", false, 4.0), ("P14", true, 16.0)] {
            let fresh = start(name)?;
            let address = if tls { &fresh.tls } else { &fresh.running.address };
            let kib = each(bench, &fresh.running, address, tls, &headers)?;
            let (id, bar) = ours(id, most);
            let kind = if tls { "TLS" } else { "plain" };
            let what = format!("memory of each idle {kind} connection, {name}");
            report.figure(id, &what, "KiB", &[kib], bar);
        }
    }
    Ok(())
}

/// Wake-ups in a second, of all threads.
fn wakes(running: &RunningServer, seconds: u32) -> Result<f64> {
    std::thread::sleep(SETTLES);
    let before = running.wakes()?;
    std::thread::sleep(Duration::from_secs(seconds.into()));
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let wakes = running.wakes()?.saturating_sub(before) as f64;
    Ok(wakes / f64::from(seconds))
}

/// Memory that each connection keeps after its first request, KiB.
fn each(
    bench: &Bench,
    running: &RunningServer,
    address: &str,
    tls: bool,
    headers: &[String],
) -> Result<f64> {
    // The first ones find the allocator as it is after the start.
    drop(Idle::open(bench, address, tls, headers, 50)?);
    std::thread::sleep(SETTLES);
    let before = running.memory_kib("Rss")?;
    let _idle = Idle::open(bench, address, tls, headers, CONNECTIONS)?;
    std::thread::sleep(SETTLES);
    #[expect(clippy::cast_precision_loss, reason = "memory of a machine")]
    let more = running.memory_kib("Rss")?.saturating_sub(before) as f64;
    Ok(more / f64::from(CONNECTIONS))
}

/// Open connections that do nothing; closed when this is dropped.
struct Idle(#[expect(dead_code, reason = "held for its end")] Process);

impl Idle {
    fn open(
        bench: &Bench,
        address: &str,
        tls: bool,
        headers: &[String],
        count: u32,
    ) -> Result<Self> {
        let (host, port) = address.rsplit_once(':').context("an address has a port")?;
        let request = format!("GET / HTTP/1.1\r\nhost: bench.example\r\n{}\r\n", lines(headers));
        let mut command = bench.cores.other("python3");
        command.arg(shell::root().join("tests/bench/idle.py"));
        command.args([host, port, &count.to_string(), if tls { "tls" } else { "plain" }, &request]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("it has an output")?;
        let idle = Self(Process(child));
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line.trim() == "open", "{address} does not keep {count} connections");
        Ok(idle)
    }
}

//! Latency at a constant rate, from when each request was due.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Bench;
use super::mesh::{Mesh, Policies, lines};
use super::peers::Peers;
use super::report::{Bar, Report};
use super::steady::SteadyLoad;
use super::turns::{Contest, Load};

const PER_SECOND: u32 = 5_000;
const CONNECTIONS: u32 = 64;

/// Sends through each proxy in turn.
pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let peers = Peers::install()?;
    let backend = peers.backend(bench)?;
    let mesh = Mesh::new(bench, &backend.address, Policies::Five)?;
    let headers = lines(&mesh.headers()?);
    let running = [
        ("tamis", mesh.gateway(bench, false)?),
        ("envoy", peers.envoy(bench, &backend.address, 0)?),
        ("nginx", peers.nginx(bench, &backend.address)?),
        ("haproxy", peers.haproxy(bench, &backend.address)?),
    ];
    let mut contest = Contest::new();
    for (name, running) in &running {
        let (address, headers) = (&running.address, &headers);
        contest.add(*name, vec![running], move |seconds| steady(address, headers, seconds));
    }
    contest.run(bench)?;
    let what = format!("latency at {PER_SECOND} requests/s");
    contest.report(report, &format!("median {what}"), "µs", |turn| turn.p50_us);
    contest.report(report, &format!("99th percentile of {what}"), "µs", |turn| turn.p99_us);
    let p50 = contest.ratio("tamis", "nginx", |turn| turn.p50_us);
    let p99 = contest.ratio("tamis", "nginx", |turn| turn.p99_us);
    report.ratio("P15", &format!("median {what}, five policies ÷ nginx"), &p50, Bar::at_most(1.1));
    report.ratio("P15", "99th percentile of it ÷ nginx", &p99, Bar::at_most(1.1));
    Ok(())
}

fn steady(address: &str, headers: &str, seconds: u32) -> Result<Load> {
    let load = SteadyLoad::start(address, headers, CONNECTIONS, PER_SECOND);
    std::thread::sleep(Duration::from_secs(seconds.into()));
    let seen = load.end()?;
    let first = seen.failed.first();
    ensure!(seen.failed.is_empty(), "requests failed: {}", first.map_or("", |it| it));
    Ok(Load {
        requests: u64::try_from(seen.served())?,
        p50_us: seen.percentile_us(50),
        p99_us: seen.percentile_us(99),
    })
}

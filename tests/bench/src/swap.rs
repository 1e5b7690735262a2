//! P6: a thousand swaps under a constant load, compared with the same load without swaps.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::mesh::{Mesh, Policies, lines};
use super::peers::Peers;
use super::report::{Bar, Report};
use super::steady::SteadyLoad;
use super::{Bench, median};

const SWAPS: u32 = 1_000;
const PER_SECOND: u32 = 2_000;
const CONNECTIONS: u32 = 16;

/// Longest wait for a generation.
const PATIENCE: Duration = Duration::from_secs(20);

/// Swaps between two configurations of a policy, in turn with as long a time without a swap.
pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let peers = Peers::install()?;
    let backend = peers.backend(bench)?;
    let mesh = Mesh::new(bench, &backend.address, Policies::Five)?;
    let gateway = mesh.gateway(bench, true)?;
    let headers = lines(&mesh.headers()?);
    let load = || SteadyLoad::start(&gateway.address, &headers, CONNECTIONS, PER_SECOND);
    let policies = mesh.read("policies.yaml")?;
    let configurations = [policies.replace("attempts: 3", "attempts: 2"), policies];
    let (mut calm, mut swapping) = (Vec::new(), Vec::new());
    let (mut served, mut failed, mut swaps) = (0, Vec::new(), 0);
    for round in 0..bench.rounds {
        println!("    round {} of {}", round + 1, bench.rounds);
        let (from, to) = (SWAPS * round / bench.rounds, SWAPS * (round + 1) / bench.rounds);
        let under_way = load();
        let began = Instant::now();
        for swap in from..to {
            let text = configurations.get(usize::try_from(swap % 2)?);
            swaps += replace(&mesh, text.map_or("", String::as_str))?;
        }
        let took = began.elapsed();
        let seen = under_way.end()?;
        swapping.push(seen.percentile_us(99));
        served += seen.served();
        failed.extend(seen.failed);

        let under_way = load();
        std::thread::sleep(took);
        let seen = under_way.end()?;
        calm.push(seen.percentile_us(99));
        served += seen.served();
        failed.extend(seen.failed);
    }
    let ratios: Vec<f64> = swapping.iter().zip(&calm).map(|(a, b)| a / b).collect();
    let first = failed.first().map(|why| format!(", the first: {why}")).unwrap_or_default();
    report.count(
        "P6",
        &format!("failed of {served} requests at {PER_SECOND}/s, {swaps} swaps among them{first}"),
        failed.len(),
        Bar::at_most(0.0),
    );
    report.figure("", "p99 without a swap", "µs", &calm, Bar::none());
    report.figure("", "p99 during swaps", "µs", &swapping, Bar::none());
    report.ratio("P6", "p99 during swaps ÷ without", &ratios, Bar::at_most(1.2));
    ensure!(median(&calm).is_finite(), "no request was served");
    Ok(())
}

/// Writes a configuration and waits until it serves.
fn replace(mesh: &Mesh, text: &str) -> Result<u32> {
    let before = mesh.generation()?;
    mesh.write("policies.yaml", text)?;
    let until = Instant::now() + PATIENCE;
    while mesh.generation()? == before {
        ensure!(Instant::now() < until, "a change was not taken within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(1)
}

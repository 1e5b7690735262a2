//! P1 to P4: processor time per request.

use anyhow::Result;
use serde_json::json;

use super::mesh::{Mesh, Policies};
use super::peers::Peers;
use super::report::{Bar, Report};
use super::running::RunningServer;
use super::{Bench, median, wrk};

/// A proxy that takes its turns.
struct Contender {
    name: String,
    running: RunningServer,
    turns: Vec<Turn>,
}

/// One turn of one proxy.
struct Turn {
    /// Processor time per request, microseconds.
    cpu_us: f64,
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
}

const TAMIS: &str = "tamis, five policies";
const OTHER: &str = "the other tamis, five policies";
const FLOOR: &str = "the floor, bare sockets";
const ROUTE: &str = "tamis, route alone";
const ENVOY: &str = "envoy, no filter";
const ENVOY_WASM: &str = "envoy, five proxy-wasm filters";
const NGINX: &str = "nginx";
const HAPROXY: &str = "haproxy";

/// Lets every proxy have its turn in every round.
pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let peers = Peers::install()?;
    let backend = peers.backend(bench)?;
    let five = Mesh::new(bench, &backend.address, Policies::Five)?;
    let route = Mesh::new(bench, &backend.address, Policies::Route)?;
    route.write(".tamis/token", &five.read(".tamis/token")?)?;
    let headers = five.headers()?;
    let contender =
        |name: &str, running| Contender { name: name.to_owned(), running, turns: Vec::new() };
    let mut contenders = vec![
        contender(TAMIS, five.gateway(bench, false)?),
        contender(ROUTE, route.gateway(bench, false)?),
        contender(FLOOR, peers.floor(bench, &backend.address)?),
        contender(ENVOY, peers.envoy(bench, &backend.address, 0)?),
        contender(ENVOY_WASM, peers.envoy(bench, &backend.address, 5)?),
        contender(NGINX, peers.nginx(bench, &backend.address)?),
        contender(HAPROXY, peers.haproxy(bench, &backend.address)?),
    ];
    let other = five.of_the_other(bench, &backend.address)?;
    if let Some(other) = &other {
        contenders.push(contender(OTHER, other.gateway(bench, false)?));
    }
    for contender in &mut contenders {
        // Connections, caches and the branch predictor: the first turn is not representative.
        wrk::run(bench, &contender.running.address, &headers, 1)?;
    }
    for round in 0..bench.rounds {
        println!("    round {} of {}", round + 1, bench.rounds);
        // The first proxy rotates, so that no proxy always follows the same noise.
        let first = usize::try_from(round)? % contenders.len();
        contenders.rotate_left(first);
        for contender in &mut contenders {
            let before = contender.running.cpu()?;
            let turn = wrk::run(bench, &contender.running.address, &headers, bench.seconds)?;
            let took = contender.running.cpu()?.saturating_sub(before);
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52 requests")]
            let requests = turn.requests.max(1) as f64;
            contender.turns.push(Turn {
                cpu_us: took.as_secs_f64() * 1e6 / requests,
                per_second: requests / f64::from(bench.seconds),
                p50_us: turn.p50_us,
                p99_us: turn.p99_us,
            });
        }
        contenders.rotate_right(first);
    }
    for contender in &contenders {
        let of = |value: fn(&Turn) -> f64| contender.turns.iter().map(value).collect::<Vec<_>>();
        let cpu = of(|turn| turn.cpu_us);
        report.proxy(json!({
            "name": contender.name,
            "cpuUs": median(&cpu),
            "cpuUsRounds": cpu,
            "requestsPerSecond": median(&of(|turn| turn.per_second)),
            "p50Us": median(&of(|turn| turn.p50_us)),
            "p99Us": median(&of(|turn| turn.p99_us)),
            "residentKib": contender.running.memory_kib("Rss")?,
        }));
    }
    let ratio = |name: &str| -> Vec<f64> {
        let turns = |name| contenders.iter().find(|one| one.name == name).map(|one| &one.turns);
        let pairs = turns(TAMIS).into_iter().flatten().zip(turns(name).into_iter().flatten());
        pairs.map(|(ours, theirs)| ours.cpu_us / theirs.cpu_us).collect()
    };
    let bars = [
        ("P1", ENVOY, "CPU per request, five policies ÷ Envoy without a filter", 0.40),
        ("P2", ENVOY_WASM, "the same ÷ Envoy with five proxy-wasm filters", 0.25),
        ("P3", NGINX, "the same ÷ nginx", 1.5),
        ("", HAPROXY, "the same ÷ HAProxy", f64::INFINITY),
        ("P0", FLOOR, "the same ÷ the floor: bare sockets and a parser", f64::INFINITY),
        ("P4", ROUTE, "the same ÷ Tamis with the route policy alone", 1.15),
    ];
    if other.is_some() {
        report.ratio("", "the same ÷ the other binary", &ratio(OTHER), Bar::at_most(f64::INFINITY));
    }
    for (id, name, what, bar) in bars {
        report.ratio(id, what, &ratio(name), Bar::at_most(bar));
    }
    Ok(())
}

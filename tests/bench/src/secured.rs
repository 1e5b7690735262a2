//! TLS 1.3 at the gateway: requests over kept connections, and a new connection for each request.

use anyhow::Result;

use super::mesh::{Mesh, Policies};
use super::peers::{Peers, Secured};
use super::report::{Bar, Report};
use super::turns::Contest;
use super::{Bench, wrk};

/// Sends through each proxy in turn.
pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let peers = Peers::install()?;
    let backend = peers.backend(bench)?;
    let mesh = Mesh::new(bench, &backend.address, Policies::Five)?;
    let certificate = mesh.certificate();
    let running = [
        ("tamis", Secured { running: mesh.gateway(bench, false)?, tls: mesh.https() }),
        ("envoy", peers.envoy_secured(bench, &backend.address, &certificate)?),
        ("nginx", peers.nginx_secured(bench, &backend.address, &certificate)?),
        ("haproxy", peers.haproxy_secured(bench, &backend.address, &certificate)?),
    ];
    let kept = mesh.headers()?;
    let mut closed = kept.clone();
    closed.push("connection: close".to_owned());
    let compare =
        |report: &mut Report, what: &str, headers: &[String], bars: [(&str, &str, f64); 3]| {
            let mut contest = Contest::new();
            for (name, Secured { running, tls }) in &running {
                let url = format!("https://{tls}/catalog/items?page=2");
                contest.add(*name, vec![running], move |seconds| {
                    wrk::run_at(bench, &url, headers, seconds, &[])
                });
            }
            contest.run(bench)?;
            contest.report(report, &format!("CPU per {what}"), "µs", |turn| turn.cpu_us);
            for (id, peer, most) in bars {
                let ratio = contest.ratio("tamis", peer, |turn| turn.cpu_us);
                report.ratio(id, &format!("CPU per {what} ÷ {peer}"), &ratio, Bar::at_most(most));
            }
            anyhow::Ok(())
        };
    let unbound = f64::INFINITY;
    compare(
        report,
        "request over TLS",
        &kept,
        [("P18", "envoy", 0.40), ("P18", "nginx", 1.10), ("", "haproxy", unbound)],
    )?;
    compare(
        report,
        "new TLS connection with one request",
        &closed,
        [("P19", "envoy", 0.75), ("", "nginx", unbound), ("", "haproxy", unbound)],
    )
}

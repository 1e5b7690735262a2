//! A hop between two sidecars with mutual TLS: what both of them cost.

use anyhow::Result;

use super::mesh::Mesh;
use super::peers::Peers;
use super::report::{Bar, Report};
use super::turns::Contest;
use super::{Bench, wrk};

/// Sends through both pairs in turn.
pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let peers = Peers::install()?;
    let backend = peers.backend(bench)?;
    let mesh = Mesh::with_both_sidecars(bench, &backend.address)?;
    let mut headers = mesh.headers()?;
    // With this capital, wrk replaces its own.
    headers.push("Host: app".to_owned());
    let (inbound, outbound, address) = mesh.sidecars(bench)?;
    let [first, second] = peers.envoy_pair(bench, &backend.address, &mesh)?;
    let mut contest = Contest::new();
    for (name, processes, address) in
        [("tamis", [&outbound, &inbound], address), ("envoy", [&first, &second], &*first.address)]
    {
        let (url, headers) = (format!("http://{address}/catalog/items?page=2"), &headers);
        contest.add(name, processes.to_vec(), move |seconds| {
            wrk::run_at(bench, &url, headers, seconds, &[])
        });
    }
    contest.run(bench)?;
    let what = "CPU per request of both sidecars, mutual TLS between them";
    contest.report(report, what, "µs", |turn| turn.cpu_us);
    let ratio = contest.ratio("tamis", "envoy", |turn| turn.cpu_us);
    report.ratio("P23", &format!("{what} ÷ Envoy's pair"), &ratio, Bar::at_most(0.45));
    Ok(())
}

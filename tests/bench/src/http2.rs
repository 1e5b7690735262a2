//! HTTP/2 without TLS at the gateway, to upstreams that speak HTTP/1 and HTTP/2.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::Bench;
use super::mesh::{Mesh, Policies};
use super::peers::Peers;
use super::report::{Bar, Report};
use super::running::RunningServer;
use super::turns::{Contest, Load};
use tamis_harness::shell;

/// Bytes of the answer, as of the upstream that speaks HTTP/1.
const ANSWER_BYTES: usize = 100;

/// Another binary of this project, when one is compared.
const OTHER: &str = "the other tamis";

/// Sends through each proxy in turn, to both upstreams.
pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let peers = Peers::install()?;
    let over1 = peers.backend(bench)?;
    let folder = TempDir::new()?;
    let over2 = upstream(bench, folder.path())?;
    for (id, what, backend, http2) in
        [("P20", "HTTP/2 to HTTP/1", &over1, false), ("P21", "HTTP/2 to HTTP/2", &over2, true)]
    {
        let mesh = Mesh::new(bench, &backend.address, Policies::Five)?;
        if http2 {
            mesh.speak_http2()?;
        }
        let headers = mesh.headers()?;
        let other = mesh.of_the_other(bench, &backend.address)?;
        let mut running = vec![
            ("tamis", mesh.gateway(bench, false)?),
            ("envoy", peers.envoy_http2(bench, &backend.address, http2)?),
            ("nginx", peers.nginx_http2(bench, &backend.address, http2)?),
            ("haproxy", peers.haproxy_http2(bench, &backend.address, http2)?),
        ];
        if let Some(other) = &other {
            if http2 {
                other.speak_http2()?;
            }
            running.push((OTHER, other.gateway(bench, false)?));
        }
        let mut contest = Contest::new();
        for (name, running) in &running {
            let url = format!("http://{}/", running.address);
            let headers = &headers;
            contest.add(*name, vec![running], move |seconds| {
                h2load(bench, &url, headers, seconds, &["-c8", "-m16"])
            });
        }
        contest.run(bench)?;
        contest.report(report, &format!("CPU per request, {what}"), "µs", |turn| turn.cpu_us);
        for (peer, bar) in [("envoy", 0.50), ("nginx", f64::INFINITY), ("haproxy", f64::INFINITY)] {
            let ratio = contest.ratio("tamis", peer, |turn| turn.cpu_us);
            let id = if peer == "envoy" { id } else { "" };
            let what = format!("CPU per request, {what}, five policies ÷ {peer}");
            report.ratio(id, &what, &ratio, Bar::at_most(bar));
        }
        if other.is_some() {
            let ratio = contest.ratio("tamis", OTHER, |turn| turn.cpu_us);
            let what = format!("CPU per request, {what}, five policies ÷ the other binary");
            report.ratio("", &what, &ratio, Bar::at_most(f64::INFINITY));
        }
    }
    Ok(())
}

/// nghttpd with one file.
fn upstream(bench: &Bench, folder: &Path) -> Result<RunningServer> {
    fs::write(folder.join("index.html"), "0123456789".repeat(ANSWER_BYTES / 10))?;
    let port = tamis_harness::ports::free();
    let mut command = bench.cores.other("nghttpd");
    command.args(["--no-tls", "-a", "127.0.0.1", "-d"]).arg(folder).arg(port.to_string());
    RunningServer::start_listening(command, &format!("127.0.0.1:{port}"))
}

/// Sends requests over HTTP/2 for so many seconds.
pub(super) fn h2load(
    bench: &Bench,
    url: &str,
    headers: &[String],
    seconds: u32,
    more: &[&str],
) -> Result<Load> {
    let mut command = bench.cores.other("h2load");
    command.args(["-t1", "-D", &seconds.to_string(), "--warm-up-time=0"]).args(more);
    for header in headers {
        command.args(["-H", header]);
    }
    let text = shell::read(command.arg(url))?;
    let (served, failed) =
        parse(&text).with_context(|| format!("what h2load said is not readable:\n{text}"))?;
    ensure!(failed == 0, "{failed} requests failed:\n{text}");
    Ok(Load::of(served))
}

/// Responses of status 200, and requests that had no such response.
fn parse(text: &str) -> Option<(u64, u64)> {
    let counts = |start: &str, unit: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(start))?;
        let part = line.split(", ").find_map(|part| part.trim().strip_suffix(unit))?;
        part.trim().parse::<u64>().ok()
    };
    let failed = counts("requests:", " failed")? + counts("requests:", " errored")?;
    let other = counts("status codes:", " 4xx")? + counts("status codes:", " 5xx")?;
    Some((counts("status codes:", " 2xx")?, failed + other))
}

#[cfg(test)]
mod tests {
    #[test]
    fn responses_and_failures_are_read() {
        let text = "finished in 1.00s, 12 req/s, 1.21KB/s\n\
            requests: 12 total, 12 started, 12 done, 11 succeeded, 1 failed, 0 errored, 0 timeout\n\
            status codes: 11 2xx, 0 3xx, 0 4xx, 1 5xx\n";
        assert_eq!(super::parse(text), Some((11, 2)));
        assert_eq!(super::parse("what?"), None);
    }
}

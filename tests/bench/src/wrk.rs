//! Load without pause: as many requests as 32 connections can send.

use anyhow::{Context as _, Result, bail};

use super::Bench;
use super::turns::Load;
use tamis_harness::shell;

/// Connections kept busy.
const CONNECTIONS: &str = "32";

/// Result of a turn.
pub(super) struct Turn {
    pub(super) requests: u64,
    /// Median latency, microseconds.
    pub(super) p50_us: f64,
    /// 99th percentile, microseconds.
    pub(super) p99_us: f64,
}

/// Sends requests with these headers for so many seconds.
pub(super) fn run(bench: &Bench, address: &str, headers: &[String], seconds: u32) -> Result<Turn> {
    send(bench, &format!("http://{address}/catalog/items?page=2"), headers, seconds, &[])
}

/// The same to any address; `more` are further arguments of wrk.
pub(super) fn run_at(
    bench: &Bench,
    url: &str,
    headers: &[String],
    seconds: u32,
    more: &[&str],
) -> Result<Load> {
    let Turn { requests, p50_us, p99_us } = send(bench, url, headers, seconds, more)?;
    Ok(Load { requests, p50_us, p99_us })
}

fn send(bench: &Bench, url: &str, headers: &[String], seconds: u32, more: &[&str]) -> Result<Turn> {
    let mut wrk = bench.cores.other("wrk");
    wrk.args(["-t1", "-c", CONNECTIONS, "--latency", "-d", &format!("{seconds}s")]).args(more);
    for header in headers {
        wrk.args(["-H", header]);
    }
    let text = shell::read(wrk.arg(url))?;
    parse(&text).with_context(|| format!("what wrk said is not readable:\n{text}"))?
}

/// `None` if it is not the output of wrk, an error if requests failed.
fn parse(text: &str) -> Option<Result<Turn>> {
    let line = |part: &str| text.lines().find(|line| line.contains(part)).map(str::trim);
    for trouble in ["Non-2xx", "Socket errors"] {
        if let Some(line) = line(trouble) {
            return Some(failed(line));
        }
    }
    // At the start of its line: shares of other kinds stand elsewhere in the text.
    let latency = |part: &str| {
        let rest = text.lines().find_map(|line| line.trim_start().strip_prefix(part))?;
        micros(rest.trim())
    };
    Some(Ok(Turn {
        requests: line(" requests in ")?.split(' ').next()?.parse().ok()?,
        p50_us: latency("50%")?,
        p99_us: latency("99%")?,
    }))
}

fn failed(line: &str) -> Result<Turn> {
    bail!("requests failed: {line}")
}

/// A time such as `1.05ms`.
fn micros(text: &str) -> Option<f64> {
    let end = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at_checked(end)?;
    let factor = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Running 1s test @ http://127.0.0.1:1/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Req/Sec    30.20k     4.97k   36.48k    52.50%
  Latency Distribution
     50%    1.05ms
     99%  730.00us
  38233 requests in 1.00s, 9.51MB read
Requests/sec:  38121.10
";

    #[test]
    fn figures_are_read() {
        let turn = parse(TEXT).unwrap().unwrap();
        assert_eq!(turn.requests, 38_233);
        assert!((turn.p50_us - 1_050.0).abs() < 0.1 && (turn.p99_us - 730.0).abs() < 0.1);
    }

    #[test]
    fn a_failed_request_fails_the_turn() {
        let text = format!("{TEXT}  Non-2xx or 3xx responses: 7\n");
        assert!(parse(&text).unwrap().is_err());
        assert!(parse("what?").is_none());
    }
}

//! `tamis proxy tap NODE`: the exchanges of a running proxy, as they end.

use super::ProxyAddress;
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read as _};

/// The longest line, in bytes: more than a proxy sends.
const LINE_MAX: u64 = 64 * 1024;

/// Arguments of `tap`.
#[derive(clap::Args)]
pub(in crate::proxy) struct Arguments {
    #[command(flatten)]
    which: ProxyAddress,
    /// The most requests shown in a second; the others are counted.
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    per_second: u32,
    /// End after that many requests; default: with Ctrl-C.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<()> {
    let which = &arguments.which;
    let wire = which.send("GET", &format!("/tap?per-second={}", arguments.per_second))?;
    let mut lines = BufReader::new(wire);
    let head = head(&mut lines)?;
    if !head.split(' ').nth(1).unwrap_or_default().starts_with('2') {
        let mut body = String::new();
        lines.take(LINE_MAX).read_to_string(&mut body).context("the proxy does not respond")?;
        return which.accepted(&head, &body);
    }
    let mut left = arguments.count.unwrap_or(u64::MAX);
    while left > 0 {
        // Without requests an empty line comes each second.
        let Some(line) = line(&mut lines)? else {
            output::note(&format!(
                "{} closed the tap: it is shutting down or was restarted",
                which.node
            ));
            return Ok(());
        };
        let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
        left -= u64::from(value.get("skipped").is_none());
        output::event(output, &value, || output::one_line(&text(&value)));
    }
    Ok(())
}

/// The head of the response, without the empty line at its end.
fn head(lines: &mut impl BufRead) -> Result<String> {
    let mut head = String::new();
    loop {
        let line = line(lines)?.context("the proxy does not respond")?;
        if line.trim().is_empty() {
            return Ok(head);
        }
        head.push_str(&line);
    }
}

/// The next line; `None`: there is no more.
fn line(lines: &mut impl BufRead) -> Result<Option<String>> {
    let mut line = String::new();
    let read = lines.take(LINE_MAX).read_line(&mut line).context("the proxy sends no more")?;
    Ok((read > 0).then_some(line))
}

/// A request on one line: when it began, what became of it, what it was, where it went, and why.
fn text(record: &Value) -> String {
    if let Some(skipped) = record.get("skipped") {
        return format!("  … {skipped} more");
    }
    let word = |name: &str| super::text(record, name);
    let number = |name: &str| record.get(name).and_then(Value::as_u64).unwrap_or_default();
    let micros = number("duration_us");
    let mut text = format!(
        "{} {} {} {}{} {}.{} ms",
        time(number("time_unix_us")),
        word("status"),
        word("method"),
        word("authority"),
        word("path"),
        micros / 1_000,
        micros / 100 % 10
    );
    for (before, name) in [(" -> ", "service"), (" ", "endpoint"), (" because ", "reason")] {
        if !word(name).is_empty() {
            text.push_str(&format!("{before}{}", word(name)));
        }
    }
    if number("attempts") > 1 {
        text.push_str(&format!(", {} attempts", number("attempts")));
    }
    text
}

/// The time of day of a time since 1970, in UTC.
fn time(micros: u64) -> String {
    let (seconds, millis) = (micros / 1_000_000, micros / 1_000 % 1_000);
    let (hours, minutes) = (seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{millis:03}", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_request_is_one_line_with_what_became_of_it_first() {
        let record = json!({
            "time_unix_us": 1_700_000_000_123_456_u64, "exchange": 7, "method": "GET", "scheme": "http",
            "authority": "shop.example", "path": "/pay", "status": 503, "reason": "upstream.connect",
            "service": "shop/payments", "endpoint": "127.0.0.1:9003", "attempts": 3, "duration_us": 12_345,
        });
        assert_eq!(
            text(&record),
            "22:13:20.123 503 GET shop.example/pay 12.3 ms -> shop/payments 127.0.0.1:9003 because upstream.connect, 3 attempts"
        );
        let refused =
            json!({ "status": 404, "method": "GET", "authority": "a", "path": "/", "attempts": 0 });
        assert_eq!(text(&refused), "00:00:00.000 404 GET a/ 0.0 ms");
        assert_eq!(text(&json!({ "skipped": 12 })), "  … 12 more");
    }
}

//! The results: a table for people, JSON for programs, a picture for both.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::cores::Cores;
use super::{median, picture, running};

/// The limit of a figure.
#[derive(Clone, Copy)]
pub(super) struct Bar(f64);

impl Bar {
    /// At most this value; infinite: no limit.
    pub(super) fn at_most(value: f64) -> Self {
        Self(value)
    }

    /// For information.
    pub(super) fn none() -> Self {
        Self(f64::INFINITY)
    }
}

/// Everything of a run.
pub(super) struct Report {
    machine: Value,
    proxies: Vec<Value>,
    guests: Vec<Value>,
    innocents: Vec<Value>,
    figures: Vec<Figure>,
}

struct Figure {
    id: String,
    what: String,
    unit: &'static str,
    rounds: Vec<f64>,
    bar: Bar,
}

impl Report {
    /// An empty one about this machine.
    pub(super) fn new(cores: &Cores) -> Self {
        let machine = json!({
            "processor": cores.model,
            "proxyHasItsOwnCore": cores.is_paired(),
            "loadAverageBefore": running::load_average(),
        });
        Self {
            machine,
            proxies: Vec::new(),
            guests: Vec::new(),
            innocents: Vec::new(),
            figures: Vec::new(),
        }
    }

    /// A proxy and its turns.
    pub(super) fn proxy(&mut self, proxy: Value) {
        self.proxies.push(proxy);
    }

    /// A guest and what a call into it costs.
    pub(super) fn guest(&mut self, guest: Value) {
        self.guests.push(guest);
    }

    /// A way to misbehave, and what innocents see of it.
    pub(super) fn innocent(&mut self, innocent: Value) {
        self.innocents.push(innocent);
    }

    /// A ratio in every round.
    pub(super) fn ratio(&mut self, id: &str, what: &str, rounds: &[f64], bar: Bar) {
        self.figure(id, what, "×", rounds, bar);
    }

    /// A number that is not one of many.
    pub(super) fn count(&mut self, id: &str, what: &str, count: usize, bar: Bar) {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        self.figure(id, what, "", &[count as f64], bar);
    }

    /// A figure in every round.
    pub(super) fn figure(
        &mut self,
        id: &str,
        what: &str,
        unit: &'static str,
        rounds: &[f64],
        bar: Bar,
    ) {
        let (id, what, rounds) = (id.to_owned(), what.to_owned(), rounds.to_vec());
        self.figures.push(Figure { id, what, unit, rounds, bar });
    }

    /// Writes the JSON and the picture.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let figures: Vec<_> = self.figures.iter().map(Figure::json).collect();
        let all = json!({
            "machine": self.machine, "proxies": self.proxies, "guests": self.guests,
            "innocents": self.innocents, "figures": figures,
        });
        fs::write(folder.join("bench.json"), serde_json::to_vec_pretty(&all)?)?;
        fs::write(folder.join("bench.txt"), self.table())?;
        Ok(fs::write(folder.join("bench.svg"), picture::draw(&self.proxies))?)
    }

    /// As text.
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.lines(&mut text);
        text
    }

    fn lines(&self, out: &mut String) -> std::fmt::Result {
        let word = |name: &str| text(&self.machine, name).to_owned();
        writeln!(out, "{}, load average {} before", word("processor"), word("loadAverageBefore"))?;
        if self.machine.get("proxyHasItsOwnCore") == Some(&Value::Bool(false)) {
            writeln!(out, "the proxy shares its core with the load: ratios are worth little here")?;
        }
        if !self.proxies.is_empty() {
            writeln!(
                out,
                "\n{:<32}{:>16}{:>11}{:>10}{:>10}{:>10}",
                "proxy", "CPU µs/request", "requests/s", "p50 µs", "p99 µs", "MiB"
            )?;
        }
        for proxy in &self.proxies {
            let number = |name: &str| number(proxy, name);
            writeln!(
                out,
                "{:<32}{:>16.1}{:>11.0}{:>10.0}{:>10.0}{:>10.1}",
                text(proxy, "name"),
                number("cpuUs"),
                number("requestsPerSecond"),
                number("p50Us"),
                number("p99Us"),
                number("residentKib") / 1024.0
            )?;
        }
        if !self.guests.is_empty() {
            writeln!(
                out,
                "\n{:<32}{:>10}{:>10}{:>11}{:>13}{:>12}",
                "guest", "call µs", "p99 µs", "size KiB", "memory KiB", "compile ms"
            )?;
        }
        for guest in &self.guests {
            let number = |name: &str| number(guest, name);
            writeln!(
                out,
                "{:<32}{:>10.2}{:>10.2}{:>11.0}{:>13.0}{:>12.0}",
                text(guest, "name"),
                number("medianUs"),
                number("p99Us"),
                number("sizeKib"),
                number("memoryKib"),
                number("compileMs")
            )?;
        }
        self.innocents(out)?;
        writeln!(out)?;
        for figure in &self.figures {
            figure.line(out)?;
        }
        Ok(())
    }
}

impl Report {
    fn innocents(&self, out: &mut String) -> std::fmt::Result {
        if !self.innocents.is_empty() {
            writeln!(out, "\n{}", innocents_head())?;
        }
        self.innocents.iter().try_for_each(|innocent| writeln!(out, "{}", innocent_row(innocent)))
    }
}

/// The names of the columns of [`innocent_row`].
pub(super) fn innocents_head() -> String {
    format!(
        "{:<42}{:>12}{:>10}{:>8}{:>8}{:>11}",
        "who misbehaves", "quiet p99 µs", "p99 µs", "×", "MiB", "bound MiB"
    )
}

/// What innocents see of one way to misbehave, as a row of the table.
pub(super) fn innocent_row(innocent: &Value) -> String {
    let number = |name: &str| number(innocent, name);
    format!(
        "{:<42}{:>12.0}{:>10.0}{:>8.2}{:>8.1}{:>11.1}",
        text(innocent, "name"),
        number("quietUs"),
        number("loudUs"),
        number("ratio"),
        number("residentMib"),
        number("boundMib")
    )
}

impl Figure {
    fn value(&self) -> f64 {
        median(&self.rounds)
    }

    fn is_met(&self) -> Option<bool> {
        self.bar.0.is_finite().then(|| self.value() <= self.bar.0)
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id, "what": self.what, "unit": self.unit, "median": self.value(),
            "rounds": self.rounds, "bar": self.bar.0.is_finite().then_some(self.bar.0),
            "met": self.is_met(),
        })
    }

    fn line(&self, out: &mut String) -> std::fmt::Result {
        let least = self.rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        write!(out, "{:<3} {}: {} {}", self.id, self.what, short(self.value()), self.unit)?;
        if self.rounds.len() > 1 {
            write!(out, " ({}–{})", short(least), short(most))?;
        }
        match self.is_met() {
            Some(true) => writeln!(out, "; bar {}: met", short(self.bar.0)),
            Some(false) => writeln!(out, "; bar {}: MISSED", short(self.bar.0)),
            None => writeln!(out),
        }
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, name: &str) -> f64 {
    value.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

/// Three significant digits.
fn short(value: f64) -> String {
    match value.abs() {
        size if size == 0.0 || size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_bar_is_said() {
        let cores =
            json!({ "processor": "x", "proxyHasItsOwnCore": true, "loadAverageBefore": "0" });
        let mut report = Report {
            machine: cores,
            proxies: Vec::new(),
            guests: Vec::new(),
            innocents: Vec::new(),
            figures: Vec::new(),
        };
        report.innocent(json!({
            "name": "upstream: PING", "quietUs": 900.0, "loudUs": 1800.0, "ratio": 2.0,
            "residentMib": 40.0, "boundMib": 100.0,
        }));
        report.ratio("P1", "ours ÷ theirs", &[0.5, 0.3, 0.41], Bar::at_most(0.4));
        report.ratio("P3", "ours ÷ nginx", &[1.2], Bar::at_most(1.5));
        report.figure("", "memory", "MiB", &[12.0], Bar::none());
        let table = report.table();
        assert!(
            table.contains("P1  ours ÷ theirs: 0.41 × (0.30–0.50); bar 0.40: MISSED"),
            "{table}"
        );
        assert!(table.contains("P3  ours ÷ nginx: 1.20 ×; bar 1.50: met"), "{table}");
        let line = "upstream: PING                                     900      1800    2.00    40.0      100.0";
        assert!(table.contains(line), "{table}");
        assert!(table.contains("    memory: 12.0 MiB\n"), "{table}");
    }
}

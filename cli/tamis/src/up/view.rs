//! The live view: what runs where, how busy it is, how well it does.

use super::mesh::Mesh;
use crate::output::{self, Output};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};
use tamis_node::Node;

/// Draws itself over and over on a terminal, and stays silent elsewhere.
pub(crate) struct View {
    live: bool,
    last: HashMap<String, Seen>,
    at: Instant,
}

/// Counters of a proxy.
#[derive(Clone, Default)]
struct Seen {
    requests: f64,
    good: f64,
    /// Upper bound in milliseconds and how many took no longer.
    buckets: Vec<(f64, f64)>,
}

/// What is printed once everything runs.
pub(crate) fn banner(mesh: &Mesh, took: Duration, ask: &str, tries: &[(String, String)]) -> String {
    let mut text =
        format!("{} proxies serve after {:.1} s\n\n", mesh.nodes().len(), took.as_secs_f64());
    for node in mesh.nodes() {
        let _ = writeln!(text, "  {:<28} {}", node.name().to_string(), addresses(node));
    }
    let _ = writeln!(
        text,
        "\nThe registry they follow answers in a shell that has been told where it is:\n  {ask}\n"
    );
    text.push_str(&try_this(tries));
    text
}

fn try_this(tries: &[(String, String)]) -> String {
    let mut text = String::from("Try, in another terminal:\n");
    for (what, command) in tries {
        let _ = writeln!(text, "  # {what}\n  {command}");
    }
    text.push_str("Ctrl-C ends all of it.\n");
    text
}

fn addresses(node: &Node) -> String {
    let generation = node.proxy().generation();
    let mut all: Vec<String> = generation
        .listeners
        .iter()
        .map(|listener| {
            let scheme = if listener.tls.is_some() { "tls" } else { "http" };
            format!("{} {scheme}://{}", listener.name, listener.address)
        })
        .collect();
    all.extend(node.proxy().admin_address().map(|address| format!("admin http://{address}")));
    all.join("  ")
}

impl View {
    pub(crate) fn new(output: Output) -> Self {
        let live = output == Output::Text && std::io::stdout().is_terminal();
        Self { live, last: HashMap::new(), at: Instant::now() }
    }

    pub(crate) fn show(&mut self, mesh: &Mesh, wrongs: &[String], tries: &[(String, String)]) {
        if !self.live {
            return;
        }
        let seconds = self.at.elapsed().as_secs_f64().max(0.001);
        self.at = Instant::now();
        let mut rows = Vec::new();
        for node in mesh.nodes() {
            let name = node.name().to_string();
            let now = seen(&node.proxy().metrics());
            let since = now.since(self.last.get(&name));
            rows.push(Row {
                name: name.clone(),
                rate: since.requests / seconds,
                success: since.success(),
                p50: since.quantile(0.5),
                p99: since.quantile(0.99),
                filters: filters(node),
                addresses: addresses(node),
            });
            self.last.insert(name, now);
        }
        let (_, width) = console::Term::stdout().size();
        // Clear, home: the picture replaces the one before.
        output::line(&format!("\x1b[2J\x1b[H{}", picture(&rows, wrongs, tries, width.into())));
    }
}

/// What is shown of a proxy.
struct Row {
    name: String,
    /// Requests a second.
    rate: f64,
    /// Percent that did not end as a 5xx.
    success: f64,
    p50: String,
    p99: String,
    filters: String,
    addresses: String,
}

/// The most lines of what is wrong.
const WRONGS: usize = 5;

/// The table, the addresses, what is wrong in the folder, and what to try. Lines of the first two never wrap; commands do, to
/// be copied whole, and so does what has to be read whole.
fn picture(rows: &[Row], wrongs: &[String], tries: &[(String, String)], width: usize) -> String {
    let names = rows.iter().map(|row| console::measure_text_width(&row.name)).max();
    let names = names.unwrap_or_default().clamp(5, 48);
    let mut lines = vec![format!(
        "{:<names$} {:>8} {:>8} {:>8} {:>8}  filters",
        "proxy", "req/s", "success", "p50", "p99"
    )];
    for row in rows {
        let Row { name, rate, success, p50, p99, filters, .. } = row;
        lines.push(format!(
            "{name:<names$} {rate:>8.1} {success:>7.1}% {p50:>8} {p99:>8}  {filters}"
        ));
    }
    lines.push(String::new());
    lines.extend(rows.iter().map(|row| format!("{:<names$} {}", row.name, row.addresses)));
    let mut text = String::new();
    for line in lines {
        // What documents name must not move the cursor.
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        let _ = writeln!(text, "{}", console::truncate_str(&line, width, "…"));
    }
    text.push('\n');
    for wrong in wrongs.iter().take(WRONGS) {
        let wrong: String = wrong.chars().filter(|c| !c.is_control()).collect();
        let _ = writeln!(text, "! {wrong}");
    }
    let more = wrongs.len().saturating_sub(WRONGS);
    if more > 0 {
        let _ = writeln!(text, "! and {more} more; `tamis check` of the folder says what");
    }
    if !wrongs.is_empty() {
        text.push('\n');
    }
    text + &try_this(tries)
}

fn filters(node: &Node) -> String {
    let status = node.proxy().status();
    let slots = status.slots.iter().map(|slot| {
        let short = slot.attachment.rsplit('/').next().unwrap_or(&slot.attachment);
        if slot.state.is_serving() {
            format!("{short} {}", slot.version)
        } else {
            format!("{short} {} {}", slot.version, slot.state)
        }
    });
    slots.collect::<Vec<_>>().join(" · ")
}

impl Seen {
    /// Percent of requests that did not end as a 5xx; all of none.
    fn success(&self) -> f64 {
        if self.requests > 0.0 { 100.0 * self.good / self.requests } else { 100.0 }
    }

    fn since(&self, before: Option<&Self>) -> Self {
        let Some(before) = before else { return self.clone() };
        Self {
            requests: self.requests - before.requests,
            good: self.good - before.good,
            buckets: self
                .buckets
                .iter()
                .map(|(bound, count)| {
                    let earlier = before.buckets.iter().find(|(other, _)| other == bound);
                    (*bound, count - earlier.map_or(0.0, |(_, count)| *count))
                })
                .collect(),
        }
    }

    /// The bound of the bucket that the quantile falls into.
    fn quantile(&self, share: f64) -> String {
        let all = self.buckets.last().map_or(0.0, |(_, count)| *count);
        if all <= 0.0 {
            return "–".to_owned();
        }
        let found = self.buckets.iter().find(|(_, count)| *count >= share * all);
        match found {
            Some((bound, _)) if bound.is_finite() => format!("≤{bound}ms"),
            _ => "more".to_owned(),
        }
    }
}

/// Reads what the telemetry filter counts out of the text of `/metrics`.
fn seen(metrics: &str) -> Seen {
    let mut seen = Seen::default();
    let mut buckets: HashMap<String, f64> = HashMap::new();
    for line in metrics.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        if series.starts_with("tamis_requests_total{") {
            seen.requests += value;
            if !series.contains("status_class=\"5xx\"") {
                seen.good += value;
            }
        } else if series.starts_with("tamis_request_duration_ms_bucket{")
            && let Some(bound) = label(series, "le")
        {
            *buckets.entry(bound.to_owned()).or_default() += value;
        }
    }
    seen.buckets = buckets
        .into_iter()
        .map(|(bound, count)| (bound.parse().unwrap_or(f64::INFINITY), count))
        .collect();
    seen.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    seen
}

fn label<'a>(series: &'a str, name: &str) -> Option<&'a str> {
    let start = series.find(&format!("{name}=\""))? + name.len() + 2;
    series.get(start..)?.split('"').next()
}

#[cfg(test)]
mod tests;

//! The live view: what runs where, how busy it is, how well it does. It fits the terminal, whatever its
//! size.

use super::mesh::Mesh;
use super::suggestions::Suggestion;
use crate::output::{self, Output};
use crate::table::count;
use console::{measure_text_width, truncate_str};
use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};
use tamis_ambient::Clock;
use tamis_exchange::Circuit;
use tamis_node::Node;
use tamis_proxy::TrafficCounts;

/// Frames that rates are taken over: at one a second, ten seconds. A single request stays visible that
/// long.
const WINDOW: usize = 10;

/// Draws itself repeatedly on a terminal, and is silent elsewhere.
pub(crate) struct View {
    live: bool,
    began: Instant,
    last: HashMap<String, VecDeque<CounterSample>>,
}

/// Counters of a proxy at a moment.
#[derive(Clone)]
struct CounterSample {
    at: Instant,
    traffic: TrafficCounts,
    retries: u64,
}

/// The text printed once everything runs.
pub(crate) fn banner(mesh: &Mesh, took: Duration, ask: &str, tries: &[Suggestion]) -> String {
    let mut text = format!(
        "{} serving after {:.1} s\n\n",
        count(mesh.nodes().count(), "proxy", "proxies"),
        took.as_secs_f64()
    );
    for node in mesh.nodes() {
        let _ = writeln!(text, "  {:<28} {}", node.name().to_string(), addresses(node));
    }
    let _ = writeln!(
        text,
        "\nTo use their registry in another shell, set these variables first:\n  {ask}\n"
    );
    text.push_str(&try_this(tries));
    text.push_str("Ctrl-C stops all of it.\n");
    text
}

/// Commands to try, each on a line of its own.
pub(crate) fn try_this(tries: &[Suggestion]) -> String {
    let mut text = String::from("Try, in another terminal:\n");
    for one in tries {
        let _ = writeln!(text, "  # {}\n  {}", one.what, one.command);
        for line in one.missing_lines() {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

fn addresses(node: &Node) -> String {
    let generation = node.proxy().generation();
    let mut all: Vec<String> = generation
        .listeners
        .iter()
        .map(|listener| {
            let scheme = match (&listener.tls, &listener.tcp) {
                (Some(_), _) => "tls",
                (None, Some(rules)) if rules.datagrams => "udp",
                (None, Some(_)) => "tcp",
                (None, None) => "http",
            };
            format!("{} {scheme}://{}", listener.name, listener.address)
        })
        .collect();
    all.extend(node.proxy().admin_address().map(|address| format!("admin http://{address}")));
    all.join("  ")
}

/// What is shown in addition to the proxies.
pub(crate) struct FolderSurroundings<'a> {
    /// The address of the registry.
    pub(crate) registry: &'a str,
    /// The problems of the folder.
    pub(crate) wrongs: &'a [String],
    /// Commands to try.
    pub(crate) tries: &'a [Suggestion],
    /// The file with these commands.
    pub(crate) try_file: &'a str,
}

/// The addresses of a node in half a line.
fn places(node: &Node) -> String {
    let generation = node.proxy().generation();
    let place = |one: &tamis_proxy::ListenerConfig| format!("{} {}", one.name, one.address);
    let mut all: Vec<String> = generation.listeners.iter().map(place).collect();
    all.extend(node.proxy().admin_address().map(|address| format!("admin {address}")));
    all.join("  ")
}

impl View {
    pub(crate) fn new(output: Output) -> Self {
        let live = output == Output::Text && std::io::stdout().is_terminal();
        Self { live, began: Clock::system().now(), last: HashMap::new() }
    }

    pub(crate) fn show(&mut self, mesh: &Mesh, around: &FolderSurroundings<'_>) {
        if !self.live {
            return;
        }
        let rows: Vec<Row> = mesh.nodes().map(|node| self.row(node)).collect();
        let (height, width) = console::Term::stdout().size();
        let up = Clock::system().since(self.began);
        let lines = picture(&rows, around, up, width.into(), height.into());
        // Cursor home, the rest of each line erased, and everything below erased: the view never scrolls.
        output::drawn(&format!("\x1b[2J\x1b[H{}", lines.join("\n")));
    }

    fn row(&mut self, node: &Node) -> Row {
        let (name, proxy) = (node.name().to_string(), node.proxy());
        let services = proxy.service_table().snapshot();
        let retries = services.iter().map(|service| service.retries).sum();
        let now = CounterSample { at: Clock::system().now(), traffic: proxy.traffic(), retries };
        let window = self.last.entry(name.clone()).or_default();
        window.push_back(now.clone());
        if window.len() > WINDOW + 1 {
            window.pop_front();
        }
        let before = window.front().unwrap_or(&now);
        let seconds = now.at.duration_since(before.at).as_secs_f64().max(0.001);
        let status = proxy.status();
        let open = services.iter().flat_map(|service| {
            let open =
                service.endpoints.iter().filter(|one| !matches!(one.circuit, Circuit::Closed));
            open.map(|one| {
                let word =
                    if matches!(one.circuit, Circuit::Open(_)) { "open" } else { "half-open" };
                format!("circuit {word}: {} at {}, from {name}", service.name, one.name)
            })
        });
        let open = open.collect();
        let astray = status.slots.iter().filter(|slot| !slot.state.is_serving()).map(|slot| {
            let detail = slot.detail.as_deref().unwrap_or_default();
            format!("{name}: {} {} {}: {detail}", slot.attachment, slot.version, slot.state)
        });
        let astray: Vec<String> = astray.collect();
        Row {
            seconds,
            traffic: now.traffic.since(&before.traffic),
            retries: retries.saturating_sub(before.retries),
            slots: (status.slots.len() - astray.len(), status.slots.len()),
            open,
            astray,
            problems: status
                .problems
                .iter()
                .filter_map(|one| Some(format!("{name}: {}", one.get("message")?.as_str()?)))
                .collect(),
            addresses: places(node),
            name,
        }
    }
}

/// What is shown of a proxy.
struct Row {
    name: String,
    /// The time over which `traffic` and `retries` were counted.
    seconds: f64,
    traffic: TrafficCounts,
    retries: u64,
    /// Number of slots that run what they should, and of all slots.
    slots: (usize, usize),
    /// Circuits that are not closed.
    open: Vec<String>,
    /// Slots that do not run what they should.
    astray: Vec<String>,
    problems: Vec<String>,
    addresses: String,
}

/// Columns of the table without the name.
const COLUMNS: usize = 55;

impl Row {
    fn cells(&self) -> [String; 8] {
        let all: u64 = (0..6).map(|class| self.traffic.class(class)).sum();
        let good: u64 = (1..4).map(|class| self.traffic.class(class)).sum();
        #[expect(clippy::cast_precision_loss, reason = "a rate is rounded anyway")]
        let rate = |count: u64| match count as f64 / self.seconds {
            rate if count == 0 || rate >= 100.0 => format!("{rate:.0}"),
            rate => format!("{rate:.1}"),
        };
        let share = |count: u64| share(count, all);
        let took = |of: f64| self.traffic.quantile(of).map_or_else(|| "–".to_owned(), took);
        [
            rate(all),
            share(good),
            share(self.traffic.class(4)),
            share(self.traffic.class(5) + self.traffic.class(0)),
            took(0.5),
            took(0.99),
            rate(self.retries),
            format!("{}/{}", self.slots.0, self.slots.1),
        ]
    }
}

/// A percentage, rounded so that 100 % means all and 0 % means none; empty when there is nothing to count.
fn share(count: u64, all: u64) -> String {
    match (count.saturating_mul(100)).checked_div(all) {
        None => "–".to_owned(),
        Some(0) if count > 0 => "<1%".to_owned(),
        Some(percent) => format!("{percent}%"),
    }
}

fn took(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0..10_000 => format!("{}.{}ms", micros / 1_000, micros / 100 % 10),
        10_000..10_000_000 => format!("{}ms", micros / 1_000),
        _ => format!("{}s", micros / 1_000_000),
    }
}

/// The view, at most `height - 1` lines of at most `width` columns: the cursor stands below. First the
/// table, then problems, then as much as fits: addresses and whole commands.
fn picture(
    rows: &[Row],
    around: &FolderSurroundings<'_>,
    up: Duration,
    width: usize,
    height: usize,
) -> Vec<String> {
    let room = height.saturating_sub(1).max(1);
    let names = rows.iter().map(|row| measure_text_width(&row.name)).max().unwrap_or_default();
    let names = names.max(5).min(width.saturating_sub(COLUMNS).max(12));
    let line = |name: &str, cells: &[String; 8]| {
        let [rate, good, client, server, half, most, retries, slots] = cells;
        let name = truncate_str(name, names, "…");
        let pad = names.saturating_sub(measure_text_width(&name));
        format!(
            "{name}{:pad$} {rate:>7} {good:>5} {client:>5} {server:>5} {half:>7} {most:>7} {retries:>6} {slots:>5}",
            ""
        )
    };
    let head = ["req/s", "ok", "4xx", "5xx", "p50", "p99", "retry", "slots"].map(str::to_owned);
    let minutes = up.as_secs() / 60;
    let mut lines = vec![
        format!(
            "{} proxies, up {minutes}:{:02}; registry {}; rates of the last {WINDOW} s",
            rows.len(),
            up.as_secs() % 60,
            around.registry
        ),
        line("proxy", &head),
    ];
    lines.extend(rows.iter().map(|row| line(&row.name, &row.cells())));
    let wrongs = around.wrongs.iter().cloned();
    let wrongs =
        wrongs.chain(rows.iter().flat_map(|row| row.astray.iter().chain(&row.problems)).cloned());
    let mut marked: Vec<String> =
        rows.iter().flat_map(|row| &row.open).map(|one| format!("~ {one}")).collect();
    marked.extend(wrongs.map(|wrong| format!("! {wrong}")));
    if marked.is_empty() {
        marked.push("all circuits closed, all slots serving, no problems in the folder".to_owned());
    }
    lines.push(String::new());
    // The last line names the file with the commands.
    let last = format!("{} has commands to try; Ctrl-C stops everything", around.try_file);
    let left = room.saturating_sub(lines.len() + 1);
    let more = marked.len().saturating_sub(left);
    if more > 0 && left > 0 {
        marked.truncate(left - 1);
        marked.push(format!("! and {} more; `tamis check` and `tamis status` list them", more + 1));
    }
    lines.extend(marked.into_iter().take(left));
    let mut rest = vec![vec![String::new()]];
    if let Some(rest) = rest.first_mut() {
        rest.extend(rows.iter().map(|row| format!("{:<names$} {}", row.name, row.addresses)));
    }
    lines = lines.into_iter().map(|line| cut(&line, width)).collect();
    for block in rest {
        let block: Vec<String> = block.iter().map(|line| cut(line, width)).collect();
        if lines.len() + block.len() < room {
            lines.extend(block);
        }
    }
    commands(around.tries, width, room, &mut lines);
    lines.truncate(room.saturating_sub(1));
    lines.push(cut(&last, width));
    lines
}

/// As many commands as fit, each whole: a terminal wraps a long one, and it is copied whole.
fn commands(tries: &[Suggestion], width: usize, room: usize, lines: &mut Vec<String>) {
    let wraps = |line: &str| measure_text_width(line).div_ceil(width.max(1)).max(1);
    let mut used = lines.len() + 1;
    for (index, one) in tries.iter().enumerate() {
        let mut block = vec![cut(&format!("  # {}", one.what), width)];
        block.push(format!("  {}", plain(&one.command)));
        block.extend(one.missing_lines().iter().map(|line| plain(line)));
        let head = usize::from(index == 0);
        let need = head + block.iter().map(|line| wraps(line)).sum::<usize>();
        if used + need >= room {
            return;
        }
        used += need;
        if index == 0 {
            lines.push(cut("Try, in another terminal:", width));
        }
        lines.extend(block);
    }
}

/// Names from documents must not move the cursor.
fn plain(line: &str) -> String {
    output::plain(line).replace(['\n', '\t'], " ")
}

fn cut(line: &str, width: usize) -> String {
    truncate_str(&plain(line), width, "…").into_owned()
}

#[cfg(test)]
mod tests;

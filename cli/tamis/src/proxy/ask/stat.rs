//! `tamis proxy stat NODE`: the metrics of a running proxy, with rates.

use super::ProxyAddress;
use crate::output::{self, Output};
use crate::table::table;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tamis_ambient::Clock;

/// Arguments of `stat`.
#[derive(clap::Args)]
pub(in crate::proxy) struct Arguments {
    #[command(flatten)]
    which: ProxyAddress,
    /// Seconds over which rates are taken.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Show only metrics whose names begin so.
    #[arg(long, value_name = "PREFIX", default_value = "")]
    name: String,
    /// Show metrics that are zero too.
    #[arg(long)]
    all: bool,
}

/// A series of the page of metrics.
#[derive(Debug, Clone, PartialEq)]
struct Series {
    /// Its name with its labels, as the page has them.
    name: String,
    value: f64,
    /// True for a number that only rises.
    counts: bool,
}

/// The series of a page in the text format of Prometheus, in their order. Lines that are none are skipped.
fn series(page: &str) -> Vec<Series> {
    let mut counters: BTreeMap<&str, bool> = BTreeMap::new();
    let mut all = Vec::new();
    for line in page.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            if let Some((name, kind)) = kind.split_once(' ') {
                counters.insert(name, kind != "gauge");
            }
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        // A label may have spaces in it; the value has none.
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        let family = name.split('{').next().unwrap_or(name);
        let of = |family: &str| counters.get(family).copied();
        // The parts of a histogram are shown under its name.
        let parts = ["_bucket", "_sum", "_count"];
        let parts = parts.iter().find_map(|end| family.strip_suffix(end).and_then(of));
        let counts = of(family).or(parts).unwrap_or(false);
        all.push(Series { name: name.to_owned(), value, counts });
    }
    all
}

/// A series with how fast it rose.
#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    value: f64,
    /// Per second; `None` for what may fall.
    rate: Option<f64>,
}

/// What changed from one page to the next. A counter that fell is of a new process: it has no rate.
fn rows(before: &[Series], after: Vec<Series>, seconds: f64, arguments: &Arguments) -> Vec<Row> {
    let before: BTreeMap<&str, f64> =
        before.iter().map(|one| (one.name.as_str(), one.value)).collect();
    let wanted = after
        .into_iter()
        .filter(|one| one.name.starts_with(&arguments.name) && (arguments.all || one.value != 0.0));
    let row = |one: Series| {
        let rose = one.value - before.get(one.name.as_str()).copied().unwrap_or(0.0);
        let rate = (one.counts && rose >= 0.0).then(|| rose / seconds.max(0.001));
        Row { name: one.name, value: one.value, rate }
    };
    wanted.map(row).collect()
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<()> {
    let before = series(&arguments.which.ask("GET", "/metrics")?);
    let clock = Clock::system();
    let began = clock.now();
    let busy = output::busy("counting");
    std::thread::sleep(Duration::from_secs(arguments.seconds));
    drop(busy);
    let after = series(&arguments.which.ask("GET", "/metrics")?);
    let rows = rows(&before, after, clock.since(began).as_secs_f64(), arguments);
    let items: Vec<Value> = rows
        .iter()
        .map(|row| json!({ "metric": row.name, "value": row.value, "perSecond": row.rate }))
        .collect();
    let node = arguments.which.node.to_string();
    let value = json!({ "node": node, "seconds": arguments.seconds, "items": items });
    output::result(output, &value, || text(&rows));
    Ok(())
}

fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no metric of that name is other than zero; --all shows every one".to_owned();
    }
    let cells = |row: &Row| {
        let rate = row.rate.map(|rate| format!("{rate:.1}")).unwrap_or_default();
        [row.name.clone(), row.value.to_string(), rate]
    };
    let cells: Vec<[String; 3]> = rows.iter().map(cells).collect();
    table(["METRIC", "VALUE", "PER SECOND"], &cells)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn arguments(more: &[&str]) -> Arguments {
        let line = ["stat", "gateway:shop/edge"].iter().chain(more);
        Line::try_parse_from(line).ok().unwrap().arguments
    }

    const PAGE: &str = "# HELP a_total Things.\n# TYPE a_total counter\na_total{b=\"c d\"} 10\n# TYPE g gauge\ng 3\n\
        # TYPE h histogram\nh_bucket{le=\"+Inf\"} 4\nh_sum 1.5\n# TYPE z gauge\nz 0\nnonsense\nx NaNs\n";

    #[test]
    fn counters_have_rates_and_gauges_have_none() {
        let after = PAGE.replace("} 10", "} 30").replace("le=\"+Inf\"} 4", "le=\"+Inf\"} 6");
        let all = rows(&series(PAGE), series(&after), 2.0, &arguments(&[]));
        let row = |name: &str, value, rate| Row { name: name.to_owned(), value, rate };
        let wanted = [
            row("a_total{b=\"c d\"}", 30.0, Some(10.0)),
            row("g", 3.0, None),
            row("h_bucket{le=\"+Inf\"}", 6.0, Some(1.0)),
            row("h_sum", 1.5, Some(0.0)),
        ];
        assert_eq!(all, wanted, "what is zero or no number is left out");
        assert!(text(&all).starts_with("METRIC "), "{}", text(&all));
        let some = rows(&series(PAGE), series(&after), 2.0, &arguments(&["--name", "g", "--all"]));
        assert_eq!(some, [row("g", 3.0, None)]);
        // A counter of a new process.
        let fell = rows(&series(PAGE), series(&PAGE.replace("} 10", "} 1")), 2.0, &arguments(&[]));
        assert_eq!(fell[0].rate, None);
        assert!(text(&[]).contains("--all"));
    }

    #[test]
    fn a_rate_is_taken_over_a_minute_at_most() {
        for wrong in ["0", "61", "x"] {
            let line = ["stat", "gateway:shop/edge", "--seconds", wrong];
            assert!(Line::try_parse_from(line).is_err(), "{wrong}");
        }
    }
}

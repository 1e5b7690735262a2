//! The metrics, and their series by label ids.

use std::collections::HashMap;

use tamis_sdk::metrics::Kind;
use tamis_sdk::telemetry::{NameKind, Outcome, Summary};

use crate::config::Label;
use crate::meter::Meter;
use crate::names::AnnouncedNames;

/// Name of the histogram.
pub const DURATION: &str = "tamis_request_duration_ms";

/// Maximum number of series handles kept; above it, all are looked up again. The host limits how many
/// exist.
const KEPT: usize = 4_096;

/// Ids of the label values of one series, in the order of the labels.
type Key = [u32; 6];

/// All metrics.
#[derive(Debug)]
pub struct MetricBoard {
    labels: Vec<Label>,
    metrics: Metrics,
    series: HashMap<Key, usize>,
    rows: Vec<Row>,
    /// Rows the current batch added to.
    touched: Vec<usize>,
}

/// Handles of the metrics. The first two have all labels, the others all but the status class.
#[derive(Clone, Copy, Debug)]
struct Metrics {
    requests: u32,
    duration: u32,
    failures: u32,
    retries: u32,
    bytes_in: u32,
    bytes_out: u32,
}

/// Series of one combination of labels, and what the batch adds to them.
#[derive(Clone, Copy, Debug)]
struct Row {
    series: Metrics,
    requests: u32,
    failures: u32,
    retries: u32,
    bytes_in: u64,
    bytes_out: u64,
}

impl MetricBoard {
    /// Defines all metrics.
    ///
    /// # Errors
    /// The host's reason for refusing one.
    pub fn define(labels: &[Label], meter: &mut impl Meter) -> Result<Self, String> {
        let names = |all: bool| -> Vec<String> {
            let shown = labels.iter().filter(|label| all || **label != Label::StatusClass);
            shown.map(|label| label.name().to_owned()).collect()
        };
        let (all, some) = (names(true), names(false));
        let mut counter = |name: &str, help: &str, labels: &[String]| {
            meter.define(Kind::Counter, name, help, labels)
        };
        let metrics = Metrics {
            requests: counter("tamis_requests_total", "Finished exchanges.", &all)?,
            failures: counter(
                "tamis_upstream_failures_total",
                "Exchanges whose upstream failed.",
                &some,
            )?,
            retries: counter("tamis_retries_total", "Attempts after the first.", &some)?,
            bytes_in: counter("tamis_request_bytes_total", "Body bytes received.", &some)?,
            bytes_out: counter("tamis_response_bytes_total", "Body bytes sent.", &some)?,
            duration: meter.define(
                Kind::Histogram,
                DURATION,
                "Time from the first byte of a request to the last byte of its response.",
                &all,
            )?,
        };
        Ok(Self {
            labels: labels.to_vec(),
            metrics,
            series: HashMap::new(),
            rows: Vec::new(),
            touched: Vec::new(),
        })
    }

    /// Counts one exchange; [`Self::flush`] passes counters to the meter.
    pub fn count(&mut self, summary: &Summary, names: &AnnouncedNames, meter: &mut impl Meter) {
        let index = self.row(summary, names, meter);
        let Some(row) = self.rows.get_mut(index) else {
            return;
        };
        if row.requests == 0 {
            self.touched.push(index);
        }
        row.requests += 1;
        row.failures += u32::from(summary.outcome.contains(Outcome::UPSTREAM_FAILED));
        if summary.outcome.contains(Outcome::RETRIED) {
            row.retries += summary.attempts.saturating_sub(1);
        }
        row.bytes_in += summary.bytes_in;
        row.bytes_out += summary.bytes_out;
        meter.observe(row.series.duration, f64::from(summary.duration_us) / 1_000.0);
    }

    /// Passes on the sums of the batch.
    pub fn flush(&mut self, meter: &mut impl Meter) {
        for index in self.touched.drain(..) {
            let Some(row) = self.rows.get_mut(index) else {
                continue;
            };
            let series = row.series;
            for (handle, amount) in [
                (series.requests, f64::from(row.requests)),
                (series.failures, f64::from(row.failures)),
                (series.retries, f64::from(row.retries)),
                (series.bytes_in, row.bytes_in as f64),
                (series.bytes_out, row.bytes_out as f64),
            ] {
                if amount > 0.0 {
                    meter.add(handle, amount);
                }
            }
            *row = Row::empty(series);
        }
    }

    /// Forgets the handles; they are looked up again. Only between batches.
    pub fn forget(&mut self) {
        self.series.clear();
        self.rows.clear();
        self.touched.clear();
    }

    fn row(&mut self, summary: &Summary, names: &AnnouncedNames, meter: &mut impl Meter) -> usize {
        let mut key: Key = [u32::MAX; 6];
        for (slot, label) in key.iter_mut().zip(&self.labels) {
            *slot = id_of(*label, summary);
        }
        if let Some(index) = self.series.get(&key) {
            return *index;
        }
        if self.rows.len() >= KEPT {
            self.flush(meter);
            self.forget();
        }
        let series = self.open(&key, names, meter);
        let index = self.rows.len();
        self.rows.push(Row::empty(series));
        self.series.insert(key, index);
        index
    }

    fn open(&self, key: &Key, names: &AnnouncedNames, meter: &mut impl Meter) -> Metrics {
        let values = |all: bool| -> Vec<String> {
            let shown = self.labels.iter().zip(key);
            let shown = shown.filter(|(label, _)| all || **label != Label::StatusClass);
            shown.map(|(label, id)| value_of(*label, *id, names).to_owned()).collect()
        };
        let (all, some) = (values(true), values(false));
        Metrics {
            requests: meter.series(self.metrics.requests, &all),
            duration: meter.series(self.metrics.duration, &all),
            failures: meter.series(self.metrics.failures, &some),
            retries: meter.series(self.metrics.retries, &some),
            bytes_in: meter.series(self.metrics.bytes_in, &some),
            bytes_out: meter.series(self.metrics.bytes_out, &some),
        }
    }
}

impl Row {
    fn empty(series: Metrics) -> Self {
        Self { series, requests: 0, failures: 0, retries: 0, bytes_in: 0, bytes_out: 0 }
    }
}

fn id_of(label: Label, summary: &Summary) -> u32 {
    match label {
        Label::Route => summary.rule,
        Label::Upstream => summary.upstream,
        Label::Endpoint => summary.endpoint,
        Label::Peer => summary.peer,
        Label::Reason => summary.reason,
        Label::StatusClass => u32::from(summary.status / 100),
    }
}

fn value_of(label: Label, id: u32, names: &AnnouncedNames) -> &str {
    match label {
        Label::Route => names.name(NameKind::Rule, id),
        Label::Upstream => names.name(NameKind::Upstream, id),
        Label::Endpoint => names.name(NameKind::Endpoint, id),
        Label::Peer => names.name(NameKind::Identity, id),
        Label::Reason => names.name(NameKind::Reason, id),
        Label::StatusClass => match id {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            5 => "5xx",
            _ => "none",
        },
    }
}

//! Metrics: families with fixed labels, a limited number of series, text exposition for Prometheus.
//!
//! A family is defined once; defining it again with the same kind, help and labels returns the same family,
//! with others an error. Beyond its cap all new label values share one series whose values are `overflow`,
//! so that a hostile label cannot use up memory. Handles are lock-free; only finding a series takes a lock.
//!
//! A family belongs to whoever defined it. The names of the host's families begin with `tamis_`, those of a
//! filter begin with the filter's name, so that neither can take or change the other's.

use prometheus::{
    CounterVec, Encoder, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder,
};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Label value of the overflow series.
pub const OVERFLOW: &str = "overflow";
/// Default number of series of a family.
pub const DEFAULT_SERIES: usize = 1_000;
/// Default upper bounds, in seconds.
pub const DEFAULT_BUCKETS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Upper bounds in bytes: 64 B to 16 MiB.
const BYTE_BUCKETS: [f64; 10] = [
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];
/// Metrics that all instances of one filter may define together.
const MAX_OWN: usize = 256;
/// Bytes of a name, as a filter writes it.
const MAX_NAME: usize = 200;
/// Bytes of a help text.
const MAX_HELP: usize = 1_024;
/// Bytes of a label's name.
const MAX_LABEL: usize = 64;
/// Bytes of a label's value; longer values are cut.
const MAX_VALUE: usize = 256;
/// Bounds of a histogram.
const MAX_BUCKETS: usize = 64;
/// Bytes of all metrics of one filter on the page of metrics. Bounds on the numbers of metrics, series, labels
/// and buckets are not enough: the numbers multiply.
const MAX_OWN_OCTETS: usize = 16 * 1024 * 1024;
/// Bytes of a line in addition to its name and labels: quotes, `_bucket`, the bound, the value.
const LINE_OCTETS: usize = 64;
/// Namespace that may use names that begin with `tamis_`: the host, and filters of this project.
const PROJECT: &str = "tamis";
const RESERVED: &str = "tamis_";

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by size.
    Histogram,
}

/// A metric that cannot be defined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("metric `{name}`: {rule}")]
pub struct MetricError {
    /// As requested.
    pub name: String,
    /// What is expected.
    pub rule: String,
}

/// All metrics of a process.
#[derive(Debug, Default)]
pub struct Metrics {
    registry: Registry,
    families: Mutex<HashMap<String, Arc<Family>>>,
    /// Bytes of the metrics of each filter on the page.
    octets: Mutex<HashMap<String, Arc<AtomicUsize>>>,
    /// Names that the host writes itself, not through families.
    taken: Mutex<HashSet<String>>,
}

/// Upper bounds for a histogram of that name, in the unit that the name ends with: `_seconds`, `_ms`,
/// `_us`, `_ns` or `_bytes`; seconds for any other name.
pub fn buckets_of(name: &str) -> Vec<f64> {
    let times = |factor: f64| DEFAULT_BUCKETS.iter().map(|bound| bound * factor).collect();
    match name.rsplit('_').next() {
        Some("ms") => times(1e3),
        Some("us") => times(1e6),
        Some("ns") => times(1e9),
        Some("bytes") => BYTE_BUCKETS.to_vec(),
        _ => DEFAULT_BUCKETS.to_vec(),
    }
}

/// The name under which a filter's metric is exposed: unchanged for `tamis/…` filters whose metric names
/// begin with `tamis_`; `NAMESPACE__FILTER__NAME` for all others, with `_` for `-`. Metrics of different
/// filters begin differently.
pub fn shown_name(filter: &str, name: &str) -> String {
    let (namespace, bare) = filter.split_once('/').unwrap_or(("", filter));
    if namespace == PROJECT && name.starts_with(RESERVED) {
        return name.to_owned();
    }
    let plain = |text: &str| {
        text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.contains("--")
            && !text.starts_with('-')
            && !text.ends_with('-')
    };
    let word = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    // A filter whose name could collide with another's once written with `_` gets a hash of its name as prefix.
    let number = match plain(namespace) && plain(bare) {
        true => String::new(),
        false => format!("h{:016x}__", fnv(filter)),
    };
    let digit = namespace.starts_with(|c: char| c.is_ascii_digit()) && number.is_empty();
    let start = if digit { "_" } else { "" };
    format!("{start}{number}{}__{}__{name}", word(namespace), word(bare))
}

/// FNV-1a, 64 bits: distinguishes names that were not chosen to collide; the owner of a family is checked
/// as well.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// One metric with its label names.
#[derive(Debug)]
pub struct Family {
    /// The filter it belongs to; `None`: the host.
    owner: Option<String>,
    kind: MetricKind,
    help: String,
    labels: Vec<String>,
    cap: usize,
    /// Lines that a series is shown as.
    lines: usize,
    /// Octets of a line without the values of labels.
    line: usize,
    /// What all metrics of its owner take on the page; none: the host's, which nobody bounds.
    octets: Option<Arc<AtomicUsize>>,
    seen: Mutex<HashSet<Vec<String>>>,
    vector: Vector,
}

#[derive(Debug)]
enum Vector {
    Counter(CounterVec),
    Gauge(GaugeVec),
    Histogram(HistogramVec),
}

/// One series: cheap to clone, lock-free to change.
#[derive(Debug, Clone)]
pub enum Series {
    /// See [`MetricKind::Counter`].
    Counter(prometheus::Counter),
    /// See [`MetricKind::Gauge`].
    Gauge(prometheus::Gauge),
    /// See [`MetricKind::Histogram`].
    Histogram(prometheus::Histogram),
}

impl Metrics {
    /// No metrics yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Defines a family with the default cap and buckets, or returns an equal one that was defined before.
    ///
    /// # Errors
    /// The name or a label is malformed, or the name has another definition.
    pub fn define(
        &self,
        kind: MetricKind,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<Arc<Family>, MetricError> {
        self.define_with(kind, name, help, labels, DEFAULT_SERIES, &DEFAULT_BUCKETS)
    }

    /// Like [`Metrics::define`], with at most `cap` series and these histogram `buckets`.
    ///
    /// # Errors
    /// As [`Metrics::define`].
    pub fn define_with(
        &self,
        kind: MetricKind,
        name: &str,
        help: &str,
        labels: &[&str],
        cap: usize,
        buckets: &[f64],
    ) -> Result<Arc<Family>, MetricError> {
        self.owned(None, kind, name, help, labels, cap, buckets)
    }

    /// Reserves names that the host itself writes on its page: no family may have such a name.
    pub fn reserve<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        lock(&self.taken).extend(names.into_iter().map(str::to_owned));
    }

    /// Defines a family of a filter (`namespace/name`), exposed under [`shown_name`], or returns an equal
    /// one that the same filter defined before. `buckets` are the bounds of a histogram; `None`:
    /// [`buckets_of`] its name.
    ///
    /// # Errors
    /// As [`Metrics::define`], and when the name belongs to another owner.
    #[expect(clippy::too_many_arguments, reason = "a definition has that many parts")]
    pub fn define_for(
        &self,
        filter: &str,
        kind: MetricKind,
        name: &str,
        help: &str,
        labels: &[&str],
        cap: usize,
        buckets: Option<&[f64]>,
    ) -> Result<Arc<Family>, MetricError> {
        let error = |rule: &str| MetricError { name: cut(name).to_owned(), rule: rule.to_owned() };
        check_names(name, labels).map_err(error)?;
        if name.len() > MAX_NAME {
            return Err(error("a name may have at most 200 characters"));
        }
        if help.len() > MAX_HELP {
            return Err(error("its help text may have at most 1,024 bytes"));
        }
        let shown = shown_name(filter, name);
        let buckets = buckets.map_or_else(|| buckets_of(name), <[f64]>::to_vec);
        self.owned(Some(filter), kind, &shown, help, labels, cap, &buckets)
    }

    #[expect(clippy::too_many_arguments, reason = "a definition has that many parts")]
    fn owned(
        &self,
        owner: Option<&str>,
        kind: MetricKind,
        name: &str,
        help: &str,
        labels: &[&str],
        cap: usize,
        buckets: &[f64],
    ) -> Result<Arc<Family>, MetricError> {
        let error = |rule: &str| MetricError { name: name.to_owned(), rule: rule.to_owned() };
        check_names(name, labels).map_err(error)?;
        check_buckets(buckets).map_err(error)?;
        if lock(&self.taken).contains(name) {
            return Err(error("the name belongs to the host; choose another name"));
        }
        let mut families = lock(&self.families);
        if let Some(family) = families.get(name) {
            if family.owner.as_deref() != owner {
                return Err(error("the name belongs to another filter; choose another name"));
            }
            let same = family.kind == kind && family.help == help && family.labels == labels;
            return if same {
                Ok(Arc::clone(family))
            } else {
                Err(error(
                    "it was defined before with another kind, help or labels; choose another name",
                ))
            };
        }
        // An instance that is made again and again could define new names each time.
        let own = families.values().filter(|family| family.owner.as_deref() == owner).count();
        if owner.is_some() && own >= MAX_OWN {
            return Err(error(
                "a filter may have at most 256 metrics; define fewer, and the same ones in each instance",
            ));
        }
        let lines = match kind {
            MetricKind::Counter | MetricKind::Gauge => 1,
            // One for each bound, for all, the sum and the count.
            MetricKind::Histogram => buckets.len() + 3,
        };
        let line = labels.iter().fold(name.len() + LINE_OCTETS, |sum, label| sum + label.len() + 4);
        let octets = owner.map(|owner| self.octets_of(owner));
        // The series of those that are over the cap is one more, and always has to be there.
        let least = lines * (line + labels.len() * OVERFLOW.len()) + 2 * name.len() + escaped(help);
        if octets.as_ref().is_some_and(|octets| !spend(octets, least)) {
            return Err(error(
                "all metrics of a filter take at most 16 MiB on the page; define fewer, with fewer labels and bounds",
            ));
        }
        let vector = self.registered(kind, Opts::new(name, help), labels, buckets);
        let vector =
            vector.map_err(|e| MetricError { name: name.to_owned(), rule: e.to_string() })?;
        let family = Arc::new(Family {
            owner: owner.map(str::to_owned),
            kind,
            help: help.to_owned(),
            labels: labels.iter().map(|&l| l.to_owned()).collect(),
            cap,
            lines,
            line,
            octets,
            seen: Mutex::default(),
            vector,
        });
        families.insert(name.to_owned(), Arc::clone(&family));
        Ok(family)
    }

    /// The series of a new metric, which the page shows from now on.
    fn registered(
        &self,
        kind: MetricKind,
        options: Opts,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<Vector, prometheus::Error> {
        Ok(match kind {
            MetricKind::Counter => {
                let vector = CounterVec::new(options, labels)?;
                self.registry.register(Box::new(vector.clone()))?;
                Vector::Counter(vector)
            }
            MetricKind::Gauge => {
                let vector = GaugeVec::new(options, labels)?;
                self.registry.register(Box::new(vector.clone()))?;
                Vector::Gauge(vector)
            }
            MetricKind::Histogram => {
                let options = HistogramOpts::from(options).buckets(buckets.to_vec());
                let vector = HistogramVec::new(options, labels)?;
                self.registry.register(Box::new(vector.clone()))?;
                Vector::Histogram(vector)
            }
        })
    }

    fn octets_of(&self, owner: &str) -> Arc<AtomicUsize> {
        let mut octets = lock(&self.octets);
        match octets.get(owner) {
            Some(known) => Arc::clone(known),
            None => Arc::clone(octets.entry(owner.to_owned()).or_default()),
        }
    }

    /// All metrics in the text exposition format 0.0.4.
    pub fn render(&self) -> String {
        let mut out = Vec::new();
        // Writing to memory fails only for a family without series, which `gather` leaves out.
        drop(TextEncoder::new().encode(&self.registry.gather(), &mut out));
        String::from_utf8_lossy(&out).into_owned()
    }
}

impl Family {
    /// Label names, in order.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The kind.
    pub fn kind(&self) -> MetricKind {
        self.kind
    }

    /// The series with these label values; missing values are empty, excess values ignored. Beyond the cap,
    /// or without room for more on the page, it is the overflow series.
    pub fn series(&self, values: &[&str]) -> Series {
        let clean: Vec<Cow<'_, str>> =
            values.iter().take(self.labels.len()).map(|value| printable(cut(value))).collect();
        let mut values: Vec<&str> = clean.iter().map(|value| &**value).collect();
        values.resize(self.labels.len(), "");
        if !self.admit(&values) {
            values = vec![OVERFLOW; self.labels.len()];
        }
        match &self.vector {
            Vector::Counter(vector) => Series::Counter(vector.with_label_values(&values)),
            Vector::Gauge(vector) => Series::Gauge(vector.with_label_values(&values)),
            Vector::Histogram(vector) => Series::Histogram(vector.with_label_values(&values)),
        }
    }

    fn admit(&self, values: &[&str]) -> bool {
        let mut seen = lock(&self.seen);
        let key: Vec<String> = values.iter().map(|&v| v.to_owned()).collect();
        if seen.contains(&key) {
            return true;
        }
        let values = values.iter().map(|value| escaped(value)).sum::<usize>();
        let size = self.lines.saturating_mul(self.line.saturating_add(values));
        let room =
            seen.len() < self.cap && self.octets.as_ref().is_none_or(|octets| spend(octets, size));
        if room {
            seen.insert(key);
        }
        room
    }
}

/// Octets of a text on the page, where three characters are written with a `\` before them.
fn escaped(text: &str) -> usize {
    text.len() + text.bytes().filter(|octet| b"\\\"\n".contains(octet)).count()
}

/// Takes so much of what the metrics of a filter may take, if it is there.
fn spend(octets: &AtomicUsize, size: usize) -> bool {
    let more = |used: usize| used.checked_add(size).filter(|sum| *sum <= MAX_OWN_OCTETS);
    octets.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

impl Series {
    /// Adds to a counter or gauge; a counter ignores negative amounts.
    pub fn add(&self, amount: f64) {
        match self {
            Self::Counter(counter) if amount >= 0.0 && amount.is_finite() => counter.inc_by(amount),
            Self::Gauge(gauge) => gauge.add(amount),
            Self::Counter(_) | Self::Histogram(_) => {}
        }
    }

    /// Sets a gauge.
    pub fn set(&self, value: f64) {
        if let Self::Gauge(gauge) = self {
            gauge.set(value);
        }
    }

    /// Observes into a histogram.
    pub fn observe(&self, value: f64) {
        if let Self::Histogram(histogram) = self
            && value.is_finite()
        {
            histogram.observe(value);
        }
    }
}

fn cut(value: &str) -> &str {
    value.get(..value.floor_char_boundary(MAX_VALUE)).unwrap_or(value)
}

/// A value as it can stand on the page: readers of it stop at a NUL, and a terminal obeys an escape. A line feed is
/// written as `\n` there.
fn printable(value: &str) -> Cow<'_, str> {
    let is_odd = |c: char| c.is_control() && c != '\n';
    match value.contains(is_odd) {
        true => value.replace(is_odd, "\u{fffd}").into(),
        false => value.into(),
    }
}

fn check_buckets(buckets: &[f64]) -> Result<(), &'static str> {
    let rises = buckets.iter().zip(buckets.iter().skip(1)).all(|(a, b)| a < b);
    if buckets.is_empty() || buckets.len() > MAX_BUCKETS || !rises {
        return Err("a histogram needs 1 to 64 bounds, in ascending order");
    }
    if buckets.iter().all(|bound| bound.is_finite()) {
        Ok(())
    } else {
        Err("the bounds of a histogram must be finite numbers")
    }
}

fn check_names(name: &str, labels: &[&str]) -> Result<(), &'static str> {
    let word = |text: &str, colon: bool| {
        let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || (colon && b == b':');
        !text.is_empty()
            && !text.as_bytes().first().is_some_and(u8::is_ascii_digit)
            && text.bytes().all(ok)
    };
    // Longer than the limit: the name of the filter may precede it.
    if !word(name, true) || name.len() > MAX_NAME * 4 {
        return Err("a name must match [a-zA-Z_:][a-zA-Z0-9_:]* and have at most 200 characters");
    }
    if labels.len() > 16 {
        return Err("a metric may have at most 16 labels");
    }
    for (index, label) in labels.iter().enumerate() {
        if label.len() > MAX_LABEL {
            return Err("the name of a label may have at most 64 characters");
        }
        if !word(label, false) || label.starts_with("__") || *label == "le" || *label == "quantile"
        {
            return Err(
                "the name of a label must match [a-zA-Z_][a-zA-Z0-9_]*, other than `le`, `quantile` and `__…`",
            );
        }
        if labels.iter().take(index).any(|l| l == label) {
            return Err("a label is named twice");
        }
    }
    Ok(())
}

/// A panic while the lock was held leaves the map intact.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

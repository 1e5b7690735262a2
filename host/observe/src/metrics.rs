//! Metrics: families with fixed labels, series that are capped, text exposition for Prometheus.
//!
//! A family is defined once; defining it again with the same kind, help and labels gives the same family, with others an
//! error. Past its cap all new label values share one series whose values are `overflow`, so that a hostile
//! label cannot eat memory. Handles are lock-free; only finding a series takes a lock.

use prometheus::{
    CounterVec, Encoder, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder,
};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the values of the overflow series are.
pub const OVERFLOW: &str = "overflow";
/// Series of a family unless told otherwise.
pub const DEFAULT_SERIES: usize = 1_000;
/// Upper bounds in seconds, unless told otherwise.
pub const DEFAULT_BUCKETS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

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
    /// As asked for.
    pub name: String,
    /// What is expected.
    pub rule: String,
}

/// All metrics of a process.
#[derive(Debug, Default)]
pub struct Metrics {
    registry: Registry,
    families: Mutex<HashMap<String, Arc<Family>>>,
}

/// One metric with its label names.
#[derive(Debug)]
pub struct Family {
    kind: MetricKind,
    help: String,
    labels: Vec<String>,
    cap: usize,
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

    /// Defines a family with the default cap and buckets, or finds the equal one defined before.
    ///
    /// # Errors
    /// When the name or a label is malformed, or the name is taken by another definition.
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
        let error = |rule: &str| MetricError { name: name.to_owned(), rule: rule.to_owned() };
        check_names(name, labels).map_err(error)?;
        let mut families = lock(&self.families);
        if let Some(family) = families.get(name) {
            let same = family.kind == kind && family.help == help && family.labels == labels;
            return if same {
                Ok(Arc::clone(family))
            } else {
                Err(error("defined before with another kind, help or labels; choose another name"))
            };
        }
        let failed =
            |e: prometheus::Error| MetricError { name: name.to_owned(), rule: e.to_string() };
        let vector = match kind {
            MetricKind::Counter => {
                let vector = CounterVec::new(Opts::new(name, help), labels).map_err(failed)?;
                self.registry.register(Box::new(vector.clone())).map_err(failed)?;
                Vector::Counter(vector)
            }
            MetricKind::Gauge => {
                let vector = GaugeVec::new(Opts::new(name, help), labels).map_err(failed)?;
                self.registry.register(Box::new(vector.clone())).map_err(failed)?;
                Vector::Gauge(vector)
            }
            MetricKind::Histogram => {
                let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
                let vector = HistogramVec::new(options, labels).map_err(failed)?;
                self.registry.register(Box::new(vector.clone())).map_err(failed)?;
                Vector::Histogram(vector)
            }
        };
        let family = Arc::new(Family {
            kind,
            help: help.to_owned(),
            labels: labels.iter().map(|&l| l.to_owned()).collect(),
            cap,
            seen: Mutex::default(),
            vector,
        });
        families.insert(name.to_owned(), Arc::clone(&family));
        Ok(family)
    }

    /// Everything in the text exposition format 0.0.4.
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

    /// The series with these label values; missing ones are empty, further ones ignored, and past the cap it is the
    /// overflow series.
    pub fn series(&self, values: &[&str]) -> Series {
        let mut values: Vec<&str> = values.to_vec();
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
        let room = seen.len() < self.cap;
        if room {
            seen.insert(key);
        }
        room
    }
}

impl Series {
    /// Adds to a counter or gauge; a counter ignores what would shrink it.
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

fn check_names(name: &str, labels: &[&str]) -> Result<(), &'static str> {
    let word = |text: &str, colon: bool| {
        let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || (colon && b == b':');
        !text.is_empty()
            && !text.as_bytes().first().is_some_and(u8::is_ascii_digit)
            && text.bytes().all(ok)
    };
    if !word(name, true) || name.len() > 200 {
        return Err("a name matches [a-zA-Z_:][a-zA-Z0-9_:]* and has at most 200 characters");
    }
    if labels.len() > 16 {
        return Err("at most 16 labels");
    }
    for (index, label) in labels.iter().enumerate() {
        if !word(label, false) || label.starts_with("__") || *label == "le" || *label == "quantile"
        {
            return Err("a label matches [a-zA-Z_][a-zA-Z0-9_]*, not `le`, `quantile` or `__…`");
        }
        if labels.iter().take(index).any(|l| l == label) {
            return Err("a label is named twice");
        }
    }
    Ok(())
}

/// A panic while the lock was held leaves a map that is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_equal_definition_is_the_same_family_and_another_is_an_error() {
        let metrics = Metrics::new();
        let first = metrics.define(MetricKind::Counter, "a_total", "A.", &["x"]).unwrap();
        let again = metrics.define(MetricKind::Counter, "a_total", "A.", &["x"]).unwrap();
        first.series(&["1"]).add(1.0);
        again.series(&["1"]).add(2.0);
        assert!(metrics.define(MetricKind::Gauge, "a_total", "A.", &["x"]).is_err());
        assert!(metrics.render().contains("a_total{x=\"1\"} 3"), "{}", metrics.render());
    }

    #[test]
    fn past_the_cap_series_share_one_overflow() {
        let metrics = Metrics::new();
        let family = metrics
            .define_with(MetricKind::Counter, "b_total", "B.", &["x"], 2, &DEFAULT_BUCKETS)
            .unwrap();
        for value in ["1", "2", "3", "4"] {
            family.series(&[value]).add(1.0);
        }
        let text = metrics.render();
        assert!(text.contains("b_total{x=\"overflow\"} 2"), "{text}");
        assert!(!text.contains("x=\"3\""), "{text}");
    }

    #[test]
    fn malformed_names_and_values_are_refused_or_escaped() {
        let metrics = Metrics::new();
        for name in ["", "1a", "a-b", "a b"] {
            assert!(metrics.define(MetricKind::Gauge, name, "", &[]).is_err(), "{name}");
        }
        assert!(metrics.define(MetricKind::Gauge, "a", "h", &["le"]).is_err());
        let family = metrics.define(MetricKind::Gauge, "c", "Line\nbreak.", &["x"]).unwrap();
        family.series(&["a\"\n"]).set(1.0);
        assert!(metrics.render().contains(r#"c{x="a\"\n"} 1"#), "{}", metrics.render());
    }
}

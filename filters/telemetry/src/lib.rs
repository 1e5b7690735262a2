//! The built-in telemetry policy: counters and a latency histogram of all exchanges.
//!
//! Sees numbers and interned names only. A series is found by the ids of its labels, and each batch adds to
//! it in one call to the host.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

use tamis_sdk::telemetry::{NameKind, Summary};
use tamis_sdk::{Attribute, ConfigError, Filter, Interest, Kept, Telemetry, metrics};

pub mod config;
pub mod meter;
pub mod names;
pub mod series;

use config::TelemetrySettings;
use meter::Meter;
use names::AnnouncedNames;
use series::MetricBoard;

/// The host's metrics.
#[derive(Debug)]
pub struct TelemetryHost;

impl Meter for TelemetryHost {
    fn define(
        &mut self,
        kind: metrics::Kind,
        name: &str,
        help: &str,
        labels: &[String],
    ) -> Result<u32, String> {
        metrics::define(kind, name, help, labels)
    }

    fn series(&mut self, metric: u32, values: &[String]) -> u32 {
        metrics::series(metric, values)
    }

    fn add(&mut self, series: u32, amount: f64) {
        metrics::add(series, amount);
    }

    fn observe(&mut self, series: u32, value: f64) {
        metrics::observe(series, value);
    }
}

/// The policy, over the metrics of the host or of a test.
#[derive(Debug)]
pub struct TelemetryPolicy<M> {
    meter: M,
    names: AnnouncedNames,
    board: MetricBoard,
}

impl<M: Meter> TelemetryPolicy<M> {
    /// Defines the metrics.
    ///
    /// # Errors
    /// The host refuses one, for example because its grant allows fewer.
    pub fn new(settings: &TelemetrySettings, mut meter: M) -> Result<Self, Vec<ConfigError>> {
        let board = MetricBoard::define(&settings.labels, &mut meter)
            .map_err(|message| vec![ConfigError::at("", message)])?;
        Ok(Self { meter, names: AnnouncedNames::default(), board })
    }

    /// Stores names. A name that changes its meaning ends the series that used it.
    pub fn learn(&mut self, kind: NameKind, first: u32, names: Vec<String>) {
        if self.names.learn(kind, first, names) {
            self.board.forget();
        }
    }

    /// Counts a batch.
    pub fn count(&mut self, batch: &[Summary]) {
        for summary in batch {
            self.board.count(summary, &self.names, &mut self.meter);
        }
        self.board.flush(&mut self.meter);
    }
}

impl Filter for TelemetryPolicy<TelemetryHost> {
    type Settings = TelemetrySettings;
    const SCHEMA: &'static str = include_str!("../schema.json");

    fn check(settings: &TelemetrySettings) -> Result<(), Vec<ConfigError>> {
        let errors = settings.errors();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn configure(settings: TelemetrySettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        let mut interest = Interest::reading([]);
        interest.extra.push(Attribute {
            name: format!("buckets:{}", series::DURATION),
            value: settings.buckets_text(),
        });
        Ok((Self::new(&settings, TelemetryHost)?, interest))
    }
}

impl Telemetry for TelemetryPolicy<TelemetryHost> {
    fn on_names(&mut self, kind: NameKind, first: u32, names: Vec<String>) {
        self.learn(kind, first, names);
    }

    fn on_exchanges(&mut self, batch: &[Summary], _: Kept<'_>) {
        self.count(batch);
    }
}

tamis_sdk::export_telemetry!(TelemetryPolicy<TelemetryHost>);

#[cfg(test)]
mod tests;

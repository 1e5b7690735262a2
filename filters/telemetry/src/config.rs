//! The configuration: which labels the series have, and the buckets of the histogram.

use serde::Deserialize;
use tamis_sdk::ConfigError;

/// What the operator writes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySettings {
    /// Labels of all series, in order. Each label multiplies the number of series.
    pub labels: Vec<Label>,
    /// Upper bounds of the buckets in milliseconds, ascending; a last bucket without bound is implied.
    pub buckets_ms: Vec<f64>,
}

/// A label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// The matched rule.
    Route,
    /// The service.
    Upstream,
    /// The endpoint of the last attempt.
    Endpoint,
    /// The identity of the peer.
    Peer,
    /// The rule id of the decision.
    Reason,
    /// `1xx` to `5xx`, `none` without a response.
    StatusClass,
}

impl Label {
    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Upstream => "upstream",
            Self::Endpoint => "endpoint",
            Self::Peer => "peer",
            Self::Reason => "reason",
            Self::StatusClass => "status_class",
        }
    }
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            labels: vec![Label::Route, Label::Upstream, Label::StatusClass],
            buckets_ms: vec![
                1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0,
                10_000.0,
            ],
        }
    }
}

impl TelemetrySettings {
    /// Errors that the types cannot express.
    #[must_use]
    pub fn errors(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        for (index, label) in self.labels.iter().enumerate() {
            if self.labels.iter().take(index).any(|earlier| earlier == label) {
                let message = format!("the label {:?} is listed twice", label.name());
                errors.push(ConfigError::at(format!("/labels/{index}"), message));
            }
        }
        let mut below = 0.0;
        for (index, bound) in self.buckets_ms.iter().enumerate() {
            if *bound <= below {
                let message = "bounds must be above 0 and ascending";
                errors.push(ConfigError::at(format!("/buckets_ms/{index}"), message));
            }
            below = *bound;
        }
        errors
    }

    /// The bounds in the host's format: separated by commas.
    #[must_use]
    pub fn buckets_text(&self) -> String {
        self.buckets_ms.iter().map(f64::to_string).collect::<Vec<_>>().join(",")
    }
}

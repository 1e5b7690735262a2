//! The metrics registry that the policy needs: the host's, or a test's.

use tamis_sdk::metrics::Kind;

/// Metrics with labels fixed at definition, used through handles.
pub trait Meter {
    /// Defines a metric.
    ///
    /// # Errors
    /// The metric may not be defined.
    fn define(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        labels: &[String],
    ) -> Result<u32, String>;

    /// The series of a metric with these label values.
    fn series(&mut self, metric: u32, values: &[String]) -> u32;

    /// Adds to a counter.
    fn add(&mut self, series: u32, amount: f64);

    /// Records a value in a histogram.
    fn observe(&mut self, series: u32, value: f64);
}

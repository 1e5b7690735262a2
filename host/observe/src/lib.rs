//! What is seen: metrics and access records.

mod metrics;
mod records;

pub use metrics::{
    DEFAULT_BUCKETS, DEFAULT_SERIES, Family, MetricError, MetricKind, Metrics, OVERFLOW, Series,
};
pub use records::{AccessLog, AccessRecord, Recorder};

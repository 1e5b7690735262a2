//! What is seen: metrics and access records.

mod metrics;

pub use metrics::{
    DEFAULT_BUCKETS, DEFAULT_SERIES, Family, MetricError, MetricKind, Metrics, OVERFLOW, Series,
};

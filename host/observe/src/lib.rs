//! Observation of a process: metrics and access records.

mod file;
mod metrics;
mod process;
mod records;

pub use file::LogFile;
pub use metrics::{
    DEFAULT_BUCKETS, DEFAULT_SERIES, Family, MetricError, MetricKind, Metrics, OVERFLOW, Series,
    buckets_of, shown_name,
};
pub use process::process;
pub use records::{AccessLog, AccessRecord, Recorder};

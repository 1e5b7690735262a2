//! Observation of a process: metrics and access records.
//!
//! Proxies, registries and filters count in [`Metrics`], whose names and series are bounded, and write records through a
//! [`Recorder`], which drops records rather than delay a request. Nothing here opens a socket: who serves the text of the
//! metrics is the caller's choice.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]
#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "a test starts its clock somewhere, and waits in real time"
    )
)]

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

//! One limit, as requests are held against it.

use std::time::Duration;

use serde::Deserialize;

/// One limit, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Class of the Grant.
    pub class: String,
    /// As `interest.reads` names them.
    pub fields: Vec<String>,
    /// For a request without one of the fields.
    pub absent: MissingFieldRule,
    /// At least 1.
    pub tokens: u32,
    /// At most 128.
    pub ipv6_prefix_length: u8,
    /// Requests in a window, published in `RateLimit-Policy`; `None`: nothing is published.
    pub quota: Option<u32>,
    /// The window of the quota, in whole seconds.
    pub window: Option<Duration>,
}

/// The rule for a request without one of the fields of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingFieldRule {
    /// All requests without the field share a bucket.
    #[default]
    Share,
    /// The limit does not apply.
    Skip,
}

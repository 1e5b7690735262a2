//! `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10 §3, §4): lists of structured
//! fields (RFC 9651), an item for each limit, by the name of its class.

use std::fmt::Write as _;

use crate::LimitOutcome;
use crate::limit::Limit;

/// What is left.
pub const REMAINING: &str = "ratelimit";
/// What is allowed.
pub const POLICY: &str = "ratelimit-policy";

/// The value of `RateLimit-Policy`: the limits whose quota is published. `None`: none is.
#[must_use]
pub fn policy(limits: &[Limit]) -> Option<String> {
    let mut value = String::new();
    for limit in limits {
        let Some(quota) = limit.quota else { continue };
        let _ = write!(value, "{}\"{}\";q={quota}", separator(&value), limit.class);
        if let Some(window) = limit.window {
            let _ = write!(value, ";w={}", window.as_secs());
        }
    }
    Some(value).filter(|value| !value.is_empty())
}

fn separator(before: &str) -> &'static str {
    if before.is_empty() { "" } else { ", " }
}

/// The value of `RateLimit` as the limits are asked.
#[derive(Clone, Debug, Default)]
pub struct RateLimitHeader(String);

impl RateLimitHeader {
    /// A limit let the request pass; so many more of its kind may follow at once.
    pub fn passes(&mut self, class: &str, requests: u32) {
        let _ = write!(self.0, "{}\"{class}\";r={requests}", separator(&self.0));
    }

    /// A limit refused the request.
    #[must_use]
    pub fn refused(mut self, class: &str, wait_ms: u32) -> LimitOutcome {
        let after = (wait_ms < u32::MAX).then(|| wait_ms.div_ceil(1000).max(1));
        let _ = write!(self.0, "{}\"{class}\";r=0", separator(&self.0));
        if let Some(seconds) = after {
            let _ = write!(self.0, ";t={seconds}");
        }
        LimitOutcome::Refused { remaining: self.0, after }
    }

    /// The value; `None`: no limit was asked.
    #[must_use]
    pub fn value(self) -> Option<String> {
        Some(self.0).filter(|value| !value.is_empty())
    }
}

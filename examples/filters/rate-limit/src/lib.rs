//! Limits the requests of each client: a token bucket for each value of a header. The operator sets the rate in
//! the Grant; the filter only names the class.

use tamis_sdk::{ConfigError, Filter, Interest, Request, View, log_panics, quota, reply, request};

/// What the operator writes.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct QuotaSettings {
    /// Class of the Grant's `quota`.
    class: String,
    /// Header whose value names a client.
    by: String,
}

/// The filter.
#[derive(Debug)]
pub struct RateLimit(QuotaSettings);

impl Filter for RateLimit {
    type Settings = QuotaSettings;
    const SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": { "class": { "type": "string" }, "by": { "type": "string" } },
        "required": ["class", "by"],
        "additionalProperties": false
    }"#;

    fn configure(settings: QuotaSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        log_panics();
        let interest = Interest::reading([settings.by.as_str()]);
        Ok((Self(settings), interest))
    }
}

impl Request for RateLimit {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        let client = seen.text(&self.0.by).unwrap_or_default();
        let Err(wait_ms) = quota::take(&self.0.class, client, 1) else {
            return request::Decision::pass();
        };
        let seconds = wait_ms.div_ceil(1_000).to_string();
        request::Decision::answer(reply(429).header("retry-after", seconds).text("slow down\n"))
            .because("rate-limit.exceeded")
    }
}

tamis_sdk::export_authorizer!(RateLimit);

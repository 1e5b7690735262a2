//! Adds the security headers of a browser application to every response, unless the service has set its own.

use std::collections::BTreeMap;
use tamis_sdk::{
    ConfigError, Edit, Filter, Interest, Response, Responses, View, log_panics, response,
};

/// What the operator writes.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SecurityHeadersSettings {
    /// Value of `content-security-policy`. Default: `default-src 'self'`.
    #[serde(default)]
    content_security_policy: Option<String>,
    /// Further headers, and those in place of the defaults.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// The filter.
#[derive(Debug)]
pub struct Headers(BTreeMap<String, String>);

const DEFAULTS: [(&str, &str); 4] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    ("cross-origin-opener-policy", "same-origin"),
];

impl Filter for Headers {
    type Settings = SecurityHeadersSettings;
    const SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": {
            "contentSecurityPolicy": { "type": "string" },
            "headers": { "type": "object", "additionalProperties": { "type": "string" } }
        },
        "additionalProperties": false
    }"#;

    fn check(settings: &SecurityHeadersSettings) -> Result<(), Vec<ConfigError>> {
        let lower = |name: &&String| name.bytes().any(|byte| byte.is_ascii_uppercase());
        let wrong: Vec<ConfigError> = settings
            .headers
            .keys()
            .filter(lower)
            .map(|name| ConfigError::at(format!("/headers/{name}"), "write the name in lower case"))
            .collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    fn configure(settings: SecurityHeadersSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        log_panics();
        let csp =
            settings.content_security_policy.unwrap_or_else(|| "default-src 'self'".to_owned());
        let defaults = DEFAULTS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut headers = BTreeMap::from(defaults);
        headers.insert("content-security-policy".to_owned(), csp);
        headers.extend(settings.headers);
        let names = || headers.keys().map(String::as_str);
        let interest = Interest::reading(names()).writing(names()).seeing(Responses::All);
        Ok((Self(headers), interest))
    }
}

impl Response for Headers {
    fn on_response(&mut self, seen: View<'_>) -> response::Decision {
        let missing = self.0.iter().filter(|(name, _)| seen.header(name).is_none());
        let edits = missing.map(|(name, value)| Edit::set(name.clone(), value.clone())).collect();
        response::Decision::change(edits)
    }
}

tamis_sdk::export!(Headers: response);

//! What the operator writes, and the rules that it becomes.

use serde::Deserialize;
use tamis_sdk::{ConfigError, GatewayDuration, Interest};

/// The address of the peer.
pub const ADDRESS: &str = "@source.address";

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExtAuthzSettings {
    /// Address of the service; the path of the request is appended.
    pub url: String,
    /// Time for a check. Default 200ms.
    #[serde(default = "usual_timeout")]
    pub timeout: GatewayDuration,
    /// Headers of the request that are sent to the service. Default `authorization`.
    #[serde(default = "usual_request")]
    pub request_headers: Vec<String>,
    /// Headers of an answer that lets a request pass, for the upstream.
    #[serde(default)]
    pub upstream_headers: Vec<String>,
    /// Headers of an answer that refuses, for the client. Default `content-type`, `location`,
    /// `www-authenticate`.
    #[serde(default = "usual_client")]
    pub client_headers: Vec<String>,
}

fn usual_timeout() -> GatewayDuration {
    GatewayDuration::from_millis(200)
}

fn usual_request() -> Vec<String> {
    vec!["authorization".to_owned()]
}

fn usual_client() -> Vec<String> {
    ["content-type", "location", "www-authenticate"].map(str::to_owned).to_vec()
}

/// The configuration, checked; names are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtAuthzRules {
    /// Without a `/` at its end.
    pub url: String,
    /// Of a check, in milliseconds.
    pub timeout_ms: u32,
    /// Sent to the service.
    pub ask: Vec<String>,
    /// Passed to the upstream.
    pub pass: Vec<String>,
    /// Shown to the client.
    pub tell: Vec<String>,
}

/// Names of a list.
const MAX_NAMES: usize = 32;
/// Bytes of a name.
const MAX_NAME_OCTETS: usize = 256;
/// Bytes of the address.
const MAX_URL_OCTETS: usize = 2048;
/// Milliseconds that a request may wait for its check.
const MAX_TIMEOUT_MS: u32 = 10_000;

impl ExtAuthzRules {
    /// Checks settings.
    ///
    /// # Errors
    /// All errors, each with its JSON pointer and the way out.
    pub fn check(settings: &ExtAuthzSettings) -> Result<Self, Vec<ConfigError>> {
        let mut errors = Vec::new();
        if !is_address(&settings.url) {
            errors.push(ConfigError::at(
                "/url",
                "write https://HOST[:PORT][/PATH], without a query; http: is for a service of the mesh (NAME.NAMESPACE.mesh), or needs `clearText` in the Grant",
            ));
        }
        let timeout_ms = settings.timeout.millis();
        if !(1..=MAX_TIMEOUT_MS).contains(&timeout_ms) {
            errors.push(ConfigError::at(
                "/timeout",
                "must be from 1ms to 10s: a client waits for it",
            ));
        }
        let ask = names("/requestHeaders", &settings.request_headers, &mut errors);
        let pass = names("/upstreamHeaders", &settings.upstream_headers, &mut errors);
        let tell = names("/clientHeaders", &settings.client_headers, &mut errors);
        if !errors.is_empty() {
            return Err(errors);
        }
        let url = settings.url.trim_end_matches('/').to_owned();
        Ok(Self { url, timeout_ms, ask, pass, tell })
    }

    /// Reads the fields that the service receives, and writes those that it returns for the upstream.
    #[must_use]
    pub fn interest(&self) -> Interest {
        let facts = [":method", ":path", ":authority", ":scheme", ADDRESS];
        Interest::reading(facts.into_iter().chain(self.ask.iter().map(String::as_str)))
            .writing(self.pass.iter().map(String::as_str))
    }
}

/// Fields that frame a message or state who is asking; the host or this filter writes them.
fn is_taken(name: &str) -> bool {
    const TAKEN: [&str; 12] = [
        "connection",
        "content-length",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    ];
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let begins = |prefix: &str| plain.starts_with(prefix);
    TAKEN.contains(&plain.as_str()) || begins("x-forwarded-") || begins("x-tamis-")
}

fn names(at: &str, written: &[String], errors: &mut Vec<ConfigError>) -> Vec<String> {
    if written.len() > MAX_NAMES {
        let why = format!("{} names; at most {MAX_NAMES}", written.len());
        errors.push(ConfigError::at(at, why));
    }
    let mut checked: Vec<String> = Vec::new();
    for (index, name) in written.iter().enumerate() {
        let name = name.to_ascii_lowercase();
        let token = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&octet);
        let why = if !(1..=MAX_NAME_OCTETS).contains(&name.len()) || !name.bytes().all(token) {
            "this is not the name of a header: letters, digits and `-`, at most 256"
        } else if is_taken(&name) {
            "this field frames a message or states who is asking, so it is not passed on: remove it"
        } else if checked.contains(&name) {
            "this name is in the list twice: keep one of the two"
        } else {
            checked.push(name);
            continue;
        };
        errors.push(ConfigError::at(format!("{at}/{index}"), why));
    }
    checked
}

fn is_address(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let plain = url.bytes().all(|octet| octet.is_ascii_graphic() && !b"?#\\@\"<>".contains(&octet));
    !host.is_empty() && !host.starts_with(':') && plain && url.len() <= MAX_URL_OCTETS
}

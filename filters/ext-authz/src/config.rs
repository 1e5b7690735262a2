//! What the operator writes, and the rules that it becomes.

use serde::Deserialize;
use tamis_sdk::{ConfigError, GatewayDuration, Interest};

/// The address of the peer.
pub const ADDRESS: &str = "@source.address";
/// The identity of the peer's certificate.
pub const IDENTITY: &str = "@peer.spiffe-id";
/// The server name of the handshake.
pub const SERVER_NAME: &str = "@tls.sni";

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExtAuthzSettings {
    /// Address of a service of HTTP; the path of the request is appended.
    pub url: Option<String>,
    /// Address of a service of gRPC.
    pub grpc: Option<String>,
    /// Time for a check. Default 200ms.
    #[serde(default = "usual_timeout")]
    pub timeout: GatewayDuration,
    /// Headers of the request that are sent to the service. Default `authorization`.
    #[serde(default = "usual_request")]
    pub request_headers: Vec<String>,
    /// Headers of an answer that lets a request pass, for the upstream.
    #[serde(default)]
    pub upstream_headers: Vec<String>,
    /// Headers of the request that an answer over gRPC may remove.
    #[serde(default)]
    pub remove_headers: Vec<String>,
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

/// How the service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckProtocol {
    /// Envoy's check over HTTP.
    Http,
    /// Envoy's check over gRPC.
    Grpc,
}

/// The configuration, checked; names are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtAuthzRules {
    /// How the service is asked.
    pub protocol: CheckProtocol,
    /// Without a `/` at its end.
    pub url: String,
    /// Of a check, in milliseconds.
    pub timeout_ms: u32,
    /// Sent to the service.
    pub ask: Vec<String>,
    /// Passed to the upstream.
    pub pass: Vec<String>,
    /// Removed from the request if the service says so.
    pub remove: Vec<String>,
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
        let (protocol, url) = address(settings, &mut errors);
        let timeout_ms = settings.timeout.millis();
        if !(1..=MAX_TIMEOUT_MS).contains(&timeout_ms) {
            errors.push(ConfigError::at(
                "/timeout",
                "must be from 1ms to 10s: a client waits for it",
            ));
        }
        let ask = names("/requestHeaders", &settings.request_headers, &mut errors);
        let pass = names("/upstreamHeaders", &settings.upstream_headers, &mut errors);
        let remove = names("/removeHeaders", &settings.remove_headers, &mut errors);
        if protocol == CheckProtocol::Http && !remove.is_empty() {
            let why = "an answer over HTTP removes nothing else than `upstreamHeaders`: remove this list, or write `grpc`";
            errors.push(ConfigError::at("/removeHeaders", why));
        }
        let tell = names("/clientHeaders", &settings.client_headers, &mut errors);
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self { protocol, url, timeout_ms, ask, pass, remove, tell })
    }

    /// Reads the fields that the service receives, and writes those that it returns for the upstream.
    #[must_use]
    pub fn interest(&self) -> Interest {
        let facts = [":method", ":path", ":authority", ":scheme", ADDRESS];
        let more: &[&str] = match self.protocol {
            CheckProtocol::Http => &[],
            CheckProtocol::Grpc => &[IDENTITY, SERVER_NAME],
        };
        let asked = self.ask.iter().map(String::as_str);
        Interest::reading(facts.into_iter().chain(more.iter().copied()).chain(asked))
            .writing(self.pass.iter().chain(&self.remove).map(String::as_str))
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

/// How the service is asked, and where.
fn address(settings: &ExtAuthzSettings, errors: &mut Vec<ConfigError>) -> (CheckProtocol, String) {
    let bare = |url: &str| url.trim_end_matches('/').to_owned();
    match (&settings.url, &settings.grpc) {
        (Some(url), None) => {
            if !is_address(url) {
                errors.push(ConfigError::at(
                    "/url",
                    "write https://HOST[:PORT][/PATH], without a query; http: is for a service of the mesh (NAME.NAMESPACE.mesh), or needs `clearText` in the Grant",
                ));
            }
            (CheckProtocol::Http, bare(url))
        }
        (None, Some(url)) => {
            let url = bare(url);
            let has_path = url.split_once("://").is_none_or(|(_, rest)| rest.contains('/'));
            if has_path || !is_address(&url) {
                errors.push(ConfigError::at(
                    "/grpc",
                    "write http://NAME.NAMESPACE.mesh[:PORT], a service of the mesh with `protocol: grpc`, without a path",
                ));
            }
            (CheckProtocol::Grpc, url)
        }
        (Some(_), Some(_)) => {
            errors.push(ConfigError::at(
                "/grpc",
                "a check has one service: write `url` or `grpc`, not both",
            ));
            (CheckProtocol::Grpc, String::new())
        }
        (None, None) => {
            errors.push(ConfigError::at("", "name the service: `url` for HTTP, or `grpc`"));
            (CheckProtocol::Http, String::new())
        }
    }
}

fn is_address(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let plain = url.bytes().all(|octet| octet.is_ascii_graphic() && !b"?#\\@\"<>".contains(&octet));
    !host.is_empty() && !host.starts_with(':') && plain && url.len() <= MAX_URL_OCTETS
}

//! What the operator writes, and the rules that it becomes.

use serde::Deserialize;
use tamis_sdk::{ConfigError, GatewayDuration};

use crate::fields;
use crate::key::ADDRESS;
use crate::limit::{Limit, MissingFieldRule};

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitSettings {
    /// Limits, asked in order until one refuses.
    pub limits: Vec<LimitSettings>,
}

/// One limit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LimitSettings {
    /// Class of the Grant, which sets rate and size of its buckets.
    pub class: String,
    /// Fields whose values select the bucket. Default: the address of the client.
    #[serde(default = "by_address")]
    pub key: Vec<String>,
    /// The rule for a request without one of the fields.
    #[serde(default)]
    pub absent: MissingFieldRule,
    /// Tokens that a request takes. Default 1.
    #[serde(default = "one")]
    pub tokens: u32,
    /// Bits of an IPv6 address that count. Default 64.
    #[serde(default = "half")]
    pub ipv6_prefix_length: u8,
    /// Requests in a window, published in `RateLimit-Policy`.
    #[serde(default)]
    pub quota: Option<u32>,
    /// The window of the quota.
    #[serde(default)]
    pub window: Option<GatewayDuration>,
}

fn by_address() -> Vec<String> {
    vec![ADDRESS.to_owned()]
}

fn one() -> u32 {
    1
}

fn half() -> u8 {
    64
}

/// The configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitRules {
    /// In order.
    pub limits: Vec<Limit>,
    /// The value of `RateLimit-Policy`.
    pub policy: Option<String>,
}

/// Limits: each is a call to the host for every request.
const MAX_LIMITS: usize = 8;
/// Fields of a key.
const MAX_FIELDS: usize = 8;
/// Tokens of a request.
const MAX_TOKENS: u32 = 10_000;
/// Bytes of a name.
const MAX_NAME_OCTETS: usize = 64;
/// Largest number of a structured field (RFC 9651 §3.3.1) that is also a count of requests.
const MAX_QUOTA: u32 = 1_000_000_000;

impl RateLimitRules {
    /// Checks settings.
    ///
    /// # Errors
    /// All errors, each with its JSON pointer and the way out.
    pub fn check(settings: &RateLimitSettings) -> Result<Self, Vec<ConfigError>> {
        let count = settings.limits.len();
        if !(1..=MAX_LIMITS).contains(&count) {
            let why = format!("{count} limits; write 1 to {MAX_LIMITS}");
            return Err(vec![ConfigError::at("/limits", why)]);
        }
        let mut errors = Vec::new();
        let mut limits: Vec<Limit> = Vec::new();
        for (index, written) in settings.limits.iter().enumerate() {
            let at = format!("/limits/{index}");
            if limits.iter().any(|other| other.class == written.class) {
                errors.push(ConfigError::at(
                    format!("{at}/class"),
                    "an earlier limit has this class, so both would share buckets: name another class of the Grant",
                ));
            }
            limits.push(written.checked(&at, &mut errors));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let policy = fields::policy(&limits);
        Ok(Self { limits, policy })
    }

    /// The fields of all keys.
    #[must_use]
    pub fn reads(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.limits.iter().flat_map(|limit| limit.fields.iter().cloned()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl LimitSettings {
    fn checked(&self, at: &str, errors: &mut Vec<ConfigError>) -> Limit {
        let mut refuse = |member: &str, why: &str| {
            errors.push(ConfigError::at(format!("{at}/{member}"), why));
        };
        if !is_class(&self.class) {
            refuse("class", "a class is lower-case letters, digits, `-` and `.`, at most 64");
        }
        if self.key.len() > MAX_FIELDS {
            refuse("key", "a key has at most 8 fields");
        }
        for (index, name) in self.key.iter().enumerate() {
            if !is_field(name) {
                refuse(
                    &format!("key/{index}"),
                    "write a lower-case header name, `:path`, `:method`, `:authority`, or an attribute with its `@`",
                );
            }
        }
        if !(1..=MAX_TOKENS).contains(&self.tokens) {
            refuse("tokens", "a request takes 1 to 10000 tokens");
        }
        if self.ipv6_prefix_length > 128 {
            refuse("ipv6PrefixLength", "an IPv6 address has 128 bits");
        }
        if self.quota.is_some_and(|quota| !(1..=MAX_QUOTA).contains(&quota)) {
            refuse("quota", "a quota is 1 to 1000000000");
        }
        let window = self.window.map(|window| window.0);
        if window.is_some() && self.quota.is_none() {
            refuse("window", "a window belongs to a quota: write `quota` too");
        }
        if window.is_some_and(|window| window.as_secs() == 0 || window.subsec_nanos() > 0) {
            refuse("window", "a window is published in whole seconds, 1s or more");
        }
        Limit {
            class: self.class.clone(),
            fields: self.key.clone(),
            absent: self.absent,
            tokens: self.tokens,
            ipv6_prefix_length: self.ipv6_prefix_length,
            quota: self.quota,
            window,
        }
    }
}

/// A name that stands in a structured field without escapes.
fn is_class(name: &str) -> bool {
    let plain =
        |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-.".contains(&octet);
    (1..=MAX_NAME_OCTETS).contains(&name.len()) && name.bytes().all(plain)
}

/// Whether it is the name of one field, as in `interest.reads`; `*` is not.
fn is_field(name: &str) -> bool {
    if matches!(name, ":path" | ":method" | ":authority") {
        return true;
    }
    let plain = |octet: u8| {
        octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"!#$%&'+-.^_`|~".contains(&octet)
    };
    let header =
        |name: &str| (1..=MAX_NAME_OCTETS).contains(&name.len()) && name.bytes().all(plain);
    let attribute = |octet: u8| octet.is_ascii_alphanumeric() || b"._-/".contains(&octet);
    match name.strip_prefix('@') {
        Some(name) => (1..=MAX_NAME_OCTETS).contains(&name.len()) && name.bytes().all(attribute),
        None => header(name),
    }
}

//! What the operator writes, and the rules that it becomes.

use serde::Deserialize;
use tamis_callers::anonymous::AnonymousRequestRule;
use tamis_callers::name::{is_plain, may_carry};
use tamis_sdk::{ConfigError, Interest};

use crate::CONSUMER;

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ApiKeySettings {
    /// Name of the secret with the list of keys.
    pub secret_name: String,
    /// Header of the key. Default `x-api-key`.
    #[serde(default = "usual_header")]
    pub header: String,
    /// Parameter of the query that may carry the key instead.
    #[serde(default)]
    pub query: Option<String>,
    /// Whether a request without a key is refused. Default yes.
    #[serde(default = "yes")]
    pub required: bool,
    /// Header that names the consumer to the upstream.
    #[serde(default)]
    pub consumer_header: Option<String>,
}

fn usual_header() -> String {
    "x-api-key".to_owned()
}

fn yes() -> bool {
    true
}

/// The configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRules {
    /// Secret with the list of keys.
    pub secret: String,
    /// In lower case.
    pub header: String,
    /// As it is without escapes.
    pub query: Option<String>,
    /// The rule for requests without a key.
    pub absent: AnonymousRequestRule,
    /// In lower case.
    pub consumer_header: Option<String>,
}

/// Bytes of the name of a parameter.
const MAX_NAME_OCTETS: usize = 64;

impl ApiKeyRules {
    /// Checks settings.
    ///
    /// # Errors
    /// All errors, each with its JSON pointer and the way out.
    pub fn check(settings: &ApiKeySettings) -> Result<Self, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut refuse = |at: &str, why: &str| errors.push(ConfigError::at(at, why));
        if settings.secret_name.is_empty() || settings.secret_name.len() > 256 {
            refuse(
                "/secretName",
                "name the secret that the Grant lets the filter open, such as api-keys",
            );
        }
        let header = settings.header.to_ascii_lowercase();
        if !is_plain(&header)
            || ["host", "content-length", "transfer-encoding"].contains(&header.as_str())
        {
            refuse(
                "/header",
                "this is not the name of a header that can carry a key: use one such as x-api-key",
            );
        }
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"._-".contains(&octet);
        if settings.query.as_ref().is_some_and(|name| {
            name.is_empty() || name.len() > MAX_NAME_OCTETS || !name.bytes().all(plain)
        }) {
            refuse("/query", "a parameter is letters, digits, `.`, `_` and `-`, at most 64");
        }
        let consumer_header =
            settings.consumer_header.as_ref().map(|name| name.to_ascii_lowercase());
        if consumer_header.as_ref().is_some_and(|name| !may_carry(name) || *name == header) {
            refuse(
                "/consumerHeader",
                "write a header that begins with `x-`, such as x-consumer; neither the header of the key nor one of the host (x-forwarded-, x-tamis-)",
            );
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            secret: settings.secret_name.clone(),
            header,
            query: settings.query.clone(),
            absent: AnonymousRequestRule::of(settings.required),
            consumer_header,
        })
    }

    /// Reads the places of the key; writes them, so that the upstream does not receive it, and the consumer.
    #[must_use]
    pub fn interest(&self) -> Interest {
        let places =
            std::iter::once(self.header.as_str()).chain(self.query.as_ref().map(|_| ":path"));
        let consumer = format!("@{CONSUMER}");
        Interest::reading(places.clone())
            .writing(places)
            .writing(self.consumer_header.as_deref())
            .writing([consumer.as_str()])
    }
}

//! What the operator writes, and the rules that it becomes.

use std::time::Duration;

use serde::Deserialize;
use tamis_callers::anonymous::AnonymousRequestRule;
use tamis_callers::name::may_carry;
use tamis_sdk::{ConfigError, GatewayDuration, Interest};

use crate::{CREDENTIALS, USER};

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BasicAuthSettings {
    /// Name of the secret with the list of users.
    pub secret_name: String,
    /// The place that a browser names when it asks for the password. Default `restricted`.
    #[serde(default = "usual_realm")]
    pub realm: String,
    /// Whether a request without a user is refused. Default yes.
    #[serde(default = "yes")]
    pub required: bool,
    /// Header that names the user to the upstream.
    #[serde(default)]
    pub user_header: Option<String>,
    /// How long a password that was right is accepted without its slow hash. Default 5 minutes.
    #[serde(default = "usual_memory")]
    pub remember_for: GatewayDuration,
}

fn usual_realm() -> String {
    "restricted".to_owned()
}

fn yes() -> bool {
    true
}

fn usual_memory() -> GatewayDuration {
    GatewayDuration::from_millis(5 * 60 * 1000)
}

/// The configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicAuthRules {
    /// Secret with the list of users.
    pub secret: String,
    /// The challenge of a refusal (RFC 7617 §2).
    pub challenge: String,
    /// The rule for a request without a user.
    pub absent: AnonymousRequestRule,
    /// In lower case.
    pub user_header: Option<String>,
    /// Milliseconds for which a right password is remembered; 0: none is.
    pub remember_ms: u32,
}

/// Bytes of a realm.
const MAX_REALM_OCTETS: usize = 64;
/// Longest memory of a right password.
const MAX_MEMORY: Duration = Duration::from_secs(3600);

impl BasicAuthRules {
    /// Checks settings.
    ///
    /// # Errors
    /// All errors, each with its JSON pointer and the way out.
    pub fn check(settings: &BasicAuthSettings) -> Result<Self, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut refuse = |at: &str, why: &str| errors.push(ConfigError::at(at, why));
        if settings.secret_name.is_empty() || settings.secret_name.len() > 256 {
            refuse(
                "/secretName",
                "name the secret that the Grant lets the filter open, such as users",
            );
        }
        if !is_realm(&settings.realm) {
            refuse(
                "/realm",
                "a realm has 1 to 64 printable characters of ASCII, without `\"` and `\\`",
            );
        }
        let user_header = settings.user_header.as_ref().map(|name| name.to_ascii_lowercase());
        if user_header.as_ref().is_some_and(|name| !may_carry(name)) {
            refuse(
                "/userHeader",
                "write a header that begins with `x-`, such as x-user, and none of the host (x-forwarded-, x-tamis-)",
            );
        }
        if settings.remember_for.0 > MAX_MEMORY {
            refuse(
                "/rememberFor",
                "a password is remembered for at most 1h: a user who left is known for as long",
            );
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            secret: settings.secret_name.clone(),
            challenge: format!("Basic realm=\"{}\", charset=\"UTF-8\"", settings.realm),
            absent: AnonymousRequestRule::of(settings.required),
            user_header,
            remember_ms: settings.remember_for.millis(),
        })
    }

    /// Reads the credentials; writes them, so that the upstream does not receive a password, and the user.
    #[must_use]
    pub fn interest(&self) -> Interest {
        let user = format!("@{USER}");
        Interest::reading([CREDENTIALS])
            .writing([CREDENTIALS])
            .writing(self.user_header.as_deref())
            .writing([user.as_str()])
    }
}

fn is_realm(realm: &str) -> bool {
    let plain = |octet: u8| (0x20..=0x7e).contains(&octet) && !b"\"\\".contains(&octet);
    (1..=MAX_REALM_OCTETS).contains(&realm.len()) && realm.bytes().all(plain)
}

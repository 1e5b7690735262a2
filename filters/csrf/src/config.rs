//! What the operator writes, and the rules that it becomes.

use serde::Deserialize;
use tamis_sdk::ConfigError;

use crate::origin;

/// The configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct CsrfSettings {
    /// Origins of other sites whose pages may send requests that change something.
    pub trusted_origins: Vec<String>,
}

/// The configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsrfRules {
    /// In lower case.
    trusted: Vec<Vec<u8>>,
}

/// Trusted origins.
const MAX_ORIGINS: usize = 64;

impl CsrfRules {
    /// Checks settings.
    ///
    /// # Errors
    /// All errors, each with its JSON pointer and the way out.
    pub fn check(settings: &CsrfSettings) -> Result<Self, Vec<ConfigError>> {
        let count = settings.trusted_origins.len();
        if count > MAX_ORIGINS {
            let why = format!("{count} origins; at most {MAX_ORIGINS}");
            return Err(vec![ConfigError::at("/trustedOrigins", why)]);
        }
        let (mut trusted, mut errors) = (Vec::new(), Vec::new());
        for (index, text) in settings.trusted_origins.iter().enumerate() {
            if origin::is_origin(text) {
                trusted.push(text.to_ascii_lowercase().into_bytes());
            } else {
                errors.push(ConfigError::at(
                    format!("/trustedOrigins/{index}"),
                    "write the origin as a browser does: http(s)://HOST[:PORT], without a path and without a wildcard",
                ));
            }
        }
        if errors.is_empty() { Ok(Self { trusted }) } else { Err(errors) }
    }

    /// Whether a request of this origin may change something.
    #[must_use]
    pub fn trusts(&self, origin: &[u8]) -> bool {
        self.trusted.iter().any(|trusted| trusted.eq_ignore_ascii_case(origin))
    }
}

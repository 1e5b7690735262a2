//! What the operator writes, and the rules that it becomes.

use serde::Deserialize;
use tamis_sdk::ConfigError;

use crate::origin::{Origin, OriginPattern};

/// The configuration: the fields of the Gateway API's `HTTPCORSFilter`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct CorsSettings {
    /// Origins whose pages may read responses.
    pub allow_origins: Vec<String>,
    /// Whether requests may carry cookies and other credentials.
    pub allow_credentials: bool,
    /// Methods beyond those that need no preflight (GET, HEAD, POST).
    pub allow_methods: Vec<String>,
    /// Request headers beyond those that need no preflight.
    pub allow_headers: Vec<String>,
    /// Response headers that pages may read.
    pub expose_headers: Vec<String>,
    /// Seconds for which a browser remembers a preflight. Default 5.
    pub max_age: Option<u32>,
}

/// Names that an answer to a preflight lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedNames {
    /// These, separated by commas.
    Names(String),
    /// `*`.
    Every,
    /// All, with credentials: `*` would be a name then (Fetch §3.2.5), so the answer repeats what is asked.
    Asked,
}

/// The configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsRules {
    origins: Vec<OriginPattern>,
    /// Whether requests may carry credentials.
    pub credentials: bool,
    /// Methods.
    pub methods: AllowedNames,
    /// Request headers.
    pub headers: AllowedNames,
    /// Response headers, separated by commas.
    pub exposed: String,
    /// In seconds.
    pub max_age: u32,
}

/// Entries of each list.
const MAX_ENTRIES: usize = 64;
/// Bytes of an entry.
const MAX_OCTETS: usize = 256;
/// Seconds: browsers use at most a day.
const MAX_AGE: u32 = 86_400;
/// Seconds, as the Gateway API says.
const USUAL_AGE: u32 = 5;

impl CorsRules {
    /// Checks settings.
    ///
    /// # Errors
    /// All errors, each with its JSON pointer and the way out.
    pub fn check(settings: &CorsSettings) -> Result<Self, Vec<ConfigError>> {
        let mut checked =
            ConfigChecks { errors: Vec::new(), credentials: settings.allow_credentials };
        let origins = checked.origins(&settings.allow_origins);
        let methods = checked.names("/allowMethods", &settings.allow_methods);
        let headers = checked.names("/allowHeaders", &settings.allow_headers);
        let exposed = match checked.names("/exposeHeaders", &settings.expose_headers) {
            AllowedNames::Names(names) => names,
            AllowedNames::Every => "*".to_owned(),
            AllowedNames::Asked => {
                checked.refuse(
                    "/exposeHeaders",
                    "with credentials, `*` exposes nothing (Fetch §3.2.5): name the headers",
                );
                String::new()
            }
        };
        let max_age = settings.max_age.unwrap_or(USUAL_AGE);
        if max_age > MAX_AGE {
            checked.refuse("/maxAge", "at most 86400 seconds, a day: browsers remember no longer");
        }
        if !checked.errors.is_empty() {
            return Err(checked.errors);
        }
        Ok(Self {
            origins,
            credentials: settings.allow_credentials,
            methods,
            headers,
            exposed,
            max_age,
        })
    }

    /// Whether pages of an origin may read responses.
    #[must_use]
    pub fn allows(&self, origin: &Origin) -> bool {
        self.origins.iter().any(|pattern| pattern.contains(origin))
    }

    /// Whether the answer is `*`, whatever the origin. Never with credentials: a browser refuses it then
    /// (Fetch §3.2.5).
    #[must_use]
    pub fn is_same_for_all(&self) -> bool {
        !self.credentials && self.origins.contains(&OriginPattern::Every)
    }
}

struct ConfigChecks {
    errors: Vec<ConfigError>,
    credentials: bool,
}

impl ConfigChecks {
    fn origins(&mut self, written: &[String]) -> Vec<OriginPattern> {
        self.count("/allowOrigins", written.len());
        if written.is_empty() {
            self.refuse("/allowOrigins", "name at least one origin, such as https://shop.example");
        }
        let mut origins = Vec::new();
        for (index, text) in written.iter().enumerate() {
            match OriginPattern::parse(text) {
                Ok(OriginPattern::Every) if written.len() > 1 => self.refuse(
                    &format!("/allowOrigins/{index}"),
                    "`*` stands alone: it contains every other origin",
                ),
                Ok(pattern) => origins.push(pattern),
                Err(error) => self.refuse(&format!("/allowOrigins/{index}"), error.to_string()),
            }
        }
        origins
    }

    /// A list of tokens, or `*` alone.
    fn names(&mut self, at: &str, written: &[String]) -> AllowedNames {
        self.count(at, written.len());
        if let [only] = written
            && only == "*"
        {
            return if self.credentials { AllowedNames::Asked } else { AllowedNames::Every };
        }
        for (index, name) in written.iter().enumerate() {
            let token =
                |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&octet);
            if name == "*" {
                self.refuse(
                    &format!("{at}/{index}"),
                    "`*` stands alone: it contains every other name",
                );
            } else if name.is_empty() || name.len() > MAX_OCTETS || !name.bytes().all(token) {
                self.refuse(
                    &format!("{at}/{index}"),
                    "this is not a name: letters, digits and `-`, at most 256",
                );
            }
        }
        AllowedNames::Names(written.join(", "))
    }

    fn count(&mut self, at: &str, count: usize) {
        if count > MAX_ENTRIES {
            self.refuse(at, format!("{count} entries; at most {MAX_ENTRIES}: use a wildcard"));
        }
    }

    fn refuse(&mut self, at: &str, message: impl Into<String>) {
        self.errors.push(ConfigError::at(at, message));
    }
}

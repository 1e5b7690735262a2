//! What the operator writes, and the rules that it becomes.

use serde::Deserialize;
use tamis_sdk::credentials::is_token;
use tamis_sdk::{ConfigError, Interest, Responses};

use crate::template::Template;

/// The configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct HeadersSettings {
    /// Changes of requests, before they are sent to the upstream.
    pub request: HeadSettings,
    /// Changes of responses, before they are sent to the client.
    pub response: HeadSettings,
    /// The responses that are changed.
    pub responses: ResponseOrigin,
}

/// Changes of one head, as `RequestHeaderModifier` of the Gateway API writes them. A name stands in one
/// list only, so their order does not matter.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeadSettings {
    /// Fields that replace all of their name.
    pub set: Vec<FieldSettings>,
    /// Fields that are added to those of their name.
    pub add: Vec<FieldSettings>,
    /// Names of fields that are removed.
    pub remove: Vec<String>,
}

/// A field.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldSettings {
    /// Its name, in any case.
    pub name: String,
    /// Its value; `{source.address}` and other placeholders stand for attributes.
    pub value: String,
}

/// Responses by their writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResponseOrigin {
    /// Every response that leaves.
    #[default]
    All,
    /// Those of upstreams.
    Upstream,
    /// Those of this proxy and its filters.
    Local,
}

/// Changes of both heads, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRules {
    /// Of requests.
    pub request: Vec<HeaderChange>,
    /// Of responses.
    pub response: Vec<HeaderChange>,
    responses: ResponseOrigin,
}

/// One change; names are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderChange {
    /// Replaces every field of the name.
    Set(String, Template),
    /// Adds a field.
    Add(String, Template),
    /// Removes every field of the name.
    Remove(String),
}

impl HeaderChange {
    fn name(&self) -> &str {
        match self {
            Self::Set(name, _) | Self::Add(name, _) | Self::Remove(name) => name,
        }
    }

    fn value(&self) -> Option<&Template> {
        match self {
            Self::Set(_, value) | Self::Add(_, value) => Some(value),
            Self::Remove(_) => None,
        }
    }
}

/// Changes of one head.
const MAX_CHANGES: usize = 64;
/// Bytes of a name, as the host bounds it.
const MAX_NAME_OCTETS: usize = 256;

/// Fields that the host alone writes: they frame a message, belong to a connection, or state who is asking
/// (`docs/reference/http.md`).
const HOST: [&str; 19] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy-connection",
    "te",
    "trailer",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-original-url",
    "x-request-id",
    "x-rewrite-url",
];
const HOST_PREFIXES: [&str; 2] = ["x-forwarded-", "x-tamis-"];

impl HeaderRules {
    /// Checks settings.
    ///
    /// # Errors
    /// All errors, each with its JSON pointer and the way out.
    pub fn check(settings: &HeadersSettings) -> Result<Self, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let request = changes("/request", &settings.request, &mut errors);
        let response = changes("/response", &settings.response, &mut errors);
        if errors.is_empty() && request.is_empty() && response.is_empty() {
            errors.push(ConfigError::at(
                "",
                "nothing would change: write `set`, `add` or `remove` under `request` or `response`",
            ));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self { request, response, responses: settings.responses })
    }

    /// Reads the attributes that values name, and writes the fields that change.
    #[must_use]
    pub fn interest(&self) -> Interest {
        let all = || self.request.iter().chain(&self.response);
        let mut reads: Vec<&str> = all()
            .filter_map(HeaderChange::value)
            .flat_map(|value| value.facts())
            .map(|f| f.attribute())
            .collect();
        let mut writes: Vec<&str> = all().map(HeaderChange::name).collect();
        for names in [&mut reads, &mut writes] {
            names.sort_unstable();
            names.dedup();
        }
        Interest::reading(reads).writing(writes).seeing(match self.responses {
            ResponseOrigin::All => Responses::All,
            ResponseOrigin::Upstream => Responses::Upstream,
            ResponseOrigin::Local => Responses::Local,
        })
    }
}

fn changes(at: &str, head: &HeadSettings, errors: &mut Vec<ConfigError>) -> Vec<HeaderChange> {
    let mut checked = ChangeChecks { changes: Vec::new(), errors };
    for (index, field) in head.set.iter().enumerate() {
        checked.field(&format!("{at}/set/{index}"), field, HeaderChange::Set);
    }
    for (index, field) in head.add.iter().enumerate() {
        checked.field(&format!("{at}/add/{index}"), field, HeaderChange::Add);
    }
    for (index, name) in head.remove.iter().enumerate() {
        if let Some(name) =
            checked.name(&format!("{at}/remove/{index}"), name, DuplicateRule::Refused)
        {
            checked.changes.push(HeaderChange::Remove(name));
        }
    }
    let count = checked.changes.len();
    if count > MAX_CHANGES {
        let why =
            format!("{count} changes; a head has at most {MAX_CHANGES}: attach the filter twice");
        checked.errors.push(ConfigError::at(at, why));
    }
    checked.changes
}

/// Whether a name may stand in one list twice: only fields that are added may.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DuplicateRule {
    Refused,
    Added,
}

struct ChangeChecks<'a> {
    changes: Vec<HeaderChange>,
    errors: &'a mut Vec<ConfigError>,
}

impl ChangeChecks<'_> {
    fn field(
        &mut self,
        at: &str,
        field: &FieldSettings,
        change: fn(String, Template) -> HeaderChange,
    ) {
        let value = Template::parse(&field.value).map_err(|error| {
            self.errors.push(ConfigError::at(format!("{at}/value"), error.to_string()));
        });
        let again =
            if at.contains("/add/") { DuplicateRule::Added } else { DuplicateRule::Refused };
        let name = self.name(&format!("{at}/name"), &field.name, again);
        if let (Some(name), Ok(value)) = (name, value) {
            self.changes.push(change(name, value));
        }
    }

    /// The name in lower case, if it may be written.
    fn name(&mut self, at: &str, name: &str, again: DuplicateRule) -> Option<String> {
        let lower = name.to_ascii_lowercase();
        let twice = self.changes.iter().any(|change| {
            change.name() == lower
                && !(again == DuplicateRule::Added && matches!(change, HeaderChange::Add(..)))
        });
        let why = if !is_name(&lower) {
            "this is not the name of a header: letters, digits and `-`, at most 256"
        } else if is_host_field(&lower) {
            "the host owns this field: it frames the message or states who is asking, and no filter writes it; choose another name"
        } else if twice {
            "this name stands in another change of this head: keep one of the two"
        } else {
            return Some(lower);
        };
        self.errors.push(ConfigError::at(at, why));
        None
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME_OCTETS && is_token(name.as_bytes())
}

/// Names that differ in characters other than letters and digits are one name for servers that turn names
/// into variables (RFC 3875 §4.1.18).
fn is_host_field(lower: &str) -> bool {
    let plain: String =
        lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    HOST.contains(&plain.as_str()) || HOST_PREFIXES.iter().any(|prefix| plain.starts_with(prefix))
}

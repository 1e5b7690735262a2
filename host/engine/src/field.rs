//! The fields of a Grant, called as its document calls them.
//!
//! Every message that sends a reader to a grant takes the name of the field from here, so that what it says can be
//! written as it stands. The command line tests that each is a field of the Grant's schema.

use std::fmt;

/// A field of the `spec` of a Grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the fields; see `GrantField::path`")]
pub enum GrantField {
    RequestReadHeaders,
    RequestWriteHeaders,
    RequestAttributes,
    RequestWriteAttributes,
    RequestBody,
    ResponseReadHeaders,
    ResponseWriteHeaders,
    ResponseAttributes,
    ResponseWriteAttributes,
    ResponseBody,
    HttpClientHosts,
    HttpClientDuringRequests,
    HttpClientClearText,
    KvKeyBytes,
    KvValueBytes,
    KvTotalBytes,
    MetricsMetrics,
    QuotaClasses,
    SecretsNames,
}

impl GrantField {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::RequestReadHeaders,
        Self::RequestWriteHeaders,
        Self::RequestAttributes,
        Self::RequestWriteAttributes,
        Self::RequestBody,
        Self::ResponseReadHeaders,
        Self::ResponseWriteHeaders,
        Self::ResponseAttributes,
        Self::ResponseWriteAttributes,
        Self::ResponseBody,
        Self::HttpClientHosts,
        Self::HttpClientDuringRequests,
        Self::HttpClientClearText,
        Self::KvKeyBytes,
        Self::KvValueBytes,
        Self::KvTotalBytes,
        Self::MetricsMetrics,
        Self::QuotaClasses,
        Self::SecretsNames,
    ];

    /// Where it stands in the `spec`.
    pub fn path(self) -> &'static str {
        match self {
            Self::RequestReadHeaders => "request.readHeaders",
            Self::RequestWriteHeaders => "request.writeHeaders",
            Self::RequestAttributes => "request.attributes",
            Self::RequestWriteAttributes => "request.writeAttributes",
            Self::RequestBody => "request.body",
            Self::ResponseReadHeaders => "response.readHeaders",
            Self::ResponseWriteHeaders => "response.writeHeaders",
            Self::ResponseAttributes => "response.attributes",
            Self::ResponseWriteAttributes => "response.writeAttributes",
            Self::ResponseBody => "response.body",
            Self::HttpClientHosts => "imports.http-client.hosts",
            Self::HttpClientDuringRequests => "imports.http-client.duringRequests",
            Self::HttpClientClearText => "imports.http-client.clearText",
            Self::KvKeyBytes => "imports.kv.keyBytes",
            Self::KvValueBytes => "imports.kv.valueBytes",
            Self::KvTotalBytes => "imports.kv.totalBytes",
            Self::MetricsMetrics => "imports.metrics.metrics",
            Self::QuotaClasses => "imports.quota.classes",
            Self::SecretsNames => "imports.secrets.names",
        }
    }

    /// The field that lets a filter see `name` of `interest.reads`. `response`: its hooks see responses alone.
    pub(crate) fn reading(name: &str, response: bool) -> Self {
        match (name.starts_with('@'), response && !name.starts_with("request:")) {
            (true, true) => Self::ResponseAttributes,
            (true, false) => Self::RequestAttributes,
            (false, true) => Self::ResponseReadHeaders,
            (false, false) => Self::RequestReadHeaders,
        }
    }

    /// The field that lets a filter change `name` of `interest.writes`. `response`: its hooks see responses alone.
    pub(crate) fn writing(name: &str, response: bool) -> Self {
        match (name.starts_with('@'), response) {
            (true, true) => Self::ResponseWriteAttributes,
            (true, false) => Self::RequestWriteAttributes,
            (false, true) => Self::ResponseWriteHeaders,
            (false, false) => Self::RequestWriteHeaders,
        }
    }

    /// The lines of a Grant that allow `name` (as declared) by this field.
    pub(crate) fn example(self, filter: &str, name: &str) -> String {
        let (side, field) = self.path().split_once('.').unwrap_or((self.path(), ""));
        let value = match self {
            Self::RequestBody | Self::ResponseBody => "replace".to_owned(),
            _ => {
                let name = name.trim_start_matches('@').trim_start_matches("request:");
                let plain =
                    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
                if plain { format!("[{name}]") } else { format!("[{name:?}]") }
            }
        };
        format!("kind: Grant\nspec:\n  filter: {filter}\n  {side}: {{ {field}: {value} }}")
    }
}

impl fmt::Display for GrantField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_allowed_by_the_field_of_its_kind_and_side() {
        for (name, response, read, write) in [
            ("cookie", false, "request.readHeaders", "request.writeHeaders"),
            ("cookie", true, "response.readHeaders", "response.writeHeaders"),
            ("request:cookie", true, "request.readHeaders", "response.writeHeaders"),
            ("@route.name", false, "request.attributes", "request.writeAttributes"),
            ("@route.name", true, "response.attributes", "response.writeAttributes"),
            (":path", false, "request.readHeaders", "request.writeHeaders"),
        ] {
            let found = (GrantField::reading(name, response), GrantField::writing(name, response));
            assert_eq!((found.0.path(), found.1.path()), (read, write), "{name}");
        }
    }

    #[test]
    fn an_example_can_be_written_as_it_stands() {
        for (field, name, line) in [
            (
                GrantField::RequestReadHeaders,
                "request:cookie",
                "request: { readHeaders: [cookie] }",
            ),
            (GrantField::RequestWriteHeaders, ":path", "request: { writeHeaders: [\":path\"] }"),
            (GrantField::RequestReadHeaders, "*", "request: { readHeaders: [\"*\"] }"),
            (GrantField::ResponseAttributes, "@a.b", "response: { attributes: [a.b] }"),
            (GrantField::RequestAttributes, "@*", "request: { attributes: [\"*\"] }"),
            (GrantField::ResponseBody, "responseBody", "response: { body: replace }"),
        ] {
            let text = field.example("acme/a", name);
            assert!(text.ends_with(line), "{text}");
        }
    }
}

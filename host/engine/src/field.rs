//! The fields of a Grant, under the names they have in its document.
//!
//! Every message that refers to a field of a grant takes its name from here, so that it can be written
//! exactly as shown. A test of the command line checks that each is a field of the Grant's schema.

use std::collections::BTreeMap;
use std::fmt;
use tamis_exchange::TRAILER;

/// A field of the `spec` of a Grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the field names; see `GrantField::path`")]
pub enum GrantField {
    RequestReadHeaders,
    RequestWriteHeaders,
    RequestAttributes,
    RequestWriteAttributes,
    RequestReadTrailers,
    RequestWriteTrailers,
    RequestBody,
    ResponseReadHeaders,
    ResponseWriteHeaders,
    ResponseAttributes,
    ResponseWriteAttributes,
    ResponseReadTrailers,
    ResponseWriteTrailers,
    ResponseBody,
    HttpClientHosts,
    HttpClientServices,
    HttpClientDuringRequests,
    HttpClientHooks,
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
    pub const ALL: [Self; 25] = [
        Self::RequestReadHeaders,
        Self::RequestWriteHeaders,
        Self::RequestAttributes,
        Self::RequestWriteAttributes,
        Self::RequestReadTrailers,
        Self::RequestWriteTrailers,
        Self::RequestBody,
        Self::ResponseReadHeaders,
        Self::ResponseWriteHeaders,
        Self::ResponseAttributes,
        Self::ResponseWriteAttributes,
        Self::ResponseReadTrailers,
        Self::ResponseWriteTrailers,
        Self::ResponseBody,
        Self::HttpClientHosts,
        Self::HttpClientServices,
        Self::HttpClientDuringRequests,
        Self::HttpClientHooks,
        Self::HttpClientClearText,
        Self::KvKeyBytes,
        Self::KvValueBytes,
        Self::KvTotalBytes,
        Self::MetricsMetrics,
        Self::QuotaClasses,
        Self::SecretsNames,
    ];

    /// Its path in the `spec`.
    pub fn path(self) -> &'static str {
        match self {
            Self::RequestReadHeaders => "request.readHeaders",
            Self::RequestWriteHeaders => "request.writeHeaders",
            Self::RequestAttributes => "request.attributes",
            Self::RequestWriteAttributes => "request.writeAttributes",
            Self::RequestReadTrailers => "request.readTrailers",
            Self::RequestWriteTrailers => "request.writeTrailers",
            Self::RequestBody => "request.body",
            Self::ResponseReadHeaders => "response.readHeaders",
            Self::ResponseWriteHeaders => "response.writeHeaders",
            Self::ResponseAttributes => "response.attributes",
            Self::ResponseWriteAttributes => "response.writeAttributes",
            Self::ResponseReadTrailers => "response.readTrailers",
            Self::ResponseWriteTrailers => "response.writeTrailers",
            Self::ResponseBody => "response.body",
            Self::HttpClientHosts => "imports.http-client.hosts",
            Self::HttpClientServices => "imports.http-client.services",
            Self::HttpClientDuringRequests => "imports.http-client.duringRequests",
            Self::HttpClientHooks => "imports.http-client.hooks",
            Self::HttpClientClearText => "imports.http-client.clearText",
            Self::KvKeyBytes => "imports.kv.keyBytes",
            Self::KvValueBytes => "imports.kv.valueBytes",
            Self::KvTotalBytes => "imports.kv.totalBytes",
            Self::MetricsMetrics => "imports.metrics.metrics",
            Self::QuotaClasses => "imports.quota.classes",
            Self::SecretsNames => "imports.secrets.names",
        }
    }

    /// The field that lets a filter read `name` of `interest.reads`. `response`: its hooks see responses
    /// only.
    pub(crate) fn reading(name: &str, response: bool) -> Self {
        if name.starts_with(TRAILER) {
            return if response { Self::ResponseReadTrailers } else { Self::RequestReadTrailers };
        }
        match (name.starts_with('@'), response && !name.starts_with("request:")) {
            (true, true) => Self::ResponseAttributes,
            (true, false) => Self::RequestAttributes,
            (false, true) => Self::ResponseReadHeaders,
            (false, false) => Self::RequestReadHeaders,
        }
    }

    /// The field that lets a filter write `name` of `interest.writes`. `response`: its hooks see responses
    /// only.
    pub(crate) fn writing(name: &str, response: bool) -> Self {
        if name.starts_with(TRAILER) {
            return if response { Self::ResponseWriteTrailers } else { Self::RequestWriteTrailers };
        }
        match (name.starts_with('@'), response) {
            (true, true) => Self::ResponseWriteAttributes,
            (true, false) => Self::RequestWriteAttributes,
            (false, true) => Self::ResponseWriteHeaders,
            (false, false) => Self::RequestWriteHeaders,
        }
    }

    /// The value that allows `name` in that field, as declared.
    fn value(self, name: &str) -> String {
        let name = name.trim_start_matches('@').trim_start_matches("request:");
        let name = name.strip_prefix(TRAILER).unwrap_or(name);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.bytes().all(plain) { name.to_owned() } else { format!("{name:?}") }
    }
}

/// A field that a filter declares and its grant does not cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UncoveredField {
    /// `reads` or `writes`.
    pub act: &'static str,
    /// As declared.
    pub field: String,
    /// The field of the Grant that would cover it.
    pub grant: GrantField,
}

impl fmt::Display for UncoveredField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.act, self.field)
    }
}

/// Where the reader of a message finds the grant of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantPlace<'a> {
    /// In the Grant document of the filter.
    Document,
    /// In that file, which was given to a command and contains the Grant.
    File(&'a str),
    /// In `grant` of that table of cases.
    Table(&'a str),
}

impl GrantPlace<'_> {
    /// A field of the grant of `filter` in words that lead there.
    pub fn field(self, path: &str, filter: &str) -> String {
        match self {
            Self::Document => format!("`spec.{path}` of the Grant of {filter}"),
            Self::File(file) => format!("`spec.{path}` in {file}"),
            Self::Table(file) => format!("`grant.{path}` in {file}"),
        }
    }
}

/// What to add to which fields of a grant, in one line: logs and status join lines. Only entries are printed, never a whole
/// field: most grants have the field already, and a second one of its name is refused.
pub(crate) fn remedy(filter: &str, lacks: &[UncoveredField], place: GrantPlace<'_>) -> String {
    let mut fields: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for lack in lacks {
        let path = lack.grant.path();
        let (field, entry) = match path.strip_suffix(".body") {
            Some(side) => (side, "`body: replace`".to_owned()),
            None => (path, format!("`{}`", lack.grant.value(&lack.field))),
        };
        let entries = fields.entry(field).or_default();
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    let last = fields.len().saturating_sub(1);
    let parts = fields.into_iter().enumerate().map(|(at, (path, entries))| {
        // The document is named once, with the last field.
        let field = match (place, at == last) {
            (_, true) => place.field(path, filter),
            (GrantPlace::Table(_), false) => format!("`grant.{path}`"),
            (GrantPlace::Document | GrantPlace::File(_), false) => format!("`spec.{path}`"),
        };
        let to = if path.contains('.') { "to" } else { "under" };
        format!("{} {to} {field}", listed(entries))
    });
    let other = "otherwise run a version without this need";
    format!("to allow it, add {}; {other}", listed(parts))
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn listed(parts: impl IntoIterator<Item = String>) -> String {
    let mut parts: Vec<String> = parts.into_iter().collect();
    match (parts.pop(), parts.is_empty()) {
        (None, _) => String::new(),
        (Some(only), true) => only,
        (Some(last), false) => format!("{} and {last}", parts.join(", ")),
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
            ("trailer:a", false, "request.readTrailers", "request.writeTrailers"),
            ("trailer:*", true, "response.readTrailers", "response.writeTrailers"),
        ] {
            let found = (GrantField::reading(name, response), GrantField::writing(name, response));
            assert_eq!((found.0.path(), found.1.path()), (read, write), "{name}");
        }
    }

    #[test]
    fn all_that_lacks_is_told_at_once_and_can_be_written_as_it_stands() {
        let lack = |act, field: &str, grant| UncoveredField { act, field: field.to_owned(), grant };
        let lacks = [
            lack("reads", "request:cookie", GrantField::RequestReadHeaders),
            lack("reads", "*", GrantField::RequestReadHeaders),
            lack("reads", "@a.b", GrantField::RequestAttributes),
            lack("writes", ":path", GrantField::RequestWriteHeaders),
            lack("writes", "trailer:x-sum", GrantField::ResponseWriteTrailers),
            lack("reads", "response bodies", GrantField::ResponseBody),
        ];
        let error = crate::EngineError::Field { filter: "acme/a".into(), lacks: lacks.to_vec() };
        assert_eq!(
            error.to_string(),
            "`acme/a` reads `request:cookie`, reads `*`, reads `@a.b`, writes `:path`, writes `trailer:x-sum` \
             and reads `response bodies`, and its Grant does not allow that"
        );
        let said = |place| error.grant_remedy(place).unwrap();
        assert_eq!(
            said(GrantPlace::Document),
            "to allow it, add `a.b` to `spec.request.attributes`, `cookie` and `\"*\"` to `spec.request.readHeaders`, \
             `\":path\"` to `spec.request.writeHeaders`, `body: replace` under `spec.response` and \
             `x-sum` to `spec.response.writeTrailers` of the Grant of acme/a; otherwise run a version without this need"
        );
        assert!(said(GrantPlace::Table("cases.yaml")).contains(
            "`body: replace` under `grant.response` and `x-sum` to `grant.response.writeTrailers` in cases.yaml"
        ));
    }
}

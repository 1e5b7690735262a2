//! Changes that a filter requests; all are checked before any of them applies.

mod apply;
mod check;
mod trailers;

pub use apply::{apply, head_size};
pub use check::check;
pub(crate) use check::{in_lower_case, name_rule, written_name_rule};
pub use trailers::change_trailers;

use crate::fields::is_host_field;
use crate::head_bounds::FIELD_OCTETS;
use crate::head_side::HeadSide;
use crate::view::TRAILER;
use http::{HeaderName, Method};

/// Edits of one verdict.
const MAX_EDITS: usize = 1_024;
/// Bytes of a response's head as a client receives it, whoever wrote it: an upstream, an upstream and filters,
/// or a filter alone, in its reply.
pub const MAX_RESPONSE_HEAD_OCTETS: usize = 64 * 1024;
/// Bytes of all attributes of an exchange, names and values, once filters set some.
pub const MAX_ATTRIBUTES_OCTETS: usize = 64 * 1024;
/// Attributes of an exchange, once filters set some.
pub const MAX_ATTRIBUTES: usize = 128;

/// A header line as it crosses the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldLine {
    /// Lower case.
    pub name: String,
    /// Raw bytes.
    pub value: Vec<u8>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Replaces every field of that name.
    SetHeader(FieldLine),
    /// Adds a field after those of that name.
    AddHeader(FieldLine),
    /// Removes every field of that name.
    RemoveHeader(String),
    /// Path and query.
    SetPath(String),
    /// Host and port.
    SetAuthority(String),
    /// Seen by later filters of this exchange; never sent.
    SetAttribute {
        /// Without `@`.
        name: String,
        /// Any text.
        value: String,
    },
    /// Of the response.
    SetStatus(u16),
    /// Of the request.
    SetMethod(String),
    /// Has the host encode the body of the response, by the name of a coding.
    EncodeBody(String),
}

/// Why a list of edits was refused. None of the edits was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("edit {} of its answer (`{what}`) is not allowed: {rule}", index.saturating_add(1))]
pub struct EditError {
    /// Position in the verdict, from 0; people read it from 1.
    pub index: usize,
    /// The header, pseudo-header or attribute.
    pub what: String,
    /// The rule it breaks and the way out.
    pub rule: &'static str,
}

/// What a filter may write: its declaration, already limited by its grant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WritableFields {
    names: Vec<String>,
    /// Those of `names` that are headers, so that an edit need not read its name.
    headers: Vec<HeaderName>,
    /// What of it holds for requests and for responses, where the grant gives a field for one of them alone.
    sides: Option<Box<[Self; 2]>>,
}

impl WritableFields {
    /// From `interest.writes`: header names, `:path`, `:authority`, `:method`, `:status`,
    /// `:coding`, `@attributes`, `trailer:NAME`; `*` means any
    /// header that is not the host's ([`crate::is_host_field`]), `@*` any attribute that is not the host's
    /// ([`is_host_attribute`]).
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let headers = names.iter().filter(|name| *name != "*");
        let headers = headers.filter_map(|name| HeaderName::from_lowercase(name.as_bytes()).ok());
        Self { headers: headers.collect(), names, sides: None }
    }

    /// The same, without the fields that may not be written in the messages of a side.
    #[must_use]
    pub fn limited(self, may: impl Fn(&str, HeadSide) -> bool) -> Self {
        let of =
            |side: HeadSide| Self::new(self.names.iter().filter(|name| may(name, side)).cloned());
        let (request, response) = (of(HeadSide::Request), of(HeadSide::Response));
        let is_one = request.names == self.names && response.names == self.names;
        Self { sides: (!is_one).then(|| Box::new([request, response])), ..self }
    }

    /// What of it holds for the messages of a side.
    fn of(&self, side: HeadSide) -> &Self {
        match (self.sides.as_deref(), side) {
            (Some([request, _]), HeadSide::Request) => request,
            (Some([_, response]), HeadSide::Response) => response,
            (None, _) => self,
        }
    }

    /// Any header, path, authority and attribute: for the host's own modules and for tests.
    pub fn everything() -> Self {
        Self::new(["*", ":path", ":authority", ":method", ":status", ":coding", "@*", "trailer:*"])
    }

    /// The declared names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The name of a header that an edit writes.
    fn header(&self, name: &str) -> Option<HeaderName> {
        let known = self.headers.iter().find(|known| **known == *name).cloned();
        known.or_else(|| HeaderName::from_lowercase(name.as_bytes()).ok())
    }

    fn covers_header(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name || (n == "*" && !is_host_field(name)))
    }

    fn covers(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name)
    }

    fn covers_trailer(&self, name: &str) -> bool {
        self.trailers().any(|declared| declared == name || declared == "*")
    }

    /// The trailers that may be written, without their prefix; `*` means any.
    pub fn trailers(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter_map(|name| name.strip_prefix(TRAILER))
    }

    fn covers_attribute(&self, name: &str) -> bool {
        self.names
            .iter()
            .any(|n| n == "@*" || n.strip_prefix('@').is_some_and(|declared| declared == name))
    }
}

/// The header of a router's reply that states its reason; the host takes it out of the reply.
pub const ROUTER_REASON: &str = "x-tamis-reason";

/// Attributes that the host sets: the peer's identity and address, the connection, the rule that matched.
/// No filter writes them, whatever its grant allows, so records and rules may rely on them.
pub fn is_host_attribute(name: &str) -> bool {
    const OWNED: [&str; 9] = [
        "peer.",
        "source.",
        "tls.",
        "listener.",
        "route.",
        "upstream.",
        // None is stated yet; what filters set there today would be taken for the host's tomorrow.
        "connection.",
        "destination.",
        "tamis.",
    ];
    let begins = |prefix: &str| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    OWNED.iter().any(|prefix| begins(prefix))
}

/// Headers that frame a message or belong to one connection; only the host writes them (RFC 9110 §7.6.1,
/// RFC 9112 §6).
pub fn is_framing_header(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "content-length"
            | "host"
            | "http2-settings"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Methods whose requests or responses end in another way than those of others (RFC 9110 §9.3.2, §9.3.6,
/// §9.3.8).
fn is_method_apart(method: &Method) -> bool {
    matches!(*method, Method::CONNECT | Method::HEAD | Method::TRACE)
}

/// At most as much of a name as a person reads.
pub(crate) fn shown(what: &str) -> String {
    what.get(..what.floor_char_boundary(80)).unwrap_or(what).to_owned()
}

/// Bytes of a field as [`MAX_HEAD_OCTETS`](crate::MAX_HEAD_OCTETS) counts them.
pub(crate) fn field_octets(field: &FieldLine) -> usize {
    field.name.len().saturating_add(field.value.len()).saturating_add(FIELD_OCTETS)
}

#[cfg(test)]
mod tests;

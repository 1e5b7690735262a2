//! What a filter sees: the fields it declared, packed into one buffer.
//!
//! Every string or list that enters a component costs an allocation in it, about 100 ns each. So a view is
//! one byte buffer and one list of spans, whatever it contains.

use crate::Exchange;
use crate::head_side::HeadSide;
use http::{HeaderMap, HeaderName};
use std::fmt;

/// Maximum size of a view; fields that do not fit are left out and the view is marked as truncated.
pub const MAX_VIEW_OCTETS: usize = 256 * 1024;

/// Prefix of the declared name of a trailer.
pub const TRAILER: &str = "trailer:";

/// Request methods as the contract numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are those of the methods")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    Other,
}

impl From<&http::Method> for Method {
    fn from(method: &http::Method) -> Self {
        match method.as_str() {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "CONNECT" => Self::Connect,
            "OPTIONS" => Self::Options,
            "TRACE" => Self::Trace,
            "PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }
}

/// One entry of `interest.reads`, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// `:path`
    Path,
    /// `:authority`
    Authority,
    /// `:scheme`
    Scheme,
    /// `:method`
    Method,
    /// A header of the message at hand.
    Header(HeaderName),
    /// `request:NAME`: a request header, in a hook on a response.
    RequestHeader(HeaderName),
    /// `@NAME`; stored without the `@`.
    Attribute(Box<str>),
    /// `*`: every header of the message at hand.
    AllHeaders,
    /// `trailer:NAME`: a trailer of the message at hand.
    Trailer(HeaderName),
    /// `trailer:*`: every trailer of the message at hand.
    AllTrailers,
}

/// The selector as declared.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path => f.write_str(":path"),
            Self::Authority => f.write_str(":authority"),
            Self::Scheme => f.write_str(":scheme"),
            Self::Method => f.write_str(":method"),
            Self::Header(name) => f.write_str(name.as_str()),
            Self::RequestHeader(name) => write!(f, "request:{name}"),
            Self::Attribute(name) => write!(f, "@{name}"),
            Self::AllHeaders => f.write_str("*"),
            Self::Trailer(name) => write!(f, "{TRAILER}{name}"),
            Self::AllTrailers => write!(f, "{TRAILER}*"),
        }
    }
}

/// A declared field that is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reads[{index}] is `{name}`: {rule}")]
pub struct ReadsError {
    /// Position in `interest.reads`.
    pub index: usize,
    /// As declared.
    pub name: String,
    /// The form that is expected.
    pub rule: &'static str,
}

/// `interest.reads`, parsed once when a filter is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadableFields {
    selectors: Vec<Selector>,
    /// Of each selector, the sides on which it shows nothing; empty: none does.
    hidden: Vec<HiddenSides>,
}

/// The messages in which a declared field is not shown, since the grant gives it for the others alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct HiddenSides {
    request: bool,
    response: bool,
}

impl ReadableFields {
    /// Parses the declaration.
    ///
    /// # Errors
    /// Names the first entry that is not a pseudo-header, a lower-case header name, an attribute or `*`.
    pub fn parse<S: AsRef<str>>(names: &[S]) -> Result<Self, ReadsError> {
        let mut selectors = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            let name = name.as_ref();
            let error = |rule| ReadsError { index, name: name.to_owned(), rule };
            let header = |name: &str| {
                HeaderName::from_lowercase(name.as_bytes()).map_err(|_| {
                    error("a header name must be a token in lower case (RFC 9110 §5.1)")
                })
            };
            selectors.push(match name {
                ":path" => Selector::Path,
                ":authority" => Selector::Authority,
                ":scheme" => Selector::Scheme,
                ":method" => Selector::Method,
                "*" => Selector::AllHeaders,
                "trailer:*" => Selector::AllTrailers,
                _ if name.starts_with(':') => {
                    return Err(error("expected :path, :authority, :scheme or :method"));
                }
                _ if name.starts_with(TRAILER) => {
                    Selector::Trailer(header(name.get(TRAILER.len()..).unwrap_or_default())?)
                }
                _ => match (name.strip_prefix('@'), name.strip_prefix("request:")) {
                    (Some(""), _) => return Err(error("an attribute needs a name after `@`")),
                    (Some(attribute), _) => Selector::Attribute(attribute.into()),
                    (None, Some(request)) => Selector::RequestHeader(header(request)?),
                    (None, None) => Selector::Header(header(name)?),
                },
            });
        }
        Ok(Self { selectors, hidden: Vec::new() })
    }

    /// The same, without the fields that may not be read in the messages of a side. Hooks find them absent there.
    #[must_use]
    pub fn limited(self, may: impl Fn(&str, HeadSide) -> bool) -> Self {
        let hidden = self.selectors.iter().map(|selector| {
            let name = selector.to_string();
            HiddenSides {
                request: !may(&name, HeadSide::Request),
                response: !may(&name, HeadSide::Response),
            }
        });
        let mut hidden: Vec<HiddenSides> = hidden.collect();
        if hidden.iter().all(|one| *one == HiddenSides::default()) {
            hidden.clear();
        }
        Self { hidden, ..self }
    }

    /// In declared order; a span's `field` is an index into it.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// Those that show something in the messages of a side, each with its index.
    fn shown(&self, side: HeadSide) -> impl Iterator<Item = (u32, &Selector)> {
        let all = self.selectors.iter().enumerate();
        let shown = all.filter(move |(index, _)| {
            self.hidden.get(*index).is_none_or(|hidden| match side {
                HeadSide::Request => !hidden.request,
                HeadSide::Response => !hidden.response,
            })
        });
        shown.map(|(index, selector)| (u32::try_from(index).unwrap_or(u32::MAX), selector))
    }
}

/// Where one field is in [`View::octets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSpan {
    /// Index into `interest.reads`.
    pub field: u32,
    /// Offset.
    pub start: u32,
    /// For a field that `*` covers: the length of its name, which precedes the value; else 0.
    pub name_length: u32,
    /// Length of the value.
    pub length: u32,
}

/// The declared part of an exchange, in one buffer. Reuse it: filling keeps the capacity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// [`Exchange::id`].
    pub exchange: u64,
    /// Of the request.
    pub method: Method,
    /// 0 before there is a response.
    pub status: u16,
    /// Names and values, back to back.
    pub octets: Vec<u8>,
    /// Absent fields have no span; repeated fields have one for each occurrence, in order.
    pub spans: Vec<FieldSpan>,
    /// A field did not fit into [`MAX_VIEW_OCTETS`]; the caller must refuse the request.
    pub truncated: bool,
}

impl View {
    /// The declared part of the request head.
    pub fn fill_request(&mut self, reads: &ReadableFields, exchange: &Exchange) {
        self.fill(reads, exchange, HeadSide::Request);
    }

    /// The declared part of the response head.
    pub fn fill_response(&mut self, reads: &ReadableFields, exchange: &Exchange) {
        self.fill(reads, exchange, HeadSide::Response);
    }

    fn fill(&mut self, reads: &ReadableFields, exchange: &Exchange, side: HeadSide) {
        let (headers, status) = match side {
            HeadSide::Request => (&exchange.headers, 0),
            HeadSide::Response => {
                let status = exchange.status.map_or(0, |status| status.as_u16());
                (&exchange.response_headers, status)
            }
        };
        self.exchange = exchange.id;
        self.method = Method::from(&exchange.method);
        self.status = status;
        self.octets.clear();
        self.spans.clear();
        self.truncated = false;
        for (field, selector) in reads.shown(side) {
            match selector {
                Selector::Path => self.push(field, b"", exchange.path.as_bytes()),
                Selector::Authority => self.push(field, b"", exchange.authority.as_bytes()),
                Selector::Scheme => self.push(field, b"", exchange.scheme.as_str().as_bytes()),
                Selector::Method => self.push(field, b"", exchange.method.as_str().as_bytes()),
                Selector::Header(name) => self.push_headers(field, headers, name),
                Selector::RequestHeader(name) => {
                    self.push_headers(field, &exchange.headers, name);
                }
                Selector::Attribute(name) => {
                    if let Some(value) = exchange.attributes.find(name) {
                        self.push(field, b"", value.as_bytes());
                    }
                }
                Selector::AllHeaders => {
                    for (name, value) in headers {
                        self.push(field, name.as_str().as_bytes(), value.as_bytes());
                    }
                }
                Selector::Trailer(_) | Selector::AllTrailers => {}
            }
        }
    }

    /// Adds the declared trailers to the fields of the head. A trailer that `trailer:*` covers has the name
    /// `trailer:NAME` here, so that it is not taken for a header.
    pub fn add_trailers(&mut self, reads: &ReadableFields, trailers: &HeaderMap, side: HeadSide) {
        for (field, selector) in reads.shown(side) {
            match selector {
                Selector::Trailer(name) => self.push_headers(field, trailers, name),
                Selector::AllTrailers => {
                    for (name, value) in trailers {
                        let name = format!("{TRAILER}{name}");
                        self.push(field, name.as_bytes(), value.as_bytes());
                    }
                }
                Selector::Path
                | Selector::Authority
                | Selector::Scheme
                | Selector::Method
                | Selector::Header(_)
                | Selector::RequestHeader(_)
                | Selector::Attribute(_)
                | Selector::AllHeaders => {}
            }
        }
    }

    fn push_headers(&mut self, field: u32, headers: &HeaderMap, name: &HeaderName) {
        for value in headers.get_all(name) {
            self.push(field, b"", value.as_bytes());
        }
    }

    fn push(&mut self, field: u32, name: &[u8], value: &[u8]) {
        let start = self.octets.len();
        if start.saturating_add(name.len()).saturating_add(value.len()) > MAX_VIEW_OCTETS {
            self.truncated = true;
            return;
        }
        self.octets.extend_from_slice(name);
        self.octets.extend_from_slice(value);
        // Bounded by MAX_VIEW_OCTETS, so the conversions below cannot saturate.
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.spans.push(FieldSpan {
            field,
            start: number(start),
            name_length: number(name.len()),
            length: number(value.len()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attributes, Scheme};

    fn exchange() -> Exchange {
        let mut headers = HeaderMap::new();
        headers.append("accept", "text/html".parse().unwrap());
        headers.append("accept", "*/*".parse().unwrap());
        headers.append("cookie", "secret".parse().unwrap());
        let mut attributes = Attributes::default();
        attributes.set("peer.spiffe-id", "spiffe://a/b");
        Exchange {
            id: 7,
            method: http::Method::POST,
            scheme: Scheme::Https,
            authority: "shop.example".into(),
            path: "/pay?x=1".into(),
            headers,
            status: None,
            response_headers: HeaderMap::new(),
            attributes,
            bounds: crate::HeadBounds::default(),
            coding: None,
        }
    }

    #[test]
    fn a_selector_reads_as_it_was_declared() {
        let names = [
            ":path",
            ":authority",
            ":scheme",
            ":method",
            "cookie",
            "request:cookie",
            "@a.b",
            "*",
            "trailer:a",
            "trailer:*",
        ];
        let reads = ReadableFields::parse(&names).unwrap();
        assert_eq!(reads.selectors().iter().map(ToString::to_string).collect::<Vec<_>>(), names);
    }

    #[test]
    fn a_field_is_absent_in_the_messages_for_which_it_is_not_granted() {
        let mut exchange = exchange();
        exchange.response_headers.append("cookie", "other".parse().unwrap());
        let names = ["accept", "cookie", "request:cookie", "@peer.spiffe-id"];
        let reads = ReadableFields::parse(&names).unwrap();
        let shown = |reads: &ReadableFields| {
            let (mut request, mut response) = (View::default(), View::default());
            request.fill_request(reads, &exchange);
            response.fill_response(reads, &exchange);
            let fields = |view: &View| {
                let mut fields: Vec<u32> = view.spans.iter().map(|span| span.field).collect();
                fields.dedup();
                fields
            };
            (fields(&request), fields(&response))
        };
        assert_eq!(shown(&reads), (vec![0, 1, 2, 3], vec![1, 2, 3]));
        let of_responses = reads
            .clone()
            .limited(|name, side| side == HeadSide::Response && name != "request:cookie");
        assert_eq!(shown(&of_responses), (vec![], vec![1, 3]));
        assert_eq!(reads.clone().limited(|_, _| true), reads);
    }

    fn text(view: &View, span: &FieldSpan) -> String {
        let start = span.start as usize;
        let end = start + span.name_length as usize + span.length as usize;
        String::from_utf8(view.octets[start..end].to_vec()).unwrap()
    }

    #[test]
    fn a_view_holds_exactly_what_was_declared() {
        let reads =
            ReadableFields::parse(&[":path", "accept", "x-absent", "@peer.spiffe-id", "@none"])
                .unwrap();
        let mut view = View::default();
        view.fill_request(&reads, &exchange());
        let got: Vec<_> = view.spans.iter().map(|s| (s.field, text(&view, s))).collect();
        assert_eq!(
            got,
            [
                (0, "/pay?x=1".to_owned()),
                (1, "text/html".into()),
                (1, "*/*".into()),
                (3, "spiffe://a/b".into())
            ]
        );
        assert!(!view.octets.windows(6).any(|w| w == b"secret"));
        assert_eq!(view.method, Method::Post);
    }

    #[test]
    fn trailers_are_added_under_names_of_their_own() {
        let mut trailers = HeaderMap::new();
        trailers.append("x-sum", "7".parse().unwrap());
        trailers.append("grpc-status", "0".parse().unwrap());
        for (names, expected) in [
            (&["*", "trailer:x-sum"][..], &["7"][..]),
            (&["trailer:*"], &["trailer:x-sum7", "trailer:grpc-status0"]),
            (&["x-sum", "trailer:x-none"], &[]),
        ] {
            let reads = ReadableFields::parse(names).unwrap();
            let mut view = View::default();
            view.fill_request(&reads, &exchange());
            let head = view.spans.len();
            view.add_trailers(&reads, &trailers, HeadSide::Response);
            let added: Vec<_> = view.spans[head..].iter().map(|span| text(&view, span)).collect();
            assert_eq!(added, expected, "{names:?}");
        }
    }

    #[test]
    fn an_impossible_declaration_names_its_place() {
        let error = ReadableFields::parse(&[":path", "Accept"]).unwrap_err();
        assert_eq!(error.index, 1);
        assert!(ReadableFields::parse(&[":status"]).is_err());
        for name in ["@", "trailer:", "trailer:A", "request:trailer:a", "trailer:trailer:a"] {
            assert!(ReadableFields::parse(&[name]).is_err(), "{name}");
        }
    }
}

//! The declared part of an exchange, read without copying.

use crate::types::{self, Method, Span};

/// The fields of an exchange that a filter declared: one buffer, and the place of each field in it.
///
/// Lookups by name compare against the few declared names; [`View::field`] accepts an index, for hot loops.
#[derive(Clone, Copy)]
pub struct View<'a> {
    raw: &'a types::View,
    reads: &'a [String],
}

impl<'a> View<'a> {
    /// Reads `raw` with the names in `reads`, in the order declared in `interest.reads`.
    #[must_use]
    pub fn new(raw: &'a types::View, reads: &'a [String]) -> Self {
        Self { raw, reads }
    }

    /// The number of the exchange, as in logs.
    #[must_use]
    pub fn exchange(&self) -> u64 {
        self.raw.exchange
    }

    /// The method; [`Method::Other`] if it is not one of the registered ones.
    #[must_use]
    pub fn method(&self) -> Method {
        self.raw.method
    }

    /// The method as text. Empty for an extension method unless `:method` is declared.
    #[must_use]
    pub fn method_name(&self) -> &'a str {
        match self.raw.method {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Connect => "CONNECT",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
            Method::Patch => "PATCH",
            Method::Other => self.text(":method").unwrap_or_default(),
        }
    }

    /// The status; 0 before there is a response.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.raw.status
    }

    /// First value of the field declared at this index.
    #[must_use]
    pub fn field(&self, index: u32) -> Option<&'a [u8]> {
        self.raw.spans.iter().find(|span| span.field == index).and_then(|span| self.value(span))
    }

    /// First value of a header, pseudo-header or attribute by its declared name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers(name).next()
    }

    /// All values of that name, in the order received, including those that `*` covers.
    pub fn headers<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let view = *self;
        view.raw
            .spans
            .iter()
            .filter(move |span| view.is(span, name))
            .filter_map(move |s| view.value(s))
    }

    /// All fields of the view, as name and value.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let view = *self;
        view.raw.spans.iter().filter_map(move |span| Some((view.name(span)?, view.value(span)?)))
    }

    /// First value of that name, if it is UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.header(name).and_then(|octets| std::str::from_utf8(octets).ok())
    }

    /// Path and query, if `:path` is declared.
    #[must_use]
    pub fn path(&self) -> Option<&'a str> {
        self.text(":path")
    }

    /// Host and port, if `:authority` is declared.
    #[must_use]
    pub fn authority(&self) -> Option<&'a str> {
        self.text(":authority")
    }

    /// A declared attribute; the name begins with `@`.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        self.text(name)
    }

    /// First value of a declared trailer, in hooks on trailers: `trailer("grpc-status")` with `trailer:grpc-status` or
    /// `trailer:*` among the declared fields.
    #[must_use]
    pub fn trailer(&self, name: &str) -> Option<&'a [u8]> {
        let view = *self;
        let is = |span: &&Span| view.name(span)?.strip_prefix("trailer:").map(|it| it == name);
        let mut spans = view.raw.spans.iter();
        spans.find(|span| is(span) == Some(true)).and_then(|span| view.value(span))
    }

    fn is(&self, span: &Span, name: &str) -> bool {
        self.name(span) == Some(name)
    }

    fn name(&self, span: &Span) -> Option<&'a str> {
        match span.name_length {
            0 => self.reads.get(span.field as usize).map(String::as_str),
            length => std::str::from_utf8(self.octets(span.start, length)?).ok(),
        }
    }

    fn value(&self, span: &Span) -> Option<&'a [u8]> {
        self.octets(span.start.checked_add(span.name_length)?, span.length)
    }

    fn octets(&self, start: u32, length: u32) -> Option<&'a [u8]> {
        self.raw.octets.get(start as usize..start.checked_add(length)? as usize)
    }
}

/// Packs fields as the host does, for unit tests: of `fields`, those that `reads` declares, in order.
///
/// The method is `GET` and the exchange number 1; set the public fields of the result for others.
#[must_use]
pub fn packed(reads: &[String], fields: &[(&str, &[u8])]) -> types::View {
    let mut octets = Vec::new();
    let mut spans = Vec::new();
    for (index, declared) in (0_u32..).zip(reads) {
        let trailer = |name: &str| name.starts_with("trailer:");
        let regular = |name: &str| !name.starts_with([':', '@']) && !trailer(name);
        let star = |name: &str| match declared.as_str() {
            "*" => regular(name),
            "trailer:*" => trailer(name),
            _ => false,
        };
        for (name, value) in fields.iter().filter(|(name, _)| {
            declared == name || (star(name) && !reads.iter().any(|r| r == name))
        }) {
            let name = if star(name) { name.as_bytes() } else { &[] };
            let start = length(&octets);
            octets.extend_from_slice(name);
            octets.extend_from_slice(value);
            spans.push(Span {
                field: index,
                start,
                name_length: length(name),
                length: length(value),
            });
        }
    }
    types::View { exchange: 1, method: Method::Get, status: 0, octets, spans }
}

fn length(octets: &[u8]) -> u32 {
    u32::try_from(octets.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_name_and_by_index() {
        let reads = [":path".to_owned(), "cookie".to_owned(), "@tls.sni".to_owned()];
        let raw =
            packed(&reads, &[(":path", b"/a?b"), ("cookie", b"1"), ("cookie", b"2"), ("x", b"y")]);
        let view = View::new(&raw, &reads);
        assert_eq!(view.path(), Some("/a?b"));
        assert_eq!(view.headers("cookie").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(view.field(1), Some(&b"1"[..]));
        assert_eq!((view.header("x"), view.attribute("@tls.sni")), (None, None));
    }

    #[test]
    fn a_star_names_what_it_took_in() {
        let reads = ["*".to_owned(), "host".to_owned()];
        let raw = packed(&reads, &[("host", b"h"), ("x-a", b"1"), (":path", b"/")]);
        let view = View::new(&raw, &reads);
        assert_eq!(view.header("x-a"), Some(&b"1"[..]));
        assert_eq!(view.entries().collect::<Vec<_>>(), [("x-a", &b"1"[..]), ("host", b"h")]);
    }

    #[test]
    fn a_trailer_is_no_header_of_that_name() {
        let fields: [(&str, &[u8]); 2] = [("x-sum", b"1"), ("trailer:x-sum", b"2")];
        for reads in [["x-sum", "trailer:x-sum"], ["*", "trailer:*"], ["*", "trailer:x-sum"]] {
            let reads = reads.map(str::to_owned);
            let raw = packed(&reads, &fields);
            let view = View::new(&raw, &reads);
            assert_eq!(view.header("x-sum"), Some(&b"1"[..]), "{reads:?}");
            assert_eq!(view.trailer("x-sum"), Some(&b"2"[..]), "{reads:?}");
            assert_eq!(view.trailer("x-none"), None);
        }
    }

    #[test]
    fn a_span_outside_the_buffer_is_absent() {
        let reads = ["a".to_owned()];
        let mut raw = packed(&reads, &[("a", b"1")]);
        raw.spans[0].start = u32::MAX;
        assert_eq!(View::new(&raw, &reads).header("a"), None);
    }
}

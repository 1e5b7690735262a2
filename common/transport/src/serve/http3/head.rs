//! Field sections of requests (RFC 9114 §4.2, §4.3): a request has one reading, or it is malformed.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, Request, StatusCode, Version};
use thiserror::Error;

use crate::qpack::{self, SectionError};
use crate::serve::stream_head::{ConnectProtocol, is_of_connection};
use crate::streams::are_within_bounds;

/// Why a section is not that of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum HeadError {
    /// It cannot be decoded, which ends the connection.
    #[error(transparent)]
    Section(#[from] SectionError),
    /// It breaks a rule, which ends the stream.
    #[error("{0}")]
    Malformed(&'static str),
}

/// The parts of a request's section as they come.
#[derive(Default)]
struct Parts {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    protocol: Option<ConnectProtocol>,
    fields: HeaderMap,
    /// A field that is no pseudo-header came.
    regular: bool,
}

/// Reads the head of a request of at most so many bytes, counted as RFC 9114 §4.2.2 does.
///
/// # Errors
/// [`HeadError`].
pub(super) fn request(section: &[u8], most: usize) -> Result<Request<()>, HeadError> {
    let mut parts = Parts::default();
    qpack::decode::<HeadError>(section, most, |name, value| parts.take(name, value))?;
    parts.request()
}

/// Reads the trailers of a request.
///
/// # Errors
/// [`HeadError`].
pub(super) fn trailers(section: &[u8], most: usize) -> Result<HeaderMap, HeadError> {
    let mut fields = HeaderMap::new();
    qpack::decode::<HeadError>(section, most, |name, value| {
        if name.first() == Some(&b':') {
            return Err(HeadError::Malformed("trailers have no pseudo-headers"));
        }
        append(&mut fields, name, value)
    })?;
    if !are_within_bounds(&fields) {
        return Err(HeadError::Malformed("more trailers than allowed"));
    }
    Ok(fields)
}

/// The length that a head states; `None`: none.
///
/// # Errors
/// It states several, or something that is no length.
pub(super) fn content_length(fields: &HeaderMap) -> Result<Option<u64>, HeadError> {
    let wrong = HeadError::Malformed("`content-length` is one number");
    let mut length = None;
    for value in fields.get_all(header::CONTENT_LENGTH) {
        let octets = value.as_bytes();
        let digits = !octets.is_empty() && octets.iter().all(u8::is_ascii_digit);
        let number = value.to_str().ok().filter(|_| digits).and_then(|text| text.parse().ok());
        let number: u64 = number.ok_or(wrong)?;
        if length.is_some_and(|known| known != number) {
            return Err(wrong);
        }
        length = Some(number);
    }
    Ok(length)
}

/// The section of a response.
pub(super) fn response(status: StatusCode, fields: &HeaderMap) -> Vec<u8> {
    let status = [(":status", status.as_str().as_bytes())];
    qpack::encode(status.into_iter().chain(each(fields)))
}

/// The section of trailers.
pub(super) fn trailer_section(fields: &HeaderMap) -> Vec<u8> {
    qpack::encode(each(fields))
}

fn each(fields: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
}

/// Appends a field that may stand in a message of this version.
fn append(fields: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
    let name = HeaderName::from_lowercase(name)
        .map_err(|_| HeadError::Malformed("the name of a field is a token in lower case"))?;
    let value = HeaderValue::from_bytes(value).map_err(|_| {
        HeadError::Malformed("the value of a field contains octets that are not allowed")
    })?;
    if is_of_connection(&name) && !(name == header::TE && value == "trailers") {
        return Err(HeadError::Malformed("fields of an HTTP/1 connection have no place here"));
    }
    // Never in practice: the limit on the size of a section is reached before the number of fields that a map takes.
    fields.try_append(name, value).map_err(|_| SectionError::TooLarge)?;
    Ok(())
}

impl Parts {
    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        if name.first() != Some(&b':') {
            self.regular = true;
            return append(&mut self.fields, name, value);
        }
        if self.regular {
            return Err(HeadError::Malformed("pseudo-headers come before all other fields"));
        }
        match name {
            b":method" => set(&mut self.method, Method::from_bytes(value).ok()),
            // An empty one would pass for one.
            b":scheme" => {
                let scheme = Some(value).filter(|scheme| !scheme.is_empty());
                set(&mut self.scheme, scheme.and_then(|scheme| Scheme::try_from(scheme).ok()))
            }
            b":authority" => set(&mut self.authority, Authority::try_from(value).ok()),
            b":path" => {
                let path = Some(value).filter(|path| !path.is_empty());
                set(&mut self.path, path.and_then(|path| PathAndQuery::try_from(path).ok()))
            }
            b":protocol" => {
                let protocol = std::str::from_utf8(value).ok().map(ConnectProtocol::sent);
                set(&mut self.protocol, protocol)
            }
            _ => Err(HeadError::Malformed("requests have no such pseudo-header")),
        }
    }

    fn request(self) -> Result<Request<()>, HeadError> {
        let Self { method, scheme, authority, path, protocol, fields, regular: _ } = self;
        let method = method.ok_or(HeadError::Malformed("a request has a method"))?;
        let connects = method == Method::CONNECT;
        if protocol.is_some() && !connects {
            return Err(HeadError::Malformed("`:protocol` is for CONNECT (RFC 9220 §3)"));
        }
        if connects && protocol.is_none() {
            if scheme.is_some() || path.is_some() || authority.is_none() {
                return Err(HeadError::Malformed("CONNECT has an authority alone (RFC 9114 §4.4)"));
            }
        } else if scheme.is_none() || path.is_none() {
            return Err(HeadError::Malformed("a request has a scheme and a path"));
        }
        if protocol.is_some() && authority.is_none() {
            return Err(HeadError::Malformed("an extended CONNECT has an authority"));
        }
        content_length(&fields)?;
        let mut uri = http::uri::Parts::default();
        // A target without authority has no scheme either.
        uri.scheme = scheme.filter(|_| authority.is_some());
        (uri.authority, uri.path_and_query) = (authority, path);
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_parts(uri)
            .map_err(|_| HeadError::Malformed("the target of a request is a URI"))?;
        *request.method_mut() = method;
        *request.version_mut() = Version::HTTP_3;
        *request.headers_mut() = fields;
        if let Some(protocol) = protocol {
            request.extensions_mut().insert(protocol);
        }
        Ok(request)
    }
}

/// Sets a pseudo-header, which comes once.
fn set<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), HeadError> {
    let value = value.ok_or(HeadError::Malformed("the value of a pseudo-header is invalid"))?;
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(HeadError::Malformed("each pseudo-header comes once")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 64 * 1024;

    fn read(fields: &[(&str, &str)]) -> Result<Request<()>, HeadError> {
        let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
        request(&qpack::encode(fields), MOST)
    }

    /// A good head, with these fields after it.
    fn get<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let mut fields =
            vec![(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")];
        fields.extend_from_slice(more);
        fields
    }

    /// A good head without one of its fields.
    fn without(name: &str) -> Vec<(&'static str, &'static str)> {
        get(&[]).into_iter().filter(|field| field.0 != name).collect()
    }

    #[test]
    fn a_good_head_is_a_request() {
        let request =
            read(&get(&[("accept", "a"), ("te", "trailers"), ("cookie", "a=1")])).unwrap();
        assert_eq!((request.method(), request.version()), (&Method::GET, Version::HTTP_3));
        assert_eq!(request.uri(), "https://a/");
        assert_eq!(request.headers().len(), 3);
        let bare = [&without(":authority")[..], &[("host", "a")]].concat();
        let bare = read(&bare).unwrap();
        assert_eq!(
            (bare.uri().to_string(), &bare.headers()["host"]),
            ("/".to_owned(), &"a".parse().unwrap())
        );
        let connect = read(&[(":method", "CONNECT"), (":authority", "a:1")]).unwrap();
        assert_eq!(connect.uri(), "a:1");
        let mut extended = get(&[]);
        extended[0].1 = "CONNECT";
        extended.push((":protocol", "websocket"));
        let extended = read(&extended).unwrap();
        let protocol = extended.extensions().get::<ConnectProtocol>().unwrap();
        assert_eq!(protocol.as_str(), "websocket");
    }

    #[test]
    fn what_has_two_readings_or_none_is_malformed() {
        let second = |name: &'static str, value: &'static str| {
            let mut fields = get(&[]);
            fields.push((name, value));
            fields
        };
        let changed = |name: &'static str, value: &'static str| {
            let mut fields = get(&[]);
            fields.iter_mut().filter(|field| field.0 == name).for_each(|field| field.1 = value);
            fields
        };
        for fields in [
            vec![],
            without(":method"),
            without(":scheme"),
            without(":path"),
            second(":method", "GET"),
            second(":method", "POST"),
            second(":scheme", "https"),
            second(":authority", "b"),
            second(":path", "/b"),
            second(":status", "200"),
            second(":protocol", "websocket"),
            second(":other", "a"),
            second(":", "a"),
            changed(":path", ""),
            changed(":path", "a b"),
            changed(":path", "/\0"),
            changed(":method", ""),
            changed(":method", "G T"),
            changed(":scheme", ""),
            changed(":scheme", "ht tp"),
            changed(":authority", ""),
            changed(":authority", "a b"),
            changed(":method", "CONNECT"),
            get(&[("accept", "a"), (":path", "/b")]),
            get(&[("Accept", "a")]),
            get(&[("a b", "a")]),
            get(&[("", "a")]),
            get(&[("a:b", "a")]),
            get(&[("accept", "a\r\nb: c")]),
            get(&[("accept", "a\0")]),
            get(&[("connection", "close")]),
            get(&[("keep-alive", "a")]),
            get(&[("proxy-connection", "a")]),
            get(&[("transfer-encoding", "chunked")]),
            get(&[("upgrade", "websocket")]),
            get(&[("te", "gzip")]),
            get(&[("te", "trailers, gzip")]),
            get(&[("content-length", "")]),
            get(&[("content-length", "+1")]),
            get(&[("content-length", "1, 1")]),
            get(&[("content-length", "1"), ("content-length", "2")]),
            get(&[("content-length", "99999999999999999999")]),
            vec![(":method", "CONNECT")],
            vec![(":method", "CONNECT"), (":authority", "a:1"), (":path", "/")],
            vec![(":method", "CONNECT"), (":authority", "a:1"), (":scheme", "https")],
            vec![(":method", "CONNECT"), (":authority", "a:1"), (":protocol", "websocket")],
            [&[(":protocol", "websocket")], &get(&[])[..]].concat(),
        ] {
            let read = read(&fields);
            assert!(matches!(read, Err(HeadError::Malformed(_))), "{fields:?}: {read:?}");
        }
        assert!(read(&get(&[("content-length", "1"), ("content-length", "1")])).is_ok());
    }

    #[test]
    fn trailers_are_few_fields_of_the_message() {
        let of = |fields: &[(&str, &str)]| {
            let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
            trailers(&qpack::encode(fields), MOST)
        };
        assert_eq!(of(&[("grpc-status", "0")]).unwrap()["grpc-status"], "0");
        for fields in [
            &[(":path", "/")][..],
            &[(":status", "200")],
            &[("connection", "close")],
            &[("X", "a")],
            &[("a", "1"); 33],
        ] {
            assert!(matches!(of(fields), Err(HeadError::Malformed(_))), "{fields:?}");
        }
        let long = "a".repeat(9 * 1024);
        assert!(of(&[("a", &long)]).is_err());
    }

    #[test]
    fn a_head_beyond_its_bound_is_too_large() {
        let long = "a".repeat(MOST);
        let read = read(&get(&[("a", &long)]));
        assert_eq!(read.unwrap_err(), HeadError::Section(SectionError::TooLarge));
    }
}

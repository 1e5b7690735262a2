//! Checks a request head: it has exactly one reading, or it is refused.
//!
//! Sources: RFC 9112 §2.2, §3, §5, §6; RFC 9110 §5.6.2, §7.2.

use super::refusal::IntakeRefusal;
use super::{ConnectMethod, IntakeLimits};
use crate::message::field::{is_look_alike, is_token, list_contains, split_field, trim};

/// How the end of the message is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    Empty,
    /// This many bytes, never zero.
    Length(u64),
    /// Chunks up to the last one.
    Chunked,
    /// No body; following bytes wait until it is known whether the protocol changes.
    Tunnel,
}

/// A request head that was checked. Its parts are those that arrived.
#[derive(Debug)]
pub struct JudgedRequest<'a> {
    /// A token.
    pub method: &'a [u8],
    /// In a form that fits the method.
    pub target: &'a [u8],
    /// The minor version: 0 or 1.
    pub minor: u8,
    /// How its end is found.
    pub framing: Framing,
    /// Whether the client sends another request after it (RFC 9112 §9.3).
    pub persistent: bool,
    /// Whether its body waits for a `100 Continue` (RFC 9110 §10.1.1).
    pub waits: bool,
    /// Whether the client reads trailers (`te: trailers`, RFC 9110 §10.1.4).
    pub trailers: bool,
}

/// Checks a complete head, from the method to the empty line inclusive.
///
/// # Errors
/// The first rule that the head breaks.
pub fn judge(head: &[u8], limits: &IntakeLimits) -> Result<Framing, IntakeRefusal> {
    read(head, limits, |_name, _value| Ok(())).map(|request| request.framing)
}

/// Checks a complete head and reads it in the same pass: each field, as it was sent, is passed to `take`.
///
/// # Errors
/// The first rule that the head breaks, or the error of `take`.
pub fn read<'a>(
    head: &'a [u8],
    limits: &IntakeLimits,
    mut take: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), IntakeRefusal>,
) -> Result<JudgedRequest<'a>, IntakeRefusal> {
    let mut lines = Lines { rest: head };
    let request = RequestLine::parse(lines.next_line()?.unwrap_or_default())?;
    let mut fields = Fields::default();
    let mut count = 0_usize;
    while let Some(line) = lines.next_line()? {
        if line.is_empty() {
            break;
        }
        count = count.saturating_add(1);
        if count > limits.max_fields {
            return Err(IntakeRefusal::HeadTooLarge);
        }
        let (name, value) = split_field(line)?;
        fields.take(name, value, request.minor)?;
        take(name, value)?;
    }
    request.check_host(fields.host, limits)?;
    let framing = frame(&request, &fields, limits)?;
    let RequestLine { method, target, minor } = request;
    Ok(JudgedRequest {
        method,
        target,
        minor,
        framing,
        persistent: (minor == 1 || fields.keeps) && !fields.closes,
        // A client before HTTP/1.1 knows no interim responses.
        waits: fields.waits && minor == 1,
        trailers: fields.trailers && minor == 1,
    })
}

struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    fn next_line(&mut self) -> Result<Option<&'a [u8]>, IntakeRefusal> {
        let Some(at) = memchr::memchr(b'\n', self.rest) else { return Ok(None) };
        let (line, rest) = self.rest.split_at(at);
        self.rest = rest.get(1..).unwrap_or_default();
        line.strip_suffix(b"\r").map(Some).ok_or(IntakeRefusal::LineEnd)
    }
}

struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    minor: u8,
}

impl<'a> RequestLine<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, IntakeRefusal> {
        if memchr::memchr2(b'\r', 0, line).is_some() {
            return Err(IntakeRefusal::LineEnd);
        }
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let (Some(method), Some(target), Some(version)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(IntakeRefusal::RequestLine);
        };
        if !is_token(method) {
            return Err(IntakeRefusal::RequestLine);
        }
        let minor = match version {
            b"HTTP/1.1" => 1,
            b"HTTP/1.0" => 0,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return Err(IntakeRefusal::Version);
            }
            _ => return Err(IntakeRefusal::RequestLine),
        };
        let request = Self { method, target, minor };
        request.check_target()?;
        Ok(request)
    }

    fn check_target(&self) -> Result<(), IntakeRefusal> {
        let query = memchr::memchr(b'?', self.target).unwrap_or(self.target.len());
        let (path, query) = self.target.split_at(query);
        // What the `http` crate takes for no target hyper would refuse on its own, without a word.
        let visible = path.iter().all(|byte| byte.is_ascii_graphic() && !b"#<>`".contains(byte))
            && query.iter().all(|byte| byte.is_ascii_graphic() && !b"#<>\"".contains(byte));
        let form = if self.method == b"CONNECT" {
            is_host(self.target) && self.target.contains(&b':') && !self.target.ends_with(b":")
        } else {
            match self.target.first() {
                Some(b'/') => true,
                Some(b'*') => self.target == b"*" && self.method == b"OPTIONS",
                _ => self.authority().is_some(),
            }
        };
        if visible && form { Ok(()) } else { Err(IntakeRefusal::Target) }
    }

    /// The authority of an absolute target (RFC 9112 §3.2.2).
    fn authority(&self) -> Option<&'a [u8]> {
        let after = |scheme: &[u8]| {
            let (head, rest) = self.target.split_at_checked(scheme.len())?;
            head.eq_ignore_ascii_case(scheme).then_some(rest)
        };
        let rest = after(b"http://").or_else(|| after(b"https://"))?;
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        rest.get(..end)
    }

    fn check_host(&self, host: Option<&[u8]>, limits: &IntakeLimits) -> Result<(), IntakeRefusal> {
        let Some(host) = host else {
            return if self.minor == 0 { Ok(()) } else { Err(IntakeRefusal::Host) };
        };
        if !is_host(host) {
            return Err(IntakeRefusal::Host);
        }
        let named = match (self.method == b"CONNECT", limits.connect) {
            (false, _) => self.authority(),
            (true, ConnectMethod::Allow) => Some(self.target),
            // The target is never connected to: the method is what is refused.
            (true, ConnectMethod::Refuse) => None,
        };
        match named {
            Some(named) if !same_authority(named, host) => Err(IntakeRefusal::HostMismatch),
            _ => Ok(()),
        }
    }
}

fn same_authority(target: &[u8], host: &[u8]) -> bool {
    target.eq_ignore_ascii_case(host)
}

#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    codings: Codings,
    upgrade: bool,
    closes: bool,
    keeps: bool,
    waits: bool,
    trailers: bool,
}

/// What the lines of `transfer-encoding` name, in their order.
#[derive(Default, Clone, Copy)]
enum Codings {
    #[default]
    None,
    /// Codings that are not understood, and no `chunked` yet.
    Foreign,
    /// `chunked` alone.
    Chunked,
    /// Codings that are not understood, and `chunked` as the last.
    ForeignChunked,
}

impl<'a> Fields<'a> {
    fn take(&mut self, name: &[u8], value: &'a [u8], minor: u8) -> Result<(), IntakeRefusal> {
        match name.len() {
            2 if name.eq_ignore_ascii_case(b"te") => {
                self.trailers |= list_contains(value, b"trailers");
                Ok(())
            }
            4 if name.eq_ignore_ascii_case(b"host") => self.take_host(value),
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.waits |= value.eq_ignore_ascii_case(b"100-continue");
                Ok(())
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.closes |= list_contains(value, b"close");
                // Many servers read no list that is not of ASCII, and end the connection of an old client then: a request
                // behind that response would be one for us alone.
                self.keeps |= value.is_ascii() && list_contains(value, b"keep-alive");
                Ok(())
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade = true;
                Ok(())
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.take_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.take_coding(value, minor),
            13.. if is_look_alike(name) => Err(IntakeRefusal::LookAlike),
            _ => Ok(()),
        }
    }

    fn take_host(&mut self, value: &'a [u8]) -> Result<(), IntakeRefusal> {
        match self.host.replace(value) {
            Some(_) => Err(IntakeRefusal::Host),
            None => Ok(()),
        }
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), IntakeRefusal> {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let number = digits
            .then(|| str::from_utf8(value).ok()?.parse::<i64>().ok()?.try_into().ok())
            .flatten();
        match (self.length, number) {
            (None, Some(number)) => {
                self.length = Some(number);
                Ok(())
            }
            _ => Err(IntakeRefusal::ContentLength),
        }
    }

    fn take_coding(&mut self, value: &[u8], minor: u8) -> Result<(), IntakeRefusal> {
        if minor == 0 {
            return Err(IntakeRefusal::TransferEncoding);
        }
        for coding in value.split(|byte| *byte == b',') {
            let chunked = trim(coding).eq_ignore_ascii_case(b"chunked");
            // Parameters of a coding that is not understood are not read; `chunked` has none (RFC 9112 §7.1).
            let name = trim(coding.split(|byte| *byte == b';').next().unwrap_or_default());
            let foreign = is_token(name) && !name.eq_ignore_ascii_case(b"chunked");
            self.codings = match self.codings {
                Codings::None if chunked => Codings::Chunked,
                Codings::Foreign if chunked => Codings::ForeignChunked,
                Codings::None | Codings::Foreign if foreign => Codings::Foreign,
                _ => return Err(IntakeRefusal::TransferEncoding),
            };
        }
        Ok(())
    }
}

fn frame(
    request: &RequestLine<'_>,
    fields: &Fields<'_>,
    limits: &IntakeLimits,
) -> Result<Framing, IntakeRefusal> {
    let framing = match (fields.codings, fields.length) {
        // The end cannot be found where `chunked` is not the last (RFC 9112 §6.3).
        (Codings::Foreign, _) => return Err(IntakeRefusal::TransferEncoding),
        (Codings::Chunked | Codings::ForeignChunked, Some(_)) => {
            return Err(IntakeRefusal::BothLengths);
        }
        (Codings::ForeignChunked, None) => return Err(IntakeRefusal::TransferCoding),
        (Codings::Chunked, None) => Framing::Chunked,
        (Codings::None, Some(0) | None) => Framing::Empty,
        (Codings::None, Some(length)) => Framing::Length(length),
    };
    let connect = request.method == b"CONNECT";
    let bodiless = matches!(request.method, b"GET" | b"HEAD" | b"TRACE") || connect;
    if framing != Framing::Empty && (bodiless || fields.upgrade) {
        return Err(IntakeRefusal::UnexpectedBody);
    }
    if connect && limits.connect == ConnectMethod::Refuse {
        return Err(IntakeRefusal::Connect);
    }
    Ok(if connect || fields.upgrade { Framing::Tunnel } else { framing })
}

/// `host` or `host:port`; without user, empty name, at most 255 bytes (RFC 9110 §7.2).
fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host {
        [b'[', rest @ ..] => {
            let Some(end) = memchr::memchr(b']', rest) else { return false };
            let (inner, after) = rest.split_at(end);
            let address =
                str::from_utf8(inner).ok().and_then(|t| t.parse::<std::net::Ipv6Addr>().ok());
            let Some(after) = after.get(1..).filter(|_| address.is_some()) else { return false };
            return after.is_empty() || after.strip_prefix(b":").is_some_and(is_port);
        }
        _ => match memchr::memchr(b':', host) {
            Some(at) => (host.get(..at), host.get(at.saturating_add(1)..)),
            None => (Some(host), None),
        },
    };
    let name = name.unwrap_or_default();
    let named = !name.is_empty()
        && name.len() <= 255
        && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'));
    named && port.is_none_or(is_port)
}

/// `*DIGIT` (RFC 3986 §3.2.3): an empty port means the default port of the scheme.
fn is_port(port: &[u8]) -> bool {
    port.iter().all(u8::is_ascii_digit)
        && str::from_utf8(port).is_ok_and(|port| port.is_empty() || port.parse::<u16>().is_ok())
}

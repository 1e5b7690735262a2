//! Checks a response head: there is exactly one way to find the end of its message, or it is refused.
//!
//! Sources: RFC 9112 §4, §5, §6; RFC 9110 §6.4.1, §15.2.

use super::refusal::ResponseRefusal;
use super::{Expectation, ResponseLimits};
use crate::intake::IntakeRefusal;
use crate::message::field::{is_look_alike, split_field};

/// How the end of the message is found (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Another head follows.
    Interim,
    /// No body.
    Empty,
    /// This many bytes, never zero.
    Length(u64),
    /// Chunks up to the last one.
    Chunked,
    /// Everything until the connection ends.
    UntilClose,
    /// The protocol changed.
    Tunnel,
}

/// Where a head ends.
pub(crate) enum HeadEnd {
    /// After this many bytes, the empty line included.
    At(usize),
    /// Unknown yet; this many bytes are known not to end it.
    Unknown(usize),
}

/// The beginning of every HTTP/1 response.
const BEGINNING: &[u8] = b"HTTP/1.";

/// Searches line by line for the empty one, so that a bare LF and bytes that are not HTTP are refused at
/// once: a peer of another protocol may close before it ends a line, and that is not a broken connection.
pub(crate) fn find_end(
    scanned: usize,
    bytes: &[u8],
    max_bytes: usize,
) -> Result<HeadEnd, ResponseRefusal> {
    let window = bytes.get(..max_bytes).unwrap_or(bytes);
    let mut start = scanned;
    if start == 0 && !window.iter().zip(BEGINNING).all(|(octet, expected)| octet == expected) {
        return Err(ResponseRefusal::StatusLine);
    }
    for at in memchr::memchr_iter(b'\n', window.get(scanned..).unwrap_or_default()) {
        let at = scanned.saturating_add(at);
        let line = window.get(start..at).unwrap_or_default();
        if start == 0 && !line.starts_with(BEGINNING) {
            return Err(ResponseRefusal::StatusLine);
        }
        let line = line.strip_suffix(b"\r").ok_or(ResponseRefusal::LineEnd)?;
        start = at.saturating_add(1);
        if line.is_empty() {
            return Ok(HeadEnd::At(start));
        }
    }
    if bytes.len() >= max_bytes {
        return Err(ResponseRefusal::HeadTooLarge);
    }
    Ok(HeadEnd::Unknown(start))
}

/// A head that was checked.
pub(crate) struct JudgedHead {
    /// 0 or 1.
    pub(crate) minor: u8,
    pub(crate) status: u16,
    pub(crate) framing: Framing,
}

/// Checks a complete head, from the version to the empty line inclusive, and passes each field, as it was sent, to `take`.
pub(crate) fn judge<'a>(
    head: &'a [u8],
    expected: Expectation,
    limits: &ResponseLimits,
    mut take: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), ResponseRefusal>,
) -> Result<JudgedHead, ResponseRefusal> {
    let mut lines = head
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r\n").ok_or(ResponseRefusal::LineEnd));
    let line = lines.next().ok_or(ResponseRefusal::StatusLine)??;
    let (minor, status) = status_line(line)?;
    let mut fields = Fields::default();
    let mut count = 0_usize;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        count = count.saturating_add(1);
        if count > limits.max_fields {
            return Err(ResponseRefusal::TooManyFields);
        }
        let (name, value) = split_field(line).map_err(|refusal| match refusal {
            IntakeRefusal::FieldValue => ResponseRefusal::FieldValue,
            _ => ResponseRefusal::FieldName,
        })?;
        fields.take(name, value, minor)?;
        take(name, value)?;
    }
    let framing = frame(status, &fields, expected)?;
    Ok(JudgedHead { minor, status, framing })
}

/// The minor version and the status. The reason phrase has no meaning and may be missing (RFC 9112 §4).
fn status_line(line: &[u8]) -> Result<(u8, u16), ResponseRefusal> {
    let bad = ResponseRefusal::StatusLine;
    let rest = line.strip_prefix(BEGINNING).ok_or(bad)?;
    let [minor @ (b'0' | b'1'), b' ', a @ b'1'..=b'9', b, c, reason @ ..] = rest else {
        return Err(bad);
    };
    let digit = |byte: &u8| char::from(*byte).to_digit(10).and_then(|it| u16::try_from(it).ok());
    let (Some(a), Some(b), Some(c)) = (digit(a), digit(b), digit(c)) else { return Err(bad) };
    let phrase = matches!(reason, [] | [b' ', ..]);
    if !phrase || reason.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
        return Err(bad);
    }
    let status = a.saturating_mul(100).saturating_add(b.saturating_mul(10)).saturating_add(c);
    Ok((minor.saturating_sub(b'0'), status))
}

/// The fields that frame the message.
#[derive(Default)]
struct Fields {
    length: Option<u64>,
    chunked: bool,
}

impl Fields {
    fn take(&mut self, name: &[u8], value: &[u8], minor: u8) -> Result<(), ResponseRefusal> {
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => self.take_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.take_coding(value, minor),
            13.. if is_look_alike(name) => Err(ResponseRefusal::LookAlike),
            _ => Ok(()),
        }
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), ResponseRefusal> {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let number = digits.then(|| str::from_utf8(value).ok()?.parse::<i64>().ok()).flatten();
        match (self.length, number.and_then(|number| u64::try_from(number).ok())) {
            (None, Some(number)) => {
                self.length = Some(number);
                Ok(())
            }
            _ => Err(ResponseRefusal::ContentLength),
        }
    }

    fn take_coding(&mut self, value: &[u8], minor: u8) -> Result<(), ResponseRefusal> {
        if minor == 0 || self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(ResponseRefusal::TransferEncoding);
        }
        self.chunked = true;
        Ok(())
    }
}

fn frame(status: u16, fields: &Fields, expected: Expectation) -> Result<Framing, ResponseRefusal> {
    if fields.chunked && fields.length.is_some() {
        return Err(ResponseRefusal::BothLengths);
    }
    match status {
        101 if expected == Expectation::Switch => return Ok(Framing::Tunnel),
        101 => return Err(ResponseRefusal::Switched),
        100..200 => return Ok(Framing::Interim),
        200..300 if expected == Expectation::Connect => return Ok(Framing::Tunnel),
        204 | 304 => return Ok(Framing::Empty),
        _ => {}
    }
    Ok(match (fields.chunked, fields.length) {
        _ if expected == Expectation::Head => Framing::Empty,
        (true, _) => Framing::Chunked,
        (false, Some(0)) => Framing::Empty,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    })
}

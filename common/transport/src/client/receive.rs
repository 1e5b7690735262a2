//! The head of a response in the bytes that arrived; no I/O.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Version, header};

use super::ResponseHead;
use crate::intake::{Body, IntakeRefusal};
use crate::message::content::Content;
use crate::message::field_names;
use crate::message::spare;
use crate::response::head::{self, Framing, HeadEnd};
use crate::response::{Expectation, ResponseLimits, ResponseRefusal};

/// Room in a map for the fields that a proxy adds.
const FIELDS_ADDED: usize = 6;

/// A head.
pub(super) enum Head {
    /// Another one follows.
    Interim(StatusCode, HeaderMap),
    /// The last one.
    Final {
        head: ResponseHead,
        content: Content,
        /// Whether the connection persists after the content (RFC 9112 §9.3).
        keeps: bool,
    },
}

/// The end of the head at the beginning of `octets`; `scanned` of them are known not to end it.
pub(super) fn find_end(
    scanned: &mut usize,
    octets: &[u8],
    limits: &ResponseLimits,
) -> Result<Option<usize>, ResponseRefusal> {
    match head::find_end(*scanned, octets, limits.max_head_bytes)? {
        HeadEnd::At(end) => Ok(Some(end)),
        HeadEnd::Unknown(known) => {
            *scanned = known;
            Ok(None)
        }
    }
}

/// Judges and reads a complete head.
pub(super) fn read_head(
    octets: &Bytes,
    expected: Expectation,
    limits: &ResponseLimits,
) -> Result<Head, ResponseRefusal> {
    let lines = memchr::memchr_iter(b'\n', octets).count();
    // Without the status line and the empty one.
    let fields = lines.saturating_sub(2).min(limits.max_fields);
    let mut headers = spare::map(fields.saturating_add(FIELDS_ADDED));
    let judged = head::judge(octets, expected, limits, |name, value| {
        let name = field_names::read(name).map_err(|_| ResponseRefusal::FieldName)?;
        let value = HeaderValue::from_maybe_shared(octets.slice_ref(value));
        let value = value.map_err(|_| ResponseRefusal::FieldValue)?;
        headers.try_append(name, value).map_err(|_| ResponseRefusal::TooManyFields)?;
        Ok(())
    })?;
    let status = StatusCode::from_u16(judged.status).map_err(|_| ResponseRefusal::StatusLine)?;
    if judged.framing == Framing::Interim {
        return Ok(Head::Interim(status, headers));
    }
    let content = match judged.framing {
        Framing::Interim | Framing::Empty | Framing::Tunnel => Content::Done,
        Framing::Length(length) => Content::Framed(Body::Length(length)),
        Framing::Chunked => Content::Framed(Body::ChunkSize),
        Framing::UntilClose => Content::UntilClose,
    };
    let has = |token: &str| has_connection_option(&headers, token);
    let persistent = if judged.minor == 0 { has("keep-alive") } else { true };
    let keeps = persistent && !has("close");
    let version = if judged.minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let tunnel = judged.framing == Framing::Tunnel;
    Ok(Head::Final { head: ResponseHead { status, version, headers, tunnel }, content, keeps })
}

/// Whether `connection` has this token.
fn has_connection_option(headers: &HeaderMap, token: &str) -> bool {
    let values = headers.get_all(header::CONNECTION).iter();
    let mut tokens = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tokens.any(|one| one.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// The refusal of a response that breaks a rule of framing.
pub(super) fn refusal_of(refusal: IntakeRefusal) -> ResponseRefusal {
    match refusal {
        IntakeRefusal::Chunk | IntakeRefusal::LineEnd => ResponseRefusal::Chunk,
        _ => ResponseRefusal::Trailer,
    }
}

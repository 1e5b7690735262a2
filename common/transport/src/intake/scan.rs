//! Finds the end of a request head in the bytes that arrived; no I/O.

use bytes::{Buf, BytesMut};

use super::IntakeLimits;
use super::refusal::IntakeRefusal;

/// A search that goes on where it stopped when more bytes arrive.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct HeadScan {
    /// This many bytes are known not to end the head.
    scanned: usize,
    blank: BlankLine,
}

/// The empty line that some clients send after a body: one is dropped (RFC 9112 §2.2).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum BlankLine {
    #[default]
    Allowed,
    Seen,
}

impl HeadScan {
    /// The length of the head at the beginning of `bytes`, its empty line included; `None` when more are needed.
    pub(crate) fn find(
        &mut self,
        bytes: &mut BytesMut,
        limits: &IntakeLimits,
    ) -> Result<Option<usize>, IntakeRefusal> {
        if self.scanned == 0 && self.blank == BlankLine::Allowed && bytes.starts_with(b"\r\n") {
            self.blank = BlankLine::Seen;
            bytes.advance(2);
        }
        let window = bytes.get(..limits.max_head_bytes).unwrap_or(bytes);
        // Line by line, so that a bare LF is refused at once.
        let (from, mut start) = (self.scanned, self.scanned);
        for at in memchr::memchr_iter(b'\n', window.get(from..).unwrap_or_default()) {
            let at = from.saturating_add(at);
            let line = window.get(start..at).unwrap_or_default();
            let Some(line) = line.strip_suffix(b"\r") else { return Err(IntakeRefusal::LineEnd) };
            if start == 0 && !looks_like_http(line) {
                return Err(IntakeRefusal::NotHttp);
            }
            start = at.saturating_add(1);
            if line.is_empty() {
                *self = Self::default();
                return Ok(Some(start));
            }
        }
        if bytes.len() >= limits.max_head_bytes {
            return Err(IntakeRefusal::HeadTooLarge);
        }
        self.scanned = start;
        Ok(None)
    }
}

/// Whether a first line, without its end, could be an attempt at HTTP/1 at all.
fn looks_like_http(line: &[u8]) -> bool {
    memchr::memmem::find(line, b"HTTP/").is_some() || memchr::memchr_iter(b' ', line).count() < 2
}

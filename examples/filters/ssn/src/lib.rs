//! Refuses request bodies that contain a US social security number, `123-45-6789`. `whole` holds the request until
//! its body was read; `chunks` forwards each chunk as soon as it was read, and resets what it forwarded when a number
//! comes.

use tamis_sdk::exchange_state::{self, Scope};
use tamis_sdk::{
    BodyMode, ConfigError, Filter, Interest, RequestBody, View, log_panics, reply, request_body,
};

/// What the operator writes.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SsnSettings {
    /// How bodies are read.
    read: Read,
}

/// How bodies are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Read {
    /// Before the request is sent; at most 8 MiB.
    Whole,
    /// On their way.
    Chunks,
}

/// The filter.
#[derive(Debug)]
pub struct Numbers(Read);

const LIMIT_BYTES: u32 = 8 * 1024 * 1024;
/// Bytes of a number.
const LENGTH: usize = 11;
/// The end of the chunk before: a number may lie across the border.
const TAIL: &str = "tail";
/// A number, and the byte before it.
const TAIL_BYTES: usize = LENGTH + 1;

impl Filter for Numbers {
    type Settings = SsnSettings;
    const SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": { "read": { "enum": ["whole", "chunks"] } },
        "required": ["read"],
        "additionalProperties": false
    }"#;

    fn configure(settings: SsnSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        log_panics();
        let mode = match settings.read {
            Read::Whole => BodyMode::Buffered,
            Read::Chunks => BodyMode::Chunks,
        };
        let interest = Interest::reading([]).buffering(mode, BodyMode::None, LIMIT_BYTES);
        Ok((Self(settings.read), interest))
    }
}

/// Whether bytes contain a number that is not part of a longer one. Numbers that begin before `from` were judged
/// before; one at the very end may be the beginning of a longer one, unless it is the `last`.
fn has_number(octets: &[u8], from: usize, last: bool) -> bool {
    let digit = |at: Option<&u8>| at.is_some_and(u8::is_ascii_digit);
    octets.windows(LENGTH).enumerate().skip(from).any(|(at, window)| {
        // The cheapest test first: bodies are long.
        window.get(3) == Some(&b'-')
            && window.get(6) == Some(&b'-')
            && window.iter().enumerate().all(|(i, b)| i == 3 || i == 6 || b.is_ascii_digit())
            && !(at > 0 && digit(octets.get(at - 1)))
            && !digit(octets.get(at + LENGTH))
            && (last || at + LENGTH < octets.len())
    })
}

impl RequestBody for Numbers {
    fn on_request_body(
        &mut self,
        _: View<'_>,
        octets: &[u8],
        last: bool,
    ) -> request_body::Decision {
        let refusal = || {
            request_body::Decision::answer(reply(422).text("leave numbers of persons out\n"))
                .because("ssn.found")
        };
        if self.0 == Read::Whole {
            return if has_number(octets, 0, true) {
                refusal()
            } else {
                request_body::Decision::pass()
            };
        }
        let tail = exchange_state::read(Scope::Exchange, TAIL).unwrap_or_default();
        let seen = [tail.as_slice(), octets].concat();
        // A tail of this length is the end of a longer body: what begins with its first byte was judged with the byte
        // before it.
        let judged = usize::from(tail.len() == TAIL_BYTES);
        if has_number(&seen, judged, last) {
            return refusal();
        }
        let from = seen.len().saturating_sub(TAIL_BYTES);
        let tail = seen.get(from..).unwrap_or_default();
        if !last && exchange_state::write(Scope::Exchange, TAIL, tail).is_err() {
            // Without the tail a number across the border would pass.
            return request_body::Decision::answer(reply(503).text("no room\n"))
                .because("ssn.no-room");
        }
        request_body::Decision::pass()
    }
}

tamis_sdk::export!(Numbers: request_body);

#[cfg(test)]
mod tests {
    use super::has_number;

    #[test]
    fn a_number_is_found_wherever_it_stands_and_a_longer_one_is_none() {
        for (text, found) in [
            ("123-45-6789", true),
            ("a 123-45-6789, b", true),
            ("0123-45-6789", false),
            ("123-45-67890", false),
            ("123-456789-", false),
            ("12-345-6789", false),
            ("", false),
        ] {
            assert_eq!(has_number(text.as_bytes(), 0, true), found, "{text}");
        }
    }
}

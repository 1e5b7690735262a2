//! Text of a guest in a line of the log.

use std::fmt;

/// Shows text as [`str::escape_debug`] does, and copies in one piece what needs no escape. A line of the log is formatted by
/// the worker, and a filter may write as many lines at once as its Grant allows in a second: with a step for each character,
/// these stopped every other exchange of the worker for milliseconds.
pub(super) struct EscapedText<'a>(pub(super) &'a str);

impl fmt::Display for EscapedText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.bytes().position(|octet| !is_plain(octet)) {
            let quoted = quoted(rest, at);
            // Whether a combining character is escaped depends on the one before it.
            let from = if quoted.is_some() { at } else { at.saturating_sub(1) };
            let (plain, more) = rest.split_at(from);
            f.write_str(plain)?;
            let (odd, more) = more.split_at(quoted.map_or_else(|| odd_octets(more), |_| 1));
            match quoted {
                Some(escape) => f.write_str(escape)?,
                None => write!(f, "{}", odd.escape_debug())?,
            }
            rest = more;
        }
        f.write_str(rest)
    }
}

/// The escape of a quote or a backslash, of which structured text has many, unless a combining character may follow.
fn quoted(text: &str, at: usize) -> Option<&'static str> {
    let mut octets = text.bytes().skip(at);
    let escape = match octets.next()? {
        b'"' => "\\\"",
        b'\'' => "\\'",
        b'\\' => "\\\\",
        _ => return None,
    };
    octets.next().is_none_or(|next| next.is_ascii()).then_some(escape)
}

/// Length of the beginning up to the next octet that is plain; the first one counts as odd.
fn odd_octets(text: &str) -> usize {
    let mut octets = text.bytes().enumerate().skip(1);
    // A plain octet is ASCII, so it begins a character.
    octets.find(|(_, octet)| is_plain(*octet)).map_or(text.len(), |(at, _)| at)
}

fn is_plain(octet: u8) -> bool {
    matches!(octet, b' '..=b'~') && !matches!(octet, b'"' | b'\'' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_shown_as_the_standard_library_shows_it() {
        for text in [
            "",
            "seen",
            "a \"b\" 'c' \\d",
            "\u{1b}[2J\r\n\t\0\u{7f}",
            // A combining character at the start, behind a plain one, behind an odd one.
            "\u{301}e",
            "e\u{301}e\u{301}\u{301}",
            "\"\u{301}",
            "a\"\u{301}\"\\",
            "{\"a\":\"é\"}",
            "é\u{301}x\u{202e}y",
            "\u{9b}31m \u{feff}",
        ] {
            assert_eq!(EscapedText(text).to_string(), text.escape_debug().to_string(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_shown_so(text in "[a-c\"\\\\\\u{301}\\u{1b}é\\n]{0,24}|\\PC{0,16}|.{0,16}") {
            prop_assert_eq!(EscapedText(&text).to_string(), text.escape_debug().to_string());
        }
    }

    /// Counts the pieces in which text arrives.
    #[derive(Default)]
    struct PieceCount(usize);

    impl fmt::Write for PieceCount {
        fn write_str(&mut self, _: &str) -> fmt::Result {
            self.0 += 1;
            Ok(())
        }
    }

    #[test]
    fn plain_text_is_one_piece_however_long_it_is() {
        let long = "x".repeat(4_000);
        for (text, most) in [(long.clone(), 2), (format!("{long}\n{long}"), 8)] {
            let mut pieces = PieceCount::default();
            fmt::write(&mut pieces, format_args!("{}", EscapedText(&text))).unwrap();
            assert!(pieces.0 <= most, "{} pieces", pieces.0);
        }
    }
}

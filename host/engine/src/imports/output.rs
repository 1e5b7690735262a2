//! Standard output and error of a component with WASI: lines of the log, and words of a report.

use super::basic::{MAX_LAST_WORDS, WantedLine, line};
use super::cut;
use crate::Host;
use crate::abi::LogLevel;

/// Bytes of a line; a longer one is several.
const MAX_LINE: usize = 4096;

/// What a component wrote, perhaps a part of a line: languages write a line in several pieces. Standard output and error are
/// one text.
pub(super) fn written(host: &mut Host, octets: &[u8]) {
    for octet in octets {
        match octet {
            b'\n' => end_line(host),
            octet => host.unfinished_line.push(*octet),
        }
        if host.unfinished_line.len() >= MAX_LINE {
            end_line(host);
        }
    }
}

/// Ends the line that is written: it goes to the log if the grant has one, and in any case to the report if the call fails.
pub(crate) fn end_line(host: &mut Host) {
    if host.unfinished_line.is_empty() {
        return;
    }
    let octets = std::mem::take(&mut host.unfinished_line);
    let text = String::from_utf8_lossy(&octets).into_owned();
    let text = text.trim_end();
    if text.is_empty() {
        return;
    }
    let words = host.last_words.take().unwrap_or_default();
    host.last_words = Some(both_ends(words, text));
    if host.settings.grant.imports.log.is_some() {
        let wanted = WantedLine::take(host, LogLevel::Info);
        line(host, LogLevel::Info, wanted, text, "");
    }
}

/// The words with more behind them. Of a long text both ends are kept: some languages name the error first, some last.
fn both_ends(mut words: String, more: &str) -> String {
    const GAP: &str = " … ";
    let space = if words.is_empty() { "" } else { " " };
    words.push_str(&format!("{space}{}", cut(more, MAX_LINE).trim().escape_debug()));
    if words.len() <= MAX_LAST_WORDS {
        return words;
    }
    let start = cut(&words, MAX_LAST_WORDS / 2);
    let rest = MAX_LAST_WORDS.saturating_sub(start.len()).saturating_sub(GAP.len());
    let from = words.ceil_char_boundary(words.len().saturating_sub(rest));
    format!("{start}{GAP}{}", words.get(from..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::basic::tests::host;
    use super::*;

    fn report(written_pieces: &[&[u8]]) -> Option<String> {
        let mut host = host();
        written_pieces.iter().for_each(|octets| written(&mut host, octets));
        end_line(&mut host);
        host.last_words
    }

    #[test]
    fn what_a_component_writes_before_it_fails_is_in_the_report() {
        for (pieces, words) in [
            (&[&b"panic: no rows\n"[..], b"main.go:7\n"][..], Some("panic: no rows main.go:7")),
            (
                &[b"panic: ", b"no rows", b"\n", b"main.go", b":", b"7"],
                Some("panic: no rows main.go:7"),
            ),
            (&[b"no rows\r\n  at main.c:7\n"], Some("no rows at main.c:7")),
            (&[b"\n", b""], None),
            (&[b"a\nb\x1b[2J\xff"], Some("a b\\u{1b}[2J\u{fffd}")),
        ] {
            assert_eq!(report(pieces).as_deref(), words);
        }
    }

    #[test]
    fn of_a_long_report_both_ends_are_kept_and_no_more() {
        let frame = b"  in a function of a file that is called by another\n".repeat(500);
        let first = [&b"panic: no rows\n"[..], &frame].concat();
        let last = [&frame[..], b"ValueError: no rows\n"].concat();
        for (text, ends) in [(first, "panic: no rows in a"), (last, "ValueError: no rows")] {
            let words = report(&[&text]).unwrap();
            assert!(words.starts_with(ends) || words.ends_with(ends), "{words}");
            assert!(words.contains('…') && words.len() <= MAX_LAST_WORDS, "{}", words.len());
        }
        for endless in [&b"a"[..], "é".as_bytes(), b"\x1b", b"\xff"] {
            let mut host = host();
            (0..100).for_each(|_| written(&mut host, &endless.repeat(4_000)));
            assert!(host.unfinished_line.len() < MAX_LINE);
            end_line(&mut host);
            assert!(host.last_words.unwrap().len() <= MAX_LAST_WORDS);
        }
    }

    #[test]
    fn pieces_of_a_line_cost_the_rate_of_one() {
        let mut host = host();
        let per_second = host.settings.grant.imports.log.as_ref().unwrap().per_second;
        for _ in 0..per_second {
            written(&mut host, b"seen");
        }
        end_line(&mut host);
        // One of them is taken: as many lines less one are left.
        let left = (0..per_second)
            .filter(|_| host.state.log.take(1, per_second, std::time::Duration::from_secs(1)));
        assert!(left.count() >= usize::try_from(per_second).unwrap() - 1);
    }
}

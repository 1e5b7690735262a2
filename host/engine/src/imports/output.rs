//! Standard output and error of a component with WASI: lines of the log, and words of a report.

use super::basic::{MAX_LAST_WORDS, WantedLine, line};
use super::cut;
use crate::Host;
use crate::abi::LogLevel;

/// Bytes of a line; a longer one is several.
const MAX_LINE: usize = 4096;

/// What a component wrote, perhaps a part of a line: languages write a line in several pieces. Standard output and error are
/// one text.
pub(super) fn written(host: &mut Host, mut octets: &[u8]) {
    while !octets.is_empty() {
        let room = MAX_LINE.saturating_sub(host.unfinished_line.len()).min(octets.len());
        let (piece, more) = octets.split_at(room);
        let line = piece.split(|octet| *octet == b'\n').next().unwrap_or_default();
        host.unfinished_line.extend_from_slice(line);
        // Without the end of the line.
        let is_whole = line.len() < piece.len();
        octets = if is_whole {
            octets.get(line.len().saturating_add(1)..).unwrap_or_default()
        } else {
            more
        };
        if is_whole || host.unfinished_line.len() >= MAX_LINE {
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
    words.push_str(space);
    for end in ends(more.trim()) {
        words.extend(end.escape_debug());
    }
    if words.len() <= MAX_LAST_WORDS {
        return words;
    }
    let start = cut(&words, MAX_LAST_WORDS / 2);
    let rest = MAX_LAST_WORDS.saturating_sub(start.len()).saturating_sub(GAP.len());
    let from = words.ceil_char_boundary(words.len().saturating_sub(rest));
    format!("{start}{GAP}{}", words.get(from..).unwrap_or_default())
}

/// As much of both ends of a text as a report may show: who prints a lot prints every line of it for nothing.
fn ends(text: &str) -> [&str; 2] {
    if text.len() <= 2 * MAX_LAST_WORDS {
        return [text, ""];
    }
    let from = text.ceil_char_boundary(text.len().saturating_sub(MAX_LAST_WORDS));
    [cut(text, MAX_LAST_WORDS), text.get(from..).unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::super::basic::tests::{Shown, host};
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
    fn a_report_does_not_depend_on_what_is_left_out_of_it() {
        let whole = |words: &str, more: &str| {
            let space = if words.is_empty() { "" } else { " " };
            let all = format!("{words}{space}{}", more.trim().escape_debug());
            if all.len() <= MAX_LAST_WORDS {
                return all;
            }
            let start = &all[..all.floor_char_boundary(MAX_LAST_WORDS / 2)];
            let rest = MAX_LAST_WORDS - start.len() - " … ".len();
            format!("{start} … {}", &all[all.ceil_char_boundary(all.len() - rest)..])
        };
        for words in [String::new(), "first".to_owned(), "w".repeat(300), "w".repeat(512)] {
            for unit in ["a", "é", "\u{1}", "\"", "e\u{301}", "🦀 "] {
                for count in [0, 1, 100, 511, 512, 513, 1_024, 1_025, 2_000] {
                    let more = format!("<{}>", unit.repeat(count));
                    let seen = both_ends(words.clone(), &more);
                    assert_eq!(seen, whole(&words, &more), "{unit:?} × {count} after {words}");
                }
            }
        }
    }

    #[test]
    fn lines_end_where_they_end_however_they_are_written() {
        for (text, lines) in [
            ("a\nb\n".to_owned(), vec!["a".to_owned(), "b".to_owned()]),
            ("\n\na\n\n".to_owned(), vec!["a".to_owned()]),
            ("a".repeat(MAX_LINE), vec!["a".repeat(MAX_LINE)]),
            (format!("{}\nb", "a".repeat(MAX_LINE)), vec!["a".repeat(MAX_LINE), "b".to_owned()]),
            (format!("{}b\n", "a".repeat(MAX_LINE)), vec!["a".repeat(MAX_LINE), "b".to_owned()]),
        ] {
            for length in [1, 3, MAX_LINE - 1, MAX_LINE, usize::MAX] {
                let seen = Shown::during(tracing::Level::INFO, || {
                    let mut host = host();
                    text.as_bytes().chunks(length).for_each(|piece| written(&mut host, piece));
                    end_line(&mut host);
                });
                assert_eq!(seen, lines, "{length}");
            }
        }
    }

    #[test]
    fn pieces_of_a_line_cost_the_rate_of_one() {
        let mut host = host();
        let per_second = host.settings.grant.imports.log.as_ref().unwrap().per_second;
        let lines = Shown::during(tracing::Level::INFO, || {
            for _ in 0..per_second {
                written(&mut host, b"seen");
            }
            end_line(&mut host);
        });
        assert_eq!(lines, ["seen".repeat(usize::try_from(per_second).unwrap())]);
        // One of them is taken: as many lines less one are left.
        let left = (0..per_second)
            .filter(|_| host.state.log.take(1, per_second, std::time::Duration::from_secs(1)));
        assert!(left.count() >= usize::try_from(per_second).unwrap() - 1);
    }
}

//! Authorities and paths on arbitrary text.

use tamis_exchange::{
    AmbiguityRule, EmptySegmentRule, Escapes, PathRules, Scheme, normal_authority, normal_path,
};

/// Normalisation is idempotent, and its result can be sent. Routes match what a decoding server reads. The
/// first byte contains the rules, and whether the rest is an authority.
pub fn target(data: &[u8]) {
    let Some((flags, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    if flags & 0x20 != 0 {
        return authority(text, if flags & 1 == 0 { Scheme::Http } else { Scheme::Https });
    }
    let rules = rules(*flags);
    let Ok(normal) = normal_path(text, rules) else { return };
    assert_eq!(normal_path(&normal, rules).as_deref(), Ok(&*normal), "{text:?}");
    let sent = http::uri::PathAndQuery::try_from(&*normal).expect("it can be sent");
    assert_eq!(sent.as_str(), normal);
    let path = sent.path();
    assert!(!path.split('/').any(|part| part == "." || part == ".."), "{text:?}");
    assert!(rules.empty_segments == EmptySegmentRule::Keep || !path.contains("//"), "{text:?}");
    assert!(!path.contains('\\') && !path.contains("%00"), "{text:?}");
    if rules == PathRules::default() {
        assert!(!path.contains([';']) && !path.contains("%2F") && !path.contains("%5C"));
        assert_eq!(decoded(path), resolved(&decoded(text.split('?').next().unwrap_or_default())));
    }
}

/// The rules that a byte stands for.
fn rules(flags: u8) -> PathRules {
    let ambiguous =
        |bit: u8| if flags & bit == 0 { AmbiguityRule::Refuse } else { AmbiguityRule::Keep };
    PathRules {
        empty_segments: match flags & 3 {
            0 => EmptySegmentRule::Merge,
            1 => EmptySegmentRule::Keep,
            _ => EmptySegmentRule::Refuse,
        },
        escapes: if flags & 4 == 0 { Escapes::Segment } else { Escapes::Unreserved },
        escaped_slashes: ambiguous(8),
        parameters: ambiguous(16),
    }
}

fn authority(text: &str, scheme: Scheme) {
    let Ok(normal) = normal_authority(text, scheme) else { return };
    assert_eq!(normal_authority(&normal, scheme).as_deref(), Ok(&*normal), "{text:?}");
    let sent = http::uri::Authority::try_from(&*normal).expect("it can be sent");
    assert!(!normal.contains('@') && !normal.ends_with(['.', ':']), "{text:?}");
    assert_eq!(normal, normal.to_ascii_lowercase());
    let implied = if scheme == Scheme::Http { 80 } else { 443 };
    assert_ne!(sent.port_u16(), Some(implied), "{text:?}");
}

/// Escapes as the bytes they stand for.
fn decoded(path: &str) -> Vec<u8> {
    let mut octets = path.bytes();
    let mut out = Vec::new();
    while let Some(octet) = octets.next() {
        let mut digit = || octets.next().and_then(|octet| char::from(octet).to_digit(16));
        let escaped = (octet == b'%').then(|| digit().zip(digit())).flatten();
        out.push(
            escaped.map_or(octet, |(high, low)| u8::try_from(high * 16 + low).expect("a byte")),
        );
    }
    out
}

/// Dot segments and empty ones resolved, as nginx does after it has decoded.
fn resolved(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut parts = path.split(|octet| *octet == b'/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            b"" if !last => continue,
            b"." => {}
            b".." => drop(kept.pop()),
            part => {
                kept.push(part);
                continue;
            }
        }
        if last {
            kept.push(b"");
        }
    }
    let joined: Vec<u8> = kept.iter().flat_map(|part| [b"/", *part].concat()).collect();
    if joined.is_empty() { b"/".to_vec() } else { joined }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    /// Reads each line as a target, as `http.server` maps it to a file and as `urllib` splits it.
    const PYTHON: &str = "
import sys, posixpath
from urllib.parse import urlsplit, unquote_to_bytes
for line in sys.stdin.read().split('\\n')[:-1]:
    path = unquote_to_bytes(urlsplit('http://a' + line).path)
    kept = []
    for part in path.split(b'/')[1:-1]:
        if part == b'..': kept = kept[:-1]
        elif part not in (b'', b'.'): kept.append(part)
    last = path.split(b'/')[-1]
    if last == b'..': kept = kept[:-1]; last = b''
    if last == b'.': last = b''
    print((b'/' + b'/'.join(kept + [last])).hex())
";
    /// The same, as the WHATWG URL of Node reads it.
    const NODE: &str = "
const lines = require('fs').readFileSync(0, 'latin1').split('\\n').slice(0, -1);
for (const line of lines) {
  const path = new URL('http://a' + line).pathname;
  const octets = Buffer.from(path.replace(/%([0-9a-fA-F]{2})/g, (_, d) => String.fromCharCode(parseInt(d, 16))), 'latin1');
  console.log(octets.toString('hex'));
}
";

    /// What a program reads.
    fn read(program: &str, arguments: [&str; 2], lines: &[String]) -> Vec<Vec<u8>> {
        let spawned = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = spawned.unwrap_or_else(|error| {
            panic!("{program} cannot be run ({error}); `cargo xtask setup` installs it")
        });
        let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{program} failed");
        let octets = |line: &str| {
            let digits: Vec<char> = line.chars().collect();
            let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
            pairs.map(|pair| u8::from_str_radix(&pair, 16).unwrap()).collect()
        };
        String::from_utf8(output.stdout).unwrap().lines().map(octets).collect()
    }

    /// Paths of all pieces that servers have read in two ways.
    fn paths() -> Vec<String> {
        let pieces = [
            "a",
            "/",
            "//",
            ".",
            "..",
            "/./",
            "/../",
            "%2e",
            "%2E%2e",
            "%61",
            "%41",
            "@",
            "%40",
            "%25",
            "%2561",
            "+",
            "%2b",
            "%20",
            "%e2%82%ac",
            "%7b",
            "{",
            "%3b",
            "%3f",
            "%23",
            "~",
            "%7e",
            "=",
            ":",
            "\"",
            "%",
            "%2f",
            "%5c",
            "\\",
            ";",
            "%00",
            "%c0%ae",
        ];
        let mut all = Vec::new();
        for one in pieces {
            for two in pieces {
                all.extend([
                    format!("/{one}{two}"),
                    format!("/x/{one}{two}/y"),
                    format!("/{one}/admin/{two}"),
                ]);
            }
        }
        all
    }

    #[test]
    fn what_is_matched_is_what_python_and_node_read() {
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        for path in paths() {
            target(format!("\0{path}").as_bytes());
            if let Ok(normal) = normal_path(&path, PathRules::default()) {
                sent.push(normal.into_owned());
                received.push(path);
            }
        }
        assert!(sent.len() > 1000, "{}", sent.len());
        let matched: Vec<Vec<u8>> = sent.iter().map(|path| decoded(path)).collect();
        for (program, arguments) in [("python3", ["-c", PYTHON]), ("node", ["-e", NODE])] {
            let read_sent = read(program, arguments, &sent);
            assert_eq!(read_sent.len(), sent.len(), "{program} reads every path");
            for ((sent, matched), read) in sent.iter().zip(&matched).zip(&read_sent) {
                assert_eq!(read, matched, "{program} reads {sent}");
            }
        }
        // And had it been sent as it came, it would have been the same file.
        let read_received = read("python3", ["-c", PYTHON], &received);
        assert_eq!(read_received.len(), received.len());
        for ((path, matched), read) in received.iter().zip(&matched).zip(&read_received) {
            assert_eq!(read, matched, "python3 reads {path}");
        }
    }
}

//! Requests that go round, and copies that come back to the proxy that made them. Both are noticed by `via` (RFC 9110 §7.6.3),
//! to which each proxy adds itself.
//!
//! A client can write `via` too. What it writes there gets its request refused, and nothing else: only this proxy knows
//! the mark of its copies, so nobody who never received one of them keeps a request from being copied.

use http::header::{self, HeaderMap, HeaderValue};
use std::fmt::Write as _;
use tamis_ambient::Random;
use tamis_exchange::{Fault, Refusal};

/// What a proxy of Tamis calls itself.
const PSEUDONYM: &[u8] = b"tamis";
/// Proxies of Tamis that a request may have passed before this one. Without a loop a gateway, two sidecars for each
/// service on the way, and as many applications that pass `via` on, stay below it.
const PASSED_MAX: usize = 16;
/// How often a request may have been copied on its way: each of them may multiply it.
const COPIED_MAX: usize = 2;
/// How the comment of an element begins that stands for a copy.
const COPY: &str = "(copy ";

/// What this proxy writes into `via` of the copies that it makes.
pub(crate) struct CopyMark(Option<String>);

impl CopyMark {
    /// One that nobody else knows. Without randomness copies are marked as copies of nobody in particular.
    pub(crate) fn new(random: Random) -> Self {
        let mut mark = COPY.to_owned();
        Self(random.octets::<16>().ok().and_then(|octets| {
            octets.iter().try_for_each(|octet| write!(mark, "{octet:02x}")).ok()?;
            mark.push(')');
            Some(mark)
        }))
    }

    fn text(&self) -> &str {
        self.0.as_deref().unwrap_or("(copy -)")
    }

    fn is(&self, comment: &[u8]) -> bool {
        self.0.as_ref().is_some_and(|mark| mark.as_bytes() == comment)
    }
}

/// What a request is to this proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Somebody sent it.
    #[default]
    Sender,
    /// This proxy made it of another request, and it came back: it is not copied again.
    OwnCopy,
}

/// Reads `via` of a request.
///
/// # Errors
/// `request.loop`: it passed too many proxies of Tamis, or was copied by too many (508, RFC 5842 §7.2).
pub(crate) fn origin(headers: &HeaderMap, mark: &CopyMark) -> Result<Origin, Refusal> {
    let (mut passed, mut copied, mut origin) = (0_usize, 0_usize, Origin::Sender);
    let values = headers.get_all(header::VIA).iter().map(HeaderValue::as_bytes);
    for element in values.flat_map(|value| value.split(|octet| *octet == b',')) {
        let Some(comment) = own(element) else { continue };
        passed = passed.saturating_add(1);
        copied = copied.saturating_add(usize::from(comment.starts_with(COPY.as_bytes())));
        if mark.is(comment) {
            origin = Origin::OwnCopy;
        }
    }
    let detail = match (passed > PASSED_MAX, copied > COPIED_MAX) {
        (false, false) => return Ok(origin),
        (true, _) => format!("by `via` it passed {passed} proxies of Tamis, at most {PASSED_MAX}"),
        (_, true) => {
            format!("by `via` it is the copy of a copy {copied} times, at most {COPIED_MAX}")
        }
    };
    let way_out = "a route or a mirror leads back to where the request came from";
    Err(Refusal::new("request.loop", 508, Fault::Client, format!("{detail}: {way_out}")))
}

/// The comment of an element that a proxy of Tamis wrote; empty if it has none.
fn own(element: &[u8]) -> Option<&[u8]> {
    let (_protocol, rest) = word(element);
    let (name, comment) = word(rest);
    name.eq_ignore_ascii_case(PSEUDONYM).then(|| comment.trim_ascii())
}

/// The first word, and what follows it.
fn word(octets: &[u8]) -> (&[u8], &[u8]) {
    let octets = octets.trim_ascii();
    let end = octets.iter().position(u8::is_ascii_whitespace).unwrap_or(octets.len());
    octets.split_at(end)
}

/// Marks a request, whose last element is this proxy's, as a copy that this proxy made.
pub(crate) fn mark_copy(headers: &mut HeaderMap, mark: &CopyMark) {
    let before = headers.get(header::VIA).map_or(&b"1.1 tamis"[..], HeaderValue::as_bytes);
    let marked = [before, b" ", mark.text().as_bytes()].concat();
    if let Ok(value) = HeaderValue::from_bytes(&marked) {
        headers.insert(header::VIA, value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::add_via;
    use super::*;
    use http::Version;

    fn of(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (header::VIA, line.parse().unwrap())).collect()
    }

    #[test]
    fn a_request_that_passed_too_many_of_our_proxies_is_in_a_loop_however_they_are_written() {
        let mark = CopyMark::new(Random::system());
        let many = |element: &str, times: usize| vec![element.to_owned(); times].join(", ");
        let copies = |times| many("1.1 tamis (copy 00)", times);
        for (lines, looped) in [
            (vec![], false),
            (vec![many("1.1 tamis", 16)], false),
            (vec![many("1.1 tamis", 17)], true),
            (vec![many("2 tamis", 9), many("1.0 TAMIS", 8)], true),
            (vec![many("HTTP/1.1\ttamis (x)", 17)], true),
            (vec!["1.1 tamis".to_owned(); 17], true),
            (vec![many("1.1 tamis, 1.1 other", 16)], false),
            (vec![many("1.1 tamis.example", 100)], false),
            (vec![many("1.1 other (tamis)", 100)], false),
            (vec![many("tamis", 100)], false),
            (vec![many("", 100)], false),
            (vec![copies(2)], false),
            (vec![copies(3)], true),
            (vec![copies(1), many("1.1 other", 9), copies(2)], true),
            (vec![many("1.1 other (copy 00)", 9)], false),
        ] {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let read = origin(&of(&lines), &mark).map_err(|refusal| (refusal.code, refusal.status));
            let wanted = if looped { Err(("request.loop", 508)) } else { Ok(Origin::Sender) };
            assert_eq!(read, wanted, "{lines:?}");
        }
    }

    #[test]
    fn a_proxy_knows_its_own_copies_and_a_mark_that_somebody_made_up_says_nothing() {
        let (mark, of_another) = (CopyMark::new(Random::system()), CopyMark::new(Random::system()));
        let copied = |mark: &CopyMark| {
            let mut map = HeaderMap::new();
            add_via(&mut map, Version::HTTP_11);
            mark_copy(&mut map, mark);
            add_via(&mut map, Version::HTTP_2);
            map
        };
        let nobodys = CopyMark(None);
        for (what, map, wanted) in [
            ("its copy", copied(&mark), Origin::OwnCopy),
            ("that of another", copied(&of_another), Origin::Sender),
            ("a copy of nobody", copied(&nobodys), Origin::Sender),
            ("made up", of(&["1.1 tamis (copy 00)"]), Origin::Sender),
            ("cut short", of(&[&format!("1.1 tamis {}", &mark.text()[..20])]), Origin::Sender),
            ("not of a proxy of ours", of(&[&format!("1.1 a {}", mark.text())]), Origin::Sender),
        ] {
            assert_eq!(origin(&map, &mark).unwrap(), wanted, "{what}: {map:?}");
        }
        assert_eq!(origin(&copied(&nobodys), &nobodys).unwrap(), Origin::Sender);
        let mut twice = copied(&mark);
        mark_copy(&mut twice, &of_another);
        assert_eq!(
            origin(&twice, &mark).unwrap(),
            Origin::OwnCopy,
            "what another adds hides nothing"
        );
    }
}

//! The condition `If-None-Match` (RFC 9110 §13.1.2): content that a client has already is not sent again, and content
//! that exists is not overwritten.

/// What `If-None-Match` says of the current representation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoneMatch {
    /// No such field, or it names other representations: the request goes on.
    Holds,
    /// It names the current representation: 304 for a read, 412 for a write.
    Fails,
    /// Not of the form that RFC 9110 gives. A read may go on as if it were absent; a write may not, since
    /// its sender meant to protect something.
    Unreadable,
}

/// What the lines of `If-None-Match` say, all read as one list, where `current` is the entity tag of the
/// current representation with its quotes; `None` when there is no representation.
///
/// Tags are compared weakly: `W/"a"` and `"a"` are the same.
pub(crate) fn none_match<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    current: Option<&str>,
) -> NoneMatch {
    let mut answer = NoneMatch::Holds;
    let (mut any, mut count) = (false, 0_usize);
    for line in lines {
        let mut rest = line;
        while let Some(element) = next(&mut rest) {
            count = count.saturating_add(1);
            let same = match element {
                Element::Any => {
                    any = true;
                    current.is_some()
                }
                Element::Tag(tag) => current.is_some_and(|current| current.as_bytes() == tag),
                Element::Other => return NoneMatch::Unreadable,
            };
            if same {
                answer = NoneMatch::Fails;
            }
        }
    }
    // `*` stands alone: in a list it would be a tag without quotes.
    if any && count > 1 { NoneMatch::Unreadable } else { answer }
}

enum Element<'a> {
    Any,
    /// An entity tag with its quotes, without `W/`.
    Tag(&'a [u8]),
    Other,
}

/// The next element of a list; empty ones are passed over (RFC 9110 §5.6.1.2). A comma inside quotes
/// belongs to its tag.
fn next<'a>(rest: &mut &'a [u8]) -> Option<Element<'a>> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b',');
    let start = rest.iter().position(|byte| !blank(byte))?;
    let text = rest.get(start..).unwrap_or_default();
    let (element, after) = element(text);
    // Between two elements there is a comma.
    let end = after.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
    let after = end.and_then(|end| after.get(end..)).unwrap_or_default();
    let parted = after.first().is_none_or(|byte| *byte == b',');
    *rest = after;
    Some(if parted { element } else { Element::Other })
}

fn element(text: &[u8]) -> (Element<'_>, &[u8]) {
    if let Some(after) = text.strip_prefix(b"*") {
        return (Element::Any, after);
    }
    let text = text.strip_prefix(b"W/").unwrap_or(text);
    let inside = text.strip_prefix(b"\"").unwrap_or_default();
    let Some(length) = inside.iter().position(|byte| *byte == b'"') else {
        return (Element::Other, &[]);
    };
    let (tag, after) = text.split_at_checked(length.saturating_add(2)).unwrap_or((text, &[]));
    // `etagc`: what is visible, and what is beyond ASCII; a backslash is a character like any other.
    let visible = inside.iter().take(length).all(|byte| matches!(byte, 0x21..=0x7e | 0x80..=0xff));
    if visible { (Element::Tag(tag), after) } else { (Element::Other, after) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn condition(lines: &[&str], current: Option<&str>) -> NoneMatch {
        none_match(lines.iter().map(|line| line.as_bytes()), current)
    }

    #[test]
    fn tags_are_compared_weakly_and_lists_are_read_whole() {
        let current = Some("\"sha256:ab\"");
        for (lines, want) in [
            (&[][..], NoneMatch::Holds),
            (&[""], NoneMatch::Holds),
            (&[" , ,"], NoneMatch::Holds),
            (&["\"sha256:ab\""], NoneMatch::Fails),
            (&["W/\"sha256:ab\""], NoneMatch::Fails),
            (&["*"], NoneMatch::Fails),
            (&[" * "], NoneMatch::Fails),
            (&["\"other\""], NoneMatch::Holds),
            (&["\"\""], NoneMatch::Holds),
            (&["\"other\", \"sha256:ab\""], NoneMatch::Fails),
            (&["\"sha256:ab\",\"other\""], NoneMatch::Fails),
            (&[",\"x\" ,, W/\"sha256:ab\" ,"], NoneMatch::Fails),
            (&["\"x\"", "\"sha256:ab\""], NoneMatch::Fails),
            // A comma inside of quotes parts nothing.
            (&["\"a,b\", \"sha256:ab\""], NoneMatch::Fails),
            (&["\"x, \"sha256:ab\", y\""], NoneMatch::Unreadable),
            (&["\"back\\\", \"sha256:ab\""], NoneMatch::Fails),
            // The case counts, in the tag and in `W/`.
            (&["\"SHA256:ab\""], NoneMatch::Holds),
            (&["w/\"sha256:ab\""], NoneMatch::Unreadable),
            (&["sha256:ab"], NoneMatch::Unreadable),
            (&["'sha256:ab'"], NoneMatch::Unreadable),
            (&["\"sha256:ab"], NoneMatch::Unreadable),
            (&["\"sha256:ab\" \"x\""], NoneMatch::Unreadable),
            (&["\"sha256:ab\"x"], NoneMatch::Unreadable),
            (&["\"a b\""], NoneMatch::Unreadable),
            (&["*, \"sha256:ab\""], NoneMatch::Unreadable),
            (&["\"x\"", "*"], NoneMatch::Unreadable),
            (&["**"], NoneMatch::Unreadable),
            (&["\"sha256:ab\", junk"], NoneMatch::Unreadable),
        ] {
            assert_eq!(condition(lines, current), want, "{lines:?}");
        }
    }

    #[test]
    fn what_does_not_exist_is_named_by_nothing() {
        for line in ["*", "\"sha256:ab\"", "W/\"x\", \"y\"", ""] {
            assert_eq!(condition(&[line], None), NoneMatch::Holds, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_only_the_tag_or_a_star_fails(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let found = none_match(std::iter::once(line.as_slice()), Some("\"sha256:ab\""));
            let named = line.windows(11).any(|part| part == b"\"sha256:ab\"") || line.contains(&b'*');
            prop_assert!(found != NoneMatch::Fails || named);
        }
    }
}

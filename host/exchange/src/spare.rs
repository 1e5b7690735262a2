//! Memory of exchanges that a thread uses again: texts, lists of attributes, and octets from which short values are cut.
//!
//! Each exchange needs the same few pieces of memory for as long as it lasts, and a worker needs no more of them than it has
//! exchanges in progress. So each thread keeps some that exchanges gave back.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use bytes::BytesMut;
use http::HeaderValue;
use http::header::InvalidHeaderValue;

/// Texts that a thread keeps at most; an exchange has two.
const TEXTS: usize = 64;
/// A longer text is freed.
const TEXT_OCTETS_MAX: usize = 512;
/// Lists of attributes that a thread keeps at most.
const LISTS: usize = 32;
/// A list with room for more attributes is freed.
const ATTRIBUTES_MAX: usize = 16;
/// Octets from which values are cut, until all of them are used.
const BLOCK_OCTETS: usize = 4 * 1024;
/// A longer value has memory of its own: a value that is kept keeps its block.
const VALUE_OCTETS_MAX: usize = 256;

/// A name and its value.
pub(crate) type Attribute = (Cow<'static, str>, Arc<str>);

thread_local! {
    static SPARE_TEXTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static SPARE_LISTS: RefCell<Vec<Vec<Attribute>>> = const { RefCell::new(Vec::new()) };
    static BLOCK: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// A text for an exchange, which gives its memory back with [`Exchange::give_back`](crate::Exchange::give_back).
pub fn text(text: Cow<'_, str>) -> String {
    match text {
        Cow::Owned(text) => text,
        Cow::Borrowed(text) => {
            let mut kept = SPARE_TEXTS.with_borrow_mut(Vec::pop).unwrap_or_default();
            kept.push_str(text);
            kept
        }
    }
}

/// Gives a text back.
pub(crate) fn give_back_text(mut text: String) {
    if text.capacity() == 0 || text.capacity() > TEXT_OCTETS_MAX {
        return;
    }
    text.clear();
    SPARE_TEXTS.with_borrow_mut(|texts| {
        if texts.len() < TEXTS {
            texts.push(text);
        }
    });
}

/// An empty list of attributes.
pub(crate) fn attributes() -> Vec<Attribute> {
    SPARE_LISTS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Gives a list of attributes back.
pub(crate) fn give_back_attributes(mut list: Vec<Attribute>) {
    if list.capacity() == 0 || list.capacity() > ATTRIBUTES_MAX {
        return;
    }
    list.clear();
    SPARE_LISTS.with_borrow_mut(|lists| {
        if lists.len() < LISTS {
            lists.push(list);
        }
    });
}

/// A copy of a short value, in memory that it shares with others of its thread. Clones share it too.
///
/// # Errors
/// It has an octet that no value may have (RFC 9110 §5.5).
pub fn header_value(octets: &[u8]) -> Result<HeaderValue, InvalidHeaderValue> {
    if octets.len() > VALUE_OCTETS_MAX {
        return HeaderValue::from_bytes(octets);
    }
    let octets = BLOCK.with_borrow_mut(|block| {
        // Once nobody has a value of it any more, a block is used again from its start.
        if block.capacity() < octets.len() && !block.try_reclaim(BLOCK_OCTETS) {
            *block = BytesMut::with_capacity(BLOCK_OCTETS);
        }
        block.extend_from_slice(octets);
        block.split().freeze()
    });
    HeaderValue::from_maybe_shared(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_empty_and_a_long_one_not_at_all() {
        give_back_text("secret".repeat(4));
        let next = text(Cow::Borrowed("/a"));
        assert!(next == "/a" && next.capacity() >= 24);
        give_back_text("x".repeat(TEXT_OCTETS_MAX + 1));
        assert!(text(Cow::Borrowed("/b")).capacity() <= TEXT_OCTETS_MAX);
        let own = "/c".to_owned();
        let place = own.as_ptr();
        let kept = text(Cow::Owned(own));
        assert_eq!(kept.as_ptr(), place);
    }

    #[test]
    fn a_list_comes_back_empty_and_a_thread_keeps_a_few() {
        for _ in 0..2 * LISTS {
            give_back_attributes(vec![("a".into(), "secret".into())]);
            give_back_text("a".to_owned());
            give_back_text("a".to_owned());
        }
        give_back_attributes(vec![("a".into(), "b".into()); ATTRIBUTES_MAX + 1]);
        assert_eq!(SPARE_LISTS.with_borrow(Vec::len), LISTS);
        assert_eq!(SPARE_TEXTS.with_borrow(Vec::len), TEXTS);
        assert!(attributes().is_empty());
    }

    #[test]
    fn values_are_what_they_were_whatever_was_cut_after_them() {
        let mut values = Vec::new();
        for number in 0..3 * BLOCK_OCTETS / 64 {
            let octets = vec![b'a' + (number % 26) as u8; 1 + number % 300];
            values.push((header_value(&octets).unwrap(), octets));
        }
        assert!(values.iter().all(|(value, octets)| *value == **octets));
        assert_eq!(header_value(b"").unwrap(), "");
        for octets in [&b"a\r\nb"[..], b"\0", b"a\x7f"] {
            assert!(header_value(octets).is_err());
            assert!(HeaderValue::from_bytes(octets).is_err());
        }
    }

    #[test]
    fn a_block_is_used_again_once_nobody_has_a_value_of_it() {
        let place = |value: &HeaderValue| value.as_bytes().as_ptr();
        let first = header_value(&[b'a'; 64]).unwrap();
        let start = place(&first);
        drop(first);
        let again = (0..3 * BLOCK_OCTETS / 64).any(|_| {
            let value = header_value(&[b'b'; 64]).unwrap();
            place(&value) == start
        });
        assert!(again);
    }
}

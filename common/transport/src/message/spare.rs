//! Memory of heads that a thread uses again: maps of fields, and buffers in which heads are written.
//!
//! A map of fields and the buffer of a head are a kilobyte or more, which an allocator searches for. A worker needs no more
//! of them than it has exchanges in progress, so each thread keeps a few that exchanges gave back.

use std::cell::RefCell;

use http::HeaderMap;

/// Maps, and buffers, that a thread keeps at most: 32 ordinary maps are about 80 KiB.
const KEPT: usize = 32;

/// A map with room for more fields is freed.
const FIELDS_MAX: usize = 64;

/// A longer buffer is freed.
const OCTETS_MAX: usize = 4 * 1024;

thread_local! {
    static MAPS: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty map with room for `fields`, or for as many as the kept one has.
pub(crate) fn map(fields: usize) -> HeaderMap {
    let kept = MAPS.with_borrow_mut(Vec::pop);
    match kept {
        Some(map) if map.capacity() >= fields => map,
        _ => HeaderMap::with_capacity(fields),
    }
}

/// Gives a map back whose fields are not needed any more, so that the next head of this thread can use its memory.
pub fn give_back(mut map: HeaderMap) {
    if map.capacity() == 0 || map.capacity() > FIELDS_MAX {
        return;
    }
    // The values may hold the buffer that they arrived in.
    map.clear();
    MAPS.with_borrow_mut(|maps| {
        if maps.len() < KEPT {
            maps.push(map);
        }
    });
}

/// An empty buffer with room for `octets`.
pub(crate) fn buffer(octets: usize) -> Vec<u8> {
    let mut buffer = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
    buffer.reserve(octets);
    buffer
}

/// Gives a buffer back.
pub(crate) fn give_back_buffer(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > OCTETS_MAX {
        return;
    }
    buffer.clear();
    BUFFERS.with_borrow_mut(|buffers| {
        if buffers.len() < KEPT {
            buffers.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use http::header::{self, HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_map_comes_back_without_its_fields_and_a_large_one_not_at_all() {
        let mut sent = map(8);
        for _ in 0..3 {
            sent.append(header::COOKIE, HeaderValue::from_static("secret"));
        }
        let room = sent.capacity();
        give_back(sent);
        let next = map(4);
        assert_eq!((next.len(), next.capacity()), (0, room));
        assert!(!next.contains_key(header::COOKIE) && next.iter().next().is_none());
        give_back(next);
        assert!(map(FIELDS_MAX).capacity() >= FIELDS_MAX, "one that is too small is not used");
        let mut large = HeaderMap::with_capacity(FIELDS_MAX * 2);
        large.insert(HeaderName::from_static("x-a"), HeaderValue::from_static("1"));
        give_back(large);
        assert!(map(1).capacity() <= FIELDS_MAX);
    }

    #[test]
    fn a_thread_keeps_a_few() {
        for _ in 0..2 * KEPT {
            give_back(HeaderMap::with_capacity(8));
            give_back_buffer(Vec::with_capacity(8));
        }
        assert_eq!(MAPS.with_borrow(Vec::len), KEPT);
        assert_eq!(BUFFERS.with_borrow(Vec::len), KEPT);
    }

    #[test]
    fn a_buffer_comes_back_empty() {
        let mut written = buffer(16);
        written.extend_from_slice(b"secret");
        give_back_buffer(written);
        let next = buffer(8);
        assert!(next.is_empty() && next.capacity() >= 16);
        give_back_buffer(vec![0; OCTETS_MAX + 1]);
        assert!(buffer(0).capacity() <= OCTETS_MAX);
    }
}

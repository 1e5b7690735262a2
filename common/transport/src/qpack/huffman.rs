//! The Huffman code of header fields (RFC 7541, appendix B).
//!
//! The code is canonical: the codes of one length are consecutive numbers in the order of their octets, and each length
//! begins where the one before it ended. So the lengths of the codes say all.

use std::sync::LazyLock;

/// The lengths of the codes of all octets in bits, and of the end of a string.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// The longest code in bits.
const LONGEST: usize = 30;
/// The end of a string, which is not sent: only its first bits fill the last octet.
const END: usize = 256;

/// The codes of one length.
#[derive(Debug, Clone, Copy, Default)]
struct Codes {
    /// The first of them.
    first: u32,
    /// How many there are.
    count: u32,
    /// Where their symbols begin in the order of lengths.
    at: u32,
}

/// What the lengths say.
struct Code {
    by_length: [Codes; LONGEST + 1],
    /// All symbols by length, then by number.
    symbols: Vec<usize>,
}

static CODE: LazyLock<Code> = LazyLock::new(|| {
    let mut by_length = [Codes::default(); LONGEST + 1];
    let mut symbols = Vec::with_capacity(LENGTHS.len());
    let mut first = 0_u32;
    for (length, codes) in by_length.iter_mut().enumerate().skip(1) {
        first = first.saturating_mul(2);
        let at = u32::try_from(symbols.len()).unwrap_or(u32::MAX);
        let of_length = LENGTHS.iter().enumerate().filter(|(_, it)| usize::from(**it) == length);
        symbols.extend(of_length.map(|(symbol, _)| symbol));
        let count = u32::try_from(symbols.len()).unwrap_or(u32::MAX).saturating_sub(at);
        *codes = Codes { first, count, at };
        first = first.saturating_add(count);
    }
    Code { by_length, symbols }
});

/// A string that is not valid in the Huffman code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotHuffman;

/// Decodes a string (RFC 7541 §5.2): the rest of its last octet, of at most seven bits, is all ones.
pub(super) fn decode(octets: &[u8]) -> Result<Vec<u8>, NotHuffman> {
    let code = &*CODE;
    // The shortest codes have five bits.
    let mut out = Vec::with_capacity(octets.len().saturating_mul(8) / 5);
    let (mut bits, mut length) = (0_u32, 0_usize);
    for octet in octets {
        for place in (0..8).rev() {
            bits = (bits << 1) | (u32::from(*octet) >> place & 1);
            length = length.saturating_add(1);
            let Some(codes) = code.by_length.get(length) else { return Err(NotHuffman) };
            let Some(nth) = bits.checked_sub(codes.first).filter(|nth| *nth < codes.count) else {
                continue;
            };
            let symbol = codes.at.saturating_add(nth) as usize;
            match code.symbols.get(symbol).map(|symbol| (*symbol, u8::try_from(*symbol))) {
                Some((_, Ok(octet))) => out.push(octet),
                Some((END, _)) | None | Some((_, Err(_))) => return Err(NotHuffman),
            }
            (bits, length) = (0, 0);
        }
    }
    let filled = length < 8 && bits == (1_u32 << length).saturating_sub(1);
    if filled { Ok(out) } else { Err(NotHuffman) }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// Encodes a string.
    pub(in crate::qpack) fn encode(octets: &[u8]) -> Vec<u8> {
        let code_of = |octet: u8| {
            let length = usize::from(LENGTHS[usize::from(octet)]);
            let codes = CODE.by_length[length];
            let mut nth = CODE.symbols[codes.at as usize..].iter();
            let nth = nth.position(|symbol| *symbol == usize::from(octet)).unwrap();
            (codes.first + u32::try_from(nth).unwrap(), length)
        };
        let (mut out, mut filled) = (Vec::new(), 0_usize);
        let mut put = |bit: u32| {
            if filled.is_multiple_of(8) {
                out.push(0);
            }
            *out.last_mut().unwrap() |= u8::try_from(bit).unwrap() << (7 - filled % 8);
            filled += 1;
            filled
        };
        let mut end = 0;
        for octet in octets {
            let (code, length) = code_of(*octet);
            for place in (0..length).rev() {
                end = put(code >> place & 1);
            }
        }
        while !end.is_multiple_of(8) {
            end = put(1);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::testing::encode;
    use super::*;
    use proptest::prelude::*;

    /// Examples of RFC 7541, appendix C.4 and C.6.
    #[test]
    fn the_examples_of_the_standard_decode() {
        for (text, hex) in [
            ("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
            ("no-cache", "a8eb10649cbf"),
            ("custom-key", "25a849e95ba97d7f"),
            ("custom-value", "25a849e95bb8e8b4bf"),
            ("302", "6402"),
            ("private", "aec3771a4b"),
            ("Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
            ("https://www.example.com", "9d29ad171863c78f0b97c8e9ae82ae43d3"),
        ] {
            let octets: Vec<u8> = (0..hex.len() / 2)
                .map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap())
                .collect();
            assert_eq!(decode(&octets).unwrap(), text.as_bytes(), "{text}");
            assert_eq!(encode(text.as_bytes()), octets, "{text}");
        }
    }

    #[test]
    fn what_ends_in_the_middle_or_says_the_end_is_refused() {
        assert_eq!(decode(&[]), Ok(Vec::new()));
        for octets in [
            // Eight bits of filling.
            &[0xff][..],
            // Filling with a zero: `0` is 00000.
            &[0b0000_0000],
            &[0b0000_0110],
            // The code of the end.
            &[0xff, 0xff, 0xff, 0xfc],
            &[0xff, 0xff, 0xff, 0xff],
            // The beginning of a long code.
            &[0xff, 0xff, 0xfe],
        ] {
            assert_eq!(decode(octets), Err(NotHuffman), "{octets:?}");
        }
        assert_eq!(decode(&[0b0000_0111]), Ok(b"0".to_vec()));
    }

    proptest! {
        #[test]
        fn every_string_decodes_to_itself(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode(&encode(&octets)), Ok(octets));
        }

        /// Two strings never have one meaning: what decodes is what its meaning encodes to.
        #[test]
        fn every_meaning_has_one_string(octets in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Ok(text) = decode(&octets) {
                prop_assert_eq!(encode(&text), octets);
            }
        }
    }
}

//! One field of a head or of trailers: its line, its name, its lists (RFC 9110 §5).

use crate::intake::refusal::IntakeRefusal;

/// Splits and checks a field line without its CR LF.
pub(crate) fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), IntakeRefusal> {
    let colon = memchr::memchr(b':', line).ok_or(IntakeRefusal::FieldName)?;
    let (name, rest) = line.split_at(colon);
    // Also refuses folded lines, whose name would begin with a space.
    if !is_token(name) {
        return Err(IntakeRefusal::FieldName);
    }
    let value = trim(rest.get(1..).unwrap_or_default());
    // Without an early end, so that the compiler looks at many bytes at once.
    let control = |byte: u8| (byte < b' ' && byte != b'\t') || byte == 0x7f;
    if value.iter().fold(false, |bad, byte| bad | control(*byte)) {
        return Err(IntakeRefusal::FieldValue);
    }
    Ok((name, value))
}

/// Without the blanks at both ends.
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// RFC 9110 §5.6.2, by byte.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        #[expect(clippy::indexing_slicing, reason = "a byte is always within 256")]
        {
            table[byte as usize] = byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'!' | b'#'
                        | b'$'
                        | b'%'
                        | b'&'
                        | b'\''
                        | b'*'
                        | b'+'
                        | b'-'
                        | b'.'
                        | b'^'
                        | b'_'
                        | b'`'
                        | b'|'
                        | b'~'
                );
        }
        byte += 1;
    }
    table
};

/// Whether it is a token (RFC 9110 §5.6.2).
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    #[expect(clippy::indexing_slicing, reason = "a byte is always within 256")]
    let all = bytes.iter().all(|byte| TOKEN[*byte as usize]);
    all && !bytes.is_empty()
}

/// Whether a name equals one of the two framing fields when only letters are compared.
pub(crate) fn is_look_alike(name: &[u8]) -> bool {
    let same = |other: &[u8]| {
        let letters = name.iter().filter(|byte| byte.is_ascii_alphabetic());
        letters.map(u8::to_ascii_lowercase).eq(other.iter().copied())
    };
    same(b"contentlength") || same(b"transferencoding")
}

/// Whether a list has this element.
pub(crate) fn list_contains(list: &[u8], element: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|one| trim(one).eq_ignore_ascii_case(element))
}

//! `traceparent` (W3C Trace Context): kept if it is well-formed, otherwise made; a new parent id at each
//! hop.

use http::{HeaderMap, HeaderName, HeaderValue};
use tamis_ambient::{Random, hex_digits};
use tamis_exchange::header_value;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// One in this many new traces is marked as sampled, like Istio's default of 1 %.
const SAMPLED_ONE_IN: u64 = 100;
/// Hex digits whose lowest bit says that the trace is sampled.
const SAMPLED_DIGITS: &[u8] = b"13579bdf";

/// Makes sure that the request carries a valid `traceparent` with this hop as parent.
pub(crate) fn ensure(headers: &mut HeaderMap, random: Random) {
    let mut octets = [0_u8; 55];
    // Two of them count as absent: it is unknown which is meant.
    let mut sent = headers.get_all(&TRACEPARENT).iter();
    let known = sent.next().filter(|_| sent.next().is_none()).map(HeaderValue::as_bytes);
    if let Some(known) = known.filter(|value| is_valid(value)) {
        for (to, from) in octets.iter_mut().zip(known) {
            *to = *from;
        }
        if !known.starts_with(b"00-") {
            // From a later version the known parts are kept, and written in this version (§4.3).
            write(&mut octets, 0, b"00-");
            let sampled = known.get(54).is_some_and(|digit| SAMPLED_DIGITS.contains(digit));
            write(&mut octets, 52, if sampled { b"-01" } else { b"-00" });
        }
    } else {
        // The state belongs to a trace that is absent (§3.3).
        headers.remove(&TRACESTATE);
        write(&mut octets, 0, b"00-");
        write(&mut octets, 3, &hex_digits(random.number() | 1));
        write(&mut octets, 19, &hex_digits(random.number()));
        let flags: &[u8] = if random.below(SAMPLED_ONE_IN) == 0 { b"-01" } else { b"-00" };
        write(&mut octets, 35, b"-");
        write(&mut octets, 52, flags);
    }
    write(&mut octets, 36, &hex_digits(random.number() | 1));
    if let Ok(value) = header_value(&octets) {
        headers.insert(TRACEPARENT, value);
    }
}

/// Version 00 exactly (§3.2), or a later one that begins like it (§4.3): lower-case hex, neither id all zero.
fn is_valid(value: &[u8]) -> bool {
    let hex = |part: Option<&[u8]>| {
        part.is_some_and(|part| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    };
    let zero = |part: Option<&[u8]>| part.is_some_and(|part| part.iter().all(|b| *b == b'0'));
    let dash = |at: usize| value.get(at) == Some(&b'-');
    let version = value.get(..2);
    let length = match version {
        Some(b"00") => value.len() == 55,
        _ => value.len() == 55 || dash(55),
    };
    length
        && hex(version)
        && version != Some(b"ff".as_slice())
        && dash(2)
        && dash(35)
        && dash(52)
        && [3..35, 36..52, 53..55].into_iter().all(|range| hex(value.get(range)))
        && !zero(value.get(3..35))
        && !zero(value.get(36..52))
}

fn write(octets: &mut [u8], at: usize, from: &[u8]) {
    for (to, from) in octets.iter_mut().skip(at).zip(from) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_goes_on_with_a_new_parent() {
        let mut headers = HeaderMap::new();
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        headers.insert(TRACEPARENT, HeaderValue::from_static(given));
        ensure(&mut headers, Random::system());
        let now = headers[TRACEPARENT].to_str().unwrap();
        assert_eq!(now[..36], given[..36]);
        assert_ne!(now[36..52], given[36..52]);
        assert_eq!(&now[52..], "-01");
    }

    #[test]
    fn a_trace_of_a_later_version_goes_on_and_two_traces_are_none() {
        let rest = "-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-";
        let ensured = |given: &[&str]| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACESTATE, HeaderValue::from_static("a=b"));
            for one in given {
                headers.append(TRACEPARENT, HeaderValue::from_str(one).unwrap());
            }
            ensure(&mut headers, Random::system());
            let now = headers[TRACEPARENT].to_str().unwrap().to_owned();
            assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1);
            (now, headers.contains_key(TRACESTATE))
        };
        for (given, end) in [
            (format!("01{rest}01"), "-01"),
            (format!("cc{rest}03-what-the-future-holds"), "-01"),
            (format!("01{rest}00-x"), "-00"),
        ] {
            let (now, state) = ensured(&[&given]);
            assert!(now.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{given}: {now}");
            assert!(now.ends_with(end) && now.len() == 55 && state, "{given}: {now}");
        }
        let known = format!("00{rest}01");
        for given in [
            &[&*known, &*known][..],
            &[&format!("ff{rest}01")],
            &[&format!("01{rest}01x")],
            &[&format!("00{rest}01-x")],
        ] {
            let (now, state) = ensured(given);
            assert!(!now.contains("0af7651916cd43dd8448eb211c80319c") && !state, "{given:?}");
        }
    }

    #[test]
    fn what_is_malformed_is_replaced_with_its_state() {
        for bad in ["", "00-0-0-0", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "zz"]
        {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, HeaderValue::from_str(bad).unwrap());
            headers.insert(TRACESTATE, HeaderValue::from_static("a=b"));
            ensure(&mut headers, Random::system());
            assert!(is_valid(headers[TRACEPARENT].as_bytes()), "{bad}");
            assert!(!headers.contains_key(TRACESTATE));
            assert_eq!(headers[TRACEPARENT].len(), 55);
        }
    }
}

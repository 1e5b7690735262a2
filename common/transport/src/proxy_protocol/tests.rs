//! Headers of both versions, what is no header, and where reading stops.

use super::*;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;

/// The outcome of a connection with these bytes, in these pieces, and what is left of them.
fn outcome(pieces: &[&[u8]]) -> (Result<Option<SocketAddr>, &'static str>, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (mut near, mut far) = tokio::io::duplex(1 << 17);
        for piece in pieces {
            far.write_all(piece).await.unwrap();
        }
        drop(far);
        let read = read_proxy_header(&mut near).await.map_err(|error| error.reason());
        let mut left = Vec::new();
        near.read_to_end(&mut left).await.unwrap();
        (read, left)
    })
}

fn binary_header(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [SIGNATURE.as_slice(), &[command, family], &length, payload].concat()
}

const V4: &[u8] = &[192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x34, 0, 80];

fn v6(source: &str) -> Vec<u8> {
    let address = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    [&address(source)[..], &address("2001:db8::2"), &[0, 5, 0, 80]].concat()
}

#[test]
fn the_client_is_what_the_header_states_and_the_rest_stays() {
    let client = |text: &str| Ok(Some(text.parse().unwrap()));
    let tlv = [V4, &[0x20, 0, 5, 1, 2, 3, 4, 5, 0x04, 0, 0]].concat();
    let unix = [1_u8; 216];
    for (header, expected) in [
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 4660 80\r\n".to_vec(), client("192.0.2.1:4660")),
        (b"PROXY TCP6 2001:db8::1 ::1 5 80\r\n".to_vec(), client("[2001:db8::1]:5")),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 5 80\r\n".to_vec(), client("192.0.2.1:5")),
        (b"PROXY UNKNOWN\r\n".to_vec(), Ok(None)),
        (b"PROXY UNKNOWN ffff:: ffff:: 65535 65535\r\n".to_vec(), Ok(None)),
        (binary_header(0x21, 0x11, V4), client("192.0.2.1:4660")),
        (binary_header(0x21, 0x11, &tlv), client("192.0.2.1:4660")),
        (binary_header(0x21, 0x21, &v6("2001:db8::1")), client("[2001:db8::1]:5")),
        (binary_header(0x21, 0x21, &v6("::ffff:192.0.2.1")), client("192.0.2.1:5")),
        (binary_header(0x21, 0x00, &[]), Ok(None)),
        (binary_header(0x21, 0x31, &unix), Ok(None)),
        (binary_header(0x20, 0x00, &[]), Ok(None)),
        (binary_header(0x20, 0x11, V4), Ok(None)),
        (binary_header(0x20, 0x00, &[0; MAX_REST]), Ok(None)),
    ] {
        let found = outcome(&[&header, b"\x16\x03\x01 and more\r\n"]);
        assert_eq!(found, (expected, b"\x16\x03\x01 and more\r\n".to_vec()), "{header:?}");
    }
}

#[test]
fn a_header_of_ours_states_the_client_and_is_the_one_of_the_specification() {
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    for (ends, text, family, octets) in [
        (
            Some(("192.0.2.1:4660", "10.0.0.1:80")),
            "PROXY TCP4 192.0.2.1 10.0.0.1 4660 80\r\n",
            (0x21, 0x11),
            V4.to_vec(),
        ),
        (
            Some(("[2001:db8::1]:5", "[2001:db8::2]:80")),
            "PROXY TCP6 2001:db8::1 2001:db8::2 5 80\r\n",
            (0x21, 0x21),
            v6("2001:db8::1"),
        ),
        // An address that stands for one of IPv4.
        (
            Some(("[::ffff:192.0.2.1]:4660", "10.0.0.1:80")),
            "PROXY TCP4 192.0.2.1 10.0.0.1 4660 80\r\n",
            (0x21, 0x11),
            V4.to_vec(),
        ),
        // No header has both families.
        (Some(("192.0.2.1:5", "[2001:db8::2]:80")), "PROXY UNKNOWN\r\n", (0x20, 0), vec![]),
        (None, "PROXY UNKNOWN\r\n", (0x20, 0), vec![]),
    ] {
        let ends = ends.map(|(from, to)| (at(from), at(to)));
        let one = proxy_header(ProxyHeaderVersion::One, ends).unwrap();
        assert_eq!(String::from_utf8(one.clone()).unwrap(), text);
        let two = proxy_header(ProxyHeaderVersion::Two, ends).unwrap();
        assert_eq!(two, binary_header(family.0, family.1, &octets), "{ends:?}");
        assert_eq!(outcome(&[&one, b"rest"]), outcome(&[&two, b"rest"]), "{ends:?}");
    }
}

#[test]
fn what_is_no_header_is_refused_with_a_reason() {
    let long = format!("PROXY UNKNOWN {}\r\n", "a".repeat(MAX_TEXT));
    for (octets, reason) in [
        (&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..], "proxy-header-absent"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "proxy-header-absent"),
        (b"POST / HTTP/1.1\r\n\r\n", "proxy-header-absent"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "proxy-header-absent"),
        (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", "proxy-header-absent"),
        (b"PROXYxTCP4 192.0.2.1 10.0.0.1 1 2\r\n", "proxy-header-absent"),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n", "proxy-header"),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\n", "proxy-header"),
        (b"PROXY TCP4 2001:db8::1 ::1 1 2\r\n", "proxy-header"),
        (b"PROXY TCP4 192.0.2.01 10.0.0.1 1 2\r\n", "proxy-header"),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 1 65536\r\n", "proxy-header"),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 01 2\r\n", "proxy-header"),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 +1 2\r\n", "proxy-header"),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 1 +2\r\n", "proxy-header"),
        (b"PROXY TCP6 2001:db8::1 ::1 +5 80\r\n", "proxy-header"),
        (b"PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n", "proxy-header"),
        (b"PROXY TCP4 \xff\xff\xff\xff 10.0.0.1 1 2\r\n", "proxy-header"),
        (b"PROXY UNKNOWN\rx\r\n", "proxy-header"),
        (long.as_bytes(), "proxy-header"),
        (&binary_header(0x11, 0x11, V4), "proxy-header"),
        (&binary_header(0x22, 0x11, V4), "proxy-header"),
        (&binary_header(0x21, 0x12, V4), "proxy-header"),
        (&binary_header(0x21, 0x41, V4), "proxy-header"),
        (&binary_header(0x21, 0x21, V4), "proxy-header"),
        (&binary_header(0x21, 0x11, &V4[..11]), "proxy-header"),
        (&binary_header(0x20, 0x00, &[0; MAX_REST + 1]), "proxy-header"),
        (&binary_header(0x21, 0x11, V4)[..20], "closed"),
        (b"PROXY TCP4 192.0.2.1", "closed"),
        (b"", "closed"),
    ] {
        assert_eq!(outcome(&[octets]).0, Err(reason), "{:?}", String::from_utf8_lossy(octets));
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_that_does_not_come_is_not_waited_for_long() {
    for sent in [&b""[..], b"PROXY TCP4 ", &SIGNATURE[..]] {
        let (mut near, mut far) = tokio::io::duplex(64);
        far.write_all(sent).await.unwrap();
        let error = read_proxy_header(&mut near).await.unwrap_err();
        assert!(matches!(error, ProxyHeaderError::Timeout), "{error}");
    }
}

fn headers() -> impl Strategy<Value = (SocketAddr, Vec<u8>)> {
    let address = prop_oneof![
        (any::<std::net::Ipv4Addr>()).prop_map(IpAddr::V4),
        (any::<std::net::Ipv6Addr>()).prop_map(IpAddr::V6),
    ];
    let tlvs =
        prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..64)), 0..4);
    (address, any::<u16>(), tlvs, any::<bool>()).prop_map(|(address, port, tlvs, text)| {
        let source = SocketAddr::new(address, port);
        let to = SocketAddr::new(
            match address {
                IpAddr::V4(_) => IpAddr::from([10, 0, 0, 1]),
                IpAddr::V6(_) => IpAddr::from([1_u16; 8]),
            },
            443,
        );
        let octets = if text {
            v1::Addresses::from((source, to)).to_string().into_bytes()
        } else {
            let command = v2::Version::Two | v2::Command::Proxy;
            let mut builder =
                v2::Builder::with_addresses(command, v2::Protocol::Stream, (source, to));
            for (kind, value) in &tlvs {
                builder = builder.write_tlv(*kind, value).unwrap();
            }
            builder.build().unwrap()
        };
        (SocketAddr::new(address.to_canonical(), port), octets)
    })
}

proptest! {
    #[test]
    fn every_header_is_read_whole_whatever_follows(
        (client, header) in headers(), rest in prop::collection::vec(any::<u8>(), 0..64),
        cut in any::<prop::sample::Index>(),
    ) {
        let (first, second) = header.split_at(cut.index(header.len()));
        prop_assert_eq!(outcome(&[first, second, &rest]), (Ok(Some(client)), rest));
    }

    #[test]
    fn a_header_with_a_changed_byte_ends_in_an_address_or_a_reason_and_within_its_bound(
        (_, mut header) in headers(), at in any::<prop::sample::Index>(), octet in any::<u8>(),
    ) {
        let at = at.index(header.len());
        header[at] = octet;
        let sent = [header, vec![b' '; 5_000]].concat();
        let (_, left) = outcome(&[&sent]);
        prop_assert!(sent.ends_with(&left) && sent.len() - left.len() <= FIXED + MAX_REST);
    }

    #[test]
    fn any_bytes_end_in_an_address_or_a_reason(sent in prop::collection::vec(any::<u8>(), 0..256)) {
        for start in [&b""[..], b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN", SIGNATURE] {
            let sent = [start, &sent].concat();
            let (_, left) = outcome(&[&sent]);
            prop_assert!(sent.ends_with(&left));
        }
    }
}

use bytes::{Buf, BytesMut};
use proptest::prelude::*;

use super::scan::HeadScan;
use super::*;

/// What of `pieces` is passed on, and why the rest is not.
fn judged_in(pieces: &[&[u8]]) -> (Vec<u8>, Option<IntakeRefusal>) {
    let (mut reader, mut seen) = (Reader::default(), Vec::new());
    for piece in pieces {
        reader.buffer.extend_from_slice(piece);
        if let Err(refusal) = reader.read(&mut seen) {
            return (seen, Some(refusal));
        }
    }
    let incomplete = reader.body == Body::Done && !reader.buffer.is_empty();
    (seen, incomplete.then_some(IntakeRefusal::Incomplete))
}

fn judged(bytes: &[u8]) -> (Vec<u8>, Option<IntakeRefusal>) {
    judged_in(&[bytes])
}

/// Reads requests as a connection does.
struct Reader {
    buffer: BytesMut,
    scan: HeadScan,
    body: Body,
}

impl Default for Reader {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), scan: HeadScan::default(), body: Body::Done }
    }
}

impl Reader {
    fn read(&mut self, seen: &mut Vec<u8>) -> Result<(), IntakeRefusal> {
        let limits = IntakeLimits::default();
        loop {
            let taken = if self.body == Body::Done {
                let Some(end) = self.scan.find(&mut self.buffer, &limits)? else { return Ok(()) };
                self.body = match head::judge(&self.buffer[..end], &limits)? {
                    head::Framing::Empty | head::Framing::Tunnel => Body::Done,
                    head::Framing::Length(length) => Body::Length(length),
                    head::Framing::Chunked => Body::ChunkSize,
                };
                end
            } else {
                let Some((taken, next)) = self.body.step(&self.buffer)? else { return Ok(()) };
                self.body = next;
                taken
            };
            seen.extend_from_slice(&self.buffer[..taken]);
            self.buffer.advance(taken);
        }
    }
}

const GOOD: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "GET /?q=%zz|^ HTTP/1.1\r\nhost: [::1]:8080\r\n\r\n",
    "GET /\"[]^{|}\\?[]\\^`{|} HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET http://a/x HTTP/1.1\r\nHost: A\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a:80\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX:\r\nY: \t v\x09w \r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00A\r\n0123456789\r\n0\r\n\r\n",
];

#[test]
fn requests_with_one_reading_pass_unchanged() {
    for request in GOOD {
        let (seen, refused) = judged(request.as_bytes());
        assert_eq!(refused, None, "{request:?}");
        assert_eq!(seen, request.as_bytes());
    }
}

#[test]
fn requests_with_two_readings_are_never_seen() {
    use IntakeRefusal as R;
    let line = |line: &str| format!("{line}\r\nHost: a\r\n\r\n");
    let field = |field: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
    let host = |lines: &str| format!("GET / HTTP/1.1\r\n{lines}\r\n");
    let rows: Vec<(String, IntakeRefusal)> = vec![
        (line("GET  / HTTP/1.1"), R::RequestLine),
        (line("GET / HTTP/1.1 "), R::RequestLine),
        (line("GET /"), R::RequestLine),
        (line(" GET / HTTP/1.1"), R::RequestLine),
        (line("G(T / HTTP/1.1"), R::RequestLine),
        (line("GET /a b HTTP/1.1"), R::RequestLine),
        (line("GET / http/1.1"), R::NotHttp),
        (line("GET / HTTP/1.1x"), R::RequestLine),
        (line("GET / HTTP/2.0"), R::Version),
        (line("GET / HTTP/0.9"), R::Version),
        (line("GET /\ta HTTP/1.1"), R::Target),
        (line("GET /\u{e9} HTTP/1.1"), R::Target),
        (line("GET /a#b HTTP/1.1"), R::Target),
        (line("GET /<a> HTTP/1.1"), R::Target),
        (line("GET /a` HTTP/1.1"), R::Target),
        (line("GET /?\"a\" HTTP/1.1"), R::Target),
        (line("GET /?a>b HTTP/1.1"), R::Target),
        (line("GET http://a/a<b HTTP/1.1"), R::Target),
        (line("GET a HTTP/1.1"), R::Target),
        (line("GET * HTTP/1.1"), R::Target),
        (line("GET ftp://a/ HTTP/1.1"), R::Target),
        (line("GET /\0 HTTP/1.1"), R::LineEnd),
        (line("GET /\r HTTP/1.1"), R::LineEnd),
        (line("CONNECT / HTTP/1.1"), R::Target),
        (line("GET http://b/ HTTP/1.1"), R::HostMismatch),
        (line("GET http://u@a/ HTTP/1.1"), R::HostMismatch),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n".into(), R::LineEnd),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n".into(), R::LineEnd),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n".into(), R::LineEnd),
        ("INVALID CONNECTION PREFACE\r\n\r\n".into(), R::NotHttp),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), R::RequestLine),
        ("GET / HTTP/1.1\r\nHost: a\r\n".into(), R::Incomplete),
        (field("X : 1"), R::FieldName),
        (field(" X: 1"), R::FieldName),
        (field("X: 1\r\n folded"), R::FieldName),
        (field("no colon"), R::FieldName),
        (field(": nameless"), R::FieldName),
        (field("X\u{e9}: 1"), R::FieldName),
        (field("X: a\0b"), R::FieldValue),
        (field("X: a\rb"), R::FieldValue),
        (field("X: a\x7fb"), R::FieldValue),
        (host(""), R::Host),
        (host("Host: a\r\nHost: a\r\n"), R::Host),
        (host("Host:\r\n"), R::Host),
        (host("Host: a b\r\n"), R::Host),
        (host("Host: a/b\r\n"), R::Host),
        (host("Host: u@a\r\n"), R::Host),
        (host("Host: a:x\r\n"), R::Host),
        (host("Host: a:99999\r\n"), R::Host),
        (host("Host: a, b\r\n"), R::Host),
        (host("Host: [::1\r\n"), R::Host),
        (host("Host: [nine]\r\n"), R::Host),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n".into(), R::Host),
        (field("Content-Length: 1\r\nContent-Length: 1"), R::ContentLength),
        (field("Content-Length: 1, 1"), R::ContentLength),
        (field("Content-Length: +1"), R::ContentLength),
        (field("Content-Length: -1"), R::ContentLength),
        (field("Content-Length: 1 1"), R::ContentLength),
        (field("Content-Length: 0x1"), R::ContentLength),
        (field("Content-Length:"), R::ContentLength),
        (field("Content-Length: 9223372036854775808"), R::ContentLength),
        (field("Transfer-Encoding: gzip"), R::TransferEncoding),
        (field("Transfer-Encoding: gzip, chunked"), R::TransferCoding),
        (field("Transfer-Encoding: gzip;level=9 , chunked"), R::TransferCoding),
        (field("Transfer-Encoding: xchunked, CHUNKED"), R::TransferCoding),
        (field("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"), R::TransferCoding),
        (field("Transfer-Encoding: chunked, gzip"), R::TransferEncoding),
        (field("Transfer-Encoding: gzip, chunked, gzip"), R::TransferEncoding),
        (field("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip"), R::TransferEncoding),
        (field("Transfer-Encoding: chunked;a=b"), R::TransferEncoding),
        (field("Transfer-Encoding: chunked;"), R::TransferEncoding),
        (field("Transfer-Encoding: gzip, chunked;a"), R::TransferEncoding),
        (field("Transfer-Encoding: gzip, chunked,"), R::TransferEncoding),
        (field("Transfer-Encoding: , chunked"), R::TransferEncoding),
        (field("Transfer-Encoding: g zip, chunked"), R::TransferEncoding),
        (field("Transfer-Encoding: ;a, chunked"), R::TransferEncoding),
        (field("Transfer-Encoding: gzip, chunked\r\nContent-Length: 3"), R::BothLengths),
        (field("Transfer-Encoding: gzip\r\nContent-Length: 3"), R::TransferEncoding),
        (field("Transfer-Encoding: chunked, chunked"), R::TransferEncoding),
        (field("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), R::TransferEncoding),
        (field("Transfer-Encoding: xchunked"), R::TransferEncoding),
        (field("Transfer-Encoding: \"chunked\""), R::TransferEncoding),
        (field("Transfer-Encoding:"), R::TransferEncoding),
        (
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            R::TransferEncoding,
        ),
        (field("Transfer-Encoding: chunked\r\nContent-Length: 3"), R::BothLengths),
        (field("Content-Length: 0\r\nTransfer-Encoding: chunked"), R::BothLengths),
        (field("Content_Length: 3"), R::LookAlike),
        (field("transfer_encoding: chunked"), R::LookAlike),
        (field("Transfer---Encoding: chunked"), R::LookAlike),
        (field("Content.Length: 3"), R::LookAlike),
        (field("Upgrade: x\r\nContent-Length: 3"), R::UnexpectedBody),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".into(), R::UnexpectedBody),
        (
            "HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            R::UnexpectedBody,
        ),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".into(), R::Connect),
        ("CONNECT a:1 HTTP/1.1\r\nHost: b\r\n\r\n".into(), R::Connect),
        ("CONNECT a:1 HTTP/1.0\r\n\r\n".into(), R::Connect),
        ("CONNECT a:1 HTTP/1.1\r\n\r\n".into(), R::Host),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a b\r\n\r\n".into(), R::Host),
        (line("CONNECT a HTTP/1.1"), R::Target),
        (line("CONNECT a:b HTTP/1.1"), R::Target),
        (line("CONNECT http://a:1/ HTTP/1.1"), R::Target),
        (line("CONNECT /a HTTP/1.1"), R::Target),
        (line("CONNECT u@a:1 HTTP/1.1"), R::Target),
        (host(&format!("Host: a\r\n{}", "X: 1\r\n".repeat(100))), R::HeadTooLarge),
        (host(&format!("Host: a\r\nX: {}\r\n", "1".repeat(65_536))), R::HeadTooLarge),
        ("G".repeat(65_536), R::HeadTooLarge),
    ];
    for (request, expected) in rows {
        let (seen, refused) = judged(request.as_bytes());
        let shown: String = request.chars().take(120).collect();
        assert_eq!(refused, Some(expected), "{shown:?}");
        assert!(seen.is_empty(), "{shown:?}");
    }
}

#[test]
fn malformed_chunks_end_the_body_where_they_begin() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
    let long = format!("1;{}\r\na\r\n", "x".repeat(300));
    let trailers = format!("0\r\n{}\r\n", "X: 1\r\n".repeat(33));
    let rows: &[(&str, IntakeRefusal)] = &[
        ("g\r\n", IntakeRefusal::Chunk),
        ("\r\n", IntakeRefusal::Chunk),
        ("-1\r\n", IntakeRefusal::Chunk),
        ("0x1\r\n", IntakeRefusal::Chunk),
        (" 1\r\n", IntakeRefusal::Chunk),
        ("1 \r\n", IntakeRefusal::Chunk),
        ("1;\r\n", IntakeRefusal::Chunk),
        ("1;a\rb\r\n", IntakeRefusal::Chunk),
        ("1;a\0\r\n", IntakeRefusal::Chunk),
        ("1000000000000000\r\n", IntakeRefusal::Chunk),
        ("1\n", IntakeRefusal::LineEnd),
        (&long, IntakeRefusal::Chunk),
        ("0\r\nX\r\n\r\n", IntakeRefusal::Trailer),
        ("0\r\nX : 1\r\n\r\n", IntakeRefusal::Trailer),
        ("0\r\nContent-Length: 1\r\n\r\n", IntakeRefusal::Trailer),
        ("0\r\nHost: b\r\n\r\n", IntakeRefusal::Trailer),
        ("0\r\n\n", IntakeRefusal::LineEnd),
        (&trailers, IntakeRefusal::HeadTooLarge),
    ];
    for (rest, expected) in rows {
        let (seen, refused) = judged(format!("{head}{rest}").as_bytes());
        assert_eq!(refused, Some(*expected), "{rest:?}");
        assert!(seen.starts_with(head.as_bytes()), "{rest:?}");
    }
    for rest in ["1\r\nab\r\n", "1\r\na\n0\r\n\r\n"] {
        let (seen, refused) = judged(format!("{head}{rest}").as_bytes());
        assert_eq!(refused, Some(IntakeRefusal::Chunk), "{rest:?}");
        assert!(seen.ends_with(b"1\r\na"));
    }
}

#[test]
fn a_refused_request_hides_all_that_follows_and_nothing_before() {
    let (seen, refused) = judged(
        b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(seen, b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(refused, Some(IntakeRefusal::Host));
}

/// Streams made of pieces that matter for framing, so that random ones get deep.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let whole = (0..GOOD.len()).prop_map(|index| GOOD[index].as_bytes().to_vec());
    let scrap = prop::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "POST / HTTP/1.1\r\n",
        "Host: a\r\n",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "\r\n",
        "\n",
        "\r",
        "0\r\n",
        "3\r\n",
        "abc",
        " ",
        "\0",
    ])
    .prop_map(|scrap| scrap.as_bytes().to_vec());
    let noise = prop::collection::vec(any::<u8>(), 0..20);
    prop::collection::vec(prop_oneof![4 => whole, 4 => scrap, 1 => noise], 0..8)
        .prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_a_stream_gives_the_same_result(
        bytes in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        prop_assert_eq!(judged_in(&pieces), judged(&bytes));
    }

    #[test]
    fn arbitrary_bytes_pass_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let (seen, _) = judged(&bytes);
        prop_assert!(seen.len() <= bytes.len());
    }

    #[test]
    fn a_head_that_passes_reads_the_same_to_another_parser(bytes in stream()) {
        let (seen, _) = judged(&bytes);
        if !seen.is_empty() {
            let mut fields = [httparse::EMPTY_HEADER; 128];
            let mut request = httparse::Request::new(&mut fields);
            let end = request.parse(&seen).unwrap().unwrap();
            let ours = memchr::memmem::find(&seen, b"\r\n\r\n").unwrap() + 4;
            prop_assert_eq!(end, ours);
        }
    }
}

#[test]
fn connect_is_well_formed_and_not_implemented() {
    let hidden = IntakeRefusal::Connect.reply(IntakeReasons::Hide, None);
    assert!(!hidden.contains("tamis") && !hidden.contains("http.connect"), "{hidden}");
    let reply = IntakeRefusal::Connect.reply(IntakeReasons::Show, None);
    assert!(reply.contains("\r\nx-tamis-reason: http.connect\r\n"), "{reply}");
    assert!(reply.starts_with("HTTP/1.1 501 Not Implemented\r\n"), "{reply}");
    assert!(reply.contains("\r\nconnection: close\r\n"), "{reply}");
}

#[test]
fn where_connect_is_allowed_its_target_and_host_agree() {
    let limits = IntakeLimits { connect: ConnectMethod::Allow, ..IntakeLimits::default() };
    let judge = |host: &str| {
        let head = format!("CONNECT a:1 HTTP/1.1\r\nHost: {host}\r\n\r\n");
        head::judge(head.as_bytes(), &limits)
    };
    assert_eq!(judge("A:1"), Ok(head::Framing::Tunnel));
    assert_eq!(judge("b:1"), Err(IntakeRefusal::HostMismatch));
}

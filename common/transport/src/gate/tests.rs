use std::io::IoSlice;
use std::task::Waker;

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::*;

/// What a reader behind the gate sees of `pieces`, and why the gate closed.
async fn through(pieces: &[&[u8]]) -> (Vec<u8>, Option<GateRefusal>) {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let mut gate = MessageGate::new(server, BytesMut::new(), GateLimits::default());
    let control = gate.control();
    let send = async {
        for piece in pieces {
            client.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        drop(client);
    };
    let mut seen = Vec::new();
    let (_, read) = tokio::join!(send, gate.read_to_end(&mut seen));
    read.unwrap();
    (seen, control.refused())
}

fn judged(bytes: &[u8]) -> (Vec<u8>, Option<GateRefusal>) {
    judged_in(&[bytes])
}

fn judged_in(pieces: &[&[u8]]) -> (Vec<u8>, Option<GateRefusal>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(through(pieces))
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
    use GateRefusal as R;
    let line = |line: &str| format!("{line}\r\nHost: a\r\n\r\n");
    let field = |field: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
    let host = |lines: &str| format!("GET / HTTP/1.1\r\n{lines}\r\n");
    let rows: Vec<(String, GateRefusal)> = vec![
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
    let rows: &[(&str, GateRefusal)] = &[
        ("g\r\n", GateRefusal::Chunk),
        ("\r\n", GateRefusal::Chunk),
        ("-1\r\n", GateRefusal::Chunk),
        ("0x1\r\n", GateRefusal::Chunk),
        (" 1\r\n", GateRefusal::Chunk),
        ("1 \r\n", GateRefusal::Chunk),
        ("1;\r\n", GateRefusal::Chunk),
        ("1;a\rb\r\n", GateRefusal::Chunk),
        ("1;a\0\r\n", GateRefusal::Chunk),
        ("1000000000000000\r\n", GateRefusal::Chunk),
        ("1\n", GateRefusal::LineEnd),
        (&long, GateRefusal::Chunk),
        ("0\r\nX\r\n\r\n", GateRefusal::Trailer),
        ("0\r\nX : 1\r\n\r\n", GateRefusal::Trailer),
        ("0\r\nContent-Length: 1\r\n\r\n", GateRefusal::Trailer),
        ("0\r\nHost: b\r\n\r\n", GateRefusal::Trailer),
        ("0\r\n\n", GateRefusal::LineEnd),
        (&trailers, GateRefusal::HeadTooLarge),
    ];
    for (rest, expected) in rows {
        let (seen, refused) = judged(format!("{head}{rest}").as_bytes());
        assert_eq!(refused, Some(*expected), "{rest:?}");
        assert!(seen.starts_with(head.as_bytes()), "{rest:?}");
    }
    for rest in ["1\r\nab\r\n", "1\r\na\n0\r\n\r\n"] {
        let (seen, refused) = judged(format!("{head}{rest}").as_bytes());
        assert_eq!(refused, Some(GateRefusal::Chunk), "{rest:?}");
        assert!(seen.ends_with(b"1\r\na"));
    }
}

#[test]
fn a_refused_request_hides_all_that_follows_and_nothing_before() {
    let (seen, refused) = judged(
        b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(seen, b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(refused, Some(GateRefusal::Host));
}

#[tokio::test]
async fn bytes_after_an_upgrade_wait_for_the_answer() {
    let upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n";
    for tunnel in [true, false] {
        let (mut client, server) = tokio::io::duplex(4096);
        let mut gate = MessageGate::new(server, BytesMut::new(), GateLimits::default());
        let control = gate.control();
        client.write_all(upgrade).await.unwrap();
        client.write_all(b"GET \0").await.unwrap();
        let mut seen = vec![0; upgrade.len()];
        gate.read_exact(&mut seen).await.unwrap();
        let mut next = [0; 5];
        let mut cx = Context::from_waker(Waker::noop());
        let mut out = ReadBuf::new(&mut next);
        assert!(Pin::new(&mut gate).poll_read(&mut cx, &mut out).is_pending());
        if tunnel {
            control.pass_through();
            gate.read_exact(&mut next).await.unwrap();
            assert_eq!(&next, b"GET \0");
        } else {
            control.continue_parsing();
            drop(client);
            assert_eq!(gate.read(&mut next).await.unwrap(), 0);
            assert_eq!(control.refused(), Some(GateRefusal::Incomplete));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_a_stalled_body_and_silence_end_in_time() {
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n";
    for (sent, seconds, refusal) in [
        ("", 75, None),
        ("GET", 10, Some(GateRefusal::HeadTimeout)),
        (post, 60, Some(GateRefusal::BodyTimeout)),
    ] {
        let (mut client, server) = tokio::io::duplex(4096);
        let mut gate = MessageGate::new(server, BytesMut::new(), GateLimits::default());
        client.write_all(sent.as_bytes()).await.unwrap();
        let begun = Instant::now();
        gate.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), seconds, "{sent:?}");
        assert_eq!(gate.control().refused(), refusal);
        drop(client);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dribbled_head_gets_no_more_time_than_a_silent_one() {
    let (mut client, server) = tokio::io::duplex(4096);
    let mut gate = MessageGate::new(server, BytesMut::new(), GateLimits::default());
    let begun = Instant::now();
    let dribble = async {
        loop {
            if client.write_all(b"G").await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    };
    let mut seen = Vec::new();
    tokio::select! { () = dribble => {}, end = gate.read_to_end(&mut seen) => { end.unwrap(); } }
    assert_eq!(gate.control().refused(), Some(GateRefusal::HeadTimeout));
    assert!(begun.elapsed() < Duration::from_secs(11));
}

#[tokio::test]
async fn a_reply_that_has_begun_is_known_and_a_continue_is_none() {
    let (_client, server) = tokio::io::duplex(4096);
    let mut gate = MessageGate::new(server, BytesMut::new(), GateLimits::default());
    gate.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
    assert!(!gate.replied());
    let written = gate.write_vectored(&[IoSlice::new(b"HTTP/1.1 200 OK\r\n")]).await.unwrap();
    assert_eq!(written, 17);
    assert!(gate.replied());
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
    let hidden = GateRefusal::Connect.reply(GateReasons::Hide, None);
    assert!(!hidden.contains("tamis") && !hidden.contains("http.connect"), "{hidden}");
    let reply = GateRefusal::Connect.reply(GateReasons::Show, None);
    assert!(reply.contains("\r\nx-tamis-reason: http.connect\r\n"), "{reply}");
    assert!(reply.starts_with("HTTP/1.1 501 Not Implemented\r\n"), "{reply}");
    assert!(reply.contains("\r\nconnection: close\r\n"), "{reply}");
}

#[test]
fn where_connect_is_allowed_its_target_and_host_agree() {
    let limits = GateLimits { connect: ConnectMethod::Allow, ..GateLimits::default() };
    let judge = |host: &str| {
        let head = format!("CONNECT a:1 HTTP/1.1\r\nHost: {host}\r\n\r\n");
        head::judge(head.as_bytes(), &limits)
    };
    assert_eq!(judge("A:1"), Ok(head::Framing::Tunnel));
    assert_eq!(judge("b:1"), Err(GateRefusal::HostMismatch));
}

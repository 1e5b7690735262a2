//! Responses that hyper's client may see, and those that it must not.

use super::*;
use crate::turn::TURN_BYTES;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

/// An intake with a request in progress, and the upstream's end.
async fn asked(expectation: Expectation) -> (ResponseIntake<DuplexStream>, DuplexStream) {
    let (near, far) = duplex(1024 * 1024);
    let mut intake = ResponseIntake::new(near, ResponseLimits::default());
    intake.control().expect(expectation);
    intake.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    (intake, far)
}

/// What a reader sees of `response`, sent in pieces of `piece` bytes and then ended.
async fn read(
    expectation: Expectation,
    response: &[u8],
    piece: usize,
) -> (Vec<u8>, Option<ResponseRefusal>) {
    let (mut intake, mut far) = asked(expectation).await;
    let (mut seen, mut octets) = (Vec::new(), [0; 700]);
    let mut pieces = response.chunks(piece);
    loop {
        match pieces.next() {
            Some(piece) => far.write_all(piece).await.unwrap(),
            None => far.shutdown().await.unwrap_or_default(),
        }
        loop {
            let read = std::pin::pin!(intake.read(&mut octets));
            match futures_util::poll!(read) {
                Poll::Pending => {
                    // So that the runtime lets it go on.
                    tokio::task::yield_now().await;
                    break;
                }
                Poll::Ready(Ok(0)) => return (seen, None),
                Poll::Ready(Ok(count)) => seen.extend_from_slice(&octets[..count]),
                Poll::Ready(Err(error)) => {
                    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                    let inner = error.into_inner().unwrap();
                    return (seen, Some(*inner.downcast::<ResponseRefusal>().unwrap()));
                }
            }
        }
    }
}

/// Responses that can be read in one way.
pub(crate) fn readable() -> Vec<(Expectation, String)> {
    use Expectation::{Connect, Content, Head, Switch};
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n{}", "x".repeat(9000));
    let responses = [
        (Content, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        (Content, "HTTP/1.0 200\r\n\r\nall to the end\r\n\r\nHTTP/1.1 x"),
        (Content, "HTTP/1.1 599 \r\nX: \té\r\n\r\n"),
        (
            Content,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            Content,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
        ),
        (Content, "HTTP/1.1 204 No\r\n\r\n"),
        (Content, "HTTP/1.1 304 Not\r\ncontent-length: 12345\r\n\r\n"),
        (Head, "HTTP/1.1 200 OK\r\ncontent-length: 12345\r\n\r\n"),
        (Head, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        (Connect, "HTTP/1.1 200 OK\r\n\r\nanything\n\0"),
        (Switch, "HTTP/1.1 101 Go\r\nupgrade: echo\r\n\r\nanything\n\0"),
        (Switch, "HTTP/1.1 400 No\r\ncontent-length: 2\r\n\r\nno"),
        (Content, &*long),
    ];
    responses.map(|(expectation, response)| (expectation, response.to_owned())).into()
}

#[tokio::test]
async fn what_can_be_read_in_one_way_passes_unchanged_however_it_is_cut() {
    for (expectation, response) in readable() {
        for piece in [1, 2, 7, 64, 5000, usize::MAX] {
            let (seen, refused) = read(expectation, response.as_bytes(), piece).await;
            assert_eq!(refused, None, "{response:?} in pieces of {piece}");
            assert_eq!(seen, response.as_bytes(), "in pieces of {piece}");
        }
    }
}

/// Responses over a budget, or read in two ways, and the rule they break.
pub(crate) fn refused() -> Vec<(String, ResponseRefusal)> {
    use ResponseRefusal as R;
    let fields = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(count));
    let interim = |status: u16| format!("HTTP/1.1 {status} x\r\n\r\n").repeat(33);
    let chunked =
        |rest: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{rest}");
    let plain = |line: &str| format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n");
    vec![
        (interim(100), R::TooManyInterim),
        (interim(102), R::TooManyInterim),
        (interim(103), R::TooManyInterim),
        (interim(199), R::TooManyInterim),
        (format!("HTTP/1.1 103 x\r\na: {}\r\n\r\n", "x".repeat(30_000)).repeat(3), R::HeadTooLarge),
        (chunked(&"0".repeat(300)), R::Chunk),
        (chunked("0000000000000000\r\n\r\n"), R::Chunk),
        (chunked("0000000000000001\r\nx\r\n"), R::Chunk),
        (chunked(&format!("1;{}\r\nx\r\n", "e".repeat(300))), R::Chunk),
        (chunked("1\nx\r\n"), R::Chunk),
        (chunked("-1\r\nx\r\n"), R::Chunk),
        (chunked("1\r\nxx\r\n"), R::Chunk),
        (chunked(&format!("0\r\n{}\r\n", "a: b\r\n".repeat(33))), R::Trailer),
        (chunked(&format!("0\r\na: {}\r\n\r\n", "x".repeat(9_000))), R::Trailer),
        (chunked("0\r\ncontent-length: 3\r\n\r\n"), R::Trailer),
        (chunked("0\r\na : b\r\n\r\n"), R::Trailer),
        (fields(101), R::TooManyFields),
        (fields(120), R::TooManyFields),
        (plain(&format!("a: {}", "x".repeat(70_000))), R::HeadTooLarge),
        (format!("HTTP/1.1 200 {}", "x".repeat(70_000)), R::HeadTooLarge),
        // Another protocol, which may never send the end of a line.
        ("ok".into(), R::StatusLine),
        ("HTTP/2".into(), R::StatusLine),
        ("http/1.1 200 OK\r\n\r\n".into(), R::StatusLine),
        ("\0\0\u{12}\u{4}\0\0\0\0\0".into(), R::StatusLine),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n".into(), R::StatusLine),
        (plain("a: b\r\n c"), R::FieldName),
        (plain("a : b"), R::FieldName),
        (plain(": b"), R::FieldName),
        (plain("a: b\0"), R::FieldValue),
        (plain("content-length: 2\r\ncontent-length: 2"), R::ContentLength),
        (plain("content-length: 2\r\ncontent-length: 3"), R::ContentLength),
        (plain("content-length: 2, 2"), R::ContentLength),
        (plain("content-length: +2"), R::ContentLength),
        (plain("content-length: -2"), R::ContentLength),
        (plain("content-length:"), R::ContentLength),
        (plain("content-length: 99999999999999999999"), R::ContentLength),
        (plain("content_length: 2"), R::LookAlike),
        (plain("transfer_encoding: chunked"), R::LookAlike),
        (plain("content-length: 100\r\ntransfer-encoding: chunked"), R::BothLengths),
        (plain("transfer-encoding: chunked\r\ncontent-length: 1"), R::BothLengths),
        (plain("transfer-encoding: gzip, chunked"), R::TransferEncoding),
        (plain("transfer-encoding: identity"), R::TransferEncoding),
        (plain("transfer-encoding: chunked\r\ntransfer-encoding: chunked"), R::TransferEncoding),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".into(), R::TransferEncoding),
        ("HTTP/1.1 200 OK\na: b\n\n".into(), R::LineEnd),
        ("HTTP/1.1 101 Go\r\nupgrade: echo\r\n\r\n".into(), R::Switched),
        ("HTTP/2.0 200 OK\r\n\r\n".into(), R::StatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n".into(), R::StatusLine),
        ("HTTP/1.1 2000\r\n\r\n".into(), R::StatusLine),
        ("HTTP/1.1 099 x\r\n\r\n".into(), R::StatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n".into(), R::StatusLine),
        ("HTTP/1.1 200 \0\r\n\r\n".into(), R::StatusLine),
        ("SSH-2.0-OpenSSH_9.9\r\n".into(), R::StatusLine),
    ]
}

#[tokio::test]
async fn what_is_over_a_budget_or_read_in_two_ways_is_refused_however_it_is_cut() {
    for (response, refusal) in refused() {
        for piece in [1, 7, 5000, usize::MAX] {
            let (seen, refused) = read(Expectation::Content, response.as_bytes(), piece).await;
            let start: String = response.chars().take(80).collect();
            assert_eq!(refused, Some(refusal), "{start:?} in pieces of {piece}");
            if piece == usize::MAX && response.len() < 700 {
                assert!(
                    seen.is_empty(),
                    "{start:?}: the head was shown before the rest was judged"
                );
            }
        }
    }
}

#[tokio::test]
async fn bytes_nobody_asked_for_end_the_connection_and_not_the_response_before_them() {
    for (expectation, response, whole) in [
        (Expectation::Head, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 38),
        (Expectation::Content, "HTTP/1.1 204 No\r\n\r\nok", 19),
        (Expectation::Content, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok\r\n", 40),
    ] {
        for piece in [1, usize::MAX] {
            let (seen, refused) = read(expectation, response.as_bytes(), piece).await;
            assert_eq!(seen, &response.as_bytes()[..whole], "{response:?}");
            assert_eq!(refused, Some(ResponseRefusal::Unasked), "{response:?}");
        }
    }
    let (near, mut far) = duplex(64);
    let mut intake = ResponseIntake::new(near, ResponseLimits::default());
    far.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    assert!(intake.read_u8().await.is_err(), "a response before any request");
}

#[tokio::test]
async fn a_flood_yields_to_others_after_a_turn() {
    let (mut intake, mut far) = asked(Expectation::Content).await;
    far.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    far.write_all(&vec![0; 3 * TURN_BYTES]).await.unwrap();
    let mut octets = vec![0; 16 * 1024];
    let mut turns = vec![0];
    loop {
        let read = std::pin::pin!(intake.read(&mut octets));
        match futures_util::poll!(read) {
            Poll::Ready(Ok(count)) => *turns.last_mut().unwrap() += count,
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending if turns.len() == 4 => break,
            Poll::Pending => {
                turns.push(0);
                tokio::task::yield_now().await;
            }
        }
    }
    assert!(turns.iter().all(|turn| *turn <= TURN_BYTES + octets.len()), "{turns:?}");
    assert_eq!(turns.iter().sum::<usize>(), 3 * TURN_BYTES + 19);
}

/// A stream whose writes fail and whose reads return a response.
struct UnwritableStream(&'static [u8]);

impl AsyncRead for UnwritableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (now, rest) = self.0.split_at(self.0.len().min(out.remaining()));
        out.put_slice(now);
        self.0 = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UnwritableStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_is_reported_once_the_answer_was_read() {
    for (answer, whole) in [
        ("HTTP/1.1 413 x\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig", true),
        ("HTTP/1.1 413 x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nbig\r\n0\r\n\r\n", true),
        ("HTTP/1.1 204 x\r\n\r\n", true),
        ("", false),
        ("HTTP/1.1 200 OK\r\n\r\nto the end", false),
    ] {
        let mut intake =
            ResponseIntake::new(UnwritableStream(answer.as_bytes()), ResponseLimits::default());
        intake.control().expect(Expectation::Content);
        assert!(futures_util::poll!(std::pin::pin!(intake.write(b"POST /"))).is_pending());
        assert!(futures_util::poll!(std::pin::pin!(intake.flush())).is_pending());
        if !answer.is_empty() {
            let mut seen = vec![0; answer.len()];
            intake.read_exact(&mut seen).await.unwrap();
            assert_eq!(seen, answer.as_bytes());
            // What was read may not be parsed yet; whoever has parsed it asks for more.
            match futures_util::poll!(std::pin::pin!(intake.write(b"more"))) {
                Poll::Pending => assert!(!whole, "{answer:?}"),
                Poll::Ready(written) => assert_eq!((written.unwrap(), whole), (4, true)),
            }
        }
        if whole {
            // The rest of that request may go nowhere, the next request may not.
            intake.control().expect(Expectation::Content);
            assert!(intake.write(b"POST /").await.is_err(), "{answer:?}");
        }
        assert_eq!(intake.read(&mut [0; 8]).await.unwrap(), 0);
        let failed = intake.write(b"more").await.unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::BrokenPipe);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_is_reported_though_nobody_reads_the_answer() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbig";
    let mut intake = ResponseIntake::new(UnwritableStream(answer), ResponseLimits::default());
    intake.control().expect(Expectation::Content);
    let failed = tokio::time::timeout(HELD_MAX * 2, intake.write(b"POST /")).await.unwrap();
    assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

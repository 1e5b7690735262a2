use super::super::testing::{PAY, Step, TestAgent, TestDomain, framed, message};
use super::*;

/// What the stream says after one step of an agent.
async fn after(step: Step) -> String {
    let folder = tempfile::tempdir().unwrap();
    let agent = TestAgent::start(folder.path());
    agent.does(step);
    let read = async { AgentStream::open(&agent.socket).await?.next().await };
    let error = read.await.unwrap_err();
    format!("{} {error}", if error.is_final() { "final" } else { "again" })
}

#[tokio::test]
async fn each_end_of_a_stream_has_its_reason_and_its_way_out() {
    let too_long = [&[0][..], &0x10_0001_u32.to_be_bytes()].concat();
    const GRPC: (&str, &str) = ("content-type", "application/grpc");
    for (what, step, parts) in [
        (
            "a status",
            Step::Status("7", "no%20identity%07 issued"),
            ["again", "no identity issued; register"],
        ),
        ("unavailable", Step::Status("14", ""), ["again", "it ended the stream"]),
        ("a regular end", Step::Status("0", ""), ["again", "it ended the stream"]),
        ("no method", Step::Status("12", "unknown service"), ["final", "name the socket"]),
        ("another status", Step::Status("13", "x"), ["again", "see the agent's log"]),
        ("no number", Step::Status("seven", "x"), ["again", "without a status"]),
        ("no status", Step::End, ["again", "without a status"]),
        (
            "the missing field",
            Step::Head(200, &[GRPC, ("grpc-status", "3")]),
            ["final", "name the socket"],
        ),
        ("a web server", Step::Head(404, &[]), ["again", "status 404"]),
        ("a page", Step::Head(200, &[("content-type", "text/html")]), ["again", "no gRPC"]),
        ("compressed", Step::Octets(vec![1, 0, 0, 0, 0]), ["again", "compressed"]),
        ("oversize", Step::Octets(too_long), ["again", "1048577 bytes, and 1048576"]),
        ("no message", Step::Octets(framed(b"\x0a\x05x")), ["again", "X509SVIDResponse"]),
    ] {
        let text = after(step).await;
        parts.iter().for_each(|part| assert!(text.contains(part), "{what}: {part}: {text}"));
    }
}

#[tokio::test]
async fn messages_arrive_whole_however_they_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    let agent = TestAgent::start(folder.path());
    let shop = TestDomain::new("shop.example");
    let (one, two) = (message(&[shop.entry(PAY)]), message(&[]));
    let Step::Octets(mut octets) = Step::message(&one) else { unreachable!() };
    octets.extend(framed(b""));
    let at = octets.len() / 3;
    for part in [&octets[..1], &octets[1..5], &octets[5..at], &octets[at..]] {
        agent.does(Step::Octets(part.to_vec()));
    }
    let mut stream = AgentStream::open(&agent.socket).await.unwrap();
    assert_eq!(stream.next().await.unwrap(), one);
    assert_eq!(stream.next().await.unwrap(), two);
}

#[tokio::test]
async fn a_socket_without_an_agent_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sock");
    let socket: AgentSocket = format!("unix://{}", path.display()).parse().unwrap();
    let text = AgentStream::open(&socket).await.err().unwrap().to_string();
    assert!(text.contains("agent.sock") && text.contains("No such file"), "{text}");
    // Somebody else's socket: octets that are no HTTP/2.
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let answer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-x\r\n").await.unwrap();
        stream
    };
    let (opened, _kept) = tokio::join!(AgentStream::open(&socket), answer);
    assert!(matches!(opened.err().unwrap(), WorkloadError::Unreachable { .. }));
}

//! What each first octet means, and the decision about the rest.

use super::*;
use ReceivedAnswer::{Answered, Missing, Unclear};
use TcpAnswer::{Opened, Refused, Unavailable};

/// The answer of a peer that sends these octets, and the octets of it that were read.
async fn heard(octets: &[u8]) -> (Option<ReceivedAnswer>, io::Result<Vec<u8>>) {
    let answer = PeerAnswer::default();
    let mut stream = AnsweredStream::new(octets, answer.clone());
    assert_eq!(answer.received(), None);
    let mut rest = Vec::new();
    let read = stream.read_to_end(&mut rest).await;
    let again = stream.read_to_end(&mut Vec::new()).await;
    assert_eq!(read.is_ok(), again.is_ok(), "a connection that is not opened never is");
    (answer.received(), read.map(|_| rest))
}

#[tokio::test]
async fn the_first_octet_is_the_answer_and_only_one_of_them_opens() {
    for octet in 0..=u8::MAX {
        let (answer, read) = heard(&[octet, b'a', 0, 1]).await;
        let wanted = match octet {
            0 => Answered(Opened),
            1 => Answered(Refused),
            2 => Answered(Unavailable),
            _ => Unclear,
        };
        assert_eq!(answer, Some(wanted), "{octet}");
        match octet {
            0 => assert_eq!(read.unwrap(), [b'a', 0, 1]),
            _ => assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionRefused, "{octet}"),
        }
    }
    let (answer, read) = heard(&[]).await;
    assert_eq!((answer, read.is_err()), (Some(Missing), true));
}

#[tokio::test]
async fn nothing_is_taken_of_a_peer_that_is_the_service_itself() {
    let mut stream = AnsweredStream::new(&[1, 2][..], PeerAnswer::opened());
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets).await.unwrap();
    assert_eq!(octets, [1, 2]);
}

#[tokio::test]
async fn each_answer_is_heard_as_it_was_sent_and_the_last_one_ends_the_connection() {
    for sent in [Opened, Refused, Unavailable] {
        let (mut near, far) = tokio::io::duplex(64);
        sent.send(&mut near).await.unwrap();
        let answer = PeerAnswer::default();
        let mut far = AnsweredStream::new(far, answer.clone());
        near.write_all(b"x").await.unwrap();
        let read = far.read_u8().await;
        assert_eq!((answer.received(), read.is_ok()), (Some(Answered(sent)), sent == Opened));
    }
}

#[tokio::test(start_paused = true)]
async fn a_last_answer_arrives_at_a_peer_that_still_sends_and_waits_for_none_that_does_not_end() {
    let (near, mut far) = tokio::io::duplex(16);
    let clock = tokio::time::Instant::now();
    let sent = tokio::spawn(Refused.send_last(near));
    // More than fits: it is read while the answer is sent.
    far.write_all(&[7; 1000]).await.unwrap();
    assert_eq!(far.read_u8().await.unwrap(), Refused.octet());
    assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0, "nothing follows");
    sent.await.unwrap();
    assert!(clock.elapsed() <= Duration::from_secs(2));
}

//! How long a tunnel lives, and what its record says of its end.

use super::live::LiveProxy;
use super::*;
use crate::tunnel::{IDLE, copy, ending};
use std::future::pending;
use std::io;
use std::time::Duration;
use tamis_exchange::Outcome;
use tamis_transport::{CarryEnd, ListenerStage, PeerAnswer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn a_silent_tunnel_ends_and_one_that_is_used_lives() {
    let pause = IDLE / 4 * 3;
    // Words of the client, then words of the upstream, with a pause before each.
    for (sent, received) in [(0, 0), (1, 0), (0, 1), (3, 3)] {
        let world = worker(vec![], ChainLayout::default());
        let (mut client, near) = tokio::io::duplex(64);
        let (far, mut upstream) = tokio::io::duplex(64);
        let (_stage, mut shutdown) = watch::channel(ListenerStage::Serve);
        let began = Instant::now();
        let talk = async {
            let mut word = [0; 4];
            for _ in 0..sent {
                sleep(pause).await;
                client.write_all(b"ping").await.unwrap();
                upstream.read_exact(&mut word).await.unwrap();
            }
            for _ in 0..received {
                sleep(pause).await;
                upstream.write_all(b"pong").await.unwrap();
                client.read_exact(&mut word).await.unwrap();
            }
            assert_eq!(client.read(&mut word).await.unwrap(), 0, "then it is closed");
        };
        let opened = PeerAnswer::opened();
        tokio::join!(
            copy(near, far, world.exchange("/"), (&opened, pending()), &mut shutdown),
            talk
        );
        let silent = began.elapsed() - pause * (sent + received);
        // Somebody looks eight times in that time, and the last word falls between two looks.
        let longest = IDLE + IDLE / 4 + Duration::from_secs(1);
        assert!(silent >= IDLE && silent <= longest, "{sent} and {received}: {silent:?}");
    }
}

#[test]
fn the_record_of_a_tunnel_says_why_it_ended() {
    let broken = CarryEnd::Broken(io::ErrorKind::ConnectionReset.into());
    for (end, wanted) in [
        (Some(CarryEnd::Done), (None, Outcome::default())),
        (Some(CarryEnd::Idle), (Some("tunnel.idle"), Outcome::TIMED_OUT)),
        (Some(broken), (None, Outcome::RESET)),
        (None, (None, Outcome::RESET)),
    ] {
        assert_eq!(ending(end), wanted);
    }
}

#[test]
fn no_tunnel_opens_where_a_filter_sets_another_status() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut octets = [0; 4096];
            // The request is in one piece.
            let _ = stream.read(&mut octets);
            let switched = "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
            let _ = stream.write_all(switched.as_bytes());
        }
    });
    for (config, status) in [
        (json!({ "writes": [":status"] }), "HTTP/1.1 101 "),
        (json!({ "writes": [":status"], "response_status": 403 }), "HTTP/1.1 501 "),
        (json!({ "writes": [":status"], "response_status": 200 }), "HTTP/1.1 501 "),
    ] {
        let router = Attachment { name: "test/router".into(), ..router(&[("/", "ns/all/0")]) };
        let filters = vec![attached(&config, None, OnFailure::Closed), router];
        let live = LiveProxy::before(upstream, filters, ProxyOptions::default());
        let mut stream = live.connect();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let asked = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(asked.as_bytes()).unwrap();
        let mut head = vec![0; status.len()];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(String::from_utf8_lossy(&head), status, "{config}");
    }
}

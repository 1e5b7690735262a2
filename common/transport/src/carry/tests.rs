use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

const LONG: Duration = Duration::from_secs(3600);

/// The two outer ends of a carried connection, and how it ended.
async fn through<T>(
    idle: Duration,
    buffer: usize,
    both: impl AsyncFnOnce(DuplexStream, DuplexStream) -> T,
) -> (T, CarryEnd, (u64, u64)) {
    let ((client, one), (other, server)) = (duplex(buffer), duplex(buffer));
    let (carried, noted) = (CarriedOctets::default(), Cell::new((0, 0)));
    let note = |sent, received| noted.set((noted.get().0 + sent, noted.get().1 + received));
    let (said, end) = tokio::join!(both(client, server), carry(one, other, idle, &carried, note));
    assert_eq!(
        noted.get(),
        (carried.sent(), carried.received()),
        "what is told is what was carried"
    );
    (said, end, noted.get())
}

#[tokio::test]
async fn each_side_may_close_while_the_other_still_sends() {
    let (said, end, octets) = through(LONG, 1024, async |mut client, mut server| {
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut asked = String::new();
        server.read_to_string(&mut asked).await.unwrap();
        server.write_all(b"an answer after the end of the question").await.unwrap();
        server.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        (asked, answer)
    })
    .await;
    assert_eq!(said.0, "question");
    assert_eq!(said.1, "an answer after the end of the question");
    assert!(matches!(end, CarryEnd::Done), "{end:?}");
    assert_eq!(octets, (8, 39));
}

#[tokio::test]
async fn every_octet_arrives_in_its_order_whatever_the_sizes_of_pieces() {
    let wanted: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    for (buffer, step) in [(1, 3), (7, 1000), (4096, 65536), (200_000, 1 << 20)] {
        let take = wanted.len().min(buffer * 20_000);
        let wanted = &wanted[..take];
        let (arrived, end, octets) = through(LONG, buffer, async |client, server| {
            let (mut client_reads, mut client) = tokio::io::split(client);
            let (mut server_reads, mut server) = tokio::io::split(server);
            let up = async {
                for piece in wanted.chunks(step) {
                    client.write_all(piece).await.unwrap();
                }
                client.shutdown().await.unwrap();
            };
            let down = async {
                for piece in wanted.chunks(step) {
                    server.write_all(piece).await.unwrap();
                }
                server.shutdown().await.unwrap();
            };
            let (mut here, mut there) = (Vec::new(), Vec::new());
            let (_, _, one, other) = tokio::join!(
                up,
                down,
                client_reads.read_to_end(&mut here),
                server_reads.read_to_end(&mut there)
            );
            one.unwrap();
            other.unwrap();
            here == wanted && there == wanted
        })
        .await;
        assert!(arrived, "buffer {buffer}, step {step}");
        assert!(matches!(end, CarryEnd::Done), "{end:?}");
        assert_eq!(octets, (take as u64, take as u64));
    }
}

#[tokio::test]
async fn a_reader_that_does_not_read_stops_its_writer() {
    let (written, _, octets) = through(LONG, 1024, async |mut client, server| {
        let mut written = 0_usize;
        // Everything that can be on the way: both pipes and one piece.
        let all = async {
            loop {
                client.write_all(&[7; 1024]).await.unwrap();
                written += 1024;
            }
        };
        let stopped = tokio::time::timeout(Duration::from_millis(200), all).await;
        assert!(stopped.is_err());
        drop(server);
        written
    })
    .await;
    assert!(written <= 2 * 1024 + PIECE, "{written}");
    assert!(octets.0 <= 1024, "{octets:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_ends_and_one_that_speaks_now_and_then_does_not() {
    let idle = Duration::from_secs(8);
    let (_, end, octets) = through(idle, 64, async |mut client, mut server| {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(7)).await;
            client.write_all(b".").await.unwrap();
            let mut octet = [0];
            server.read_exact(&mut octet).await.unwrap();
        }
        let mut rest = Vec::new();
        tokio::time::timeout(Duration::from_secs(10), client.read_to_end(&mut rest)).await.unwrap()
    })
    .await;
    assert!(matches!(end, CarryEnd::Idle), "{end:?}");
    assert_eq!(octets, (5, 0));
}

#[tokio::test]
async fn a_connection_that_breaks_ends_the_other() {
    let (rest, end, _) = through(LONG, 64, async |client, mut server| {
        drop(client);
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.unwrap();
        // What is written to somebody who left breaks.
        server.write_all(&[1; 1024]).await.is_err()
    })
    .await;
    assert!(rest);
    assert!(matches!(end, CarryEnd::Broken(_)), "{end:?}");
}

#[tokio::test]
async fn a_connection_on_which_nothing_waits_holds_no_room() {
    let way = CopyDirection::default();
    assert_eq!(way.waiting.capacity(), 0);
    assert!(size_of::<CopyDirection>() <= 64, "{}", size_of::<CopyDirection>());
}

/// A side that always has something to send, and takes everything.
struct Endless;

impl AsyncRead for Endless {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = out.remaining();
        out.initialize_unfilled().fill(1);
        out.advance(room);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn two_sides_that_are_always_ready_let_others_have_their_turn() {
    const LOOKS: u64 = 50;
    let carried = CarriedOctets::default();
    let others = async {
        for _ in 0..LOOKS {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        end = carry(Endless, Endless, LONG, &carried, |_, _| ()) => panic!("{end:?}"),
        () = others => {}
    }
    // A turn of each direction for each look, and the piece that was over it.
    let most = (LOOKS + 2) * 4 * PIECE as u64;
    let both = carried.sent() + carried.received();
    assert!(both > 0 && both <= most, "{both} octets in {LOOKS} looks");
}

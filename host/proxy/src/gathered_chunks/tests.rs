use super::*;
use http::HeaderMap;
use http_body_util::{BodyExt as _, StreamBody};

/// What a body is shown as: its content, its chunks, whether trailers came, and how it broke.
struct Shown {
    content: Vec<u8>,
    chunks: usize,
    trailers: bool,
    broke: bool,
}

async fn shown(mut body: Body) -> Shown {
    let mut shown = Shown { content: Vec::new(), chunks: 0, trailers: false, broke: false };
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => {
                shown.content.extend_from_slice(&data);
                shown.chunks += 1;
            }
            Ok(Err(_)) => shown.trailers = true,
            Err(_) => shown.broke = true,
        }
    }
    shown
}

fn content(octets: usize) -> Vec<u8> {
    (0..octets).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// Chunks of that length, one after another with that pause.
fn sent(octets: usize, chunk: usize, pause: Duration, broken: bool) -> Body {
    let (send, body) = Body::channel(1);
    tokio::spawn(async move {
        for piece in content(octets).chunks(chunk) {
            if send.send(Ok(Frame::data(Bytes::copy_from_slice(piece)))).await.is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
        let end = match broken {
            true => Err(BodyError::Ended("a test")),
            false => Ok(Frame::trailers(HeaderMap::new())),
        };
        let _ = send.send(end).await;
    });
    body
}

#[tokio::test(start_paused = true)]
async fn the_octets_of_the_head_that_are_shown_with_chunks_follow_the_body_or_the_time() {
    let (none, milli) = (Duration::ZERO, Duration::from_millis(1));
    for (views, octets, chunk, pause) in [
        (5_000, 20_000, 1, none),
        (58_000, 20_000, 1, none),
        (256_000, 20_000, 1, none),
        (1_000_000, 20_000, 1, none),
        (58_000, 20_000, 1, milli),
        (256_000, 20_000, 1, milli),
        (58_000, 20_000, 7, milli),
        (58_000, 600_000, 300, none),
        (5_000, 600_000, 5_000, none),
        (58_000, 600_000, 200_000, none),
    ] {
        for broken in [false, true] {
            let case = format!("{views} of the head, {octets} in chunks of {chunk}, {pause:?}");
            let began = Instant::now();
            let body = GatheredChunks::new(sent(octets, chunk, pause, broken), views);
            let all = shown(Body::stream(body)).await;
            assert_eq!(all.content, content(octets), "{case}");
            assert_eq!((all.trailers, all.broke), (!broken, broken), "{case}");
            // Large chunks are shown as they come, each with the whole view.
            let large = octets.div_ceil(views.min(CHUNK_ENOUGH));
            let time = began.elapsed().as_millis() * PER_SECOND as u128 / 1_000;
            let most = large as u128 * views as u128
                + time * (views as u128).div_ceil(BURST as u128)
                + 2 * (views.max(BURST)) as u128;
            let octets_shown = all.chunks as u128 * views as u128;
            assert!(octets_shown <= most, "{case}: {} chunks", all.chunks);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_arrived_is_shown_at_once_and_a_quiet_stream_never_waits() {
    let frames = content(10_000).into_iter().map(|one| Ok(Frame::data(Bytes::from(vec![one]))));
    let body = Body::stream(StreamBody::new(futures_util::stream::iter(frames)));
    let all = shown(Body::stream(GatheredChunks::new(body, 58_000))).await;
    assert_eq!((all.content, all.chunks), (content(10_000), 1));
    // One message of ten octets each 50 ms, for a minute: each is shown in the same moment.
    let pause = Duration::from_millis(50);
    let mut body = Body::stream(GatheredChunks::new(sent(12_000, 10, pause, false), 58_000));
    let began = Instant::now();
    for message in 0..1_200 {
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap().len(), 10, "{message}");
        assert_eq!(began.elapsed(), pause * message, "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_messages_is_shown_soon() {
    // Ten octets at a time, as fast as they can be sent, of a stream that then stays open.
    let (send, body) = Body::channel(1);
    let mut body = Body::stream(GatheredChunks::new(body, 58_000));
    let began = Instant::now();
    let sender = tokio::spawn(async move {
        for _ in 0..100 {
            send.send(Ok(Frame::data(Bytes::from_static(b"0123456789")))).await.unwrap();
        }
        send
    });
    let mut arrived = 0;
    while arrived < 1_000 {
        arrived += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
    assert!(began.elapsed() < Duration::from_millis(50), "{:?}", began.elapsed());
    drop(sender.await.unwrap());
    assert!(body.frame().await.is_none());
    assert!(body.frame().await.is_none());
}

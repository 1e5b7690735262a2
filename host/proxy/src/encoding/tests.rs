//! Bodies that are encoded in pieces, and decoded again.

use super::*;
use crate::body_budget::BodySender;
use http::HeaderMap;
use proptest::prelude::*;
use std::future::poll_fn;
use std::io::Read as _;

/// What the source of a body does next.
#[derive(Debug, Clone)]
enum Step {
    Data(Vec<u8>),
    /// Nothing has arrived.
    Wait,
    Trailers,
}

fn encoding(coding: ContentCoding, encodings: &Arc<Encodings>) -> Encoding {
    let room = encodings.take(coding, BodySender::default()).unwrap();
    let turns = LongCallTurns::new(crate::ProxyOptions::default().clock);
    Encoding::new(coding, room, encodings, turns).unwrap()
}

/// What a decoder makes of all that came so far.
fn decoded(coding: ContentCoding, octets: &[u8]) -> Vec<u8> {
    let mut decoder: Box<dyn io::Read + '_> = match coding {
        ContentCoding::Gzip => Box::new(flate2::read::GzDecoder::new(octets)),
        ContentCoding::Brotli => Box::new(brotli::Decompressor::new(octets, 4_096)),
        ContentCoding::Zstd => Box::new(zstd::stream::read::Decoder::new(octets).unwrap()),
    };
    let (mut whole, mut buffer) = (Vec::new(), [0; 4_096]);
    // Where the octets end too early, what came before counts.
    while let Ok(count @ 1..) = decoder.read(&mut buffer) {
        whole.extend_from_slice(&buffer[..count]);
    }
    whole
}

/// The frames of a body with these steps, and how often the worker could do something else meanwhile.
struct Sent {
    octets: Vec<u8>,
    /// How much there was at each wait of the source.
    at_waits: Vec<usize>,
    trailers: Option<HeaderMap>,
    yields: usize,
}

fn send(encoding: &mut Encoding, steps: Vec<Step>) -> Sent {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut steps = steps.into_iter().peekable();
    let mut sent = Sent { octets: Vec::new(), at_waits: Vec::new(), trailers: None, yields: 0 };
    loop {
        let yields = &mut sent.yields;
        let frame = runtime.block_on(poll_fn(|cx| {
            let mut waits = false;
            let polled = encoding.poll_frame(cx, |_| match steps.peek().cloned() {
                Some(Step::Wait) => {
                    waits = true;
                    Poll::Pending
                }
                Some(Step::Data(octets)) => {
                    steps.next();
                    Poll::Ready(Some(Ok(Frame::data(octets.into()))))
                }
                Some(Step::Trailers) => {
                    steps.next();
                    let mut trailers = HeaderMap::new();
                    trailers.insert("content-digest", "sha-256=:x:".parse().unwrap());
                    trailers.insert("x-sum", "1".parse().unwrap());
                    Poll::Ready(Some(Ok(Frame::trailers(trailers))))
                }
                None => Poll::Ready(None),
            });
            match polled {
                Poll::Pending if waits => Poll::Ready(None),
                Poll::Pending => {
                    *yields += 1;
                    Poll::Pending
                }
                Poll::Ready(frame) => Poll::Ready(Some(frame)),
            }
        }));
        match frame {
            None => {
                sent.at_waits.push(sent.octets.len());
                steps.next();
            }
            Some(None) => return sent,
            Some(Some(frame)) => match frame.unwrap().into_data() {
                Ok(data) => sent.octets.extend_from_slice(&data),
                Err(frame) => sent.trailers = frame.into_trailers().ok(),
            },
        }
    }
}

#[test]
fn a_large_chunk_gives_turns_to_others() {
    let whole = vec![b'x'; 40 * PIECE];
    for coding in ContentCoding::ALL {
        let encodings = Arc::default();
        let mut encoding = encoding(coding, &encodings);
        let sent = send(&mut encoding, vec![Step::Data(whole.clone())]);
        assert!(sent.yields >= 40, "{coding:?}: {}", sent.yields);
        assert!(decoded(coding, &sent.octets) == whole, "{coding:?}");
        assert!(sent.octets.len() < whole.len() / 20, "{coding:?}: {}", sent.octets.len());
        assert!(encoding.is_done());
        let encoded = sent.octets.len() as u64;
        drop(encoding);
        let count = encodings.counts().find(|(one, _)| *one == coding).unwrap().1;
        assert_eq!(count, [1, whole.len() as u64, encoded]);
    }
}

#[test]
fn what_arrived_is_with_the_client_before_more_does() {
    for coding in ContentCoding::ALL {
        let steps = [Step::Data(b"one ".to_vec()), Step::Wait, Step::Data(b"two".to_vec())];
        let steps = [&steps[..], &[Step::Wait, Step::Trailers]].concat();
        let sent = send(&mut encoding(coding, &Arc::default()), steps);
        let [first, second] = sent.at_waits[..] else { panic!("{:?}", sent.at_waits) };
        assert_eq!(decoded(coding, &sent.octets[..first]), b"one ", "{coding:?}");
        assert_eq!(decoded(coding, &sent.octets[..second]), b"one two", "{coding:?}");
        assert_eq!(sent.yields, 0, "small pieces wait for no turn");
        let trailers = sent.trailers.unwrap();
        assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &"1".parse().unwrap()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_body_is_decoded_as_it_was_however_it_arrives(
        steps in proptest::collection::vec(prop_oneof![
            3 => proptest::collection::vec(any::<u8>(), 1..300).prop_map(Step::Data),
            1 => (1_usize..50_000, any::<u8>()).prop_map(|(length, octet)| Step::Data(vec![octet; length])),
            2 => Just(Step::Wait),
        ], 0..12),
    ) {
        let mut whole = Vec::new();
        let mut ends = Vec::new();
        for step in &steps {
            match step {
                Step::Data(octets) => whole.extend_from_slice(octets),
                Step::Wait => ends.push(whole.len()),
                Step::Trailers => {}
            }
        }
        for coding in ContentCoding::ALL {
            let sent = send(&mut encoding(coding, &Arc::default()), steps.clone());
            prop_assert!(decoded(coding, &sent.octets) == whole, "{:?}", coding);
            prop_assert_eq!(sent.at_waits.len(), ends.len());
            for (at, end) in sent.at_waits.iter().zip(&ends) {
                prop_assert!(decoded(coding, &sent.octets[..*at]) == whole[..*end], "{:?}", coding);
            }
        }
    }
}

//! Body hooks, complete and chunk by chunk, in both directions.

use super::*;
use crate::body::HookedBody;
use crate::body_budget::{BodyRoom, BodySender};
use crate::chunk_end::ChunkStop;
use crate::request_body::{show_chunks, show_whole};
use crate::response_body::ResponseBody;
use crate::slot::{ChunkSlot, HeldTrailers, ShownChunk, TrailerSlot};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use proptest::prelude::*;
use tamis_exchange::{Body, BodyError, HeadSide};
use tokio::task::LocalSet;

fn one(config: &Value, failure: OnFailure) -> TestWorker {
    worker(vec![attached(config, None, failure)], ChainLayout::default())
}

/// A body that arrives in these pieces, with trailers.
fn pieces(pieces: &[&[u8]]) -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let frames = pieces.iter().map(|piece| Frame::data(Bytes::copy_from_slice(piece)));
    let frames: Vec<_> =
        frames.chain([Frame::trailers(trailers)]).map(Ok::<_, BodyError>).collect();
    Body::stream(StreamBody::new(futures_util::stream::iter(frames)))
}

/// A response body that these filters see on its way.
fn sent(body: Body, chunks: Vec<ChunkSlot>) -> ResponseBody {
    HookedBody { chunks, ..body.into() }.into()
}

/// Memory of bodies that is enough for all.
fn room() -> BodyRoom {
    BodyRoom::new(&Arc::default(), BodySender::default())
}

async fn read(body: impl http_body::Body<Data = Bytes, Error = BodyError>) -> (String, bool) {
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().is_some_and(|trailers| trailers.contains_key("x-sum"));
    (String::from_utf8(collected.to_bytes().to_vec()).unwrap(), trailers)
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

fn whole(body: &str, limit: u32) -> Value {
    json!({ "body": body, "whole_up_to": limit })
}

const CLOSED: OnFailure = OnFailure::Closed;

#[test]
fn a_whole_body_is_replaced_before_the_head_goes_on() {
    run(async {
        let worker = one(&whole("capitals", 100), CLOSED);
        let mut state = worker.exchange("/");
        state.exchange.headers.insert("content-length", "5".parse().unwrap());
        let body =
            show_whole(&mut state, &worker.slots(&[0]), pieces(&[b"he", b"", b"llo"]), &mut false)
                .await;
        assert_eq!(read(body.ok().unwrap()).await, ("HELLO".to_owned(), true));
        assert!(!state.exchange.headers.contains_key("content-length"), "it no longer holds");
        assert_eq!(state.exchange.headers["trailer"], "x-sum", "HTTP/1.1 sends what is named");
    });
}

#[test]
fn a_body_that_passes_stays_as_it_was() {
    run(async {
        let worker = one(&whole("", 5), CLOSED);
        let mut state = worker.exchange("/");
        state.exchange.headers.insert("content-length", "5".parse().unwrap());
        let body =
            show_whole(&mut state, &worker.slots(&[0]), pieces(&[b"hello"]), &mut false).await;
        assert_eq!(read(body.ok().unwrap()).await, ("hello".to_owned(), true));
        assert!(state.exchange.headers.contains_key("content-length"));
    });
}

#[test]
fn a_body_longer_than_a_filter_judges_is_refused() {
    run(async {
        let worker = one(&whole("", 4), CLOSED);
        let body = show_whole(
            &mut worker.exchange("/"),
            &worker.slots(&[0]),
            pieces(&[b"hel", b"lo"]),
            &mut false,
        )
        .await;
        let refusal = refused(body);
        assert_eq!((refusal.code, refusal.status), ("request.too-large", 413));
    });
}

#[test]
fn the_tightest_limit_of_several_filters_counts() {
    run(async {
        let filters = vec![
            attached(&whole("capitals", 100), None, CLOSED),
            attached(&whole("", 4), None, CLOSED),
        ];
        let worker = worker(filters, ChainLayout::default());
        let body = show_whole(
            &mut worker.exchange("/"),
            &worker.slots(&[0, 1]),
            pieces(&[b"hello"]),
            &mut false,
        )
        .await;
        assert_eq!(refused(body).code, "request.too-large");
        let body = show_whole(
            &mut worker.exchange("/"),
            &worker.slots(&[0, 1]),
            pieces(&[b"hell"]),
            &mut false,
        )
        .await;
        assert_eq!(read(body.ok().unwrap()).await.0, "HELL");
    });
}

#[test]
fn bodies_that_filters_see_whole_share_a_bound_and_give_it_back() {
    run(async {
        let worker = one(&whole("capitals", 100), CLOSED);
        let worker = worker.with_bodies(16);
        let (mut first, mut second) = (worker.exchange("/"), worker.exchange("/"));
        let slots = worker.slots(&[0]);
        // The rest of the first does not come: its part waits in memory.
        let never = futures_util::stream::pending::<Result<Frame<Bytes>, BodyError>>();
        let part = futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(b"hello")))]);
        let stalls = Body::stream(StreamBody::new(part.chain(never)));
        let mut moved = false;
        let mut held = Box::pin(show_whole(&mut first, &slots, stalls, &mut moved));
        assert!(futures_util::poll!(&mut held).is_pending());
        let refusal =
            refused(show_whole(&mut second, &slots, pieces(&[b"four"]), &mut false).await);
        assert_eq!((refusal.code, refusal.status), ("request.no-room", 503));
        let body = show_whole(&mut second, &slots, pieces(&[b"abc"]), &mut false).await;
        assert_eq!(read(body.ok().unwrap()).await.0, "ABC");
        drop(held);
        let body = show_whole(&mut second, &slots, pieces(&[b"eight ok"]), &mut false).await;
        assert_eq!(read(body.ok().unwrap()).await.0, "EIGHT OK");
    });
}

#[test]
fn what_a_filter_writes_shares_the_bound_of_bodies_and_gives_it_back() {
    /// Octets that a filter writes here: more than goes without room.
    const WRITTEN: usize = 5_000;
    let shows = |mode: &'static str, config: &Value| {
        let worker = one(config, CLOSED).with_bodies(15_000);
        run(async {
            let octets = vec![b'a'; WRITTEN];
            let show = async |side: &str| {
                let mut state = worker.exchange("/");
                let (slots, body) = (worker.slots(&[0]), pieces(&[&octets]));
                match (mode, side) {
                    ("whole", _) => match show_whole(&mut state, &slots, body, &mut false).await {
                        Ok(mut body) => {
                            Ok(body.frame().await.unwrap().unwrap().into_data().unwrap())
                        }
                        Err(_) => Err(()),
                    },
                    (_, "request") => {
                        let (mut body, _end) = show_chunks(&mut state, slots, body);
                        let frame = body.frame().await.unwrap().map_err(drop);
                        frame.map(|frame| frame.into_data().unwrap())
                    }
                    _ => {
                        let room = state.body_room();
                        let mut slots =
                            ChunkSlot::of(slots, HeadSide::Response, &state.exchange, &room);
                        match slots[0].show(octets.clone().into(), false) {
                            Ok(ShownChunk::Pass(octets)) => Ok(octets),
                            _ => Err(()),
                        }
                    }
                }
            };
            for side in ["request", "response"] {
                // Half of the room is one client's.
                let kept = show(side).await.unwrap();
                assert_eq!(&kept[..3], b"AAA");
                assert!(show(side).await.is_err(), "{mode} {side}");
                drop(kept);
                assert!(show(side).await.is_ok(), "{mode} {side}");
            }
        });
    };
    shows("whole", &whole("capitals", 10_000));
    shows("chunks", &json!({ "body": "capitals" }));
}

#[test]
fn answers_and_faults_of_whole_bodies() {
    run(async {
        let worker = one(&whole("answer", 100), CLOSED);
        let mut state = worker.exchange("/");
        let body =
            show_whole(&mut state, &worker.slots(&[0]), pieces(&[b"hello"]), &mut false).await;
        assert_eq!(answered(body), (418, Some("walk.body".to_owned())));
        assert_eq!(state.reason.as_deref(), Some("walk.body"));
        let trap = json!({ "trap": true, "whole_up_to": 100 });
        let body = show_whole(
            &mut state,
            &one(&trap, CLOSED).slots(&[0]),
            pieces(&[b"hello"]),
            &mut false,
        )
        .await;
        assert_eq!(refused(body).code, "filter.failed");
        let open = one(&trap, OnFailure::Open);
        let body = show_whole(&mut state, &open.slots(&[0]), pieces(&[b"hello"]), &mut false).await;
        assert_eq!(read(body.ok().unwrap()).await.0, "hello");
    });
}

#[test]
fn chunks_are_shown_on_their_way_and_the_end_once() {
    run(async {
        let worker = one(&json!({ "body": "capitals" }), CLOSED);
        let mut state = worker.exchange("/");
        state.exchange.headers.insert("content-length", "5".parse().unwrap());
        let (body, end) = show_chunks(&mut state, worker.slots(&[0]), pieces(&[b"he", b"llo"]));
        assert_eq!(read(body).await, ("HELLO!".to_owned(), true));
        assert!(end.take().is_none());
        assert!(!state.exchange.headers.contains_key("content-length"));
    });
}

#[test]
fn what_a_filter_swallows_leaves_the_trailers() {
    run(async {
        let worker = one(&json!({ "body": "swallow" }), CLOSED);
        let (body, _) =
            show_chunks(&mut worker.exchange("/"), worker.slots(&[0]), pieces(&[b"he", b"llo"]));
        assert_eq!(read(body).await, (String::new(), true));
    });
}

#[test]
fn an_answer_to_a_chunk_breaks_the_body_off_and_is_kept() {
    run(async {
        let worker = one(&json!({ "body": "answer" }), CLOSED);
        let (body, end) =
            show_chunks(&mut worker.exchange("/"), worker.slots(&[0]), pieces(&[b"hello"]));
        assert!(body.collect().await.is_err());
        let Some(ChunkStop::Answered(answer)) = end.take() else { panic!("none") };
        let (slot, status) = (answer.slot.number, answer.reply.status);
        assert_eq!((slot, status, answer.reason.as_deref()), (0, 418, Some("walk.body")));
    });
}

#[test]
fn a_fault_on_a_chunk_is_treated_as_its_attachment_says() {
    run(async {
        let trap = json!({ "trap": true });
        let worker = one(&trap, CLOSED);
        let mut state = worker.exchange("/");
        let (body, end) = show_chunks(&mut state, worker.slots(&[0]), pieces(&[b"a"]));
        assert!(body.collect().await.is_err());
        let ExchangeStop::Refused(refusal) = end.take().unwrap().into_stop(&mut state) else {
            panic!("answered")
        };
        assert_eq!(
            (refusal.code, refusal.status),
            ("filter.failed", 503),
            "not the client's fault"
        );
        assert!(refusal.detail.contains("test/walk") && state.answered_by.is_some());
        let open = one(&trap, OnFailure::Open);
        let (body, _) = show_chunks(&mut state, open.slots(&[0]), pieces(&[b"a"]));
        assert_eq!(read(body).await, ("a".to_owned(), true));
    });
}

#[test]
fn response_chunks_are_shown_too_and_an_answer_comes_too_late() {
    run(async {
        let out = |config: &Value, failure| {
            let slots = one(config, failure).slots(&[0]);
            let mut exchange = exchange("/a");
            exchange.status = Some(http::StatusCode::CREATED);
            let slots = ChunkSlot::of(slots, HeadSide::Response, &exchange, &room());
            sent(pieces(&[b"he", b"llo"]), slots)
        };
        let capitals = out(&json!({ "body": "capitals" }), CLOSED);
        assert_eq!(read(capitals).await, ("HELLO!".to_owned(), true));
        assert_eq!(read(out(&json!({ "body": "swallow" }), CLOSED)).await, (String::new(), true));
        assert!(out(&json!({ "body": "answer" }), CLOSED).collect().await.is_err());
        assert!(out(&json!({ "trap": true }), CLOSED).collect().await.is_err());
        let open = out(&json!({ "trap": true }), OnFailure::Open);
        assert_eq!(read(open).await, ("hello".to_owned(), true));
    });
}

#[test]
fn what_filters_with_long_calls_see_waits_for_turns_and_arrives_whole() {
    run(async {
        let long = || {
            let slots = one(&json!({ "body": "capitals" }), CLOSED).slots(&[0]);
            slots.iter().for_each(|slot| slot.take_calls_as_long());
            assert!(slots.iter().all(|slot| slot.waits_for_turns()));
            slots
        };
        for parts in [&[&b"he"[..], b"llo"][..], &[b"h", b"e", b"l", b"l", b"o"], &[b"hello"]] {
            let worker = one(&json!({ "body": "capitals" }), CLOSED);
            let (body, _) = show_chunks(&mut worker.exchange("/"), long(), pieces(parts));
            assert_eq!(read(body).await, ("HELLO!".to_owned(), true));
            let slots = ChunkSlot::of(long(), HeadSide::Response, &exchange("/"), &room());
            assert_eq!(read(sent(pieces(parts), slots)).await, ("HELLO!".to_owned(), true));
            let slots = ChunkSlot::of(long(), HeadSide::Response, &exchange("/"), &room());
            let body = Body::full(Bytes::from(parts.concat()));
            assert_eq!(read(sent(body, slots)).await, ("HELLO!".to_owned(), false));
        }
    });
}

#[test]
fn trailers_wait_for_the_turn_of_filters_with_long_calls_and_arrive() {
    run(async {
        for (long, held) in [(false, false), (true, true)] {
            let filter = Filter::new(ledger(), options(&json!({}), "sha256:02")).unwrap();
            let occupant = SlotOccupant::Running(filter);
            let filters = vec![Attachment { occupant, ..attached(&json!({}), None, CLOSED) }];
            let worker = worker(filters, ChainLayout::default());
            let slots = worker.slots(&[0]);
            if long {
                slots.iter().for_each(|slot| slot.take_calls_as_long());
            }
            let trailers = || TrailerSlot::of(&slots, None, HeadSide::Response, &exchange("/"));
            // Who has the turn keeps the trailers back.
            let (frame, mut kept) = (Frame::trailers(HeaderMap::new()), HeldTrailers::default());
            assert_eq!(kept.keep(frame, &trailers()).is_none(), held);
            assert_eq!(kept.is_empty(), !held);
            assert!(
                kept.keep(Frame::data(Bytes::new()), &trailers()).is_some(),
                "chunks do not wait"
            );
            for parts in [&[&b"hello"[..]][..], &[b"he", b"llo"], &[]] {
                let body = HookedBody { trailers: trailers(), ..pieces(parts).into() };
                let (text, trailed) = read(ResponseBody::from(body)).await;
                assert_eq!((text, trailed), (String::from_utf8(parts.concat()).unwrap(), true));
            }
        }
    });
}

#[test]
fn a_response_that_takes_longer_than_its_exchange_is_broken_off() {
    run(async {
        let never = Body::stream(StreamBody::new(futures_util::stream::pending::<
            Result<Frame<Bytes>, BodyError>,
        >()));
        let soon = tokio::time::Instant::now() + std::time::Duration::from_millis(20);
        let body = HookedBody { deadline: Some(soon), ..never.into() };
        assert!(ResponseBody::from(body).collect().await.is_err());
    });
}

#[test]
fn a_chunk_that_a_filter_holds_is_shown_again_in_front_of_the_next() {
    run(async {
        let holds = json!({ "body": "hold", "hold_up_to": 5 });
        for pieces in [&[&b"he"[..], b"llo"][..], &[b"h", b"e", b"l", b"l", b"o"], &[b"hello"], &[]]
        {
            let worker = one(&holds, CLOSED);
            let slots = worker.slots(&[0]);
            let (body, _) = show_chunks(&mut worker.exchange("/"), slots, self::pieces(pieces));
            let all = format!("[{}]", String::from_utf8(pieces.concat()).unwrap());
            assert_eq!(read(body).await, (all.clone(), true));
            let slots =
                ChunkSlot::of(worker.slots(&[0]), HeadSide::Response, &exchange("/"), &room());
            let body = sent(self::pieces(pieces), slots);
            assert_eq!(read(body).await, (all, true));
        }
    });
}

#[test]
fn what_a_filter_holds_shares_the_bound_of_bodies_and_gives_it_back() {
    run(async {
        let worker = one(&json!({ "body": "hold", "hold_up_to": 100 }), CLOSED).with_bodies(16);
        let from = |address: &'static str| {
            let mut state = worker.exchange("/");
            state.exchange.attributes.set("source.address", address);
            state
        };
        let too_much = [&b"hello"[..], b"four"];
        for _ in 0..3 {
            let mut state = from("192.0.2.1");
            let (body, end) = show_chunks(&mut state, worker.slots(&[0]), pieces(&too_much));
            assert!(body.collect().await.is_err());
            let stop = end.take().unwrap().into_stop(&mut state);
            let ExchangeStop::Refused(refusal) = stop else { panic!("answered") };
            assert_eq!((refusal.code, refusal.status), ("request.no-room", 503));
            assert!(state.answered_by.is_none(), "no filter did anything wrong");
            let chunks = ChunkSlot::of(
                worker.slots(&[0]),
                HeadSide::Response,
                &state.exchange,
                &state.body_room(),
            );
            let body = HookedBody { chunks, ..pieces(&too_much).into() };
            let body = ResponseBody::new(body, state);
            assert!(body.collect().await.is_err());
        }
        // One that waits keeps its part, and another client has its own.
        let never = futures_util::stream::pending::<Result<Frame<Bytes>, BodyError>>();
        let part = futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(b"eight ok")))]);
        let stalls = Body::stream(StreamBody::new(part.chain(never)));
        let (waits, _end) = show_chunks(&mut from("192.0.2.1"), worker.slots(&[0]), stalls);
        let mut waits = Box::pin(read(waits));
        for _ in 0..10 {
            assert!(futures_util::poll!(&mut waits).is_pending());
            tokio::task::yield_now().await;
        }
        for (address, passes) in [("192.0.2.1", false), ("192.0.2.2", true)] {
            let mut state = from(address);
            let (body, _end) = show_chunks(&mut state, worker.slots(&[0]), pieces(&[b"four"]));
            assert_eq!(body.collect().await.is_ok(), passes, "{address}");
        }
    });
}

#[test]
fn a_filter_that_is_shown_much_again_waits_for_turns_however_small_chunks_are() {
    run(async {
        let worker = one(&json!({ "body": "hold", "hold_up_to": 1 << 20 }), CLOSED);
        // Bytes that it holds, chunks of one octet until its next call waits.
        for (held, chunks) in
            [(0, None), (1_024, Some(63)), (64 * 1_024, Some(1)), (1 << 19, Some(1))]
        {
            let slots = worker.slots(&[0]);
            let slots = ChunkSlot::of(slots, HeadSide::Request, &exchange("/"), &room());
            let mut slot = slots.into_iter().next().unwrap();
            slot.show(Bytes::from(vec![b'x'; held]), false).ok().unwrap();
            let mut waits = (1..100).map(|_| {
                slot.show(Bytes::from_static(b"x"), false).ok().unwrap();
                let waits = slot.is_shown_much_again();
                assert!(!waits || slot.owed_turn().is_some());
                waits
            });
            let first = waits.by_ref().position(|waits| waits).map(|at| at + 1);
            assert_eq!(first, chunks, "{held}");
            // And again, after as much.
            let next = waits.position(|waits| waits).map(|at| at + 1);
            assert!(next <= chunks, "{held}: {next:?}");
        }
    });
}

#[test]
fn a_filter_that_reads_a_large_head_is_not_called_for_each_octet_of_a_body() {
    const OCTETS: usize = 5_000;
    let octets = vec![b'x'; OCTETS];
    let one_by_one: Vec<&[u8]> = octets.chunks(1).collect();
    // Octets of the head, and the calls for content and for its end.
    for (head, calls) in [(100, OCTETS + 1), (58_000, 2), (200_000, 2)] {
        run(async {
            // It writes one octet at each call: the path, or the first of the status.
            let worker = one(&json!({ "body": "seen", "reads": [":path", "*"] }), CLOSED);
            let mut state = worker.exchange("/");
            let large: http::HeaderValue = "h".repeat(head).parse().unwrap();
            state.exchange.headers.insert("x-large", large.clone());
            state.exchange.response_headers.insert("x-large", large);
            let (body, _end) = show_chunks(&mut state, worker.slots(&[0]), pieces(&one_by_one));
            assert_eq!(read(body).await, ("/".repeat(calls), true), "{head}");
            let slots = worker.slots(&[0]);
            let slots = ChunkSlot::of(slots, HeadSide::Response, &state.exchange, &room());
            let body = read(sent(pieces(&one_by_one), slots)).await;
            assert_eq!(body, ("0".repeat(calls), true), "{head}");
        });
    }
}

#[test]
fn what_a_filter_may_not_do_with_a_chunk_is_a_fault() {
    run(async {
        let holds = |most: u32| json!({ "body": "hold", "hold_up_to": most });
        let rows = [
            // Its end comes after the fault, and is shown as ever.
            ("hold too much", holds(4), "holds 5 bytes, and declared at most 4", "hello[]"),
            (
                "hold the last",
                json!({ "body": "hold-all", "hold_up_to": 100 }),
                "to the last chunk",
                "hello",
            ),
            (
                "edit the head",
                json!({ "body": "rewrite" }),
                "edits of a head that was sent",
                "hello",
            ),
        ];
        for (what, config, rule, passes) in rows {
            let worker = one(&config, CLOSED);
            let mut state = worker.exchange("/");
            let (body, end) = show_chunks(&mut state, worker.slots(&[0]), pieces(&[b"he", b"llo"]));
            assert!(body.collect().await.is_err(), "{what}");
            let ExchangeStop::Refused(refusal) = end.take().unwrap().into_stop(&mut state) else {
                panic!("answered")
            };
            assert_eq!(refusal.code, "filter.failed", "{what}");
            assert!(refusal.detail.contains(rule), "{what}: {}", refusal.detail);
            let open = one(&config, OnFailure::Open);
            let (body, _) = show_chunks(&mut state, open.slots(&[0]), pieces(&[b"he", b"llo"]));
            assert_eq!(read(body).await, (passes.to_owned(), true), "{what}: fails open");
        }
    });
}

#[test]
fn a_body_hook_sees_the_declared_fields() {
    run(async {
        let seen = |limit: Option<u32>| json!({ "body": "seen", "reads": [":path"], "whole_up_to": limit });
        let worker = one(&seen(Some(100)), CLOSED);
        let mut state = worker.exchange("/a?b");
        let body =
            show_whole(&mut state, &worker.slots(&[0]), pieces(&[b"hello"]), &mut false).await;
        assert_eq!(read(body.ok().unwrap()).await.0, "/a?b");
        let worker = one(&seen(None), CLOSED);
        let mut state = worker.exchange("/a?b");
        let (body, _) = show_chunks(&mut state, worker.slots(&[0]), pieces(&[b"hello"]));
        // Once for the chunk and once for the end.
        assert_eq!(read(body).await.0, "/a?b/a?b");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn cutting_a_body_up_changes_nothing(
        cut in prop::collection::vec(prop::collection::vec(0x61_u8..0x7b, 0..20), 0..8),
    ) {
        let parts: Vec<&[u8]> = cut.iter().map(Vec::as_slice).collect();
        let joined = String::from_utf8(cut.concat()).unwrap().to_ascii_uppercase();
        run(async {
            let worker = one(&json!({ "body": "capitals" }), CLOSED);
            let (body, _) = show_chunks(&mut worker.exchange("/"), worker.slots(&[0]), pieces(&parts));
            prop_assert_eq!(read(body).await, (format!("{joined}!"), true));
            let worker = one(&whole("capitals", 200), CLOSED);
            let body = show_whole(&mut worker.exchange("/"), &worker.slots(&[0]), pieces(&parts), &mut false).await;
            prop_assert_eq!(read(body.ok().unwrap()).await, (joined.clone(), true));
            Ok(())
        })?;
    }
}

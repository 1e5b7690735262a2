//! What watchers see, and what they cost.

use super::*;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::watch;

fn record<'a>(exchange: u64, path: &'a str, reason: Option<&'a str>) -> AccessRecord<'a> {
    AccessRecord {
        time_unix_us: 1,
        exchange,
        trace: None,
        request_id: None,
        generation: 1,
        listener: Some("http"),
        peer: None,
        source: None,
        method: "GET",
        scheme: "http",
        authority: "a.example",
        path,
        status: 200,
        grpc_status: None,
        reason,
        detail: Some("token=secret"),
        filter: None,
        route: None,
        service: None,
        endpoint: None,
        attempts: 1,
        duration_us: 5,
        upstream_us: 4,
        bytes_in: 0,
        bytes_out: 0,
        outcome: vec!["retried"],
    }
}

/// The next line that says something.
async fn next(body: &mut TapBody) -> Option<Value> {
    loop {
        let line = body.frame().await?.unwrap().into_data().unwrap();
        if line != "\n" {
            return Some(serde_json::from_slice(&line).unwrap());
        }
    }
}

fn serving() -> (watch::Sender<ListenerStage>, Shutdown) {
    watch::channel(ListenerStage::Serve)
}

#[tokio::test(start_paused = true)]
async fn an_exchange_is_a_line_without_query_and_detail_whatever_its_length() {
    let (_stage, ending) = serving();
    let taps = Arc::new(Taps::default());
    assert!(!taps.is_open());
    let mut body = taps.watch(100, ending).unwrap();
    assert!(taps.is_open());
    let (long, huge) = (format!("/{}é", "x".repeat(PATH_MAX - 2)), "r".repeat(LINE_MAX));
    for (exchange, path, shown) in [
        (1, "/pay?token=secret", "/pay"),
        (2, "/a?b?c", "/a"),
        (3, "?x", ""),
        (4, "*", "*"),
        (5, long.as_str(), &long[..PATH_MAX - 1]),
    ] {
        taps.show(&record(exchange, path, None), 1);
        let line = next(&mut body).await.unwrap();
        assert_eq!((&line["exchange"], &line["path"]), (&json!(exchange), &json!(shown)));
        assert!(!line.to_string().contains("secret"), "{line}");
        assert_eq!(line["outcome"], json!(["retried"]));
    }
    taps.show(&record(6, "/", Some(&huge)), 1);
    assert_eq!(next(&mut body).await.unwrap(), json!({ "skipped": 1 }));
}

#[tokio::test(start_paused = true)]
async fn no_watcher_sees_more_than_its_rate_or_has_more_wait_and_what_was_left_out_is_counted() {
    let (_stage, ending) = serving();
    let taps = Arc::new(Taps::default());
    let mut slow = taps.watch(2, ending.clone()).unwrap();
    let mut idle = taps.watch(PER_SECOND_MAX, ending).unwrap();
    for second in [7, 8] {
        (0..10).for_each(|exchange| taps.show(&record(exchange, "/", None), second));
        for exchange in [0, 1] {
            assert_eq!(next(&mut slow).await.unwrap()["exchange"], exchange, "{second}");
        }
        assert_eq!(next(&mut slow).await.unwrap(), json!({ "skipped": 8 }), "{second}");
    }
    let many = WAITING_MAX as u64 + 30;
    (0..many).for_each(|exchange| taps.show(&record(exchange, "/", None), 9));
    let mut seen = 0;
    let skipped = loop {
        let line = next(&mut idle).await.unwrap();
        match line["skipped"].as_u64() {
            Some(skipped) => break skipped,
            None => seen += 1,
        }
    };
    assert_eq!((seen, skipped), (WAITING_MAX as u64, 20 + 30));
}

#[tokio::test(start_paused = true)]
async fn few_watch_and_a_place_is_free_when_one_leaves_or_the_listener_ends() {
    let (stage, ending) = serving();
    let taps = Arc::new(Taps::default());
    let watch = || taps.watch(PER_SECOND, ending.clone());
    let mut all: Vec<TapBody> = (0..WATCHERS_MAX).map(|_| watch().unwrap()).collect();
    assert_eq!(watch().err(), Some(TooManyWatchers));
    drop(all.pop());
    let mut last = watch().unwrap();
    assert_eq!(watch().err(), Some(TooManyWatchers));
    stage.send(ListenerStage::Leave).unwrap();
    taps.show(&record(1, "/", None), 1);
    assert_eq!(next(&mut last).await.unwrap()["exchange"], 1, "a drain may be cancelled");
    stage.send(ListenerStage::End).unwrap();
    assert_eq!(next(&mut last).await, None);
    drop((all, last));
    assert!(!taps.is_open());
}

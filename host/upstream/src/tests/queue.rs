//! When every connection is in use.

use super::server::http1;
use super::*;
use tamis_exchange::Cause;
use tokio::task::{JoinHandle, spawn_local};

fn narrow(target: EndpointTarget, max_connections: u32, max_pending: u32) -> ServiceConfig {
    let mut config = config(Protocol::Http1, [target]);
    config.settings.max_connections = max_connections;
    config.settings.max_pending = max_pending;
    config
}

fn later(upstream: &Rc<Upstream>, path: &'static str) -> JoinHandle<Result<String, SendFailure>> {
    let upstream = Rc::clone(upstream);
    spawn_local(async move { fetch(&upstream, get(path)).await })
}

/// Longer than between two checks for other workers' places, without waiting for it.
async fn pass_time() {
    tokio::time::pause();
    tokio::time::sleep(Duration::from_millis(60)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn requests_wait_in_order_and_no_more_than_may() {
    on_worker(async {
        let (target, seen) = http1().await;
        let (_worker, upstream) = worker(narrow(target, 1, 3));
        let first = later(&upstream, "/hold");
        seen.requests(1).await;
        let mut waiting = Vec::new();
        for path in ["/a", "/b", "/c"] {
            waiting.push(later(&upstream, path));
            tokio::task::yield_now().await;
        }
        // They check for other workers' places meanwhile, and keep their own in the queue.
        pass_time().await;
        let failure = fetch(&upstream, get("/d")).await.unwrap_err();
        assert_eq!((failure.cause, failure.untouched), (Cause::Other, true));
        assert!(failure.detail.contains("pool.pending"), "{failure}");
        seen.release.notify_one();
        assert_eq!(first.await.unwrap().unwrap(), "/hold");
        for waiting in waiting {
            waiting.await.unwrap().unwrap();
        }
        assert_eq!(*seen.paths.borrow(), ["/hold", "/a", "/b", "/c"]);
        assert_eq!(seen.connections.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn one_who_gave_up_passes_the_turn_on() {
    on_worker(async {
        let (target, seen) = http1().await;
        let (_worker, upstream) = worker(narrow(target, 1, 2));
        let first = later(&upstream, "/hold");
        seen.requests(1).await;
        let (gone, stays) = (later(&upstream, "/gone"), later(&upstream, "/stays"));
        tokio::task::yield_now().await;
        gone.abort();
        seen.release.notify_one();
        first.await.unwrap().unwrap();
        assert_eq!(stays.await.unwrap().unwrap(), "/stays");
        assert_eq!(*seen.paths.borrow(), ["/hold", "/stays"]);
    })
    .await;
}

#[tokio::test]
async fn no_idle_connection_of_a_worker_keeps_a_request_of_another_waiting() {
    on_worker(async {
        let (target, seen) = http1().await;
        let table = table();
        let workers = [(); 3].map(|()| Upstreams::new(table.clone()));
        let [one, other, third] =
            workers.each_ref().map(|worker| apply(worker, narrow(target.clone(), 2, 4)));
        let both = [later(&one, "/a"), later(&other, "/b")];
        for done in both {
            done.await.unwrap().unwrap();
        }
        // Both places are taken by connections that nobody uses.
        let waits = [later(&third, "/c"), later(&third, "/d")];
        for done in waits {
            let done = tokio::time::timeout(Duration::from_secs(20), done).await;
            done.expect("it waits for no idle connection").unwrap().unwrap();
        }
        // One that is idle where nobody waits stays.
        let opened = seen.connections.get();
        fetch(&third, get("/e")).await.unwrap();
        assert_eq!(seen.connections.get(), opened);
    })
    .await;
}

#[tokio::test]
async fn workers_share_the_places_of_an_endpoint() {
    on_worker(async {
        let (target, seen) = http1().await;
        let table = table();
        let workers = [Upstreams::new(table.clone()), Upstreams::new(table.clone())];
        let [one, other] =
            [&workers[0], &workers[1]].map(|worker| apply(worker, narrow(target.clone(), 1, 1)));
        let first = later(&one, "/hold");
        seen.requests(1).await;
        let second = later(&other, "/other");
        pass_time().await;
        assert_eq!(seen.connections.get(), 1);
        // The first worker's connection goes, and with it its place to the second.
        first.abort();
        assert_eq!(second.await.unwrap().unwrap(), "/other");
        assert_eq!(table.snapshot()[0].endpoints[0].connections, 1);
    })
    .await;
}

#[tokio::test]
async fn a_place_is_free_again_when_connecting_fails() {
    on_worker(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = server::tcp(&listener);
        drop(listener);
        let (_worker, upstream) = worker(narrow(target, 1, 8));
        let all: Vec<_> = (0..5).map(|_| later(&upstream, "/")).collect();
        for one in all {
            assert_eq!(one.await.unwrap().unwrap_err().cause, Cause::ConnectFailure);
        }
    })
    .await;
}

#[tokio::test]
async fn a_newcomer_does_not_overtake() {
    on_worker(async {
        let (target, seen) = http1().await;
        let (_worker, upstream) = worker(narrow(target, 1, 2));
        let both = {
            let upstream = Rc::clone(&upstream);
            spawn_local(async move {
                fetch(&upstream, get("/hold")).await.unwrap();
                fetch(&upstream, get("/newcomer")).await.unwrap();
            })
        };
        seen.requests(1).await;
        let waiting = later(&upstream, "/waiting");
        tokio::task::yield_now().await;
        seen.release.notify_one();
        both.await.unwrap();
        waiting.await.unwrap().unwrap();
        assert_eq!(*seen.paths.borrow(), ["/hold", "/waiting", "/newcomer"]);
    })
    .await;
}

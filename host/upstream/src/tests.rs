//! Tests with real sockets, through the public interface.

mod http1;
mod http2;
mod picking;
mod queue;
mod resolve;
mod server;
mod service;
mod shares;
mod sharing;
mod streams;
mod tls;
mod weights;

use crate::{Attempt, AttemptOutcome, Upstream, Upstreams};
use crate::{
    EndpointConfig, EndpointTarget, Pick, Protocol, SendFailure, ServiceConfig, ServiceSettings,
    ServiceTable,
};
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tamis_ambient::{Clock, ManualTime, Random};
use tamis_exchange::Body;

/// Nothing here takes this long; a test that does hangs.
const HANGS: Duration = Duration::from_secs(20);

/// Runs what needs a worker's thread.
async fn on_worker<T>(test: impl Future<Output = T>) -> T {
    let local = tokio::task::LocalSet::new();
    tokio::time::timeout(HANGS, local.run_until(test)).await.expect("it hangs")
}

fn endpoint(target: EndpointTarget) -> EndpointConfig {
    EndpointConfig { target, weight: 1, tls: None, tls_key: String::new() }
}

fn config(protocol: Protocol, targets: impl IntoIterator<Item = EndpointTarget>) -> ServiceConfig {
    ServiceConfig {
        name: "shop/pay:80".to_owned(),
        protocol,
        endpoints: targets.into_iter().map(endpoint).collect(),
        // Only circuits decide, unless a test is about their limits.
        settings: ServiceSettings {
            max_ejected_percent: 100,
            panic_percent: 0,
            ..ServiceSettings::default()
        },
    }
}

fn apply(upstreams: &Upstreams, config: ServiceConfig) -> Rc<Upstream> {
    upstreams.apply(&Arc::new(vec![config])).remove(0)
}

/// Services on the clock of the machine.
fn table() -> ServiceTable {
    ServiceTable::new(Clock::system(), Random::system())
}

/// A worker of its own with this one service, whose time is the test's.
fn worker_at(time: ManualTime, config: ServiceConfig) -> (Upstreams, Rc<Upstream>) {
    let upstreams = Upstreams::new(ServiceTable::new(time.clock(), Random::system()));
    let upstream = apply(&upstreams, config);
    (upstreams, upstream)
}

/// A worker of its own with this one service.
fn worker(config: ServiceConfig) -> (Upstreams, Rc<Upstream>) {
    let upstreams = Upstreams::new(table());
    let upstream = apply(&upstreams, config);
    (upstreams, upstream)
}

async fn attempt(upstream: &Rc<Upstream>) -> Attempt {
    match upstream.pick(&[], None).await {
        Ok(Pick::Attempt(attempt)) => attempt,
        Ok(Pick::Ask(_)) => panic!("an ask"),
        Err(failure) => panic!("{failure}"),
    }
}

fn request(method: Method, path: &str, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = format!("http://shop.example{path}").parse().unwrap();
    request
}

fn get(path: &str) -> Request<Body> {
    request(Method::GET, path, Body::Empty)
}

async fn text(response: Response<Body>) -> String {
    let octets = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(octets.to_vec()).unwrap()
}

/// One request by itself, to the end of its response.
async fn fetch(upstream: &Rc<Upstream>, request: Request<Body>) -> Result<String, SendFailure> {
    let mut attempt = attempt(upstream).await;
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let again = || {
        let mut again = Request::new(Body::Empty);
        (*again.method_mut(), *again.uri_mut()) = (method, uri);
        Some(again.into())
    };
    let sent = attempt.send(request, false, again).await;
    let outcome = if sent.is_ok() { AttemptOutcome::Success } else { AttemptOutcome::Failure };
    drop(attempt.record(outcome));
    Ok(text(sent?).await)
}

/// Waits until a condition holds that other tasks bring about.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(HANGS / 2, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

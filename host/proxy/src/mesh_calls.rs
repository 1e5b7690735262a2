//! Calls of filters to services of the mesh (`http-client`).
//!
//! A call is made on a worker, with that worker's connections: it goes to the endpoints of the service by their weights
//! and circuits, with the identity of this proxy, and counts for them like any request. No listener has a part in it, so
//! no filter of this proxy sees it, no route changes it, and nothing is sent again.

use crate::attempt::{hash_of, is_failure};
use crate::breaker::ask_breaker;
use crate::chain::Chain;
use crate::endpoint_choice::pick;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body_util::BodyExt as _;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::ThreadId;
use tamis_ambient::Clock;
use tamis_engine::{FetchFailure, FetchFuture, FetchRequest, FetchResponse, FetchTarget};
use tamis_exchange::{Body, Refusal};
use tamis_upstream::{AttemptOutcome, Upstream, UpstreamRequest};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Takes the calls of filters to the workers of one proxy. It is made before the proxy, as filters are.
#[derive(Clone, Default)]
pub struct MeshCalls(Arc<WorkerSenders>);

/// The ways into the workers.
#[derive(Default)]
struct WorkerSenders {
    /// `None`: the proxy has not started.
    workers: OnceLock<Vec<(ThreadId, CallSender)>>,
    /// For calls from other threads.
    turn: AtomicUsize,
}

/// Passes a call to a worker; false if the worker has ended.
pub(crate) type CallSender = Box<dyn Fn(MeshCall) -> bool + Send + Sync>;

impl MeshCalls {
    /// Calls are made by these workers from now on. The first proxy keeps them.
    pub(crate) fn connect(&self, workers: Vec<(ThreadId, CallSender)>) {
        // Two proxies never share it; if they did, the second would have no calls of its own.
        drop(self.0.workers.set(workers));
    }

    /// Sends a request to a service and waits for the complete response. Dropping the future cancels the call.
    pub fn call(&self, request: FetchRequest) -> FetchFuture {
        let (answer, answered) = oneshot::channel();
        let sent = self.worker().and_then(|worker| {
            let passed = worker(MeshCall { request, answer });
            passed.then_some(()).ok_or_else(|| unreachable(STOPPED))
        });
        Box::pin(async move {
            sent?;
            answered.await.unwrap_or_else(|_| Err(unreachable(STOPPED)))
        })
    }

    /// The worker that calls from its own thread; otherwise each in turn.
    fn worker(&self) -> Result<&CallSender, FetchFailure> {
        let workers = self.0.workers.get().ok_or_else(|| unreachable(NOT_STARTED))?;
        let here = std::thread::current().id();
        let own = workers.iter().find(|(thread, _)| *thread == here);
        let turn = || self.0.turn.fetch_add(1, Ordering::Relaxed) % workers.len().max(1);
        let worker = own.or_else(|| workers.get(turn()));
        worker.map(|(_, send)| send).ok_or_else(|| unreachable(STOPPED))
    }
}

const NOT_STARTED: &str = "this proxy does not serve yet, and reaches services of the mesh from then on; call again later";
const STOPPED: &str = "this proxy stops";

fn unreachable(why: impl Into<String>) -> FetchFailure {
    FetchFailure::Connect(why.into())
}

/// The services that filters may call, by the names that they have there.
#[derive(Default)]
pub(crate) struct Callees(HashMap<String, Callee>);

/// A service that a filter calls, and the chain whose breaker decides about its circuits.
#[derive(Clone)]
pub(crate) struct Callee {
    upstream: Rc<Upstream>,
    chain: Rc<Chain>,
}

impl Callees {
    /// The services of a generation, as `namespace/name` for the first port and as `namespace/name:port`. The breaker is
    /// that of the first chain that may send to the service, or else of the first that has one.
    pub(crate) fn of(chains: &[Rc<Chain>], services: &[Rc<Upstream>]) -> Self {
        let Some(any) = chains.iter().find(|one| one.breaker.is_some()).or(chains.first()) else {
            return Self::default();
        };
        let mut callees = HashMap::new();
        for upstream in services {
            let sends = |chain: &&Rc<Chain>| {
                chain.backends.iter().flatten().any(|backend| Rc::ptr_eq(backend, upstream))
            };
            let chain = Rc::clone(chains.iter().find(sends).unwrap_or(any));
            let callee = Callee { upstream: Rc::clone(upstream), chain };
            if let Some((service, _)) = upstream.name().rsplit_once(':') {
                callees.entry(service.to_owned()).or_insert_with(|| callee.clone());
            }
            callees.insert(upstream.name().to_owned(), callee);
        }
        Self(callees)
    }

    /// The service that a call names.
    pub(crate) fn find(&self, call: &MeshCall) -> Result<Callee, FetchFailure> {
        let FetchTarget::Service { service, port } = &call.request.target else {
            return Err(unreachable("it names no service of the mesh"));
        };
        let (service, port) = (service.as_str(), *port);
        let found = match port {
            None => self.0.get(service),
            Some(port) => self.0.get(&format!("{service}:{port}")),
        };
        found.cloned().ok_or_else(|| {
            unreachable(match (port, self.0.contains_key(service)) {
                (Some(port), true) => format!(
                    "the service {service} has no port {port}; name one of its ports, or none for its first"
                ),
                _ => format!("the mesh has no service {service}; its Service is not in force"),
            })
        })
    }
}

/// A call on its way to a worker.
pub(crate) struct MeshCall {
    request: FetchRequest,
    answer: oneshot::Sender<Result<FetchResponse, FetchFailure>>,
}

impl MeshCall {
    /// Makes the call, unless nobody waits for it any more.
    pub(crate) async fn answer(self, callee: Result<Callee, FetchFailure>, clock: Clock) {
        let Self { request, mut answer } = self;
        let done = match callee {
            Err(failure) => Err(failure),
            Ok(callee) => tokio::select! {
                done = callee.call(&request, clock) => done,
                () = answer.closed() => return,
            },
        };
        // Whoever asked may have given up at this moment.
        drop(answer.send(done));
    }
}

impl Callee {
    async fn call(
        &self,
        request: &FetchRequest,
        clock: Clock,
    ) -> Result<FetchResponse, FetchFailure> {
        let Self { upstream, chain } = self;
        let began = clock.now();
        let left = || request.timeout.saturating_sub(clock.since(began));
        let head = message_headers(request)?;
        let hash = upstream.hash_header().and_then(|name| head.get(name));
        let hash = hash.map(|value| hash_of(value.as_bytes()));
        // An endpoint whose name was never resolved is waited for.
        let picked = timeout(left(), pick(chain, upstream, &[], hash)).await;
        let picked = picked.map_err(|_elapsed| FetchFailure::Timeout)?;
        let mut attempt = picked.map_err(|failed| refused(&failed.refusal))?;
        let secure = attempt.is_secure();
        let message = message(request, &head, secure)?;
        let again = || self::message(request, &head, secure).ok();
        let sent = timeout(left(), attempt.send(message, false, again)).await;
        let (outcome, result) = match sent {
            Err(_elapsed) => (AttemptOutcome::Timeout, Err(FetchFailure::Timeout)),
            Ok(Err(failure)) => (AttemptOutcome::Failure, Err(unreachable(failure.detail))),
            Ok(Ok(response)) if is_failure(&response) => (AttemptOutcome::Failure, Ok(response)),
            Ok(Ok(response)) => (AttemptOutcome::Success, Ok(response)),
        };
        ask_breaker(chain, upstream, attempt.record(outcome));
        let whole = timeout(left(), whole(result?, request.max_bytes)).await;
        whole.unwrap_or(Err(FetchFailure::Timeout))
    }
}

/// No endpoint could be tried.
fn refused(refusal: &Refusal) -> FetchFailure {
    let hint = if refusal.code == "upstream.no-endpoint" {
        "; its Service lists none, or this proxy has no identity to reach them with: `tamis status` and its problems say which"
    } else {
        ""
    };
    unreachable(format!("{}: {}{hint}", refusal.code, refusal.detail))
}

/// The headers of a call: those of the filter, and the length of the body.
fn message_headers(request: &FetchRequest) -> Result<HeaderMap, FetchFailure> {
    let mut headers = HeaderMap::with_capacity(request.headers.len().saturating_add(1));
    for (name, value) in &request.headers {
        let field = HeaderName::from_bytes(name.as_bytes()).ok();
        let field = field.zip(HeaderValue::from_bytes(value).ok());
        let (name, value) =
            field.ok_or_else(|| unreachable(format!("`{name}` is not a header")))?;
        headers.append(name, value);
    }
    let kind = headers.get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        // A server of gRPC sends its status in trailers, and may refuse who does not say that it takes them.
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let expects = ["POST", "PUT", "PATCH"].contains(&request.method.as_str());
    if expects || !request.body.is_empty() {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(request.body.len()));
    }
    Ok(headers)
}

/// A call as an endpoint receives it.
fn message(
    request: &FetchRequest,
    headers: &HeaderMap,
    secure: bool,
) -> Result<UpstreamRequest, FetchFailure> {
    let malformed = |error: &dyn std::fmt::Display| unreachable(format!("the URL: {error}"));
    let mut parts = request.url.parse::<Uri>().map_err(|error| malformed(&error))?.into_parts();
    if secure {
        parts.scheme = Some(http::uri::Scheme::HTTPS);
    }
    let target = Uri::from_parts(parts).map_err(|error| malformed(&error))?;
    let mut message = Request::new(Body::full(request.body.clone()));
    *message.method_mut() =
        Method::from_bytes(request.method.as_bytes()).map_err(|error| malformed(&error))?;
    *message.uri_mut() = target;
    message.headers_mut().clone_from(headers);
    Ok(UpstreamRequest::Parts(message))
}

/// The complete response.
async fn whole(response: Response<Body>, max_bytes: usize) -> Result<FetchResponse, FetchFailure> {
    let (head, mut body) = response.into_parts();
    let (mut octets, mut trailers) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| unreachable(error.to_string()))?;
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                trailers = frame.into_trailers().ok();
                continue;
            }
        };
        if octets.len().saturating_add(data.len()) > max_bytes {
            return Err(FetchFailure::TooLarge);
        }
        octets.extend_from_slice(&data);
    }
    Ok(FetchResponse::new(head.status, &head.headers, trailers.as_ref(), octets))
}

//! The admin listener: health, metrics, configuration, filters, upstreams, drain.
//!
//! It listens on a network address and on a unix socket of the proxy's user. Whoever can open the socket is
//! the operator; [`admin_access`](crate::admin_access) decides which requests from the network are answered.

mod body;
mod metrics;
mod pages;
#[cfg(test)]
mod tests;

pub use metrics::METRICS;
pub(crate) use metrics::metrics;

use self::body::{AdminBody, UnreadPages};
use crate::admin_access::AdminOrigin;
use crate::error::ProxyError;
use crate::proxy_state::{LeaveError, ProxyState};
use crate::tap::{self, TooManyWatchers};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tamis_transport::{
    Address, BoundListener, ConnectionInfo, IntakeLimits, ListenerStage, PlainStream, RequestBody,
    ServeLimits, Shutdown, SocketListener, bind_private, is_own_user, serve_connection,
};
use tokio::task::LocalSet;

/// Connections at the same time; further ones are closed.
const CONNECTIONS_MAX: usize = 256;
/// Connections of one address; more are closed, so that nobody keeps those out who look after the proxy.
const CONNECTIONS_OF_ONE_MAX: usize = 64;
/// Requests at once on a connection of HTTP/2.
const STREAMS_MAX: u32 = 16;
/// How long a connection may say nothing between two requests.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// How long answers may take after the end was requested; they take milliseconds.
const ANSWERED_MAX: Duration = Duration::from_secs(1);
/// The longest lame-duck time that a drain may request: an hour.
const LAME_DUCK_MAX: u64 = 3_600;

/// Binds the admin listener, or uses the inherited socket. A unix socket is for the user of the proxy alone.
pub(crate) fn bound(
    address: &Address,
    handed: Option<BoundListener>,
) -> Result<Option<BoundListener>, ProxyError> {
    if handed.is_some() {
        return Ok(handed);
    }
    let failed = |source| ProxyError::Listen { listener: "admin".to_owned(), source };
    bind_private(address).map(Some).map_err(failed)
}

/// Serves it on a separate thread until `shutdown`.
pub(crate) fn start(
    socket: BoundListener,
    inner: Arc<ProxyState>,
    shutdown: Shutdown,
) -> Result<(), ProxyError> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return tracing::error!("the admin listener cannot run") };
        LocalSet::new().block_on(&runtime, async move {
            match socket.into_listener() {
                Ok(listener) => serve(&listener, &inner, shutdown).await,
                Err(error) => tracing::error!(%error, "the admin listener cannot run"),
            }
        });
    };
    let thread = std::thread::Builder::new().name("tamis-admin".to_owned());
    thread.spawn(run).map(drop).map_err(ProxyError::Thread)
}

async fn serve(listener: &SocketListener, inner: &Arc<ProxyState>, mut shutdown: Shutdown) {
    let open = Rc::new(OpenConnections::default());
    let limits = ServeLimits::default();
    let intake = IntakeLimits { idle_timeout: IDLE_MAX, ..limits.intake };
    let limits = Rc::new(ServeLimits { intake, max_streams: STREAMS_MAX, ..limits });
    let unread = UnreadPages::default();
    loop {
        let ending = shutdown.clone();
        let (plain, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shutdown.wait_for(|stage| *stage == ListenerStage::End) => return answered(inner).await,
        };
        let answering = PendingAnswer::new(inner);
        let Some(counted) = CountedConnection::new(&open, peer.map(|peer| peer.ip())) else {
            continue;
        };
        let door = match &plain {
            PlainStream::Unix(stream) if is_own_user(stream) => AdminOrigin::Socket,
            PlainStream::Unix(_) => continue,
            PlainStream::Tcp(stream) => match stream.local_addr() {
                Ok(local) => AdminOrigin::Network(local.ip()),
                Err(_gone) => continue,
            },
        };
        let (inner, limits, stage) = (Arc::clone(inner), Rc::clone(&limits), ending.clone());
        let unread = unread.clone();
        drop(tokio::task::spawn_local(async move {
            let info = ConnectionInfo {
                sender: peer,
                local: Address::Unix("admin".into()),
                identity: None,
            };
            let handler = async move |request: Request<RequestBody>, _: &ConnectionInfo| {
                answer(&inner, &door, &request, &stage, &unread)
            };
            let served = serve_connection(plain, Rc::new(info), &limits, handler, ending).await;
            if let Err(error) = served {
                tracing::debug!(%error, "an admin connection ended badly");
            }
            drop((counted, answering));
        }));
    }
}

/// Connections end with this thread: it stays until what was asked is answered.
async fn answered(inner: &ProxyState) {
    let clock = inner.shared.clock;
    let until = clock.now() + ANSWERED_MAX;
    while inner.answering.load(Ordering::Relaxed) > 0 && clock.now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A connection whose answer the end of the process waits for.
struct PendingAnswer(Arc<ProxyState>);

impl PendingAnswer {
    fn new(inner: &Arc<ProxyState>) -> Self {
        inner.answering.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(inner))
    }
}

impl Drop for PendingAnswer {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connections there are, by whom; none: a unix socket's.
#[derive(Default)]
struct OpenConnections(RefCell<HashMap<Option<IpAddr>, usize>>);

/// A connection that counts as open until it is dropped.
struct CountedConnection {
    open: Rc<OpenConnections>,
    of: Option<IpAddr>,
}

impl CountedConnection {
    /// None when there are as many as may be, of all or of this one.
    fn new(open: &Rc<OpenConnections>, of: Option<IpAddr>) -> Option<Self> {
        let mut counts = open.0.borrow_mut();
        let all: usize = counts.values().sum();
        let own = counts.get(&of).copied().unwrap_or(0);
        if all >= CONNECTIONS_MAX || own >= CONNECTIONS_OF_ONE_MAX {
            return None;
        }
        counts.insert(of, own + 1);
        drop(counts);
        Some(Self { open: Rc::clone(open), of })
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        let mut counts = self.open.0.borrow_mut();
        if let Some(own) = counts.get_mut(&self.of) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                counts.remove(&self.of);
            }
        }
    }
}

/// Effect of a page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PageEffect {
    /// It only reads: GET and HEAD.
    Read,
    /// It shows the traffic of others as it passes: GET, from whoever may change the proxy.
    Watch,
    /// It changes the proxy: POST.
    Change,
}

impl PageEffect {
    fn methods(self) -> &'static str {
        match self {
            Self::Read => "GET, HEAD",
            Self::Watch => "GET",
            Self::Change => "POST",
        }
    }

    fn allows(self, method: &Method) -> bool {
        match self {
            Self::Read => matches!(*method, Method::GET | Method::HEAD),
            Self::Watch => *method == Method::GET,
            Self::Change => *method == Method::POST,
        }
    }
}

/// Pages that are answered however many others wait: whoever looks after the proxy depends on them.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// Every page, in the order of the list.
const PAGES: [(&str, PageEffect, &str); 11] = [
    ("/", PageEffect::Read, "this list"),
    ("/healthz", PageEffect::Read, "the process serves"),
    ("/readyz", PageEffect::Read, "a generation serves and the proxy is not draining"),
    ("/metrics", PageEffect::Read, "Prometheus text"),
    ("/config", PageEffect::Read, "the generation in use, without secrets"),
    (
        "/filters",
        PageEffect::Read,
        "what runs where: digest, version, signers, hooks, grants, statistics",
    ),
    ("/upstreams", PageEffect::Read, "services, endpoints, circuits"),
    ("/routes", PageEffect::Read, "listeners, their chains, and the rules of their routers"),
    (
        "/tap",
        PageEffect::Watch,
        "a line of JSON for each exchange that ends; ?per-second=N says how many at most",
    ),
    (
        "/drain",
        PageEffect::Change,
        "send everybody elsewhere, then close; ?seconds=N says after how long",
    ),
    ("/undrain", PageEffect::Change, "serve on after all, while listeners are open"),
];

fn list() -> String {
    let line = |(path, way, what): &(&str, PageEffect, &str)| {
        let method = if *way == PageEffect::Change { "POST" } else { "GET" };
        format!("{method:<4} {path:<10} {what}\n")
    };
    PAGES.iter().map(line).collect()
}

fn answer<B>(
    inner: &Arc<ProxyState>,
    door: &AdminOrigin,
    request: &Request<B>,
    stage: &Shutdown,
    unread: &UnreadPages,
) -> Response<AdminBody> {
    let path = request.uri().path();
    let mut response = match unread.are_too_many() && !HEALTH.contains(&path) {
        true => text(StatusCode::SERVICE_UNAVAILABLE, "too many pages wait for their readers\n"),
        false => decide(inner, door, request, stage).map(|body| body.counted(unread)),
    };
    let headers = response.headers_mut();
    // A page that leads a browser here must not be able to use the response.
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn decide<B>(
    inner: &Arc<ProxyState>,
    door: &AdminOrigin,
    request: &Request<B>,
    stage: &Shutdown,
) -> Response<AdminBody> {
    let path = request.uri().path();
    if let Err(why) = inner.access.admits(door, request) {
        return text(StatusCode::FORBIDDEN, why);
    }
    let Some((_, way, _)) = PAGES.iter().find(|(known, _, _)| *known == path) else {
        return text(StatusCode::NOT_FOUND, format!("no such page; there are:\n{}", list()));
    };
    if !way.allows(request.method()) {
        let methods = way.methods();
        let mut response =
            text(StatusCode::METHOD_NOT_ALLOWED, format!("{path} takes {methods}\n"));
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
        return response;
    }
    if *way != PageEffect::Read
        && let Err((status, why)) = inner.access.may_change(door, request)
    {
        let mut response = text(status, why);
        if status == StatusCode::UNAUTHORIZED {
            let value = HeaderValue::from_static("Bearer realm=\"tamis admin\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
        return response;
    }
    if *way == PageEffect::Watch {
        return watch(inner, request.uri().query(), stage);
    }
    page(inner, path, request.uri().query())
}

fn page(inner: &Arc<ProxyState>, path: &str, query: Option<&str>) -> Response<AdminBody> {
    match path {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match readiness(inner) {
            Ok(()) => text(StatusCode::OK, "ready\n"),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        "/metrics" => text(StatusCode::OK, metrics(inner)),
        "/config" => document(&pages::config(inner)),
        "/filters" => document(&pages::filters(inner)),
        "/upstreams" => document(&pages::upstreams(inner)),
        "/routes" => document(&pages::routes(inner)),
        "/drain" => drain(inner, query),
        "/undrain" => match inner.stay() {
            Ok(()) => text(StatusCode::OK, "serving\n"),
            Err(LeaveError) => text(StatusCode::CONFLICT, format!("{LeaveError}\n")),
        },
        _ => text(StatusCode::OK, list()),
    }
}

fn watch(inner: &Arc<ProxyState>, query: Option<&str>, stage: &Shutdown) -> Response<AdminBody> {
    let most = query.map(|query| query.strip_prefix("per-second=").and_then(|it| it.parse().ok()));
    let most = match most {
        None => tap::PER_SECOND,
        Some(Some(most @ 1..=tap::PER_SECOND_MAX)) => most,
        Some(_) => {
            let why = format!("/tap takes ?per-second=N, from 1 to {}\n", tap::PER_SECOND_MAX);
            return text(StatusCode::BAD_REQUEST, why);
        }
    };
    match inner.shared.taps.watch(most, stage.clone()) {
        Ok(body) => {
            let mut response = Response::new(AdminBody::Tap(body));
            let kind = HeaderValue::from_static("application/x-ndjson");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(TooManyWatchers) => {
            let why =
                format!("{} watch already, as many as may; try again later\n", tap::WATCHERS_MAX);
            text(StatusCode::SERVICE_UNAVAILABLE, why)
        }
    }
}

fn readiness(inner: &ProxyState) -> Result<(), &'static str> {
    if inner.shared.is_draining() {
        return Err("draining");
    }
    if inner.generation.load().number == 0 { Err("no generation yet") } else { Ok(()) }
}

fn drain(inner: &Arc<ProxyState>, query: Option<&str>) -> Response<AdminBody> {
    let lame_duck = match query.map(|query| query.strip_prefix("seconds=")) {
        None => inner.lame_duck,
        Some(seconds) => match seconds.and_then(|seconds| seconds.parse().ok()) {
            Some(seconds @ 0..=LAME_DUCK_MAX) => Duration::from_secs(seconds),
            _ => {
                let why = format!("/drain takes ?seconds=N, from 0 to {LAME_DUCK_MAX}\n");
                return text(StatusCode::BAD_REQUEST, why);
            }
        },
    };
    inner.leave(lame_duck);
    let seconds = lame_duck.as_secs();
    text(StatusCode::ACCEPTED, format!("draining; listeners close in {seconds} s\n"))
}

fn text(status: StatusCode, content: impl Into<String>) -> Response<AdminBody> {
    let mut response = Response::new(AdminBody::whole(content.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn document(value: &Value) -> Response<AdminBody> {
    let content = serde_json::to_vec_pretty(value).unwrap_or_default();
    let mut response = Response::new(AdminBody::whole(content));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Checks the names of the admin listener.
///
/// # Errors
/// Names the one that is not a host name.
pub(crate) fn check_hosts(hosts: &[String]) -> Result<(), String> {
    match hosts.iter().find(|host| !tamis_transport::hosts::is_host(host)) {
        None => Ok(()),
        Some(host) => {
            Err(format!("`{host}` is not a host name; write the name without scheme and port"))
        }
    }
}

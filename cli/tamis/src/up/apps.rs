//! The sample services: a storefront that calls the others, payments that may be flaky, a slow catalogue, and behind it a
//! stock that is reached over plain TCP.
//!
//! They are ordinary servers that know nothing about a mesh. Those of HTTP/1.1 send their calls to the address that their
//! document names as `outbound`, with the service's name as host, and connect to an address of `outboundTcp` as if the
//! service itself listened there. Where a document has a `tcp` port, a server answers [`lines`].

mod lines;

use crate::output;
use anyhow::{Result, anyhow};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tamis_resources::{
    Document, PortProtocol, Resource, ServiceEndpoint, ServicePort, ServiceSpec,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

/// The running services; they end when this is dropped.
pub(crate) struct Apps {
    stops: Vec<oneshot::Sender<()>>,
    /// Where one answers.
    addresses: BTreeSet<SocketAddr>,
}

impl Apps {
    /// Starts servers for the endpoints of these documents that have none, and reports the endpoints where it failed.
    pub(crate) fn add(&mut self, documents: &[Document]) -> Vec<String> {
        let (mut listeners, mut wrongs) = (Vec::new(), Vec::new());
        let new = plan(documents).into_iter().filter(|app| !self.addresses.contains(&app.address));
        for app in new {
            match listen(&app) {
                Ok(listener) => listeners.push((app, listener)),
                Err(error) => wrongs.push(output::one_line(&format!("{error:#}"))),
            }
        }
        if listeners.is_empty() {
            return wrongs;
        }
        let addresses: Vec<SocketAddr> = listeners.iter().map(|(app, _)| app.address).collect();
        match run(listeners) {
            Ok(stop) => {
                self.stops.push(stop);
                self.addresses.extend(addresses);
            }
            Err(error) => wrongs.push(format!("sample services do not start: {error:#}")),
        }
        wrongs
    }
}

/// The behaviour of a sample endpoint.
#[derive(Clone)]
struct App {
    name: String,
    endpoint: usize,
    address: SocketAddr,
    outbound: Option<SocketAddr>,
    /// What it speaks.
    speech: SampleProtocol,
    /// Services that its front page calls.
    calls: Vec<String>,
    /// Services over TCP that each of its pages asks, and where its sidecar accepts connections to them.
    asks: Vec<(String, SocketAddr)>,
    /// Every n-th response is a 503; 0 means never.
    fails_every: u64,
    delay: Duration,
}

/// The protocol of a sample service.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SampleProtocol {
    Http,
    /// See [`lines`].
    Lines,
}

impl SampleProtocol {
    /// `None`: there is no sample service for it.
    fn of(port: &ServicePort) -> Option<Self> {
        match port.protocol {
            PortProtocol::Tcp => Some(Self::Lines),
            PortProtocol::Udp => None,
            PortProtocol::Http | PortProtocol::Http2 | PortProtocol::Grpc => Some(Self::Http),
        }
    }
}

/// Starts a server on every loopback endpoint of the documents.
pub(crate) fn start(documents: &[Document]) -> Result<Apps> {
    let apps = plan(documents).into_iter();
    let listeners = apps.map(|app| listen(&app).map(|listener| (app, listener)));
    let listeners = listeners.collect::<Result<Vec<_>>>()?;
    let addresses = listeners.iter().map(|(app, _)| app.address).collect();
    Ok(Apps { stops: vec![run(listeners)?], addresses })
}

fn listen(app: &App) -> Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(app.address).map_err(|error| {
        anyhow!(
            "the sample service {} cannot listen on {}: {error}; end the program that uses the port, or run `tamis up` with `--port-offset 1000` (adds it to all ports of the folder) or with `--no-apps` (without sample services)",
            app.name, app.address
        )
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until what it gives is dropped.
fn run(listeners: Vec<(App, std::net::TcpListener)>) -> Result<oneshot::Sender<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let run = move || {
        LocalSet::new().block_on(&runtime, async move {
            for (app, listener) in listeners {
                let Ok(listener) = TcpListener::from_std(listener) else { continue };
                drop(tokio::task::spawn_local(serve(Rc::new(app), listener)));
            }
            // Ends when the handle is dropped.
            let _ = stopped.await;
        });
    };
    std::thread::Builder::new().name("tamis-apps".to_owned()).spawn(run)?;
    Ok(stop)
}

fn plan(documents: &[Document]) -> Vec<App> {
    let services = || {
        documents.iter().filter_map(|one| match &one.resource {
            Resource::Service(spec) => Some((&one.metadata.name, spec)),
            _ => None,
        })
    };
    let takes_requests = |spec: &ServiceSpec| {
        spec.ports.first().and_then(SampleProtocol::of) == Some(SampleProtocol::Http)
    };
    let called = services().filter(|(_, spec)| takes_requests(spec)).map(|(name, _)| name.clone());
    let called: Vec<String> = called.collect();
    let mut apps = Vec::new();
    for (name, spec) in services() {
        for (endpoint, place) in spec.endpoints.iter().enumerate() {
            let front = name == "storefront";
            let app = |speech, address| App {
                name: name.clone(),
                endpoint,
                address,
                outbound: place.outbound.as_ref().and_then(|address| address.parse().ok()),
                speech,
                calls: called.iter().filter(|other| front && *other != name).cloned().collect(),
                asks: asks(place),
                // The second endpoint of a service is the flaky one, the catalogue the slow one.
                fails_every: if endpoint == 1 { 3 } else { 0 },
                delay: Duration::from_millis(if name == "catalog" { 120 } else { 0 }),
            };
            apps.extend(sockets(spec, place).map(|(speech, address)| app(speech, address)));
        }
    }
    apps
}

/// What an endpoint asks over TCP.
fn asks(place: &ServiceEndpoint) -> Vec<(String, SocketAddr)> {
    let all = place.outbound_tcp.iter();
    all.filter_map(|one| Some((one.name.clone(), one.address.parse().ok()?))).collect()
}

/// The loopback addresses of an endpoint's application, and what it speaks there.
fn sockets(
    spec: &ServiceSpec,
    place: &ServiceEndpoint,
) -> impl Iterator<Item = (SampleProtocol, SocketAddr)> {
    let first = spec.ports.first().into_iter();
    let first = first.filter_map(|port| Some((SampleProtocol::of(port)?, &place.address)));
    let lines = |number: u16| {
        spec.ports
            .iter()
            .any(|one| one.port == number && SampleProtocol::of(one) == Some(SampleProtocol::Lines))
    };
    let rest = place.ports.iter().filter(move |one| lines(one.port));
    let rest = rest.map(|one| (SampleProtocol::Lines, &one.address));
    let all = first.chain(rest);
    let all = all.filter_map(|(speech, text)| Some((speech, text.parse::<SocketAddr>().ok()?)));
    all.filter(|(_, address)| address.ip().is_loopback())
}

async fn serve(app: Rc<App>, listener: TcpListener) {
    let count = Rc::new(AtomicU64::new(0));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // For example, no file descriptors are left: an immediate retry would spin.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // A failure only delays responses.
        let _ = stream.set_nodelay(true);
        let (app, count) = (Rc::clone(&app), Rc::clone(&count));
        if app.speech == SampleProtocol::Lines {
            drop(tokio::task::spawn_local(lines::serve(stream)));
            continue;
        }
        drop(tokio::task::spawn_local(async move {
            let service = service_fn(move |request| {
                let (app, count) = (Rc::clone(&app), Rc::clone(&count));
                async move { Ok::<_, Infallible>(answer(&app, &count, request).await) }
            });
            let io = TokioIo::new(stream);
            // A broken connection is its client's concern.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
        }));
    }
}

async fn answer(app: &App, count: &AtomicU64, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    // A request whose body is cut off still gets a response; its connection ends without our help.
    let received = body.collect().await.map_or(0, |body| body.to_bytes().len());
    tokio::time::sleep(app.delay).await;
    let number = count.fetch_add(1, Ordering::Relaxed) + 1;
    if app.fails_every > 0 && number.is_multiple_of(app.fails_every) {
        let mut response = Response::new(Full::new(Bytes::from_static(b"out of order\n")));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return response;
    }
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let mut page = json!({
        "service": app.name,
        "endpoint": app.endpoint,
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "received": received,
        "user": header("x-user"),
        "forwarded": header("x-forwarded-for"),
        "via": header("via"),
    });
    let calls = head.uri.path() == "/" && header("x-depth").is_none();
    if let (true, Some(outbound), Some(object)) = (calls, app.outbound, page.as_object_mut()) {
        let mut answers = serde_json::Map::new();
        for service in &app.calls {
            let trace = head.headers.get("traceparent").cloned();
            answers.insert(service.clone(), call(outbound, service, trace).await);
        }
        object.insert("calls".to_owned(), Value::Object(answers));
    }
    if let (false, Some(object)) = (app.asks.is_empty(), page.as_object_mut()) {
        object.insert("asks".to_owned(), ask_all(app, head.uri.path()).await);
    }
    let text = serde_json::to_string_pretty(&page).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(text + "\n")));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Asks services over TCP about the article that a path ends with.
async fn ask_all(app: &App, path: &str) -> Value {
    let last = path.split('/').rfind(|segment| !segment.is_empty());
    let article = last.unwrap_or("everything");
    let mut answers = serde_json::Map::new();
    for (service, address) in &app.asks {
        let asked = tokio::time::timeout(PATIENCE, lines::ask(*address, article)).await;
        let answer = asked.unwrap_or_else(|_| no_answer());
        answers.insert(service.clone(), answer);
    }
    Value::Object(answers)
}

/// How long a sample service waits for another.
const PATIENCE: Duration = Duration::from_secs(5);

fn no_answer() -> Value {
    json!({ "error": format!("no response in {} s", PATIENCE.as_secs()) })
}

/// Calls another service by name through the sidecar.
async fn call(outbound: SocketAddr, service: &str, trace: Option<HeaderValue>) -> Value {
    let asked = async {
        let stream = TcpStream::connect(outbound).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        drop(tokio::task::spawn_local(async move {
            let _ = connection.await;
        }));
        let mut request = Request::new(Empty::<Bytes>::new());
        let host = HeaderValue::from_str(service).map_err(|error| error.to_string())?;
        request.headers_mut().insert(header::HOST, host);
        request.headers_mut().insert("x-depth", HeaderValue::from_static("1"));
        if let Some(trace) = trace {
            request.headers_mut().insert("traceparent", trace);
        }
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
        let body: Option<Value> = serde_json::from_slice(&body.to_bytes()).ok();
        let endpoint = body.as_ref().and_then(|body| body.get("endpoint")).cloned();
        Ok::<_, String>(json!({ "status": status, "endpoint": endpoint }))
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => json!({ "error": error }),
        Err(_) => no_answer(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_named_with_the_ways_out() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let text = format!(
            "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: app, namespace: test }}\n\
             spec: {{ ports: [{{ port: 80, protocol: http }}], endpoints: [{{ address: {address} }}] }}\n"
        );
        let (documents, problems) = tamis_resources::parse("mesh.yaml", &text);
        assert!(problems.is_empty(), "{problems:?}");
        let said = format!("{:#}", start(&documents).err().unwrap());
        for part in ["app", &address.to_string(), "`--port-offset 1000`", "`--no-apps`"] {
            assert!(said.contains(part), "{said}");
        }
    }
}

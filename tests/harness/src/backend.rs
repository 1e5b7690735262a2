//! An HTTP/1.1 server whose responses the test sets.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

/// How a backend answers from now on.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// With this status.
    Status(u16),
    /// With 200 and the body that it received.
    Echo,
    /// With 200 after a while.
    Slow(Duration),
}

/// A request as received by a backend.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    /// Method and target.
    pub line: String,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

struct State {
    answer: Mutex<Answer>,
    count: AtomicU64,
    last: Mutex<Option<ReceivedRequest>>,
}

/// A server; ends when dropped.
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
    _stop: oneshot::Sender<()>,
}

impl Backend {
    /// Starts one that answers 200 with the request's path as body.
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            answer: Mutex::new(Answer::Status(200)),
            count: AtomicU64::new(0),
            last: Mutex::new(None),
        });
        let (stop, mut stopped) = oneshot::channel::<()>();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let accepted = tokio::select! {
                        accepted = listener.accept() => accepted,
                        _ = &mut stopped => return,
                    };
                    let Ok((stream, _)) = accepted else { continue };
                    let _ = stream.set_nodelay(true);
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move {
                        let service = service_fn(move |request| {
                            let shared = Arc::clone(&shared);
                            async move { Ok::<_, Infallible>(answer(&shared, request).await) }
                        });
                        let server = hyper::server::conn::http1::Builder::new();
                        let _ = server.serve_connection(TokioIo::new(stream), service).await;
                    });
                }
            });
        });
        Self { address, state, _stop: stop }
    }

    /// Sets how it answers from now on.
    pub fn answers(&self, answer: Answer) {
        *self.state.answer.lock().unwrap() = answer;
    }

    /// Requests so far.
    pub fn count(&self) -> u64 {
        self.state.count.load(Ordering::Relaxed)
    }

    /// The last request.
    pub fn last(&self) -> Option<ReceivedRequest> {
        self.state.last.lock().unwrap().clone()
    }
}

async fn answer(state: &State, request: Request<Incoming>) -> Response<Full<Bytes>> {
    state.count.fetch_add(1, Ordering::Relaxed);
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    let path = head.uri.path().to_owned();
    let headers = head.headers.iter();
    let headers = headers
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()));
    let seen = ReceivedRequest {
        line: format!("{} {}", head.method, head.uri),
        headers: headers.collect(),
        body,
    };
    let how = *state.answer.lock().unwrap();
    let body = if matches!(how, Answer::Echo) { seen.body.clone() } else { path.into() };
    *state.last.lock().unwrap() = Some(seen);
    let mut response = Response::new(Full::new(Bytes::from(body)));
    match how {
        Answer::Echo => {}
        Answer::Status(status) => *response.status_mut() = StatusCode::from_u16(status).unwrap(),
        Answer::Slow(time) => tokio::time::sleep(time).await,
    }
    response
}

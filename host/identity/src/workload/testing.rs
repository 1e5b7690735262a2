//! An agent on a socket of a test folder: it speaks the protocol, and sends what a test says.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use tamis_ambient::{Clock, Random};
use tamis_authority::CertificateAuthority;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use super::AgentSocket;
use super::messages::{AgentSvidEntry, SvidMessage};
use crate::key::SvidKey;

pub(super) const PAY: &str = "spiffe://shop.example/ns/shop/pay";
pub(super) const CART: &str = "spiffe://shop.example/ns/shop/cart";
pub(super) const LEDGER: &str = "spiffe://partner.example/ns/bank/ledger";

/// An authority of a trust domain.
pub(super) struct TestDomain {
    authority: CertificateAuthority,
    _folder: TempDir,
}

impl TestDomain {
    pub(super) fn new(domain: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (domain, now) = (domain.parse().unwrap(), Clock::system().wall());
        let path = folder.path().join("authority");
        let authority = CertificateAuthority::open(&path, &domain, Random::system(), now).unwrap();
        Self { authority, _folder: folder }
    }

    /// Its authorities in DER, one after the other.
    pub(super) fn bundle(&self) -> Vec<u8> {
        concatenated(self.authority.bundle())
    }

    /// An entry that is valid for an hour.
    pub(super) fn entry(&self, id: &str) -> AgentSvidEntry {
        let key = SvidKey::generate().unwrap();
        let request = CertificateSigningRequestDer::from_pem_slice(key.request.as_bytes()).unwrap();
        let (hour, now) = (Duration::from_secs(3_600), Clock::system().wall());
        let svid = self.authority.issue(&request, &id.parse().unwrap(), hour, now).unwrap();
        AgentSvidEntry {
            spiffe_id: id.to_owned(),
            x509_svid: concatenated(&svid.chain),
            x509_svid_key: key.private().secret_der().to_vec(),
            bundle: self.bundle(),
        }
    }
}

fn concatenated(pem: &str) -> Vec<u8> {
    let all = CertificateDer::pem_slice_iter(pem.as_bytes());
    all.flat_map(|one| one.unwrap().to_vec()).collect()
}

/// A message with these entries.
pub(super) fn message(svids: &[AgentSvidEntry]) -> SvidMessage {
    SvidMessage { svids: svids.to_vec(), federated_bundles: BTreeMap::new() }
}

/// What an agent does next on the stream that is open, or on the next one.
pub(super) enum Step {
    /// Sends these octets.
    Octets(Vec<u8>),
    /// Ends the stream with a status.
    Status(&'static str, &'static str),
    /// Ends it without one.
    End,
    /// Refuses the next stream, with these fields in the head of a response with this status.
    Head(u16, &'static [(&'static str, &'static str)]),
}

impl Step {
    /// Sends a message.
    pub(super) fn message(message: &SvidMessage) -> Self {
        Self::Octets(framed(&message.encode_to_vec()))
    }
}

/// Octets as one message of gRPC.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

type Steps = Arc<Mutex<mpsc::UnboundedReceiver<Step>>>;

/// An agent that runs until it is dropped.
pub(super) struct TestAgent {
    pub(super) socket: AgentSocket,
    pub(super) steps: mpsc::UnboundedSender<Step>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestAgent {
    pub(super) fn start(folder: &Path) -> Self {
        let path = folder.join("agent.sock");
        let _ = std::fs::remove_file(&path);
        let socket = format!("unix://{}", path.display()).parse().unwrap();
        let (steps, taken) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = UnixListener::from_std(listener).unwrap();
                tokio::select! {
                    () = serve(listener, Arc::new(Mutex::new(taken))) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { socket, steps, stop: Some(stop), thread: Some(thread) }
    }

    pub(super) fn does(&self, step: Step) {
        self.steps.send(step).unwrap();
    }
}

impl Drop for TestAgent {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn serve(listener: UnixListener, steps: Steps) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let steps = Arc::clone(&steps);
        let service = service_fn(move |request: Request<Incoming>| {
            let steps = Arc::clone(&steps);
            async move { Ok::<_, Infallible>(respond(&request, steps)) }
        });
        let builder = Builder::new(TokioExecutor::new());
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        drop(tokio::spawn(async move {
            let _ = connection.await;
        }));
    }
}

/// As an agent responds: nobody without the field of the Workload API receives anything.
fn respond(request: &Request<Incoming>, steps: Steps) -> Response<ScriptBody> {
    let field = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap());
    assert_eq!(request.method(), "POST");
    assert_eq!(request.uri().path(), "/SpiffeWorkloadAPI/FetchX509SVID");
    assert_eq!((field("content-type"), field("te")), (Some("application/grpc"), Some("trailers")));
    let refuse = |status: u16, fields: &[(&'static str, &'static str)]| {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        response.body(ScriptBody(None)).unwrap()
    };
    if field("workload.spiffe.io") != Some("true") {
        let message = "security header missing from request";
        let kind = ("content-type", "application/grpc");
        return refuse(200, &[kind, ("grpc-status", "3"), ("grpc-message", message)]);
    }
    let first = steps.lock().unwrap_or_else(PoisonError::into_inner).try_recv();
    let mut body = ScriptBody(Some((steps, None)));
    match first {
        Ok(Step::Head(status, fields)) => return refuse(status, fields),
        Ok(step) => body.0.as_mut().unwrap().1 = Some(step),
        Err(_) => {}
    }
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

/// A response that goes as the steps say; `None`: it has ended.
struct ScriptBody(Option<(Steps, Option<Step>)>);

impl Body for ScriptBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some((steps, first)) = &mut self.0 else { return Poll::Ready(None) };
        let step = match first.take() {
            Some(step) => Some(step),
            None => {
                let mut steps = steps.lock().unwrap_or_else(PoisonError::into_inner);
                match steps.poll_recv(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(step) => step,
                }
            }
        };
        match step {
            Some(Step::Octets(octets)) => Poll::Ready(Some(Ok(Frame::data(octets.into())))),
            Some(Step::Status(status, message)) => {
                self.0 = None;
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", status.parse().unwrap());
                trailers.insert("grpc-message", message.parse().unwrap());
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Some(Step::End | Step::Head(..)) | None => {
                self.0 = None;
                Poll::Ready(None)
            }
        }
    }
}

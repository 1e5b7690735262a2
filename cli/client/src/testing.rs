//! A server for tests: a function makes its responses, and it keeps the requests.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tamis_transport::ServerTls;
use tokio::net::{TcpListener, UnixListener};

use crate::{Client, ClientOptions};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct RecordedRequest {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) body: Bytes,
}

/// A response.
pub(crate) type Answer = Response<Full<Bytes>>;

pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

type AnswerFunction = Arc<dyn Fn(&RecordedRequest) -> Answer + Send + Sync>;

/// The server.
pub(crate) struct FakeServer {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<RecordedRequest>>>,
}

impl FakeServer {
    pub(crate) async fn new(
        says: impl Fn(&RecordedRequest) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (says, asked): (AnswerFunction, _) = (Arc::new(says), Arc::default());
        let kept = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(TokioIo::new(stream), Arc::clone(&says), Arc::clone(&kept));
            }
        });
        Self { address, asked }
    }

    pub(crate) async fn on_unix(
        path: &std::path::Path,
        says: impl Fn(&RecordedRequest) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (says, asked): (AnswerFunction, _) = (Arc::new(says), Arc::default());
        let kept = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(TokioIo::new(stream), Arc::clone(&says), Arc::clone(&kept));
            }
        });
        Self { address: format!("unix:{}", path.display()), asked }
    }

    /// Serves TLS with a certificate for `localhost`; writes the PEM of its authority to `ca`.
    pub(crate) async fn on_tls(
        folder: &std::path::Path,
        says: impl Fn(&RecordedRequest) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let tls = certificates(folder);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let (says, asked): (AnswerFunction, _) = (Arc::new(says), Arc::default());
        let kept = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Clients that trust another authority end the handshake here.
                let Ok((stream, _)) = tls.accept(stream).await else { continue };
                serve(TokioIo::new(stream), Arc::clone(&says), Arc::clone(&kept));
            }
        });
        Self { address, asked }
    }

    pub(crate) fn options(&self) -> ClientOptions {
        ClientOptions::new(self.address.parse().unwrap())
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(ClientOptions { token: Some("secret".into()), ..self.options() }).unwrap()
    }

    pub(crate) fn asked(&self) -> Vec<RecordedRequest> {
        self.asked.lock().unwrap().clone()
    }
}

/// Writes `ca.pem`, and the certificate and key of a server that this authority signs.
fn certificates(folder: &std::path::Path) -> ServerTls {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let (key, names) = (KeyPair::generate().unwrap(), vec!["localhost".to_owned()]);
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let path = |name: &str| folder.join(name);
    std::fs::write(path("ca.pem"), issuer.pem()).unwrap();
    std::fs::write(path("server.pem"), leaf.pem()).unwrap();
    std::fs::write(path("server.key"), key.serialize_pem()).unwrap();
    ServerTls::from_files(&path("server.pem"), &path("server.key"), None).unwrap()
}

fn serve<IO>(io: IO, says: AnswerFunction, kept: Arc<Mutex<Vec<RecordedRequest>>>)
where
    IO: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let service = service_fn(move |request: Request<Incoming>| {
            let (says, kept) = (Arc::clone(&says), Arc::clone(&kept));
            async move {
                let (head, body) = request.into_parts();
                let token = head.headers.get("authorization");
                let asked = RecordedRequest {
                    method: head.method,
                    path: head.uri.to_string(),
                    token: token.map(|token| token.to_str().unwrap().to_owned()),
                    body: body.collect().await.unwrap().to_bytes(),
                };
                let said = says(&asked);
                kept.lock().unwrap().push(asked);
                Ok::<_, Infallible>(said)
            }
        });
        // Some tests end the client early.
        let _ = http1::Builder::new().serve_connection(io, service).await;
    });
}

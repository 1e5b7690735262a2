//! A SPIFFE agent for tests: its authority, and the stream that proxies open at its socket.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};

/// An authority of a trust domain that is no registry's.
pub(super) struct Issuer(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub(super) struct Issued {
    id: String,
    pub(super) certificate: rcgen::Certificate,
    pub(super) key: KeyPair,
}

impl Issuer {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "the authority of an agent");
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A new SVID.
    pub(super) fn issue(&self, id: &str) -> Issued {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI(id.try_into().unwrap()));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued { id: id.to_owned(), certificate, key }
    }

    /// A message of an agent with a new SVID for each of these ids, as octets on a stream (`workload.proto`; gRPC over HTTP/2).
    pub(super) fn message(&self, ids: &[&str]) -> Bytes {
        let mut message = Vec::new();
        for id in ids {
            let Issued { id, certificate, key } = self.issue(id);
            let parts = [
                field(1, id.as_bytes()),
                field(2, certificate.der()),
                field(3, &key.serialize_der()),
                field(4, self.0.der()),
            ];
            message.extend(field(1, &parts.concat()));
        }
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0][..], &length, &message].concat().into()
    }
}

/// A field of a message: its number, its length, its octets.
fn field(number: u8, octets: &[u8]) -> Vec<u8> {
    let mut text = vec![number << 3 | 2];
    let mut left = octets.len();
    while left >= 0x80 {
        text.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
        left >>= 7;
    }
    text.push(u8::try_from(left).unwrap());
    text.extend_from_slice(octets);
    text
}

/// An agent that serves until it is dropped.
pub(super) struct Agent {
    sends: watch::Sender<Bytes>,
    path: PathBuf,
    _runtime: tokio::runtime::Runtime,
}

impl Agent {
    /// Sends a message to everybody who asks at a socket.
    pub(super) fn start(path: &Path, first: Bytes) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let (sends, message) = watch::channel(first);
        let listener = runtime.block_on(async { UnixListener::bind(path).unwrap() });
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let message = message.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let message = message.clone();
                    async move { Ok::<_, Infallible>(respond(&request, message)) }
                });
                let connection = Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service);
                drop(tokio::spawn(connection));
            }
        });
        Self { sends, path: path.to_owned(), _runtime: runtime }
    }

    /// Sends another message, on the streams that are open, too.
    pub(super) fn sends(&self, message: Bytes) {
        self.sends.send(message).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn respond(request: &Request<Incoming>, mut message: watch::Receiver<Bytes>) -> Response<Messages> {
    let (send, receive) = mpsc::unbounded_channel();
    assert_eq!(request.uri().path(), "/SpiffeWorkloadAPI/FetchX509SVID");
    if request.headers().get("workload.spiffe.io").is_some_and(|it| it == "true") {
        drop(tokio::spawn(async move {
            loop {
                let now = message.borrow_and_update().clone();
                if send.send(now).is_err() || message.changed().await.is_err() {
                    return;
                }
            }
        }));
    }
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(Messages(receive)).unwrap()
}

struct Messages(mpsc::UnboundedReceiver<Bytes>);

impl Body for Messages {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|message| message.map(|message| Ok(Frame::data(message))))
    }
}

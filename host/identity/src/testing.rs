//! A registry on loopback that signs with a real authority, for tests.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use tamis_ambient::{Clock, Random};
use tamis_authority::{CertificateAuthority, JoinLedger, JoinRecord, JoinToken, request_key};
use tamis_sync::{JOIN_PATH, JoinFile, SvidAnswer, SvidRequest};
use tamis_transport::{ClientCertificates, MeshIdentity, ServerTls, SpiffeId};
use tokio::sync::oneshot;

pub(crate) const NODE: &str = "sidecar:shop/pay/0";
pub(crate) const PAY: &str = "spiffe://shop.example/ns/shop/pay";
const REGISTRY: &str = "spiffe://shop.example/registry";

/// What survives a stop of the registry.
pub(crate) struct TestMesh {
    pub(crate) authority: CertificateAuthority,
    ledger: JoinLedger,
    /// Requests that were answered, by path.
    pub(crate) answered: BTreeMap<String, usize>,
    /// Whether its next answer to a join does not arrive, and the proxy receives another.
    pub(crate) loses: bool,
    /// Whether it refuses renewals because they come too often.
    pub(crate) paces: bool,
    lifetime: Duration,
}

/// A registry that runs until it is dropped.
pub(crate) struct TestRegistry {
    pub(crate) mesh: Arc<Mutex<TestMesh>>,
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestMesh {
    pub(crate) fn new(folder: &std::path::Path, lifetime: Duration) -> Arc<Mutex<Self>> {
        let domain = "shop.example".parse().unwrap();
        let now = Clock::system().wall();
        let authority = CertificateAuthority::open(folder, &domain, Random::system(), now).unwrap();
        let (ledger, answered) = (JoinLedger::default(), BTreeMap::new());
        Arc::new(Mutex::new(Self {
            authority,
            ledger,
            answered,
            loses: false,
            paces: false,
            lifetime,
        }))
    }

    fn bundles(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("shop.example".to_owned(), self.authority.bundle().to_owned())])
    }

    pub(crate) fn svid(&self, id: &str, lifetime: Duration) -> MeshIdentity {
        let now = Clock::system().wall();
        self.authority.own_identity(&id.parse().unwrap(), "", lifetime, now).unwrap()
    }

    fn answer(
        &mut self,
        path: &str,
        peer: Option<&SpiffeId>,
        asked: &SvidRequest,
    ) -> Result<SvidAnswer, String> {
        let now = Clock::system();
        if path == JOIN_PATH {
            let token: JoinToken = asked.token.as_deref().unwrap_or_default().parse().unwrap();
            let request = CertificateSigningRequestDer::from_pem_slice(asked.request.as_bytes());
            let key = request_key(&request.unwrap()).unwrap();
            let used = self.ledger.admit(&token, &asked.node, Some(&key), now.unix_secs());
            let used = used.map_err(|refusal| format!("{}|{refusal}", refusal.code()))?;
            used.iter().for_each(|used| self.ledger.apply(used, now.unix_secs()));
            if std::mem::take(&mut self.loses) {
                return Err("lost|".to_owned());
            }
        } else if peer.map(SpiffeId::as_str) != Some(PAY) {
            return Err("node.identity|somebody else".to_owned());
        } else if self.paces {
            return Err("identity.pace|too often".to_owned());
        }
        let request = CertificateSigningRequestDer::from_pem_slice(asked.request.as_bytes());
        let id = PAY.parse().unwrap();
        let svid = self.authority.issue(&request.unwrap(), &id, self.lifetime, now.wall()).unwrap();
        *self.answered.entry(path.to_owned()).or_default() += 1;
        Ok(SvidAnswer { chain: svid.chain, bundles: self.bundles() })
    }
}

impl TestRegistry {
    /// Serves at an address; port 0: any free one.
    pub(crate) fn start(mesh: Arc<Mutex<TestMesh>>, address: &str) -> Self {
        let identity = mesh.lock().unwrap().svid(REGISTRY, Duration::from_secs(3_600));
        let (stop, stopped) = oneshot::channel();
        let (said, hear) = mpsc::channel();
        let (address, serving) = (address.to_owned(), Arc::clone(&mesh));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = tokio::net::TcpListener::bind(address).await.unwrap();
                said.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = serve(listener, &identity, &serving) => {}
                    _ = stopped => {}
                }
            });
        });
        let address = hear.recv().unwrap();
        Self { mesh, address, stop: Some(stop), thread: Some(thread) }
    }

    /// A join file with a new token for [`NODE`].
    pub(crate) fn join_file(&self) -> JoinFile {
        let token = JoinToken::generate(Random::system()).unwrap();
        let mut mesh = self.mesh.lock().unwrap();
        let (node, expires) = (NODE.to_owned(), u64::MAX);
        mesh.ledger
            .apply(&JoinRecord::Created { token: token.hash(), node, expires, maker: None }, 0);
        JoinFile {
            node: NODE.to_owned(),
            token: token.reveal(),
            registry: self.address.to_string(),
            registry_id: REGISTRY.to_owned(),
            bundles: mesh.bundles(),
        }
    }

    pub(crate) fn answered(&self, path: &str) -> usize {
        self.mesh.lock().unwrap().answered.get(path).copied().unwrap_or(0)
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn serve(
    listener: tokio::net::TcpListener,
    identity: &MeshIdentity,
    mesh: &Arc<Mutex<TestMesh>>,
) {
    let tls = ServerTls::from_identity(identity, ClientCertificates::Optional).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, mesh) = (tls.clone(), Arc::clone(mesh));
        drop(tokio::spawn(async move {
            let Ok((stream, peer)) = tls.accept(stream).await else { return };
            let peer = Arc::new(peer.spiffe_id);
            let service = service_fn(move |request: Request<Incoming>| {
                let (mesh, peer) = (Arc::clone(&mesh), Arc::clone(&peer));
                async move {
                    let path = request.uri().path().to_owned();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let asked: SvidRequest = serde_json::from_slice(&body).unwrap();
                    let answer = mesh.lock().unwrap().answer(&path, peer.as_ref().as_ref(), &asked);
                    Ok::<_, Infallible>(response(answer))
                }
            });
            let _ = Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }));
    }
}

fn response(answer: Result<SvidAnswer, String>) -> Response<Full<Bytes>> {
    let (status, body) = match answer {
        Ok(answer) => (200, serde_json::to_value(answer).unwrap()),
        Err(why) => {
            let (code, title) = why.split_once('|').unwrap();
            let status = if code == "identity.pace" { 429 } else { 403 };
            (status, serde_json::json!({ "code": code, "title": title, "remedy": "a way out" }))
        }
    };
    let answer = Response::builder().status(status).header("retry-after", "7");
    answer.body(Full::new(Bytes::from(body.to_string()))).unwrap()
}

//! A director for tests: implements the protocol over real mTLS, and lies on request.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::json;
use tamis_exchange::{ChannelBody, FrameSender};
use tamis_sync::{MessageFromNode, MessageToNode, NodeReport, Parts, Session, SlotReport};
use tamis_transport::ServerTls;
use tamis_trust::PrivateKey;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::*;

/// The identity of the director.
pub(crate) const DIRECTOR: &str = "spiffe://test.example/registry";
/// Time limit for everything here.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a stream sends before it ends, instead of what it should.
pub(crate) enum Lie {
    /// These bytes, and the end.
    Says(Vec<u8>),
    /// The first half of the correct bytes, and the end.
    Half,
}

/// Its plan, its artifacts and the messages it received.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) wanted: Parts,
    pub(crate) revision: u64,
    /// Components by digest.
    pub(crate) blobs: HashMap<String, Bytes>,
    /// One for each of the next streams.
    pub(crate) lies: VecDeque<Lie>,
    /// Number of streams that began.
    pub(crate) hellos: usize,
    /// Number of parts sent.
    pub(crate) sent: usize,
    /// Number of blobs requested.
    pub(crate) pulls: usize,
    /// Number of connections that ended before a request.
    pub(crate) strangers: usize,
    /// Whether the last change was accepted, and why not.
    pub(crate) outcome: Option<(bool, Option<String>)>,
    pub(crate) report: Option<NodeReport>,
}

#[derive(Default)]
struct DirectorState {
    world: Mutex<World>,
    changed: Condvar,
    wake: Notify,
}

pub(crate) struct Director {
    pub(crate) folder: TempDir,
    pub(crate) key: PrivateKey,
    address: SocketAddr,
    shared: Arc<DirectorState>,
    running: Option<(Arc<Notify>, std::thread::JoinHandle<()>)>,
}

impl Director {
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        certificates(folder.path());
        let mut director = Self {
            folder,
            key: PrivateKey::generate().unwrap(),
            address: tamis_harness::ports::address(),
            shared: Arc::default(),
            running: None,
        };
        director.begin();
        director
    }

    /// Serves, at the same address as before.
    pub(crate) fn begin(&mut self) {
        let (shared, address) = (Arc::clone(&self.shared), self.address);
        let pem = |name: &str| self.folder.path().join(name);
        let (certificate, key, ca) = (pem("director.crt"), pem("director.key"), pem("ca.crt"));
        let tls = ServerTls::from_files(&certificate, &key, Some(&ca)).unwrap();
        let end = Arc::new(Notify::new());
        let ended = Arc::clone(&end);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = TcpListener::bind(address).await.unwrap();
                tokio::select! {
                    () = accept(listener, tls, shared) => {}
                    () = ended.notified() => {}
                }
            });
        });
        self.running = Some((end, thread));
    }

    /// Stops, with every connection.
    pub(crate) fn end(&mut self) {
        if let Some((end, thread)) = self.running.take() {
            end.notify_one();
            thread.join().unwrap();
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().unwrap()
    }

    /// Sets the desired parts.
    pub(crate) fn wants(&self, parts: Parts) {
        let mut world = self.world();
        world.wanted = parts;
        world.revision += 1;
        drop(world);
        self.shared.wake.notify_waiters();
    }

    /// Waits until the received messages satisfy a condition.
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&World) -> bool) {
        let mut world = self.world();
        let end = Instant::now() + PATIENCE;
        while !holds(&world) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what}: {:?} {:?}", world.outcome, world.report);
            world = self.shared.changed.wait_timeout(world, left).unwrap().0;
        }
    }

    /// Waits until a report of a slot satisfies a condition.
    pub(crate) fn reports(&self, slot: &str, holds: impl Fn(&SlotReport) -> bool) -> SlotReport {
        let find = |world: &World| {
            let report = world.report.as_ref()?;
            report.slots.iter().find(|one| one.slot == slot && holds(one)).cloned()
        };
        self.until(slot, |world| find(world).is_some());
        find(&self.world()).unwrap()
    }

    /// How the proxy of these tests follows it.
    pub(crate) fn follow(&self, state: &Path) -> FollowSettings {
        let pem = |name: &str| -> PathBuf { self.folder.path().join(name) };
        let keys = json!({ "threshold": 1,
            "keys": [{ "name": "director", "publicKey": self.key.public_key().to_pem() }] });
        FollowSettings {
            director: self.address.to_string(),
            login: DirectorLogin::Files {
                certificate: pem("node.crt"),
                key: pem("node.key"),
                ca: pem("ca.crt"),
                director: Some(DIRECTOR.to_owned()),
            },
            state: state.to_owned(),
            keys: DirectorKeys::from_json(keys.to_string().as_bytes()).unwrap(),
            policy_root: None,
            report_every: Duration::from_millis(50),
            release: "0.0.0".to_owned(),
        }
    }
}

impl Drop for Director {
    fn drop(&mut self) {
        self.end();
    }
}

/// An authority, and certificates that it signed for both ends.
fn certificates(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(folder.join("ca.crt"), issuer.pem()).unwrap();
    for (name, id) in [("director", DIRECTOR), ("node", "spiffe://test.example/ns/test/sa/edge")] {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names.push(SanType::URI(id.try_into().unwrap()));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(folder.join(format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

async fn accept(listener: TcpListener, tls: ServerTls, shared: Arc<DirectorState>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        drop(tokio::spawn(async move {
            let served = Arc::new(std::sync::atomic::AtomicBool::new(false));
            if let Ok((stream, _)) = tls.accept(stream).await {
                let service = service_fn(|request| {
                    served.store(true, std::sync::atomic::Ordering::Relaxed);
                    answer(Arc::clone(&shared), request)
                });
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                // The other end may leave in any way.
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            }
            if !served.load(std::sync::atomic::Ordering::Relaxed) {
                shared.heard(|world| world.strangers += 1);
            }
        }));
    }
}

impl DirectorState {
    fn heard<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let told = change(&mut self.world.lock().unwrap());
        self.changed.notify_all();
        told
    }
}

type Answer = Response<Either<Full<Bytes>, ChannelBody>>;

async fn answer(
    shared: Arc<DirectorState>,
    request: Request<Incoming>,
) -> Result<Answer, hyper::Error> {
    let path = request.uri().path().to_owned();
    if let Some(digest) = path.strip_prefix("/v1/blobs/") {
        let blob = shared.heard(|world| {
            world.pulls += 1;
            world.blobs.get(digest).cloned()
        });
        let mut answer = Response::new(Either::Left(Full::new(blob.clone().unwrap_or_default())));
        if blob.is_none() {
            *answer.status_mut() = StatusCode::NOT_FOUND;
        }
        return Ok(answer);
    }
    assert_eq!(path, "/v1/nodes/gateway:test%2Fedge/stream");
    let (say, lines) = ChannelBody::new(16);
    drop(tokio::spawn(stream(shared, request.into_body(), say)));
    Ok(Response::new(Either::Right(lines)))
}

/// One stream of one proxy, until either end leaves.
async fn stream(shared: Arc<DirectorState>, mut body: Incoming, say: FrameSender) -> Option<()> {
    let mut rest = Vec::new();
    let MessageFromNode::Hello(hello) = line(&mut body, &mut rest).await? else {
        panic!("no hello")
    };
    let lie = shared.heard(|world| {
        world.hellos += 1;
        world.lies.pop_front()
    });
    if let Some(Lie::Says(bytes)) = lie {
        return say.send(Ok(Frame::data(bytes.into()))).await.ok();
    }
    let mut session = Session::new(&hello);
    loop {
        let woken = shared.wake.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        let frames = shared.heard(|world| session.frames(&world.wanted, world.revision));
        for frame in frames.into_iter().flatten() {
            let sent = frame.upserts.len();
            let mut bytes = serde_json::to_vec(&MessageToNode::Parts(frame)).unwrap();
            bytes.push(b'\n');
            if let Some(Lie::Half) = lie {
                bytes.truncate(bytes.len() / 2);
                return say.send(Ok(Frame::data(bytes.into()))).await.ok();
            }
            shared.heard(|world| world.sent += sent);
            say.send(Ok(Frame::data(bytes.into()))).await.ok()?;
        }
        let said = tokio::select! {
            said = line(&mut body, &mut rest) => said?,
            () = woken => continue,
        };
        match said {
            MessageFromNode::Hello(_) => panic!("it says hello twice"),
            MessageFromNode::Report(report) => shared.heard(|world| world.report = Some(report)),
            MessageFromNode::Outcome(outcome) => {
                session.acknowledge(&outcome).unwrap();
                shared.heard(|world| {
                    world.outcome = Some((outcome.taken, outcome.why));
                    world.report = Some(outcome.report);
                });
            }
        }
    }
}

/// The next line of a proxy; `None` when it has left.
async fn line(body: &mut Incoming, rest: &mut Vec<u8>) -> Option<MessageFromNode> {
    loop {
        if let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=at).collect();
            return Some(serde_json::from_slice(&line).unwrap());
        }
        rest.extend_from_slice(&body.frame().await?.ok()?.into_data().ok()?);
    }
}

//! A registry on a listener.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::plane::{
    ComponentExaminer, Control, ControlSettings, Keys, MeshOptions, MissingKeys, PolicyFolder,
    ProvenProxy, RENEWAL_GRACE,
};
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse as _;
use http::{Request, Response, header};
use tamis_ambient::Clock;
use tamis_journal::{Entry, Journal, JournalError};
use tamis_oci::{Limits, Store, collect};
use tamis_transport::{
    Address, BoundListener, ClientCertificates, ConnectionInfo, ListenerStage, PeerCertificate,
    PlainStream, RequestBody, ServeLimits, ServerTls, Shutdown, bind_private, hosts, is_own_user,
    serve_connection,
};
use tokio::sync::{Notify, watch};
use tokio::task::{LocalSet, spawn_local};
use tower::ServiceExt as _;

use crate::admin::{NAME as FIRST_TOKEN, first_token};
use crate::certificates::{Tls, TlsFiles};
use crate::proxies;
use crate::rest::problem;
use crate::{ServerError, Storage, health, identities, received, rest};

/// The options of a registry.
#[derive(Clone)]
pub struct RegistryOptions {
    /// Its storage.
    pub storage: Storage,
    /// Its address.
    pub listen: Address,
    /// Its TLS files; `None`: clear text, on loopback and unix sockets only.
    pub tls: Option<TlsFiles>,
    /// Host names for clear-text requests, in addition to `localhost`, loopback addresses and its own
    /// address.
    pub hosts: Vec<String>,
    /// The address and TLS files for proxies; `None`: no proxies.
    pub proxies: Option<(Address, TlsFiles)>,
    /// The trust domain whose authority it is, and its address for proxies; then there are no files for
    /// them. `None`: it signs no identities.
    pub mesh: Option<MeshOptions>,
    /// Its limits.
    pub limits: Limits,
    /// The rules for changes and assignments.
    pub rules: ControlSettings,
    /// Folder of signed policy metadata, and the root from which it is trusted; `None`: `TrustPolicy`
    /// documents count.
    pub policy: Option<(PathBuf, Vec<u8>)>,
    /// The name of the log, used when its key is made.
    pub log_origin: String,
    /// Handling of missing keys when the journal is in use.
    pub lost_keys: MissingKeyRule,
    /// The journal was restored from a backup: everything is assigned again, with higher versions than
    /// proxies have seen.
    pub restored: bool,
    /// Inspects components.
    pub examine: Arc<dyn ComponentExaminer>,
    /// Concurrent connections, without those of proxies; 1,024. Further ones wait in the queue of the
    /// system.
    pub max_connections: usize,
    /// Concurrent connections of proxies; 16,384.
    pub max_proxies: usize,
    /// Interval of garbage collection; every hour.
    pub collect_every: Duration,
    /// How long unneeded data is kept; 24 hours. Longer than any push takes.
    pub grace: Duration,
    /// Time that connections have to end; 10 seconds.
    pub drain: Duration,
}

/// Handling of missing keys when the journal is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingKeyRule {
    /// The registry does not start: other replicas, or a backup, have them.
    Refuse,
    /// An operator declared them lost: new ones are made, and everything is assigned again.
    MakeNew,
}

impl RegistryOptions {
    /// Options with the documented defaults.
    #[must_use]
    pub fn new(storage: Storage, listen: Address, examine: Arc<dyn ComponentExaminer>) -> Self {
        Self {
            storage,
            listen,
            tls: None,
            hosts: Vec::new(),
            proxies: None,
            mesh: None,
            limits: Limits::default(),
            rules: ControlSettings::default(),
            policy: None,
            log_origin: "tamis-registry".to_owned(),
            lost_keys: MissingKeyRule::Refuse,
            restored: false,
            examine,
            max_connections: 1_024,
            max_proxies: 16_384,
            collect_every: Duration::from_secs(3_600),
            grace: Duration::from_secs(24 * 3_600),
            drain: Duration::from_secs(10),
        }
    }
}

/// A running registry. Dropping it stops it.
pub struct Registry {
    ready: ReadyReport,
    stop: watch::Sender<ListenerStage>,
    thread: Option<JoinHandle<()>>,
}

/// Facts known once it serves.
struct ReadyReport {
    address: Address,
    proxies: Option<Address>,
    admin_token: Option<PathBuf>,
    director: PathBuf,
    log_key: String,
}

/// The opened parts that it serves from.
struct OpenedRegistry {
    store: Store,
    control: Control,
    socket: BoundListener,
    tls: Option<(ServerTls, TlsFiles)>,
    proxies: Option<ProxiesSocket>,
}

/// The socket for proxies, its address, and its certificate; the files are looked at again and again, an SVID
/// renews itself.
struct ProxiesSocket {
    socket: BoundListener,
    address: Address,
    tls: ServerTls,
    files: Option<TlsFiles>,
}

impl Registry {
    /// Opens everything and serves; returns once connections are accepted.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn start(options: RegistryOptions) -> Result<Self, ServerError> {
        if options.tls.is_none() && !is_private(&options.listen) {
            return Err(ServerError::ClearText(options.listen));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ServerError::Run)?;
        let (stop, stopped) = watch::channel(ListenerStage::Serve);
        let (sender, receiver) = mpsc::channel();
        let run = move || {
            LocalSet::new().block_on(&runtime, async move {
                match open(&options).await {
                    Ok((ready, opened)) => {
                        // The receiver is gone only if the starter is, which stops us below.
                        let _ = sender.send(Ok(ready));
                        serve(&options, opened, stopped).await;
                    }
                    Err(error) => drop(sender.send(Err(error))),
                }
            });
        };
        let thread = std::thread::Builder::new().name("registry".to_owned()).spawn(run);
        let thread = Some(thread.map_err(ServerError::Run)?);
        let ready = receiver.recv().map_err(|_| ServerError::Ended)??;
        Ok(Self { ready, stop, thread })
    }

    /// The address it listens on, with the port that the system chose for port 0.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.ready.address
    }

    /// The address for proxies, with the port that the system chose for port 0; `None`: no proxies.
    #[must_use]
    pub fn proxies_address(&self) -> Option<&Address> {
        self.ready.proxies.as_ref()
    }

    /// The file with which proxies check assignments.
    #[must_use]
    pub fn director_document(&self) -> &Path {
        &self.ready.director
    }

    /// The key of the log for verifiers: `NAME+ID+BASE64`.
    #[must_use]
    pub fn log_key(&self) -> &str {
        &self.ready.log_key
    }

    /// The file of the token that this start made because there was none; `None`: tokens existed.
    #[must_use]
    pub fn admin_token(&self) -> Option<&Path> {
        self.ready.admin_token.as_deref()
    }

    /// Whether it ended by itself, which it should not do.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops accepting connections, lets existing ones finish their requests, and returns when all is done.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.stop.send(ListenerStage::End);
        if let Some(thread) = self.thread.take() {
            // The reason of its end is in the log.
            let _ = thread.join();
        }
    }
}

/// Whether only this machine can reach it.
fn is_private(address: &Address) -> bool {
    match address {
        Address::Tcp(address) => address.ip().is_loopback(),
        Address::Unix(_) => true,
    }
}

async fn open(options: &RegistryOptions) -> Result<(ReadyReport, OpenedRegistry), ServerError> {
    let store = options.storage.open(options.limits.clone()).await?;
    let in_use = in_use(store.journal()).await.map_err(ServerError::Journal)?;
    let lost = options.lost_keys == MissingKeyRule::MakeNew;
    let missing = if in_use && !lost { MissingKeys::Refused } else { MissingKeys::Made };
    let keys = Keys::open(&options.storage.folder, &options.log_origin, missing)?;
    let (director, log_key) = (keys.director_document().to_owned(), keys.log_verifier());
    let examine = Arc::clone(&options.examine);
    let policy = match &options.policy {
        None => None,
        Some((folder, root)) => {
            let kept = options.storage.folder.join("policy.json");
            Some(PolicyFolder::open(folder, root, &kept)?)
        }
    };
    // Reads the whole journal and checks it.
    let control =
        Control::open(store.clone(), keys, options.rules.clone(), examine, policy).await?;
    if options.storage.has_own_blobs() {
        control.check_blobs().await?;
    }
    let folder = options.storage.folder.clone();
    let signed_the_last = control.signed_the_last();
    if !signed_the_last && !lost {
        return Err(ServerError::OtherDirector { folder });
    }
    // Before anything is signed: another replica may have started at the same time, with keys of its own.
    control.claim_keys(&folder, lost).await?;
    if !signed_the_last {
        control.restored("the director has a new key").await?;
    }
    if options.restored {
        control.restored("the registry was restored from a backup").await?;
        control.withdraw_tokens().await?;
    }
    let tls = match &options.tls {
        None => None,
        Some(files) => Some((files.read()?, files.clone())),
    };
    let proxies = match (&options.mesh, &options.proxies) {
        (Some(mesh), _) => Some(mesh_socket(options, mesh, &control).await?),
        (None, Some((listen, files))) => {
            let (tls, (socket, address)) = (files.read()?, bound(listen)?);
            Some(ProxiesSocket { socket, address, tls, files: Some(files.clone()) })
        }
        (None, None) => None,
    };
    // Late: whoever finds it open finds what else is made.
    let (socket, address) = bound(&options.listen)?;
    let admin_token = first_token(&store, &options.storage.folder).await?;
    let proxies_address = proxies.as_ref().map(|proxies| proxies.address.clone());
    let ready = ReadyReport { address, proxies: proxies_address, admin_token, director, log_key };
    Ok((ready, OpenedRegistry { store, control, socket, tls, proxies }))
}

/// The socket for the proxies of a trust domain, with the registry's own SVID.
async fn mesh_socket(
    options: &RegistryOptions,
    mesh: &MeshOptions,
    control: &Control,
) -> Result<ProxiesSocket, ServerError> {
    let (socket, address) = bound(&mesh.listen)?;
    let advertised = match (&mesh.advertised, &address) {
        (Some(advertised), _) => advertised.clone(),
        (None, Address::Tcp(own)) if !own.ip().is_unspecified() => own.to_string(),
        (None, _) => return Err(ServerError::Advertise(address)),
    };
    let lost = options.lost_keys == MissingKeyRule::MakeNew;
    control.open_authority(&options.storage.folder, mesh, advertised, lost).await?;
    let own = control.registry_identity()?;
    // Who joins has no certificate yet, and who was cut off for long shows one that has expired.
    let clients = ClientCertificates::OptionalAfterExpiry(RENEWAL_GRACE);
    let tls = ServerTls::from_identity(&own, clients)?;
    Ok(ProxiesSocket { socket, address, tls, files: None })
}

/// More tokens than an operator makes before a first start.
const EARLY: usize = 100;

/// Whether a registry served from this journal before: then its keys exist somewhere. A journal that holds only tokens
/// may be older than the first start, since an operator can make tokens first; the token that a start makes
/// ([`FIRST_TOKEN`]) proves a start.
async fn in_use(journal: &Journal) -> Result<bool, JournalError> {
    let entries = journal.read(0, EARLY).await?;
    let served = |entry: &Entry| match entry.record.kind.as_str() {
        "token-created" => entry.record.body.get("name").is_some_and(|name| name == FIRST_TOKEN),
        "token-revoked" => false,
        _ => true,
    };
    Ok(entries.len() == EARLY || entries.iter().any(served))
}

fn bound(listen: &Address) -> Result<(BoundListener, Address), ServerError> {
    let socket = bind_private(listen)?;
    let address = socket.local_address().map_err(ServerError::Run)?;
    Ok((socket, address))
}

async fn serve(options: &RegistryOptions, opened: OpenedRegistry, mut stop: Shutdown) {
    let OpenedRegistry { store, control, socket, tls, proxies } = opened;
    let following = store.clone();
    let follow = spawn_local(async move { following.follow().await });
    let cleaning = spawn_local(clean(store.clone(), options.collect_every, options.grace));
    let directing = control.clone();
    let direct = spawn_local(async move { directing.run().await });
    // Counted separately, so that one kind never keeps the other out.
    let (callers, streams) = (Rc::new(Connections::default()), Rc::new(Connections::default()));
    let hosts: Rc<[String]> = options.hosts.clone().into();
    let clock = store.clock();
    let listen =
        |socket, router, tls, local, connections: &Rc<Connections>, most| ListeningSocket {
            socket,
            router,
            tls,
            hosts: Rc::clone(&hosts),
            local,
            connections: Rc::clone(connections),
            most,
            strangers: None,
            clock,
        };
    let everybody = rest::router(control.clone(), store.clone())
        .merge(health::router(control.clone(), store.clone()))
        .fallback_service(tamis_oci::router(store.clone()));
    let mut renewing = Vec::new();
    let mut renewed = |tls: ServerTls, files: TlsFiles| {
        let tls = Tls::new(tls);
        renewing.push(spawn_local(tls.clone().renew(files)));
        tls
    };
    let tls = tls.map(|(tls, files)| renewed(tls, files));
    let local = options.listen.clone();
    let everybody = listen(socket, everybody, tls, local, &callers, options.max_connections);
    let everybody = spawn_local(everybody.serve(stop.clone()));
    if let Some(ProxiesSocket { socket, address, tls, files }) = proxies {
        let tls = match files {
            Some(files) => renewed(tls, files),
            None => Tls::new(tls),
        };
        let router =
            proxies::router(control.clone(), store).merge(identities::router(control.clone()));
        let router = router.layer(axum::middleware::from_fn(identities::renewal_only));
        let own = listen(socket, router, Some(tls), address, &streams, options.max_proxies);
        let own = ListeningSocket { strangers: Some(Rc::default()), ..own };
        drop(spawn_local(own.serve(stop.clone())));
    }
    // An error means that the sender is gone, so the registry is not needed any more.
    let _ = stop.wait_for(|stage| *stage == ListenerStage::End).await;
    drop(everybody.await);
    // Streams of proxies end with this process; proxies reconnect to the next.
    let ended = tokio::time::timeout(options.drain, callers.below(1)).await;
    if ended.is_err() {
        tracing::warn!("connections were cut off: they did not end in time");
    }
    // Those of the last half minute.
    if let Err(problem) = control.write_renewals().await {
        tracing::warn!(code = problem.code, "renewals are not recorded: {}", problem.title);
    }
    for task in [follow, cleaning, direct].into_iter().chain(renewing) {
        task.abort();
    }
}

/// A socket and what it serves.
struct ListeningSocket {
    socket: BoundListener,
    router: Router,
    tls: Option<Tls>,
    hosts: Rc<[String]>,
    local: Address,
    connections: Rc<Connections>,
    most: usize,
    /// Of these connections, those whose client showed no certificate; `None`: they are not limited, and each address
    /// has a share of all.
    strangers: Option<Rc<Connections>>,
    clock: Clock,
}

/// The part of the connections that one address may hold where anybody may connect: a quarter. Further ones of it are
/// closed, so that it does not keep others out.
const SHARE: usize = 4;
/// How long a connection may be idle, and wait for its first request, while more than half of all are in use.
const SHORT_IDLE: Duration = Duration::from_secs(5);

/// Most connections of clients without a certificate on the listener for proxies: they join, which takes a
/// moment. Further ones are closed, so that strangers do not keep proxies out. Each address has a share of them
/// ([`SHARE`]), and such a connection is closed when it is idle for [`SHORT_IDLE`].
const STRANGERS: usize = 256;

impl ListeningSocket {
    async fn serve(self, mut stop: Shutdown) {
        let Self { socket, router, tls, hosts, local, connections, most, strangers, clock } = self;
        let listener = match socket.into_listener() {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "the registry cannot listen"),
        };
        loop {
            let accepted = async {
                connections.below(most).await;
                listener.accept().await
            };
            let (plain, peer) = tokio::select! {
                accepted = accepted => accepted,
                _ = stop.wait_for(|stage| *stage == ListenerStage::End) => return,
            };
            if matches!(&plain, PlainStream::Unix(stream) if !is_own_user(stream)) {
                continue;
            }
            let network = peer.filter(|_| strangers.is_none()).map(|peer| network(peer.ip()));
            if network.is_some_and(|one| connections.of(one) >= (most / SHARE).max(1)) {
                tracing::debug!(
                    ?peer,
                    "an address has its share of the connections; this one is closed"
                );
                continue;
            }
            let counted = ConnectionGuard::from(&connections, network);
            let mut limits = ServeLimits::default();
            if connections.count.get() > most / 2 {
                limits.intake.idle_timeout = SHORT_IDLE;
            }
            let door = match &plain {
                PlainStream::Tcp(stream) if tls.is_none() => {
                    stream.local_addr().ok().map(|it| it.ip())
                }
                // A certificate identifies the server; browsers do not use unix sockets.
                PlainStream::Tcp(_) | PlainStream::Unix(_) => None,
            };
            let (router, tls, local) = (router.clone(), tls.as_ref().map(Tls::now), local.clone());
            let hosts = Rc::clone(&hosts);
            let strangers = strangers.clone();
            let connection =
                Connection { router, tls, local, peer, door, hosts, strangers, clock, limits };
            let stop = stop.clone();
            drop(spawn_local(async move {
                connection.serve(plain, stop).await;
                drop(counted);
            }));
        }
    }
}

/// Collects garbage at intervals. The first time is after the first pause, not at the start: a replica that
/// restarts again and again would do nothing else.
async fn clean(store: Store, every: Duration, grace: Duration) {
    loop {
        tokio::time::sleep(every).await;
        match collect(&store, grace).await {
            Ok(done) => tracing::info!(
                uploads = done.uploads,
                links = done.links,
                blobs = done.blobs,
                bytes = done.bytes,
                "garbage collected"
            ),
            Err(error) => {
                tracing::warn!(%error, "garbage collection stopped; it continues next time");
            }
        }
    }
}

/// One connection and the services for its requests.
struct Connection {
    router: Router,
    tls: Option<ServerTls>,
    local: Address,
    peer: Option<SocketAddr>,
    /// The address that was connected to, where requests must name it.
    door: Option<IpAddr>,
    hosts: Rc<[String]>,
    strangers: Option<Rc<Connections>>,
    /// Judges whether the certificate of the peer has expired.
    clock: Clock,
    limits: ServeLimits,
}

/// Refuses requests from web pages: the registry has no pages, and a page of another site may have made its
/// name resolve to this address.
fn admit<B>(
    request: &Request<B>,
    door: Option<IpAddr>,
    names: &[String],
) -> Result<(), Box<Response<Body>>> {
    let refuse = |title: String, way: &str| {
        Err(Box::new(problem(403, "browser", title, way).into_response()))
    };
    if request.headers().contains_key(header::ORIGIN) {
        let way = "use `tamis`, or a client that is not a web page";
        return refuse(
            "the registry refuses requests from web pages: the request has an Origin".to_owned(),
            way,
        );
    }
    let Some(door) = door else { return Ok(()) };
    match hosts::check(request, door, names) {
        Ok(()) => Ok(()),
        Err(error) => refuse(error.to_string(), "use its address, or start it with `--host NAME`"),
    }
}

impl Connection {
    async fn serve(self, plain: PlainStream, stop: Shutdown) {
        let Self { router, tls, local, peer, door, hosts, strangers, clock, mut limits } = self;
        let proven = Rc::new(RefCell::new((None, false)));
        let shown = Rc::clone(&proven);
        let handler =
            async move |request: Request<RequestBody>, info: &ConnectionInfo| -> Response<Body> {
                if let Err(refused) = admit(&request, door, &hosts) {
                    return *refused;
                }
                let mut request = request.map(received::body);
                let identity = info.identity.as_ref().and_then(|it| it.spiffe_id.as_ref());
                let id = identity.map(|id| id.as_str().to_owned());
                let (certificate, expired) = proven.borrow().clone();
                let peer = ProvenProxy { id, certificate, expired };
                request.extensions_mut().insert(peer);
                match router.clone().oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            };
        let served = match tls {
            None => {
                let info = ConnectionInfo { sender: peer, local, identity: None };
                serve_connection(plain, Rc::new(info), &limits, handler, stop).await
            }
            Some(tls) => match tls.accept(plain).await {
                Ok((stream, identity)) => {
                    let certificate = PeerCertificate::of(&stream);
                    let until = certificate.as_ref().map(|one| one.not_after);
                    let now = i64::try_from(clock.unix_secs()).unwrap_or(i64::MAX);
                    shown.replace((certificate, until.is_some_and(|until| until < now)));
                    let strangers = strangers.filter(|_| identity.spiffe_id.is_none());
                    let network = peer.map(|peer| network(peer.ip()));
                    let of_one = |all: &Connections| network.map_or(0, |one| all.of(one));
                    if strangers.as_ref().is_some_and(|all| {
                        all.count.get() >= STRANGERS || of_one(all) >= STRANGERS / SHARE
                    }) {
                        return tracing::warn!("a client without a certificate is sent away");
                    }
                    if strangers.is_some() {
                        limits.intake.idle_timeout = SHORT_IDLE;
                    }
                    let _counted =
                        strangers.as_ref().map(|all| ConnectionGuard::from(all, network));
                    let info = ConnectionInfo { sender: peer, local, identity: Some(identity) };
                    serve_connection(stream, Rc::new(info), &limits, handler, stop).await
                }
                Err(error) => return tracing::debug!(%error, "a handshake failed"),
            },
        };
        if let Err(error) = served {
            tracing::debug!(%error, "a connection ended badly");
        }
    }
}

/// The number of connections.
#[derive(Default)]
struct Connections {
    count: Cell<usize>,
    /// By network, where networks have shares.
    of: RefCell<HashMap<IpAddr, usize>>,
    fewer: Notify,
}

/// What one machine has of addresses: of IPv6 the first 64 bits (RFC 4291 §2.5.4), of IPv4 the address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

impl Connections {
    /// Returns when there are fewer than `most`.
    async fn below(&self, most: usize) {
        while self.count.get() >= most {
            // Everything runs on one thread: nothing happens between the check and the wait.
            self.fewer.notified().await;
        }
    }

    /// The number of those from that network.
    fn of(&self, network: IpAddr) -> usize {
        self.of.borrow().get(&network).copied().unwrap_or_default()
    }
}

/// A counted connection, until it is dropped.
struct ConnectionGuard {
    connections: Rc<Connections>,
    network: Option<IpAddr>,
}

impl ConnectionGuard {
    /// Counted for its network, too, where networks have shares.
    fn from(connections: &Rc<Connections>, network: Option<IpAddr>) -> Self {
        connections.count.set(connections.count.get().saturating_add(1));
        if let Some(network) = network {
            let mut of = connections.of.borrow_mut();
            let count = of.entry(network).or_default();
            *count = count.saturating_add(1);
        }
        Self { connections: Rc::clone(connections), network }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let Connections { count, of, fewer } = &*self.connections;
        count.set(count.get().saturating_sub(1));
        if let Some(network) = self.network {
            let mut of = of.borrow_mut();
            let left = of.get(&network).copied().unwrap_or_default().saturating_sub(1);
            if left == 0 {
                of.remove(&network);
            } else {
                of.insert(network, left);
            }
        }
        fewer.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_counts_for_its_network_until_it_ends() {
        let all = Rc::new(Connections::default());
        let from = |text: &str| ConnectionGuard::from(&all, Some(network(text.parse().unwrap())));
        let open = vec![
            from("192.0.2.1"),
            from("::ffff:192.0.2.1"),
            from("192.0.2.2"),
            from("2001:db8::1"),
            from("2001:db8::ffff:2"),
            from("2001:db8:0:1::1"),
            ConnectionGuard::from(&all, None),
        ];
        let of = |text: &str| all.of(network(text.parse().unwrap()));
        assert_eq!(all.count.get(), 7);
        assert_eq!([of("192.0.2.1"), of("192.0.2.2"), of("192.0.2.3")], [2, 1, 0]);
        assert_eq!([of("2001:db8::9"), of("2001:db8:0:1::9")], [2, 1]);
        drop(open);
        assert_eq!((all.count.get(), all.of.borrow().len()), (0, 0));
    }

    #[test]
    fn its_unix_socket_is_its_users_alone_for_callers_and_for_proxies() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        for name in ["callers", "proxies"] {
            let path = folder.path().join(name);
            let (_socket, address) = bound(&Address::Unix(path.clone())).unwrap();
            assert_eq!(address, Address::Unix(path.clone()));
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn no_web_page_is_answered_and_no_page_that_had_its_name_lead_here() {
        let clear: IpAddr = [127, 0, 0, 1].into();
        let names = vec!["registry.internal".to_owned()];
        for (host, known) in [
            ("127.0.0.1:5000", true),
            ("localhost:5000", true),
            ("[::1]:5000", true),
            ("registry.internal", true),
            ("evil.example", false),
            ("evil.example:5000", false),
            ("localhost.evil.example", false),
        ] {
            for origin in
                [None, Some("http://evil.example"), Some("null"), Some("http://127.0.0.1:5000")]
            {
                for method in ["GET", "POST", "DELETE", "OPTIONS", "PUT"] {
                    let mut request =
                        Request::builder().method(method).uri("/v1/status").header("host", host);
                    if let Some(origin) = origin {
                        request = request.header("origin", origin);
                    }
                    let request = request.body(()).unwrap();
                    let admitted = admit(&request, Some(clear), &names).is_ok();
                    assert_eq!(admitted, known && origin.is_none(), "{method} {host} {origin:?}");
                    // Over TLS the certificate identifies the server.
                    assert_eq!(admit(&request, None, &names).is_ok(), origin.is_none());
                }
            }
        }
    }
}

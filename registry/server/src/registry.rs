//! A registry on a listener.

use std::cell::Cell;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use tamis_oci::{Limits, Store, collect, router};
use tamis_transport::{
    Address, BoundListener, ConnInfo, Plain, ServeLimits, ServerTls, Shutdown, bind,
    serve_connection,
};
use tokio::sync::{Notify, watch};
use tokio::task::{LocalSet, spawn_local};
use tower::ServiceExt as _;

use crate::admin::first_token;
use crate::{ServerError, Storage};

/// How a registry is run.
#[derive(Clone)]
pub struct Options {
    /// Where it keeps everything.
    pub storage: Storage,
    /// Where it listens.
    pub listen: Address,
    /// How it speaks TLS; none: clear text, on loopback and unix sockets only.
    pub tls: Option<ServerTls>,
    /// What it takes.
    pub limits: Limits,
    /// Connections at once; 1,024. More wait in the queue of the system.
    pub max_connections: usize,
    /// How often it looks for what nobody needs; every hour.
    pub collect_every: Duration,
    /// How long what nobody needs is kept; 24 hours. Longer than any push takes.
    pub grace: Duration,
    /// How long connections get to end in; 10 seconds.
    pub drain: Duration,
}

impl Options {
    /// The defaults that the fields name.
    #[must_use]
    pub fn new(storage: Storage, listen: Address) -> Self {
        Self {
            storage,
            listen,
            tls: None,
            limits: Limits::default(),
            max_connections: 1_024,
            collect_every: Duration::from_secs(3_600),
            grace: Duration::from_secs(24 * 3_600),
            drain: Duration::from_secs(10),
        }
    }
}

/// A registry that serves. Dropping it stops it.
pub struct Registry {
    address: Address,
    admin_token: Option<PathBuf>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// What is known once it serves.
struct Ready {
    address: Address,
    admin_token: Option<PathBuf>,
}

impl Registry {
    /// Opens everything and serves; returns once connections are accepted.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn start(options: Options) -> Result<Self, ServerError> {
        if options.tls.is_none() && !is_private(&options.listen) {
            return Err(ServerError::ClearText(options.listen));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ServerError::Run)?;
        let (stop, stopped) = watch::channel(false);
        let (said, hear) = mpsc::channel();
        let run = move || {
            LocalSet::new().block_on(&runtime, async move {
                match open(&options).await {
                    Ok((ready, store, socket)) => {
                        // Nobody hears it only if the starter is gone, which stops us below.
                        let _ = said.send(Ok(ready));
                        serve(&options, store, socket, stopped).await;
                    }
                    Err(error) => drop(said.send(Err(error))),
                }
            });
        };
        let thread = std::thread::Builder::new().name("registry".to_owned()).spawn(run);
        let thread = Some(thread.map_err(ServerError::Run)?);
        let Ready { address, admin_token } = hear.recv().map_err(|_| ServerError::Ended)??;
        Ok(Self { address, admin_token, stop, thread })
    }

    /// Where it listens, with the port the system chose for port 0.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Where the token is kept that this start made because there was none; none: there are tokens already.
    #[must_use]
    pub fn admin_token(&self) -> Option<&Path> {
        self.admin_token.as_deref()
    }

    /// Whether it ended by itself, which it never should.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Takes no more connections, lets those there are finish their requests, and returns when it is done.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            // What it had to say about its end is in the log.
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

async fn open(options: &Options) -> Result<(Ready, Store, BoundListener), ServerError> {
    let store = options.storage.open(options.limits.clone()).await?;
    let mut sockets = bind(&options.listen, NonZeroUsize::MIN)?;
    let socket = sockets.pop().ok_or(ServerError::Ended)?;
    let address = socket.local_address().map_err(ServerError::Run)?;
    let admin_token = first_token(&store, &options.storage.folder).await?;
    Ok((Ready { address, admin_token }, store, socket))
}

async fn serve(options: &Options, store: Store, socket: BoundListener, mut stop: Shutdown) {
    let listener = match socket.into_listener() {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the registry cannot listen"),
    };
    let following = store.clone();
    let follow = spawn_local(async move { following.follow().await });
    let cleaning = spawn_local(clean(store.clone(), options.collect_every, options.grace));
    let connections = Rc::new(Connections::default());
    let router = router(store);
    loop {
        let accepted = async {
            connections.below(options.max_connections).await;
            listener.accept().await
        };
        let (plain, peer) = tokio::select! {
            accepted = accepted => accepted,
            // An error: nobody can stop us any more, so nobody wants us.
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let counted = Counted::new(&connections);
        let connection = Connection {
            router: router.clone(),
            tls: options.tls.clone(),
            local: options.listen.clone(),
            peer,
        };
        let stop = stop.clone();
        drop(spawn_local(async move {
            connection.serve(plain, stop).await;
            drop(counted);
        }));
    }
    drop(listener);
    let ended = tokio::time::timeout(options.drain, connections.below(1)).await;
    if ended.is_err() {
        tracing::warn!("connections were cut off: they did not end in time");
    }
    follow.abort();
    cleaning.abort();
}

/// Looks for what nobody needs, now and then. The first look comes after the first pause, not at the start: a replica
/// that restarts again and again would do nothing else.
async fn clean(store: Store, every: Duration, grace: Duration) {
    loop {
        tokio::time::sleep(every).await;
        match collect(&store, grace).await {
            Ok(done) => tracing::info!(
                uploads = done.uploads,
                links = done.links,
                blobs = done.blobs,
                bytes = done.bytes,
                "collected what nobody needs"
            ),
            Err(error) => tracing::warn!(%error, "the collection stopped; it goes on next time"),
        }
    }
}

/// One connection and what its requests go to.
struct Connection {
    router: Router,
    tls: Option<ServerTls>,
    local: Address,
    peer: Option<SocketAddr>,
}

impl Connection {
    async fn serve(self, plain: Plain, stop: Shutdown) {
        let Self { router, tls, local, peer } = self;
        let handler = async move |request: Request<Incoming>, _: &ConnInfo| -> Response<Body> {
            match router.clone().oneshot(request.map(Body::new)).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        };
        let limits = ServeLimits::default();
        let served = match tls {
            None => {
                let info = ConnInfo { peer, local, identity: None };
                serve_connection(plain, Rc::new(info), &limits, handler, stop).await
            }
            Some(tls) => match tls.accept(plain).await {
                Ok((stream, identity)) => {
                    let info = ConnInfo { peer, local, identity: Some(identity) };
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

/// How many connections there are.
#[derive(Default)]
struct Connections {
    count: Cell<usize>,
    fewer: Notify,
}

impl Connections {
    /// Returns when there are fewer than that.
    async fn below(&self, most: usize) {
        while self.count.get() >= most {
            // All of it runs on one thread: nothing happens between the look and the wait.
            self.fewer.notified().await;
        }
    }
}

/// A connection that is counted, until it is dropped.
struct Counted(Rc<Connections>);

impl Counted {
    fn new(connections: &Rc<Connections>) -> Self {
        connections.count.set(connections.count.get().saturating_add(1));
        Self(Rc::clone(connections))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get().saturating_sub(1));
        self.0.fewer.notify_one();
    }
}

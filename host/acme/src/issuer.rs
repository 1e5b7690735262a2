//! Orders certificates for hosts, again and again, on a thread of its own.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use tamis_ambient::{Clock, Random};
use tamis_transport::{CertificateFacts, CertificateOrders, causes};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet, LocalSet, spawn_local};

use crate::account::OrderAccount;
use crate::challenge::Challenge;
use crate::directory::Directory;
use crate::order::place;
use crate::{AcmeError, KeptCertificates, Pace, pace};

/// How often the date is looked at while nothing is due: a machine that slept has a later date, and no time passed.
const LOOK: Duration = Duration::from_secs(1);
/// Orders at once.
const ORDERS_MAX: usize = 4;
/// The longest that an order may take in all.
const ORDER_MAX: Duration = Duration::from_secs(240);

/// What is ordered, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSettings {
    /// The URL of the directory.
    pub directory: String,
    /// Email addresses to which the server may write.
    pub contact: Vec<String>,
    /// PEM text: the authorities of the directory's own certificate; `None`: those of the operating system.
    pub authorities: Option<String>,
    /// The hosts, each a name in DNS of at most 200 characters in lower case.
    pub hosts: BTreeMap<String, Challenge>,
}

/// What an issuer needs.
#[derive(Debug, Clone)]
pub struct IssuerOptions {
    /// Where certificates and accounts are kept.
    pub kept: KeptCertificates,
    /// The orders of the proxy, which answers challenges and reports how orders go.
    pub orders: CertificateOrders,
    /// Judges what is due.
    pub clock: Clock,
    /// Spreads what is due.
    pub random: Random,
    /// The waits after failures.
    pub pace: Pace,
}

/// Orders certificates until it is dropped.
#[derive(Debug)]
pub struct CertificateIssuer {
    settings: Option<mpsc::UnboundedSender<Option<IssuerSettings>>>,
    thread: Option<JoinHandle<()>>,
}

impl CertificateIssuer {
    /// Starts a thread, which orders nothing yet.
    ///
    /// # Errors
    /// When the system has no thread.
    pub fn start(options: IssuerOptions) -> io::Result<Self> {
        let (send, receive) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let run = move || {
            LocalSet::new().block_on(&runtime, follow(Rc::new(options), receive));
            // A look-up of a name that is in progress may take long, so it is not awaited.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("tamis-acme".to_owned()).spawn(run)?;
        Ok(Self { settings: Some(send), thread: Some(thread) })
    }

    /// Orders by these settings from now on; `None`: nothing. What stays the same goes on undisturbed.
    pub fn follow(&self, settings: Option<IssuerSettings>) {
        // The thread lives as long as this value.
        let _gone = self.settings.as_ref().map(|send| send.send(settings));
    }
}

impl Drop for CertificateIssuer {
    fn drop(&mut self) {
        self.settings.take();
        if let Some(thread) = self.thread.take() {
            // Its messages are in the log.
            let _ = thread.join();
        }
    }
}

/// A host whose certificate is looked after; it ends with this.
struct LookedAfter {
    way: Challenge,
    task: AbortHandle,
}

impl Drop for LookedAfter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(
    options: Rc<IssuerOptions>,
    mut settings: mpsc::UnboundedReceiver<Option<IssuerSettings>>,
) {
    let mut hosts: BTreeMap<String, LookedAfter> = BTreeMap::new();
    let mut server: Option<(IssuerSettings, Rc<Server>)> = None;
    while let Some(new) = settings.recv().await {
        let states = options.orders.states();
        let Some(new) = new else {
            (hosts, server) = (BTreeMap::new(), None);
            states.retain(|_| false);
            continue;
        };
        let without = |settings: &IssuerSettings| IssuerSettings {
            hosts: BTreeMap::new(),
            ..settings.clone()
        };
        let same = server.take().filter(|(old, _)| without(old) == without(&new));
        if same.is_none() {
            hosts.clear();
        }
        hosts.retain(|host, one| new.hosts.get(host) == Some(&one.way));
        states.retain(|host| hosts.contains_key(host));
        let known = same.map(|(_, server)| server);
        let known = known.unwrap_or_else(|| Rc::new(Server::new(&new, Rc::clone(&options))));
        for (host, way) in &new.hosts {
            if !hosts.contains_key(host) {
                let work = look_after(Rc::clone(&known), host.clone(), *way);
                let task = spawn_local(work).abort_handle();
                hosts.insert(host.clone(), LookedAfter { way: *way, task });
            }
        }
        server = Some((new, known));
    }
}

/// A server, and what every order there needs.
struct Server {
    options: Rc<IssuerOptions>,
    /// Or why no order can be placed.
    account: Result<(Directory, OrderAccount), AcmeError>,
    places: Semaphore,
}

impl Server {
    fn new(settings: &IssuerSettings, options: Rc<IssuerOptions>) -> Self {
        let directory = Directory::new(&settings.directory, settings.authorities.as_deref());
        let account = directory.map(|directory| {
            let folder = options.kept.folder();
            let account = OrderAccount::new(directory.clone(), &settings.contact, folder);
            (directory, account)
        });
        Self { options, account, places: Semaphore::new(ORDERS_MAX) }
    }

    /// Orders and keeps a certificate for a host.
    async fn order(&self, host: &str, way: Challenge) -> Result<CertificateFacts, AcmeError> {
        let IssuerOptions { kept, orders, clock, .. } = &*self.options;
        let (_, account) = match &self.account {
            Ok(account) => account,
            Err(error) => return Err(AcmeError::Answer(causes(error))),
        };
        kept.prepare()?;
        let placed = async {
            let account = account.open().await?;
            place(&account, host, way, orders).await
        };
        let placed = tokio::time::timeout(ORDER_MAX, placed).await;
        let new = match placed.unwrap_or(Err(AcmeError::Late(ORDER_MAX))) {
            Ok(new) => new,
            Err(error) => {
                if error.is_account_gone() {
                    account.forget().await;
                } else {
                    account.close().await;
                }
                return Err(error);
            }
        };
        kept.put(host, &new.key, &new.chain, clock.wall())
    }

    /// How long its last refusal asked to wait.
    fn asked_pause(&self) -> Option<Duration> {
        self.account.as_ref().ok().and_then(|(directory, _)| directory.asked_pause())
    }
}

/// Orders a certificate for a host whenever one is due.
async fn look_after(server: Rc<Server>, host: String, way: Challenge) {
    let IssuerOptions { kept, orders, clock, random, pace } = &*server.options;
    // Failures in a row of the same kind: while a server was unreachable, it has refused nothing.
    let mut failures = (false, 0_u32);
    let facts = kept.facts(&host);
    let mut due = facts.as_ref().map_or(0, |facts| pace::due(facts, *random));
    orders.states().change(&host, |state| {
        state.not_after = facts.as_ref().map(|facts| facts.not_after);
        state.due = due;
    });
    loop {
        until(*clock, due).await;
        let Ok(place) = server.places.acquire().await else { return };
        let ordered = guarded(Rc::clone(&server), host.clone(), way).await;
        drop(place);
        let now = clock.unix_secs();
        match ordered {
            Ok(facts) => {
                failures = (false, 0);
                // A certificate that is due as soon as it is there must not keep the server busy.
                due = pace::due(&facts, *random).max(now.saturating_add(1));
                let expires = facts.expiry();
                tracing::info!(host, expires, "a certificate is there: the order is fulfilled");
                orders.states().change(&host, |state| {
                    state.fulfilled = state.fulfilled.saturating_add(1);
                    state.not_after = Some(facts.not_after);
                    (state.due, state.problem) = (due, None);
                });
            }
            Err(error) => {
                let is_decision = error.is_decision();
                let before = if failures.0 == is_decision { failures.1 } else { 0 };
                failures = (is_decision, before.saturating_add(1));
                let asked = server.asked_pause();
                let pause = pace.wait(is_decision, failures.1, asked, *random);
                due = now.saturating_add(pause.as_secs().max(1));
                let (why, help) = (causes(&error), error.help());
                tracing::warn!(host, why, help, ?pause, "no new certificate; trying again");
                orders.states().change(&host, |state| {
                    state.failed = state.failed.saturating_add(1);
                    state.due = due;
                    state.problem = Some((why, help.to_owned()));
                });
            }
        }
    }
}

/// An order in a task of its own: whatever a library makes of the texts of a stranger, it ends that order alone.
async fn guarded(
    server: Rc<Server>,
    host: String,
    way: Challenge,
) -> Result<CertificateFacts, AcmeError> {
    let mut tasks = JoinSet::new();
    tasks.spawn_local(async move { server.order(&host, way).await });
    match tasks.join_next().await {
        Some(Ok(ordered)) => ordered,
        Some(Err(_)) | None => Err(AcmeError::Answer("it broke the client".to_owned())),
    }
}

/// Waits until a date, in seconds since the Unix epoch.
async fn until(clock: Clock, due: u64) {
    loop {
        let left = due.saturating_sub(clock.unix_secs());
        if left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_secs(left).min(LOOK)).await;
    }
}

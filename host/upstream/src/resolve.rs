//! Names to addresses, refreshed in the background for as long as somebody uses the name.

use hickory_resolver::TokioResolver;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Answers are used no shorter and no longer than this, whatever their TTL says.
const TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);
/// After a failure.
const RETRY: Duration = Duration::from_secs(2);
/// How long somebody waits for the first answer.
const FIRST_MAX: Duration = Duration::from_secs(5);

/// Resolves names for one worker.
pub(crate) struct Names {
    resolver: RefCell<Option<Rc<TokioResolver>>>,
    names: RefCell<HashMap<(String, u16), Weak<Name>>>,
}

/// A name and its addresses of now.
pub(crate) struct Name {
    host: String,
    port: u16,
    answer: RefCell<Answer>,
    /// Rises when the addresses change.
    version: Cell<u64>,
    answered: Notify,
}

#[derive(Default, Clone)]
struct Answer {
    /// None before the first.
    addresses: Option<Vec<SocketAddr>>,
    failure: Option<String>,
}

impl Names {
    pub(crate) fn new() -> Self {
        Self { resolver: RefCell::default(), names: RefCell::default() }
    }

    /// The name, resolved from now on until the last holder drops it.
    pub(crate) fn follow(self: &Rc<Self>, host: &str, port: u16) -> Rc<Name> {
        let key = (host.to_owned(), port);
        if let Some(name) = self.names.borrow().get(&key).and_then(Weak::upgrade) {
            return name;
        }
        let name = Rc::new(Name {
            host: host.to_owned(),
            port,
            answer: RefCell::default(),
            version: Cell::new(0),
            answered: Notify::new(),
        });
        let mut names = self.names.borrow_mut();
        names.retain(|_, name| name.strong_count() > 0);
        names.insert(key, Rc::downgrade(&name));
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if let Ok(ip) = literal {
            name.take(Ok(vec![SocketAddr::new(ip, port)]));
        } else if is_localhost(host) {
            // One place, whichever family it listens on: connecting tries both.
            name.take(Ok(vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)]));
        } else {
            drop(tokio::task::spawn_local(refresh(Rc::clone(self), Rc::downgrade(&name))));
        }
        name
    }

    fn resolver(&self) -> Result<Rc<TokioResolver>, String> {
        if let Some(resolver) = self.resolver.borrow().as_ref() {
            return Ok(Rc::clone(resolver));
        }
        let said = |error: hickory_resolver::net::NetError| {
            format!("the system's resolver settings: {error}")
        };
        let resolver = TokioResolver::builder_tokio().map_err(said)?.build().map_err(said)?;
        let resolver = Rc::new(resolver);
        self.resolver.replace(Some(Rc::clone(&resolver)));
        Ok(resolver)
    }

    async fn ask(&self, host: &str, port: u16) -> Result<(Vec<SocketAddr>, Instant), String> {
        let resolver = self.resolver()?;
        let answer = resolver.lookup_ip(host).await.map_err(|error| error.to_string())?;
        let mut addresses: Vec<_> = answer.iter().map(|ip| SocketAddr::new(ip, port)).collect();
        addresses.sort_unstable();
        addresses.dedup();
        Ok((addresses, answer.valid_until()))
    }
}

/// A name that stands for this machine and is never asked for (RFC 6761 §6.3).
pub(crate) fn is_localhost(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

async fn refresh(names: Rc<Names>, name: Weak<Name>) {
    loop {
        let Some((host, port)) = name.upgrade().map(|name| (name.host.clone(), name.port)) else {
            return;
        };
        let answer = names.ask(&host, port).await;
        let wait = match &answer {
            Ok((_, until)) => {
                until.saturating_duration_since(Instant::now()).clamp(*TTL.start(), *TTL.end())
            }
            Err(_) => RETRY,
        };
        match name.upgrade() {
            Some(name) => name.take(answer.map(|(addresses, _)| addresses)),
            None => return,
        }
        tokio::time::sleep(wait).await;
    }
}

impl Name {
    /// A failed refresh leaves the addresses before in use: stale is better than none (RFC 8767).
    fn take(&self, answer: Result<Vec<SocketAddr>, String>) {
        let mut now = self.answer.borrow_mut();
        match answer {
            Ok(addresses) => {
                if now.addresses.as_ref() != Some(&addresses) {
                    self.version.set(self.version.get() + 1);
                }
                *now = Answer { addresses: Some(addresses), failure: None };
            }
            Err(failure) => now.failure = Some(failure),
        }
        self.answered.notify_waiters();
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.get()
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Addresses of now; waits for the first answer.
    pub(crate) async fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        let waiting = self.answered.notified();
        let now = self.answer.borrow().clone();
        match (now.addresses, now.failure) {
            (Some(addresses), _) => return Ok(addresses),
            (None, Some(failure)) => return Err(failure),
            (None, None) => {}
        }
        if tokio::time::timeout(FIRST_MAX, waiting).await.is_err() {
            return Err("no answer yet".to_owned());
        }
        let now = self.answer.borrow().clone();
        now.addresses.ok_or_else(|| now.failure.unwrap_or_default())
    }
}

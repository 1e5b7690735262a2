//! Resolves names, and refreshes them in the background for as long as they are used.
//!
//! Addresses of both families are requested at once and used as they arrive: a name server that answers for
//! one family and never for the other delays its users by [`OTHER_FAMILY`] at most (after RFC 8305 §3).

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};
use tamis_ambient::Clock;
use tamis_resources::machine::{is_localhost, is_own_machine};
use tokio::sync::Notify;

/// Limits for the validity of answers, whatever their TTL.
const TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);
/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(2);
/// How long a request waits for the first answer.
const FIRST_MAX: Duration = Duration::from_secs(5);
/// How long addresses of one family wait for those of the other ("resolution delay" of RFC 8305 §8).
const OTHER_FAMILY: Duration = Duration::from_millis(50);

/// Resolves names for one worker.
pub(crate) struct NameResolver {
    resolvers: RefCell<Option<Resolvers>>,
    names: RefCell<HashMap<(String, u16), Weak<ResolvedName>>>,
    clock: Clock,
    /// Names may lead to addresses of this machine.
    allows_own_machine: bool,
}

/// A resolver for each family, in the order of [`Family`].
pub(crate) type Resolvers = [Rc<TokioResolver>; 2];

/// Kinds of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4 = 0,
    V6 = 1,
}

/// A name and its current addresses.
pub(crate) struct ResolvedName {
    host: String,
    port: u16,
    answer: RefCell<Answer>,
    /// Rises when the addresses change.
    version: Cell<u64>,
    answered: Notify,
}

#[derive(Default, Clone)]
struct Answer {
    /// `None` before the first answer for that family.
    families: [Option<Vec<SocketAddr>>; 2],
    failure: Option<String>,
}

/// Addresses of one family, and their expiry.
struct FamilyAddresses {
    family: Family,
    addresses: Vec<SocketAddr>,
    until: Instant,
}

/// The result of a lookup for one family.
type Lookup = Result<FamilyAddresses, String>;

impl Answer {
    /// All addresses; `None` before the first answer.
    fn addresses(&self) -> Option<Vec<SocketAddr>> {
        let known = self.families.iter().any(Option::is_some);
        known.then(|| self.families.iter().flatten().flatten().copied().collect())
    }

    /// Sets the addresses of one family. An empty answer is accepted only while the other family has some.
    fn set(&mut self, found: FamilyAddresses) {
        let [v4, v6] = &mut self.families;
        let (family, other) = if found.family == Family::V4 { (v4, v6) } else { (v6, v4) };
        if found.addresses.is_empty() && other.as_ref().is_none_or(Vec::is_empty) {
            // The failure of the other family, if there is one, says more.
            let unknown = || "the name server knows no address".to_owned();
            self.failure.get_or_insert_with(unknown);
            return;
        }
        *family = Some(found.addresses);
        self.failure = None;
    }
}

impl NameResolver {
    pub(crate) fn new(clock: Clock) -> Self {
        let (resolvers, names) = (RefCell::default(), RefCell::default());
        Self { resolvers, names, clock, allows_own_machine: false }
    }

    /// Uses these resolvers instead of the system's.
    #[cfg(test)]
    pub(crate) fn with(resolvers: Resolvers) -> Self {
        let resolvers = RefCell::new(Some(resolvers));
        Self { resolvers, allows_own_machine: true, ..Self::new(Clock::system()) }
    }

    /// The same, and names lead to no address of this machine, as with the resolvers of the system.
    #[cfg(test)]
    pub(crate) fn with_rule(resolvers: Resolvers) -> Self {
        Self { allows_own_machine: false, ..Self::with(resolvers) }
    }

    /// Starts to resolve the name, until the last holder drops it.
    pub(crate) fn follow(self: &Rc<Self>, host: &str, port: u16) -> Rc<ResolvedName> {
        let key = (host.to_owned(), port);
        if let Some(name) = self.names.borrow().get(&key).and_then(Weak::upgrade) {
            return name;
        }
        let name = Rc::new(ResolvedName {
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
            name.take(Ok(FamilyAddresses::always(SocketAddr::new(ip, port), self.clock.now())));
        } else if is_localhost(host) {
            // One endpoint, whichever family it listens on: connecting tries both.
            let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
            name.take(Ok(FamilyAddresses::always(address, self.clock.now())));
        } else {
            drop(tokio::task::spawn_local(refresh(Rc::clone(self), Rc::downgrade(&name))));
        }
        name
    }

    fn resolver(&self, family: Family) -> Result<Rc<TokioResolver>, String> {
        if self.resolvers.borrow().is_none() {
            let system = |strategy| {
                let failed = |error: hickory_resolver::net::NetError| {
                    format!("the system's resolver settings: {error}")
                };
                let mut builder = TokioResolver::builder_tokio().map_err(failed)?;
                builder.options_mut().ip_strategy = strategy;
                builder.build().map(Rc::new).map_err(failed)
            };
            let v4 = system(LookupIpStrategy::Ipv4Only)?;
            self.resolvers.replace(Some([v4, system(LookupIpStrategy::Ipv6Only)?]));
        }
        let resolvers = self.resolvers.borrow();
        let [v4, v6] = resolvers.as_ref().ok_or("no resolver")?;
        Ok(Rc::clone(if family == Family::V4 { v4 } else { v6 }))
    }

    async fn ask(&self, family: Family, host: &str, port: u16) -> Lookup {
        let resolver = self.resolver(family)?;
        match resolver.lookup_ip(host).await {
            Ok(answer) => {
                let (own, others): (Vec<_>, Vec<_>) =
                    answer.iter().partition(|ip| !self.allows_own_machine && is_own_machine(*ip));
                if let (Some(ip), []) = (own.first(), &others[..]) {
                    return Err(format!(
                        "it is {ip}, an address of this machine: write the address itself as the endpoint"
                    ));
                }
                let mut addresses: Vec<_> =
                    others.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
                addresses.sort_unstable();
                addresses.dedup();
                Ok(FamilyAddresses { family, addresses, until: answer.valid_until() })
            }
            // The name exists, but has no address of this family: that is an answer.
            Err(error) if error.is_no_records_found() => Ok(FamilyAddresses {
                family,
                addresses: Vec::new(),
                until: self.clock.now() + RETRY,
            }),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl FamilyAddresses {
    /// An address that is never resolved again, so its expiry does not matter.
    fn always(address: SocketAddr, now: Instant) -> Self {
        let family = if address.is_ipv4() { Family::V4 } else { Family::V6 };
        Self { family, addresses: vec![address], until: now }
    }
}

async fn refresh(names: Rc<NameResolver>, name: Weak<ResolvedName>) {
    loop {
        let Some((host, port)) = name.upgrade().map(|name| (name.host.clone(), name.port)) else {
            return;
        };
        let Some(next) = ask_both(&names, &name, &host, port).await else { return };
        tokio::time::sleep_until(next.into()).await;
    }
}

/// Resolves both families and sets answers as they arrive; returns when to resolve again, `None` when the
/// name is no longer used.
async fn ask_both(
    names: &NameResolver,
    name: &Weak<ResolvedName>,
    host: &str,
    port: u16,
) -> Option<Instant> {
    let mut v4 = Box::pin(names.ask(Family::V4, host, port));
    let mut v6 = Box::pin(names.ask(Family::V6, host, port));
    let (first, is_v4) = tokio::select! {
        first = v4.as_mut() => (first, true),
        first = v6.as_mut() => (first, false),
    };
    let mut rest = if is_v4 { v6 } else { v4 };
    if !first.as_ref().is_ok_and(|found| !found.addresses.is_empty()) {
        // Nothing usable yet: wait for the other family, whatever its result.
        let second = rest.await;
        let next = next(&[&first, &second], names.clock.now());
        let name = name.upgrade()?;
        name.take(first);
        name.take(second);
        name.answered.notify_waiters();
        return Some(next);
    }
    let second = tokio::time::timeout(OTHER_FAMILY, rest.as_mut()).await.ok();
    let next = next(&[&first], names.clock.now());
    let target = name.upgrade()?;
    target.take(first);
    let is_late = second.is_none();
    if let Some(second) = second {
        target.take(second);
    }
    target.answered.notify_waiters();
    drop(target);
    // A question that was answered is not asked a second time.
    if is_late && let Ok(late) = tokio::time::timeout_at(next.into(), rest).await {
        name.upgrade()?.take(late);
    }
    Some(next)
}

/// When to resolve again: when the first of the answers expires.
fn next(answers: &[&Lookup], now: Instant) -> Instant {
    let found = answers.iter().filter_map(|answer| answer.as_ref().ok());
    let ages = found.filter(|found| !found.addresses.is_empty());
    let ages = ages.map(|found| found.until.saturating_duration_since(now));
    now + ages.min().map_or(RETRY, |age| age.clamp(*TTL.start(), *TTL.end()))
}

impl ResolvedName {
    /// After a failed refresh the previous addresses stay in use: stale is better than none (RFC 8767).
    fn take(&self, lookup: Lookup) {
        let mut now = self.answer.borrow_mut();
        let before = now.addresses();
        match lookup {
            Ok(found) => now.set(found),
            Err(failure) => now.failure = Some(failure),
        }
        if now.addresses() != before {
            self.version.set(self.version.get() + 1);
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.get()
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The current addresses; waits for the first answer.
    pub(crate) async fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        let waiting = self.answered.notified();
        let now = self.answer.borrow().clone();
        match (now.addresses(), now.failure) {
            (Some(addresses), _) => return Ok(addresses),
            (None, Some(failure)) => return Err(failure),
            (None, None) => {}
        }
        if tokio::time::timeout(FIRST_MAX, waiting).await.is_err() {
            return Err("no answer yet".to_owned());
        }
        let now = self.answer.borrow().clone();
        now.addresses().ok_or_else(|| now.failure.unwrap_or_default())
    }
}

//! The connected proxies: their plans and their reports.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tamis_api::ApiProblem;
use tamis_director::{
    LastConnection, LastReport, MAX_BODY_BYTES, NodeConnections, RecordBody, State,
};
use tamis_resources::NodeName;
use tamis_sync::{CallCounts, ChangeOutcome, ComparisonReport, Hello, NodeReport, SlotStatistics};
use tokio::sync::watch;

use crate::plane::control::Control;
use crate::plane::control::proxy_plan::ProxyPlan;
use crate::plane::keys::Replica;
use crate::plane::problem::{missing, problem};

/// The actor of reports.
const ACTOR: &str = "proxies";
/// Reports in one append.
const BATCH: usize = 200;
/// Bytes of names of proxies in one record; of many proxies, several records are made.
const NAMES_BYTES: usize = MAX_BODY_BYTES * 3 / 4;
/// How long a disconnected proxy may take to come back before the disconnection is recorded, in
/// milliseconds.
const GRACE_MS: u64 = 5_000;
/// Bytes of reports of one proxy that are written in a millisecond, in the long run: the journal stores them for ever.
const PACE: u64 = 4;
/// The longest text with which a proxy names its release, in characters.
const MAX_RELEASE_CHARS: usize = 64;
/// How long a proxy whose report fits into no entry is not asked again, in milliseconds.
const TOO_LARGE_MS: u64 = 60_000;
/// The most slots whose counts of one proxy wait to be written.
const MAX_PENDING: usize = 1_024;

/// All proxies that were ever connected to this process.
pub(crate) struct Fleet {
    members: Mutex<BTreeMap<String, Member>>,
    arrivals: watch::Sender<u64>,
    /// When this process started; milliseconds since the Unix epoch.
    since_ms: u64,
}

impl Fleet {
    /// No proxy yet, in a process that started at `since_ms`.
    pub(crate) fn new(since_ms: u64) -> Self {
        let (members, arrivals) = (Mutex::default(), watch::Sender::default());
        Self { members, arrivals, since_ms }
    }
}

/// A proxy.
struct Member {
    plan: watch::Sender<Arc<ProxyPlan>>,
    /// Number of its current connection; `None`: it is disconnected.
    connection: Option<u64>,
    /// When it disconnected; milliseconds since the Unix epoch.
    gone_ms: u64,
    connections: u64,
    release: String,
    seen_ms: u64,
    /// The revision that it accepted last.
    accepted_revision: u64,
    why: Option<String>,
    last: Option<NodeReport>,
    /// The report that was written last, before its texts were cut to fit.
    written: Option<NodeReport>,
    /// Until this moment no other report of the proxy is written; milliseconds since the Unix epoch.
    quiet_until_ms: u64,
    /// Its counts since the last report that was written.
    pending: PendingCounts,
}

#[derive(Default)]
struct PendingCounts {
    counts: BTreeMap<(String, tamis_trust::Digest), CallCounts>,
    shadows: Vec<ComparisonReport>,
}

/// The facts about a proxy's connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connection {
    pub(crate) connected: bool,
    pub(crate) gone_ms: u64,
    pub(crate) seen_ms: u64,
    pub(crate) release: String,
    pub(crate) current: bool,
    pub(crate) why: Option<String>,
    pub(crate) last: Option<NodeReport>,
}

/// A connected proxy, for as long as this is held.
pub struct ConnectedProxy {
    control: Control,
    node: String,
    connection: u64,
    plan: watch::Receiver<Arc<ProxyPlan>>,
}

impl Control {
    /// Admits a proxy. A second connection of one proxy replaces the first.
    ///
    /// `identity` is the SPIFFE id of its certificate; it must be the one that documents give the proxy.
    ///
    /// # Errors
    /// [`ApiProblem`] when the name is invalid, no document declares the proxy, or the certificate belongs to
    /// another.
    pub(crate) async fn connect(
        &self,
        hello: &Hello,
        identity: Option<&str>,
    ) -> Result<ConnectedProxy, ApiProblem> {
        let node = self.identify(&hello.node, identity).await?;
        Ok(self.0.fleet.connect(self.clone(), &node, &hello.release, self.now_ms()))
    }

    /// Checks that the certificate belongs to the named proxy. It has one name: under several, it would count as several.
    ///
    /// # Errors
    /// [`ApiProblem`] when the name is invalid or another spelling, no document declares the proxy, or the certificate belongs to
    /// another.
    pub(crate) async fn identify(
        &self,
        node: &str,
        identity: Option<&str>,
    ) -> Result<NodeName, ApiProblem> {
        let node = canonical(node)?;
        self.catch_up().await.map_err(|error| crate::plane::problem::journal(&error))?;
        let expected = self.declared_identity(&node)?;
        if identity == Some(expected.as_str()) {
            return Ok(node);
        }
        let shown = identity.map_or_else(
            || "shows no SPIFFE id".to_owned(),
            |other| format!("shows a certificate of {other}"),
        );
        let title = format!("{node} must be {expected}, but the client {shown}");
        let remedy = Some("give it the certificate of its service".to_owned());
        Err(ApiProblem { remedy, ..problem(403, "node.identity", title) })
    }

    /// The SPIFFE id that the documents give a proxy.
    ///
    /// # Errors
    /// [`ApiProblem`] when no document declares the proxy, or it gives none.
    pub(crate) fn declared_identity(&self, node: &NodeName) -> Result<String, ApiProblem> {
        let declared = {
            let state = self.state();
            let mut plans = self.plans();
            plans.node_plan(&state, node).map(|plan| plan.identity.clone())
        };
        match declared {
            Some(Some(identity)) => Ok(identity),
            Some(None) => {
                let title = format!(
                    "{node} has no identity in the documents, so no certificate can prove it"
                );
                let remedy = Some("write `identity` into its document".to_owned());
                Err(ApiProblem { remedy, ..problem(403, "node.identity", title) })
            }
            None => Err(missing(
                format!("no document declares {node}"),
                "apply its Gateway, or its Service with a sidecar at that endpoint",
            )),
        }
    }

    /// Writes the pending reports: slots that changed, and counts for active rollouts.
    pub(crate) async fn flush(&self) -> Result<(), ApiProblem> {
        loop {
            let reports = {
                let state = self.state();
                self.0.fleet.take(&state, BATCH, self.now_ms())
            };
            if reports.is_empty() {
                return Ok(());
            }
            let full = reports.len() == BATCH;
            let bodies: Vec<RecordBody> = reports.iter().cloned().map(RecordBody::from).collect();
            if let Err(problem) = self.commit(ACTOR, |_| Ok((bodies.clone(), ()))).await {
                self.0.fleet.put_back(reports);
                return Err(problem);
            }
            if !full {
                return Ok(());
            }
        }
    }

    /// Writes connections and disconnections that the journal does not contain yet.
    pub(crate) async fn write_connections(&self) -> Result<(), ApiProblem> {
        let changes = |state: &State| {
            let changes = self.0.fleet.connections(state, &self.0.keys.replica, self.now_ms());
            changes.into_iter().map(RecordBody::from).collect::<Vec<RecordBody>>()
        };
        // Mostly there are none, and then no writer has to wait.
        if changes(&self.state()).is_empty() {
            return Ok(());
        }
        self.commit(ACTOR, |state| Ok((changes(state), ()))).await.map(|_| ())
    }
}

impl Fleet {
    fn members(&self) -> MutexGuard<'_, BTreeMap<String, Member>> {
        // Each change of a member is a sequence of assignments that cannot panic.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(
        &self,
        control: Control,
        node: &NodeName,
        release: &str,
        now_ms: u64,
    ) -> ConnectedProxy {
        let node = node.to_string();
        let proxy = {
            let mut members = self.members();
            let member = members.entry(node.clone()).or_insert_with(Member::new);
            member.connections += 1;
            member.connection = Some(member.connections);
            member.release = release.chars().take(MAX_RELEASE_CHARS).collect();
            member.seen_ms = now_ms;
            // Another replica may have written since what it ran there.
            member.written = None;
            // Forget the previous plan; `publish` computes a new one before anything is sent.
            member.plan = watch::Sender::new(Arc::new(ProxyPlan::unknown()));
            ConnectedProxy {
                control,
                node,
                connection: member.connections,
                plan: member.plan.subscribe(),
            }
        };
        self.arrivals.send_modify(|count| *count += 1);
        proxy
    }

    /// Notifies when a proxy connects.
    pub(crate) fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrivals.subscribe()
    }

    /// The number of connections so far.
    pub(crate) fn arrived(&self) -> u64 {
        *self.arrivals.borrow()
    }

    /// The currently connected proxies.
    pub(crate) fn connected(&self) -> Vec<String> {
        let members = self.members();
        let here = members.iter().filter(|(_, member)| member.connection.is_some());
        here.map(|(name, _)| name.clone()).collect()
    }

    /// The current plan of the proxy; `None` when it never had a connection.
    pub(crate) fn plan_of(&self, node: &str) -> Option<Arc<ProxyPlan>> {
        Some(Arc::clone(&self.members().get(node)?.plan.borrow()))
    }

    /// Sets the plan that the proxy should run.
    pub(crate) fn set_plan(&self, node: &str, plan: Arc<ProxyPlan>) {
        if let Some(member) = self.members().get(node) {
            member.plan.send_replace(plan);
        }
    }

    /// The facts about a proxy's connection; `None` when it never had one.
    pub(crate) fn connection(&self, node: &str) -> Option<Connection> {
        let members = self.members();
        let member = members.get(node)?;
        let plan = member.plan.borrow();
        Some(Connection {
            connected: member.connection.is_some(),
            gone_ms: member.gone_ms,
            seen_ms: member.seen_ms,
            release: member.release.clone(),
            current: member.why.is_none()
                && plan.key.is_some()
                && member.accepted_revision >= plan.revision,
            why: member.why.clone(),
            last: member.last.clone(),
        })
    }

    /// Whether a connection was to this process, or to its predecessor in the same folder. For the
    /// predecessor only records from before this process started count: replicas that share a folder run at
    /// the same time.
    pub(crate) fn is_of(&self, replica: &Replica, last: &LastConnection) -> bool {
        last.replica == replica.id
            || (last.replica == replica.former && last.since_ms < self.since_ms)
    }

    /// Connections and disconnections that the journal does not contain yet, in records of bounded size. A
    /// proxy that reconnects soon is not recorded as disconnected. Proxies that the previous process of
    /// this folder left behind are recorded as disconnected too.
    fn connections(&self, state: &State, replica: &Replica, now_ms: u64) -> Vec<NodeConnections> {
        let members = self.members();
        let here = |name: &str| members.get(name).is_some_and(|it| it.connection.is_some());
        let back = |name: &str| {
            let gone_ms = members.get(name).map_or(self.since_ms, |it| it.gone_ms);
            now_ms.saturating_sub(gone_ms) < GRACE_MS
        };
        let joined = members.keys().filter(|name| {
            let last = state.last_connection(name);
            here(name) && last.is_none_or(|it| !it.connected || it.replica != replica.id)
        });
        let mut left: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (name, last) in state.last_connections().filter(|(_, last)| last.connected) {
            if self.is_of(replica, last) && !here(name) && !back(name) {
                left.entry(&last.replica).or_default().push(name.clone());
            }
        }
        let mut all = Vec::new();
        let joined: Vec<String> = joined.cloned().collect();
        for joined in portions(joined) {
            let replica = replica.id.clone();
            all.push(NodeConnections { replica, joined, left: Vec::new() });
        }
        for (replica, names) in left {
            for left in portions(names) {
                let replica = replica.to_owned();
                all.push(NodeConnections { replica, joined: Vec::new(), left });
            }
        }
        all
    }

    /// Up to `most` reports to be written.
    fn take(&self, state: &State, most: usize, now_ms: u64) -> Vec<NodeReport> {
        let watched = state.rollouts().values().filter(|one| one.step().is_some());
        let filters: Vec<_> = watched.map(|one| one.rollout.spec()).collect();
        let about = |digest: &tamis_trust::Digest| {
            filters.iter().any(|spec| spec.from == *digest || spec.to == *digest)
        };
        let mut members = self.members();
        let mut reports = Vec::new();
        for (name, member) in members.iter_mut() {
            if reports.len() >= most {
                break;
            }
            let Ok(node) = name.parse::<NodeName>() else { continue };
            if now_ms >= member.quiet_until_ms {
                reports.extend(member.take(&about, state.last_report(&node), now_ms));
            }
        }
        reports
    }

    /// Keeps reports that could not be written for the next attempt.
    fn put_back(&self, reports: Vec<NodeReport>) {
        let mut members = self.members();
        for report in reports {
            if let Some(member) = members.get_mut(&report.node) {
                member.pending.add(report.statistics, report.shadows);
                member.written = None;
            }
        }
    }
}

/// The proxy of that name, if it is written as everybody writes it.
fn canonical(text: &str) -> Result<NodeName, ApiProblem> {
    let named = |title: String, remedy: &str| {
        let remedy = Some(remedy.to_owned());
        ApiProblem { remedy, ..problem(400, "node.name", title) }
    };
    let node: NodeName = text
        .parse()
        .map_err(|error| named(format!("{error}"), "name it gateway:… or sidecar:…"))?;
    if node.to_string() != text {
        let title = format!("{text} is another spelling of {node}");
        return Err(named(title, &format!("name it {node}")));
    }
    Ok(node)
}

/// The names in portions that each fit into a record. A longer name is alone in its portion.
fn portions(names: Vec<String>) -> Vec<Vec<String>> {
    let (mut portions, mut bytes): (Vec<Vec<String>>, usize) = (Vec::new(), 0);
    for name in names {
        let more = name.len() + "\"\",".len();
        match portions.last_mut() {
            Some(last) if bytes + more <= NAMES_BYTES => {
                bytes += more;
                last.push(name);
            }
            _ => {
                bytes = more;
                portions.push(vec![name]);
            }
        }
    }
    portions
}

/// Whether a report has other slots than the one written last.
fn differs(written: &LastReport, last: &NodeReport) -> bool {
    written.slots.len() != last.slots.len()
        || written.problems != last.problems
        || last.slots.iter().any(|slot| written.slots.get(&slot.slot) != Some(slot))
}

impl PendingCounts {
    fn add(&mut self, statistics: Vec<SlotStatistics>, shadows: Vec<ComparisonReport>) {
        for one in statistics {
            let of = (one.slot, one.digest);
            if self.counts.len() < MAX_PENDING || self.counts.contains_key(&of) {
                self.counts.entry(of).or_default().add(&one.counts);
            }
        }
        for one in shadows {
            let same = self
                .shadows
                .iter_mut()
                .find(|there| there.slot == one.slot && there.digest == one.digest);
            let Some(same) = same else {
                if self.shadows.len() < MAX_PENDING {
                    self.shadows.push(one);
                }
                continue;
            };
            same.samples = same.samples.saturating_add(one.samples);
            for (cause, more) in one.differences {
                let there = same.differences.entry(cause).or_insert_with(|| {
                    tamis_sync::DifferenceReport { count: 0, examples: Vec::new() }
                });
                there.count = there.count.saturating_add(more.count);
                there.examples.extend(more.examples);
                there.examples.truncate(tamis_director::MAX_EXAMPLES);
            }
        }
    }
}

impl Member {
    fn new() -> Self {
        Self {
            plan: watch::Sender::new(Arc::new(ProxyPlan::unknown())),
            connection: None,
            gone_ms: 0,
            connections: 0,
            release: String::new(),
            seen_ms: 0,
            accepted_revision: 0,
            why: None,
            last: None,
            written: None,
            quiet_until_ms: 0,
            pending: PendingCounts::default(),
        }
    }

    /// Its report, if there is something to write: other slots or problems than those written last, or counts of what is
    /// watched.
    fn take(
        &mut self,
        about: &dyn Fn(&tamis_trust::Digest) -> bool,
        known: Option<&LastReport>,
        now_ms: u64,
    ) -> Option<NodeReport> {
        let last = self.last.as_ref()?;
        let pending = std::mem::take(&mut self.pending);
        let statistics: Vec<SlotStatistics> = pending
            .counts
            .into_iter()
            .filter(|((_, digest), _)| about(digest))
            .map(|((slot, digest), counts)| SlotStatistics { slot, digest, counts })
            .collect();
        let shadows: Vec<ComparisonReport> =
            pending.shadows.into_iter().filter(|one| about(&one.digest)).collect();
        let same =
            |written: &NodeReport| written.slots == last.slots && written.problems == last.problems;
        let changed = !self.written.as_ref().is_some_and(same)
            && known.is_none_or(|known| differs(known, last));
        if !changed && statistics.is_empty() && shadows.is_empty() {
            return None;
        }
        // Each renewal would be an entry; renewals are recorded in batches elsewhere. Who uses plain text is for the moment.
        let (identity, plaintext) = (None, Vec::new());
        let whole = NodeReport { statistics, shadows, identity, plaintext, ..last.clone() };
        self.written = Some(last.clone());
        // A report that fits into no entry must not block the reports of others.
        let Some(report) = whole.within(MAX_BODY_BYTES) else {
            tracing::warn!(node = last.node, "a report is too large to be written");
            self.quiet_until_ms = now_ms.saturating_add(TOO_LARGE_MS);
            return None;
        };
        let bytes = serde_json::to_string(&report).map_or(MAX_BODY_BYTES, |text| text.len());
        let pause = u64::try_from(bytes).unwrap_or(u64::MAX) / PACE;
        self.quiet_until_ms = now_ms.saturating_add(pause);
        Some(report)
    }
}

impl ConnectedProxy {
    /// The proxy's plan, now and whenever it changes. It ends when another connection replaces this one.
    pub fn plan(&mut self) -> &mut watch::Receiver<Arc<ProxyPlan>> {
        &mut self.plan
    }

    /// Processes the proxy's outcome of a push, and its report.
    ///
    /// # Errors
    /// [`ApiProblem`] when it names another proxy.
    pub fn outcome(&self, outcome: ChangeOutcome, revision: u64) -> Result<(), ApiProblem> {
        let why = if outcome.taken { None } else { Some(outcome.why.unwrap_or_default()) };
        self.with(|member| {
            member.accepted_revision =
                if why.is_none() { revision } else { member.accepted_revision };
            member.why = why;
        });
        self.report(outcome.report)
    }

    /// Processes a report.
    ///
    /// # Errors
    /// [`ApiProblem`] when it names another proxy.
    pub fn report(&self, report: NodeReport) -> Result<(), ApiProblem> {
        if report.node != self.node {
            let title = format!("{} reports about {}", self.node, report.node);
            return Err(problem(403, "node.report", title));
        }
        let now_ms = self.control.now_ms();
        self.with(|member| {
            let mut report = report.bounded();
            member.seen_ms = now_ms;
            let (statistics, shadows) =
                (std::mem::take(&mut report.statistics), std::mem::take(&mut report.shadows));
            member.pending.add(statistics, shadows);
            member.last = Some(report);
        });
        Ok(())
    }

    /// Records that the proxy has its plan of a revision.
    pub fn current(&self, revision: u64) {
        self.with(|member| member.accepted_revision = member.accepted_revision.max(revision));
    }

    fn with(&self, act: impl FnOnce(&mut Member)) {
        let mut members = self.control.0.fleet.members();
        let member = members.get_mut(&self.node);
        if let Some(member) = member.filter(|one| one.connection == Some(self.connection)) {
            act(member);
        }
    }
}

impl Drop for ConnectedProxy {
    fn drop(&mut self) {
        let now_ms = self.control.now_ms();
        self.with(|member| {
            member.connection = None;
            member.gone_ms = now_ms;
        });
    }
}

#[cfg(test)]
mod tests;

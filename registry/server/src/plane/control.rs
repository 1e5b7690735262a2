//! A control plane: its state, and the only way in which it writes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use tamis_api::Problem;
use tamis_director::{Body, Guards, Plans, State, Terms};
use tamis_journal::log::{Log, LogError};
use tamis_journal::{Blobs, Journal, JournalError, Record};
use tamis_oci::Store;
use tamis_sync::Upstreams;
use tokio::sync::{Mutex as Turn, watch};

use crate::plane::artifact::Artifacts;
use crate::plane::examine::Examine;
use crate::plane::fleet::Fleet;
use crate::plane::keys::Keys;
use crate::plane::policy::PolicyFolder;
use crate::plane::problem;
use crate::plane::wanted::WantedChanges;

/// How often a write is tried again because another writer was first.
const ATTEMPTS: usize = 100;
/// Entries read at a time.
const PAGE: usize = 1_000;

/// The settings of a control plane.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The guards for changes.
    pub guards: Guards,
    /// Number of other people who must approve a digest that may do more than the previous one; 1.
    pub growth_approvals: usize,
    /// How long assignments are valid.
    pub terms: Terms,
    /// The namespaces of grants and trust policies; `operate` on all of one includes deciding what filters
    /// may do. Default: `security`.
    pub security: Vec<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            guards: Guards::default(),
            growth_approvals: 1,
            terms: Terms::default(),
            security: vec!["security".to_owned()],
        }
    }
}

/// A control plane over a journal. A clone is another handle on the same one.
///
/// Any number of them may share a journal, each in a process of its own: each append names the head it was
/// decided on and otherwise fails, and each applies what the others have written.
#[derive(Clone)]
pub struct Control(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) journal: Journal,
    pub(crate) blobs: Blobs,
    pub(crate) log: Log,
    pub(crate) keys: Keys,
    pub(crate) rules: Rules,
    pub(crate) examine: Arc<dyn Examine>,
    pub(crate) policy: Option<PolicyFolder>,
    pub(crate) fleet: Fleet,
    pub(crate) wanted: WantedChanges,
    pub(crate) artifacts: Artifacts,
    plans: Mutex<Plans>,
    upstreams: Mutex<Upstreams>,
    state: RwLock<State>,
    /// The last revision that was applied.
    folded: watch::Sender<u64>,
    /// Held by whoever reads new entries of the journal, so that every entry is applied once.
    reading: Turn<()>,
    /// Held by whoever writes: writers of one process would only make each other try again.
    writing: Turn<()>,
}

impl Control {
    /// Opens a control plane over the journal and the blobs of a store: applies the whole journal. Without
    /// `policy` the `TrustPolicy` documents in force name the trusted keys.
    ///
    /// # Errors
    /// [`LogError`] when the journal cannot be read, or one of its entries fails the check.
    pub async fn open(
        store: Store,
        keys: Keys,
        rules: Rules,
        examine: Arc<dyn Examine>,
        policy: Option<PolicyFolder>,
    ) -> Result<Self, LogError> {
        let (journal, blobs) = (store.journal().clone(), store.blobs().clone());
        let log = Log::open(journal.clone()).await?;
        let inner = Inner {
            store,
            journal,
            blobs,
            log,
            keys,
            rules,
            examine,
            policy,
            fleet: Fleet::default(),
            wanted: WantedChanges::default(),
            artifacts: Artifacts::default(),
            plans: Mutex::default(),
            upstreams: Mutex::default(),
            state: RwLock::default(),
            folded: watch::Sender::new(0),
            reading: Turn::default(),
            writing: Turn::default(),
        };
        let control = Self(Arc::new(inner));
        control.catch_up().await?;
        if let Some(policy) = &control.0.policy {
            policy.refresh(now_ms() / 1_000);
        }
        Ok(control)
    }

    /// The current state. Must not be held across an await.
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        // No change to the state can stop half way: a poisoned lock holds a complete state.
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cached plans of proxies. Lock it after the state, never before.
    pub(crate) fn plans(&self) -> MutexGuard<'_, Plans> {
        // Safe after a panic: the cache only ever holds complete entries.
        self.0.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Parts that many proxies share. Lock it last.
    pub(crate) fn upstreams(&self) -> MutexGuard<'_, Upstreams> {
        self.0.upstreams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notifies of the last revision that was applied, and of every later one.
    pub(crate) fn folded(&self) -> watch::Receiver<u64> {
        self.0.folded.subscribe()
    }

    /// Applies every journal entry written so far.
    pub(crate) async fn catch_up(&self) -> Result<(), JournalError> {
        let _turn = self.0.reading.lock().await;
        loop {
            let after = self.state().head();
            let entries = self.0.journal.read(after, PAGE).await?;
            let Some(last) = entries.last().map(|entry| entry.revision) else { return Ok(()) };
            {
                let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
                for entry in &entries {
                    let record = &entry.record;
                    state.apply(
                        entry.revision,
                        entry.time_ms,
                        &entry.actor,
                        &record.kind,
                        &record.body,
                    );
                }
            }
            self.0.folded.send_replace(last);
        }
    }

    /// Applies what other replicas write, for as long as it is polled.
    pub(crate) async fn follow(&self) {
        loop {
            let head = self.state().head();
            let news = async {
                self.0.journal.wait(head).await?;
                self.catch_up().await
            };
            if let Err(error) = news.await {
                let error = problem::chain(&error);
                tracing::warn!(error, "the journal cannot be followed, trying again");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }

    /// Appends the records that `decide` returns; if another writer was first, calls `decide` again on the
    /// new state. Returns their revision (that of the state when there was nothing to write), which the
    /// state has applied by then.
    ///
    /// If the future is dropped before it returns, the records may or may not have been written.
    pub(crate) async fn commit<T>(
        &self,
        actor: &str,
        mut decide: impl FnMut(&State) -> Result<(Vec<Body>, T), Problem> + Send,
    ) -> Result<(u64, T), Problem> {
        let _turn = self.0.writing.lock().await;
        for _ in 0..ATTEMPTS {
            self.catch_up().await.map_err(|error| problem::journal(&error))?;
            let (head, bodies, value) = {
                let state = self.state();
                let (bodies, value) = decide(&state)?;
                (state.head(), bodies, value)
            };
            if bodies.is_empty() {
                return Ok((head, value));
            }
            let records = records(&bodies)?;
            match self.0.journal.append(Some(head), now_ms(), actor, &records).await {
                Ok(written) => {
                    self.catch_up().await.map_err(|error| problem::journal(&error))?;
                    return Ok((written.revision, value));
                }
                Err(JournalError::Conflict { .. }) => {}
                Err(error) => return Err(problem::journal(&error)),
            }
        }
        let remedy = Some("try again".to_owned());
        Err(Problem { remedy, ..problem::problem(503, "busy", "too many writes at the same time") })
    }
}

fn records(bodies: &[Body]) -> Result<Vec<Record>, Problem> {
    let record = |body: &Body| {
        let value = body.to_body().map_err(|error| problem::body(&error))?;
        Ok(Record { kind: body.kind().to_owned(), body: value })
    };
    bodies.iter().map(record).collect()
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

//! One control plane: what it holds, and the one way in which it writes.

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

/// How often a write is tried again because somebody else wrote first.
const ATTEMPTS: usize = 100;
/// How many entries are read at a time.
const PAGE: usize = 1_000;

/// How a control plane is run.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What changes have to keep to.
    pub guards: Guards,
    /// How many people beside the one who asks must agree to a digest that may do more than the one before; 1.
    pub growth_approvals: usize,
    /// How long assignments hold.
    pub terms: Terms,
    /// The namespaces in which grants and trust policies live: whoever may operate all of one decides what filters may
    /// do; `security`.
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
/// Any number of them may share a journal, each in a process of its own: whatever one writes is written at a known head or
/// not at all, and each folds what the others wrote.
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
    /// The revision folded last.
    folded: watch::Sender<u64>,
    /// Held by whoever reads on in the journal, so that every entry is taken in once.
    reading: Turn<()>,
    /// Held by whoever writes: writers of one process would only make each other try again.
    writing: Turn<()>,
}

impl Control {
    /// Opens a control plane over the journal and the blobs of a store: folds the whole journal. Without `policy` the
    /// `TrustPolicy` documents in force say whose signatures count.
    ///
    /// # Errors
    /// [`LogError`] when the journal cannot be read, or an entry of it does not hold.
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

    /// The state as it is now. Not to be held across an await.
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        // Nothing that changes the state can stop half way: a poisoned lock holds a whole state.
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folded plans of proxies. Taken after the state, never before.
    pub(crate) fn plans(&self) -> MutexGuard<'_, Plans> {
        // It is a cache: what a panic left in it is whole entries.
        self.0.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Parts made before that many proxies share. Taken last.
    pub(crate) fn upstreams(&self) -> MutexGuard<'_, Upstreams> {
        self.0.upstreams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the revision that was folded last, and every one after it.
    pub(crate) fn folded(&self) -> watch::Receiver<u64> {
        self.0.folded.subscribe()
    }

    /// Takes in every entry there is by now.
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

    /// Takes in what other replicas write, for as long as it is polled.
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

    /// Writes what `decide` comes to, decided again each time somebody else wrote first. Answers with the revision that has
    /// it (that of the state when there was nothing to write); the state has it by then.
    ///
    /// A future dropped before it returned may or may not have written.
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
        Err(Problem {
            remedy,
            ..problem::problem(503, "busy", "too many others write at the same time")
        })
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

//! A control plane: its parts and its state.

mod activations;
pub(crate) mod artifact_cache;
pub(crate) mod artifacts;
pub(crate) mod commit;
pub(crate) mod compute_turns;
mod evidence;
pub(crate) mod fleet;
pub(crate) mod known_plans;
mod parts;
mod policies;
pub(crate) mod precedence;
pub(crate) mod proxy_plan;
mod resolve;
mod routers;

pub(crate) use resolve::repository;

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLockReadGuard};

use tamis_api::GrowthView;
use tamis_director::{AssignmentTerms, Guards, Plans, PreparedRecord, State};
use tamis_journal::log::{Log, LogError};
use tamis_journal::{Blobs, Entry, Fold, FoldedJournal, FoldedWriter, Journal, JournalError};
use tamis_oci::Store;
use tamis_sync::UpstreamParts;
use tokio::sync::watch;

use crate::plane::component_examiner::ComponentExaminer;
use crate::plane::control::artifact_cache::ArtifactCache;
use crate::plane::control::compute_turns::Turns;
use crate::plane::control::fleet::Fleet;
use crate::plane::control::precedence::Precedence;
use crate::plane::control::routers::Routers;
use crate::plane::identity::{IdentityLedger, MeshAuthority, RenewalPace, RenewedSvids};
use crate::plane::keys::Keys;
use crate::plane::keys_record::KeysRecord;
use crate::plane::policy::PolicyFolder;

/// The settings of a control plane.
#[derive(Debug, Clone)]
pub struct ControlSettings {
    /// The guards for changes.
    pub guards: Guards,
    /// Number of other people who must approve what allows more than before: a digest, a Grant, a TrustPolicy, or a Service
    /// that begins to take plain text. Default: 1.
    pub growth_approvals: usize,
    /// How long assignments are valid.
    pub terms: AssignmentTerms,
    /// The namespaces whose grants and trust policies decide: whoever may operate all of one decides what filters may do.
    /// Those of other namespaces only narrow them; `security`. All replicas of one journal must have the same setting.
    pub security: Vec<String>,
}

impl Default for ControlSettings {
    fn default() -> Self {
        Self {
            guards: Guards::default(),
            growth_approvals: 1,
            terms: AssignmentTerms::default(),
            security: vec!["security".to_owned()],
        }
    }
}

impl ControlSettings {
    /// The guards for a change that adds these capabilities.
    pub(crate) fn guards_for(&self, added: &[GrowthView]) -> Guards {
        let mut guards = self.guards;
        if !added.is_empty() {
            guards.approvals = guards.approvals.max(self.growth_approvals);
        }
        guards
    }
}

/// A control plane over a journal. A clone is another handle on the same one.
///
/// Any number of them may share a journal, each in a process of its own: each append names the head it was
/// decided on and otherwise fails, and each applies what the others have written.
#[derive(Clone)]
pub struct Control(pub(crate) Arc<ControlInner>);

pub(crate) struct ControlInner {
    pub(crate) store: Store,
    pub(crate) journal: Journal,
    pub(crate) blobs: Blobs,
    pub(crate) log: Log,
    pub(crate) keys: Keys,
    pub(crate) rules: ControlSettings,
    pub(crate) examine: Arc<dyn ComponentExaminer>,
    pub(crate) policy: Option<PolicyFolder>,
    pub(crate) fleet: Fleet,
    pub(crate) artifacts: ArtifactCache,
    pub(crate) routers: Routers,
    /// The authority of the trust domain; empty in a registry that has none.
    pub(crate) authority: OnceLock<MeshAuthority>,
    pub(crate) renewed: RenewedSvids,
    pub(crate) pace: RenewalPace,
    /// The turns of computations on other threads than the one that serves.
    computing: Turns,
    /// Which change the others wait for.
    precedence: Precedence,
    plans: Mutex<Plans>,
    upstreams: Mutex<UpstreamParts>,
    pub(crate) folded: FoldedJournal<ControlState>,
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
        rules: ControlSettings,
        examine: Arc<dyn ComponentExaminer>,
        policy: Option<PolicyFolder>,
    ) -> Result<Self, LogError> {
        let (journal, blobs) = (store.journal().clone(), store.blobs().clone());
        let log = Log::open(journal.clone()).await?;
        let director = Arc::new(State::under(&rules.security));
        let state = ControlState { director, ..ControlState::default() };
        let clock = store.clock();
        let folded = FoldedJournal::open_from(journal.clone(), clock, state).await?;
        let inner = ControlInner {
            store,
            journal,
            blobs,
            log,
            keys,
            rules,
            examine,
            policy,
            fleet: Fleet::new(clock.unix_ms()),
            artifacts: ArtifactCache::default(),
            routers: Routers::default(),
            authority: OnceLock::new(),
            renewed: RenewedSvids::default(),
            pace: RenewalPace::default(),
            computing: Turns::default(),
            precedence: Precedence::default(),
            plans: Mutex::default(),
            upstreams: Mutex::default(),
            folded,
        };
        let control = Self(Arc::new(inner));
        if let Some(policy) = &control.0.policy {
            policy.refresh(clock.unix_secs());
        }
        Ok(control)
    }

    /// The current state. Must not be held across an await.
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, ControlState> {
        self.0.folded.state()
    }

    /// The cached plans of proxies. Lock it after the state, never before.
    pub(crate) fn plans(&self) -> MutexGuard<'_, Plans> {
        // Safe after a panic: the cache only ever holds complete entries.
        self.0.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Parts that many proxies share. Lock it last.
    pub(crate) fn upstreams(&self) -> MutexGuard<'_, UpstreamParts> {
        self.0.upstreams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notifies of the last revision that was applied, and of every later one.
    pub(crate) fn folded(&self) -> watch::Receiver<u64> {
        self.0.folded.watch()
    }

    /// Applies every journal entry written so far.
    pub(crate) async fn catch_up(&self) -> Result<(), JournalError> {
        self.0.folded.catch_up().await
    }

    /// The turn to write as `actor`, once the writers before have ended.
    pub(crate) async fn writer<'a>(&'a self, actor: &'a str) -> FoldedWriter<'a, ControlState> {
        self.0.folded.writer(actor).await
    }

    /// Applies what other replicas write, for as long as it is polled.
    pub(crate) async fn follow(&self) {
        self.0.folded.follow().await;
    }

    /// The clock of the control plane, in milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self) -> u64 {
        self.0.folded.clock().unix_ms()
    }

    /// The clock of the control plane, in seconds since the Unix epoch.
    pub(crate) fn now_secs(&self) -> u64 {
        self.0.folded.clock().unix_secs()
    }
}

/// The state of the director and the identities of proxies, folded from the entries of the journal.
#[derive(Debug, Default)]
pub(crate) struct ControlState {
    /// Shared with those who compute with it on other threads; a change then copies it.
    director: Arc<State>,
    pub(crate) identities: IdentityLedger,
    keys: Option<KeysRecord>,
}

impl ControlState {
    pub(crate) fn director(&self) -> Arc<State> {
        Arc::clone(&self.director)
    }

    /// The keys that sign for the journal; `None`: it is new, or of an earlier release.
    pub(crate) fn keys(&self) -> Option<&KeysRecord> {
        self.keys.as_ref()
    }
}

impl Deref for ControlState {
    type Target = State;

    fn deref(&self) -> &State {
        &self.director
    }
}

impl Fold for ControlState {
    fn revision(&self) -> u64 {
        self.director.head()
    }

    type PreparedEntry = PreparedRecord;

    fn prepare(entry: &Entry) -> PreparedRecord {
        PreparedRecord::of(&entry.record.kind, &entry.record.body)
    }

    fn apply(&mut self, entry: &Entry, prepared: PreparedRecord) {
        let Entry { revision, time_ms, actor, record, .. } = entry;
        self.identities.apply(*time_ms, actor, &record.kind, &record.body);
        if let Some(keys) = KeysRecord::read(&record.kind, &record.body) {
            self.keys = Some(keys);
        }
        let director = Arc::make_mut(&mut self.director);
        director.apply_prepared(*revision, *time_ms, actor, &record.kind, prepared);
    }
}

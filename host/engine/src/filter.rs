//! A component with its configuration and grant, checked and ready to serve.

use crate::engine::CompiledComponent;
use crate::error::{MAX_CAUSE, printable};
use crate::fetch::HttpFetch;
use crate::host::Settings;
use crate::imports;
use crate::maker::InstanceSupply;
use crate::plan::{Interest, Plan};
use crate::running::RunningInstance;
use crate::{
    Admission, BodyMode, CallFault, Contract, EngineError, FilterState, Hook, Responses, selftest,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use tamis_exchange::{ReadableFields, WritableFields};
use tamis_resources::plan::{Isolation, OnFailure};

/// Arguments of [`Filter::new`], except the code.
pub struct FilterOptions {
    /// `namespace/name`, for people.
    pub name: String,
    /// Digest of its manifest, `sha256:HEX`.
    pub digest: String,
    /// `x.y.z`, for people.
    pub version: String,
    /// Passed to `validate` and `configure`.
    pub config_json: String,
    /// What it may do, checked.
    pub admission: Admission,
    /// State that outlives the filter.
    pub state: Arc<FilterState>,
    /// Sends its requests; without it `http-client` answers `denied`.
    pub fetch: Option<Arc<dyn HttpFetch>>,
    /// Failure mode; the caller applies it.
    pub failure: OnFailure,
    /// How long an instance lives.
    pub isolation: Isolation,
}

/// A checked filter. Cheap to clone; workers make their own [`crate::Instance`] of it.
#[derive(Clone)]
pub struct Filter {
    pub(crate) supply: Arc<InstanceSupply>,
    /// Calls that wait, of all workers.
    waiting: Arc<AtomicUsize>,
}

/// A filter that is not kept in use by this.
pub struct WeakFilter {
    supply: Weak<InstanceSupply>,
    waiting: Weak<AtomicUsize>,
}

impl WeakFilter {
    /// The filter; `None`: nobody has it any more.
    pub fn upgrade(&self) -> Option<Filter> {
        Some(Filter { supply: self.supply.upgrade()?, waiting: self.waiting.upgrade()? })
    }
}

/// Calls of one filter that may wait for answers at once, in all workers together: a sixteenth of the stacks there are,
/// so that no filter whose answers do not come keeps others from asking.
pub const MAX_WAITING: usize = 64;

/// A place among the calls of a filter that wait: see [`Filter::wait`].
pub struct QueuePlace(Arc<AtomicUsize>);

impl std::fmt::Debug for QueuePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueuePlace").finish_non_exhaustive()
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Filter {
    /// Validates the configuration with trapping imports, configures an instance, reads
    /// its declaration and calls each hook once with sample values against throw-away state. Lasts
    /// milliseconds.
    ///
    /// # Errors
    /// [`EngineError::code`] states the kind; the text states what to change.
    pub fn new(compiled: &CompiledComponent, options: FilterOptions) -> Result<Self, EngineError> {
        let FilterOptions {
            name,
            digest,
            version,
            config_json,
            admission: Admission { grant, component },
            state,
            fetch,
            failure,
            isolation,
        } = options;
        if component.is_some_and(|checked| checked != *compiled.inspection) {
            let cause = "its grant was checked for another component".to_owned();
            return Err(EngineError::Instantiate { filter: name, cause });
        }
        let buckets = OnceLock::new();
        let settings = Arc::new(Settings { name, digest, version, grant, fetch, buckets });
        let start = |cause: wasmtime::Error| EngineError::Instantiate {
            filter: settings.name.clone(),
            cause: printable(&format!("{cause:#}"), MAX_CAUSE),
        };
        let calls = compiled.inspection.imports("http-client") && settings.fetch.is_some();
        let compares = compiled.inspection.imports("passwords") && !state.is_shadow();
        let suspends = calls || compares;
        let direct = imports::link(compiled, imports::ImportMode::Direct).map_err(start)?;
        let suspending = if suspends {
            Some(imports::link(compiled, imports::ImportMode::Suspending).map_err(start)?)
        } else {
            None
        };
        let mut plan = Plan {
            compiled: compiled.clone(),
            settings: Arc::clone(&settings),
            state,
            config: config_json,
            direct,
            suspending,
            isolation,
            failure,
            interest: Interest::default(),
            backends: Vec::new(),
            connection_backends: Vec::new(),
            rules: Vec::new(),
            failing: (Vec::new(), Vec::new()),
            config_schema: String::new(),
        };
        let share = plan.take_room()?;
        plan.validate()?;
        let mut tested = plan.configure()?;
        selftest::run(&plan, &mut tested)?;
        drop(tested);
        // The first instance is configured against the real state: a conflict, such as a metric name that
        // another filter owns, shows now.
        let first = RunningInstance::configured(&plan, &plan.direct, &plan.state)?;
        let supply = Arc::new(InstanceSupply::new(plan, share));
        supply.put(first);
        Ok(Self { supply, waiting: Arc::default() })
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.supply.plan
    }

    /// A candidate in the shadow of the filter whose state `options` has: checked like any other filter,
    /// and without visible effects. It reads the secrets and the `kv` values of that state; what it writes,
    /// counts, measures, exports and logs is its own and reaches nobody, `http-client` and `passwords` answer
    /// `denied`, and its faults open a breaker of its own.
    ///
    /// # Errors
    /// As [`Filter::new`].
    pub fn shadow(
        compiled: &CompiledComponent,
        options: FilterOptions,
    ) -> Result<Self, EngineError> {
        let state = Arc::new(options.state.shadow());
        Self::new(compiled, FilterOptions { state, fetch: None, ..options })
    }

    /// Makes `count` instances ready, one after the other, and one spare. Each lasts as long as
    /// `configure`: call it off the workers, before they serve with this filter. An instance that cannot be
    /// made here is tried again when it is needed; so are those of a filter whose instances take so long that
    /// other filters would wait for them.
    pub fn prepare(&self, count: usize) {
        self.supply.prepare(count);
    }

    /// Counts an answer that breaks the contract as a fault, and logs it; `exchange` is 0 outside of exchanges.
    pub fn broke(&self, hook: Hook, exchange: u64, rule: String) -> CallFault {
        self.failed(hook, exchange, CallFault::BadAnswer(rule))
    }

    /// Counts a fault, reports it to the breaker and logs it.
    pub(crate) fn failed(&self, hook: Hook, exchange: u64, fault: CallFault) -> CallFault {
        let plan = self.plan();
        plan.state.count_fault(hook);
        plan.state.breaker.failed();
        if !plan.state.is_shadow() {
            tracing::warn!(target: "tamis::filter", filter = plan.settings.name,
                digest = plan.settings.digest, attachment = &*plan.state.attachment, exchange,
                hook = hook.as_str(), %fault, "a call of a filter failed");
        }
        fault
    }

    /// The same filter, not kept in use by the holder.
    pub fn downgrade(&self) -> WeakFilter {
        let Self { supply, waiting } = self;
        WeakFilter { supply: Arc::downgrade(supply), waiting: Arc::downgrade(waiting) }
    }

    /// Has nothing of it called any more, wherever it is in use. Callers check [`Filter::has_ended`] before a call.
    pub fn end(&self) {
        self.supply.ended.store(true, Ordering::Relaxed);
    }

    /// Whether it may not be called any more.
    pub fn has_ended(&self) -> bool {
        self.supply.ended.load(Ordering::Relaxed)
    }

    /// Whether both are the same filter: the same code, configuration and grant, built once.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.supply, &other.supply)
    }

    /// Epochs of its engine, of a millisecond each, that passed while calls ran.
    pub fn epochs(&self) -> u64 {
        self.plan().compiled.engine.epochs()
    }

    /// Hooks it exports.
    pub fn hooks(&self) -> &[Hook] {
        &self.plan().compiled.inspection.hooks
    }

    /// Whether it exports `hook`.
    pub fn has(&self, hook: Hook) -> bool {
        self.plan().compiled.inspection.has(hook)
    }

    /// Fields its hooks read.
    pub fn reads(&self) -> &ReadableFields {
        &self.plan().interest.reads
    }

    /// Fields its edits may write.
    pub fn writes(&self) -> &WritableFields {
        &self.plan().interest.writes
    }

    /// How it sees request bodies.
    pub fn request_body(&self) -> BodyMode {
        self.plan().interest.request_body
    }

    /// How it sees response bodies.
    pub fn response_body(&self) -> BodyMode {
        self.plan().interest.response_body
    }

    /// Which responses its hook on response heads sees.
    pub fn responses(&self) -> Responses {
        self.plan().interest.responses
    }

    /// Whether it can keep values of exchanges: see [`FilterState::begin`].
    pub fn keeps(&self) -> bool {
        self.plan().compiled.inspection.imports("exchange-state")
    }

    /// The version of the contract that it was built for.
    pub fn contract(&self) -> Contract {
        self.plan().compiled.inspection.contract
    }

    /// Longest body it sees when buffered.
    pub fn body_limit_bytes(&self) -> u32 {
        self.plan().interest.body_limit_bytes
    }

    /// Services its router chooses from, `namespace/name:port`.
    pub fn backends(&self) -> &[String] {
        &self.plan().backends
    }

    /// Services its connection hook may tunnel to.
    pub fn connection_backends(&self) -> &[String] {
        &self.plan().connection_backends
    }

    /// Names of its router's rules.
    pub fn rules(&self) -> &[Arc<str>] {
        &self.plan().rules
    }

    /// HTTP and gRPC statuses for which its retry hook wants to be called.
    pub fn failing_statuses(&self) -> (&[u16], &[u32]) {
        (&self.plan().failing.0, &self.plan().failing.1)
    }

    /// Whether that hook may send requests or compare passwords, so that it must be called in the way that waits for them: of
    /// bodies, whole ones alone.
    pub fn suspends(&self, hook: Hook) -> bool {
        let plan = self.plan();
        let mode = match hook {
            Hook::RequestBody => plan.interest.request_body,
            Hook::ResponseBody => plan.interest.response_body,
            _ => BodyMode::Buffered,
        };
        plan.suspending.is_some() && mode == BodyMode::Buffered && plan.lets_wait(hook)
    }

    /// A place among the calls of this filter that wait at once in this process, given back when it is dropped. Each takes
    /// an instance and a stack of those that all filters share.
    ///
    /// # Errors
    /// When all are taken that its grant gives it: at most [`MAX_WAITING`].
    pub fn wait(&self) -> Result<QueuePlace, CallFault> {
        let (granted, component) =
            (&self.plan().settings.grant.imports, &self.plan().compiled.inspection);
        let calls = granted.http_client.as_ref().filter(|_| component.imports("http-client"));
        let calls = calls.map(|granted| granted.concurrent);
        let comparisons = granted.passwords.as_ref().filter(|_| component.imports("passwords"));
        let comparisons = comparisons.map(|granted| granted.concurrent);
        let most = calls.max(comparisons).and_then(|most| usize::try_from(most).ok());
        let most = most.unwrap_or(MAX_WAITING).min(MAX_WAITING);
        let more = |waiting: usize| waiting.checked_add(1).filter(|more| *more <= most);
        let taken = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        match taken {
            Ok(_) => Ok(QueuePlace(Arc::clone(&self.waiting))),
            Err(_) => Err(CallFault::Instantiate("too many of its calls are waiting".to_owned())),
        }
    }

    /// JSON Schema of its configuration.
    pub fn config_schema(&self) -> &str {
        &self.plan().config_schema
    }

    /// `namespace/name`.
    pub fn name(&self) -> &str {
        &self.plan().settings.name
    }

    /// Digest of its manifest.
    pub fn digest(&self) -> &str {
        &self.plan().settings.digest
    }

    /// `x.y.z`.
    pub fn version(&self) -> &str {
        &self.plan().settings.version
    }

    /// What a failed call does to the exchange.
    pub fn failure(&self) -> OnFailure {
        self.plan().failure
    }

    /// State that outlives the filter.
    pub fn state(&self) -> &Arc<FilterState> {
        &self.plan().state
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter")
            .field("name", &self.name())
            .field("digest", &self.digest())
            .field("hooks", &self.hooks())
            .finish_non_exhaustive()
    }
}

//! A component with its configuration and grant, checked and ready to serve.

use crate::deadline;
use crate::engine::CompiledComponent;
use crate::error::{places, printable, short};
use crate::host::Settings;
use crate::imports::{self, http_client::HttpFetch};
use crate::instance::RunningInstance;
use crate::maker::ReadyInstances;
use crate::{
    BodyMode, CallFault, Contract, EngineError, FilterState, Grant, GrantField, Hook, Host,
    Instance, Lack, Responses, abi, check_ceilings, check_imports, selftest,
};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tamis_exchange::{Reads, Writes};
use tamis_resources::plan::{Isolation, OnFailure};
use wasmtime::component::InstancePre;

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
    /// What it may do.
    pub grant: Grant,
    /// State that outlives the filter.
    pub state: Arc<FilterState>,
    /// Sends its requests; without it `http-client` answers `denied`.
    pub fetch: Option<Arc<dyn HttpFetch>>,
    /// Failure mode; the caller applies it.
    pub failure: OnFailure,
    /// How long an instance lives.
    pub isolation: Isolation,
}

/// A checked filter. Cheap to clone; workers make their own [`Instance`] of it.
#[derive(Clone)]
pub struct Filter(pub(crate) Arc<Plan>);

/// Calls of one filter that may wait for answers at once, in all workers together: a sixteenth of the stacks there are,
/// so that no filter whose answers do not come keeps others from asking.
pub const MAX_WAITING: usize = 64;

/// A place among the calls of a filter that wait: see [`Filter::wait`].
pub struct QueuePlace(Arc<Plan>);

impl std::fmt::Debug for QueuePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) struct Plan {
    pub(crate) compiled: CompiledComponent,
    pub(crate) settings: Arc<Settings>,
    pub(crate) state: Arc<FilterState>,
    pub(crate) config: String,
    /// Imports never suspend; `http-client` answers `denied`.
    pub(crate) direct: InstancePre<Host>,
    /// `http-client` suspends; `None` when it may not be used.
    pub(crate) suspending: Option<InstancePre<Host>>,
    pub(crate) isolation: Isolation,
    /// Instances made ahead.
    pub(crate) ready: ReadyInstances,
    /// Calls that wait.
    waiting: AtomicUsize,
    failure: OnFailure,
    interest: Interest,
    backends: Vec<String>,
    connection_backends: Vec<String>,
    rules: Vec<String>,
    failing: (Vec<u16>, Vec<u32>),
    config_schema: String,
}

/// What `configure` declared, parsed.
#[derive(Debug, Default)]
pub(crate) struct Interest {
    pub(crate) reads: Reads,
    pub(crate) writes: Writes,
    pub(crate) request_body: BodyMode,
    pub(crate) response_body: BodyMode,
    pub(crate) body_limit_bytes: u32,
    pub(crate) responses: Responses,
}

impl Filter {
    /// Checks the grant, validates the configuration with trapping imports, configures an instance, reads
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
            grant,
            state,
            fetch,
            failure,
            isolation,
        } = options;
        check_imports(&name, &compiled.inspection, &grant)?;
        check_ceilings(&name, &grant)?;
        let buckets = OnceLock::new();
        let settings = Arc::new(Settings { name, digest, version, grant, fetch, buckets });
        let start = |cause: wasmtime::Error| EngineError::Instantiate {
            filter: settings.name.clone(),
            cause: printable(&format!("{cause:#}"), MAX_CAUSE),
        };
        let suspends = compiled.inspection.imports("http-client") && settings.fetch.is_some();
        let direct = imports::link(compiled, imports::Mode::Direct).map_err(start)?;
        let suspending = if suspends {
            Some(imports::link(compiled, imports::Mode::Suspending).map_err(start)?)
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
            ready: ReadyInstances::default(),
            waiting: AtomicUsize::new(0),
            failure,
            interest: Interest::default(),
            backends: Vec::new(),
            connection_backends: Vec::new(),
            rules: Vec::new(),
            failing: (Vec::new(), Vec::new()),
            config_schema: String::new(),
        };
        plan.validate()?;
        let mut tested = plan.configure()?;
        selftest::run(&plan, &mut tested)?;
        drop(tested);
        // The first instance is configured against the real state: a conflict, such as a metric name that
        // another filter owns, shows now.
        let first = RunningInstance::configured(&plan, &plan.direct, &plan.state)?;
        plan.ready.put(first);
        Ok(Self(Arc::new(plan)))
    }

    /// A candidate in the shadow of the filter whose state `options` has: checked like any other filter,
    /// and without visible effects. It reads the secrets and the `kv` values of that state; what it writes,
    /// counts, measures, exports and logs is its own and reaches nobody, `http-client` answers `denied`,
    /// and its faults open a breaker of its own.
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

    /// A fresh instance, configured on the calling thread; lasts as long as `configure`. Do not call it on
    /// a worker.
    ///
    /// # Errors
    /// Memory is short, or `configure`, which succeeded before, now fails.
    pub fn instantiate(&self) -> Result<Instance, CallFault> {
        Instance::new(self.clone())
    }

    /// An instance for a worker, without waiting: its first call takes an instance that is ready, and calls
    /// fail while none is.
    pub fn instance(&self) -> Instance {
        Instance::empty(self.clone())
    }

    /// Makes `count` instances ready, one after the other, and one spare. Each lasts as long as
    /// `configure`: call it off the workers, before they serve with this filter. An instance that cannot be
    /// made here is tried again when it is needed; so are those of a filter whose instances take so long that
    /// other filters would wait for them.
    pub fn prepare(&self, count: usize) {
        let began = deadline::used();
        for _ in 0..count {
            if deadline::used().saturating_sub(began) > PREPARE {
                return;
            }
            match RunningInstance::configured(&self.0, &self.0.direct, &self.0.state) {
                Ok(running) => self.0.ready.put(running),
                Err(error) => {
                    self.0.state.breaker.failed();
                    tracing::warn!(target: "tamis::filter", filter = self.name(), "{error}");
                    return;
                }
            }
        }
    }

    /// Counts an answer that breaks the contract as a fault, and logs it.
    pub fn broke(&self, hook: Hook, rule: String) -> CallFault {
        self.failed(hook, CallFault::Lift(rule))
    }

    /// Counts a fault, reports it to the breaker and logs it.
    pub(crate) fn failed(&self, hook: Hook, fault: CallFault) -> CallFault {
        let plan = &self.0;
        plan.state.count_fault(hook);
        plan.state.breaker.failed();
        if !plan.state.is_shadow() {
            tracing::warn!(target: "tamis::filter", filter = plan.settings.name,
                digest = plan.settings.digest, hook = hook.as_str(), %fault, "a call of a filter failed");
        }
        fault
    }

    /// Whether both are the same filter: the same code, configuration and grant, built once.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Hooks it exports.
    pub fn hooks(&self) -> &[Hook] {
        &self.0.compiled.inspection.hooks
    }

    /// Whether it exports `hook`.
    pub fn has(&self, hook: Hook) -> bool {
        self.0.compiled.inspection.has(hook)
    }

    /// Fields its hooks read.
    pub fn reads(&self) -> &Reads {
        &self.0.interest.reads
    }

    /// Fields its edits may write.
    pub fn writes(&self) -> &Writes {
        &self.0.interest.writes
    }

    /// How it sees request bodies.
    pub fn request_body(&self) -> BodyMode {
        self.0.interest.request_body
    }

    /// How it sees response bodies.
    pub fn response_body(&self) -> BodyMode {
        self.0.interest.response_body
    }

    /// Which responses its hook on response heads sees.
    pub fn responses(&self) -> Responses {
        self.0.interest.responses
    }

    /// Whether it can keep values of exchanges: see [`FilterState::begin`].
    pub fn keeps(&self) -> bool {
        self.0.compiled.inspection.imports("exchange-state")
    }

    /// The version of the contract that it was built for.
    pub fn contract(&self) -> Contract {
        self.0.compiled.inspection.contract
    }

    /// Longest body it sees when buffered.
    pub fn body_limit_bytes(&self) -> u32 {
        self.0.interest.body_limit_bytes
    }

    /// Services its router chooses from, `namespace/name:port`.
    pub fn backends(&self) -> &[String] {
        &self.0.backends
    }

    /// Services its connection hook may tunnel to.
    pub fn connection_backends(&self) -> &[String] {
        &self.0.connection_backends
    }

    /// Names of its router's rules.
    pub fn rules(&self) -> &[String] {
        &self.0.rules
    }

    /// HTTP and gRPC statuses for which its retry hook wants to be called.
    pub fn failing_statuses(&self) -> (&[u16], &[u32]) {
        (&self.0.failing.0, &self.0.failing.1)
    }

    /// Whether request hooks must be called through [`Instance::on_request_async`].
    pub fn suspends_requests(&self) -> bool {
        let granted = self.0.settings.grant.imports.http_client.as_ref();
        self.0.suspending.is_some() && granted.is_some_and(|g| g.during_requests)
    }

    /// A place among the calls of this filter that wait at once in this process, given back when it is dropped. Each takes
    /// an instance and a stack of those that all filters share.
    ///
    /// # Errors
    /// When all [`MAX_WAITING`] are taken.
    pub fn wait(&self) -> Result<QueuePlace, CallFault> {
        let more = |waiting: usize| (waiting < MAX_WAITING).then(|| waiting + 1);
        let taken = self.0.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        match taken {
            Ok(_) => Ok(QueuePlace(Arc::clone(&self.0))),
            Err(_) => Err(CallFault::Instantiate("too many of its calls are waiting".to_owned())),
        }
    }

    /// JSON Schema of its configuration.
    pub fn config_schema(&self) -> &str {
        &self.0.config_schema
    }

    /// `namespace/name`.
    pub fn name(&self) -> &str {
        &self.0.settings.name
    }

    /// Digest of its manifest.
    pub fn digest(&self) -> &str {
        &self.0.settings.digest
    }

    /// `x.y.z`.
    pub fn version(&self) -> &str {
        &self.0.settings.version
    }

    /// What a failed call does to the exchange.
    pub fn failure(&self) -> OnFailure {
        self.0.failure
    }

    /// State that outlives the filter.
    pub fn state(&self) -> &Arc<FilterState> {
        &self.0.state
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

/// Octets of what the engine says of why an instance does not start: it quotes the component.
pub(crate) const MAX_CAUSE: usize = 2_048;

/// Number of uncovered fields that are reported at most.
const LACKS_MAX: usize = 32;
const LACK_OCTETS: usize = 256;

impl Plan {
    fn name(&self) -> String {
        self.settings.name.clone()
    }

    fn validate(&self) -> Result<(), EngineError> {
        let pre = imports::link(&self.compiled, imports::Mode::Trapping).map_err(|e| {
            let cause = printable(&format!("{e:#}"), MAX_CAUSE);
            EngineError::Instantiate { filter: self.name(), cause }
        })?;
        let mut running = RunningInstance::bare(self, &pre, &self.state)?;
        let answer = running.configure_call(self, "validate", |exports, store| {
            exports.validate.call(store, (&self.config,))
        })?;
        answer.0.map_err(|errors| self.refused(errors))
    }

    /// Configures an instance against throw-away state, and keeps its declaration. Returns that instance.
    fn configure(&mut self) -> Result<RunningInstance, EngineError> {
        let scratch = Arc::new(self.state.scratch());
        let mut running = RunningInstance::bare(self, &self.direct, &scratch)?;
        let (answer,) = running.configure_call(self, "configure", |exports, store| {
            exports.configure.call(store, (&self.config,))
        })?;
        let declared = answer.map_err(|errors| self.refused(errors))?;
        let buckets = self.buckets(&declared)?;
        let interest = self.interest(declared)?;
        running.store.data_mut().configuring = false;
        let mut names = |act,
                         which: fn(
            &crate::exports::Exports,
        )
            -> Option<&crate::native::Slot<crate::exports::Names>>| {
            let names = running
                .configure_call(self, act, |exports, store| {
                    which(exports).map(|slot| slot.call(store, ())).transpose()
                })
                .map(|answer| answer.map(|(names,)| names).unwrap_or_default())?;
            self.few_and_short(act, &names)?;
            Ok::<_, EngineError>(names)
        };
        let backends = names("backends", |e| e.backends.as_ref())?;
        let rules = names("rules", |e| e.rules.as_ref())?;
        let connection_backends = names("backends", |e| e.connection_backends.as_ref())?;
        let failing = running.configure_call(self, "failing-statuses", |exports, store| {
            exports.failing_statuses.as_ref().map(|slot| slot.call(store, ())).transpose()
        })?;
        let (schema,) = running.configure_call(self, "config-schema", |exports, store| {
            exports.config_schema.call(store, ())
        })?;
        if schema.len() > MAX_SCHEMA_BYTES {
            let rule = format!("its schema is longer than {MAX_SCHEMA_BYTES} bytes");
            return Err(EngineError::Interest { filter: self.name(), rule });
        }
        let failing = failing.map(|(statuses,)| statuses).unwrap_or_default();
        if failing.0.len() > MAX_STATUSES || failing.1.len() > MAX_STATUSES {
            let rule = format!("it names more than {MAX_STATUSES} failing statuses");
            return Err(EngineError::Interest { filter: self.name(), rule });
        }
        // Set once: the cell is empty until here.
        drop(self.settings.buckets.set(buckets));
        self.config_schema = schema;
        self.interest = interest;
        self.backends = backends;
        self.rules = rules;
        self.connection_backends = connection_backends;
        self.failing = failing;
        Ok(running)
    }

    /// Names go into metrics, records and status as they are.
    fn few_and_short(&self, act: &str, names: &[String]) -> Result<(), EngineError> {
        let most = if matches!(act, "reads" | "writes") { MAX_DECLARED } else { MAX_NAMES };
        let rule = if names.len() > most {
            format!("`{act}` has {} names; at most {most} are allowed", names.len())
        } else if let Some(long) = names.iter().find(|name| name.len() > MAX_NAME_BYTES) {
            format!(
                "a name of `{act}` has {} bytes; at most {MAX_NAME_BYTES} are allowed",
                long.len()
            )
        } else if let Some(name) = names.iter().find(|name| name.chars().any(char::is_control)) {
            let name = printable(name, LACK_OCTETS);
            format!("the name `{name}` of `{act}` has a control character in it")
        } else {
            return Ok(());
        };
        Err(EngineError::Interest { filter: self.name(), rule })
    }

    /// `buckets:METRIC` of `interest.extra`: upper bounds, in the metric's unit, separated by commas.
    fn buckets(&self, declared: &abi::Interest) -> Result<HashMap<String, Vec<f64>>, EngineError> {
        let mut all = HashMap::new();
        for extra in declared.extra.iter().take(MAX_EXTRAS) {
            let Some(metric) = extra.name.strip_prefix("buckets:") else { continue };
            let bounds: Result<Vec<f64>, _> =
                extra.value.split(',').map(|bound| bound.trim().parse()).collect();
            let bounds = bounds.map_err(|_| EngineError::Interest {
                filter: self.name(),
                rule: format!(
                    "the value of `buckets:{}` must be numbers, separated by commas",
                    short(metric, 200).escape_debug()
                ),
            })?;
            all.insert(metric.to_owned(), bounds);
        }
        Ok(all)
    }

    pub(crate) fn reads(&self) -> &Reads {
        &self.interest.reads
    }

    fn refused(&self, errors: Vec<abi::ConfigError>) -> EngineError {
        let errors = places(errors.into_iter().map(|e| (e.pointer, e.message)));
        EngineError::Configure { filter: self.name(), errors }
    }

    /// Checks the declaration against the contract and the grant.
    fn interest(&self, declared: abi::Interest) -> Result<Interest, EngineError> {
        let grant = &self.settings.grant;
        // A component chooses these names, so they are shortened before they reach logs and reports.
        let lack =
            |act, field: &str, grant| Lack { act, field: printable(field, LACK_OCTETS), grant };
        self.few_and_short("reads", &declared.reads)?;
        self.few_and_short("writes", &declared.writes)?;
        let modes = [declared.request_body, declared.response_body];
        let buffers = modes.iter().any(|mode| *mode != abi::BodyMode::None);
        let (asked, most) = (u64::from(declared.body_limit_bytes), grant.limits.body_bytes);
        if buffers && asked > most {
            let rule = format!(
                "it buffers bodies of up to {asked} bytes, but its grant allows {most}; write `limits: {{ body: {asked} }}` in the grant, or lower the filter's own limit"
            );
            return Err(EngineError::Interest { filter: self.name(), rule });
        }
        let sees = |hooks: &[Hook]| hooks.iter().any(|hook| self.compiled.inspection.has(*hook));
        let response = sees(&[Hook::Response, Hook::ResponseBody])
            && !sees(&[Hook::Request, Hook::RequestBody, Hook::Router, Hook::Retry]);
        // A filter that sees no requests but their trailers most likely wants those of responses.
        let replies = !sees(&[Hook::Request, Hook::RequestBody, Hook::Router, Hook::Retry]);
        let side = |name: &str| response || (replies && name.starts_with(tamis_exchange::TRAILER));
        let stated =
            |name: &&String| name.strip_prefix('@').is_some_and(tamis_exchange::is_host_attribute);
        if let Some(name) = declared.writes.iter().find(stated) {
            let name = printable(name, LACK_OCTETS);
            let rule = format!(
                "it writes `{name}`, an attribute that only the host may set; no grant can allow it"
            );
            return Err(EngineError::Interest { filter: self.name(), rule });
        }
        let reads = declared.reads.iter().filter(|name| !grant.may_read(name));
        let reads = reads.map(|name| lack("reads", name, GrantField::reading(name, side(name))));
        let writes = declared.writes.iter().filter(|name| !grant.may_write(name));
        let writes = writes.map(|name| lack("writes", name, GrantField::writing(name, side(name))));
        let bodies = [
            (declared.request_body, grant.request_body, "request bodies", GrantField::RequestBody),
            (
                declared.response_body,
                grant.response_body,
                "response bodies",
                GrantField::ResponseBody,
            ),
        ];
        let bodies = bodies
            .into_iter()
            .filter(|(mode, granted, ..)| *mode != abi::BodyMode::None && !granted);
        let bodies = bodies.map(|(_, _, what, by)| lack("reads", what, by));
        let lacks: Vec<Lack> = reads.chain(writes).chain(bodies).take(LACKS_MAX).collect();
        if !lacks.is_empty() {
            return Err(EngineError::Field { filter: self.name(), lacks });
        }
        let reads = Reads::parse(&declared.reads)
            .map_err(|e| EngineError::Interest { filter: self.name(), rule: e.to_string() })?;
        Ok(Interest {
            reads,
            writes: Writes::new(declared.writes),
            request_body: body_mode(declared.request_body),
            response_body: body_mode(declared.response_body),
            body_limit_bytes: declared.body_limit_bytes,
            responses: declared.responses.into(),
        })
    }
}

/// Fields that a filter may read, and write. The host searches them with each request and each edit, in time
/// that no limit of the filter covers; a filter that needs more declares `*`.
const MAX_DECLARED: usize = 256;
/// Processor time for making instances of one filter ahead.
const PREPARE: Duration = Duration::from_secs(2);
/// Names that a filter may declare of another kind: rules, backends.
const MAX_NAMES: usize = 10_000;
/// Bytes of such a name.
const MAX_NAME_BYTES: usize = 1_024;
/// Entries of `interest.extra` that are read.
const MAX_EXTRAS: usize = 256;
/// Statuses that a retry policy may name, of each protocol.
const MAX_STATUSES: usize = 1_000;
/// Bytes of a configuration's schema.
const MAX_SCHEMA_BYTES: usize = 1024 * 1024;

fn body_mode(mode: abi::BodyMode) -> BodyMode {
    match mode {
        abi::BodyMode::None => BodyMode::None,
        abi::BodyMode::Buffered => BodyMode::Buffered,
        abi::BodyMode::Chunks => BodyMode::Chunks,
    }
}

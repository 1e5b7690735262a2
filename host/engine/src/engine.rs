//! The engine: how components are compiled, where their memories live, and the clock that stops them.

use crate::epoch::Epochs;
use crate::limiter::MAX_MEMORY_BYTES;
use crate::room::{InstanceNeeds, InstanceRoom};
use crate::{EngineError, Host};
use std::sync::Arc;
use wasmtime::{
    Config, Inlining, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

/// Where instances live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// Slots reserved ahead: a fresh instance costs microseconds.
    Pooling,
    /// Mapped when needed: used where address space is limited.
    OnDemand,
}

/// Compiles and runs filters. Cheap to clone; make one per process.
#[derive(Clone)]
pub struct Engine {
    inner: wasmtime::Engine,
    allocation: Allocation,
    epochs: Arc<Epochs>,
    /// For instances that workers hold, taken when a filter is made.
    pub(crate) kept: Arc<InstanceRoom>,
    /// For instances of calls that wait, taken one by one.
    pub(crate) waiting: Arc<InstanceRoom>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("allocation", &self.allocation).finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts an engine and its epoch thread, which ends with the engine.
    ///
    /// Pooled when the address space can be reserved, otherwise on demand; [`Engine::allocation`] states
    /// which.
    ///
    /// # Errors
    /// This machine cannot run the compiler's code, or no thread can be started.
    pub fn new() -> Result<Self, EngineError> {
        let (inner, allocation) = match wasmtime::Engine::new(&config(Some(&pool()))) {
            Ok(engine) => (engine, Allocation::Pooling),
            Err(error) => {
                tracing::warn!(target: "tamis::engine", error = %format!("{error:#}"),
                    "the address space for pooled instances cannot be reserved; instances are allocated on demand");
                let engine = wasmtime::Engine::new(&config(None))
                    .map_err(|e| EngineError::Start(format!("{e:#}")))?;
                (engine, Allocation::OnDemand)
            }
        };
        let epochs = epochs(&inner)?;
        let (kept, waiting) = (InstanceRoom::new(KEPT), InstanceRoom::new(WAITING));
        Ok(Self { inner, allocation, epochs, kept, waiting })
    }

    /// The allocator in use.
    pub fn allocation(&self) -> Allocation {
        self.allocation
    }

    /// Whether its epoch thread sleeps: no call has run for some milliseconds, so nothing of this engine wakes
    /// the processor until the next call.
    pub fn rests(&self) -> bool {
        self.epochs.rest()
    }

    /// Epochs, of a millisecond each, that passed while calls ran; none passes while [`Self::rests`].
    pub fn epochs(&self) -> u64 {
        self.epochs.passed()
    }

    /// The mark of a new store.
    pub(crate) fn mark(&self) -> crate::epoch::CallMark {
        self.epochs.mark()
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner
    }

    pub(crate) fn linker(&self) -> wasmtime::component::Linker<Host> {
        wasmtime::component::Linker::new(&self.inner)
    }
}

fn config(pool: Option<&PoolingAllocationConfig>) -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .memory_init_cow(true)
        .cranelift_opt_level(OptLevel::Speed)
        // The guests' own compilers have inlined already. Inlining again needs gigabytes for an
        // interpreter's component (all of its functions are kept at once), doubles the code, and makes no
        // call faster.
        .compiler_inlining(Inlining::No)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .max_wasm_stack(512 * 1024);
    if let Some(pool) = pool {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool.clone()));
    }
    config
}

/// Tables of one component: what Rust, Go, JavaScript and Python make has two.
pub(crate) const MAX_TABLES: u32 = 8;
/// Memories of one component: what they make has one, and one more for an adapter.
pub(crate) const MAX_MEMORIES: u32 = 4;
/// Core instances of one component: what `componentize-py` makes has 14, and one for each library.
const MAX_CORE_INSTANCES: u32 = 64;
/// Room for what workers hold: 16 workers × 100 filters × 2 generations, and their spares.
const KEPT: InstanceNeeds = InstanceNeeds { instances: 4_000, memories: 4_800, tables: 9_600 };
/// Room for calls that wait: 16 filters all of whose calls do ([`crate::MAX_WAITING`]).
const WAITING: InstanceNeeds = InstanceNeeds { instances: 1_024, memories: 1_200, tables: 3_000 };
/// In addition, for what nobody holds: instances in which a filter is tested before it is taken, a few at once.
const TESTED: InstanceNeeds = InstanceNeeds { instances: 32, memories: 128, tables: 256 };

/// Sized for the rooms; reserves address space only, no memory until used.
fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    let sum = |of: fn(InstanceNeeds) -> u32| {
        [KEPT, WAITING, TESTED].map(of).into_iter().fold(0, u32::saturating_add)
    };
    let instances = sum(|room| room.instances);
    pool.total_component_instances(instances)
        // A number only: none is reserved.
        .total_core_instances(instances.saturating_mul(MAX_CORE_INSTANCES))
        .total_memories(sum(|room| room.memories))
        .total_tables(sum(|room| room.tables))
        .total_stacks(WAITING.instances.saturating_add(TESTED.instances))
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        // Beyond these the pool refuses before the rule that has better words.
        .max_memories_per_component(8)
        .max_tables_per_component(64)
        .max_component_instance_size(4 * 1024 * 1024)
        .max_core_instance_size(4 * 1024 * 1024)
        .table_elements(50_000)
        .max_memory_size(usize::try_from(MAX_MEMORY_BYTES).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(128 * 1024)
        .table_keep_resident(16 * 1024);
    pool
}

/// One thread per engine advances its epoch; it refers to the engine weakly.
fn epochs(engine: &wasmtime::Engine) -> Result<Arc<Epochs>, EngineError> {
    let weak = engine.weak();
    Epochs::start(move || {
        if let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
        }
    })
}

/// A compiled component; shared by all its filters.
#[derive(Clone)]
pub struct CompiledComponent {
    pub(crate) engine: Engine,
    pub(crate) component: wasmtime::component::Component,
    pub(crate) inspection: Arc<crate::Inspection>,
    /// Of one instance.
    pub(crate) needs: InstanceNeeds,
    /// Whether it was read from the cache.
    pub(crate) cached: bool,
}

impl CompiledComponent {
    /// What the component exports and imports.
    pub fn inspection(&self) -> &crate::Inspection {
        &self.inspection
    }

    /// Whether it was read from the cache instead of compiled.
    pub fn was_cached(&self) -> bool {
        self.cached
    }
}

impl std::fmt::Debug for CompiledComponent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled")
            .field("hooks", &self.inspection.hooks)
            .field("cached", &self.cached)
            .finish_non_exhaustive()
    }
}

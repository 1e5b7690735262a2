//! From proven artifacts to machine code: allowed by the grants of their slots, then compiled, several at once.

use super::Builder;
use super::admit::admitted;
use super::prove::{ProvenArtifact, ProvenSlot, UnchangedSlot};
use crate::refusal_text::refusal;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tamis_engine::{Admission, CompiledComponent, InspectedComponent, Inspection};
use tamis_proxy::Refused;
use tamis_trust::Digest;

/// Most threads that compile at once: each needs some hundred megabytes for a large component.
const THREADS_MAX: usize = 8;

/// What a slot will run.
pub(super) enum SlotContent<'a> {
    /// What runs there already.
    Unchanged(&'a UnchangedSlot),
    /// A filter that is made from this.
    New(ReadyArtifact<'a>),
}

/// An artifact that may run in a slot, with the proof that it may and its machine code.
pub(super) struct ReadyArtifact<'a> {
    pub(super) proven: &'a ProvenArtifact<'a>,
    pub(super) admission: Box<Admission>,
    pub(super) code: CompiledComponent,
}

/// Why a slot cannot have what it should run.
pub(super) struct ContentRefusal {
    pub(super) refusal: Refused,
    /// Of a component that the compiler refuses: the key of what its filter would be made from, and the time that it took.
    pub(super) compiled: Option<(String, Duration)>,
}

impl From<Refused> for ContentRefusal {
    fn from(refusal: Refused) -> Self {
        Self { refusal, compiled: None }
    }
}

/// What a slot will run once its component is compiled.
pub(super) enum AdmittedSlot<'a> {
    Unchanged(&'a UnchangedSlot),
    New(AdmittedArtifact<'a>),
}

pub(super) struct AdmittedArtifact<'a> {
    proven: &'a ProvenArtifact<'a>,
    admission: Box<Admission>,
    component: Arc<BuildComponent<'a>>,
}

/// A component of a build: inspected once and compiled once for all slots that run it.
pub(super) struct BuildComponent<'a> {
    pub(super) digest: String,
    size: usize,
    found: Result<ComponentState<'a>, Refused>,
    /// The result of the compiler, and the time that it took.
    compiled: OnceLock<(Result<CompiledComponent, Refused>, Duration)>,
}

enum ComponentState<'a> {
    /// Its code is in memory.
    Compiled(CompiledComponent),
    Inspected(InspectedComponent<'a>),
}

impl BuildComponent<'_> {
    fn inspection(&self) -> Result<&Inspection, Refused> {
        match &self.found {
            Ok(ComponentState::Compiled(code)) => Ok(code.inspection()),
            Ok(ComponentState::Inspected(component)) => Ok(component.inspection()),
            Err(refusal) => Err(refusal.clone()),
        }
    }

    fn is_missing(&self) -> bool {
        matches!(self.found, Ok(ComponentState::Inspected(_)))
    }
}

impl Builder {
    /// The machine code of what slots may run, in their order. What is not allowed in its slot is not compiled for it:
    /// compiling may take a minute, and missing grants are known before.
    pub(super) fn compile<'a>(
        &self,
        slots: &'a [Result<ProvenSlot<'a>, Refused>],
    ) -> Vec<Result<SlotContent<'a>, ContentRefusal>> {
        let admitted = self.admit_all(slots);
        self.compile_at_once(&missing(&admitted));
        admitted.into_iter().map(|slot| self.content(slot?)).collect()
    }

    /// What may be compiled for slots; each component is inspected once.
    pub(super) fn admit_all<'a>(
        &self,
        slots: &'a [Result<ProvenSlot<'a>, Refused>],
    ) -> Vec<Result<AdmittedSlot<'a>, Refused>> {
        let mut components = BTreeMap::new();
        slots.iter().map(|slot| self.admit(slot, &mut components)).collect()
    }

    /// Whether the component of a slot may run in it.
    fn admit<'a>(
        &self,
        slot: &'a Result<ProvenSlot<'a>, Refused>,
        components: &mut BTreeMap<Digest, Arc<BuildComponent<'a>>>,
    ) -> Result<AdmittedSlot<'a>, Refused> {
        let proven = match slot {
            Ok(ProvenSlot::New(proven)) => proven,
            Ok(ProvenSlot::Unchanged(unchanged)) => return Ok(AdmittedSlot::Unchanged(unchanged)),
            Err(refusal) => return Err(refusal.clone()),
        };
        let bytes = proven.artifact.component.as_slice();
        let digest = Digest::of(bytes);
        let component = components.entry(digest);
        let component = component.or_insert_with(|| Arc::new(self.component(&digest, bytes)));
        let (manifest, plan) = (&proven.verified.manifest, proven.wanted.plan);
        let admission = Box::new(admitted(plan, manifest, component.inspection()?)?);
        let component = Arc::clone(component);
        Ok(AdmittedSlot::New(AdmittedArtifact { proven, admission, component }))
    }

    fn component<'a>(&self, digest: &Digest, bytes: &'a [u8]) -> BuildComponent<'a> {
        let digest = digest.to_string();
        let found = match self.code.get(&digest) {
            Some(code) => Ok(ComponentState::Compiled(code)),
            None => InspectedComponent::new(bytes)
                .map(ComponentState::Inspected)
                .map_err(|error| refusal(&error)),
        };
        BuildComponent { digest, size: bytes.len(), found, compiled: OnceLock::new() }
    }

    /// Compiles components on several threads.
    fn compile_at_once(&self, missing: &[&BuildComponent<'_>]) {
        // While requests are served, half of the processors are theirs.
        let there = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let free = if self.good.is_empty() { there } else { there.div_ceil(2) };
        let threads = free.min(THREADS_MAX).min(missing.len());
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(component) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                // The slots that run it take the result.
                let _ = self.code_of(component);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                let thread = std::thread::Builder::new().name("tamis-compile".to_owned());
                // Without another thread this one compiles everything.
                let _ = thread.spawn_scoped(scope, work);
            }
            work();
        });
    }

    /// The code of a component, which is compiled or read from the cache by the first who asks.
    fn code_of(
        &self,
        component: &BuildComponent<'_>,
    ) -> (Result<CompiledComponent, Refused>, Duration) {
        let compile = || match &component.found {
            Err(refusal) => (Err(refusal.clone()), Duration::ZERO),
            Ok(ComponentState::Compiled(code)) => (Ok(code.clone()), Duration::ZERO),
            Ok(ComponentState::Inspected(inspected)) => {
                let since = self.clock.now();
                let code = self.engine.compile_inspected(inspected, self.cache.as_deref());
                let code = code.map_err(|error| refusal(&error));
                if let Ok(code) = &code {
                    self.code.keep(component.digest.clone(), code.clone());
                }
                (code, self.clock.since(since))
            }
        };
        component.compiled.get_or_init(compile).clone()
    }

    fn content<'a>(&self, slot: AdmittedSlot<'a>) -> Result<SlotContent<'a>, ContentRefusal> {
        let AdmittedArtifact { proven, admission, component } = match slot {
            AdmittedSlot::New(admitted) => admitted,
            AdmittedSlot::Unchanged(unchanged) => return Ok(SlotContent::Unchanged(unchanged)),
        };
        match self.code_of(&component) {
            (Ok(code), _) => Ok(SlotContent::New(ReadyArtifact { proven, admission, code })),
            (Err(refusal), took) => {
                Err(ContentRefusal { refusal, compiled: Some((proven.key.clone(), took)) })
            }
        }
    }
}

/// The components that must be compiled, each once; the largest, which takes longest, first.
pub(super) fn missing<'s>(
    admitted: &'s [Result<AdmittedSlot<'_>, Refused>],
) -> Vec<&'s BuildComponent<'s>> {
    let mut missing: BTreeMap<&str, &BuildComponent<'_>> = BTreeMap::new();
    for slot in admitted {
        if let Ok(AdmittedSlot::New(one)) = slot
            && one.component.is_missing()
        {
            missing.insert(&one.component.digest, &one.component);
        }
    }
    let mut missing: Vec<_> = missing.into_values().collect();
    missing.sort_by_key(|component| Reverse(component.size));
    missing
}

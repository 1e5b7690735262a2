//! What a registry keeps of components in memory: what is in them, and their machine code.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::user_state;
use tamis_engine::{
    Cache, CompiledComponent, EngineError, InspectedComponent, Inspection, KeptInspection,
};
use tamis_trust::Digest;

/// Components kept compiled in memory.
const CODE_MAX: usize = 16;
/// Components of which it is kept what they import and export: some names of each.
const INSPECTED_MAX: usize = 256;

/// What was found in components: several questions are asked about one, and it is inspected for the first.
static INSPECTED: Mutex<VecDeque<(Digest, KeptInspection)>> = Mutex::new(VecDeque::new());

/// Compiled components: one is asked more than one question, and a router about halves of its routes; it is not compiled each
/// time.
pub(super) struct CompiledCode {
    engine: tamis_engine::Engine,
    /// What this and other commands of this user compiled, such as `tamis up` before it starts this registry.
    kept: Option<Cache>,
    compiled: Mutex<VecDeque<(Digest, CompiledComponent)>>,
}

/// The compiled components of this process; `None`: it has no engine.
pub(super) fn code() -> Option<&'static CompiledCode> {
    static CODE: OnceLock<Option<CompiledCode>> = OnceLock::new();
    let make = || {
        let engine = tamis_engine::Engine::new().ok()?;
        Some(CompiledCode { engine, kept: user_state::own_code(), compiled: Mutex::default() })
    };
    CODE.get_or_init(make).as_ref()
}

/// What a component imports and exports. It is inspected again only where that is not kept any more.
///
/// # Errors
/// It is not a filter.
pub(super) fn inspection(component: &[u8]) -> Result<Inspection, EngineError> {
    Ok(inspected(&Digest::of(component), component)?.inspection().clone())
}

/// The component of that digest, inspected.
fn inspected<'a>(
    digest: &Digest,
    component: &'a [u8],
) -> Result<InspectedComponent<'a>, EngineError> {
    let kept = all_inspected().iter().find(|(known, _)| known == digest).cloned();
    if let Some(known) = kept.and_then(|(_, kept)| InspectedComponent::known(component, &kept)) {
        return Ok(known);
    }
    let inspected = InspectedComponent::new(component)?;
    let mut all = all_inspected();
    if all.len() >= INSPECTED_MAX {
        all.pop_front();
    }
    all.push_back((*digest, inspected.keep()));
    Ok(inspected)
}

fn all_inspected() -> MutexGuard<'static, VecDeque<(Digest, KeptInspection)>> {
    INSPECTED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CompiledCode {
    fn in_memory(&self) -> MutexGuard<'_, VecDeque<(Digest, CompiledComponent)>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The component of that digest, if it is in memory.
    fn known(&self, digest: &Digest) -> Option<CompiledComponent> {
        let kept = self.in_memory();
        kept.iter().find(|(known, _)| known == digest).map(|(_, compiled)| compiled.clone())
    }

    /// The component, compiled.
    pub(super) fn compile(&self, component: &[u8]) -> Result<CompiledComponent, EngineError> {
        let digest = Digest::of(component);
        if let Some(compiled) = self.known(&digest) {
            return Ok(compiled);
        }
        let inspected = inspected(&digest, component)?;
        let compiled = self.engine.compile_inspected(&inspected, self.kept.as_ref())?;
        let mut kept = self.in_memory();
        if kept.len() >= CODE_MAX {
            kept.pop_front();
        }
        kept.push_back((digest, compiled.clone()));
        Ok(compiled)
    }
}

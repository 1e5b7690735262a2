//! Machine code in the memory of a registry, by component.

use std::collections::VecDeque;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::user_state;
use tamis_engine::{Cache, CompiledComponent, EngineError};
use tamis_trust::Digest;

/// Components kept compiled in memory.
const CODE_MAX: usize = 16;

/// Compiled components: one is asked more than one question, and a router about halves of its routes; it is not compiled each
/// time.
pub(super) struct CompiledCode {
    engine: tamis_engine::Engine,
    /// What commands of this user compiled, such as `tamis up` before it starts this registry.
    kept: Option<Cache>,
    compiled: Mutex<VecDeque<(Digest, CompiledComponent)>>,
}

/// The compiled components of this process; `None`: it has no engine.
pub(super) fn code() -> Option<&'static CompiledCode> {
    static CODE: OnceLock<Option<CompiledCode>> = OnceLock::new();
    let make = || {
        let engine = tamis_engine::Engine::new().ok()?;
        Some(CompiledCode { engine, kept: user_state::kept_code(), compiled: Mutex::default() })
    };
    CODE.get_or_init(make).as_ref()
}

impl CompiledCode {
    /// The component, compiled.
    pub(super) fn compile(&self, component: &[u8]) -> Result<CompiledComponent, EngineError> {
        let digest = Digest::of(component);
        let kept = || self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, compiled)) = kept().iter().find(|(known, _)| *known == digest) {
            return Ok(compiled.clone());
        }
        let compiled = self.engine.compile(component, self.kept.as_ref())?;
        let mut kept = kept();
        if kept.len() >= CODE_MAX {
            kept.pop_front();
        }
        kept.push_back((digest, compiled.clone()));
        Ok(compiled)
    }
}

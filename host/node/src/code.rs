//! Machine code that stays in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tamis_engine::CompiledComponent;

/// Components kept compiled in memory; the cache on disk has no such limit.
const CODE_MAX: usize = 256;

/// Machine code by digest of the component, shared by the nodes of a process.
#[derive(Clone, Default)]
pub(crate) struct Code(Arc<Mutex<HashMap<String, CompiledComponent>>>);

impl Code {
    /// The code of a component.
    pub(crate) fn get(&self, digest: &str) -> Option<CompiledComponent> {
        self.lock().get(digest).cloned()
    }

    /// Keeps the code of a component.
    pub(crate) fn keep(&self, digest: String, compiled: CompiledComponent) {
        let mut code = self.lock();
        if code.len() >= CODE_MAX {
            // Any may be dropped: the cache on disk still has it.
            let some = code.keys().next().cloned();
            some.and_then(|key| code.remove(&key));
        }
        code.insert(digest, compiled);
    }

    /// The components whose code is kept, sorted.
    #[cfg(test)]
    pub(crate) fn digests(&self) -> Vec<String> {
        let mut digests: Vec<String> = self.lock().keys().cloned().collect();
        digests.sort();
        digests
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, CompiledComponent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

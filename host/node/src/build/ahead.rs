//! Compiles the components of a plan before the slots are built, several at once.

use super::{Builder, DesiredSlot, Rules};
use crate::store::StoreIndex;
use std::cmp::Reverse;
use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use tamis_trust::Digest;

/// Most threads that compile at once: each needs some hundred megabytes for a large component.
const THREADS_MAX: usize = 8;

impl Builder {
    /// Compiles what the slots will need, on several threads; they find it afterwards. Only components are
    /// compiled that are signed as the policies demand and whose imports are granted. A component that
    /// cannot be compiled is left to its slot, which reports it.
    pub(super) fn compile_ahead(
        &self,
        wanted: &[DesiredSlot<'_>],
        rules: Rules<'_>,
        index: &StoreIndex,
    ) {
        let missing = self.missing(wanted, rules, index);
        // While requests are served, half of the processors are theirs.
        let there = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let free = if self.good.is_empty() { there } else { there.div_ceil(2) };
        let threads = free.min(THREADS_MAX).min(missing.len());
        if threads < 2 {
            return;
        }
        let (compiler, next) = (self.compiler(), AtomicUsize::new(0));
        let work = || {
            while let Some((key, component)) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                drop(compiler.compile(key.clone(), component));
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

    /// Components that are needed and not in memory, by digest; the largest, which takes longest, first.
    pub(super) fn missing(
        &self,
        wanted: &[DesiredSlot<'_>],
        rules: Rules<'_>,
        index: &StoreIndex,
    ) -> Vec<(String, Vec<u8>)> {
        let mut seen = HashSet::new();
        let mut missing = Vec::new();
        let shadows = wanted.iter().filter_map(|one| one.shadow.as_deref());
        for one in wanted.iter().chain(shadows) {
            let Ok(proven) = self.proven(one, rules, index) else { continue };
            let key = Digest::of(&proven.artifact.component).to_string();
            let runs = self.good.get(one.slot).is_some_and(|good| good.key == proven.key);
            if runs || self.compiler().known(&key).is_some() || !seen.insert(key.clone()) {
                continue;
            }
            let inspection = tamis_engine::inspect(&proven.artifact.component);
            if inspection.is_ok_and(|it| self.allowed(one.plan, &proven, &it).is_ok()) {
                missing.push((key, proven.artifact.component));
            }
        }
        missing.sort_by_key(|(_, component)| Reverse(component.len()));
        missing
    }
}

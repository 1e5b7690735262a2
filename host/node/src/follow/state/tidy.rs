//! Removes artifacts from the folder that nothing names any more.

use std::collections::BTreeSet;
use std::fs;

use super::{STORE, StateFolder, with_suffix};
use crate::store::{BUNDLES, MANIFEST};

/// Artifacts that are kept although no slot names them any more: a rollback then needs no fetch.
const KEPT: usize = 64;

impl StateFolder {
    /// Removes artifacts that no slot names, except the newest 64.
    pub(crate) fn tidy(&self, named: &BTreeSet<String>) {
        let Ok(entries) = fs::read_dir(self.root.join(STORE)) else { return };
        let mut unnamed = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
            let component = path.extension().is_some_and(|ending| ending == "wasm");
            let stem = stem.filter(|stem| component && !named.contains(stem));
            let changed = fs::metadata(&path).and_then(|data| data.modified());
            if let (Some(_), Ok(changed)) = (stem, changed) {
                unnamed.push((changed, path));
            }
        }
        unnamed.sort();
        let most = unnamed.len().saturating_sub(KEPT);
        for (_, path) in unnamed.into_iter().take(most) {
            for path in [with_suffix(&path, MANIFEST), with_suffix(&path, BUNDLES), path] {
                // A file that stays only takes disk space.
                let _ = fs::remove_file(path);
            }
        }
    }
}

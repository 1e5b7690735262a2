//! The artifacts in the folder: components by the digests of their manifests, with what speaks for them.

use std::io;
use std::path::PathBuf;

use tamis_private::read_regular;
use tamis_sync::Activation;
use tamis_trust::Digest;

use super::{STORE, StateFolder, with_suffix};
use crate::store::{BUNDLES, MANIFEST};

impl StateFolder {
    /// Path of the component of a manifest.
    pub(crate) fn component(&self, manifest: &Digest) -> PathBuf {
        self.root.join(STORE).join(format!("{}.wasm", manifest.hex()))
    }

    /// Stores manifest and bundles of a slot, unless they are stored already.
    pub(crate) fn keep_proof(&self, manifest: &Digest, slot: &Activation) -> io::Result<()> {
        let Some(text) = &slot.manifest else { return Ok(()) };
        let component = self.component(manifest);
        let files = [(MANIFEST, text.clone()), (BUNDLES, slot.bundles.join("\n"))];
        for (suffix, text) in files {
            let path = with_suffix(&component, suffix);
            let there = read_regular(&path, text.len() as u64);
            if there.is_ok_and(|there| there == text.as_bytes()) {
                continue;
            }
            self.write(&path, text.as_bytes())?;
        }
        Ok(())
    }
}

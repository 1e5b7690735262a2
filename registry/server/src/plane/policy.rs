//! Trust policies as signed metadata: read from a folder, trusted from a pinned root, sent to proxies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tamis_sync::Part;
use tamis_trust::{Name, Refused, SignaturePolicy};
use tamis_tuf::{PolicyRepository, TrustedPolicies, TufError, UpdateOutcome};

/// Prefix of the names of parts with metadata.
const PART: &str = "policy/";

/// A folder of policy metadata that `tamis policy` writes.
///
/// If there is one, only its policies count, and `TrustPolicy` documents are ignored: whoever applies
/// documents does not decide whom to trust.
pub struct PolicyFolder {
    folder: PathBuf,
    held: Mutex<HeldPolicies>,
}

struct HeldPolicies {
    trusted: TrustedPolicies,
    /// The files that were accepted last.
    accepted_files: BTreeMap<String, Vec<u8>>,
    /// The last reported problem of the files.
    reported: String,
    /// The number of times that new metadata was accepted.
    accepted: u64,
}

impl PolicyFolder {
    /// Opens the metadata in `folder`, trusted from `root`; the highest versions seen are stored in the
    /// file `kept`.
    ///
    /// # Errors
    /// `root` is invalid, or the stored state does not follow from it. Invalid content of the folder is not
    /// an error: it is reported and read again, and until then nothing new is pinned.
    pub fn open(folder: &Path, root: &[u8], kept: &Path) -> Result<Self, TufError> {
        let trusted = TrustedPolicies::open(root, kept)?;
        let held = HeldPolicies {
            trusted,
            accepted_files: BTreeMap::new(),
            reported: String::new(),
            accepted: 0,
        };
        let policy = Self { folder: folder.to_owned(), held: Mutex::new(held) };
        Ok(policy)
    }

    fn held(&self) -> MutexGuard<'_, HeldPolicies> {
        // The state is replaced as a whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the folder again.
    pub(crate) fn refresh(&self, now: u64) {
        let files = match PolicyRepository::open(&self.folder).and_then(|it| it.files()) {
            Ok(files) => files,
            Err(error) => return tracing::warn!(%error, "the policy metadata cannot be read"),
        };
        let mut held = self.held();
        if held.accepted_files == files {
            return;
        }
        match held.trusted.take(&files, now) {
            Ok(UpdateOutcome::New) => {
                held.accepted += 1;
                tracing::info!("new policy metadata is in force");
            }
            // The stored state of an earlier run is sent on as well.
            Ok(UpdateOutcome::Unchanged) => held.accepted = held.accepted.max(1),
            // Tried again, since the disk may have failed. Reported once.
            Err(error) => {
                let error = tamis_journal::causes(&error);
                if held.reported != error {
                    tracing::warn!(
                        error,
                        "policy metadata is refused; the previous metadata stays in force"
                    );
                    held.reported = error;
                }
                return;
            }
        }
        held.reported.clear();
        held.accepted_files = files;
    }

    /// Rises when new metadata is in force.
    pub(crate) fn accepted(&self) -> u64 {
        self.held().accepted
    }

    pub(crate) fn policies(&self) -> Vec<SignaturePolicy> {
        self.held().trusted.policies()
    }

    pub(crate) fn age(&self, now: u64) -> Duration {
        self.held().trusted.age(now)
    }

    pub(crate) fn fresh(&self, filter: &Name, now: u64) -> Result<(), Refused> {
        self.held().trusted.fresh(filter, now)
    }

    /// The metadata as parts for proxies, which verify it from their own root.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let files = self.held().trusted.files().into_iter();
        let texts = files.filter_map(|(name, bytes)| Some((name, String::from_utf8(bytes).ok()?)));
        texts.map(|(name, text)| Part::new(format!("{PART}{name}"), Value::String(text))).collect()
    }
}

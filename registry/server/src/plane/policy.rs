//! Trust policy as signed metadata: read from a folder, believed from a pinned root on, handed to proxies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tamis_sync::Part;
use tamis_trust::{Name, Policy, Refused};
use tamis_tuf::{Error, Repository, Taken, Trusted};

/// Begins the names of the parts that hold metadata.
const PART: &str = "policy/";

/// A folder of policy metadata that `tamis policy` writes.
///
/// Where there is one, its policies are the ones that count, and `TrustPolicy` documents are not looked at: whoever applies
/// documents is not whoever is trusted.
pub struct PolicyFolder {
    folder: PathBuf,
    held: Mutex<Held>,
}

struct Held {
    trusted: Trusted,
    /// The files that were taken last.
    seen: BTreeMap<String, Vec<u8>>,
    /// What was told of the files there are now.
    told: String,
    /// How often something new was taken.
    taken: u64,
}

impl PolicyFolder {
    /// Opens the metadata in `folder`, believed from `root` on; the highest versions seen are kept in the file `kept`.
    ///
    /// # Errors
    /// When `root` is none, or what was kept does not follow from it. What the folder holds may be wrong: it is told and
    /// looked at again, and until then nothing new is pinned.
    pub fn open(folder: &Path, root: &[u8], kept: &Path) -> Result<Self, Error> {
        let trusted = Trusted::open(root, kept)?;
        let held = Held { trusted, seen: BTreeMap::new(), told: String::new(), taken: 0 };
        let policy = Self { folder: folder.to_owned(), held: Mutex::new(held) };
        Ok(policy)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // What is held is replaced as a whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the folder again.
    pub(crate) fn refresh(&self, now: u64) {
        let files = match Repository::open(&self.folder).and_then(|it| it.files()) {
            Ok(files) => files,
            Err(error) => return tracing::warn!(%error, "the policy metadata cannot be read"),
        };
        let mut held = self.held();
        if held.seen == files {
            return;
        }
        match held.trusted.take(&files, now) {
            Ok(Taken::New) => {
                held.taken += 1;
                tracing::info!("new policy metadata is in force");
            }
            // What was kept from before is handed on as well.
            Ok(Taken::Unchanged) => held.taken = held.taken.max(1),
            // Looked at again: it may be the disk that fails. Told once.
            Err(error) => {
                let error = crate::plane::problem::chain(&error);
                if held.told != error {
                    tracing::warn!(error, "policy metadata is refused; the one before stays");
                    held.told = error;
                }
                return;
            }
        }
        held.told.clear();
        held.seen = files;
    }

    /// Rises when something new is in force.
    pub(crate) fn taken(&self) -> u64 {
        self.held().taken
    }

    pub(crate) fn policies(&self) -> Vec<Policy> {
        self.held().trusted.policies()
    }

    pub(crate) fn age(&self, now: u64) -> Duration {
        self.held().trusted.age(now)
    }

    pub(crate) fn fresh(&self, filter: &Name, now: u64) -> Result<(), Refused> {
        self.held().trusted.fresh(filter, now)
    }

    /// The metadata as parts for proxies, which believe it from their own root on.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let files = self.held().trusted.files().into_iter();
        let texts = files.filter_map(|(name, bytes)| Some((name, String::from_utf8(bytes).ok()?)));
        texts.map(|(name, text)| Part::new(format!("{PART}{name}"), Value::String(text))).collect()
    }
}

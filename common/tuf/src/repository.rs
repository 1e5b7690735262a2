//! The writer's side: a folder of metadata in which changes wait for signatures.
//!
//! ```text
//! metadata/   what is published: every N.root.json, targets.json, ns.NAMESPACE.json, snapshot.json, timestamp.json
//! targets/    the documents the metadata vouches for: policy/NAMESPACE.json
//! staged/     what waits for signatures, in the same names
//! ```
//!
//! Keys stay with their owners: [`PolicyRepository::sign`] adds one signature to everything that waits for it, on
//! whatever machine the folder was copied to. [`PolicyRepository::refresh`] publishes everything with enough
//! signatures.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tamis_trust::{PublicKey, Timestamp};

use crate::{TrustedPolicies, TufError, UpdateOutcome, kept};
use format::{Envelope, Head, HeadedRole, Root, Targets};

mod authority;
mod documents;
mod format;
mod keys;
mod overview;
mod publish;
#[cfg(test)]
mod tests;

pub use documents::Withdrawal;
pub use keys::{KeyChange, Role};
pub use overview::{Overview, RoleView, StagedFile};
pub use publish::PublishResult;

const METADATA: &str = "metadata";
const DOCUMENTS: &str = "targets";
const STAGED: &str = "staged";
/// The longest file of a repository that is read, in bytes; far more than any accepted one.
const FILE_MAX: u64 = 64 << 20;
pub(crate) const TARGETS_FILE: &str = "targets.json";

/// A folder of metadata. The module's documentation describes its layout.
#[derive(Debug, Clone)]
pub struct PolicyRepository {
    folder: PathBuf,
    lifetimes: Lifetimes,
}

/// How long written files are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// A root; 365 days by default.
    pub root: Duration,
    /// `targets` and delegated roles; 90 days by default.
    pub targets: Duration,
    /// A snapshot; 7 days by default.
    pub snapshot: Duration,
    /// A timestamp; one day by default. Updates withheld from nodes go unnoticed for that long.
    pub timestamp: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days.saturating_mul(86_400));
        Self { root: days(365), targets: days(90), snapshot: days(7), timestamp: days(1) }
    }
}

/// Some keys and how many of them must sign.
#[derive(Debug, Clone)]
pub struct Signers {
    /// The keys, each once.
    pub keys: Vec<PublicKey>,
    /// How many distinct ones must sign; 1 to the number of keys.
    pub threshold: usize,
}

impl PolicyRepository {
    /// Begins a repository: stages a first root and empty targets, to be signed by their keys.
    ///
    /// # Errors
    /// The folder contains a repository already, a threshold does not fit its keys (of the online keys
    /// exactly one signs), a key is listed twice, or files cannot be written.
    pub fn init(
        folder: &Path,
        root: &Signers,
        targets: &Signers,
        online: &Signers,
        now: u64,
    ) -> Result<Self, TufError> {
        let repository = Self::at(folder);
        if repository.folder.join(METADATA).exists() || repository.folder.join(STAGED).exists() {
            return Err(TufError::Change(format!(
                "{} contains policy metadata already; choose another folder",
                folder.display()
            )));
        }
        keys::one_signs(online.threshold)?;
        let mut document = Root {
            head: Head::new("root", repository.end(now, Lifetimes::default().root)),
            consistent_snapshot: false,
            keys: BTreeMap::new(),
            roles: BTreeMap::new(),
        };
        let roles =
            [("root", root), ("targets", targets), ("snapshot", online), ("timestamp", online)];
        for (name, signers) in roles {
            let role = document.roles.entry(name.to_owned()).or_default();
            keys::add(&mut document.keys, role, &signers.keys)?;
            keys::set_threshold(name, role, Some(signers.threshold))?;
        }
        let empty = Targets {
            head: Head::new("targets", repository.end(now, Lifetimes::default().targets)),
            targets: BTreeMap::new(),
            delegations: None,
        };
        repository.write_staged("1.root.json", &Envelope::unsigned(document))?;
        repository.write_staged(TARGETS_FILE, &Envelope::unsigned(empty))?;
        Ok(repository)
    }

    /// Opens the repository of a folder.
    ///
    /// # Errors
    /// There is no repository.
    pub fn open(folder: &Path) -> Result<Self, TufError> {
        let repository = Self::at(folder);
        if repository.root_file()?.is_none() {
            return Err(TufError::Change(format!(
                "{} contains no policy metadata; create it with `tamis policy init`",
                folder.display()
            )));
        }
        Ok(repository)
    }

    /// The same repository with other lifetimes for files that it writes from now on.
    #[must_use]
    pub fn with_lifetimes(mut self, lifetimes: Lifetimes) -> Self {
        self.lifetimes = lifetimes;
        self
    }

    /// The published files, as [`TrustedPolicies::take`] expects them.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn files(&self) -> Result<BTreeMap<String, Vec<u8>>, TufError> {
        let mut files = BTreeMap::new();
        for (folder, prefix) in [(METADATA, ""), ("targets/policy", "policy/")] {
            for name in self.names(folder)? {
                files.extend(
                    self.read(folder, &name)?.map(|bytes| (format!("{prefix}{name}"), bytes)),
                );
            }
        }
        Ok(files)
    }

    /// Reads the published files as a reader who pinned this root does.
    ///
    /// # Errors
    /// That reader refuses them.
    pub fn verify(&self, pinned_root: &[u8], now: u64) -> Result<TrustedPolicies, TufError> {
        let mut trusted = TrustedPolicies::new(pinned_root)?;
        let _: UpdateOutcome = trusted.take(&self.files()?, now)?;
        Ok(trusted)
    }

    /// The first root, which operators pin.
    ///
    /// # Errors
    /// It is not published yet or cannot be read.
    pub fn first_root(&self) -> Result<Vec<u8>, TufError> {
        self.read(METADATA, "1.root.json")?.ok_or_else(|| {
            TufError::Change(
                "1.root.json is not published yet; publish it with `tamis policy sign` and `tamis policy refresh`"
                    .to_owned(),
            )
        })
    }

    fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), lifetimes: Lifetimes::default() }
    }

    fn end(&self, now: u64, lifetime: Duration) -> Timestamp {
        Timestamp(now.saturating_add(lifetime.as_secs()))
    }

    /// The name and version of the newest root, staged or published.
    fn root_file(&self) -> Result<Option<(String, u64)>, TufError> {
        let newest = self.newest_root(STAGED)?.max(self.newest_root(METADATA)?);
        Ok(newest.map(|version| (format!("{version}.root.json"), version)))
    }

    fn newest_root(&self, folder: &str) -> Result<Option<u64>, TufError> {
        let names = self.names(folder)?;
        Ok(names.iter().filter_map(|name| name.strip_suffix(".root.json")?.parse().ok()).max())
    }

    /// The newest root, staged or published.
    fn root(&self) -> Result<Envelope<Root>, TufError> {
        let none =
            || TufError::Change("there is no root; create one with `tamis policy init`".to_owned());
        let (file, _) = self.root_file()?.ok_or_else(none)?;
        self.current(&file)?.ok_or_else(none)
    }

    /// A file after publication: the staged one, or else the published one.
    fn current<T: HeadedRole>(&self, file: &str) -> Result<Option<Envelope<T>>, TufError> {
        let bytes = match self.read(STAGED, file)? {
            Some(bytes) => Some(bytes),
            None => self.read(METADATA, file)?,
        };
        bytes.map(|bytes| Envelope::parse(file, &bytes)).transpose()
    }

    /// A role with documents after publication.
    fn targets(&self, file: &str) -> Result<Envelope<Targets>, TufError> {
        self.current(file)?.ok_or_else(|| {
            TufError::Change(format!(
                "{file} is missing; restore it from another copy of the folder"
            ))
        })
    }

    /// Changes a role with documents: as a new version, or within the staged version, whose signatures then
    /// become void.
    fn change_targets(
        &self,
        file: &str,
        now: u64,
        change: impl FnOnce(&mut Targets) -> Result<(), TufError>,
    ) -> Result<(), TufError> {
        let mut targets = self.targets(file)?.signed;
        change(&mut targets)?;
        self.stage(file, file, targets, self.end(now, self.lifetimes.targets))
    }

    fn change_root(
        &self,
        now: u64,
        change: impl FnOnce(&mut Root) -> Result<(), TufError>,
    ) -> Result<String, TufError> {
        let mut root = self.root()?.signed;
        let published = self.newest_root(METADATA)?.unwrap_or(0);
        let file = format!("{}.root.json", published.saturating_add(1));
        change(&mut root)?;
        let before = format!("{published}.root.json");
        self.stage(&before, &file, root, self.end(now, self.lifetimes.root))?;
        Ok(file)
    }

    /// Stages new content, one version above the published file `before`.
    fn stage<T: HeadedRole>(
        &self,
        before: &str,
        file: &str,
        mut signed: T,
        expires: Timestamp,
    ) -> Result<(), TufError> {
        let published = self.read(METADATA, before)?;
        let published: Option<Envelope<T>> =
            published.map(|bytes| Envelope::parse(before, &bytes)).transpose()?;
        let version = published.map_or(0, |published| published.signed.head().version);
        signed.head_mut().version = version.saturating_add(1);
        signed.head_mut().expires = expires;
        self.write_staged(file, &Envelope::unsigned(signed))
    }

    fn write_staged<T: HeadedRole>(
        &self,
        file: &str,
        envelope: &Envelope<T>,
    ) -> Result<(), TufError> {
        kept::replace(&self.folder.join(STAGED).join(file), &envelope.to_bytes()?)
    }

    /// Drops a staged change.
    fn unstage(&self, file: &str) -> Result<(), TufError> {
        let path = self.folder.join(STAGED).join(file);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(TufError::File { path, act: "cannot be removed", source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// A file of a folder; `None` when it does not exist.
    fn read(&self, folder: &str, file: &str) -> Result<Option<Vec<u8>>, TufError> {
        let path = self.folder.join(folder).join(file);
        match tamis_private::read_regular(&path, FILE_MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(TufError::File { path, act: "cannot be read", source }),
        }
    }

    /// The names of the JSON files of a folder, sorted; empty when the folder does not exist.
    fn names(&self, folder: &str) -> Result<Vec<String>, TufError> {
        let path = self.folder.join(folder);
        let failed =
            |source| TufError::File { path: path.clone(), act: "cannot be listed", source };
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            names.extend(name.to_str().filter(|name| name.ends_with(".json")).map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }
}

//! The policies in force, as a reader with a pinned root sees them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp as Moment;
use sigstore_tuf::TrustedMetadataSet;
use tamis_trust::{CLOCK_SKEW_SECONDS, Name, Refused, SignaturePolicy, Timestamp, code};

use crate::{Namespace, TufError, kept};

mod keys;
mod lower;
mod walk;

pub(crate) use keys::{KEY_TYPE, SCHEME};
use lower::LowerRoles;

/// Largest file of metadata or policy in bytes.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;
/// Largest total size of the files of a state in bytes.
const MAX_STATE_BYTES: usize = 64 * 1024 * 1024;
/// Most new roots accepted in one call; a node that missed more accepts the rest in the next call.
const MAX_ROOTS: usize = 1024;

/// The policies in force: what follows from a pinned root by the rules of TUF.
///
/// Invariants
/// * Everything held follows from the pinned root by signatures of enough distinct keys.
/// * Versions never fall; with a state file, not across restarts either.
/// * A set of files is accepted as a whole or not at all, and then the old state stays. New roots are the
///   exception: they are accepted even if the rest is refused, so that withholding the rest cannot keep
///   revoked keys alive.
#[derive(Debug)]
pub struct TrustedPolicies {
    /// The version of the pinned root, and its bytes.
    pinned: (u64, Vec<u8>),
    /// The newest root, without the files below it.
    root: TrustedMetadataSet,
    /// The roots after the pinned one, in order.
    roots: Vec<(u64, Vec<u8>)>,
    lower: Option<LowerRoles>,
    path: Option<PathBuf>,
}

/// The result of taking a set of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateOutcome {
    /// It is newer than the old state and replaces it.
    New,
    /// It equals the current state.
    Unchanged,
}

/// One role of the current state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleStatus {
    /// `root`, `timestamp`, `snapshot`, `targets`, or the name of a delegated role.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// When it expires.
    pub expires: Timestamp,
}

impl TrustedPolicies {
    /// Starts with a pinned root and no state.
    ///
    /// # Errors
    /// The bytes are not a root signed by enough of its own keys.
    pub fn new(pinned_root: &[u8]) -> Result<Self, TufError> {
        let file = "the pinned root";
        limited(file, pinned_root)?;
        let root = TrustedMetadataSet::from_root(pinned_root)
            .map_err(|error| TufError::tuf(file, &error))?;
        keys::check(file, &root.root().keys)?;
        let pinned = (root.root().version, pinned_root.to_vec());
        Ok(Self { pinned, root, roots: Vec::new(), lower: None, path: None })
    }

    /// Starts with a pinned root and the state in the file at `path`, all of it verified again; the file
    /// need not exist yet. Expired files are accepted too: what runs keeps running.
    ///
    /// # Errors
    /// As [`TrustedPolicies::new`]; also if the file cannot be read or its content does not follow from the root.
    pub fn open(pinned_root: &[u8], path: &Path) -> Result<Self, TufError> {
        let mut trusted = Self::new(pinned_root)?;
        trusted.path = Some(path.to_owned());
        let Some(files) = kept::read(path)? else { return Ok(trusted) };
        let broken = |reason: String| TufError::Kept { path: path.to_owned(), reason };
        let mut sets = vec![trusted.root.clone()];
        while let Some(set) =
            trusted.next_root(&files).map_err(|error| broken(error.to_string()))?
        {
            sets.push(set);
        }
        if !files.contains_key(lower::TIMESTAMP) {
            return Ok(trusted);
        }
        // The newest root may have revoked keys that signed the rest; the rest was trusted under an older
        // root and stays the basis of what runs.
        let mut reason = String::new();
        for set in sets.into_iter().rev() {
            match LowerRoles::read(set, &files, Moment::MIN) {
                Ok(lower) => {
                    trusted.lower = Some(lower);
                    return Ok(trusted);
                }
                Err(error) => reason = error.to_string(),
            }
        }
        Err(broken(reason))
    }

    /// Takes a set of files by name: `N.root.json` for every root after the current one, `timestamp.json`,
    /// `snapshot.json`, `targets.json`, one for each delegated role, and the documents by their paths.
    /// Other files are ignored. `now`: seconds since the Unix epoch.
    ///
    /// # Errors
    /// A rule is broken, something is missing or expired, or the state cannot be stored. The old state then
    /// stays, except that newer roots are accepted.
    pub fn take(
        &mut self,
        files: &BTreeMap<String, Vec<u8>>,
        now: u64,
    ) -> Result<UpdateOutcome, TufError> {
        let moved = self.take_roots(files)?;
        let at = moment(now);
        let root_file = format!("{}.root.json", self.root.root().version);
        self.root.check_root_expired(at).map_err(|error| TufError::tuf(&root_file, &error))?;
        let set = self.floors();
        let timestamp = file(files, lower::TIMESTAMP, &root_file)?;
        if let Some(lower) = self.lower.as_ref().filter(|_| self.lapsed().is_none())
            && lower.is_of(&set, timestamp)
        {
            lower.in_time(at)?;
            return Ok(if moved { UpdateOutcome::New } else { UpdateOutcome::Unchanged });
        }
        let new = LowerRoles::read(set, files, at)?;
        if new.issued > now.saturating_add(CLOCK_SKEW_SECONDS) {
            return Err(TufError::format(
                lower::TIMESTAMP,
                format!(
                    "it was issued at {}, after now: correct the clocks",
                    Timestamp(new.issued)
                ),
            ));
        }
        self.keep(&self.roots, Some(&new))?;
        self.lower = Some(new);
        Ok(UpdateOutcome::New)
    }

    /// The current policies, expired or not, in the order of their paths. Empty before the first state:
    /// then nothing may run.
    #[must_use]
    pub fn policies(&self) -> Vec<SignaturePolicy> {
        let documents = self.lower.iter().flat_map(|lower| &lower.documents);
        documents.map(|document| document.policy.clone()).collect()
    }

    /// Time since the repository last confirmed that these policies are in force. It counts from the moment
    /// signed into the timestamp, so that replaying an old one makes nothing younger. The longest possible
    /// time before the first state.
    #[must_use]
    pub fn age(&self, now: u64) -> Duration {
        let age = self.lower.as_ref().map(|lower| now.saturating_sub(lower.issued));
        age.map_or(Duration::MAX, Duration::from_secs)
    }

    /// Whether these policies allow a new activation of this filter; filters that run keep running whatever
    /// the result. The caller still has to check the policies themselves.
    ///
    /// # Errors
    /// There is no state yet, a role that covers the filter has expired, or the newest root revoked the
    /// keys.
    pub fn fresh(&self, name: &Name, now: u64) -> Result<(), Refused> {
        let version = self.root.root().version;
        let refused = |rule: String, remedy: &str| Refused {
            code: code::STALE.into(),
            rule: format!("{rule}: nothing new is activated"),
            set_by: format!("the policy metadata, root version {version}"),
            remedy: format!("{remedy}; what runs keeps running"),
        };
        let Some(lower) = &self.lower else {
            return Err(refused(
                "no policy metadata was received yet".to_owned(),
                "let the proxy reach its registry",
            ));
        };
        if let Some(reason) = self.lapsed() {
            return Err(refused(
                reason,
                "publish the policy metadata signed by the new root's keys",
            ));
        }
        let ended = |standing: &RoleStatus| standing.expires.0 < now;
        let speaking = self.expires().into_iter().filter(|one| lower.concerns(&one.role, name));
        match speaking.min_by_key(|standing| standing.expires) {
            Some(standing) if ended(&standing) => Err(refused(
                format!("{} of the policy metadata expired at {}", standing.role, standing.expires),
                "publish it again with a later expiry",
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Every role of the current state: its version and expiry.
    #[must_use]
    pub fn expires(&self) -> Vec<RoleStatus> {
        let root = self.root.root();
        let root = lower::standing("root", root.version, root.expires);
        let lower = self.lower.iter().flat_map(|lower| lower.standings.iter().cloned());
        std::iter::once(root).chain(lower).collect()
    }

    /// The namespaces that have a document, with the role that signs it.
    pub fn namespaces(&self) -> impl Iterator<Item = (&Namespace, &str)> {
        self.lower.iter().flat_map(|lower| &lower.documents).filter_map(|document| {
            Some((&document.namespace, document.roles.last().map(String::as_str)?))
        })
    }

    /// The files of the current state, for other readers: every root from the pinned one on, and all files
    /// below. A reader who pinned an older root lacks the roots in between.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let (version, bytes) = &self.pinned;
        let mut files = collect(&self.roots, self.lower.as_ref());
        files.insert(format!("{version}.root.json"), bytes.clone());
        files
    }

    /// Why the current state does not follow from the newest root; `None` when it does.
    fn lapsed(&self) -> Option<String> {
        let (newest, lower) = (self.root.root().version, self.lower.as_ref()?);
        let under = lower.set.root().version;
        (under != newest).then(|| {
            format!(
                "the policies were signed under root version {under}, version {newest} is in force"
            )
        })
    }

    /// The newest root with the versions that must not fall. Without versions where the new root changed
    /// the keys of timestamp or snapshot (TUF §5.3.11): this allows a recovery from a version that somebody
    /// set too high.
    fn floors(&self) -> TrustedMetadataSet {
        let mut set = self.root.clone();
        let Some(lower) = &self.lower else { return set };
        let seeded = |set: &mut TrustedMetadataSet| {
            set.update_timestamp(lower.file(lower::TIMESTAMP)?, Moment::MIN).ok()?;
            set.update_snapshot(lower.file(lower::SNAPSHOT)?, Moment::MIN).ok()
        };
        if seeded(&mut set).is_some() { set } else { self.root.clone() }
    }

    /// Accepts following roots among the files; returns whether there was one.
    fn take_roots(&mut self, files: &BTreeMap<String, Vec<u8>>) -> Result<bool, TufError> {
        let before = (self.root.clone(), self.roots.len());
        let mut outcome = Ok(true);
        for _ in 0..MAX_ROOTS {
            match self.next_root(files) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        if self.roots.len() == before.1 {
            return outcome.map(|_| false);
        }
        if let Err(error) = self.keep(&self.roots, self.lower.as_ref()) {
            self.root = before.0;
            self.roots.truncate(before.1);
            return Err(error);
        }
        self.renew();
        outcome
    }

    /// Verifies the current state under the newest root, where its keys allow that.
    fn renew(&mut self) {
        let Some(lower) = &self.lower else { return };
        if let Ok(renewed) = LowerRoles::read(self.root.clone(), &lower.files, Moment::MIN) {
            self.lower = Some(renewed);
        }
    }

    /// Accepts the next root, if it is among the files.
    fn next_root(
        &mut self,
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Option<TrustedMetadataSet>, TufError> {
        let Some(version) = self.root.root().version.checked_add(1) else { return Ok(None) };
        let name = format!("{version}.root.json");
        let Some(bytes) = files.get(&name) else { return Ok(None) };
        limited(&name, bytes)?;
        let mut set = self.root.clone();
        set.update_root(bytes).map_err(|error| TufError::tuf(&name, &error))?;
        keys::check(&name, &set.root().keys)?;
        self.roots.push((version, bytes.clone()));
        self.root = set;
        Ok(Some(self.root.clone()))
    }

    fn keep(&self, roots: &[(u64, Vec<u8>)], lower: Option<&LowerRoles>) -> Result<(), TufError> {
        match &self.path {
            Some(path) => kept::write(path, &collect(roots, lower)),
            None => Ok(()),
        }
    }
}

fn collect(roots: &[(u64, Vec<u8>)], lower: Option<&LowerRoles>) -> BTreeMap<String, Vec<u8>> {
    let roots =
        roots.iter().map(|(version, bytes)| (format!("{version}.root.json"), bytes.clone()));
    roots.chain(lower.into_iter().flat_map(|lower| lower.files.clone())).collect()
}

/// A file that another names.
fn file<'a>(
    files: &'a BTreeMap<String, Vec<u8>>,
    name: &str,
    by: &str,
) -> Result<&'a [u8], TufError> {
    let missing = || TufError::Missing { file: name.to_owned(), by: by.to_owned() };
    let bytes = files.get(name).ok_or_else(missing)?;
    limited(name, bytes)?;
    Ok(bytes)
}

fn limited(name: &str, bytes: &[u8]) -> Result<(), TufError> {
    if bytes.len() > MAX_FILE_BYTES {
        let (actual, limit) = (bytes.len(), MAX_FILE_BYTES);
        return Err(TufError::Limit { file: name.to_owned(), actual, limit, unit: "bytes" });
    }
    Ok(())
}

fn moment(now: u64) -> Moment {
    i64::try_from(now).ok().and_then(|now| Moment::from_second(now).ok()).unwrap_or(Moment::MAX)
}

#[cfg(test)]
mod tests;

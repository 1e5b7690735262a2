//! The delegations: loads every reachable role, and finds the role responsible for a path.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sigstore_tuf::{TargetFile, TrustedMetadataSet};

use super::keys;
use crate::TufError;

/// The role that all delegations start from.
pub(super) const TARGETS: &str = "targets";
/// Most delegations; each is an edge. Bounds the work of a refresh.
const MAX_DELEGATIONS: usize = 256;
/// Most patterns of a delegation. Bounds the search for the responsible role: each path is matched against
/// the patterns of each delegation.
const MAX_PATTERNS: usize = 16;
const MAX_PATHS: usize = 1024;

/// Verifies every delegated role that is reachable from `targets` and returns their names. Their expiry is
/// not checked: an expired namespace must not affect others.
///
/// A role that is reached twice must be signed as each of the two delegations requires.
pub(super) fn load(
    set: &mut TrustedMetadataSet,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<Vec<String>, TufError> {
    let mut loaded = BTreeSet::new();
    let mut edges = 0;
    let mut open = vec![TARGETS.to_owned()];
    while let Some(parent) = open.pop() {
        let file = format!("{parent}.json");
        let Some(delegations) = set.targets_role(&parent).and_then(|role| role.delegations.clone())
        else {
            continue;
        };
        keys::check(&file, &delegations.keys)?;
        for role in &delegations.roles {
            edges = usize::saturating_add(edges, 1);
            if edges > MAX_DELEGATIONS {
                let (actual, limit) = (edges, MAX_DELEGATIONS);
                return Err(TufError::Limit { file, actual, limit, unit: "delegations" });
            }
            let patterns = [&role.paths, &role.path_hash_prefixes];
            let actual = patterns.into_iter().flatten().map(Vec::len).sum();
            if actual > MAX_PATTERNS {
                return Err(TufError::Limit {
                    file,
                    actual,
                    limit: MAX_PATTERNS,
                    unit: "path patterns",
                });
            }
            let child = format!("{}.json", role.name);
            let outcome = if loaded.contains(&role.name) {
                set.verify_delegated_targets(&role.name, &parent, Timestamp::MIN)
            } else {
                let bytes = super::file(files, &child, &file)?;
                set.update_delegated_targets(bytes, &role.name, &parent, Timestamp::MIN)
            };
            outcome.map_err(|error| TufError::tuf(&child, &error))?;
            if loaded.insert(role.name.clone()) {
                open.push(role.name.clone());
            }
        }
    }
    Ok(loaded.into_iter().collect())
}

/// Every path that some role lists.
pub(super) fn paths<'a>(
    set: &'a TrustedMetadataSet,
    roles: &[String],
) -> Result<BTreeSet<&'a str>, TufError> {
    let all = roles.iter().map(String::as_str).chain([TARGETS]);
    let listed = all.filter_map(|role| set.targets_role(role));
    let paths: BTreeSet<&str> =
        listed.flat_map(|role| role.targets.keys().map(String::as_str)).collect();
    if paths.len() > MAX_PATHS {
        let (file, actual, limit) = ("all roles together".to_owned(), paths.len(), MAX_PATHS);
        return Err(TufError::Limit { file, actual, limit, unit: "documents" });
    }
    Ok(paths)
}

/// The role responsible for a path.
pub(super) struct ResponsibleRoles {
    /// The roles from `targets` to the one that lists it.
    pub(super) roles: Vec<String>,
    pub(super) target: TargetFile,
}

impl ResponsibleRoles {
    /// The role that lists it.
    pub(super) fn role(&self) -> &str {
        self.roles.last().map_or(TARGETS, String::as_str)
    }
}

/// The first role in the order of delegation (TUF §5.6.7) that lists a path. `None` when no role that lists
/// it was delegated the path.
pub(super) fn responsible(
    set: &TrustedMetadataSet,
    path: &str,
) -> Result<Option<ResponsibleRoles>, TufError> {
    let mut visited = BTreeSet::new();
    let mut open = vec![vec![TARGETS.to_owned()]];
    while !open.is_empty() {
        let roles = open.remove(0);
        let Some(name) = roles.last() else { continue };
        let Some(role) = set.targets_role(name).filter(|_| visited.insert(name.clone())) else {
            continue;
        };
        if let Some(target) = role.target(path).cloned() {
            return Ok(Some(ResponsibleRoles { roles, target }));
        }
        let mut children = Vec::new();
        for child in role.delegations.iter().flat_map(|delegations| &delegations.roles) {
            let matches = child.matches_path(path);
            if matches.map_err(|error| TufError::tuf(&format!("{name}.json"), &error))? {
                let below = [roles.as_slice(), std::slice::from_ref(&child.name)].concat();
                children.push(below);
                if child.terminating {
                    open.clear();
                    break;
                }
            }
        }
        children.append(&mut open);
        open = children;
    }
    Ok(None)
}

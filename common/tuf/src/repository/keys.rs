//! Who signs for what: keys of roles, and delegation of namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use tamis_trust::PublicKey;

use super::format::{Delegation, Delegations, Head, Key, RoleKeys, TargetFile, Targets};
use super::{PolicyRepository, Signers, TARGETS_FILE};
use crate::{Namespace, TufError};

/// A role whose keys can be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Names the keys of all other roles.
    Root,
    /// Vouches for documents and delegates namespaces.
    Targets,
    /// `snapshot` and `timestamp`, held by the service that publishes.
    Online,
    /// A delegated namespace.
    Namespace(Namespace),
}

impl FromStr for Role {
    type Err = TufError;

    fn from_str(text: &str) -> Result<Self, TufError> {
        match text {
            "root" => Ok(Self::Root),
            "targets" => Ok(Self::Targets),
            "online" => Ok(Self::Online),
            _ => match text.strip_prefix("namespace:").map(str::parse) {
                Some(namespace) => Ok(Self::Namespace(namespace?)),
                None => Err(TufError::Change(format!(
                    "role {:?} is not one of root, targets, online, namespace:NAMESPACE",
                    text.chars().take(80).collect::<String>()
                ))),
            },
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::Targets => f.write_str("targets"),
            Self::Online => f.write_str("online"),
            Self::Namespace(namespace) => write!(f, "namespace:{namespace}"),
        }
    }
}

/// A change to the keys of a role, made at once.
#[derive(Debug, Clone, Default)]
pub struct KeyChange {
    /// Keys to add.
    pub add: Vec<PublicKey>,
    /// Keys to remove.
    pub remove: Vec<PublicKey>,
    /// The new threshold; `None`: unchanged.
    pub threshold: Option<usize>,
}

impl PolicyRepository {
    /// Changes the keys of a role. The keys of `root`, `targets` and `online` are in the root, those of a
    /// namespace in the role that delegates it; that file is staged, and with it the role itself, so that
    /// the new keys can sign it. An empty change of `root` stages the same root with a later expiry.
    ///
    /// # Errors
    /// A key to add exists or one to remove does not, the threshold does not fit the remaining keys, or the
    /// namespace is not delegated.
    pub fn change_keys(&self, role: &Role, change: &KeyChange, now: u64) -> Result<(), TufError> {
        let places: &[&str] = match role {
            Role::Root => &["root"],
            Role::Targets => &["targets"],
            Role::Online => &["snapshot", "timestamp"],
            Role::Namespace(namespace) => return self.change_namespace(namespace, change, now),
        };
        if *role == Role::Online {
            one_signs(change.threshold.unwrap_or(1))?;
        }
        self.change_root(now, |root| {
            for place in places {
                let signers = root.roles.entry((*place).to_owned()).or_default();
                apply(place, &mut root.keys, signers, change)?;
            }
            let used: BTreeSet<&String> = root.roles.values().flat_map(|r| &r.keyids).collect();
            root.keys.retain(|id, _| used.contains(id));
            Ok(())
        })?;
        if *role == Role::Targets { self.renew_file(TARGETS_FILE, now) } else { Ok(()) }
    }

    /// Stages a role unchanged with a later expiry.
    ///
    /// # Errors
    /// There is no such role, or it is `online`, which [`PolicyRepository::refresh`] renews.
    pub fn renew(&self, role: &Role, now: u64) -> Result<(), TufError> {
        match role {
            Role::Root => self.change_keys(role, &KeyChange::default(), now),
            Role::Targets => self.renew_file(TARGETS_FILE, now),
            Role::Online => Err(TufError::Change(
                "snapshot and timestamp are renewed by `tamis policy refresh`".to_owned(),
            )),
            Role::Namespace(namespace) => {
                let (_, role) = self.delegator(namespace)?;
                self.renew_file(&format!("{role}.json"), now)
            }
        }
    }

    fn renew_file(&self, file: &str, now: u64) -> Result<(), TufError> {
        self.change_targets(file, now, |_| Ok(()))
    }

    fn change_namespace(
        &self,
        namespace: &Namespace,
        change: &KeyChange,
        now: u64,
    ) -> Result<(), TufError> {
        let (parent, role) = self.delegator(namespace)?;
        self.change_targets(&parent, now, |targets| {
            let delegations = targets.delegations.get_or_insert_default();
            let Delegations { keys, roles } = delegations;
            for delegation in roles.iter_mut().filter(|delegation| delegation.name == role) {
                apply(&delegation.name.clone(), keys, &mut delegation.signers, change)?;
            }
            prune(delegations);
            Ok(())
        })?;
        self.renew_file(&format!("{role}.json"), now)
    }

    /// Delegates a namespace and all below it to keys of its own. The role `targets` delegates it, or, with
    /// `by`, a delegated namespace. A policy of the namespace that exists already moves to the new role,
    /// whose metadata is staged until its keys sign it.
    ///
    /// # Errors
    /// It is delegated already, is not within `by`, or the threshold does not fit the keys.
    pub fn delegate(
        &self,
        namespace: &Namespace,
        signers: &Signers,
        by: Option<&Namespace>,
        now: u64,
    ) -> Result<(), TufError> {
        let Some(role) = namespace.role() else {
            return Err(TufError::Change(
                "the role targets keeps \"*\"; delegate a namespace".to_owned(),
            ));
        };
        if self.delegator(namespace).is_ok() {
            return Err(TufError::Change(format!(
                "{namespace} is delegated already; change the keys of the role namespace:{namespace}"
            )));
        }
        let parent = match by {
            Some(by) if by == namespace || !by.includes(namespace) => {
                return Err(TufError::Change(format!("{namespace} is not within {by}")));
            }
            Some(by) if *by != Namespace::ALL => {
                self.delegator(by)?;
                by.role().map_or(TARGETS_FILE.to_owned(), |role| format!("{role}.json"))
            }
            Some(_) | None => TARGETS_FILE.to_owned(),
        };
        let mut moved = BTreeMap::new();
        self.change_targets(&parent, now, |targets| {
            let delegations = targets.delegations.get_or_insert_default();
            let mut keys = RoleKeys::default();
            add(&mut delegations.keys, &mut keys, &signers.keys)?;
            set_threshold(&role, &mut keys, Some(signers.threshold))?;
            let (name, paths) = (role.clone(), namespace.patterns());
            delegations.roles.push(Delegation { name, signers: keys, terminating: true, paths });
            // The first match decides: the more specific before the wider.
            delegations.roles.sort_by_key(|one| std::cmp::Reverse(one.name.matches('~').count()));
            let path = namespace.path();
            moved.extend(targets.targets.remove_entry(&path));
            Ok(())
        })?;
        self.begin_role(&format!("{role}.json"), moved, now)
    }

    /// Ends the delegation of a namespace. Its file stays published, since a snapshot may never drop a
    /// file, but no reader uses it.
    ///
    /// # Errors
    /// It is not delegated.
    pub fn undelegate(&self, namespace: &Namespace, now: u64) -> Result<(), TufError> {
        let (parent, role) = self.delegator(namespace)?;
        self.change_targets(&parent, now, |targets| {
            let delegations = targets.delegations.get_or_insert_default();
            delegations.roles.retain(|delegation| delegation.name != role);
            prune(delegations);
            Ok(())
        })?;
        // No key could sign it any more.
        self.unstage(&format!("{role}.json"))
    }

    /// Stages a delegated role: its former content if it was delegated before, or else its first version.
    fn begin_role(
        &self,
        file: &str,
        moved: BTreeMap<String, TargetFile>,
        now: u64,
    ) -> Result<(), TufError> {
        let expires = self.end(now, self.lifetimes.targets);
        let mut targets = match self.current::<Targets>(file)? {
            Some(known) => known.signed,
            None => Targets {
                head: Head::new("targets", expires),
                targets: BTreeMap::new(),
                delegations: None,
            },
        };
        targets.targets.extend(moved);
        self.stage(file, file, targets, expires)
    }
}

/// Published files are signed by the publishing service alone.
pub(super) fn one_signs(threshold: usize) -> Result<(), TufError> {
    match threshold {
        1 => Ok(()),
        _ => Err(TufError::Change(format!(
            "online: the threshold must be 1, not {threshold}: one key publishes, unattended"
        ))),
    }
}

fn prune(delegations: &mut Delegations) {
    let used: BTreeSet<&String> =
        delegations.roles.iter().flat_map(|delegation| &delegation.signers.keyids).collect();
    delegations.keys.retain(|id, _| used.contains(id));
}

fn apply(
    place: &str,
    keys: &mut BTreeMap<String, Key>,
    signers: &mut RoleKeys,
    change: &KeyChange,
) -> Result<(), TufError> {
    for key in &change.remove {
        let id = Key::of(key).id()?;
        let before = signers.keyids.len();
        signers.keyids.retain(|other| *other != id);
        if signers.keyids.len() == before {
            return Err(TufError::Change(format!(
                "the key {} is not assigned to {place}",
                key.id()
            )));
        }
    }
    add(keys, signers, &change.add)?;
    set_threshold(place, signers, change.threshold)
}

/// Adds keys to a role, and to the list of keys that roles refer to.
pub(super) fn add(
    keys: &mut BTreeMap<String, Key>,
    signers: &mut RoleKeys,
    new: &[PublicKey],
) -> Result<(), TufError> {
    for key in new {
        let written = Key::of(key);
        let id = written.id()?;
        if signers.keyids.contains(&id) {
            return Err(TufError::Change(format!(
                "the key {} is listed already; name it once",
                key.id()
            )));
        }
        signers.keyids.push(id.clone());
        keys.insert(id, written);
    }
    Ok(())
}

/// Sets the threshold, and checks that enough keys exist.
pub(super) fn set_threshold(
    place: &str,
    signers: &mut RoleKeys,
    threshold: Option<usize>,
) -> Result<(), TufError> {
    signers.threshold = threshold.unwrap_or(signers.threshold);
    if signers.threshold == 0 || signers.threshold > signers.keyids.len() {
        return Err(TufError::Change(format!(
            "{place}: the threshold {} must lie between 1 and the number of keys, {}",
            signers.threshold,
            signers.keyids.len()
        )));
    }
    Ok(())
}

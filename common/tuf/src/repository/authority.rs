//! Which signatures a file waits for, and how they are added.

use std::collections::BTreeSet;

use tamis_trust::PrivateKey;

use super::format::{Envelope, HeadedRole, Key, RoleKeys, Root, Targets};
use super::{METADATA, PolicyRepository, STAGED, StagedFile, TARGETS_FILE};
use crate::{Namespace, TufError};

impl PolicyRepository {
    /// Adds the signature of a key to every staged file that waits for it, and returns these files.
    ///
    /// # Errors
    /// No file waits for this key.
    pub fn sign(&self, key: &PrivateKey) -> Result<Vec<StagedFile>, TufError> {
        let id = Key::of(&key.public_key()).id()?;
        let mut signed = Vec::new();
        for file in self.names(STAGED)? {
            let signers = self.signers(&file)?;
            if !signers.iter().any(|signers| signers.keyids.contains(&id)) {
                continue;
            }
            if file.ends_with(".root.json") {
                self.add_signature::<Root>(&file, key)?;
            } else {
                self.add_signature::<Targets>(&file, key)?;
            }
            signed.extend(self.waiting_for(&file)?);
        }
        if signed.is_empty() {
            return Err(TufError::Change(format!(
                "no staged file waits for the key {}; `tamis policy show` lists which keys sign what",
                key.public_key().id()
            )));
        }
        Ok(signed)
    }

    fn add_signature<T: HeadedRole>(&self, file: &str, key: &PrivateKey) -> Result<(), TufError> {
        let Some(mut envelope) = self.current::<T>(file)? else { return Ok(()) };
        envelope.sign(key)?;
        self.write_staged(file, &envelope)
    }

    /// Everything staged.
    pub(super) fn waiting(&self) -> Result<Vec<StagedFile>, TufError> {
        let mut all = Vec::new();
        for file in self.names(STAGED)? {
            all.extend(self.waiting_for(&file)?);
        }
        Ok(all)
    }

    fn waiting_for(&self, file: &str) -> Result<Option<StagedFile>, TufError> {
        let signers = self.signers(file)?;
        if file.ends_with(".root.json") {
            Ok(self.current::<Root>(file)?.map(|envelope| waiting(file, &envelope, &signers)))
        } else {
            Ok(self.current::<Targets>(file)?.map(|envelope| waiting(file, &envelope, &signers)))
        }
    }

    /// The roles that must sign a file, each up to its threshold. A root is signed by the keys of the
    /// previous root and by its own.
    fn signers(&self, file: &str) -> Result<Vec<RoleKeys>, TufError> {
        let role = |root: Root, name: &str| root.roles.get(name).cloned().unwrap_or_default();
        if file.ends_with(".root.json") {
            let before = match self.newest_root(METADATA)? {
                Some(version) => self.current::<Root>(&format!("{version}.root.json"))?,
                None => None,
            };
            let own = self.current::<Root>(file)?;
            return Ok([before, own]
                .into_iter()
                .flatten()
                .map(|e| role(e.signed, "root"))
                .collect());
        }
        if file == TARGETS_FILE {
            return Ok(vec![role(self.root()?.signed, "targets")]);
        }
        let name = file.strip_suffix(".json").unwrap_or(file);
        let delegated = self.delegations()?.into_iter().find(|one| one.role == name);
        Ok(delegated.into_iter().map(|one| one.signers).collect())
    }

    /// The file that delegates a namespace, and the name of its role.
    pub(super) fn delegator(&self, namespace: &Namespace) -> Result<(String, String), TufError> {
        let role = namespace.role().unwrap_or_default();
        let found = self.delegations()?.into_iter().find(|one| one.role == role);
        found.map(|one| (one.parent, role)).ok_or_else(|| {
            TufError::Change(format!(
                "{namespace} is not delegated; delegate it with `tamis policy delegate`"
            ))
        })
    }

    /// All delegations reachable from `targets`.
    pub(super) fn delegations(&self) -> Result<Vec<DelegatedNamespace>, TufError> {
        let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
        let mut open = vec![TARGETS_FILE.to_owned()];
        while let Some(parent) = open.pop() {
            let Some(targets) = self.current::<Targets>(&parent)? else { continue };
            for delegation in targets.signed.delegations.into_iter().flat_map(|all| all.roles) {
                let Some(namespace) = Namespace::of_role(&delegation.name) else { continue };
                if seen.insert(delegation.name.clone()) {
                    open.push(format!("{}.json", delegation.name));
                    let (role, signers) = (delegation.name, delegation.signers);
                    all.push(DelegatedNamespace {
                        parent: parent.clone(),
                        role,
                        namespace,
                        signers,
                    });
                }
            }
        }
        Ok(all)
    }
}

/// A namespace with keys of its own.
pub(super) struct DelegatedNamespace {
    /// The file that delegates it.
    pub(super) parent: String,
    pub(super) role: String,
    pub(super) namespace: Namespace,
    pub(super) signers: RoleKeys,
}

/// Number of existing and required signatures, of the role that lacks most.
fn waiting<T: HeadedRole>(file: &str, envelope: &Envelope<T>, signers: &[RoleKeys]) -> StagedFile {
    let states = signers.iter().map(|signers| (envelope.signed_by(signers), signers.threshold));
    let (signatures, threshold) =
        states.max_by_key(|(have, need)| need.saturating_sub(*have)).unwrap_or((0, 1));
    StagedFile {
        file: file.to_owned(),
        version: envelope.signed.head().version,
        signatures,
        threshold,
    }
}

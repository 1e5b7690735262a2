//! The content of a repository, for people.

use serde::Serialize;
use tamis_trust::Timestamp;

use super::format::{Envelope, RoleKeys, Targets, Versions};
use super::{METADATA, PolicyRepository, TARGETS_FILE};
use crate::{Namespace, TufError};

/// The roles, their keys and expiry, and what waits for signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// `root`, `timestamp`, `snapshot`, `targets`, then the delegated namespaces.
    pub roles: Vec<RoleView>,
    /// Staged files that wait for signatures or publication.
    pub waiting: Vec<StagedFile>,
}

/// A role after publication of what is staged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoleView {
    /// Its name; `namespace:NAMESPACE` when it is delegated.
    pub role: String,
    /// Its version; `None` when it has no file yet.
    pub version: Option<u64>,
    /// When it expires.
    pub expires: Option<Timestamp>,
    /// The ids of its keys, as TUF writes them.
    pub keys: Vec<String>,
    /// How many of them must sign.
    pub threshold: usize,
    /// The namespaces whose documents it lists.
    pub documents: Vec<String>,
}

/// A staged file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StagedFile {
    /// Its name.
    pub file: String,
    /// The version it will have.
    pub version: u64,
    /// Number of keys that signed, of the role that lacks most.
    pub signatures: usize,
    /// How many of that role must sign.
    pub threshold: usize,
}

impl PolicyRepository {
    /// The content of the repository.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn overview(&self) -> Result<Overview, TufError> {
        let root = self.root()?.signed;
        let keys = |role: &str| root.roles.get(role).cloned().unwrap_or_default();
        let mut roles =
            vec![view("root", Some((root.head.version, root.head.expires)), keys("root"))];
        for role in ["timestamp", "snapshot"] {
            let file = format!("{role}.json");
            let bytes = self.read(METADATA, &file)?;
            let parsed =
                bytes.map(|bytes| Envelope::<Versions>::parse(&file, &bytes)).transpose()?;
            let head = parsed.map(|one| (one.signed.head.version, one.signed.head.expires));
            roles.push(view(role, head, keys(role)));
        }
        roles.push(self.targets_view("targets", TARGETS_FILE, keys("targets"))?);
        let mut delegated = self.delegations()?;
        delegated.sort_by(|one, other| one.namespace.cmp(&other.namespace));
        for one in delegated {
            let (name, file) =
                (format!("namespace:{}", one.namespace), format!("{}.json", one.role));
            roles.push(self.targets_view(&name, &file, one.signers)?);
        }
        Ok(Overview { roles, waiting: self.waiting()? })
    }

    fn targets_view(&self, role: &str, file: &str, keys: RoleKeys) -> Result<RoleView, TufError> {
        let targets = self.current::<Targets>(file)?.map(|envelope| envelope.signed);
        let head = targets.as_ref().map(|one| (one.head.version, one.head.expires));
        let mut view = view(role, head, keys);
        for path in targets.iter().flat_map(|targets| targets.targets.keys()) {
            view.documents.extend(Namespace::of_path(path)?.map(|namespace| namespace.to_string()));
        }
        Ok(view)
    }
}

fn view(role: &str, head: Option<(u64, Timestamp)>, signers: RoleKeys) -> RoleView {
    RoleView {
        role: role.to_owned(),
        version: head.map(|(version, _)| version),
        expires: head.map(|(_, expires)| expires),
        keys: signers.keyids,
        threshold: signers.threshold,
        documents: Vec::new(),
    }
}

//! Values for tests: a repository with two root keys, two security keys and one online key.

use std::collections::BTreeMap;

use serde_json::json;
use tamis_trust::{PrivateKey, PublicKey};
use tempfile::TempDir;

use crate::{Namespace, PolicyRepository, PublishResult, Signers, TrustedPolicies};

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const DAY: u64 = 86_400;

pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) repository: PolicyRepository,
    pub(crate) root: Vec<PrivateKey>,
    pub(crate) security: Vec<PrivateKey>,
    pub(crate) online: PrivateKey,
    /// An author's key, which all documents trust.
    pub(crate) author: PrivateKey,
}

pub(crate) fn key() -> PrivateKey {
    PrivateKey::generate().unwrap()
}

pub(crate) fn public(keys: &[PrivateKey]) -> Vec<PublicKey> {
    keys.iter().map(PrivateKey::public_key).collect()
}

pub(crate) fn signers(keys: &[PrivateKey], threshold: usize) -> Signers {
    Signers { keys: public(keys), threshold }
}

pub(crate) fn namespace(text: &str) -> Namespace {
    text.parse().unwrap()
}

impl World {
    /// Staged and unsigned.
    pub(crate) fn staged() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (root, security) = (vec![key(), key()], vec![key(), key()]);
        let online = key();
        let repository = PolicyRepository::init(
            &folder.path().join("policy"),
            &signers(&root, 2),
            &signers(&security, 2),
            &signers(std::slice::from_ref(&online), 1),
            NOW,
        )
        .unwrap();
        Self { folder, repository, root, security, online, author: key() }
    }

    /// With a document for `acme`, published at [`NOW`].
    pub(crate) fn new() -> Self {
        let world = Self::staged();
        world.repository.set(&namespace("acme"), &world.document(&["acme/*"]), NOW).unwrap();
        world.sign(&world.root);
        world.sign(&world.security);
        world.refresh(NOW);
        world
    }

    pub(crate) fn document(&self, patterns: &[&str]) -> Vec<u8> {
        json!({
            "name": patterns.join(" "), "namespaces": patterns, "threshold": 1,
            "keys": [{ "name": "author", "publicKey": self.author.public_key().to_pem() }],
        })
        .to_string()
        .into_bytes()
    }

    pub(crate) fn sign(&self, keys: &[PrivateKey]) {
        for key in keys {
            self.repository.sign(key).unwrap();
        }
    }

    pub(crate) fn refresh(&self, now: u64) -> PublishResult {
        self.repository.refresh(&self.online, now).unwrap()
    }

    /// Stages a document, signs it as the security team and publishes it.
    pub(crate) fn set(&self, name: &str, patterns: &[&str], now: u64) {
        self.repository.set(&namespace(name), &self.document(patterns), now).unwrap();
        self.sign(&self.security);
        self.refresh(now);
    }

    /// Delegates a namespace to one key and publishes its document.
    pub(crate) fn delegate(&self, name: &str, team: &PrivateKey) {
        let team = std::slice::from_ref(team);
        self.repository.delegate(&namespace(name), &signers(team, 1), None, NOW).unwrap();
        self.sign(&self.security);
        let document = self.document(&[&format!("{name}/*")]);
        self.repository.set(&namespace(name), &document, NOW).unwrap();
        self.sign(team);
        self.refresh(NOW);
    }

    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.repository.files().unwrap()
    }

    pub(crate) fn first_root(&self) -> Vec<u8> {
        self.repository.first_root().unwrap()
    }

    /// A node that has the published state.
    pub(crate) fn node(&self) -> TrustedPolicies {
        let mut node = TrustedPolicies::new(&self.first_root()).unwrap();
        node.take(&self.files(), NOW).unwrap();
        node
    }
}

pub(crate) fn names(trusted: &TrustedPolicies) -> Vec<String> {
    trusted.policies().iter().map(|policy| policy.name().to_owned()).collect()
}

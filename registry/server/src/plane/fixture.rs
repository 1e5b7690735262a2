//! A control plane for tests, with tokens of three owners.

use std::sync::Arc;

use tamis_journal::{Blobs, Journal};
use tamis_oci::{Limits, NewToken, Store, TokenSecret, Verb};
use tamis_trust::{Manifest, Refused};
use tempfile::TempDir;

use crate::plane::component_examiner::ComponentExaminer;
use crate::plane::control::{Control, ControlSettings};
use crate::plane::keys::{Keys, MissingKeys};
use crate::plane::rights::AuthorizedCaller;

struct NoExaminer;

impl ComponentExaminer for NoExaminer {
    fn check_claims(&self, _: &Manifest, _: &[u8]) -> Result<(), Refused> {
        Ok(())
    }

    fn capabilities_added(&self, _: &[u8], _: &[u8], _: &[String]) -> Vec<tamis_api::GrowthView> {
        Vec::new()
    }
}

/// A control plane in a folder of its own.
pub(crate) struct World {
    _folder: TempDir,
    pub(crate) control: Control,
}

impl World {
    /// A control plane with tokens of three owners: `acme`, which made `acme-ci`, and `other` and `third`, made by an
    /// administrator.
    pub(crate) async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let journal = Journal::sqlite(folder.path()).await.unwrap();
        let blobs = Blobs::files(folder.path()).await.unwrap();
        let clock = tamis_ambient::Clock::system();
        let store = Store::open(journal, blobs, Limits::default(), clock).await.unwrap();
        let keys = Keys::open(folder.path(), "registry.example/log", MissingKeys::Made).unwrap();
        let (rules, examine) = (ControlSettings::default(), Arc::new(NoExaminer));
        let control = Control::open(store, keys, rules, examine, None).await.unwrap();
        let world = Self { _folder: folder, control };
        world.make("operator".into(), "acme", "acme/*").await;
        world.make("operator".into(), "root", "*").await;
        for name in ["other", "third"] {
            world.make((&world.holder("root")).into(), name, "acme/*").await;
        }
        world.make((&world.holder("acme")).into(), "acme-ci", "acme/*").await;
        world
    }

    pub(crate) async fn make(&self, author: tamis_oci::Author<'_>, name: &str, pattern: &str) {
        let patterns = vec![pattern.parse().unwrap()];
        let (name, verbs) = (name.to_owned(), vec![Verb::Operate]);
        let token = NewToken { name, patterns, verbs, expires_ms: None };
        let secret = TokenSecret::generate().unwrap();
        self.control.0.store.create_token_by(author, token, &secret).await.unwrap();
    }

    /// The caller with that token.
    pub(crate) fn holder(&self, name: &str) -> AuthorizedCaller {
        AuthorizedCaller::new(self.control.0.store.named(name).unwrap())
    }
}

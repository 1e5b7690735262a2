//! Makes the keys of this process those of its journal, or finds that the journal has others.

use std::path::Path;

use crate::ServerError;
use crate::plane::control::{Control, ControlState};
use crate::plane::keys_record::KeysRecord;

/// Who writes the entry.
const ACTOR: &str = "operator";

impl Control {
    /// Makes the keys of this process those of the journal, if it has none: it is new, or of an earlier release.
    ///
    /// `lost`: an operator declared the keys of this journal lost, so these take the place of those that were known at the
    /// start.
    ///
    /// # Errors
    /// [`ServerError::OtherKeys`] when the journal has others; [`ServerError::KeysUnwritten`].
    pub(crate) async fn claim_keys(&self, folder: &Path, lost: bool) -> Result<(), ServerError> {
        let own = KeysRecord::of(&self.0.keys);
        let replaced = if lost { self.state().keys().cloned() } else { None };
        let record = own.record();
        let record = record.map_err(|error| ServerError::KeysUnwritten(error.to_string()))?;
        let decided = self.commit_records(ACTOR, |state: &ControlState| match state.keys() {
            Some(known) if *known == own => Ok((Vec::new(), true)),
            known if known == replaced.as_ref() => Ok((vec![record.clone()], true)),
            _ => Ok((Vec::new(), false)),
        });
        match decided.await {
            Ok((_, true)) => Ok(()),
            Ok((_, false)) => Err(ServerError::OtherKeys { folder: folder.to_owned() }),
            Err(problem) => Err(ServerError::KeysUnwritten(problem.title)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tamis_ambient::Clock;
    use tamis_api::GrowthView;
    use tamis_journal::{Blobs, Journal, Record};
    use tamis_oci::{Limits, Store};
    use tamis_trust::{Manifest, Refused};
    use tempfile::TempDir;

    use super::*;
    use crate::plane::keys::Keys;
    use crate::plane::{ComponentExaminer, ControlSettings, MissingKeys};

    struct NoComponents;

    impl ComponentExaminer for NoComponents {
        fn check_claims(&self, _: &Manifest, _: &[u8]) -> Result<(), Refused> {
            Ok(())
        }

        fn capabilities_added(&self, _: &[u8], _: &[u8], _: &[String]) -> Vec<GrowthView> {
            Vec::new()
        }
    }

    /// A replica with its own folder on a shared journal, up to the point at which it takes its keys.
    async fn replica(shared: &TempDir, own: &TempDir) -> Control {
        let journal = Journal::sqlite(shared.path()).await.unwrap();
        let blobs = Blobs::files(shared.path()).await.unwrap();
        let store = Store::open(journal, blobs, Limits::default(), Clock::system()).await.unwrap();
        let keys = Keys::open(own.path(), "log", MissingKeys::Made).unwrap();
        Control::open(store, keys, ControlSettings::default(), Arc::new(NoComponents), None)
            .await
            .unwrap()
    }

    fn folders() -> [TempDir; 3] {
        [TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap()]
    }

    async fn entries(control: &Control) -> usize {
        control.0.journal.read(0, 100).await.unwrap().len()
    }

    #[tokio::test]
    async fn of_replicas_that_start_at_once_on_an_empty_journal_one_has_its_keys() {
        let [shared, x, y] = folders();
        // Both have found an empty journal, and have made their keys.
        let (one, other) = (replica(&shared, &x).await, replica(&shared, &y).await);
        let both = tokio::join!(one.claim_keys(x.path(), false), other.claim_keys(y.path(), false));
        let (winner, refused) = match both {
            (Ok(()), Err(error)) => (&x, error),
            (Err(error), Ok(())) => (&y, error),
            both => panic!("{both:?}"),
        };
        let said = refused.to_string();
        assert!(said.contains("director.key and log.key from another replica"), "{said}");
        // With the keys of the other, it starts, and nothing is written again.
        let copy = TempDir::new().unwrap();
        for name in ["director.key", "log.key"] {
            std::fs::copy(winner.path().join(name), copy.path().join(name)).unwrap();
        }
        let again = replica(&shared, &copy).await;
        again.claim_keys(copy.path(), false).await.unwrap();
        assert_eq!(entries(&again).await, 1);
    }

    #[tokio::test]
    async fn a_journal_of_an_earlier_release_gets_its_entry_once() {
        let [shared, x, y] = folders();
        let old = replica(&shared, &x).await;
        let record = Record { kind: "note".to_owned(), body: serde_json::json!({}) };
        old.0.journal.append(None, 1, ACTOR, &[record]).await.unwrap();
        // As it is after an upgrade: entries, and none about keys.
        let (one, again) = (replica(&shared, &x).await, replica(&shared, &x).await);
        one.claim_keys(x.path(), false).await.unwrap();
        again.claim_keys(x.path(), false).await.unwrap();
        assert_eq!(entries(&one).await, 2);
        let other = replica(&shared, &y).await.claim_keys(y.path(), false).await;
        assert!(matches!(other, Err(ServerError::OtherKeys { .. })), "{other:?}");
    }

    #[tokio::test]
    async fn either_key_alone_makes_another_replica() {
        for name in ["director.key", "log.key"] {
            let [shared, x, y] = folders();
            let one = replica(&shared, &x).await;
            one.claim_keys(x.path(), false).await.unwrap();
            std::fs::copy(x.path().join(name), y.path().join(name)).unwrap();
            let other = replica(&shared, &y).await;
            let refused = other.claim_keys(y.path(), false).await;
            assert!(matches!(refused, Err(ServerError::OtherKeys { .. })), "{name}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn keys_that_are_declared_lost_are_replaced_once() {
        let [shared, x, y] = folders();
        let old = replica(&shared, &TempDir::new().unwrap()).await;
        old.claim_keys(shared.path(), false).await.unwrap();
        let (one, other) = (replica(&shared, &x).await, replica(&shared, &y).await);
        let both = tokio::join!(one.claim_keys(x.path(), true), other.claim_keys(y.path(), true));
        assert!(matches!(both, (Ok(()), Err(_)) | (Err(_), Ok(()))), "{both:?}");
        assert_eq!(entries(&one).await, 2);
        let refused = old.claim_keys(shared.path(), false).await;
        assert!(matches!(refused, Err(ServerError::OtherKeys { .. })), "{refused:?}");
    }
}

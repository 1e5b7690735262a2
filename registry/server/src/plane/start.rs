//! Checks before a control plane serves, and actions requested at its start.

use tamis_api::{ApiProblem, ReassignRequest};
use tamis_director::AssignmentRecord;
use tamis_journal::BlobDigest;

use crate::ServerError;
use crate::plane::control::Control;

/// Number of filters looked for in the blobs.
const LOOKED_FOR: usize = 3;
/// The actor of actions requested at the start.
const ACTOR: &str = "operator";

impl Control {
    /// Whether this director signed the last assignments; true when there are none.
    pub(crate) fn signed_the_last(&self) -> bool {
        let state = self.state();
        let last = state.assigned().max_by_key(|one| one.version);
        last.is_none_or(|last: &AssignmentRecord| self.0.keys.signed(&last.envelopes))
    }

    /// Whether the blobs contain pinned filters: at least one of those pinned last.
    ///
    /// # Errors
    /// [`ServerError::OtherBlobs`], [`ServerError::Blobs`].
    pub(crate) async fn check_blobs(&self) -> Result<(), ServerError> {
        let mut pinned: Vec<(u64, String)> = {
            let state = self.state();
            state.pins().map(|pin| (pin.stamp.revision, pin.digest.to_string())).collect()
        };
        pinned.sort_unstable_by(|one, other| other.cmp(one));
        pinned.dedup_by(|one, other| one.1 == other.1);
        pinned.truncate(LOOKED_FOR);
        for (_, digest) in &pinned {
            let Ok(digest) = digest.parse::<BlobDigest>() else { continue };
            if self.0.blobs.stat(&digest).await.map_err(ServerError::Blobs)?.is_some() {
                return Ok(());
            }
        }
        match pinned.first() {
            None => Ok(()),
            Some((_, example)) => Err(ServerError::OtherBlobs { example: example.clone() }),
        }
    }

    /// Assigns everything again, with higher versions than proxies have seen.
    ///
    /// # Errors
    /// [`ServerError::Restored`].
    pub(crate) async fn restored(&self, reason: &str) -> Result<(), ServerError> {
        let (service, reason) = ("*".to_owned(), reason.to_owned());
        let request = ReassignRequest { service, reason };
        let failed = |problem: ApiProblem| ServerError::Restored(problem.title);
        let done = self.reassign_by(ACTOR, &request).await.map_err(failed)?;
        tracing::info!(epoch = done.epoch, proxies = done.proxies, "everything is assigned again");
        Ok(())
    }
}

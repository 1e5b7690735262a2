//! Precedence of a large change that others overtook: for a while nothing else is decided for callers.
//!
//! What was computed about a large change holds as long as nothing else is decided, and one owner who makes small changes all
//! the time would keep everybody else's from ever being made. So such a change is computed once more while the others' wait.
//! Nobody has more of that than others: owners take turns, a turn ends after [`LONGEST`], and as long as it took, and no
//! shorter, the others go first again.
//!
//! What the registry decides by itself, and what cannot wait, such as a revocation, waits for no precedence.

#![expect(clippy::disallowed_methods, reason = "timers of the runtime, which a test pauses")]

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tamis_api::ApiProblem;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::Instant;

use crate::plane::control::Control;
use crate::plane::problem::problem;
use crate::plane::rights::AuthorizedCaller;
use crate::shares::{Place, Shares};

/// How long others wait at most for a change that has precedence.
pub(crate) const LONGEST: Duration = Duration::from_secs(20);
/// How long one waits for precedence.
const TURN: Duration = Duration::from_secs(60);

/// Who has precedence.
pub(super) struct Precedence {
    /// Read by whoever decides, written by whoever has precedence. Those who wait get it in their order.
    decisions: RwLock<()>,
    owners: Shares,
    /// When there may be a next one.
    rests_until: Mutex<Option<Instant>>,
}

impl Default for Precedence {
    fn default() -> Self {
        Self { decisions: RwLock::default(), owners: Shares::new(1), rests_until: Mutex::default() }
    }
}

/// A decision of a caller: no large change has precedence as long as it lasts. Nobody takes two.
pub(crate) struct Decision<'a> {
    _reading: RwLockReadGuard<'a, ()>,
}

/// Precedence of a change of a caller: no other caller decides as long as it lasts.
pub(crate) struct Precedent<'a> {
    precedence: &'a Precedence,
    began: Instant,
    _writing: RwLockWriteGuard<'a, ()>,
    _owner: Place,
}

impl Precedent<'_> {
    /// When it has to end.
    pub(crate) fn ends(&self) -> Instant {
        self.began + LONGEST
    }
}

impl Drop for Precedent<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut rests_until =
            self.precedence.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        *rests_until = now.checked_add(now.saturating_duration_since(self.began));
    }
}

impl Control {
    /// Waits until no large change has precedence. To be held while a decision is written, and by nobody who asks for
    /// precedence.
    pub(crate) async fn decision(&self) -> Decision<'_> {
        Decision { _reading: self.0.precedence.decisions.read().await }
    }

    /// Precedence for a change of a caller, in its turn.
    ///
    /// # Errors
    /// [`ApiProblem`] when it gets none in time.
    pub(crate) async fn precedence(
        &self,
        holder: &AuthorizedCaller,
    ) -> Result<Precedent<'_>, ApiProblem> {
        let precedence = &self.0.precedence;
        let taken = async {
            let owner = precedence.owners.place(&self.0.store.owner(holder.actor())).await;
            let rests_until =
                *precedence.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(rests_until) = rests_until {
                tokio::time::sleep_until(rests_until).await;
            }
            (owner, precedence.decisions.write().await)
        };
        let (_owner, _writing) = tokio::time::timeout(TURN, taken).await.map_err(|_| {
            let title = "large changes of others come before this one; nothing was changed";
            let remedy = Some("try again".to_owned());
            ApiProblem { remedy, ..problem(503, "busy", title) }
        })?;
        Ok(Precedent { precedence, began: Instant::now(), _writing, _owner })
    }
}

#[cfg(test)]
mod tests;

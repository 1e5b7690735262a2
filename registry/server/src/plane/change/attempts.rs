//! Attempts of a change that is checked while others write.
//!
//! What was checked holds as long as nothing else is decided. So a change that others overtake is checked again, and after
//! [`ATTEMPTS`] times the others wait: nobody is kept from a change by people who make small ones all the time.

use tamis_api::ApiProblem;
use tamis_director::{RecordBody, State};
use tamis_journal::FoldedWriter;

use crate::plane::control::compute_turns::{ComputingPlace, Size, Turn};
use crate::plane::control::precedence::Decision;
use crate::plane::control::{Control, ControlState};
use crate::plane::problem::{journal, problem};
use crate::plane::rights::AuthorizedCaller;

/// How often a change is checked while others write.
pub(crate) const ATTEMPTS: usize = 2;
/// How often it is checked while nobody else writes in this process; other replicas may.
const ALONE: usize = 5;

/// The attempts of a change of a caller.
pub(crate) struct Attempts<'a> {
    holder: &'a AuthorizedCaller,
    /// It waits for no large change of another.
    is_urgent: bool,
    made: usize,
}

/// One of them.
pub(crate) struct Attempt<'a> {
    holder: &'a AuthorizedCaller,
    is_urgent: bool,
    /// Where everybody else waits for it: the turns to compute and to write.
    alone: Option<(Turn, FoldedWriter<'a, ControlState>)>,
    /// What a large change of another waits for while this is alone.
    decision: Option<Decision<'a>>,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(holder: &'a AuthorizedCaller) -> Self {
        Self { holder, is_urgent: false, made: 0 }
    }

    /// Those of a change that waits for no large change of another.
    pub(crate) fn urgent(holder: &'a AuthorizedCaller) -> Self {
        Self { holder, is_urgent: true, made: 0 }
    }

    /// The next one.
    ///
    /// # Errors
    /// [`ApiProblem`] when others overtook all of them, or there is no turn for it.
    pub(crate) async fn next(&mut self, control: &'a Control) -> Result<Attempt<'a>, ApiProblem> {
        let Self { holder, is_urgent, .. } = *self;
        self.made = self.made.saturating_add(1);
        if self.made <= ATTEMPTS {
            return Ok(Attempt { holder, is_urgent, alone: None, decision: None });
        }
        if self.made > ATTEMPTS.saturating_add(ALONE) {
            return Err(overtaken());
        }
        // First: whoever writes waits for nobody.
        let decision = if is_urgent { None } else { Some(control.decision().await) };
        let turn = control.turn(holder, Size::Small).await?;
        let writer = control.writer(holder.actor()).await;
        drop(writer.fresh().await.map_err(|error| journal(&error))?);
        Ok(Attempt { holder, is_urgent, alone: Some((turn, writer)), decision })
    }
}

impl Attempt<'_> {
    /// Where it is computed.
    pub(crate) fn place(&self) -> ComputingPlace<'_> {
        match &self.alone {
            None => ComputingPlace::Own(self.holder, Size::Small),
            Some((turn, _)) => ComputingPlace::In(turn),
        }
    }

    /// Writes what is decided; see [`Control::commit`].
    ///
    /// # Errors
    /// As for [`Control::commit`].
    pub(crate) async fn commit<T>(
        self,
        control: &Control,
        decide: impl FnMut(&State) -> Result<(Vec<RecordBody>, T), ApiProblem> + Send,
    ) -> Result<(u64, T), ApiProblem> {
        let _decision = match self.decision {
            None if !self.is_urgent => Some(control.decision().await),
            held => held,
        };
        match self.alone {
            None => control.commit(self.holder, decide).await,
            Some((_turn, writer)) => control.commit_in(writer, self.holder, decide).await,
        }
    }
}

fn overtaken() -> ApiProblem {
    let title = "others changed something each time this change was computed; nothing was changed";
    ApiProblem { remedy: Some("try again".to_owned()), ..problem(503, "busy", title) }
}

#[cfg(test)]
mod tests;

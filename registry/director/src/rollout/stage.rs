//! The stage of a rollout: an enum and its transitions.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{BreachAction, Rollout};

/// The stage of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutStage {
    /// It continues by itself.
    Running(RolloutStep),
    /// Nodes stay as they are until somebody decides.
    Paused(RolloutStep),
    /// It is over.
    Ended(RolloutOutcome),
}

/// A step of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutStep {
    /// Verdicts are compared; those of the candidate have no effect.
    Shadow,
    /// A wave, from 0.
    Wave(usize),
}

/// The outcome of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutOutcome {
    /// The candidate is pinned.
    Done,
    /// Somebody aborted it; the pins are those from before.
    Aborted,
    /// A gate failed, or somebody killed it; the pins are those from before.
    Returned,
}

/// An event that moves a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// All gates held for the bake time, or the shadow compared enough.
    Passed,
    /// A gate failed.
    Breached,
    /// Somebody pauses it.
    Pause,
    /// Somebody resumes it.
    Resume,
    /// Somebody takes the next step, whatever the gates report.
    Advance,
    /// Somebody aborts it.
    Abort,
    /// Somebody kills it: all nodes return at once, from any step.
    Kill,
}

/// A move that the current stage does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a rollout that is {stage} cannot take `{event}`; {remedy}")]
pub struct IllegalMove {
    /// The current stage.
    pub stage: RolloutStage,
    /// The event.
    pub event: Event,
    /// The allowed moves.
    pub remedy: &'static str,
}

impl RolloutStage {
    /// The first stage of a rollout.
    #[must_use]
    pub fn first(rollout: &Rollout) -> Self {
        Self::Running(if rollout.spec().shadow.is_some() {
            RolloutStep::Shadow
        } else {
            RolloutStep::Wave(0)
        })
    }

    /// The current step; `None` when it is over.
    #[must_use]
    pub fn step(self) -> Option<RolloutStep> {
        match self {
            Self::Running(step) | Self::Paused(step) => Some(step),
            Self::Ended(_) => None,
        }
    }

    /// The stage after `event`.
    ///
    /// # Errors
    /// [`IllegalMove`] when the stage does not allow it; nothing has changed then.
    pub fn next(self, event: Event, rollout: &Rollout) -> Result<Self, IllegalMove> {
        let illegal = |remedy| Err(IllegalMove { stage: self, event, remedy });
        match (self, event) {
            (Self::Ended(_), _) => illegal("it is over; start another under a new name"),
            (Self::Running(_) | Self::Paused(_), Event::Abort) => {
                Ok(Self::Ended(RolloutOutcome::Aborted))
            }
            (Self::Running(_) | Self::Paused(_), Event::Kill) => {
                Ok(Self::Ended(RolloutOutcome::Returned))
            }
            (Self::Running(step), Event::Passed | Event::Advance)
            | (Self::Paused(step), Event::Advance) => Ok(after(step, rollout)),
            (Self::Running(step), Event::Breached) => Ok(match rollout.spec().on_breach {
                BreachAction::Return => Self::Ended(RolloutOutcome::Returned),
                BreachAction::Hold => Self::Paused(step),
            }),
            (Self::Paused(_), Event::Breached) => match rollout.spec().on_breach {
                BreachAction::Return => Ok(Self::Ended(RolloutOutcome::Returned)),
                BreachAction::Hold => illegal("it is paused already; advance, abort or kill it"),
            },
            (Self::Running(step), Event::Pause) => Ok(Self::Paused(step)),
            (Self::Paused(step), Event::Resume) => Ok(Self::Running(step)),
            (Self::Paused(_), Event::Passed | Event::Pause) => {
                illegal("resume, advance, abort or kill it")
            }
            (Self::Running(_), Event::Resume) => illegal("it is running already"),
        }
    }

    /// Whether it may end with that outcome from here.
    #[must_use]
    pub fn may_end(self, outcome: RolloutOutcome, rollout: &Rollout) -> bool {
        let events = match outcome {
            RolloutOutcome::Done => [Event::Passed, Event::Advance],
            RolloutOutcome::Aborted => [Event::Abort; 2],
            RolloutOutcome::Returned => [Event::Breached, Event::Kill],
        };
        events.into_iter().any(|event| self.next(event, rollout) == Ok(Self::Ended(outcome)))
    }
}

fn after(step: RolloutStep, rollout: &Rollout) -> RolloutStage {
    let wave = match step {
        RolloutStep::Shadow => 0,
        RolloutStep::Wave(at) => at + 1,
    };
    if wave < rollout.spec().waves.len() {
        RolloutStage::Running(RolloutStep::Wave(wave))
    } else {
        RolloutStage::Ended(RolloutOutcome::Done)
    }
}

impl fmt::Display for RolloutStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(step) => write!(f, "in {step}"),
            Self::Paused(step) => write!(f, "paused in {step}"),
            Self::Ended(outcome) => outcome.fmt(f),
        }
    }
}

impl fmt::Display for RolloutStep {
    /// For people, waves are counted from 1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shadow => f.write_str("the shadow"),
            Self::Wave(at) => write!(f, "wave {}", at + 1),
        }
    }
}

impl fmt::Display for RolloutOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Aborted => "aborted",
            Self::Returned => "returned",
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "passed",
            Self::Breached => "breached",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Advance => "advance",
            Self::Abort => "abort",
            Self::Kill => "kill",
        })
    }
}

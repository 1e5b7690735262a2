//! How far a rollout is: an enum and its only way forward.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{OnBreach, Rollout};

/// How far a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It goes on by itself.
    Running(Step),
    /// Nodes stay as they are until somebody decides.
    Paused(Step),
    /// It is over.
    Ended(Outcome),
}

/// A part of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Verdicts are compared, none of the candidate's counts.
    Shadow,
    /// A wave, from 0.
    Wave(usize),
}

/// How a rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The candidate is pinned.
    Done,
    /// Somebody gave it up; the pins are those from before.
    Aborted,
    /// A gate did not hold, or somebody pulled the kill switch; the pins are those from before.
    Returned,
}

/// What makes a rollout move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// All gates held for the bake time, or the shadow compared enough.
    Passed,
    /// A gate did not hold.
    Breached,
    /// Somebody stops it where it is.
    Pause,
    /// Somebody lets it go on.
    Resume,
    /// Somebody takes the next step, whatever the gates say.
    Advance,
    /// Somebody gives it up.
    Abort,
    /// The kill switch: all nodes go back at once, from any step.
    Kill,
}

/// A move that a rollout does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a rollout that is {stage} cannot take `{event}`; {remedy}")]
pub struct IllegalMove {
    /// How far it is.
    pub stage: Stage,
    /// What it was to take.
    pub event: Event,
    /// What would be allowed.
    pub remedy: &'static str,
}

impl Stage {
    /// Where a rollout begins.
    #[must_use]
    pub fn first(rollout: &Rollout) -> Self {
        Self::Running(if rollout.spec().shadow.is_some() { Step::Shadow } else { Step::Wave(0) })
    }

    /// The step it is at; none when it is over.
    #[must_use]
    pub fn step(self) -> Option<Step> {
        match self {
            Self::Running(step) | Self::Paused(step) => Some(step),
            Self::Ended(_) => None,
        }
    }

    /// Where `event` leads.
    ///
    /// # Errors
    /// [`IllegalMove`] when it leads nowhere from here; nothing has changed then.
    pub fn next(self, event: Event, rollout: &Rollout) -> Result<Self, IllegalMove> {
        let illegal = |remedy| Err(IllegalMove { stage: self, event, remedy });
        match (self, event) {
            (Self::Ended(_), _) => illegal("it is over; start another under a new name"),
            (Self::Running(_) | Self::Paused(_), Event::Abort) => Ok(Self::Ended(Outcome::Aborted)),
            (Self::Running(_) | Self::Paused(_), Event::Kill) => Ok(Self::Ended(Outcome::Returned)),
            (Self::Running(step), Event::Passed | Event::Advance)
            | (Self::Paused(step), Event::Advance) => Ok(after(step, rollout)),
            (Self::Running(step), Event::Breached) => Ok(match rollout.spec().on_breach {
                OnBreach::Return => Self::Ended(Outcome::Returned),
                OnBreach::Hold => Self::Paused(step),
            }),
            (Self::Paused(_), Event::Breached) => match rollout.spec().on_breach {
                OnBreach::Return => Ok(Self::Ended(Outcome::Returned)),
                OnBreach::Hold => illegal("it holds already; advance, abort or kill it"),
            },
            (Self::Running(step), Event::Pause) => Ok(Self::Paused(step)),
            (Self::Paused(step), Event::Resume) => Ok(Self::Running(step)),
            (Self::Paused(_), Event::Passed | Event::Pause) => {
                illegal("resume, advance, abort or kill it")
            }
            (Self::Running(_), Event::Resume) => illegal("it goes on already"),
        }
    }

    /// Whether it may end like that from here.
    #[must_use]
    pub fn may_end(self, outcome: Outcome, rollout: &Rollout) -> bool {
        let events = match outcome {
            Outcome::Done => [Event::Passed, Event::Advance],
            Outcome::Aborted => [Event::Abort; 2],
            Outcome::Returned => [Event::Breached, Event::Kill],
        };
        events.into_iter().any(|event| self.next(event, rollout) == Ok(Self::Ended(outcome)))
    }
}

fn after(step: Step, rollout: &Rollout) -> Stage {
    let wave = match step {
        Step::Shadow => 0,
        Step::Wave(at) => at + 1,
    };
    if wave < rollout.spec().waves.len() {
        Stage::Running(Step::Wave(wave))
    } else {
        Stage::Ended(Outcome::Done)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(step) => write!(f, "in {step}"),
            Self::Paused(step) => write!(f, "paused in {step}"),
            Self::Ended(outcome) => outcome.fmt(f),
        }
    }
}

impl fmt::Display for Step {
    /// Waves are counted from 1 for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shadow => f.write_str("the shadow"),
            Self::Wave(at) => write!(f, "wave {}", at + 1),
        }
    }
}

impl fmt::Display for Outcome {
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

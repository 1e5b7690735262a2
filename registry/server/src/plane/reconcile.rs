//! The director's loop: judges rollouts, signs assignments, sends parts to proxies. It orders these steps, and no
//! other file does.

use std::sync::Arc;
use std::time::Duration;

use tamis_api::ApiProblem;
use tamis_director::{self as director, Event, Judgement, RecordBody};
use tamis_resources::NodeName;
use tamis_trust::sign_assignment;

use crate::plane::change::FurtherCheck;
use crate::plane::control::commit::{problem_of, records};
use crate::plane::control::compute_turns::ComputingPlace;
use crate::plane::control::known_plans::SLICE;
use crate::plane::control::{Control, ControlState};
use crate::plane::problem::problem;

/// The actor of the director's own decisions.
const ACTOR: &str = "director";
/// How long it gathers events before it acts: changes often come in a row.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// Interval of checks without events: bake times end, assignments expire.
const TICK: Duration = Duration::from_secs(1);
/// Interval at which reports are written.
const REPORTS: Duration = Duration::from_millis(250);
/// Interval at which expiries of assignments are checked without a change; they last for days.
const RENEW_MS: u64 = 60_000;
/// Assignments in one append.
const BATCH: usize = 500;

/// What the director has processed.
#[derive(Default)]
struct ReconcileMarks {
    assigned: Option<(u64, u64)>,
    published: Option<(u64, u64, u64, u64)>,
}

impl Control {
    /// Runs the director, for as long as it is polled: one task of every process runs it. Several directors
    /// act on what all have written, and if two decide the same thing at once, it is written once.
    pub async fn run(&self) {
        let (follow, direct, reports) = (self.follow(), self.direct(), self.write_reports());
        tokio::join!(follow, direct, reports, self.keep_authority());
    }

    async fn direct(&self) {
        let mut marks = ReconcileMarks::default();
        let mut folded = self.folded();
        let mut arrivals = self.0.fleet.arrivals();
        loop {
            folded.borrow_and_update();
            arrivals.borrow_and_update();
            if let Some(policy) = &self.0.policy {
                policy.refresh(self.now_secs());
            }
            if let Err(problem) = self.step(&mut marks).await {
                tracing::warn!(
                    code = problem.code,
                    "the director makes no progress on rollouts and assignments: {}",
                    problem.title
                );
            }
            if let Err(problem) = self.publish(&mut marks).await {
                tracing::warn!(
                    code = problem.code,
                    "plans are not sent to proxies: {}",
                    problem.title
                );
            }
            let news = async {
                tokio::select! {
                    _ = folded.changed() => {}
                    _ = arrivals.changed() => {}
                }
                tokio::time::sleep(DEBOUNCE).await;
            };
            // After an event or a timeout alike there may be something to do.
            let _ = tokio::time::timeout(TICK, news).await;
        }
    }

    async fn write_reports(&self) {
        loop {
            tokio::time::sleep(REPORTS).await;
            if let Err(problem) = self.flush().await {
                tracing::warn!(code = problem.code, "reports wait: {}", problem.title);
            }
            if let Err(problem) = self.write_connections().await {
                tracing::warn!(code = problem.code, "connections wait: {}", problem.title);
            }
        }
    }

    /// Moves rollouts, then assigns what is due.
    async fn step(&self, marks: &mut ReconcileMarks) -> Result<(), ApiProblem> {
        let now = self.now_ms();
        let moving: Vec<String> = {
            let state = self.state();
            let active = state.rollouts().values().filter(|one| one.step().is_some());
            active.map(|one| one.rollout.name().to_owned()).collect()
        };
        for name in moving {
            self.move_rollout(&name, now).await?;
        }
        // Reports do not change plans, and most of the journal is reports.
        let due = (self.state().decided(), now / RENEW_MS);
        while marks.assigned != Some(due) {
            self.know_plans().await;
            let (_, more) =
                self.write_decision(|state| self.assignments(state, now / 1_000)).await?;
            if !more {
                break;
            }
        }
        marks.assigned = Some((self.state().decided(), now / RENEW_MS));
        Ok(())
    }

    async fn move_rollout(&self, name: &str, now: u64) -> Result<(), ApiProblem> {
        let passes = {
            let state = self.state();
            is_running(&state, name)
                && matches!(state.judge(name, now), Some(Judgement::Passed { .. }))
        };
        let check = if passes { self.checked_further(name).await } else { None };
        let moved = self.write_decision(|state| {
            let running = is_running(state, name);
            let (event, why) = match state.judge(name, now) {
                Some(Judgement::Passed { why }) if running => match &check {
                    Some(check) if check.decided == state.decided() => {
                        match check.refusals.first() {
                            None => (Event::Passed, why),
                            Some(one) => (Event::Pause, format!("{}; {}", one.rule, one.remedy)),
                        }
                    }
                    // Something else was decided meanwhile, or it could not be checked: the next turn tries again.
                    _ => return Ok((Vec::new(), None)),
                },
                Some(Judgement::Breached { why, .. }) => (Event::Breached, why),
                Some(Judgement::Stalled { why }) if running => (Event::Pause, why),
                _ => return Ok((Vec::new(), None)),
            };
            match state.step(name, event, &why) {
                Ok(body) => Ok((vec![body], Some((event, why)))),
                // It is held: somebody has to decide.
                Err(_) => Ok((Vec::new(), None)),
            }
        });
        if let (_, Some((event, why))) = moved.await? {
            tracing::info!(rollout = name, %event, why, "a rollout moved");
        }
        Ok(())
    }

    /// Whether the documents of now let a rollout go further; `None`: that cannot be known now.
    async fn checked_further(&self, name: &str) -> Option<FurtherCheck> {
        let checked = async {
            let turn = self.turn_of_director().await?;
            self.check_further(ComputingPlace::In(&turn), name).await
        };
        let checked = checked.await.inspect_err(|problem| {
            tracing::warn!(
                rollout = name,
                code = problem.code,
                "a rollout waits: {}",
                problem.title
            );
        });
        checked.ok().flatten()
    }

    /// Writes what the director decides, for which no token is needed.
    async fn write_decision<T>(
        &self,
        mut decide: impl FnMut(&director::State) -> Result<(Vec<RecordBody>, T), ApiProblem> + Send,
    ) -> Result<(u64, T), ApiProblem> {
        let decide = |state: &ControlState| {
            let (bodies, value) = decide(state)?;
            Ok((records(&bodies)?, value))
        };
        let written = self.0.folded.commit(ACTOR, decide, || std::future::ready(Ok(())));
        written.await.map_err(problem_of)
    }

    /// Signed assignments that are due, and whether there are more than fit in one append.
    fn assignments(
        &self,
        state: &director::State,
        now: u64,
    ) -> Result<(Vec<RecordBody>, bool), ApiProblem> {
        let mut bodies = Vec::new();
        let drafts = self.plans().drafts(state, now, &self.0.rules.terms);
        let more = drafts.len() > BATCH;
        for draft in drafts.into_iter().take(BATCH) {
            let envelope = sign_assignment(&self.0.keys.director, &draft.assignment())
                .map_err(|error| problem(500, "internal", error.to_string()))?;
            bodies.push(RecordBody::from(draft.record(vec![envelope])));
        }
        Ok((bodies, more))
    }

    /// Sends every connected proxy its current plan.
    async fn publish(&self, marks: &mut ReconcileMarks) -> Result<(), ApiProblem> {
        let due = (
            self.state().decided(),
            self.now_ms() / RENEW_MS,
            self.0.store.referrers_seen() + self.policies_accepted(),
            self.0.fleet.arrived(),
        );
        if marks.published == Some(due) {
            return Ok(());
        }
        let (mut failed, clock) = (None, self.0.store.clock());
        let mut began = clock.now();
        for name in self.0.fleet.connected() {
            if clock.since(began) > SLICE {
                // Streams continue meanwhile: the first proxies have their plan before the last is
                // computed.
                tokio::task::yield_now().await;
                began = clock.now();
            }
            let Ok(node) = name.parse::<NodeName>() else { continue };
            // One proxy's plan cannot be read; the others need not wait.
            if let Err(problem) = self.publish_to(&name, &node).await {
                failed = failed.or(Some(problem));
            }
        }
        if let Some(problem) = failed {
            return Err(problem);
        }
        marks.published = Some(due);
        Ok(())
    }

    /// Sends a proxy its plan, unless it is the one that it has.
    async fn publish_to(&self, name: &str, node: &NodeName) -> Result<(), ApiProblem> {
        let Some(plan) = self.computed_plan(node) else { return Ok(()) };
        let before = self.0.fleet.plan_of(name);
        if before.as_ref().is_some_and(|before| before.is(&plan)) {
            return Ok(());
        }
        let slots = self.slot_parts(&plan, before.as_deref()).await?;
        let plan = self.in_parts(plan, slots, before.as_deref());
        self.0.fleet.set_plan(name, Arc::new(plan));
        Ok(())
    }
}

fn is_running(state: &director::State, name: &str) -> bool {
    let found = state.rollouts().get(name);
    found.is_some_and(|one| matches!(one.stage, director::RolloutStage::Running(_)))
}

//! Makes instances on a thread of their own, never on the one that needs them.
//!
//! `configure` may last as long as its limit allows, perhaps seconds, and a worker has other requests to
//! serve. So a filter keeps one spare instance ready. A worker that lost its instance takes the spare, and
//! the next one is made meanwhile; while none is ready, calls fail at once ([`CallFault::Remaking`]) and
//! the attachment's failure mode applies.
//!
//! Instances that are expensive, or cannot be made, are made with longer pauses in between: making them
//! uses at most a tenth of a processor.

use crate::deadline;
use crate::plan::Plan;
use crate::room::RoomShare;
use crate::running::RunningInstance;
use crate::{CallFault, EngineError, Isolation};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Processor time for making instances of one filter ahead.
const PREPARE: Duration = Duration::from_secs(2);
/// Spare instances of a filter, whether its instances live long or for one exchange.
const SPARE: usize = 1;
const SPARE_PER_REQUEST: usize = 4;
/// Spare instances of those that may suspend, kept while nobody takes them.
const SPARE_WAITING: usize = 4;
/// Cost of an instance up to which the next follows without a pause.
const CHEAP: Duration = Duration::from_millis(10);
/// Pause after an expensive instance, as a multiple of its cost: in nine tenths of the time nothing is
/// made.
const PAUSE_FACTOR: u32 = 9;
/// Pause after the first instance that could not be made; doubled with each further one, up to [`MAX_PAUSE`].
const RETRY: Duration = Duration::from_millis(100);
/// Longest pause between two attempts to make an instance.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// How often a pausing thread checks whether the filter is still in use.
const LOOK: Duration = Duration::from_millis(250);

/// The instances of a filter that are ready, the demand for more, and the plan that they are made by.
pub(crate) struct InstanceSupply {
    pub(crate) plan: Plan,
    /// Nothing may be called any more.
    pub(crate) ended: AtomicBool,
    ready: Mutex<Inner>,
    /// For the instances of its workers. Dropped last.
    _share: RoomShare,
}

#[derive(Default)]
struct Inner {
    direct: Vec<RunningInstance>,
    suspending: Vec<RunningInstance>,
    /// Number of workers that lost their instance and found no spare.
    lacking: usize,
    waiting: Vec<Waker>,
    /// A thread is making instances.
    making: bool,
    not_before: Option<Instant>,
    failures: u32,
}

enum MakerStep {
    Nothing,
    Pause(Duration),
    Direct,
    Suspending,
}

impl InstanceSupply {
    pub(crate) fn new(plan: Plan, share: RoomShare) -> Self {
        Self { plan, ended: AtomicBool::new(false), ready: Mutex::default(), _share: share }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an instance that was made elsewhere.
    pub(crate) fn put(&self, running: RunningInstance) {
        self.lock().direct.push(running);
    }

    /// Makes `count` instances ready on this thread: see [`Filter::prepare`](crate::Filter::prepare).
    pub(crate) fn prepare(&self, count: usize) {
        let (plan, began) = (&self.plan, deadline::used());
        for _ in 0..count {
            if deadline::used().saturating_sub(began) > PREPARE {
                return;
            }
            match RunningInstance::configured(plan, &plan.direct, &plan.state) {
                Ok(running) => self.put(running),
                Err(error) => {
                    plan.state.breaker.failed();
                    tracing::warn!(target: "tamis::filter", filter = plan.settings.name, "{error}");
                    return;
                }
            }
        }
    }

    /// A worker that lacked an instance has one, or is gone.
    pub(crate) fn settled(&self) {
        let mut inner = self.lock();
        inner.lacking = inner.lacking.saturating_sub(1);
    }
}

/// Instances of a filter beside those of its workers and its spares: those of its ticks and of its telemetry.
const APART: usize = 2;

impl Plan {
    /// Spare instances that are kept ready.
    fn spare(&self) -> usize {
        match self.isolation {
            Isolation::Worker => SPARE,
            Isolation::Request => SPARE_PER_REQUEST,
        }
    }

    /// Takes room for all instances that its workers may hold at once.
    ///
    /// # Errors
    /// [`EngineError::NoRoom`].
    pub(crate) fn take_room(&self) -> Result<RoomShare, EngineError> {
        let owner = &self.state.owner;
        let count = owner.workers.saturating_add(self.spare()).saturating_add(APART);
        let taken = self.compiled.engine.kept.take(&owner.name, self.compiled.needs.times(count));
        taken.map_err(|shortage| EngineError::NoRoom { filter: self.name(), shortage })
    }
}

impl Inner {
    fn next(&self, plan: &Plan, now: Instant) -> MakerStep {
        let wanted = if self.suspending.len() < self.waiting.len() {
            MakerStep::Suspending
        } else if self.direct.len() < self.lacking.saturating_add(plan.spare()) {
            MakerStep::Direct
        } else {
            return MakerStep::Nothing;
        };
        match self.not_before {
            Some(at) if at > now => MakerStep::Pause(at.saturating_duration_since(now)),
            _ => wanted,
        }
    }

    fn pause(&mut self, plan: &Plan, made: bool, cost: Duration) {
        self.failures = if made { 0 } else { self.failures.saturating_add(1) };
        let dear = if cost < CHEAP { Duration::ZERO } else { cost.saturating_mul(PAUSE_FACTOR) };
        let failed = match self.failures {
            0 => Duration::ZERO,
            n => RETRY.saturating_mul(1 << n.min(10)),
        };
        let pause = dear.max(failed).min(MAX_PAUSE);
        self.not_before =
            if pause.is_zero() { None } else { plan.state.clock.now().checked_add(pause) };
        if !made && !plan.state.is_shadow() {
            tracing::warn!(target: "tamis::filter", filter = plan.settings.name,
                pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                "no instance of a filter could be made; the next attempt follows after a pause");
        }
    }
}

/// Takes a spare instance for a worker, or orders one. `lacks` is whether the caller waits already.
pub(crate) fn take(
    supply: &Arc<InstanceSupply>,
    lacks: &mut bool,
) -> Result<RunningInstance, CallFault> {
    let mut inner = supply.lock();
    let taken = inner.direct.pop();
    if *lacks && taken.is_some() {
        inner.lacking = inner.lacking.saturating_sub(1);
        *lacks = false;
    } else if !*lacks && taken.is_none() {
        inner.lacking = inner.lacking.saturating_add(1);
        *lacks = true;
    }
    order(supply, inner);
    taken.ok_or(CallFault::Remaking)
}

/// Orders a spare while nobody waits for it.
pub(crate) fn refill(supply: &Arc<InstanceSupply>) {
    order(supply, supply.lock());
}

/// Waits for an instance that may suspend.
///
/// # Errors
/// None may be made now: the last ones were too expensive, or could not be made.
pub(crate) async fn waiting(supply: &Arc<InstanceSupply>) -> Result<RunningInstance, CallFault> {
    std::future::poll_fn(|context| {
        let mut inner = supply.lock();
        if let Some(running) = inner.suspending.pop() {
            return Poll::Ready(Ok(running));
        }
        if inner.not_before.is_some_and(|at| at > supply.plan.state.clock.now()) {
            return Poll::Ready(Err(CallFault::Remaking));
        }
        if !inner.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            inner.waiting.push(context.waker().clone());
        }
        order(supply, inner);
        Poll::Pending
    })
    .await
}

/// Starts a thread that makes instances, unless one runs already.
fn order(supply: &Arc<InstanceSupply>, mut inner: MutexGuard<'_, Inner>) {
    if inner.making
        || matches!(inner.next(&supply.plan, supply.plan.state.clock.now()), MakerStep::Nothing)
    {
        return;
    }
    inner.making = true;
    drop(inner);
    let weak = Arc::downgrade(supply);
    let thread = std::thread::Builder::new().name("tamis-maker".to_owned());
    if let Err(error) = thread.spawn(move || make(&weak)) {
        tracing::warn!(target: "tamis::engine", %error, "the thread that makes instances cannot start");
        let mut inner = supply.lock();
        inner.making = false;
        inner.pause(&supply.plan, false, Duration::ZERO);
        wake(&mut inner);
    }
}

fn wake(inner: &mut Inner) {
    inner.waiting.drain(..).for_each(Waker::wake);
}

/// Makes instances until there are enough, or the filter is no longer in use.
fn make(weak: &Weak<InstanceSupply>) {
    loop {
        let Some(supply) = weak.upgrade() else { return };
        let plan = &supply.plan;
        let next = {
            let mut inner = supply.lock();
            let next = inner.next(plan, plan.state.clock.now());
            inner.making = !matches!(next, MakerStep::Nothing);
            next
        };
        let began = deadline::used();
        let (made, suspends) = match next {
            MakerStep::Nothing => return,
            MakerStep::Pause(pause) => {
                drop(supply);
                std::thread::sleep(pause.min(LOOK));
                continue;
            }
            MakerStep::Direct => {
                (RunningInstance::configured(plan, &plan.direct, &plan.state), false)
            }
            MakerStep::Suspending => (RunningInstance::suspending(plan), true),
        };
        let cost = deadline::used().saturating_sub(began);
        let mut inner = supply.lock();
        if let Err(EngineError::NoRoom { shortage, .. }) = &made {
            // No fault of the filter's code: whoever waits is refused, and room may come at any moment.
            tracing::debug!(target: "tamis::filter", filter = plan.settings.name, "{shortage}");
            inner.not_before = plan.state.clock.now().checked_add(RETRY);
            wake(&mut inner);
            continue;
        }
        inner.pause(plan, made.is_ok(), cost);
        match made {
            Ok(running)
                if suspends
                    && inner.suspending.len()
                        < inner.waiting.len().saturating_add(SPARE_WAITING) =>
            {
                inner.suspending.push(running);
            }
            Ok(_) if suspends => {}
            Ok(running) => inner.direct.push(running),
            Err(error) => {
                plan.state.breaker.failed();
                if !plan.state.is_shadow() {
                    tracing::warn!(target: "tamis::filter", filter = plan.settings.name, "{error}");
                }
            }
        }
        if suspends || inner.not_before.is_some() {
            // Wake all: a waiter that finds no instance waits again, or learns that there will be none for
            // a while.
            wake(&mut inner);
        }
    }
}

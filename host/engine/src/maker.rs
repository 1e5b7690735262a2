//! Where instances are made: on a thread of their own, never on the one that needs them.
//!
//! `configure` may take as long as its limit says, seconds perhaps, and a worker has other requests to serve. So a
//! filter keeps an instance ready beside those in use. Whoever lost one takes it, and the next is made meanwhile; as long
//! as none is ready, calls fail at once ([`CallFault::Remaking`]) and the attachment's failure mode says what then.
//!
//! A filter whose instances are dear, or cannot be made, has to wait longer for each: making them takes at most a tenth
//! of a processor.

use crate::CallFault;
use crate::deadline;
use crate::filter::{Isolation, Plan};
use crate::instance::Running;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Instances kept ready of a filter whose instances live long, and of one that needs one for each exchange.
const SPARE: usize = 1;
const SPARE_PER_REQUEST: usize = 4;
/// Instances that wait for answers, kept ready when nobody took those that were made.
const SPARE_WAITING: usize = 4;
/// What an instance may cost without a pause before the next.
const CHEAP: Duration = Duration::from_millis(10);
/// How many times its cost a dear one is waited for: nine of ten parts of the time nothing is made.
const PAUSE_FACTOR: u32 = 9;
/// After the first that could not be made, doubled with each …
const RETRY: Duration = Duration::from_millis(100);
/// … up to this.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// A thread that pauses looks this often whether the filter is still wanted.
const LOOK: Duration = Duration::from_millis(250);

/// Instances of a filter that are ready, and who waits for some.
#[derive(Default)]
pub(crate) struct Ready(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    direct: Vec<Running>,
    suspending: Vec<Running>,
    /// How many lost theirs and found none.
    lacking: usize,
    waiting: Vec<Waker>,
    /// A thread is at it.
    making: bool,
    not_before: Option<Instant>,
    failures: u32,
}

enum Next {
    Nothing,
    Pause(Duration),
    Direct,
    Suspending,
}

impl Ready {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts one there that was made elsewhere.
    pub(crate) fn put(&self, running: Running) {
        self.lock().direct.push(running);
    }

    /// Who lacked one does so no more, or is gone.
    pub(crate) fn settled(&self) {
        let mut inner = self.lock();
        inner.lacking = inner.lacking.saturating_sub(1);
    }
}

impl Inner {
    fn next(&self, plan: &Plan, now: Instant) -> Next {
        let spare = match plan.isolation {
            Isolation::Worker => SPARE,
            Isolation::Request => SPARE_PER_REQUEST,
        };
        let wanted = if self.suspending.len() < self.waiting.len() {
            Next::Suspending
        } else if self.direct.len() < spare + self.lacking {
            Next::Direct
        } else {
            return Next::Nothing;
        };
        match self.not_before {
            Some(at) if at > now => Next::Pause(at.saturating_duration_since(now)),
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
        self.not_before = if pause.is_zero() { None } else { Instant::now().checked_add(pause) };
        if !made && !plan.state.is_shadow() {
            tracing::warn!(target: "tamis::filter", filter = plan.settings.name,
                pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                "no instance of a filter could be made; it is tried again after a pause");
        }
    }
}

/// Takes an instance for a worker, if one is ready; else has one made. `lacks` says whether the caller waits already.
pub(crate) fn take(plan: &Arc<Plan>, lacks: &mut bool) -> Result<Running, CallFault> {
    let mut inner = plan.ready.lock();
    let taken = inner.direct.pop();
    if *lacks && taken.is_some() {
        inner.lacking = inner.lacking.saturating_sub(1);
        *lacks = false;
    } else if !*lacks && taken.is_none() {
        inner.lacking += 1;
        *lacks = true;
    }
    order(plan, inner);
    taken.ok_or(CallFault::Remaking)
}

/// Has the spare made while nobody waits for it.
pub(crate) fn refill(plan: &Arc<Plan>) {
    order(plan, plan.ready.lock());
}

/// Waits for an instance that may wait itself.
///
/// # Errors
/// When none may be made for now: the last ones were too dear, or could not be made.
pub(crate) async fn waiting(plan: &Arc<Plan>) -> Result<Running, CallFault> {
    std::future::poll_fn(|context| {
        let mut inner = plan.ready.lock();
        if let Some(running) = inner.suspending.pop() {
            return Poll::Ready(Ok(running));
        }
        if inner.not_before.is_some_and(|at| at > Instant::now()) {
            return Poll::Ready(Err(CallFault::Remaking));
        }
        if !inner.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            inner.waiting.push(context.waker().clone());
        }
        order(plan, inner);
        Poll::Pending
    })
    .await
}

/// Starts a thread that makes what is wanted, unless one is at it.
fn order(plan: &Arc<Plan>, mut inner: MutexGuard<'_, Inner>) {
    if inner.making || matches!(inner.next(plan, Instant::now()), Next::Nothing) {
        return;
    }
    inner.making = true;
    drop(inner);
    let weak = Arc::downgrade(plan);
    let thread = std::thread::Builder::new().name("tamis-maker".to_owned());
    if let Err(error) = thread.spawn(move || make(&weak)) {
        tracing::warn!(target: "tamis::engine", %error, "no thread to make an instance on");
        let mut inner = plan.ready.lock();
        inner.making = false;
        inner.pause(plan, false, Duration::ZERO);
        wake(&mut inner);
    }
}

fn wake(inner: &mut Inner) {
    inner.waiting.drain(..).for_each(Waker::wake);
}

/// Makes instances until enough are ready, or nobody has the filter any more.
fn make(weak: &Weak<Plan>) {
    loop {
        let Some(plan) = weak.upgrade() else { return };
        let next = {
            let mut inner = plan.ready.lock();
            let next = inner.next(&plan, Instant::now());
            inner.making = !matches!(next, Next::Nothing);
            next
        };
        let began = deadline::used();
        let (made, suspends) = match next {
            Next::Nothing => return,
            Next::Pause(pause) => {
                drop(plan);
                std::thread::sleep(pause.min(LOOK));
                continue;
            }
            Next::Direct => (Running::configured(&plan, &plan.direct, &plan.state), false),
            Next::Suspending => (Running::suspending(&plan), true),
        };
        let cost = deadline::used().saturating_sub(began);
        let mut inner = plan.ready.lock();
        inner.pause(&plan, made.is_ok(), cost);
        match made {
            Ok(running)
                if suspends && inner.suspending.len() < SPARE_WAITING + inner.waiting.len() =>
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
            // All of them: who finds none waits again, or learns that there will be none for a while.
            wake(&mut inner);
        }
    }
}

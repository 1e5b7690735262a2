//! A candidate in the shadow of a slot's filter: it receives the same calls, its answers are compared and
//! then ignored.
//!
//! During a sampled exchange, the input and answer of a slot's hook are copied into a queue; a separate
//! thread calls the candidate and compares. So an exchange neither waits for a candidate nor fails because
//! of one, and samples are dropped when the thread cannot keep up.
//!
//! Request, response, router and retry hooks are compared. Hooks on bodies, connections, finished exchanges
//! or statistics, and ticks, are not.

mod answer;
mod queue;

pub(crate) use answer::ComparableAnswer;
pub(crate) use queue::{ExchangeSampler, ShadowQueue, Shadows};

use answer::{checked, checked_choice};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tamis_engine::{CallFault, Filter, Hook, Instance};
use tamis_exchange::{Exchange, Failure, HeadSide, View};

/// Causes distinguished between two reports; further ones count as `other`.
const CAUSES_MAX: usize = 64;
/// Characters of a cause.
const CAUSE_CHARS: usize = 200;
/// Examples kept of each cause.
const EXAMPLES_MAX: usize = 3;
/// Characters of a path in an example.
const PATH_CHARS: usize = 100;

/// A candidate in the shadow of a slot. Clones share one state: they are called in turn and add to one
/// report.
///
/// Keep it while the candidate stays the same, through any number of generations.
#[derive(Clone)]
pub struct Shadow(Arc<ShadowState>);

struct ShadowState {
    filter: Filter,
    instance: Mutex<Option<Instance>>,
    seen: Mutex<ComparisonTally>,
}

#[derive(Default)]
struct ComparisonTally {
    samples: u64,
    differences: BTreeMap<String, Difference>,
}

/// How the verdicts of a shadow compared with those that counted, since the previous report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShadowReport {
    /// Attachment name of the slot that it is the shadow of.
    pub slot: String,
    /// Digest of the candidate's manifest, `sha256:HEX`.
    pub digest: String,
    /// Verdicts compared.
    pub samples: u64,
    /// Verdicts that differed, by cause: `trap:KIND` if the candidate gave none, `waits` if it would have
    /// waited for a request it sends, `decision: allow→deny 403`, `route: a→b`, `edit: x-user missing`,
    /// `added` or `differs` (likewise `answer:` and `response edit:`), `other` beyond 64 of them.
    pub differences: BTreeMap<String, Difference>,
}

/// Differences of one cause.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// How many.
    pub count: u64,
    /// At most three: method, path without query, cut to 100 characters, and the exchange as access records name it.
    pub examples: Vec<String>,
}

impl std::fmt::Debug for Shadow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Shadow").field(&self.0.filter).finish()
    }
}

impl Shadow {
    /// From a filter made by [`Filter::shadow`]; any other filter would have visible effects.
    pub fn new(filter: Filter) -> Self {
        let (instance, seen) = (Mutex::default(), Mutex::default());
        Self(Arc::new(ShadowState { filter, instance, seen }))
    }

    /// The candidate.
    pub fn filter(&self) -> &Filter {
        &self.0.filter
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Calls the candidate with the input of the slot's filter, and records how the answers compare.
    fn compare(&self, job: &Comparison) {
        let said = self.ask(&job.asked);
        let mut seen = lock(&self.0.seen);
        seen.samples += 1;
        if let Some(cause) = said.map_or_else(Some, |said| job.said.cause(&said)) {
            seen.note(cause, &job.example);
        }
    }

    /// The candidate's answer, or the cause of the difference if it gave none.
    fn ask(&self, asked: &ShadowQuestion) -> Result<ComparableAnswer, String> {
        let filter = &self.0.filter;
        if !filter.has(asked.hook()) {
            return Ok(ComparableAnswer::nothing(asked.hook()));
        }
        let mut slot = lock(&self.0.instance);
        let trap = |fault: &CallFault| format!("trap:{}", fault.kind());
        let instance = match slot.as_mut() {
            Some(instance) => instance,
            None => slot.insert(filter.instantiate().map_err(|fault| trap(&fault))?),
        };
        let said = match asked {
            ShadowQuestion::Request(view) => instance
                .on_request(view)
                .and_then(|decision| checked(&decision, filter, HeadSide::Request)),
            ShadowQuestion::Response(view) => instance
                .on_response(view)
                .and_then(|decision| checked(&decision, filter, HeadSide::Response)),
            ShadowQuestion::Route(view) => {
                instance.on_route(view).and_then(|choice| checked_choice(&choice, filter))
            }
            ShadowQuestion::Failure(failure, view) => instance
                .on_failure(failure, view)
                .map(|decision| ComparableAnswer::retry(Ok(&decision)).unwrap_or_default()),
        };
        if instance.would_wait(asked.hook()) {
            return Err("waits".to_owned());
        }
        said.map_err(|fault| trap(&fault))
    }
}

impl ComparisonTally {
    fn note(&mut self, cause: String, example: &ExchangeExample) {
        let cause = match cause.char_indices().nth(CAUSE_CHARS) {
            Some((end, _)) => cause.get(..end).unwrap_or_default().to_owned(),
            None => cause,
        };
        let known =
            self.differences.contains_key(&cause) || self.differences.len() < CAUSES_MAX - 1;
        let cause = if known { cause } else { "other".to_owned() };
        let difference = self.differences.entry(cause).or_default();
        difference.count += 1;
        if difference.examples.len() < EXAMPLES_MAX {
            difference.examples.push(example.to_string());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The input of a hook, as the candidate would see it.
pub(crate) enum ShadowQuestion {
    Request(View),
    Response(View),
    Route(View),
    Failure(Box<Failure>, View),
}

impl ShadowQuestion {
    fn hook(&self) -> Hook {
        match self {
            Self::Request(_) => Hook::Request,
            Self::Response(_) => Hook::Response,
            Self::Route(_) => Hook::Router,
            Self::Failure(..) => Hook::Retry,
        }
    }

    fn view(&self) -> &View {
        match self {
            Self::Request(view)
            | Self::Response(view)
            | Self::Route(view)
            | Self::Failure(_, view) => view,
        }
    }
}

/// Identifies the exchange, without data that clients may want to keep private.
struct ExchangeExample {
    method: http::Method,
    path: String,
    exchange: u64,
}

impl ExchangeExample {
    fn of(exchange: &Exchange) -> Self {
        let path = exchange.path.split('?').next().unwrap_or_default();
        let path = path.chars().take(PATH_CHARS).collect();
        Self { method: exchange.method.clone(), path, exchange: exchange.id }
    }
}

impl std::fmt::Display for ExchangeExample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} (exchange {})", self.method, self.path, self.exchange)
    }
}

/// A verdict to compare.
struct Comparison {
    shadow: Shadow,
    asked: ShadowQuestion,
    said: ComparableAnswer,
    example: ExchangeExample,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_and_examples_are_bounded_and_no_count_is_lost() {
        let mut seen = ComparisonTally::default();
        let example = ExchangeExample { method: http::Method::GET, path: "/".into(), exchange: 7 };
        for n in 0..CAUSES_MAX * 2 {
            (0..5).for_each(|_| seen.note(format!("{n} {}", "é".repeat(900)), &example));
        }
        assert_eq!(seen.differences.len(), CAUSES_MAX);
        let counts = seen.differences.values().map(|one| one.count);
        assert_eq!(counts.sum::<u64>(), 10 * CAUSES_MAX as u64);
        assert!(seen.differences.keys().all(|cause| cause.chars().count() <= CAUSE_CHARS));
        assert!(seen.differences.values().all(|one| one.examples.len() == EXAMPLES_MAX));
    }
}

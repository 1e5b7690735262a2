//! Second attempts beside a first that takes long.
//!
//! The hedge filter plans off the way of requests: once a generation is taken, and then at most once a second for
//! rules whose statistics changed. A request only reads the delay. What the filter cannot override: the method must be
//! idempotent and the body whole in the host (it is sent twice), another endpoint must be free to take it, and the
//! retry budget holds.

use crate::attempt::{Aim, Failed, Ready, drain, is_good, judge, prepare};
use crate::circuit::pick;
use crate::course::{Course, Retries, covers};
use crate::latencies::Recent;
use crate::local::Local;
use http::{Request, Response};
use hyper::body::Incoming;
use std::cell::RefCell;
use std::time::{Duration, Instant};
use tamis_exchange::{Body, Outcome};

/// Delays of a chain's rules, and what they are planned from.
pub(crate) struct Hedges(RefCell<Vec<Rule>>);

struct Rule {
    recent: Recent,
    /// After which a second attempt starts; none for no hedging.
    delay: Option<Duration>,
    /// The statistics changed since they were planned from.
    changed: bool,
}

impl Hedges {
    /// For so many rules, each to be planned for.
    pub(crate) fn new(rules: usize) -> Self {
        let now = Instant::now();
        let new = || Rule { recent: Recent::new(now), delay: None, changed: true };
        Self(RefCell::new((0..rules).map(|_| new()).collect()))
    }

    /// An exchange of a rule had its response head after so long.
    pub(crate) fn note(&self, rule: u32, latency: Duration) {
        if let Some(rule) = self.0.borrow_mut().get_mut(rule as usize) {
            rule.recent.add(latency);
            rule.changed = true;
        }
    }

    /// As planned last.
    pub(crate) fn delay(&self, rule: u32) -> Option<Duration> {
        self.0.borrow().get(rule as usize)?.delay
    }

    /// Asks the filter about every rule in its scope whose statistics changed.
    pub(crate) fn plan(&self, local: &Local, chain: usize, filter: usize) {
        let Some(attached) = local.attached(filter) else { return };
        let now = Instant::now();
        for (index, rule) in (0_u32..).zip(self.0.borrow_mut().iter_mut()) {
            rule.changed |= rule.recent.turn(now);
            if !std::mem::take(&mut rule.changed) {
                continue;
            }
            let name = local.rule_name(chain, index).unwrap_or_default();
            if attached.scope.as_deref().is_some_and(|scope| !covers(scope, name)) {
                continue;
            }
            let seen = rule.recent.quantiles(index);
            rule.delay = match local.call(filter, |instance| instance.hedge(&seen)) {
                Ok(delay) => delay.map(|micros| Duration::from_micros(micros.into())),
                Err(fault) => {
                    let attachment = attached.name.as_str();
                    tracing::warn!(
                        attachment,
                        rule = name,
                        kind = fault.kind(),
                        "a hedge filter failed"
                    );
                    None
                }
            };
        }
    }
}

/// After how long a second attempt of this exchange starts.
pub(crate) fn delay(aim: &Aim<'_>, course: &Course) -> Option<Duration> {
    if course.retries == Retries::Callers {
        // Who calls may send a second by itself.
        return None;
    }
    let delay = aim.local.hedges(aim.chain)?.delay(aim.selection.rule)?;
    (aim.template.upgrade.is_none() && course.exchange.method.is_idempotent()).then_some(delay)
}

/// Sends, and after `delay` without a head a second time elsewhere. The first good head wins and the other attempt is
/// broken off; without a good one it is what came last, or what came at all.
pub(crate) async fn race(
    aim: &Aim<'_>,
    course: &mut Course,
    first: Ready,
    delay: Duration,
    tried: &[String],
) -> Result<Response<Incoming>, Failed> {
    let Ready { attempt: mut one, request, limit } = first;
    let spare = copy(&request);
    let again = || Some(spare);
    let mut sending = Box::pin(tokio::time::timeout(limit, one.send(request, false, again)));
    if let Ok(sent) = tokio::time::timeout(delay, sending.as_mut()).await {
        drop(sending);
        return judge(aim, course, one, limit, sent);
    }
    let first_endpoint = course.endpoint.clone();
    let Some(second) = second(aim, course, tried).await else {
        course.endpoint = first_endpoint;
        let sent = sending.as_mut().await;
        drop(sending);
        return judge(aim, course, one, limit, sent);
    };
    course.attempts += 1;
    course.outcome.insert(Outcome::HEDGED);
    let second_endpoint = course.endpoint.clone();
    let Ready { attempt: mut other, request, limit: other_limit } = second;
    let spare = copy(&request);
    let again = || Some(spare);
    let sending_beside = other.send(request, false, again);
    let mut beside = Box::pin(tokio::time::timeout(other_limit, sending_beside));
    let (sent, is_first) = tokio::select! {
        sent = sending.as_mut() => (sent, true),
        sent = beside.as_mut() => (sent, false),
    };
    if is_good(aim, &sent) {
        // What is dropped breaks the other attempt off.
        drop((sending, beside));
        let (winner, loser, limit) =
            if is_first { (one, other, limit) } else { (other, one, other_limit) };
        loser.overtaken();
        if !is_first {
            aim.upstream.note_hedge_won();
        }
        course.endpoint = if is_first { first_endpoint } else { second_endpoint };
        return judge(aim, course, winner, limit, sent);
    }
    let (bad, last) = if is_first {
        drop(sending);
        let bad = judge(aim, course, one, limit, sent);
        let last = beside.as_mut().await;
        drop(beside);
        if is_good(aim, &last) {
            aim.upstream.note_hedge_won();
        }
        (bad, judge(aim, course, other, other_limit, last))
    } else {
        drop(beside);
        let bad = judge(aim, course, other, other_limit, sent);
        let last = sending.as_mut().await;
        drop(sending);
        (bad, judge(aim, course, one, limit, last))
    };
    let (bad_endpoint, last_endpoint) = if is_first {
        (first_endpoint, second_endpoint)
    } else {
        (second_endpoint, first_endpoint)
    };
    let nothing =
        |tried: &Result<_, Failed>| matches!(tried, Err(failed) if failed.response.is_none());
    if nothing(&last) && !nothing(&bad) {
        course.endpoint = bad_endpoint;
        return bad;
    }
    course.endpoint = last_endpoint;
    match bad {
        Ok(response) => drain(response),
        Err(failed) => drop(failed.response.map(|response| drain(*response))),
    }
    last
}

/// The same request without a body, for the case that it goes over a connection that was closed meanwhile.
fn copy(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// A second attempt, if one may be made, elsewhere.
async fn second(aim: &Aim<'_>, course: &mut Course, tried: &[String]) -> Option<Ready> {
    let body = aim.template.body;
    // A body still on its way could wake one reader only.
    if !body.is_replayable() || !body.has_ended() {
        return None;
    }
    let mut tried = tried.to_vec();
    tried.extend(course.endpoint.clone());
    let picked = pick(aim.local, aim.chain, aim.upstream, &tried, aim.hash).await;
    let attempt = picked.ok()?;
    if tried.iter().any(|endpoint| endpoint == attempt.endpoint()) || !aim.upstream.spend_hedge() {
        return None;
    }
    prepare(aim, course, attempt).ok()
}

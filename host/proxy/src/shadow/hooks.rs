//! What the hooks of an exchange that is sampled saw and said, on its way to be compared.

use super::said::Said;
use super::{Asked, Example, Job, Queue, Shadow};
use crate::course::Course;
use crate::local::Local;
use std::rc::Rc;
use tamis_engine::CallFault;
use tamis_exchange::{Choice, Decision, Failure, RetryDecision, Verdict, View};

/// The shadow of the slot, if the exchange is one of those that are compared.
fn sampled<'a>(
    local: &'a Local,
    course: &mut Course,
    index: usize,
) -> Option<(&'a Shadow, &'a Queue)> {
    let shadow = local.attached(index)?.shadow.as_ref()?;
    let (queue, started) = (local.shadows.as_ref()?, course.started);
    let sampled = *course.sampled.get_or_insert_with(|| local.sampler.takes(started));
    sampled.then_some((shadow, queue))
}

fn put(course: &Course, shadow: &Shadow, queue: &Queue, asked: Asked, said: Said) {
    let (shadow, example) = (shadow.clone(), Example::of(&course.exchange));
    queue.put(Job { shadow, asked, said, example });
}

/// A request hook said this of the exchange as it still is.
pub(crate) fn request(
    local: &Local,
    course: &mut Course,
    index: usize,
    said: &Result<Decision, CallFault>,
) {
    let Some((shadow, queue)) = sampled(local, course, index) else { return };
    let Some(said) = Said::decision(said.as_ref()) else { return };
    let mut view = View::default();
    view.fill_request(shadow.filter().reads(), &course.exchange);
    put(course, shadow, queue, Asked::Request(view), said);
}

/// A response hook said this of the exchange as it still is.
pub(crate) fn response(
    local: &Local,
    course: &mut Course,
    index: usize,
    said: &Result<Decision, CallFault>,
) {
    let Some((shadow, queue)) = sampled(local, course, index) else { return };
    let Some(said) = Said::decision(said.as_ref()) else { return };
    let mut view = View::default();
    view.fill_response(shadow.filter().reads(), &course.exchange);
    put(course, shadow, queue, Asked::Response(view), said);
}

/// The router chose this for the exchange as it still is.
pub(crate) fn route(
    local: &Local,
    course: &mut Course,
    index: usize,
    choice: &Result<Choice, CallFault>,
) {
    let Some((shadow, queue)) = sampled(local, course, index) else { return };
    let Some(said) = local.filter(index).and_then(|by| Said::choice(choice.as_ref(), by)) else {
        return;
    };
    let mut view = View::default();
    view.fill_request(shadow.filter().reads(), &course.exchange);
    put(course, shadow, queue, Asked::Route(view), said);
}

/// The retry filter said this of a failure.
pub(crate) fn retry(
    local: &Local,
    course: &mut Course,
    index: usize,
    failure: &Failure,
    said: &Result<RetryDecision, CallFault>,
) {
    let Some((shadow, queue)) = sampled(local, course, index) else { return };
    let Some(said) = Said::retry(said.as_ref()) else { return };
    let mut view = View::default();
    view.fill_request(shadow.filter().reads(), &course.exchange);
    put(course, shadow, queue, Asked::Failure(Box::new(failure.clone()), view), said);
}

/// Candidates with a request hook where the filter of their slot has none see the request as the others left it.
pub(crate) fn new_requests(local: &Rc<Local>, course: &mut Course) {
    let chain = local.chain(course.chain).map(|chain| chain.new_request.as_slice());
    for &index in chain.unwrap_or_default() {
        if is_in(local, course, index) {
            request(local, course, index, &Ok(PASS));
        }
    }
}

/// The same for responses.
pub(crate) fn new_responses(local: &Rc<Local>, course: &mut Course) {
    let chain = local.chain(course.chain).map(|chain| chain.new_response.as_slice());
    for &index in chain.unwrap_or_default() {
        if is_in(local, course, index) {
            response(local, course, index, &Ok(PASS));
        }
    }
}

const PASS: Decision = Decision { verdict: Verdict::Pass, reason: None };

fn is_in(local: &Rc<Local>, course: &Course, index: usize) -> bool {
    let attached = local.attached(index);
    attached.is_some_and(|one| course.is_in(one.scope.as_deref(), local))
}

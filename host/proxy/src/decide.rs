//! Request hooks in their order, then the router.
//!
//! A filter attached to a route has its say only when that route matches, so the router is asked before the first
//! such filter, and again when an edit changed what the router looks at. Filters of a route that only then matches
//! run too; what never settles is refused.

use crate::course::{Course, Routed, Stop};
use crate::generation::Occupant;
use crate::local::Local;
use crate::route;
use crate::shadow;
use std::borrow::Cow;
use std::rc::Rc;
use tamis_engine::{CallFault, FailureMode, Filter, Hook};
use tamis_exchange::{Edit, Fault, HeadSide, Refusal, Verdict, Writes, apply, check};

/// Rounds of routing and scoped filters before an exchange counts as unstable.
const ROUNDS_MAX: usize = 4;

/// Runs the request hooks and finds where the exchange goes.
pub(crate) async fn decide(local: &Rc<Local>, course: &mut Course) -> Result<Routed, Stop> {
    let Some(chain) = local.chain(course.chain) else {
        return Err(no_chain().into());
    };
    let mut routed = None;
    let mut ran = vec![false; chain.request.len()];
    for _ in 0..ROUNDS_MAX {
        let mut ran_one = false;
        for (&index, ran) in chain.request.iter().zip(&mut ran) {
            let Some(attached) = local.attached(index) else { continue };
            if *ran {
                continue;
            }
            if attached.scope.is_some() {
                if routed.is_none() {
                    routed = Some(route::ask(local, course)?);
                }
                if !course.is_in(attached.scope.as_deref(), local) {
                    continue;
                }
            }
            *ran = true;
            ran_one = true;
            if ask(local, course, index).await? {
                routed = None;
            }
        }
        match routed.take() {
            None => routed = Some(route::ask(local, course)?),
            // Nothing ran after the router was asked, or nothing that it looks at changed.
            Some(found) if !ran_one => return Ok(found),
            Some(found) => routed = Some(found),
        }
        let waits = chain.request.iter().zip(&ran).any(|(&index, ran)| {
            let attached = local.attached(index);
            !ran && attached.is_some_and(|one| course.is_in(one.scope.as_deref(), local))
        });
        if let (false, Some(found)) = (waits, routed.take()) {
            return Ok(found);
        }
        routed = None;
    }
    let detail = "filters and routes keep changing each other; let no filter of a route change what routes match on";
    Err(Refusal::new("route.unstable", 500, Fault::Host, detail).into())
}

fn no_chain() -> Refusal {
    Refusal::new("listener.unknown", 503, Fault::Host, "the listener is gone")
}

/// Asks one filter. True when it changed something that the router looks at.
async fn ask(local: &Rc<Local>, course: &mut Course, index: usize) -> Result<bool, Stop> {
    if let Some(Occupant::Refused(refusal)) = local.attached(index).map(|one| &one.occupant) {
        let detail = format!("{}: {refusal}", refusal.code);
        course.answered_by = Some(index);
        return Err(Refusal::new("filter.refused", 503, Fault::Filter, detail).into());
    }
    let since = course.asked.begin(index);
    let said = local.ask_request(index, &course.exchange).await;
    course.asked.end(index, since);
    shadow::request(local, course, index, &said);
    let decision = match said {
        Ok(decision) => decision,
        Err(fault) => return failed(local, course, index, &fault).map(|()| false),
    };
    if let Some(reason) = &decision.reason {
        course.reason = Some(Cow::Owned(reason.clone()));
    }
    match decision.verdict {
        Verdict::Pass => Ok(false),
        Verdict::Change(edits) => {
            let touched = route::looks_at(local, course.chain, &edits);
            let done = change(local, course, index, Hook::Request, &edits);
            match done {
                Ok(()) => Ok(touched),
                Err(fault) => failed(local, course, index, &fault).map(|()| false),
            }
        }
        Verdict::Replace(_) => {
            let fault = local.broke(index, Hook::Request, "`replace` without a body");
            failed(local, course, index, &fault).map(|()| false)
        }
        Verdict::Answer(reply) => Err(Stop::Answered(index, reply, decision.reason)),
    }
}

/// Checks what a filter wants changed and changes it, or nothing.
///
/// # Errors
/// When it may not, or the head would become too large: a fault of the filter, counted as one.
pub(crate) fn change(
    local: &Local,
    course: &mut Course,
    index: usize,
    hook: Hook,
    edits: &[Edit],
) -> Result<(), CallFault> {
    let responds = matches!(hook, Hook::Response | Hook::ResponseBody);
    let side = if responds { HeadSide::Response } else { HeadSide::Request };
    let none = Writes::default();
    let writes = local.filter(index).map_or(&none, Filter::writes);
    check(edits, writes, side)
        .and_then(|()| apply(edits, &mut course.exchange, side))
        .map_err(|error| local.broke(index, hook, error.to_string()))
}

/// A call gave no answer: applies the attachment's failure mode.
pub(crate) fn failed(
    local: &Rc<Local>,
    course: &mut Course,
    index: usize,
    fault: &CallFault,
) -> Result<(), Stop> {
    let Some(attached) = local.attached(index) else { return Ok(()) };
    let (attachment, kind) = (attached.name.as_str(), fault.kind());
    let exchange = course.exchange.id;
    match attached.failure {
        FailureMode::Open => {
            tracing::debug!(attachment, exchange, kind, "a filter failed and is passed over");
            Ok(())
        }
        FailureMode::SkipAndAlert => {
            tracing::warn!(
                attachment,
                exchange,
                kind,
                "a filter failed and is passed over: {fault}"
            );
            Ok(())
        }
        FailureMode::Closed => {
            course.answered_by = Some(index);
            let detail = format!("filter {attachment}: {fault}");
            Err(Refusal::new("filter.failed", 503, Fault::Filter, detail).into())
        }
    }
}

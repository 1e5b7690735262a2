//! Asks the router where an exchange goes. The host has no routes of its own.

use crate::course::{Course, Routed, Stop};
use crate::decide::failed;
use crate::local::Local;
use crate::shadow;
use std::rc::Rc;
use tamis_engine::{CallFault, Hook};
use tamis_exchange::{Choice, Edit, Fault, HeadSide, Refusal, Selector, apply, check};

/// Asks the router of the chain and notes the rule.
pub(crate) fn ask(local: &Rc<Local>, course: &mut Course) -> Result<Routed, Stop> {
    course.rule = None;
    let router = local.chain(course.chain).and_then(|chain| chain.router);
    let Some(index) = router else { return Ok(Routed::Unmatched) };
    let since = course.asked.begin(index);
    let choice =
        local.call_request(index, &course.exchange, |instance, view| instance.on_route(view));
    course.asked.end(index, since);
    shadow::route(local, course, index, &choice);
    let selection = match choice {
        Ok(Choice::Forward(selection)) => selection,
        Ok(Choice::Answer(reply)) => return Ok(Routed::Answer(index, reply)),
        Ok(Choice::Unmatched) => return Ok(Routed::Unmatched),
        Err(fault) => return closed(local, course, index, &fault),
    };
    if let Some(filter) = local.filter(index) {
        let checked = check(&selection.request_edits, filter.writes(), HeadSide::Request)
            .and_then(|()| check(&selection.response_edits, filter.writes(), HeadSide::Response));
        if let Err(error) = checked {
            let fault = local.broke(index, Hook::Router, error.to_string());
            return closed(local, course, index, &fault);
        }
    }
    course.rule = Some(selection.rule);
    if let Some(name) = local.rule_name(course.chain, selection.rule) {
        course.exchange.attributes.set("route.name", name);
    }
    Ok(Routed::Forward(selection))
}

/// Applies what the router of the chain wants changed on one side, which was checked when it said so.
///
/// # Errors
/// When the head would become too large: without its edits the request is not the one that the router let through.
pub(crate) fn change(
    local: &Rc<Local>,
    course: &mut Course,
    edits: &[Edit],
    side: HeadSide,
) -> Result<(), Stop> {
    let Err(error) = apply(edits, &mut course.exchange, side) else { return Ok(()) };
    let Some(index) = local.chain(course.chain).and_then(|chain| chain.router) else {
        return Ok(());
    };
    let fault = local.broke(index, Hook::Router, error.to_string());
    closed(local, course, index, &fault).map(drop)
}

/// Without an answer of the router there is nowhere to go, whatever the attachment's failure mode.
fn closed(
    local: &Rc<Local>,
    course: &mut Course,
    index: usize,
    fault: &CallFault,
) -> Result<Routed, Stop> {
    failed(local, course, index, fault)?;
    let detail = format!("the router failed: {fault}");
    Err(Refusal::new("filter.failed", 503, Fault::Filter, detail).into())
}

/// Whether one of `edits` changes what the router of that chain sees.
pub(crate) fn looks_at(local: &Local, chain: usize, edits: &[Edit]) -> bool {
    let router = local.chain(chain).and_then(|chain| chain.router);
    let Some(filter) = router.and_then(|index| local.filter(index)) else { return false };
    let selectors = filter.reads().selectors();
    edits.iter().any(|edit| {
        selectors.iter().any(|selector| match (edit, selector) {
            (Edit::SetPath(_), Selector::Path) | (Edit::SetAuthority(_), Selector::Authority) => {
                true
            }
            (
                Edit::SetHeader(line) | Edit::AddHeader(line),
                Selector::Header(name) | Selector::RequestHeader(name),
            ) => line.name == name.as_str(),
            (
                Edit::RemoveHeader(removed),
                Selector::Header(name) | Selector::RequestHeader(name),
            ) => removed == name.as_str(),
            (
                Edit::SetHeader(_) | Edit::AddHeader(_) | Edit::RemoveHeader(_),
                Selector::AllHeaders,
            ) => true,
            (Edit::SetAttribute { name, .. }, Selector::Attribute(read)) => **read == **name,
            _ => false,
        })
    })
}

/// The refusal of an exchange no rule matches.
pub(crate) fn unmatched(local: &Local, chain: usize) -> Refusal {
    match local.chain(chain).and_then(|chain| chain.router) {
        Some(_) => Refusal::new("route.unmatched", 404, Fault::Client, "no rule matches"),
        None => Refusal::new("route.none", 404, Fault::Host, "no router is attached"),
    }
}

//! Compares what a filter did with what a step expects.

use crate::effects::{effects_differ, hooks_differ};
use crate::expect::{
    Expect, ExpectAnswer, ExpectCoding, ExpectConfigure, ExpectFault, ExpectForward, ExpectRequest,
    ExpectResponse,
};
use crate::seen::StepObservation;
use crate::shown::{differs, text};
use crate::text::Lines;
use crate::walk::bare;
use std::collections::BTreeMap;
use tamis_engine::{EngineError, Filter, Hook};
use tamis_exchange::{Choice, ContentCoding, Exchange, Reply};

/// Compares the refusal of a configuration with the expected one.
pub(crate) fn refused(error: &EngineError, expected: &ExpectConfigure) -> Vec<String> {
    let mut differences = Vec::new();
    let text = error.to_string();
    if let Some(pointer) = &expected.error {
        let wanted = if pointer == "/" { "" } else { pointer };
        let at = match error {
            EngineError::Configure { errors, .. } => errors.iter().any(|(at, _)| at == wanted),
            _ => false,
        };
        if !at {
            differences.push(format!("expected an error at {pointer}, got: {text}"));
        }
    }
    if let Some(part) = &expected.contains
        && !text.contains(part)
    {
        differences.push(format!("expected an error that contains `{part}`, got: {text}"));
    }
    differences
}

/// What differs, one sentence each.
///
/// `page`: the metrics, where a step expects some.
pub(crate) fn compare(
    expect: &Expect,
    seen: &StepObservation,
    filter: &Filter,
    page: Option<&str>,
) -> Vec<String> {
    if let Some(differences) = faults(expect.fault.as_ref(), seen) {
        return differences;
    }
    let mut found = Vec::new();
    match (&expect.answer, &seen.answer) {
        (Some(expected), Some(reply)) => answer(expected, reply, &mut found),
        (Some(_), None) => found.push("expected an answer, but the request passed".to_owned()),
        (None, Some(reply)) => {
            let reason = seen.reason.as_deref().unwrap_or("none");
            found.push(format!("the filter answered {} (reason {reason})", reply.status));
        }
        (None, None) => {}
    }
    if let Some(expected) = &expect.reason
        && seen.reason.as_ref() != Some(expected)
    {
        let came = seen.reason.as_deref().unwrap_or("none");
        found.push(format!("expected the reason {expected}, got {came}"));
    }
    if expect.pass == Some(true) {
        let changes = seen.changes.iter();
        found.extend(changes.map(|change| format!("expected no change, but the filter {change}")));
    }
    if let (Some(expected), Some(exchange)) = (&expect.request, &seen.exchange) {
        request_differs(expected, exchange, seen, &mut found);
    }
    if let (Some(expected), Some(exchange)) = (&expect.response, &seen.exchange) {
        response_differs(expected, exchange, seen, &mut found);
    }
    if expect.unmatched == Some(true) {
        found.extend(left_open(&Choice::Unmatched, seen.choice.as_ref(), filter));
    }
    if expect.extend == Some(true) {
        found.extend(left_open(&Choice::Extend, seen.choice.as_ref(), filter));
    }
    if let Some(expected) = &expect.forward {
        forward_differs(expected, seen.choice.as_ref(), filter, &mut found);
    }
    hooks_differ(expect, seen, filter, &mut found);
    effects_differ(expect, seen, filter, page, &mut found);
    found
}

/// Compares faults; `None`: no fault occurred, and no fault is expected.
fn faults(expected: Option<&ExpectFault>, seen: &StepObservation) -> Option<Vec<String>> {
    Some(match (expected, &seen.fault) {
        (Some(expected), Some((came, _))) if expected.kind() != *came => {
            let text = seen.fault.as_ref().map_or("", |(_, text)| text);
            vec![format!("expected the fault {}, got {came}: {text}", expected.kind())]
        }
        (Some(ExpectFault::Said { contains, .. }), Some((_, text))) if !text.contains(contains) => {
            vec![format!("expected a fault that contains `{contains}`, got: {text}")]
        }
        (Some(_), Some(_)) => Vec::new(),
        (Some(expected), None) => {
            let kind = expected.kind();
            vec![format!("expected the fault {kind}, but every call returned a verdict")]
        }
        (None, Some((kind, text))) => vec![format!("{text} (the fault `{kind}`)")],
        (None, None) => return None,
    })
}

/// Why no router chose anything.
fn no_router(filter: &Filter) -> &'static str {
    match filter.has(Hook::Router) {
        true => "but no router was called: a hook before it answered",
        false => "but no router was called: the filter does not export `router`",
    }
}

/// Reports a router's choice other than the expected one, which sends the request nowhere.
fn left_open(wanted: &Choice, choice: Option<&Choice>, filter: &Filter) -> Option<String> {
    let came = match choice {
        Some(choice) if choice == wanted => return None,
        Some(Choice::Unmatched) => "but no rule matched (`unmatched`)".to_owned(),
        Some(Choice::Extend) => EXTENDED.to_owned(),
        Some(Choice::Forward(selection)) => {
            let rule = filter.rules().get(selection.rule as usize).map_or("a rule", |rule| &**rule);
            format!("but `{rule}` matched")
        }
        Some(Choice::Answer(reply)) => format!("but the router answered {}", reply.status),
        None => no_router(filter).to_owned(),
    };
    let wanted = match wanted {
        Choice::Extend => "the router to leave the request to the one that it extends",
        Choice::Unmatched | Choice::Forward(_) | Choice::Answer(_) => "no rule to match",
    };
    Some(format!("expected {wanted}, {came}"))
}

const EXTENDED: &str = "but the router left the request to the one that it extends (`extend`)";

fn forward_differs(
    expected: &ExpectForward,
    choice: Option<&Choice>,
    filter: &Filter,
    found: &mut Vec<String>,
) {
    let selection = match choice {
        Some(Choice::Forward(selection)) => selection,
        Some(Choice::Unmatched) => {
            return found.push("expected a rule to match, but none did".to_owned());
        }
        Some(Choice::Extend) => {
            return found.push(format!("expected a rule to match, {EXTENDED}"));
        }
        Some(Choice::Answer(reply)) => {
            let status = reply.status;
            return found
                .push(format!("expected a rule to match, but the router answered {status}"));
        }
        None => return found.push(format!("expected a rule to match, {}", no_router(filter))),
    };
    let rule = filter.rules().get(selection.rule as usize).map(|rule| &**rule);
    let backend = filter.backends().get(selection.backend as usize).map(String::as_str);
    let pairs = [("rule", &expected.rule, rule), ("backend", &expected.backend, backend)];
    for (what, wanted, came) in pairs {
        if let Some(wanted) = wanted.as_deref().filter(|wanted| Some(*wanted) != came) {
            let came = came.unwrap_or("one that the filter did not declare");
            found.push(format!("expected the {what} `{wanted}`, got `{came}`"));
        }
    }
}

fn answer(expected: &ExpectAnswer, reply: &Reply, found: &mut Vec<String>) {
    if let Some(status) = expected.status
        && status != reply.status
    {
        found.push(format!("expected the answer {status}, got {}", reply.status));
    }
    for (name, lines) in &expected.headers {
        let fields = reply.headers.iter().filter(|field| field.name == *name);
        let came: Vec<_> = fields.map(|field| text(&field.value)).collect();
        if lines.values() != came {
            found.push(differs(&format!("answer header {name}"), &lines.values(), &came));
        }
    }
    let body = text(&reply.body);
    if let Some(whole) = &expected.body
        && *whole != body
    {
        found.push(format!("answer body: expected {whole:?}, got {body:?}"));
    }
    if let Some(part) = &expected.body_contains
        && !body.contains(part)
    {
        found.push(format!("answer body: expected one that contains {part:?}, got {body:?}"));
    }
}

fn request_differs(
    expected: &ExpectRequest,
    exchange: &Exchange,
    seen: &StepObservation,
    found: &mut Vec<String>,
) {
    let body = text(&seen.request_body);
    let method = exchange.method.to_string();
    for (field, wanted, came) in [
        ("method", &expected.method, &method),
        ("path", &expected.path, &exchange.path),
        ("authority", &expected.authority, &exchange.authority),
        ("body", &expected.body, &body),
    ] {
        if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != came) {
            found.push(format!("request {field}: expected {wanted:?}, got {came:?}"));
        }
    }
    fields_differ("request header", &expected.headers, &exchange.headers, found);
    fields_differ("request trailer", &expected.trailers, &seen.request_trailers, found);
    attributes_differ(&expected.attributes, exchange, found);
}

fn response_differs(
    expected: &ExpectResponse,
    exchange: &Exchange,
    seen: &StepObservation,
    found: &mut Vec<String>,
) {
    let came = exchange.status.map_or(0, |status| status.as_u16());
    if let Some(status) = expected.status.filter(|status| *status != came) {
        found.push(format!("response status: expected {status}, got {came}"));
    }
    let came = text(&seen.response_body);
    if let Some(body) = expected.body.as_ref().filter(|body| **body != came) {
        found.push(format!("response body: expected {body:?}, got {came:?}"));
    }
    if let Some(coding) = expected.coding {
        coding_differs(coding, exchange.coding, found);
    }
    fields_differ("response header", &expected.headers, &exchange.response_headers, found);
    fields_differ("response trailer", &expected.trailers, &seen.response_trailers, found);
    attributes_differ(&expected.attributes, exchange, found);
}

fn coding_differs(expected: ExpectCoding, came: Option<ContentCoding>, found: &mut Vec<String>) {
    let wanted = match expected {
        ExpectCoding::None => None,
        ExpectCoding::Gzip => Some(ContentCoding::Gzip),
        ExpectCoding::Br => Some(ContentCoding::Brotli),
        ExpectCoding::Zstd => Some(ContentCoding::Zstd),
    };
    let name = |coding: Option<ContentCoding>| coding.map_or("none", ContentCoding::as_str);
    if wanted != came {
        found.push(format!("response coding: expected {}, got {}", name(wanted), name(came)));
    }
}

fn fields_differ(
    what: &str,
    expected: &BTreeMap<String, Lines>,
    fields: &http::HeaderMap,
    found: &mut Vec<String>,
) {
    for (name, lines) in expected {
        let came: Vec<_> =
            fields.get_all(name).iter().map(|value| text(value.as_bytes())).collect();
        if lines.values() != came {
            found.push(differs(&format!("{what} {name}"), &lines.values(), &came));
        }
    }
}

fn attributes_differ(
    expected: &BTreeMap<String, Option<String>>,
    exchange: &Exchange,
    found: &mut Vec<String>,
) {
    let shown = |value: Option<&str>| value.map_or("none".to_owned(), |value| format!("{value:?}"));
    for (name, wanted) in expected {
        let came = exchange.attributes.find(bare(name));
        if wanted.as_deref() != came {
            let (wanted, came) = (shown(wanted.as_deref()), shown(came));
            found.push(format!("attribute {name}: expected {wanted}, got {came}"));
        }
    }
}

//! Puts cases through the engine.

use crate::report::{CaseReport, Report};
use crate::table::{
    Case, Expect, ExpectAnswer, ExpectConfigure, ExpectMessage, Lines, Message, Table,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tamis_engine::{
    BodyMode, CallFault, Compiled, EngineError, FailureMode, Filter, FilterOptions, FilterState,
    Grant, Hook, Instance, Isolation,
};
use tamis_exchange::{
    Attributes, Choice, Decision, Exchange, HeadSide, Reply, Scheme, Verdict, View, apply, check,
    normalise_path,
};
use tamis_observe::Metrics;

impl Table {
    /// Runs every case, each with an instance of its own.
    pub fn run(&self, compiled: &Compiled) -> Report {
        let cases = self.cases.iter().map(|case| {
            let began = Instant::now();
            let differences = self.case(compiled, case);
            let duration_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            CaseReport { name: case.name.clone(), differences, duration_us }
        });
        Report { source: self.source.clone(), cases: cases.collect() }
    }

    fn case(&self, compiled: &Compiled, case: &Case) -> Vec<String> {
        let empty = json!({});
        let config = case.config.as_ref().or(self.config.as_ref()).unwrap_or(&empty);
        let filter = self.filter(compiled, config);
        let filter = match (filter, &case.expect.configure) {
            (Err(error), Some(expected)) => return refused(&error, expected),
            (Err(error), None) => return vec![format!("the filter does not start: {error}")],
            (Ok(_), Some(_)) => {
                return vec![
                    "the configuration was expected to be refused, and was taken".to_owned(),
                ];
            }
            (Ok(filter), None) => filter,
        };
        let mut exchange = match request(&case.request) {
            Ok(exchange) => exchange,
            Err(why) => return vec![format!("the request of the case: {why}")],
        };
        let mut seen = Seen::default();
        match walk(&filter, case, &mut exchange, &mut seen) {
            Ok(()) => seen.fault = None,
            Err(Stopped::Answer(reply)) => seen.answer = Some(reply),
            Err(Stopped::Fault(kind, text)) => seen.fault = Some((kind, text)),
            Err(Stopped::Case(why)) => return vec![why],
        }
        compare(&case.expect, &exchange, &seen, &filter)
    }

    fn filter(&self, compiled: &Compiled, config: &Value) -> Result<Filter, EngineError> {
        let options = FilterOptions {
            name: "test/filter".to_owned(),
            digest: String::new(),
            version: "0.0.0".to_owned(),
            config_json: config.to_string(),
            grant: self.grant.clone().unwrap_or_else(Grant::everything),
            state: Arc::new(FilterState::new(Arc::new(Metrics::new()))),
            fetch: None,
            failure: FailureMode::Closed,
            isolation: Isolation::Worker,
        };
        Filter::new(compiled, options)
    }
}

/// What the filter said on the way.
#[derive(Default)]
struct Seen {
    reason: Option<String>,
    answer: Option<Reply>,
    choice: Option<Choice>,
    changed: bool,
    fault: Option<(&'static str, String)>,
    request_body: Option<Vec<u8>>,
    response_body: Option<Vec<u8>>,
}

enum Stopped {
    Answer(Reply),
    Fault(&'static str, String),
    /// The case itself makes no sense.
    Case(String),
}

impl From<CallFault> for Stopped {
    fn from(fault: CallFault) -> Self {
        Self::Fault(fault.kind(), fault.to_string())
    }
}

/// Calls the hooks the filter has, in the order of the proxy.
fn walk(
    filter: &Filter,
    case: &Case,
    exchange: &mut Exchange,
    seen: &mut Seen,
) -> Result<(), Stopped> {
    let mut instance = filter.instantiate()?;
    let mut view = View::default();
    if filter.has(Hook::Request) {
        view.fill_request(filter.reads(), exchange);
        let decision = instance.on_request(&view)?;
        take(filter, decision, exchange, HeadSide::Request, seen)?;
    }
    seen.request_body = case.request.body.as_ref().map(|body| body.clone().into_bytes());
    if filter.has(Hook::RequestBody) && filter.request_body() != BodyMode::None {
        body(filter, &mut instance, exchange, HeadSide::Request, seen)?;
    }
    if filter.has(Hook::Router) {
        view.fill_request(filter.reads(), exchange);
        let choice = instance.on_route(&view)?;
        if let Choice::Forward(selection) = &choice {
            apply(&selection.request_edits, exchange, HeadSide::Request);
        }
        if let Choice::Answer(reply) = &choice {
            return Err(Stopped::Answer(reply.clone()));
        }
        seen.choice = Some(choice);
    }
    let Some(response) = &case.response else { return Ok(()) };
    let status = response.status.unwrap_or(200);
    exchange.status = Some(http_status(status).map_err(Stopped::Case)?);
    exchange.response_headers = headers(&response.headers).map_err(Stopped::Case)?;
    if let Some(Choice::Forward(selection)) = &seen.choice {
        apply(&selection.response_edits, exchange, HeadSide::Response);
    }
    if filter.has(Hook::Response) {
        view.fill_response(filter.reads(), exchange);
        let decision = instance.on_response(&view)?;
        take(filter, decision, exchange, HeadSide::Response, seen)?;
    }
    seen.response_body = response.body.as_ref().map(|body| body.clone().into_bytes());
    if filter.has(Hook::ResponseBody) && filter.response_body() != BodyMode::None {
        body(filter, &mut instance, exchange, HeadSide::Response, seen)?;
    }
    Ok(())
}

/// Shows a body whole.
fn body(
    filter: &Filter,
    instance: &mut Instance,
    exchange: &mut Exchange,
    side: HeadSide,
    seen: &mut Seen,
) -> Result<(), Stopped> {
    let slot = if side == HeadSide::Request { &seen.request_body } else { &seen.response_body };
    let octets = slot.clone().unwrap_or_default();
    let decision = match side {
        HeadSide::Request => instance.on_request_body(exchange.id, &octets, true)?,
        HeadSide::Response => instance.on_response_body(exchange.id, &octets, true)?,
    };
    if let Verdict::Replace(by) = &decision.verdict {
        seen.changed = true;
        seen.reason = decision.reason.clone().or(seen.reason.take());
        let slot = match side {
            HeadSide::Request => &mut seen.request_body,
            HeadSide::Response => &mut seen.response_body,
        };
        *slot = Some(by.clone());
        return Ok(());
    }
    take(filter, decision, exchange, side, seen)
}

fn take(
    filter: &Filter,
    decision: Decision,
    exchange: &mut Exchange,
    side: HeadSide,
    seen: &mut Seen,
) -> Result<(), Stopped> {
    if decision.reason.is_some() {
        seen.reason = decision.reason;
    }
    match decision.verdict {
        Verdict::Pass => Ok(()),
        Verdict::Change(edits) => {
            check(&edits, filter.writes(), side)
                .map_err(|error| Stopped::Fault("lift", error.to_string()))?;
            seen.changed |= !edits.is_empty();
            apply(&edits, exchange, side);
            Ok(())
        }
        Verdict::Replace(_) => Err(Stopped::Fault("lift", "`replace` without a body".to_owned())),
        Verdict::Answer(reply) => Err(Stopped::Answer(reply)),
    }
}

fn request(message: &Message) -> Result<Exchange, String> {
    let method = message.method.as_deref().unwrap_or("GET");
    let mut attributes = Attributes::default();
    for (name, value) in &message.attributes {
        attributes.set(name.clone(), value.clone());
    }
    Ok(Exchange {
        id: 1,
        method: method.parse().map_err(|_| format!("`{method}` is no method"))?,
        scheme: match message.scheme.as_deref() {
            Some("http") => Scheme::Http,
            None | Some("https") => Scheme::Https,
            Some(other) => return Err(format!("`{other}` is no scheme")),
        },
        authority: message.authority.clone().unwrap_or_else(|| "test.example".to_owned()),
        path: normalise_path(message.path.as_deref().unwrap_or("/")).into_owned(),
        headers: headers(&message.headers)?,
        status: None,
        response_headers: http::HeaderMap::new(),
        attributes,
    })
}

fn http_status(status: u16) -> Result<http::StatusCode, String> {
    http::StatusCode::from_u16(status).map_err(|_| format!("{status} is no status"))
}

fn headers(lines: &BTreeMap<String, Lines>) -> Result<http::HeaderMap, String> {
    let mut map = http::HeaderMap::new();
    for (name, values) in lines {
        let name: http::HeaderName = name.parse().map_err(|_| format!("`{name}` is no header"))?;
        for value in values.values() {
            let value = http::HeaderValue::from_bytes(value.as_bytes());
            map.append(
                name.clone(),
                value.map_err(|_| format!("the value of {name} has a control character"))?,
            );
        }
    }
    Ok(map)
}

/// A refused configuration against what was expected of it.
fn refused(error: &EngineError, expected: &ExpectConfigure) -> Vec<String> {
    let mut differences = Vec::new();
    let text = error.to_string();
    if let Some(pointer) = &expected.error {
        let wanted = if pointer == "/" { "" } else { pointer };
        let at = match error {
            EngineError::Configure { errors, .. } => errors.iter().any(|(at, _)| at == wanted),
            _ => false,
        };
        if !at {
            differences.push(format!("expected an error at {pointer}, came: {text}"));
        }
    }
    if let Some(part) = &expected.contains
        && !text.contains(part)
    {
        differences.push(format!("expected an error that says `{part}`, came: {text}"));
    }
    differences
}

fn compare(expect: &Expect, exchange: &Exchange, seen: &Seen, filter: &Filter) -> Vec<String> {
    let mut found = Vec::new();
    match (&expect.fault, &seen.fault) {
        (Some(kind), Some((came, _))) if kind == came => return found,
        (Some(kind), came) => {
            found.push(format!("expected the fault {kind}, came {came:?}"));
            return found;
        }
        (None, Some((kind, text))) => {
            found.push(format!("the call failed ({kind}): {text}"));
            return found;
        }
        (None, None) => {}
    }
    match (&expect.answer, &seen.answer) {
        (Some(expected), Some(reply)) => answer(expected, reply, &mut found),
        (Some(_), None) => found.push("expected an answer, and the request passed".to_owned()),
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
        found.push(format!("expected the reason {expected}, came {came}"));
    }
    if expect.pass == Some(true) && seen.changed {
        found.push("expected that nothing changes, and something did".to_owned());
    }
    if let Some(expected) = &expect.request {
        message("request", expected, exchange, HeadSide::Request, seen, &mut found);
    }
    if let Some(expected) = &expect.response {
        message("response", expected, exchange, HeadSide::Response, seen, &mut found);
    }
    if expect.unmatched == Some(true) && seen.choice != Some(Choice::Unmatched) {
        found.push(format!("expected no rule to match, came {:?}", seen.choice));
    }
    if let Some(expected) = &expect.forward {
        match &seen.choice {
            Some(Choice::Forward(selection)) => {
                let rule = filter.rules().get(selection.rule as usize);
                let backend = filter.backends().get(selection.backend as usize);
                for (what, wanted, came) in
                    [("rule", &expected.rule, rule), ("backend", &expected.backend, backend)]
                {
                    if wanted.is_some() && wanted.as_ref() != came {
                        found.push(format!("expected the {what} {wanted:?}, came {came:?}"));
                    }
                }
            }
            other => found.push(format!("expected a rule to match, came {other:?}")),
        }
    }
    found
}

fn answer(expected: &ExpectAnswer, reply: &Reply, found: &mut Vec<String>) {
    if let Some(status) = expected.status
        && status != reply.status
    {
        found.push(format!("expected the answer {status}, came {}", reply.status));
    }
    for (name, lines) in &expected.headers {
        let fields = reply.headers.iter().filter(|field| field.name == *name);
        let came: Vec<_> = fields.map(|field| text(&field.value)).collect();
        if lines.values() != came {
            found.push(format!(
                "answer header {name}: expected {:?}, came {came:?}",
                lines.values()
            ));
        }
    }
    let body = text(&reply.body);
    if let Some(whole) = &expected.body
        && *whole != body
    {
        found.push(format!("answer body: expected {whole:?}, came {body:?}"));
    }
    if let Some(part) = &expected.body_contains
        && !body.contains(part)
    {
        found.push(format!("answer body: expected one with {part:?}, came {body:?}"));
    }
}

fn message(
    what: &str,
    expected: &ExpectMessage,
    exchange: &Exchange,
    side: HeadSide,
    seen: &Seen,
    found: &mut Vec<String>,
) {
    let mut same = |field: &str, wanted: Option<&str>, came: &str| {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != came) {
            found.push(format!("{what} {field}: expected {wanted:?}, came {came:?}"));
        }
    };
    same("path", expected.path.as_deref(), &exchange.path);
    same("authority", expected.authority.as_deref(), &exchange.authority);
    let status = exchange.status.map_or(0, |status| status.as_u16()).to_string();
    same("status", expected.status.map(|status| status.to_string()).as_deref(), &status);
    let body = match side {
        HeadSide::Request => &seen.request_body,
        HeadSide::Response => &seen.response_body,
    };
    same("body", expected.body.as_deref(), &text(body.as_deref().unwrap_or_default()));
    let fields = match side {
        HeadSide::Request => &exchange.headers,
        HeadSide::Response => &exchange.response_headers,
    };
    for (name, lines) in &expected.headers {
        let came: Vec<_> =
            fields.get_all(name).iter().map(|value| text(value.as_bytes())).collect();
        if lines.values() != came {
            found.push(format!(
                "{what} header {name}: expected {:?}, came {came:?}",
                lines.values()
            ));
        }
    }
    for (name, value) in &expected.attributes {
        let came = exchange.attributes.find(name);
        if value.as_deref() != came {
            found.push(format!("{what} attribute {name}: expected {value:?}, came {came:?}"));
        }
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

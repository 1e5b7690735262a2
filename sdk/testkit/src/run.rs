//! Runs cases in the engine.

use crate::report::{CaseReport, Report};
use crate::table::{
    Body, Case, Expect, ExpectAnswer, ExpectConfigure, ExpectForward, ExpectRequest,
    ExpectResponse, Lines, Request, Scheme, Table,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tamis_ambient::Clock;
use tamis_engine::{
    BodyMode, CallFault, CompiledComponent, EngineError, Filter, FilterOptions, FilterState, Grant,
    Hook, Instance, Isolation, OnFailure,
};
use tamis_exchange::{
    self as x, Attributes, Choice, Decision, Edit, Exchange, HeadSide, PathRules, Reply, Verdict,
    View, apply, check, normal_path,
};
use tamis_observe::Metrics;

impl Table {
    /// Runs every case, each with an instance of its own.
    pub fn run(&self, compiled: &CompiledComponent) -> Report {
        let cases = self.cases.iter().map(|case| {
            let clock = Clock::system();
            let began = clock.now();
            let differences = self.case(compiled, case);
            let duration_us = u64::try_from(clock.since(began).as_micros()).unwrap_or(u64::MAX);
            CaseReport { name: case.name.clone(), differences, duration_us }
        });
        Report { source: self.source.clone(), cases: cases.collect() }
    }

    fn case(&self, compiled: &CompiledComponent, case: &Case) -> Vec<String> {
        let empty = json!({});
        let config = case.config.as_ref().or(self.config.as_ref()).unwrap_or(&empty);
        let filter = self.filter(compiled, config);
        let filter = match (filter, &case.expect.configure) {
            (Err(error), Some(expected)) => return refused(&error, expected),
            (Err(error), None) => return vec![format!("the filter does not start: {error}")],
            (Ok(_), Some(_)) => {
                return vec![
                    "the configuration was expected to be refused, and was accepted".to_owned(),
                ];
            }
            (Ok(filter), None) => filter,
        };
        if let Some(why) = unasked(&filter) {
            return vec![why];
        }
        let mut exchange = match request(&case.request) {
            Ok(exchange) => exchange,
            Err(why) => return vec![format!("the request of the case: {why}")],
        };
        let mut seen = CaseObservation::default();
        match walk(&filter, case, &mut exchange, &mut seen) {
            Ok(()) => seen.fault = None,
            Err(CaseStop::Answer(reply)) => seen.answer = Some(reply),
            Err(CaseStop::Fault(kind, text)) => seen.fault = Some((kind, text)),
            Err(CaseStop::Case(why)) => return vec![why],
        }
        compare(&case.expect, &exchange, &seen, &filter)
    }

    fn filter(&self, compiled: &CompiledComponent, config: &Value) -> Result<Filter, EngineError> {
        let options = FilterOptions {
            name: "test/filter".to_owned(),
            digest: String::new(),
            version: "0.0.0".to_owned(),
            config_json: config.to_string(),
            grant: self.grant.clone().unwrap_or_else(Grant::everything),
            state: Arc::new(FilterState::new(Arc::new(Metrics::new()))),
            fetch: None,
            failure: OnFailure::Closed,
            isolation: Isolation::Worker,
        };
        Filter::new(compiled, options)
    }
}

/// What the filter did in a case.
#[derive(Default)]
struct CaseObservation {
    reason: Option<String>,
    answer: Option<Reply>,
    choice: Option<Choice>,
    changed: bool,
    fault: Option<(&'static str, String)>,
    /// In chunks: those received, or their replacements.
    request_body: Option<Vec<Vec<u8>>>,
    response_body: Option<Vec<Vec<u8>>>,
}

enum CaseStop {
    Answer(Reply),
    Fault(&'static str, String),
    /// The case itself is invalid.
    Case(String),
}

impl From<CallFault> for CaseStop {
    fn from(fault: CallFault) -> Self {
        Self::Fault(fault.kind(), fault.to_string())
    }
}

/// Calls the hooks that the filter has, in the order of the proxy.
fn walk(
    filter: &Filter,
    case: &Case,
    exchange: &mut Exchange,
    seen: &mut CaseObservation,
) -> Result<(), CaseStop> {
    let mut instance = filter.instantiate()?;
    if filter.keeps() {
        filter.state().begin(exchange.id, Some(1));
    }
    let mut view = View::default();
    if filter.has(Hook::Request) {
        view.fill_request(filter.reads(), exchange);
        let decision = instance.on_request(&view)?;
        take(filter, decision, exchange, HeadSide::Request, seen)?;
    }
    seen.request_body = case.request.body.as_ref().map(Body::chunks);
    if filter.has(Hook::RequestBody) && filter.request_body() != BodyMode::None {
        body(filter, &mut instance, exchange, HeadSide::Request, seen)?;
    }
    if filter.has(Hook::Router) {
        view.fill_request(filter.reads(), exchange);
        let choice = instance.on_route(&view)?;
        if let Choice::Forward(selection) = &choice {
            let (request, response) = (&selection.request_edits, &selection.response_edits);
            change(filter, request, exchange, HeadSide::Request)?;
            check(response, filter.writes(), HeadSide::Response)
                .map_err(|error| CaseStop::Fault("lift", error.to_string()))?;
        }
        if let Choice::Answer(reply) = &choice {
            return Err(CaseStop::Answer(reply.clone()));
        }
        seen.choice = Some(choice);
    }
    let Some(response) = &case.response else { return Ok(()) };
    let status = response.status.unwrap_or(200);
    exchange.status = Some(http_status(status).map_err(CaseStop::Case)?);
    exchange.response_headers = headers(&response.headers).map_err(CaseStop::Case)?;
    if let Some(Choice::Forward(selection)) = &seen.choice {
        change(filter, &selection.response_edits, exchange, HeadSide::Response)?;
    }
    if filter.has(Hook::Response) {
        view.fill_response(filter.reads(), exchange);
        let decision = instance.on_response(&view)?;
        take(filter, decision, exchange, HeadSide::Response, seen)?;
    }
    seen.response_body = response.body.as_ref().map(Body::chunks);
    if filter.has(Hook::ResponseBody) && filter.response_body() != BodyMode::None {
        body(filter, &mut instance, exchange, HeadSide::Response, seen)?;
    }
    Ok(())
}

/// Passes a body to the filter: chunk by chunk, or complete where it buffers.
fn body(
    filter: &Filter,
    instance: &mut Instance,
    exchange: &mut Exchange,
    side: HeadSide,
    seen: &mut CaseObservation,
) -> Result<(), CaseStop> {
    let (slot, mode) = match side {
        HeadSide::Request => (&mut seen.request_body, filter.request_body()),
        HeadSide::Response => (&mut seen.response_body, filter.response_body()),
    };
    let chunks = slot.take().unwrap_or_else(|| vec![Vec::new()]);
    let chunks = if mode == BodyMode::Chunks { chunks } else { vec![chunks.concat()] };
    let count = chunks.len();
    let mut kept = Vec::with_capacity(count);
    let mut view = View::default();
    match side {
        HeadSide::Request => view.fill_request(filter.reads(), exchange),
        HeadSide::Response => view.fill_response(filter.reads(), exchange),
    }
    let mut held = Vec::new();
    for (index, octets) in chunks.into_iter().enumerate() {
        let last = index + 1 == count;
        let octets = [std::mem::take(&mut held), octets].concat();
        let decision = match side {
            HeadSide::Request => instance.on_request_body(&view, &octets, last)?,
            HeadSide::Response => instance.on_response_body(&view, &octets, last)?,
        };
        let whole = mode == BodyMode::Buffered;
        match decision.verdict {
            Verdict::Replace(by) => {
                seen.changed = true;
                seen.reason = decision.reason.or(seen.reason.take());
                kept.push(by);
            }
            Verdict::Rewrite { octets: by, edits } => {
                if !whole && !edits.is_empty() {
                    return Err(CaseStop::Fault(
                        "lift",
                        "edits of a head that was sent".to_owned(),
                    ));
                }
                seen.changed |= by.is_some() || !edits.is_empty();
                seen.reason = decision.reason.or(seen.reason.take());
                change(filter, &edits, exchange, side)?;
                kept.push(by.unwrap_or(octets));
            }
            Verdict::Hold if last || whole => {
                return Err(CaseStop::Fault("lift", "`hold` of the last bytes".to_owned()));
            }
            Verdict::Hold if octets.len() > filter.body_limit_bytes() as usize => {
                return Err(CaseStop::Fault("lift", "`hold` beyond `body-limit-bytes`".to_owned()));
            }
            Verdict::Hold => held = octets,
            Verdict::Pass | Verdict::Change(_) | Verdict::Answer(_) => {
                take(filter, decision, exchange, side, seen)?;
                kept.push(octets);
            }
        }
    }
    match side {
        HeadSide::Request => seen.request_body = Some(kept),
        HeadSide::Response => seen.response_body = Some(kept),
    }
    Ok(())
}

/// Why a case cannot test a filter: no table calls the hooks that it exports.
fn unasked(filter: &Filter) -> Option<String> {
    let called =
        [Hook::Request, Hook::RequestBody, Hook::Router, Hook::Response, Hook::ResponseBody];
    if filter.hooks().iter().any(|hook| called.contains(hook)) {
        return None;
    }
    let names: Vec<&str> = filter.hooks().iter().map(|hook| hook.as_str()).collect();
    Some(format!(
        "no case can call this filter: it exports only {}, and a table calls request, request-body, router, response and response-body; expect `configure` here, and test the rest as a plain function",
        names.join(", ")
    ))
}

fn take(
    filter: &Filter,
    decision: Decision,
    exchange: &mut Exchange,
    side: HeadSide,
    seen: &mut CaseObservation,
) -> Result<(), CaseStop> {
    if decision.reason.is_some() {
        seen.reason = decision.reason;
    }
    match decision.verdict {
        Verdict::Pass => Ok(()),
        Verdict::Change(edits) => {
            seen.changed |= !edits.is_empty();
            change(filter, &edits, exchange, side)
        }
        Verdict::Replace(_) | Verdict::Rewrite { .. } | Verdict::Hold => {
            Err(CaseStop::Fault("lift", "`replace` without a body".to_owned()))
        }
        Verdict::Answer(reply) => Err(CaseStop::Answer(reply)),
    }
}

/// Changes a head as the proxy does: what the proxy would refuse is a fault here too.
fn change(
    filter: &Filter,
    edits: &[Edit],
    exchange: &mut Exchange,
    side: HeadSide,
) -> Result<(), CaseStop> {
    check(edits, filter.writes(), side)
        .and_then(|()| apply(edits, exchange, side))
        .map_err(|error| CaseStop::Fault("lift", error.to_string()))
}

fn request(message: &Request) -> Result<Exchange, String> {
    let method = message.method.as_deref().unwrap_or("GET");
    let mut attributes = Attributes::default();
    for (name, value) in &message.attributes {
        attributes.set(bare(name).to_owned(), value.as_str());
    }
    Ok(Exchange {
        id: 1,
        method: method.parse().map_err(|_| format!("`{method}` is not a method"))?,
        scheme: match message.scheme {
            Some(Scheme::Http) => x::Scheme::Http,
            None | Some(Scheme::Https) => x::Scheme::Https,
        },
        authority: message.authority.clone().unwrap_or_else(|| "test.example".to_owned()),
        path: path(message.path.as_deref().unwrap_or("/"))?,
        headers: headers(&message.headers)?,
        status: None,
        response_headers: http::HeaderMap::new(),
        attributes,
    })
}

/// The name of an attribute as the exchange stores it: filters declare it with an `@`.
fn bare(name: &str) -> &str {
    name.strip_prefix('@').unwrap_or(name)
}

/// As a gateway with the default settings shows it.
fn path(path: &str) -> Result<String, String> {
    let normal = normal_path(path, PathRules::default());
    normal.map(std::borrow::Cow::into_owned).map_err(|error| format!("`{path}`: {error}"))
}

fn http_status(status: u16) -> Result<http::StatusCode, String> {
    http::StatusCode::from_u16(status).map_err(|_| format!("{status} is not a status"))
}

fn headers(lines: &BTreeMap<String, Lines>) -> Result<http::HeaderMap, String> {
    let mut map = http::HeaderMap::new();
    for (name, values) in lines {
        let name: http::HeaderName =
            name.parse().map_err(|_| format!("`{name}` is not a header name"))?;
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

/// Compares the refusal of a configuration with the expected one.
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

fn compare(
    expect: &Expect,
    exchange: &Exchange,
    seen: &CaseObservation,
    filter: &Filter,
) -> Vec<String> {
    match (&expect.fault, &seen.fault) {
        (Some(kind), Some((came, _))) if kind == came => return Vec::new(),
        (Some(kind), Some((came, text))) => {
            return vec![format!("expected the fault {kind}, got {came}: {text}")];
        }
        (Some(kind), None) => {
            return vec![format!("expected the fault {kind}, but every call returned a verdict")];
        }
        (None, Some((kind, text))) => return vec![format!("the call failed ({kind}): {text}")],
        (None, None) => {}
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
    if expect.pass == Some(true) && seen.changed {
        found.push("expected no change, but something changed".to_owned());
    }
    if let Some(expected) = &expect.request {
        request_differs(expected, exchange, seen, &mut found);
    }
    if let Some(expected) = &expect.response {
        response_differs(expected, exchange, seen, &mut found);
    }
    if expect.unmatched == Some(true) {
        found.extend(matched(seen.choice.as_ref(), filter));
    }
    if let Some(expected) = &expect.forward {
        forward_differs(expected, seen.choice.as_ref(), filter, &mut found);
    }
    found
}

const NO_ROUTER: &str =
    "but no router was called: the filter does not export one, or answered before";

/// Reports a rule that matched although none should.
fn matched(choice: Option<&Choice>, filter: &Filter) -> Option<String> {
    let came = match choice {
        Some(Choice::Unmatched | Choice::Extend) => return None,
        Some(Choice::Forward(selection)) => {
            let rule = filter.rules().get(selection.rule as usize).map_or("a rule", String::as_str);
            format!("but `{rule}` matched")
        }
        Some(Choice::Answer(reply)) => format!("but the router answered {}", reply.status),
        None => NO_ROUTER.to_owned(),
    };
    Some(format!("expected no rule to match, {came}"))
}

fn forward_differs(
    expected: &ExpectForward,
    choice: Option<&Choice>,
    filter: &Filter,
    found: &mut Vec<String>,
) {
    let selection = match choice {
        Some(Choice::Forward(selection)) => selection,
        Some(Choice::Unmatched | Choice::Extend) => {
            return found.push("expected a rule to match, but none did".to_owned());
        }
        Some(Choice::Answer(reply)) => {
            let status = reply.status;
            return found
                .push(format!("expected a rule to match, but the router answered {status}"));
        }
        None => return found.push(format!("expected a rule to match, {NO_ROUTER}")),
    };
    let rule = filter.rules().get(selection.rule as usize);
    let backend = filter.backends().get(selection.backend as usize);
    let pairs = [("rule", &expected.rule, rule), ("backend", &expected.backend, backend)];
    for (what, wanted, came) in pairs {
        if let Some(wanted) = wanted.as_ref().filter(|wanted| Some(*wanted) != came) {
            let came = came.map_or("one that the filter did not declare", String::as_str);
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
    seen: &CaseObservation,
    found: &mut Vec<String>,
) {
    let body = joined(seen.request_body.as_ref());
    for (field, wanted, came) in [
        ("path", &expected.path, &exchange.path),
        ("authority", &expected.authority, &exchange.authority),
        ("body", &expected.body, &body),
    ] {
        if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != came) {
            found.push(format!("request {field}: expected {wanted:?}, got {came:?}"));
        }
    }
    fields_differ("request", &expected.headers, &exchange.headers, found);
    attributes_differ(&expected.attributes, exchange, found);
}

fn response_differs(
    expected: &ExpectResponse,
    exchange: &Exchange,
    seen: &CaseObservation,
    found: &mut Vec<String>,
) {
    let came = exchange.status.map_or(0, |status| status.as_u16());
    if let Some(status) = expected.status.filter(|status| *status != came) {
        found.push(format!("response status: expected {status}, got {came}"));
    }
    let came = joined(seen.response_body.as_ref());
    if let Some(body) = expected.body.as_ref().filter(|body| **body != came) {
        found.push(format!("response body: expected {body:?}, got {came:?}"));
    }
    fields_differ("response", &expected.headers, &exchange.response_headers, found);
    attributes_differ(&expected.attributes, exchange, found);
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
            found.push(differs(&format!("{what} header {name}"), &lines.values(), &came));
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

/// Describes values of a header that differ from the expected ones.
fn differs(what: &str, wanted: &[&str], came: &[String]) -> String {
    fn shown<T: AsRef<str>>(values: &[T]) -> String {
        let quoted: Vec<String> = values.iter().map(|one| format!("{:?}", one.as_ref())).collect();
        if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") }
    }
    format!("{what}: expected {}, got {}", shown(wanted), shown(came))
}

fn joined(chunks: Option<&Vec<Vec<u8>>>) -> String {
    text(&chunks.map(|chunks| chunks.concat()).unwrap_or_default())
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

//! Checks of a table beyond its shape: a case that cannot fail, or that no filter can meet.

use crate::event::{Request, Response};
use crate::expect::{Expect, ExpectRequest, ExpectResponse};
use crate::run::unix_time;
use crate::step::CaseStep;
use crate::table::{Case, CaseStart, Table};
use crate::text::Lines;
use std::collections::BTreeMap;
use tamis_engine::CallFault;
use tamis_resources::{CheckedText, Problem, suggest};

/// Longest reason the contract allows.
const REASON_MAX: usize = 64;

/// All problems, in the order of the table.
pub(crate) fn problems(table: &Table, text: &CheckedText) -> Vec<Problem> {
    let mut check = Check { text, at: String::new(), found: Vec::new() };
    if let Some(given) = &table.given {
        check.given(given);
    }
    for (index, case) in table.cases.iter().enumerate() {
        check.at = format!("/cases/{index}");
        let earlier = table.cases.iter().take(index).any(|one| one.name == case.name);
        check.unless(!earlier, "/name", "an earlier case has this name", "give it one of its own");
        check.case(case);
    }
    check.found
}

struct Check<'a> {
    text: &'a CheckedText,
    at: String,
    found: Vec<Problem>,
}

impl Check<'_> {
    fn unless(&mut self, holds: bool, pointer: &str, message: &str, help: &str) {
        if !holds {
            let pointer = format!("{}{pointer}", self.at);
            self.found.push(self.text.problem("cases.sense", &pointer, message, help));
        }
    }

    fn case(&mut self, case: &Case) {
        if let Some(given) = &case.given {
            self.given(given);
        }
        let place = self.at.clone();
        for (index, step) in case.steps.iter().enumerate() {
            if !case.is_single {
                self.at = format!("{place}/steps/{index}");
            }
            self.step(step, case.is_single);
        }
        self.at = place;
    }

    fn given(&mut self, given: &CaseStart) {
        if let Some(time) = &given.time {
            let message = format!("`{time}` is not a time");
            let help = "write it as 2026-01-01T00:00:00Z, not before 1970";
            self.unless(unix_time(time).is_ok(), "/given/time", &message, help);
        }
        for (index, stub) in given.http.iter().enumerate() {
            let place = format!("/given/http/{index}");
            let known = stub.url.starts_with("https://") || stub.url.starts_with("http://");
            let message = format!("`{}` is not a URL", stub.url);
            let help = "write the complete URL, such as https://auth.example/check";
            self.unless(known, &format!("{place}/url"), &message, help);
            let answers = stub.status.is_some() || stub.body.is_some() || !stub.headers.is_empty();
            self.unless(
                !(answers && stub.failure.is_some()),
                &format!("{place}/failure"),
                "an answer with `failure` cannot also have a status, headers or a body",
                "write two answers",
            );
            self.headers(&stub.headers, &format!("{place}/headers"), true);
        }
    }

    fn step(&mut self, step: &CaseStep, is_single: bool) {
        if let Some(request) = &step.request {
            self.request(request);
        }
        if let Some(response) = &step.response {
            self.response(response);
        }
        self.events(step);
        if step.only_waits() && !is_single {
            return;
        }
        let Some(expect) = &step.expect else {
            let help = "write what the filter should do; `pass: true` if it should change nothing";
            let what = if is_single { "the case" } else { "the step" };
            let message = format!("{what} has no `expect`, so nothing in it can fail");
            return self.unless(false, "", &message, help);
        };
        self.expect(expect);
        self.unless(
            is_single || expect.configure.is_none(),
            "/expect/configure",
            "a filter is configured once, before the first step",
            "write a case of its own for it",
        );
        let waits = expect.response.is_some() && step.response.is_none();
        self.unless(
            !waits,
            "/expect/response",
            "the step has no `response`, so no hook on responses runs",
            "write the response to the request: `response: { status: 200 }`",
        );
    }

    /// At most one event a step, and only expectations that it can meet.
    fn events(&mut self, step: &CaseStep) {
        let events = step.events();
        if let [first, second, ..] = events.as_slice() {
            let message =
                format!("a step has at most one event, and this one has `{first}` and `{second}`");
            let help =
                format!("write a step for each: `steps: [{{ {first}: … }}, {{ {second}: … }}]`");
            self.unless(false, &format!("/{second}"), &message, &help);
        }
        let exchange = [
            ("response", step.response.is_some()),
            ("finished", step.finished.is_some()),
            ("request", step.request.is_some() && events != ["retry"]),
        ];
        if let Some(event) = events.first() {
            for (name, _) in exchange.into_iter().filter(|one| one.1) {
                let message = format!("a step with the event `{event}` has no `{name}`");
                let help =
                    format!("write a step for each: `steps: [{{ {event}: … }}, {{ {name}: … }}]`");
                self.unless(false, &format!("/{name}"), &message, &help);
            }
        }
        let Some(expect) = &step.expect else { return };
        let needs = [
            ("retry", "retry", expect.retry.is_some()),
            ("hedge", "hedge", expect.hedge.is_some()),
            ("circuit", "circuitBreaker", expect.circuit.is_some()),
            ("weights", "balancer", expect.weights.is_some()),
            ("connection", "connection", expect.connection.is_some()),
            ("tick", "tick", expect.tick.is_some()),
        ];
        for (name, event, _) in needs.into_iter().filter(|one| one.2) {
            let message = format!("the step has no `{event}`, so `{name}` cannot be met");
            let help = format!("write the event: `{event}: {{ … }}`");
            self.unless(events.contains(&event), &format!("/expect/{name}"), &message, &help);
        }
    }

    fn request(&mut self, request: &Request) {
        let method = request.method.as_deref().unwrap_or("GET");
        let message = format!("`{method}` is not a method");
        self.unless(
            method.parse::<http::Method>().is_ok(),
            "/request/method",
            &message,
            "a method must be a token, such as GET",
        );
        let path = request.path.as_deref().unwrap_or("/");
        let sound = path.starts_with('/') || path == "*";
        self.unless(
            sound,
            "/request/path",
            "a path must begin with `/`",
            "write path and query, such as `/pay?a=1`",
        );
        self.headers(&request.headers, "/request/headers", true);
        self.headers(&request.trailers, "/request/trailers", true);
    }

    fn response(&mut self, response: &Response) {
        self.headers(&response.headers, "/response/headers", true);
        self.headers(&response.trailers, "/response/trailers", true);
    }

    /// `sent`: the headers are put into a message, so each needs a value.
    fn headers(&mut self, lines: &BTreeMap<String, Lines>, at: &str, sent: bool) {
        for (name, lines) in lines {
            let place = format!("{at}/{name}");
            let message = format!("`{name}` is not a header name");
            let known = http::HeaderName::from_lowercase(name.as_bytes()).is_ok();
            self.unless(
                known,
                &place,
                &message,
                "a header name must be a token in lower case (RFC 9110 §5.1)",
            );
            let sound = lines.values().iter().all(|one| http::HeaderValue::from_str(one).is_ok());
            let message = format!("the value of {name} has a control character or is not ASCII");
            self.unless(
                sound,
                &place,
                &message,
                "a value may contain visible ASCII, spaces and tabs",
            );
            let absent = sent && lines.values().is_empty();
            self.unless(
                !absent,
                &place,
                "a message cannot contain a header without a value",
                "leave it out",
            );
        }
    }

    fn expect(&mut self, expect: &Expect) {
        let help = "write what the filter should do; `pass: true` if it should change nothing";
        let says = *expect != Expect::default();
        self.unless(says, "/expect", "an empty `expect` cannot fail", help);
        let flags =
            [("pass", expect.pass), ("unmatched", expect.unmatched), ("extend", expect.extend)];
        for (name, said) in flags {
            let message = format!("`{name}` must be true or absent");
            let help = "write what should happen instead";
            self.unless(said != Some(false), &format!("/expect/{name}"), &message, help);
        }
        if expect.request == Some(ExpectRequest::default()) {
            self.unless(
                false,
                "/expect/request",
                "it is empty",
                "name a header, the path or the body",
            );
        }
        if expect.response == Some(ExpectResponse::default()) {
            self.unless(
                false,
                "/expect/response",
                "it is empty",
                "name a header, the status or the body",
            );
        }
        self.alone(expect);
        self.words(expect);
        let headers = [
            ("answer", expect.answer.as_ref().map(|it| &it.headers)),
            ("request", expect.request.as_ref().map(|it| &it.headers)),
            ("response", expect.response.as_ref().map(|it| &it.headers)),
        ];
        for (name, headers) in headers {
            if let Some(headers) = headers {
                self.headers(headers, &format!("/expect/{name}/headers"), false);
            }
        }
    }

    /// Refuses expectations that cannot both hold.
    fn alone(&mut self, expect: &Expect) {
        let said = [
            ("configure", expect.configure.is_some()),
            ("fault", expect.fault.is_some()),
            ("answer", expect.answer.is_some()),
            ("pass", expect.pass.is_some()),
            ("forward", expect.forward.is_some()),
            ("unmatched", expect.unmatched.is_some()),
            ("extend", expect.extend.is_some()),
            ("request", expect.request.is_some()),
            ("response", expect.response.is_some()),
            ("reason", expect.reason.is_some()),
            ("retry", expect.retry.is_some()),
            ("hedge", expect.hedge.is_some()),
            ("circuit", expect.circuit.is_some()),
            ("weights", expect.weights.is_some()),
            ("connection", expect.connection.is_some()),
            ("tick", expect.tick.is_some()),
            ("kv", !expect.kv.is_empty()),
            ("metrics", !expect.metrics.is_empty()),
            ("http", expect.http.is_some()),
            ("records", expect.records.is_some()),
            ("spans", expect.spans.is_some()),
        ];
        let said: Vec<&str> = said.into_iter().filter(|one| one.1).map(|one| one.0).collect();
        let excludes = |first: &str, second: &str| match first {
            "configure" | "fault" => true,
            "answer" => ["pass", "forward", "unmatched", "extend"].contains(&second),
            "forward" => ["unmatched", "extend"].contains(&second),
            "unmatched" => second == "extend",
            _ => false,
        };
        for (index, first) in said.iter().enumerate() {
            for second in said.iter().skip(index + 1).filter(|second| excludes(first, second)) {
                let message =
                    format!("`{first}` and `{second}` cannot both be the result of one step");
                self.unless(false, &format!("/expect/{second}"), &message, "write two cases");
            }
        }
    }

    fn words(&mut self, expect: &Expect) {
        if let Some(reason) = &expect.reason {
            let sound = |byte: u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte)
            };
            let fits = (1..=REASON_MAX).contains(&reason.len()) && reason.bytes().all(sound);
            let message = format!("`{reason}` is not a reason");
            self.unless(
                fits,
                "/expect/reason",
                &message,
                "a reason consists of at most 64 characters of `a-z0-9.-`",
            );
        }
        if let Some(fault) = &expect.fault {
            let kind = fault.kind();
            let message = format!("`{kind}` is not a fault");
            let known = CallFault::KINDS.contains(&kind);
            self.unless(known, "/expect/fault", &message, &suggest(kind, &CallFault::KINDS));
        }
        let pointer =
            expect.configure.as_ref().and_then(|it| it.error.as_deref()).unwrap_or_default();
        let sound = pointer.is_empty() || pointer.starts_with('/');
        let message = format!("`{pointer}` is not a JSON pointer");
        self.unless(
            sound,
            "/expect/configure/error",
            &message,
            "write it from the root, such as /issuers/0",
        );
    }
}

#[cfg(test)]
mod tests;

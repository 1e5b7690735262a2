//! Checks of a table beyond its shape: a case that cannot fail, or that no filter can meet.

use super::{Case, Expect, ExpectRequest, ExpectResponse, Lines, Request, Response, Table};
use std::collections::BTreeMap;
use tamis_engine::CallFault;
use tamis_resources::{CheckedText, Problem, suggest};

/// Longest reason the contract allows.
const REASON_MAX: usize = 64;

/// All problems, in the order of the table.
pub(crate) fn problems(table: &Table, text: &CheckedText) -> Vec<Problem> {
    let mut check = Check { text, at: String::new(), found: Vec::new() };
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
        self.request(&case.request);
        if let Some(response) = &case.response {
            self.response(response);
        }
        self.expect(&case.expect);
        let waits = case.expect.response.is_some() && case.response.is_none();
        self.unless(
            !waits,
            "/expect/response",
            "the case has no `response`, so no hook on responses runs",
            "write the response of the upstream: `response: { status: 200 }`",
        );
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
    }

    fn response(&mut self, response: &Response) {
        self.headers(&response.headers, "/response/headers", true);
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
        self.unless(says, "/expect", "`expect` is empty, so this case cannot fail", help);
        for (name, said) in [("pass", expect.pass), ("unmatched", expect.unmatched)] {
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
            ("request", expect.request.is_some()),
            ("response", expect.response.is_some()),
            ("reason", expect.reason.is_some()),
        ];
        let said: Vec<&str> = said.into_iter().filter(|one| one.1).map(|one| one.0).collect();
        let excluded = |first: &str| -> &[&str] {
            match first {
                "configure" | "fault" => &[
                    "configure",
                    "fault",
                    "answer",
                    "pass",
                    "forward",
                    "unmatched",
                    "request",
                    "response",
                    "reason",
                ],
                "answer" => &["pass", "forward", "unmatched"],
                "unmatched" => &["forward"],
                _ => &[],
            }
        };
        for (index, first) in said.iter().enumerate() {
            for second in said.iter().skip(index + 1).filter(|name| excluded(first).contains(name))
            {
                let message =
                    format!("`{first}` and `{second}` cannot both be the result of one case");
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
            let message = format!("`{fault}` is not a fault");
            let known = CallFault::KINDS.contains(&fault.as_str());
            self.unless(known, "/expect/fault", &message, &suggest(fault, &CallFault::KINDS));
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

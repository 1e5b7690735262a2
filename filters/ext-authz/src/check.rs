//! One check: the question, and what its answer means.

use tamis_sdk::http_client::{Incoming, Outgoing};
use tamis_sdk::{Edit, Field, Reply, View, reply};

use crate::config::{ADDRESS, CheckProtocol, ExtAuthzRules};
use crate::grpc::{self, GrpcAnswer};
use crate::size::{MAX_FIELDS_OCTETS, fits};

/// Sends requests: the host's client, or a value in tests.
pub trait CheckService {
    /// Sends a request and waits for its response.
    ///
    /// # Errors
    /// Why no response arrived.
    fn send(&self, outgoing: &Outgoing) -> Result<Incoming, String>;
}

/// What became of a request.
#[derive(Debug)]
pub enum CheckOutcome {
    /// It passes with these changes.
    Passes(Vec<Edit>),
    /// The service refused it with this reply.
    Refused(Reply),
    /// The service was not asked: an application may read another value of this field than the service.
    Ambiguous(String),
    /// The service was not asked: this field is no text, and a message of gRPC has only text.
    Unreadable(String),
    /// The service gave no answer; why, and the reply for the client, which does not say it.
    Unavailable(String, Reply),
}

/// Fields of one name that are taken from an answer.
const MAX_SAME: usize = 16;
/// Bytes of the body of a refusal.
const MAX_BODY_OCTETS: usize = 64 * 1024;

/// Fields whose several lines are one list to everybody (RFC 9110 §5.3), or that the host joins (`cookie`). Of any other field an
/// application may take one line, and the service another.
const LISTS: &[&str] = &[
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "content-encoding",
    "content-language",
    "cookie",
    "if-match",
    "if-none-match",
    "pragma",
    "prefer",
];

/// A header of `requestHeaders` that a request has more than once though it is no list.
fn ambiguous<'a>(rules: &'a ExtAuthzRules, seen: View<'_>) -> Option<&'a str> {
    let single = rules.ask.iter().filter(|name| !LISTS.contains(&name.as_str()));
    single.map(String::as_str).find(|name| seen.headers(name).nth(1).is_some())
}

/// Asks about a request.
pub fn check(rules: &ExtAuthzRules, seen: View<'_>, ask: &impl CheckService) -> CheckOutcome {
    let unavailable = |why: String| {
        CheckOutcome::Unavailable(why, reply(503).text("this request cannot be checked now\n"))
    };
    if let Some(name) = ambiguous(rules, seen) {
        return CheckOutcome::Ambiguous(name.to_owned());
    }
    if rules.protocol == CheckProtocol::Grpc {
        let question = match grpc::question(rules, seen) {
            Ok(question) => question,
            Err(name) => return CheckOutcome::Unreadable(name),
        };
        let answer = ask.send(&question).and_then(|answer| grpc::answer(rules, &answer));
        return match answer {
            Ok(GrpcAnswer::Passes(edits)) => CheckOutcome::Passes(edits),
            Ok(GrpcAnswer::Denied(reply)) => CheckOutcome::Refused(reply),
            Err(why) => unavailable(why),
        };
    }
    let answer = match ask.send(&question(rules, seen)) {
        Ok(answer) => answer,
        Err(why) => return unavailable(why),
    };
    match answer.status {
        200..=299 => match edits(rules, &answer) {
            Ok(edits) => CheckOutcome::Passes(edits),
            Err(why) => unavailable(why),
        },
        300..=303 | 305..=499 => CheckOutcome::Refused(refusal(rules, answer)),
        status => unavailable(format!("the service answered {status}")),
    }
}

/// Method and path of the request, and who asks. The path is what filters before this one made of it.
fn question(rules: &ExtAuthzRules, seen: View<'_>) -> Outgoing {
    let mut headers = Vec::new();
    let mut add = |name: &str, value: &[u8]| {
        headers.push(Field { name: name.to_owned(), value: value.to_vec() });
    };
    for name in &rules.ask {
        seen.headers(name).for_each(|value| add(name, value));
    }
    for (name, field) in [
        ("x-forwarded-host", ":authority"),
        ("x-forwarded-proto", ":scheme"),
        ("x-forwarded-for", ADDRESS),
    ] {
        if let Some(value) = seen.header(field) {
            add(name, value);
        }
    }
    Outgoing {
        method: seen.method_name().to_owned(),
        url: format!("{}{}", rules.url, seen.path().unwrap_or("/")),
        headers,
        body: Vec::new(),
        timeout_ms: rules.timeout_ms,
    }
}

/// Fields of the answer for the upstream. One that the answer lacks is removed: what a client wrote there must
/// not pass for the word of the service.
fn edits(rules: &ExtAuthzRules, answer: &Incoming) -> Result<Vec<Edit>, String> {
    let (mut edits, mut octets) = (Vec::new(), 0);
    for name in &rules.pass {
        edits.push(Edit::remove(name.as_str()));
        let fields = answer.headers.iter().filter(|field| field.name == *name).take(MAX_SAME);
        for field in fields {
            if !fits(&mut octets, name, &field.value) {
                return Err(format!(
                    "the answer has headers of more than {MAX_FIELDS_OCTETS} bytes"
                ));
            }
            edits.push(Edit::add(name.as_str(), field.value.clone()));
        }
    }
    Ok(edits)
}

/// The reply of the service, with the fields that clients may see.
fn refusal(rules: &ExtAuthzRules, answer: Incoming) -> Reply {
    let (mut refusal, mut octets) = (reply(answer.status), 0);
    for name in &rules.tell {
        let fields = answer.headers.iter().filter(|field| field.name == *name).take(MAX_SAME);
        for field in fields.filter(|field| fits(&mut octets, name, &field.value)) {
            refusal = refusal.header(name.as_str(), field.value.clone());
        }
    }
    // A response of these statuses has no body (RFC 9110 §15.3.6, §15.4.5); a reply that has one is refused.
    let has_body = !matches!(answer.status, 205 | 304);
    if has_body && answer.body.len() <= MAX_BODY_OCTETS {
        refusal = refusal.body(answer.body);
    }
    refusal
}

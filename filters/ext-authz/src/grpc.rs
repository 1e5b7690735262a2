//! The check over gRPC: `envoy.service.auth.v3.Authorization/Check`.

use prost::Message as _;
use std::collections::BTreeMap;
use tamis_sdk::http_client::{Incoming, Outgoing};
use tamis_sdk::{Edit, Field, Reply, View, reply};

use crate::config::{ADDRESS, ExtAuthzRules, IDENTITY, SERVER_NAME};
use crate::messages::{
    Address, AskedRequest, AttributeContext, CheckRequest, CheckResponse, DeniedResponse,
    HeaderOption, HttpRequest, OkResponse, Peer, SocketAddress, TlsSession,
};
use crate::size::{MAX_FIELDS_OCTETS, fits};

/// The method of the service.
const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";
/// Octets in front of a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// Headers that are taken from an answer.
const MAX_HEADERS: usize = 64;
/// Bytes of the body of a refusal.
const MAX_BODY_OCTETS: usize = 64 * 1024;
/// Fields with the status of a call: after its messages, or in the head where there are none.
const STATUS: [&str; 2] = ["trailer:grpc-status", "grpc-status"];
/// The status of a refusal that names none, or one that no refusal has.
const FORBIDDEN: u16 = 403;

/// What an answer means.
#[derive(Debug)]
pub enum GrpcAnswer {
    /// The request passes with these changes.
    Passes(Vec<Edit>),
    /// The client is answered with this.
    Denied(Reply),
}

/// The question about a request.
///
/// # Errors
/// The name of a header whose value is no text: protobuf has no other, and the service would judge another value than the
/// application.
pub fn question(rules: &ExtAuthzRules, seen: View<'_>) -> Result<Outgoing, String> {
    let text = |name: &str| seen.text(name).unwrap_or_default().to_owned();
    let http = HttpRequest {
        id: seen.exchange().to_string(),
        method: seen.method_name().to_owned(),
        headers: headers(rules, seen)?,
        path: text(":path"),
        host: text(":authority"),
        scheme: text(":scheme"),
        size: -1,
    };
    let address = seen.text(ADDRESS).filter(|address| address.parse::<std::net::IpAddr>().is_ok());
    let address = address.map(|address| Address {
        socket_address: Some(SocketAddress { address: address.to_owned(), port: 0 }),
    });
    let source = Peer { address, service: String::new(), principal: text(IDENTITY) };
    let sni = seen.text(SERVER_NAME).map(|sni| TlsSession { sni: sni.to_owned() });
    let attributes = AttributeContext {
        source: Some(source),
        destination: Some(Peer::default()),
        request: Some(AskedRequest { http: Some(http) }),
        tls_session: sni,
    };
    let message = CheckRequest { attributes: Some(attributes) }.encode_to_vec();
    let field = |name: &str, value: String| Field { name: name.to_owned(), value: value.into() };
    Ok(Outgoing {
        method: "POST".to_owned(),
        url: format!("{}{METHOD}", rules.url),
        headers: vec![
            field("content-type", "application/grpc".to_owned()),
            field("grpc-timeout", format!("{}m", rules.timeout_ms)),
        ],
        body: framed(&message),
        timeout_ms: rules.timeout_ms,
    })
}

/// A message of gRPC that is not compressed.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0], &length[..], message].concat()
}

/// Those that the service is to see, several lines of one as a list.
fn headers(rules: &ExtAuthzRules, seen: View<'_>) -> Result<BTreeMap<String, String>, String> {
    let mut headers = BTreeMap::new();
    for name in &rules.ask {
        let mut lines = Vec::new();
        for value in seen.headers(name) {
            lines.push(std::str::from_utf8(value).map_err(|_| name.clone())?);
        }
        if !lines.is_empty() {
            let between = if name == "cookie" { "; " } else { "," };
            headers.insert(name.clone(), lines.join(between));
        }
    }
    Ok(headers)
}

/// What the service answered.
///
/// # Errors
/// It gave no answer that can be followed, and why.
pub fn answer(rules: &ExtAuthzRules, response: &Incoming) -> Result<GrpcAnswer, String> {
    let message = message(response)?;
    let answer = CheckResponse::decode(message)
        .map_err(|error| format!("the answer is no CheckResponse: {error}"))?;
    let code = answer.status.as_ref().map(|status| status.code);
    match (code, answer.ok, answer.denied, answer.error) {
        (_, _, _, Some(_)) => Err("the service says that its check failed".to_owned()),
        (Some(0), ok, None, None) => passes(rules, ok.unwrap_or_default()),
        (None, Some(ok), None, None) => passes(rules, ok),
        (None, None, None, None) => Err("the answer says neither yes nor no".to_owned()),
        (Some(0), _, Some(_), None) => Err("the answer says yes and no".to_owned()),
        (Some(_) | None, _, denied, None) => {
            Ok(GrpcAnswer::Denied(refusal(rules, denied.unwrap_or_default())))
        }
    }
}

/// Whether a `content-type` is that of gRPC, whatever the format of its messages.
fn is_grpc(kind: &str) -> bool {
    let rest = kind.strip_prefix("application/grpc");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';', ' ']))
}

/// The one message of a response that ended well.
fn message(response: &Incoming) -> Result<&[u8], String> {
    let value = |name: &str| {
        let field = response.headers.iter().find(|field| field.name == name);
        field.map(|field| String::from_utf8_lossy(&field.value).into_owned())
    };
    let kind = value("content-type").unwrap_or_default();
    if response.status != 200 || !is_grpc(&kind) {
        return Err(format!("the service answered {} and not in gRPC", response.status));
    }
    if value("content-encoding").is_some_and(|coding| coding != "identity") {
        return Err("the answer has a content-encoding, which gRPC does not have".to_owned());
    }
    // Of two statuses nobody knows which one the service means, so each of them has to be fine.
    let is_status = |field: &&Field| STATUS.contains(&field.name.as_str());
    let mut statuses = response.headers.iter().filter(is_status).peekable();
    if statuses.peek().is_none() {
        return Err("the answer has no gRPC status".to_owned());
    }
    if let Some(other) = statuses.find(|field| field.value != b"0") {
        let why = value("trailer:grpc-message").or_else(|| value("grpc-message"));
        let code = String::from_utf8_lossy(&other.value);
        return Err(format!("gRPC status {code} {}", why.unwrap_or_default()));
    }
    let [0, a, b, c, d, message @ ..] = response.body.as_slice() else {
        return Err("the answer has no message, or one that is compressed".to_owned());
    };
    let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
    if length != message.len() {
        let there = response.body.len().saturating_sub(PREFIX);
        return Err(format!("the answer has not one message: {length} of {there} octets"));
    }
    Ok(message)
}

/// Headers of the answer for the upstream, and those that it removes. What the configuration does not name cannot be followed:
/// the service would rely on what does not happen.
fn passes(rules: &ExtAuthzRules, ok: OkResponse) -> Result<GrpcAnswer, String> {
    if !ok.response_headers_to_add.is_empty()
        || !ok.query_parameters_to_set.is_empty()
        || !ok.query_parameters_to_remove.is_empty()
    {
        return Err(
            "the answer changes the response or the query, which this filter does not".to_owned()
        );
    }
    if ok.headers.len().saturating_add(ok.headers_to_remove.len()) > MAX_HEADERS {
        return Err(format!("the answer changes more than {MAX_HEADERS} headers"));
    }
    let mut edits: Vec<Edit> = rules.pass.iter().map(|name| Edit::remove(name.as_str())).collect();
    let mut octets = 0;
    for (name, value) in lines(&ok.headers) {
        if !rules.pass.contains(&name) {
            return Err(format!("the answer sets `{name}`, which is not in `upstreamHeaders`"));
        }
        // The host would refuse such a verdict as a fault of this filter, and after some of them call it no more for a while:
        // one client whose text the service repeats would end the checks of all.
        if !is_sendable(&value) {
            return Err(format!("the value of `{name}` has a control character"));
        }
        if !fits(&mut octets, &name, &value) {
            return Err(format!("the answer has headers of more than {MAX_FIELDS_OCTETS} bytes"));
        }
        edits.push(Edit::add(name, value));
    }
    for name in ok.headers_to_remove {
        let name = name.to_ascii_lowercase();
        if rules.remove.contains(&name) {
            edits.push(Edit::remove(name));
        } else if !rules.pass.contains(&name) {
            return Err(format!("the answer removes `{name}`, which is not in `removeHeaders`"));
        }
    }
    Ok(GrpcAnswer::Passes(edits))
}

/// Names in lower case, and values.
fn lines(headers: &[HeaderOption]) -> impl Iterator<Item = (String, Vec<u8>)> + '_ {
    headers.iter().filter_map(|one| one.header.as_ref()).map(|header| {
        let value = match header.value.as_bytes() {
            [] => header.raw_value.as_slice(),
            value => value,
        };
        (header.key.to_ascii_lowercase(), value.to_vec())
    })
}

/// Whether a value may stand in a field (RFC 9110 §5.5).
fn is_sendable(value: &[u8]) -> bool {
    value.iter().all(|octet| *octet == b'\t' || (*octet >= b' ' && *octet != 0x7f))
}

/// The reply of the service, with the headers that clients may see. A refusal stays one, whatever is wrong with it.
fn refusal(rules: &ExtAuthzRules, denied: DeniedResponse) -> Reply {
    let status = denied.status.and_then(|status| u16::try_from(status.code).ok());
    let status = status.filter(|status| matches!(status, 300..=303 | 305..=599));
    let mut refusal = reply(status.unwrap_or(FORBIDDEN));
    let mut octets = 0;
    for (name, value) in lines(&denied.headers).take(MAX_HEADERS) {
        if rules.tell.contains(&name) && is_sendable(&value) && fits(&mut octets, &name, &value) {
            refusal = refusal.header(name, value);
        }
    }
    if denied.body.len() <= MAX_BODY_OCTETS {
        refusal = refusal.body(denied.body.into_bytes());
    }
    refusal
}

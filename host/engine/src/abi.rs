//! How values cross into and out of a component: one type per WIT type, lowered by borrow, lifted by value.
//!
//! This module decides nothing. Values that go in are borrowed (`&[u8]`, `&[…]`), so that no `String` is
//! allocated per header; values that come out become `tamis_exchange` values at once. The derives write the
//! unsafe trait implementations of the canonical ABI; this file contains no handwritten one.
pub(crate) mod v0_1;

use tamis_exchange as x;
use wasmtime::component::{ComponentType, Lift, Lower, flags};

#[derive(ComponentType, Lower, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Method {
    #[component(name = "get")]
    Get,
    #[component(name = "head")]
    Head,
    #[component(name = "post")]
    Post,
    #[component(name = "put")]
    Put,
    #[component(name = "delete")]
    Delete,
    #[component(name = "connect")]
    Connect,
    #[component(name = "options")]
    Options,
    #[component(name = "trace")]
    Trace,
    #[component(name = "patch")]
    Patch,
    #[component(name = "other")]
    Other,
}

impl From<x::Method> for Method {
    fn from(method: x::Method) -> Self {
        match method {
            x::Method::Get => Self::Get,
            x::Method::Head => Self::Head,
            x::Method::Post => Self::Post,
            x::Method::Put => Self::Put,
            x::Method::Delete => Self::Delete,
            x::Method::Connect => Self::Connect,
            x::Method::Options => Self::Options,
            x::Method::Trace => Self::Trace,
            x::Method::Patch => Self::Patch,
            x::Method::Other => Self::Other,
        }
    }
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct Span {
    field: u32,
    start: u32,
    #[component(name = "name-length")]
    name_length: u32,
    length: u32,
}

impl From<&x::FieldSpan> for Span {
    fn from(span: &x::FieldSpan) -> Self {
        Self {
            field: span.field,
            start: span.start,
            name_length: span.name_length,
            length: span.length,
        }
    }
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct View<'a> {
    exchange: u64,
    method: Method,
    status: u16,
    octets: &'a [u8],
    spans: &'a [Span],
}

impl<'a> View<'a> {
    /// Borrows `view`; `spans` is scratch that keeps its capacity.
    pub(crate) fn of(view: &'a x::View, spans: &'a mut Vec<Span>) -> Self {
        spans.clear();
        spans.extend(view.spans.iter().map(Span::from));
        Self {
            exchange: view.exchange,
            method: view.method.into(),
            status: view.status,
            octets: &view.octets,
            spans,
        }
    }
}

#[derive(ComponentType, Lower, Lift, Clone)]
#[component(record)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) value: Vec<u8>,
}

impl From<Field> for x::FieldLine {
    fn from(field: Field) -> Self {
        Self { name: field.name, value: field.value }
    }
}

#[derive(ComponentType, Lower, Lift, Clone)]
#[component(record)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    pub(crate) value: String,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Edit {
    #[component(name = "set-header")]
    SetHeader(Field),
    #[component(name = "add-header")]
    AddHeader(Field),
    #[component(name = "remove-header")]
    RemoveHeader(String),
    #[component(name = "set-path")]
    SetPath(String),
    #[component(name = "set-authority")]
    SetAuthority(String),
    #[component(name = "set-attribute")]
    SetAttribute(Attribute),
    #[component(name = "set-status")]
    SetStatus(u16),
    #[component(name = "set-method")]
    SetMethod(String),
}

impl From<Edit> for x::Edit {
    fn from(edit: Edit) -> Self {
        match edit {
            Edit::SetHeader(field) => Self::SetHeader(field.into()),
            Edit::AddHeader(field) => Self::AddHeader(field.into()),
            Edit::RemoveHeader(name) => Self::RemoveHeader(name),
            Edit::SetPath(path) => Self::SetPath(path),
            Edit::SetAuthority(authority) => Self::SetAuthority(authority),
            Edit::SetAttribute(attribute) => attribute.into(),
            Edit::SetStatus(status) => Self::SetStatus(status),
            Edit::SetMethod(method) => Self::SetMethod(method),
        }
    }
}

impl From<Attribute> for x::Edit {
    fn from(Attribute { name, value }: Attribute) -> Self {
        // The contract writes `@name` in declarations and the bare or marked name in edits.
        let bare = name.strip_prefix('@').map(str::to_owned);
        Self::SetAttribute { name: bare.unwrap_or(name), value }
    }
}

fn edits<E: Into<x::Edit>>(list: Vec<E>) -> Vec<x::Edit> {
    list.into_iter().map(Into::into).collect()
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<Field>,
    body: Vec<u8>,
}

impl From<Reply> for x::Reply {
    fn from(reply: Reply) -> Self {
        let headers = reply.headers.into_iter().map(Into::into).collect();
        Self { status: reply.status, headers, body: reply.body }
    }
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum HeadVerdict<E> {
    #[component(name = "pass")]
    Pass,
    #[component(name = "change")]
    Change(Vec<E>),
    #[component(name = "answer")]
    Answer(Reply),
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct HeadDecision<E> {
    verdict: HeadVerdict<E>,
    reason: Option<String>,
}

impl<E: Into<x::Edit>> HeadDecision<E> {
    /// The decision, or the rule of the contract that it breaks. `body_bytes` bounds the body of a reply.
    pub(crate) fn checked(self, body_bytes: u64) -> Result<x::Decision, String> {
        let verdict = match self.verdict {
            HeadVerdict::Pass => x::Verdict::Pass,
            HeadVerdict::Change(list) => x::Verdict::Change(edits(list)),
            HeadVerdict::Answer(it) => x::Verdict::Answer(reply(it, body_bytes)?),
        };
        Ok(x::Decision { verdict, reason: reason(self.reason)? })
    }
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct BodyChange {
    octets: Option<Vec<u8>>,
    edits: Vec<Edit>,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum BodyVerdict {
    #[component(name = "pass")]
    Pass,
    #[component(name = "replace")]
    Replace(Vec<u8>),
    #[component(name = "change")]
    Change(BodyChange),
    #[component(name = "answer")]
    Answer(Reply),
    #[component(name = "hold")]
    Hold,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct BodyDecision {
    verdict: BodyVerdict,
    reason: Option<String>,
}

impl BodyDecision {
    /// The decision, or the rule of the contract that it breaks. A replacement may be at most `body_bytes`
    /// longer than the `shown` bytes it replaces.
    pub(crate) fn checked(self, shown: usize, body_bytes: u64) -> Result<x::Decision, String> {
        let verdict = match self.verdict {
            BodyVerdict::Pass => x::Verdict::Pass,
            BodyVerdict::Replace(octets) => {
                x::Verdict::Replace(replacement(octets, shown, body_bytes)?)
            }
            BodyVerdict::Change(BodyChange { octets, edits: list }) => {
                let octets = octets.map(|octets| replacement(octets, shown, body_bytes));
                x::Verdict::Rewrite { octets: octets.transpose()?, edits: edits(list) }
            }
            BodyVerdict::Answer(it) => x::Verdict::Answer(reply(it, body_bytes)?),
            BodyVerdict::Hold => x::Verdict::Hold,
        };
        Ok(x::Decision { verdict, reason: reason(self.reason)? })
    }
}

/// Bytes that replace a body of `shown` bytes, or a chunk.
fn replacement(octets: Vec<u8>, shown: usize, body_bytes: u64) -> Result<Vec<u8>, String> {
    let more = octets.len().saturating_sub(shown);
    within("the replacement of a body", more, body_bytes)?;
    Ok(octets)
}

/// A reply that can be sent as it is.
fn reply(reply: Reply, body_bytes: u64) -> Result<x::Reply, String> {
    sendable(x::Reply::from(reply), body_bytes)
}

fn sendable(reply: x::Reply, body_bytes: u64) -> Result<x::Reply, String> {
    x::check_reply(&reply)?;
    within("the body of a reply", reply.body.len(), body_bytes)?;
    Ok(reply)
}

/// A router's reply. The choice of a router has no place for a reason, so the reply states it in one header
/// [`x::ROUTER_REASON`]. It is no header of the response: the host takes it out and decides whether clients see a reason.
fn routed(reply: Reply, body_bytes: u64) -> Result<x::Reply, String> {
    let mut reply = x::Reply::from(reply);
    let stated = reply.headers.iter().position(|field| field.name == x::ROUTER_REASON);
    let stated = stated.map(|at| reply.headers.swap_remove(at));
    if let Some(stated) = &stated {
        reason(Some(String::from_utf8_lossy(&stated.value).into_owned()))?;
    }
    let mut reply = sendable(reply, body_bytes)?;
    reply.headers.extend(stated);
    Ok(reply)
}

fn within(what: &str, octets: usize, most: u64) -> Result<(), String> {
    if u64::try_from(octets).unwrap_or(u64::MAX) <= most {
        return Ok(());
    }
    Err(format!("{what} has {octets} bytes, its grant allows {most} (`limits.body`)"))
}

/// A reason that follows the contract: it is written to logs, metrics and headers.
fn reason(reason: Option<String>) -> Result<Option<String>, String> {
    let fine = |r: &str| {
        (1..=64).contains(&r.len())
            && r.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b))
    };
    match reason {
        Some(text) if !fine(&text) => {
            let shown = crate::error::short(&text, 80).escape_debug().to_string();
            Err(format!(
                "the reason `{shown}` is not 1 to 64 characters of `a-z`, `0-9`, `.` and `-`"
            ))
        }
        reason => Ok(reason),
    }
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Mirror {
    backend: u32,
    #[component(name = "share-permille")]
    share_permille: u32,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Selection<E> {
    rule: u32,
    backend: u32,
    #[component(name = "request-timeout-ms")]
    request_timeout_ms: u32,
    #[component(name = "attempt-timeout-ms")]
    attempt_timeout_ms: u32,
    hash: Option<u64>,
    #[component(name = "request-edits")]
    request_edits: Vec<E>,
    #[component(name = "response-edits")]
    response_edits: Vec<E>,
    mirrors: Vec<Mirror>,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Choice<E> {
    #[component(name = "forward")]
    Forward(Selection<E>),
    #[component(name = "answer")]
    Answer(Reply),
    #[component(name = "unmatched")]
    Unmatched,
}

/// Mirrors that a router may ask for, per request.
const MAX_MIRRORS: usize = 8;

impl<E: Into<x::Edit>> Choice<E> {
    /// The choice, or the rule of the contract that it breaks.
    pub(crate) fn checked(self, body_bytes: u64) -> Result<x::Choice, String> {
        Ok(match self {
            Self::Forward(s) if s.mirrors.len() > MAX_MIRRORS => {
                return Err(format!(
                    "{} mirrors; a request may have at most {MAX_MIRRORS}",
                    s.mirrors.len()
                ));
            }
            Self::Forward(s) => x::Choice::Forward(Box::new(x::Selection {
                rule: s.rule,
                backend: s.backend,
                request_timeout_ms: s.request_timeout_ms,
                attempt_timeout_ms: s.attempt_timeout_ms,
                hash: s.hash,
                request_edits: edits(s.request_edits),
                response_edits: edits(s.response_edits),
                mirrors: s
                    .mirrors
                    .iter()
                    .map(|m| x::Mirror { backend: m.backend, share_permille: m.share_permille })
                    .collect(),
            })),
            Self::Answer(it) => x::Choice::Answer(routed(it, body_bytes)?),
            Self::Unmatched => x::Choice::Unmatched,
        })
    }
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Cause {
    #[component(name = "connect-failure")]
    ConnectFailure,
    #[component(name = "refused-stream")]
    RefusedStream,
    #[component(name = "reset")]
    Reset,
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "status")]
    Status,
    #[component(name = "other")]
    Other,
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct Failure {
    rule: u32,
    attempt: u32,
    cause: Cause,
    status: u16,
    #[component(name = "grpc-status")]
    grpc_status: Option<u32>,
    #[component(name = "elapsed-ms")]
    elapsed_ms: u32,
    #[component(name = "remaining-ms")]
    remaining_ms: u32,
    idempotent: bool,
    replayable: bool,
    #[component(name = "retry-after-ms")]
    retry_after_ms: Option<u32>,
    #[component(name = "budget-left")]
    budget_left: u32,
}

impl From<&x::Failure> for Failure {
    fn from(f: &x::Failure) -> Self {
        Self {
            rule: f.rule,
            attempt: f.attempt,
            cause: match f.cause {
                x::Cause::ConnectFailure => Cause::ConnectFailure,
                x::Cause::RefusedStream => Cause::RefusedStream,
                x::Cause::Reset => Cause::Reset,
                x::Cause::Timeout => Cause::Timeout,
                x::Cause::Status => Cause::Status,
                x::Cause::Other => Cause::Other,
            },
            status: f.status,
            grpc_status: f.grpc_status,
            elapsed_ms: f.elapsed_ms,
            remaining_ms: f.remaining_ms,
            idempotent: f.idempotent,
            replayable: f.replayable,
            retry_after_ms: f.retry_after_ms,
            budget_left: f.budget_left,
        }
    }
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum RetryVerdict {
    #[component(name = "give-up")]
    GiveUp,
    #[component(name = "again")]
    Again(u32),
    #[component(name = "elsewhere")]
    Elsewhere(u32),
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct RetryDecision {
    verdict: RetryVerdict,
    reason: Option<String>,
}

impl RetryDecision {
    /// The decision, or the rule of the contract that it breaks.
    pub(crate) fn checked(self) -> Result<x::RetryDecision, String> {
        let verdict = match self.verdict {
            RetryVerdict::GiveUp => x::RetryVerdict::GiveUp,
            RetryVerdict::Again(ms) => x::RetryVerdict::Again(ms),
            RetryVerdict::Elsewhere(ms) => x::RetryVerdict::Elsewhere(ms),
        };
        Ok(x::RetryDecision { verdict, reason: reason(self.reason)? })
    }
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct Window {
    #[component(name = "span-ms")]
    span_ms: u32,
    successes: u32,
    failures: u32,
    timeouts: u32,
    slow: u32,
    #[component(name = "consecutive-failures")]
    consecutive_failures: u32,
    #[component(name = "in-flight")]
    in_flight: u32,
    #[component(name = "ewma-latency-us")]
    ewma_latency_us: u32,
}

impl From<&x::Window> for Window {
    fn from(w: &x::Window) -> Self {
        Self {
            span_ms: w.span_ms,
            successes: w.successes,
            failures: w.failures,
            timeouts: w.timeouts,
            slow: w.slow,
            consecutive_failures: w.consecutive_failures,
            in_flight: w.in_flight,
            ewma_latency_us: w.ewma_latency_us,
        }
    }
}

#[derive(ComponentType, Lower, Lift, Clone, Copy)]
#[component(variant)]
pub(crate) enum Circuit {
    #[component(name = "closed")]
    Closed,
    #[component(name = "open")]
    Open(u32),
    #[component(name = "half-open")]
    HalfOpen(u32),
}

impl From<x::Circuit> for Circuit {
    fn from(circuit: x::Circuit) -> Self {
        match circuit {
            x::Circuit::Closed => Self::Closed,
            x::Circuit::Open(ms) => Self::Open(ms),
            x::Circuit::HalfOpen(probes) => Self::HalfOpen(probes),
        }
    }
}

impl From<Circuit> for x::Circuit {
    fn from(circuit: Circuit) -> Self {
        match circuit {
            Circuit::Closed => Self::Closed,
            Circuit::Open(ms) => Self::Open(ms),
            Circuit::HalfOpen(probes) => Self::HalfOpen(probes),
        }
    }
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct EndpointState {
    id: u32,
    #[component(name = "configured-weight")]
    configured_weight: u32,
    #[component(name = "in-flight")]
    in_flight: u32,
    #[component(name = "ewma-latency-us")]
    ewma_latency_us: u32,
    #[component(name = "success-permille")]
    success_permille: u32,
    #[component(name = "age-ms")]
    age_ms: u64,
    #[component(name = "local-zone")]
    local_zone: bool,
}

impl From<&crate::hooks::EndpointState> for EndpointState {
    fn from(e: &crate::hooks::EndpointState) -> Self {
        Self {
            id: e.id,
            configured_weight: e.configured_weight,
            in_flight: e.in_flight,
            ewma_latency_us: e.ewma_latency_us,
            success_permille: e.success_permille,
            age_ms: e.age_ms,
            local_zone: e.local_zone,
        }
    }
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct Latencies {
    rule: u32,
    samples: u32,
    #[component(name = "p50-us")]
    p50_us: u32,
    #[component(name = "p90-us")]
    p90_us: u32,
    #[component(name = "p95-us")]
    p95_us: u32,
    #[component(name = "p99-us")]
    p99_us: u32,
}

impl From<&crate::hooks::Latencies> for Latencies {
    fn from(l: &crate::hooks::Latencies) -> Self {
        Self {
            rule: l.rule,
            samples: l.samples,
            p50_us: l.p50_us,
            p90_us: l.p90_us,
            p95_us: l.p95_us,
            p99_us: l.p99_us,
        }
    }
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum NameKind {
    #[component(name = "rule")]
    Rule,
    #[component(name = "upstream")]
    Upstream,
    #[component(name = "endpoint")]
    Endpoint,
    #[component(name = "identity")]
    Identity,
    #[component(name = "reason")]
    Reason,
    #[component(name = "filter")]
    Filter,
}

impl From<x::NameKind> for NameKind {
    fn from(kind: x::NameKind) -> Self {
        match kind {
            x::NameKind::Rule => Self::Rule,
            x::NameKind::Upstream => Self::Upstream,
            x::NameKind::Endpoint => Self::Endpoint,
            x::NameKind::Identity => Self::Identity,
            x::NameKind::Reason => Self::Reason,
            x::NameKind::Filter => Self::Filter,
        }
    }
}

flags! {
    Outcome {
        #[component(name = "client-gone")]
        const CLIENT_GONE;
        #[component(name = "upstream-failed")]
        const UPSTREAM_FAILED;
        #[component(name = "timed-out")]
        const TIMED_OUT;
        #[component(name = "refused-by-filter")]
        const REFUSED_BY_FILTER;
        #[component(name = "retried")]
        const RETRIED;
        #[component(name = "hedged")]
        const HEDGED;
        #[component(name = "reset")]
        const RESET;
    }
}

impl From<x::Outcome> for Outcome {
    fn from(outcome: x::Outcome) -> Self {
        let mut flags = Self::empty();
        for (from, to) in [
            (x::Outcome::CLIENT_GONE, Self::CLIENT_GONE),
            (x::Outcome::UPSTREAM_FAILED, Self::UPSTREAM_FAILED),
            (x::Outcome::TIMED_OUT, Self::TIMED_OUT),
            (x::Outcome::REFUSED_BY_FILTER, Self::REFUSED_BY_FILTER),
            (x::Outcome::RETRIED, Self::RETRIED),
            (x::Outcome::HEDGED, Self::HEDGED),
            (x::Outcome::RESET, Self::RESET),
        ] {
            if outcome.contains(from) {
                flags |= to;
            }
        }
        flags
    }
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct Ending<'a> {
    outcome: Outcome,
    status: u16,
    #[component(name = "grpc-status")]
    grpc_status: Option<u16>,
    #[component(name = "duration-us")]
    duration_us: u64,
    #[component(name = "upstream-us")]
    upstream_us: u64,
    attempts: u32,
    #[component(name = "bytes-in")]
    bytes_in: u64,
    #[component(name = "bytes-out")]
    bytes_out: u64,
    reason: Option<&'a str>,
}

impl<'a> From<&'a x::Ending> for Ending<'a> {
    fn from(ending: &'a x::Ending) -> Self {
        Self {
            outcome: ending.outcome.into(),
            status: ending.status,
            grpc_status: ending.grpc_status,
            duration_us: ending.duration_us,
            upstream_us: ending.upstream_us,
            attempts: ending.attempts,
            bytes_in: ending.bytes_in,
            bytes_out: ending.bytes_out,
            reason: ending.reason.as_deref(),
        }
    }
}

#[cfg_attr(not(test), expect(dead_code, reason = "lifted only"))]
#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Scope {
    #[component(name = "exchange")]
    Exchange,
    #[component(name = "connection")]
    Connection,
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct Summary {
    exchange: u64,
    #[component(name = "start-unix-us")]
    start_unix_us: u64,
    #[component(name = "duration-us")]
    duration_us: u32,
    #[component(name = "upstream-us")]
    upstream_us: u32,
    status: u16,
    #[component(name = "grpc-status")]
    grpc_status: u16,
    outcome: Outcome,
    attempts: u32,
    #[component(name = "bytes-in")]
    bytes_in: u64,
    #[component(name = "bytes-out")]
    bytes_out: u64,
    rule: u32,
    upstream: u32,
    endpoint: u32,
    peer: u32,
    reason: u32,
}

impl From<&x::Summary> for Summary {
    fn from(s: &x::Summary) -> Self {
        Self {
            exchange: s.exchange,
            start_unix_us: s.start_unix_us,
            duration_us: s.duration_us,
            upstream_us: s.upstream_us,
            status: s.status,
            grpc_status: s.grpc_status,
            outcome: s.outcome.into(),
            attempts: s.attempts,
            bytes_in: s.bytes_in,
            bytes_out: s.bytes_out,
            rule: s.rule,
            upstream: s.upstream,
            endpoint: s.endpoint,
            peer: s.peer,
            reason: s.reason,
        }
    }
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum ConnectionVerdict {
    #[component(name = "allow")]
    Allow,
    #[component(name = "deny")]
    Deny,
    #[component(name = "tunnel")]
    Tunnel(u32),
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct ConnectionDecision {
    verdict: ConnectionVerdict,
    reason: Option<String>,
}

impl ConnectionDecision {
    /// The decision, or the rule of the contract that it breaks.
    pub(crate) fn checked(self) -> Result<x::ConnectionDecision, String> {
        let verdict = match self.verdict {
            ConnectionVerdict::Allow => x::ConnectionVerdict::Allow,
            ConnectionVerdict::Deny => x::ConnectionVerdict::Deny,
            ConnectionVerdict::Tunnel(backend) => x::ConnectionVerdict::Tunnel(backend),
        };
        Ok(x::ConnectionDecision { verdict, reason: reason(self.reason)? })
    }
}

#[expect(dead_code, reason = "lifted whole, used in part")]
#[derive(ComponentType, Lift, Clone, Copy, PartialEq, Eq)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum BodyMode {
    #[component(name = "none")]
    None,
    #[component(name = "buffered")]
    Buffered,
    #[component(name = "chunks")]
    Chunks,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Interest {
    pub(crate) reads: Vec<String>,
    pub(crate) writes: Vec<String>,
    #[component(name = "request-body")]
    pub(crate) request_body: BodyMode,
    #[component(name = "response-body")]
    pub(crate) response_body: BodyMode,
    #[component(name = "body-limit-bytes")]
    pub(crate) body_limit_bytes: u32,
    pub(crate) responses: Responses,
    pub(crate) extra: Vec<Attribute>,
}

#[expect(dead_code, reason = "lifted only")]
#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Responses {
    #[component(name = "upstream")]
    Upstream,
    #[component(name = "local")]
    Local,
    #[component(name = "all")]
    All,
}

impl From<Responses> for crate::Responses {
    fn from(responses: Responses) -> Self {
        match responses {
            Responses::Upstream => Self::Upstream,
            Responses::Local => Self::Local,
            Responses::All => Self::All,
        }
    }
}

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(crate) struct ConfigError {
    pub(crate) pointer: String,
    pub(crate) message: String,
}

#[expect(dead_code, reason = "lifted whole, used in part")]
#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum LogLevel {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

#[expect(dead_code, reason = "lifted whole, used in part")]
#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum MetricKind {
    #[component(name = "counter")]
    Counter,
    #[component(name = "gauge")]
    Gauge,
    #[component(name = "histogram")]
    Histogram,
}

#[derive(ComponentType, Lift, Clone, Copy, PartialEq, Eq, Debug)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Algorithm {
    #[component(name = "rs256")]
    Rs256,
    #[component(name = "rs384")]
    Rs384,
    #[component(name = "rs512")]
    Rs512,
    #[component(name = "ps256")]
    Ps256,
    #[component(name = "ps384")]
    Ps384,
    #[component(name = "ps512")]
    Ps512,
    #[component(name = "es256")]
    Es256,
    #[component(name = "es384")]
    Es384,
    #[component(name = "es512")]
    Es512,
    #[component(name = "eddsa")]
    Eddsa,
    #[component(name = "hs256")]
    Hs256,
    #[component(name = "hs384")]
    Hs384,
    #[component(name = "hs512")]
    Hs512,
}

#[expect(dead_code, reason = "lifted whole, used in part")]
#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Digest {
    #[component(name = "sha256")]
    Sha256,
    #[component(name = "sha384")]
    Sha384,
    #[component(name = "sha512")]
    Sha512,
}

#[derive(ComponentType, Lower, Clone)]
#[component(record)]
pub(crate) struct KvEntry {
    pub(crate) value: Vec<u8>,
    pub(crate) version: u64,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Outgoing {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<Field>,
    pub(crate) body: Vec<u8>,
    #[component(name = "timeout-ms")]
    pub(crate) timeout_ms: u32,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Incoming {
    pub(crate) status: u16,
    pub(crate) headers: Vec<Field>,
    pub(crate) body: Vec<u8>,
}

#[derive(ComponentType, Lower)]
#[component(variant)]
pub(crate) enum HttpFailure {
    #[component(name = "denied")]
    Denied(String),
    #[component(name = "connect")]
    Connect(String),
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "too-large")]
    TooLarge,
    #[component(name = "exhausted")]
    Exhausted,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct FinishedSpan {
    pub(crate) exchange: u64,
    pub(crate) name: String,
    #[component(name = "start-unix-us")]
    pub(crate) start_unix_us: u64,
    #[component(name = "duration-us")]
    pub(crate) duration_us: u32,
    pub(crate) attributes: Vec<Attribute>,
}

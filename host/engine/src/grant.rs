//! What a filter may import, read, write and spend. Nothing is allowed implicitly.

use crate::field::listed;
use crate::{GrantPlace, Hook, Inspection, StateScope};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tamis_exchange::{HeadSide, TRAILER};

/// Capabilities this host offers, by interface name.
pub(crate) const CAPABILITIES: [&str; 14] = [
    "log",
    "metrics",
    "clock",
    "random",
    "crypto",
    "passwords",
    "secrets",
    "quota",
    "counters",
    "kv",
    "exchange-state",
    "http-client",
    "spans",
    "records",
];

/// The permissions of a filter, as a security team granted them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Grant {
    /// Capabilities, each with its settings.
    pub imports: Imports,
    /// Fields that hooks may read, as in `interest.reads`: header names, `@attributes`, `@*`, `*`,
    /// `trailer:NAME`, `trailer:*`. Pseudo-headers are always readable.
    pub reads: Vec<String>,
    /// Fields that edits may write, as in `interest.writes`: header names, `:path`, `:authority`,
    /// `:method`, `:status`, `:coding`, `@attributes`, `@*`, `*`, `trailer:NAME`, `trailer:*`.
    pub writes: Vec<String>,
    /// What of `reads` and `writes` holds in requests; `None`: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_requests: Option<GrantedFields>,
    /// What of them holds in responses; `None`: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_responses: Option<GrantedFields>,
    /// It may read and replace request bodies.
    pub request_body: bool,
    /// It may read and replace response bodies.
    pub response_body: bool,
    /// What it may spend.
    pub limits: Limits,
}

/// Fields that a filter may read and write in the messages of a side.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct GrantedFields {
    /// As [`Grant::reads`].
    pub reads: Vec<String>,
    /// As [`Grant::writes`].
    pub writes: Vec<String>,
}

/// Settings of each granted capability; `None` means not granted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[expect(missing_docs, reason = "one field for each capability, named like its interface")]
pub struct Imports {
    pub log: Option<LogGrant>,
    pub metrics: Option<MetricsGrant>,
    pub clock: Option<UnitSettings>,
    pub random: Option<UnitSettings>,
    pub crypto: Option<UnitSettings>,
    pub passwords: Option<PasswordsGrant>,
    pub secrets: Option<SecretsGrant>,
    pub quota: Option<QuotaGrant>,
    pub counters: Option<CountersGrant>,
    pub kv: Option<KvGrant>,
    pub exchange_state: Option<ExchangeStateGrant>,
    pub http_client: Option<HttpClientGrant>,
    pub spans: Option<RateGrant>,
    pub records: Option<RateGrant>,
}

/// A capability without settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitSettings {}

macro_rules! settings {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase", default)]
        pub struct $name { $($(#[$field_doc])* pub $field: $ty,)* }
        impl Default for $name {
            fn default() -> Self { Self { $($field: $default,)* } }
        }
    };
}

settings! {
    /// `log`.
    LogGrant {
        /// Lines above this rate are dropped and counted. Default 100.
        per_second: u32 = 100,
        /// Longer messages are cut. Default 4096.
        max_bytes: usize = 4096,
    }
}
settings! {
    /// `metrics`.
    MetricsGrant {
        /// Series of each metric. Default 1000.
        series: usize = 1000,
        /// Metrics a filter may define. Default 64.
        metrics: usize = 64,
    }
}
settings! {
    /// `passwords`.
    PasswordsGrant {
        /// Calls of its hook that wait at once for a comparison. Default 16.
        concurrent: u32 = 16,
    }
}
settings! {
    /// `secrets`.
    SecretsGrant {
        /// Names it may open.
        names: Vec<String> = Vec::new(),
        /// It may see their values.
        reveal: bool = false,
    }
}
settings! {
    /// One class of a quota: a token bucket for each key.
    QuotaClass {
        /// Tokens added each second. Default 1.
        per_second: f64 = 1.0,
        /// Size of the bucket. Default 1.
        burst: u32 = 1,
    }
}
settings! {
    /// `quota`.
    QuotaGrant {
        /// Classes the filter may name.
        classes: BTreeMap<String, QuotaClass> = BTreeMap::new(),
        /// Proxies that keep a bucket together.
        scope: StateScope = StateScope::Proxy,
        /// Buckets kept. Default 100,000.
        keys: usize = 100_000,
        /// Bytes of a key; a longer key is stored as its SHA-256. Default 256.
        key_bytes: usize = 256,
        /// Bytes of all buckets. Default 16 MiB.
        total_bytes: usize = 16 * 1024 * 1024,
        /// Classes that are not named never run out. No document can set this: it exists for the
        /// developer's sandbox.
        #[serde(skip)]
        endless: bool = false,
    }
}
settings! {
    /// `counters`.
    CountersGrant {
        /// Proxies that count together.
        scope: StateScope = StateScope::Proxy,
        /// Counters kept. Default 10,000.
        keys: usize = 10_000,
        /// Bytes of a name or key; a longer one is stored as its SHA-256. Default 256.
        key_bytes: usize = 256,
        /// Bytes of all counters. Default 8 MiB.
        total_bytes: usize = 8 * 1024 * 1024,
    }
}
settings! {
    /// `kv`.
    KvGrant {
        /// Entries kept. Default 10,000.
        entries: usize = 10_000,
        /// Bytes of a key. Default 512.
        key_bytes: usize = 512,
        /// Bytes of a value. Default 64 KiB.
        value_bytes: usize = 64 * 1024,
        /// Bytes of all keys and values. Default 16 MiB.
        total_bytes: usize = 16 * 1024 * 1024,
    }
}
settings! {
    /// `exchange-state`.
    ExchangeStateGrant {
        /// Values of an exchange, and of a connection. Default 16.
        entries: usize = 16,
        /// Bytes of the keys and values of an exchange, and of a connection. Default 16 KiB.
        bytes: usize = 16 * 1024,
        /// Bytes of all keys and values. Default 16 MiB.
        total_bytes: usize = 16 * 1024 * 1024,
    }
}
settings! {
    /// Responses to calls that are kept, and for how long.
    CallCacheGrant {
        /// Longest use of a response.
        ttl_ms: u64 = 0,
        /// Headers of requests that `vary` may name, and without which those of one caller are not kept.
        headers: Vec<String> = Vec::new(),
        /// Responses kept. Default 1,000.
        entries: usize = 1_000,
        /// Bytes of all responses. Default 4 MiB.
        total_bytes: usize = 4 * 1024 * 1024,
    }
}
settings! {
    /// `http-client`.
    HttpClientGrant {
        /// `HOST` or `HOST:PORT`, exactly.
        hosts: Vec<String> = Vec::new(),
        /// `namespace/name` of services of the mesh.
        services: Vec<String> = Vec::new(),
        /// Longest wait. Default 1000.
        timeout_ms: u32 = 1000,
        /// Requests above this rate are refused. Default 60.
        per_minute: u32 = 60,
        /// Bytes of a response body, and of a request body. Default 1 MiB.
        max_bytes: usize = 1024 * 1024,
        /// The hook on request heads may send requests too, not only `tick`.
        during_requests: bool = false,
        /// Further hooks that may: `router`, `request-body`, `response`, `response-body`. No other hook may.
        hooks: Vec<String> = Vec::new(),
        /// Calls of hooks that wait at once. Default 64.
        concurrent: u32 = 64,
        /// How responses are kept; `None`: none is.
        cache: Option<CallCacheGrant> = None,
        /// `http:` URLs are allowed for these hosts.
        clear_text: bool = false,
        /// Authorities these hosts' certificates are of, in PEM, instead of the machine's.
        ca: Option<std::sync::Arc<str>> = None,
    }
}
settings! {
    /// `spans`, `records`.
    RateGrant {
        /// Items above this rate are dropped and counted. Default 10,000.
        per_second: u32 = 10_000,
        /// Bytes of one item; a longer one is dropped and counted. Default 64 KiB.
        max_bytes: usize = 64 * 1024,
        /// Bytes of all items in a second; items above it are dropped and counted. Default 4 MiB.
        bytes_per_second: u32 = 4 * 1024 * 1024,
    }
}
settings! {
    /// What a filter may spend on a call and hold in memory.
    Limits {
        /// CPU time of a hook; rounded up to a millisecond. Default 5000.
        time_us: u64 = 5_000,
        /// CPU time of `configure` and `validate`. Default 2,000,000.
        configure_us: u64 = 2_000_000,
        /// All linear memories of an instance. Default 16 MiB.
        memory_bytes: u64 = 16 * 1024 * 1024,
        /// Longest body it may buffer, replace another by, or answer with. Default 1 MiB.
        body_bytes: u64 = 1024 * 1024,
    }
}

/// A setting of a grant that exceeds the limit of this host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the grant of filter `{filter}` sets `{setting}: {asked}`, but this host allows at most {most}; lower it"
)]
pub struct CeilingExcess {
    /// Name of the filter.
    pub filter: String,
    /// Its path in the grant.
    pub setting: &'static str,
    /// Its value.
    pub asked: u64,
    /// The limit of this host.
    pub most: u64,
}

/// Checks a grant against the limits of this host. Memory is not checked: a grant above
/// [`crate::MAX_MEMORY_BYTES`] gives that much.
///
/// # Errors
/// Names the first setting above its limit.
pub fn check_ceilings(filter: &str, grant: &Grant) -> Result<(), CeilingExcess> {
    const MIB: u64 = 1024 * 1024;
    let size = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
    let (imports, limits) = (&grant.imports, &grant.limits);
    let mut asked: Vec<(&'static str, u64, u64)> = vec![
        ("limits.time", limits.time_us, 10_000_000),
        ("limits.configure", limits.configure_us, 60_000_000),
        ("limits.body", limits.body_bytes, 64 * MIB),
    ];
    if let Some(it) = &imports.log {
        asked.push(("log.perSecond", it.per_second.into(), 10_000));
        asked.push(("log.maxBytes", size(it.max_bytes), 64 * 1024));
    }
    if let Some(it) = &imports.metrics {
        asked.push(("metrics.series", size(it.series), 100_000));
        asked.push(("metrics.metrics", size(it.metrics), 256));
    }
    if let Some(it) = &imports.quota {
        asked.push(("quota.keys", size(it.keys), 1_000_000));
        asked.push(("quota.keyBytes", size(it.key_bytes), 4096));
        asked.push(("quota.totalBytes", size(it.total_bytes), 256 * MIB));
    }
    if let Some(it) = &imports.counters {
        asked.push(("counters.keys", size(it.keys), 1_000_000));
        asked.push(("counters.keyBytes", size(it.key_bytes), 4096));
        asked.push(("counters.totalBytes", size(it.total_bytes), 256 * MIB));
    }
    if let Some(it) = &imports.kv {
        asked.push(("kv.entries", size(it.entries), 1_000_000));
        asked.push(("kv.keyBytes", size(it.key_bytes), 4096));
        asked.push(("kv.valueBytes", size(it.value_bytes), 16 * MIB));
        asked.push(("kv.totalBytes", size(it.total_bytes), 256 * MIB));
    }
    if let Some(it) = &imports.exchange_state {
        asked.push(("exchange-state.entries", size(it.entries), 64));
        asked.push(("exchange-state.bytes", size(it.bytes), MIB));
        asked.push(("exchange-state.totalBytes", size(it.total_bytes), 256 * MIB));
    }
    if let Some(it) = &imports.passwords {
        asked.push(("passwords.concurrent", it.concurrent.into(), 64));
    }
    if let Some(it) = &imports.http_client {
        asked.push(("http-client.timeout", it.timeout_ms.into(), 60_000));
        asked.push(("http-client.concurrent", it.concurrent.into(), 64));
        asked.push(("http-client.perMinute", it.per_minute.into(), 60_000));
        asked.push(("http-client.maxBytes", size(it.max_bytes), 16 * MIB));
    }
    if let Some(it) = imports.http_client.as_ref().and_then(|client| client.cache.as_ref()) {
        asked.push(("http-client.cache.ttl", it.ttl_ms, 24 * 3_600_000));
        asked.push(("http-client.cache.entries", size(it.entries), 100_000));
        asked.push(("http-client.cache.totalBytes", size(it.total_bytes), 64 * MIB));
    }
    for (per_second, max_bytes, bytes_per_second, rates) in [
        ("spans.perSecond", "spans.maxBytes", "spans.bytesPerSecond", &imports.spans),
        ("records.perSecond", "records.maxBytes", "records.bytesPerSecond", &imports.records),
    ] {
        let Some(it) = rates else { continue };
        asked.push((per_second, it.per_second.into(), 100_000));
        asked.push((max_bytes, size(it.max_bytes), MIB));
        asked.push((bytes_per_second, it.bytes_per_second.into(), 64 * MIB));
    }
    match asked.into_iter().find(|(_, asked, most)| asked > most) {
        None => Ok(()),
        Some((setting, asked, most)) => {
            Err(CeilingExcess { filter: filter.to_owned(), setting, asked, most })
        }
    }
}

/// Capabilities that a component imports and its grant does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{filter}` imports {}, and its Grant does not allow that",
    listed(imports.iter().map(|import| format!("`{import}`")))
)]
pub struct MissingGrant {
    /// Names of all these interfaces.
    pub imports: Vec<String>,
    /// Name of the filter.
    pub filter: String,
}

impl MissingGrant {
    /// What to add to `imports` of its grant, in one line: logs and status join lines.
    pub(crate) fn remedy(&self, place: GrantPlace<'_>) -> String {
        let entries = self.imports.iter().map(|import| format!("`{import}: {}`", example(import)));
        let field = place.field("imports", &self.filter);
        let other = "otherwise run a version without this need";
        format!("to allow it, add {} under {field}; {other}", listed(entries))
    }
}

/// Checks that every capability a component imports is granted.
///
/// # Errors
/// Names all that are not, and the grant that would allow them.
pub fn check_imports(
    filter: &str,
    inspection: &Inspection,
    grant: &Grant,
) -> Result<(), MissingGrant> {
    let lacks = inspection.imports.iter().filter(|import| !grant.imports.allows(import));
    let imports: Vec<String> = lacks.cloned().collect();
    if imports.is_empty() {
        return Ok(());
    }
    Err(MissingGrant { imports, filter: filter.to_owned() })
}

/// Settings without a useful default, which a person has to choose.
fn example(import: &str) -> &'static str {
    match import {
        "http-client" => "{ hosts: [HOST] }",
        "secrets" => "{ names: [NAME] }",
        "quota" => "{ classes: { NAME: { rate: 10/s, burst: 20 } } }",
        _ => "{}",
    }
}

impl Imports {
    /// Whether that capability is granted.
    pub fn allows(&self, import: &str) -> bool {
        match import {
            "log" => self.log.is_some(),
            "metrics" => self.metrics.is_some(),
            "clock" => self.clock.is_some(),
            "random" => self.random.is_some(),
            "crypto" => self.crypto.is_some(),
            "passwords" => self.passwords.is_some(),
            "secrets" => self.secrets.is_some(),
            "quota" => self.quota.is_some(),
            "counters" => self.counters.is_some(),
            "kv" => self.kv.is_some(),
            "exchange-state" => self.exchange_state.is_some(),
            "http-client" => self.http_client.is_some(),
            "spans" => self.spans.is_some(),
            "records" => self.records.is_some(),
            _ => false,
        }
    }

    /// Every capability with its default settings, for tests and for the developer's sandbox. Names no host
    /// and no secret; its quotas never run out.
    pub fn everything() -> Self {
        Self {
            log: Some(LogGrant::default()),
            metrics: Some(MetricsGrant::default()),
            clock: Some(UnitSettings {}),
            random: Some(UnitSettings {}),
            crypto: Some(UnitSettings {}),
            passwords: Some(PasswordsGrant::default()),
            secrets: Some(SecretsGrant::default()),
            quota: Some(QuotaGrant { endless: true, ..QuotaGrant::default() }),
            counters: Some(CountersGrant::default()),
            kv: Some(KvGrant::default()),
            exchange_state: Some(ExchangeStateGrant::default()),
            http_client: Some(HttpClientGrant::default()),
            spans: Some(RateGrant::default()),
            records: Some(RateGrant::default()),
        }
    }
}

/// What in a grant of `http-client` lets a hook send requests and wait for the responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallCondition {
    /// The grant itself.
    Granted,
    /// `duringRequests`.
    DuringRequests,
    /// Its name among the `hooks`.
    Named,
    /// Nothing.
    Never,
}

impl CallCondition {
    pub(crate) fn of(hook: Hook) -> Self {
        match hook {
            Hook::Tick => Self::Granted,
            Hook::Request => Self::DuringRequests,
            Hook::Router | Hook::RequestBody | Hook::Response | Hook::ResponseBody => Self::Named,
            Hook::Retry
            | Hook::Hedge
            | Hook::CircuitBreaker
            | Hook::Balancer
            | Hook::Trailers
            | Hook::Finished
            | Hook::Telemetry
            | Hook::Connection => Self::Never,
        }
    }
}

impl HttpClientGrant {
    /// Whether a hook may send requests and wait for the responses.
    pub fn lets_call(&self, hook: Hook) -> bool {
        match CallCondition::of(hook) {
            CallCondition::Granted => true,
            CallCondition::DuringRequests => self.during_requests,
            CallCondition::Named => self.hooks.iter().any(|named| named == hook.as_str()),
            CallCondition::Never => false,
        }
    }
}

impl Grant {
    /// Every import, header, attribute and body with default limits: for tests and the developer's sandbox.
    pub fn everything() -> Self {
        Self {
            imports: Imports::everything(),
            reads: vec!["*".into(), "@*".into(), "trailer:*".into()],
            writes: [
                "*",
                ":path",
                ":authority",
                ":method",
                ":status",
                ":coding",
                "@*",
                "trailer:*",
            ]
            .map(str::to_owned)
            .into(),
            in_requests: None,
            in_responses: None,
            request_body: true,
            response_body: true,
            limits: Limits::default(),
        }
    }

    /// Whether hooks may read `field` of `interest.reads`.
    pub fn may_read(&self, field: &str) -> bool {
        if field.starts_with(':') {
            return true;
        }
        covers(&self.reads, field.strip_prefix("request:").unwrap_or(field))
    }

    /// Whether hooks may read `field` in the messages of a side. `request:NAME` is of requests wherever it is read.
    pub(crate) fn may_read_in(&self, field: &str, side: HeadSide) -> bool {
        let name = field.strip_prefix("request:");
        let side = if name.is_some() { HeadSide::Request } else { side };
        let granted = self.of(side).map_or(&self.reads, |fields| &fields.reads);
        field.starts_with(':') || covers(granted, name.unwrap_or(field))
    }

    /// Whether edits of the messages of a side may write `field`, which [`Self::may_write`] allows.
    pub(crate) fn may_write_in(&self, field: &str, side: HeadSide) -> bool {
        let granted = self.of(side).map_or(&self.writes, |fields| &fields.writes);
        if tamis_exchange::is_host_field(field) {
            return granted.iter().any(|granted| granted == field);
        }
        covers(granted, field)
    }

    fn of(&self, side: HeadSide) -> Option<&GrantedFields> {
        match side {
            HeadSide::Request => self.in_requests.as_ref(),
            HeadSide::Response => self.in_responses.as_ref(),
        }
    }

    /// Whether edits may write `field` of `interest.writes`. `*` does not cover headers in which the host
    /// states who is asking ([`tamis_exchange::is_host_field`]); attributes that the host sets are never
    /// writable.
    pub fn may_write(&self, field: &str) -> bool {
        if field.strip_prefix('@').is_some_and(tamis_exchange::is_host_attribute) {
            return false;
        }
        if tamis_exchange::is_host_field(field) {
            return self.writes.iter().any(|granted| granted == field);
        }
        covers(&self.writes, field)
    }
}

fn covers(granted: &[String], field: &str) -> bool {
    granted.iter().any(|g| match (g.as_str(), field.strip_prefix('@')) {
        ("@*", Some(_)) => true,
        ("*", None) => !field.starts_with(':') && !field.starts_with(TRAILER),
        ("trailer:*", _) => field.starts_with(TRAILER),
        (g, _) => g == field,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_half_of_a_grant_gives_holds_in_the_messages_of_that_half_alone() {
        let fields = |reads: &[&str], writes: &[&str]| {
            let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
            Some(GrantedFields { reads: owned(reads), writes: owned(writes) })
        };
        let grant = Grant {
            reads: vec!["*".into(), "authorization".into(), "@a".into()],
            writes: vec!["x-team".into(), "via".into(), "trailer:*".into()],
            in_requests: fields(&["authorization"], &["via"]),
            in_responses: fields(&["*", "@a"], &["x-team", "trailer:*"]),
            ..Grant::default()
        };
        for (field, request, response) in [
            ("authorization", true, true),
            ("x-other", false, true),
            ("request:authorization", true, true),
            ("request:x-other", false, false),
            ("@a", false, true),
            ("*", false, true),
            (":path", true, true),
        ] {
            let read = (
                grant.may_read_in(field, HeadSide::Request),
                grant.may_read_in(field, HeadSide::Response),
            );
            assert_eq!(read, (request, response), "reads {field}");
        }
        for (field, request, response) in
            [("x-team", false, true), ("via", true, false), ("trailer:x-sum", false, true)]
        {
            let written = (
                grant.may_write_in(field, HeadSide::Request),
                grant.may_write_in(field, HeadSide::Response),
            );
            assert_eq!(written, (request, response), "writes {field}");
        }
        let whole = Grant { in_requests: None, in_responses: None, ..grant };
        assert!(whole.may_read_in("x-other", HeadSide::Request));
        assert!(whole.may_write_in("via", HeadSide::Response));
    }

    #[test]
    fn a_star_covers_headers_but_neither_attributes_nor_the_path() {
        let grant = Grant { reads: vec!["*".into()], writes: vec!["*".into()], ..Grant::default() };
        assert!(grant.may_read("cookie") && grant.may_read("request:cookie"));
        assert!(grant.may_read(":path") && !grant.may_read("@peer.spiffe-id"));
        assert!(grant.may_write("x-a") && !grant.may_write(":path") && !grant.may_write("@x"));
        assert!(!grant.may_read("trailer:a") && !grant.may_write("trailer:a"));
        let named = vec!["trailer:a".to_owned()];
        let any = Grant { reads: vec!["trailer:*".into()], writes: named, ..Grant::default() };
        assert!(any.may_read("trailer:b") && !any.may_read("b") && !any.may_read("trailer"));
        assert!(any.may_write("trailer:a") && !any.may_write("trailer:b") && !any.may_write("a"));
    }

    #[test]
    fn no_star_covers_what_the_host_says_of_peer_and_way() {
        let any = Grant::everything();
        for field in ["x-forwarded-for", "x_forwarded_for", "forwarded", "via", "@peer.spiffe-id"] {
            assert!(!any.may_write(field), "{field}");
        }
        let writes = vec!["x-forwarded-for".to_owned(), "@source.address".to_owned()];
        let named = Grant { writes, ..Grant::default() };
        assert!(named.may_write("x-forwarded-for"), "a grant may name a header");
        assert!(!named.may_write("@source.address"), "and no fact");
    }

    #[test]
    fn a_grant_gives_no_more_than_the_host_gives_anybody() {
        assert_eq!(check_ceilings("a/b", &Grant::everything()), Ok(()));
        let json = |text: &str| serde_json::from_str::<Grant>(text).unwrap();
        for (setting, text) in [
            ("limits.body", r#"{"limits":{"bodyBytes":4294967295}}"#),
            ("limits.time", r#"{"limits":{"timeUs":18446744073709551615}}"#),
            ("limits.configure", r#"{"limits":{"configureUs":18446744073709551615}}"#),
            ("quota.keyBytes", r#"{"imports":{"quota":{"keyBytes":1048576}}}"#),
            ("quota.totalBytes", r#"{"imports":{"quota":{"totalBytes":18446744073709551615}}}"#),
            ("counters.keys", r#"{"imports":{"counters":{"keys":10000000}}}"#),
            ("kv.totalBytes", r#"{"imports":{"kv":{"totalBytes":18446744073709551615}}}"#),
            ("records.bytesPerSecond", r#"{"imports":{"records":{"bytesPerSecond":4294967295}}}"#),
            ("spans.maxBytes", r#"{"imports":{"spans":{"maxBytes":4294967295}}}"#),
            ("log.maxBytes", r#"{"imports":{"log":{"maxBytes":4294967295}}}"#),
            ("http-client.concurrent", r#"{"imports":{"http-client":{"concurrent":65}}}"#),
            ("passwords.concurrent", r#"{"imports":{"passwords":{"concurrent":65}}}"#),
            (
                "http-client.cache.ttl",
                r#"{"imports":{"http-client":{"cache":{"ttlMs":86400001}}}}"#,
            ),
            (
                "http-client.cache.totalBytes",
                r#"{"imports":{"http-client":{"cache":{"totalBytes":1073741824}}}}"#,
            ),
            ("http-client.maxBytes", r#"{"imports":{"http-client":{"maxBytes":4294967295}}}"#),
            ("metrics.metrics", r#"{"imports":{"metrics":{"metrics":4294967295}}}"#),
        ] {
            let error = check_ceilings("a/b", &json(text)).unwrap_err();
            assert_eq!(error.setting, setting);
        }
    }

    #[test]
    fn a_missing_import_names_the_grant_to_write() {
        let inspection = Inspection {
            contract: crate::Contract::NEWEST,
            hooks: vec![],
            imports: vec!["log".into(), "http-client".into(), "kv".into()],
            wasi: vec![],
            others: vec![],
            size: 0,
        };
        let imports = Imports { log: Some(LogGrant::default()), ..Imports::default() };
        let error = check_imports("auth/jwt", &inspection, &Grant { imports, ..Grant::default() })
            .unwrap_err();
        assert_eq!(error.imports, ["http-client", "kv"]);
        assert_eq!(
            error.to_string(),
            "`auth/jwt` imports `http-client` and `kv`, and its Grant does not allow that"
        );
        let entries = "`http-client: { hosts: [HOST] }` and `kv: {}`";
        for (place, field) in [
            (GrantPlace::Document, "`spec.imports` of the Grant of auth/jwt"),
            (GrantPlace::File("grant.yaml"), "`spec.imports` in grant.yaml"),
            (GrantPlace::Table("tests/cases.yaml"), "`grant.imports` in tests/cases.yaml"),
        ] {
            let said = error.remedy(place);
            assert!(
                said.starts_with(&format!("to allow it, add {entries} under {field}; ")),
                "{said}"
            );
        }
    }
}

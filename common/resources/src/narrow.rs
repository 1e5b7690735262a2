//! What two Grants allow together: the one of security, and one that may only take away from it.
//!
//! This is the one place that computes it. Every field of a Grant is taken apart by name here, so that a field that is added
//! later does not compile without a rule, and a test makes Grants from the schema and fails for one whose rule lets more
//! through than either Grant allows.

use std::collections::BTreeMap;

use crate::format::{Bytes, Millis};
use crate::kinds::{
    BodyAccess, CallCacheSettings, CountersSettings, ExchangeStateSettings, ExportSettings,
    GrantSpec, GrantedImports, GrantedLimits, GrantedScope, GrantedView, HttpClientSettings,
    KvSettings, LogSettings, MetricsSettings, NoSettings, PasswordsSettings, QuotaClassSettings,
    QuotaSettings, SecretsSettings, SignedBy,
};

const MIB: u64 = 1 << 20;

/// What is left of security's grant for a filter when another grant for the same filter narrows it: nothing that not both
/// allow. A setting that one of them leaves out counts as its default.
#[must_use]
pub fn narrowed(security: &GrantSpec, own: &GrantSpec) -> GrantSpec {
    let GrantSpec { filter, signed_by, request, response, imports, limits } = security;
    GrantSpec {
        filter: filter.clone(),
        signed_by: signers(signed_by.as_ref(), own.signed_by.as_ref()),
        request: both(request.as_ref(), own.request.as_ref(), view),
        response: both(response.as_ref(), own.response.as_ref(), view),
        imports: capabilities(imports, &own.imports),
        limits: resources(limits.as_ref(), own.limits.as_ref()),
    }
}

/// What is there when both have it.
fn both<T>(one: Option<&T>, other: Option<&T>, meet: fn(&T, &T) -> T) -> Option<T> {
    one.zip(other).map(|(one, other)| meet(one, other))
}

/// The lower of two amounts; one that is not written is the default. `None` when neither is.
fn least<T: PartialOrd + Copy>(one: Option<T>, other: Option<T>, default: T) -> Option<T> {
    let lower = |one: T, other: T| if other < one { other } else { one };
    match (one, other) {
        (None, None) => None,
        (one, other) => Some(lower(one.unwrap_or(default), other.unwrap_or(default))),
    }
}

/// The higher of two amounts, for a setting where a higher amount allows less. A missing amount counts as `default`;
/// `None` if both are missing.
fn most<T: Ord + Copy>(one: Option<T>, other: Option<T>, default: T) -> Option<T> {
    match (one, other) {
        (None, None) => None,
        (one, other) => Some(one.unwrap_or(default).max(other.unwrap_or(default))),
    }
}

/// What is allowed when both say so; what is not written is not allowed. `None` when neither is written.
fn allowed(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (None, None) => None,
        (one, other) => Some(one.unwrap_or(false) && other.unwrap_or(false)),
    }
}

/// Words that are in both, each once.
fn common<T: Clone + PartialEq>(one: &[T], other: &[T]) -> Vec<T> {
    let mut found: Vec<T> = Vec::new();
    for word in one.iter().filter(|word| other.contains(word)) {
        if !found.contains(word) {
            found.push(word.clone());
        }
    }
    found
}

/// The keys that are in both, and the higher of the two thresholds: what satisfies the result satisfies each of them. If too
/// few keys are in both, nothing satisfies it.
fn signers(one: Option<&SignedBy>, other: Option<&SignedBy>) -> Option<SignedBy> {
    let (one, other) = match (one, other) {
        (None, found) | (found, None) => return found.cloned(),
        (Some(one), Some(other)) => (one, other),
    };
    let SignedBy { keys, threshold } = one;
    let threshold = match (threshold, other.threshold) {
        (None, None) => None,
        (one, other) => Some(one.unwrap_or(1).max(other.unwrap_or(1))),
    };
    Some(SignedBy { keys: common(keys, &other.keys), threshold })
}

fn view(one: &GrantedView, other: &GrantedView) -> GrantedView {
    let GrantedView {
        read_headers,
        write_headers,
        read_trailers,
        write_trailers,
        attributes,
        write_attributes,
        body,
    } = one;
    let body = match (body, other.body) {
        (BodyAccess::Replace, BodyAccess::Replace) => BodyAccess::Replace,
        (BodyAccess::None | BodyAccess::Replace, _) => BodyAccess::None,
    };
    GrantedView {
        read_headers: READ_HEADERS.both(read_headers, &other.read_headers),
        write_headers: WRITE_HEADERS.both(write_headers, &other.write_headers),
        read_trailers: TRAILERS.both(read_trailers, &other.read_trailers),
        write_trailers: TRAILERS.both(write_trailers, &other.write_trailers),
        attributes: ATTRIBUTES.both(attributes, &other.attributes),
        write_attributes: ATTRIBUTES.both(write_attributes, &other.write_attributes),
        body,
    }
}

/// What the names of a list of a view mean.
struct NameRule {
    /// The form in which names are compared.
    form: fn(&str) -> String,
    /// Whether a name has to be written: `*` does not cover it.
    named: fn(&str) -> bool,
}

const READ_HEADERS: NameRule = NameRule { form: lower, named: is_pseudo };
const WRITE_HEADERS: NameRule =
    NameRule { form: lower, named: |name| is_pseudo(name) || is_of_the_host(name) };
const TRAILERS: NameRule = NameRule { form: lower, named: |_| false };
/// The host's own are never set, so that a name of one is no more than `*`.
const ATTRIBUTES: NameRule = NameRule { form: attribute, named: |_| false };

impl NameRule {
    /// That of a field of a view, by its name in a document; `None` for another field.
    fn of(field: &str) -> Option<Self> {
        match field {
            "readHeaders" => Some(READ_HEADERS),
            "writeHeaders" => Some(WRITE_HEADERS),
            "readTrailers" | "writeTrailers" => Some(TRAILERS),
            "attributes" | "writeAttributes" => Some(ATTRIBUTES),
            _ => None,
        }
    }

    fn forms(&self, all: &[String]) -> Vec<String> {
        all.iter().map(|name| (self.form)(name)).collect()
    }

    /// Whether these names, in their form, cover one.
    fn covers(&self, all: &[String], name: &String) -> bool {
        all.contains(name) || (!(self.named)(name) && all.iter().any(|it| it == "*"))
    }

    /// Names that both cover.
    fn both(&self, one: &[String], other: &[String]) -> Vec<String> {
        let (one, other) = (self.forms(one), self.forms(other));
        let mut found: Vec<String> = Vec::new();
        for name in one.iter().chain(&other) {
            if !found.contains(name) && self.covers(&one, name) && self.covers(&other, name) {
                found.push(name.clone());
            }
        }
        found
    }
}

/// Which names of a list in the view of a Grant are not covered by another such list: they are more than it allows. `field` is
/// the list's name in a document, such as `writeHeaders`; `None` when no list of a view has that name.
#[must_use]
pub fn uncovered_names(field: &str, by: &[String], names: &[String]) -> Option<Vec<String>> {
    let rule = NameRule::of(field)?;
    let by = rule.forms(by);
    let more = names.iter().filter(|name| !rule.covers(&by, &(rule.form)(name)));
    Some(more.cloned().collect())
}

fn is_pseudo(name: &str) -> bool {
    name.starts_with(':')
}

fn lower(name: &str) -> String {
    name.to_ascii_lowercase()
}

fn attribute(name: &str) -> String {
    name.trim_start_matches('@').to_owned()
}

/// Headers that the host writes itself, in any spelling: `*` never covers one. The list is the host's; a test compares them.
const OF_THE_HOST: [&str; 19] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy-connection",
    "te",
    "trailer",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-original-url",
    "x-request-id",
    "x-rewrite-url",
];
const OF_THE_HOST_PREFIXES: [&str; 2] = ["x-forwarded-", "x-tamis-"];

/// Whether the host writes a header of that name itself, in any spelling.
pub(crate) fn is_of_the_host(name: &str) -> bool {
    let fold = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let plain: String = name.chars().map(fold).collect();
    OF_THE_HOST.contains(&plain.as_str())
        || OF_THE_HOST_PREFIXES.iter().any(|prefix| plain.starts_with(prefix))
}

fn capabilities(one: &GrantedImports, other: &GrantedImports) -> GrantedImports {
    let GrantedImports {
        http_client,
        kv,
        exchange_state,
        quota,
        secrets,
        log,
        metrics,
        clock,
        random,
        crypto,
        passwords,
        counters,
        spans,
        records,
    } = one;
    GrantedImports {
        http_client: both(http_client.as_ref(), other.http_client.as_ref(), calls),
        kv: both(kv.as_ref(), other.kv.as_ref(), store),
        exchange_state: both(exchange_state.as_ref(), other.exchange_state.as_ref(), kept),
        quota: both(quota.as_ref(), other.quota.as_ref(), quotas),
        secrets: both(secrets.as_ref(), other.secrets.as_ref(), opened),
        log: both(log.as_ref(), other.log.as_ref(), lines),
        metrics: both(metrics.as_ref(), other.metrics.as_ref(), series),
        clock: both(clock.as_ref(), other.clock.as_ref(), plain),
        random: both(random.as_ref(), other.random.as_ref(), plain),
        crypto: both(crypto.as_ref(), other.crypto.as_ref(), plain),
        passwords: both(passwords.as_ref(), other.passwords.as_ref(), compared),
        counters: both(counters.as_ref(), other.counters.as_ref(), counted),
        spans: both(spans.as_ref(), other.spans.as_ref(), exported),
        records: both(records.as_ref(), other.records.as_ref(), exported),
    }
}

fn plain(one: &NoSettings, _: &NoSettings) -> NoSettings {
    let NoSettings {} = one;
    NoSettings {}
}

// The defaults are the engine's, which reads settings that are not written; a test compares them.

fn calls(one: &HttpClientSettings, other: &HttpClientSettings) -> HttpClientSettings {
    let HttpClientSettings {
        hosts,
        services,
        timeout,
        per_minute,
        max_bytes,
        during_requests,
        hooks,
        concurrent,
        cache,
        clear_text,
        ca,
    } = one;
    // Two sets of authorities have none in common, as far as this can know: then no host is left.
    let same = ca.as_deref().map(str::trim) == other.ca.as_deref().map(str::trim);
    let (hosts, ca) =
        if same { (common(hosts, &other.hosts), ca.clone()) } else { (Vec::new(), None) };
    HttpClientSettings {
        hosts,
        services: common(services, &other.services),
        ca,
        timeout: least(*timeout, other.timeout, Millis(1_000)),
        per_minute: least(*per_minute, other.per_minute, 60),
        max_bytes: least(*max_bytes, other.max_bytes, Bytes(MIB)),
        during_requests: allowed(*during_requests, other.during_requests),
        hooks: common(hooks, &other.hooks),
        concurrent: least(*concurrent, other.concurrent, 64),
        cache: both(cache.as_ref(), other.cache.as_ref(), kept_responses),
        clear_text: allowed(*clear_text, other.clear_text),
    }
}

fn kept_responses(one: &CallCacheSettings, other: &CallCacheSettings) -> CallCacheSettings {
    let CallCacheSettings { ttl, headers, entries, total_bytes } = one;
    // A header that is named lets more responses be kept, those of requests with `authorization` among them; what tells them
    // apart are all headers of a request, whatever is named here.
    let lowered = |all: &[String]| -> Vec<String> { all.iter().map(|it| lower(it)).collect() };
    let mut told = common(&lowered(headers), &lowered(&other.headers));
    told.sort();
    CallCacheSettings {
        ttl: (*ttl).min(other.ttl),
        headers: told,
        entries: least(*entries, other.entries, 1_000),
        total_bytes: least(*total_bytes, other.total_bytes, Bytes(4 * MIB)),
    }
}

fn store(one: &KvSettings, other: &KvSettings) -> KvSettings {
    let KvSettings { entries, key_bytes, value_bytes, total_bytes } = one;
    KvSettings {
        entries: least(*entries, other.entries, 10_000),
        key_bytes: least(*key_bytes, other.key_bytes, Bytes(512)),
        value_bytes: least(*value_bytes, other.value_bytes, Bytes(64 << 10)),
        total_bytes: least(*total_bytes, other.total_bytes, Bytes(16 * MIB)),
    }
}

fn kept(one: &ExchangeStateSettings, other: &ExchangeStateSettings) -> ExchangeStateSettings {
    let ExchangeStateSettings { entries, bytes, total_bytes } = one;
    ExchangeStateSettings {
        entries: least(*entries, other.entries, 16),
        bytes: least(*bytes, other.bytes, Bytes(16 << 10)),
        total_bytes: least(*total_bytes, other.total_bytes, Bytes(16 * MIB)),
    }
}

fn compared(one: &PasswordsSettings, other: &PasswordsSettings) -> PasswordsSettings {
    let PasswordsSettings { concurrent } = one;
    PasswordsSettings { concurrent: least(*concurrent, other.concurrent, 16) }
}

fn quotas(one: &QuotaSettings, other: &QuotaSettings) -> QuotaSettings {
    let QuotaSettings { classes, scope, keys, key_bytes, total_bytes } = one;
    let mut shared = BTreeMap::new();
    for (name, class) in classes {
        if let Some(its) = other.classes.get(name) {
            shared.insert(name.clone(), bucket(class, its));
        }
    }
    QuotaSettings {
        classes: shared,
        // A bucket that more proxies share gives each of them less.
        scope: most(*scope, other.scope, GrantedScope::Proxy),
        keys: least(*keys, other.keys, 100_000),
        key_bytes: least(*key_bytes, other.key_bytes, Bytes(256)),
        total_bytes: least(*total_bytes, other.total_bytes, Bytes(16 * MIB)),
    }
}

fn bucket(one: &QuotaClassSettings, other: &QuotaClassSettings) -> QuotaClassSettings {
    let QuotaClassSettings { rate, burst } = one;
    let rate = if other.rate.0 < rate.0 { other.rate } else { *rate };
    QuotaClassSettings { rate, burst: (*burst).min(other.burst) }
}

fn opened(one: &SecretsSettings, other: &SecretsSettings) -> SecretsSettings {
    let SecretsSettings { names, reveal } = one;
    SecretsSettings { names: common(names, &other.names), reveal: allowed(*reveal, other.reveal) }
}

fn lines(one: &LogSettings, other: &LogSettings) -> LogSettings {
    let LogSettings { per_second, max_bytes } = one;
    LogSettings {
        per_second: least(*per_second, other.per_second, 100),
        max_bytes: least(*max_bytes, other.max_bytes, Bytes(4 << 10)),
    }
}

fn series(one: &MetricsSettings, other: &MetricsSettings) -> MetricsSettings {
    let MetricsSettings { series, metrics } = one;
    MetricsSettings {
        series: least(*series, other.series, 1_000),
        metrics: least(*metrics, other.metrics, 64),
    }
}

fn counted(one: &CountersSettings, other: &CountersSettings) -> CountersSettings {
    let CountersSettings { scope, keys, key_bytes, total_bytes } = one;
    CountersSettings {
        // A sum over fewer proxies shows less.
        scope: least(*scope, other.scope, GrantedScope::Proxy),
        keys: least(*keys, other.keys, 10_000),
        key_bytes: least(*key_bytes, other.key_bytes, Bytes(256)),
        total_bytes: least(*total_bytes, other.total_bytes, Bytes(8 * MIB)),
    }
}

fn exported(one: &ExportSettings, other: &ExportSettings) -> ExportSettings {
    let ExportSettings { per_second, max_bytes, bytes_per_second } = one;
    ExportSettings {
        per_second: least(*per_second, other.per_second, 10_000),
        max_bytes: least(*max_bytes, other.max_bytes, Bytes(64 << 10)),
        bytes_per_second: least(*bytes_per_second, other.bytes_per_second, Bytes(4 * MIB)),
    }
}

/// Limits that neither writes are the defaults of both.
fn resources(one: Option<&GrantedLimits>, other: Option<&GrantedLimits>) -> Option<GrantedLimits> {
    const NONE: GrantedLimits =
        GrantedLimits { time: None, configure: None, memory: None, body: None };
    if one.is_none() && other.is_none() {
        return None;
    }
    let other = other.unwrap_or(&NONE);
    let GrantedLimits { time, configure, memory, body } = one.unwrap_or(&NONE);
    Some(GrantedLimits {
        time: least(*time, other.time, Millis(5)),
        configure: least(*configure, other.configure, Millis(2_000)),
        memory: least(*memory, other.memory, Bytes(16 * MIB)),
        body: least(*body, other.body, Bytes(MIB)),
    })
}

#[cfg(test)]
mod tests;

//! Grants in the engine's form.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::{ACCEPTED, Claim, Fold, RESOLVED};
use crate::document::Document;
use crate::kinds::{
    BodyAccess, CallCacheSettings, CountersSettings, GrantSpec, GrantedImports, GrantedScope,
    GrantedView, HttpClientSettings, KvSettings, QuotaSettings, ServiceSpec, SignedBy,
};
use crate::narrow::narrowed;
use crate::plan::{FieldsPlan, GrantPlan, LimitsPlan, SignedByPlan};
use crate::problem::grant_of;

/// A grant and the keys that must have signed.
pub(super) type GrantWithSigners = (GrantPlan, Option<SignedByPlan>);

/// What filters may do.
#[derive(Default)]
pub(super) struct Grants<'a> {
    /// Security's grants, by filter.
    decided: BTreeMap<&'a str, &'a GrantSpec>,
    /// Grants of other namespaces, by their namespace and the filter: they hold for what is attached there.
    narrowing: BTreeMap<(&'a str, &'a str), Vec<&'a GrantSpec>>,
}

impl Grants<'_> {
    /// What a filter may do where somebody of that namespace attaches it: what security's grant allows, and every grant of
    /// the namespace too. `None` when security granted nothing.
    pub(super) fn of(&self, namespace: &str, filter: &str) -> Option<GrantWithSigners> {
        let decided = *self.decided.get(filter)?;
        let Some(narrowing) = self.narrowing.get(&(namespace, filter)) else {
            return Some(granted(decided));
        };
        let (first, rest) = narrowing.split_first()?;
        let whole = narrowed(decided, first);
        Some(granted(&rest.iter().fold(whole, |whole, one| narrowed(&whole, one))))
    }
}

fn granted(spec: &GrantSpec) -> GrantWithSigners {
    let signed_by = spec
        .signed_by
        .as_ref()
        .map(|by| SignedByPlan { keys: by.keys.clone(), threshold: by.threshold.unwrap_or(1) });
    (grant_plan(spec), signed_by)
}

/// Whether more keys must have signed than there are.
fn asks_too_many(spec: &GrantSpec) -> bool {
    let asks = |by: &SignedBy| by.threshold.unwrap_or(1) as usize > by.keys.len();
    spec.signed_by.as_ref().is_some_and(asks)
}

impl<'a> Fold<'a> {
    pub(super) fn grants(&mut self) -> Grants<'a> {
        let mut grants = Grants::default();
        let all = self.all::<GrantSpec>();
        let (deciding, narrowing): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(document, _)| self.decides(document));
        let claims: Vec<_> = deciding
            .iter()
            .map(|(document, spec)| {
                (spec.filter.clone(), Claim { document, pointer: "/spec/filter".to_owned() })
            })
            .collect();
        let lost = self.contradictions(&claims, "grant.conflict", |filter| {
            format!("{filter} has more than one Grant")
        });
        for ((document, spec), _) in deciding.into_iter().zip(lost).filter(|(_, lost)| !lost) {
            if asks_too_many(spec) {
                self.too_many(document);
                continue;
            }
            if self.scopes_unavailable(document, spec) {
                continue;
            }
            self.check_callees(document, spec);
            grants.decided.insert(&spec.filter, spec);
        }
        // All of them hold, also two of one name: each only takes away.
        let doubled = self.doubled_of::<GrantSpec>();
        let doubled = doubled.into_iter().filter(|(document, _)| !self.decides(document));
        let doubled: Vec<_> = doubled.collect();
        for (document, spec) in narrowing.into_iter().chain(doubled) {
            self.check_narrowing(document, spec, grants.decided.get(spec.filter.as_str()).copied());
            let place = (document.metadata.namespace.as_str(), spec.filter.as_str());
            grants.narrowing.entry(place).or_default().push(spec);
        }
        grants
    }

    fn too_many(&mut self, document: &Document) {
        let message = "the threshold is higher than the number of keys";
        let problem = document.problem("grant.threshold", "/spec/signedBy/threshold", message);
        self.fail(document, ACCEPTED, "Invalid", problem);
    }

    /// Reports each scope of a grant that no proxy can keep; whether there is one.
    fn scopes_unavailable(&mut self, document: &Document, spec: &GrantSpec) -> bool {
        let quota = spec.imports.quota.as_ref().and_then(|it| it.scope);
        let counters = spec.imports.counters.as_ref().and_then(|it| it.scope);
        let mut found = false;
        for (import, scope, way_out) in [
            ("quota", quota, "write `scope: proxy`, and divide the rates by the number of proxies"),
            (
                "counters",
                counters,
                "write `scope: proxy`, and add up the counters where metrics are read",
            ),
        ] {
            let Some(scope) = scope.filter(|scope| *scope != GrantedScope::Proxy) else { continue };
            found = true;
            let message = format!(
                "`{import}` cannot have the scope `{}`: proxies do not share state yet, each keeps its own",
                scope.as_str()
            );
            let pointer = format!("/spec/imports/{import}/scope");
            let problem = document.problem("grant.scope", &pointer, message).help(way_out);
            self.fail(document, ACCEPTED, "Invalid", problem);
        }
        found
    }

    /// Reports services that a filter may call and that do not exist. Calls of others are unaffected.
    fn check_callees(&mut self, document: &Document, spec: &GrantSpec) {
        let services = spec.imports.http_client.iter().flat_map(|client| &client.services);
        for (at, key) in services.enumerate() {
            if self.find::<ServiceSpec>(key).is_none() {
                let message =
                    format!("there is no Service {key}, so no call of the filter reaches it");
                let pointer = format!("/spec/imports/http-client/services/{at}");
                let problem = document.problem("ref.missing", &pointer, message);
                let problem = problem.lacks(format!("Service/{key}"));
                self.fail(document, RESOLVED, "BackendNotFound", problem);
            }
        }
    }

    /// Why a filter may do nothing, and the way out: it has no Grant, or no Grant that counts.
    pub(super) fn no_grant(&self, filter: &str) -> (String, String) {
        let all = self.all::<GrantSpec>();
        let mut all = all.iter().filter(|(_, spec)| spec.filter == filter);
        match all.next() {
            None => (
                format!("no Grant exists for {filter}"),
                format!(
                    "write a Grant with `filter: {filter}` in a namespace of security, such as `security`"
                ),
            ),
            Some((document, _)) if !self.decides(document) => (
                format!(
                    "the Grant {} gives {filter} nothing: outside the namespaces of security it only takes away",
                    document.key()
                ),
                "move it to a namespace of security, such as `security`".to_owned(),
            ),
            Some((document, _)) => (
                format!("the Grant {} for {filter} does not count", document.key()),
                format!(
                    "correct it; `tamis describe Grant {} -n {}` says what is wrong",
                    document.metadata.name, document.metadata.namespace
                ),
            ),
        }
    }

    /// Says of a grant outside the namespaces of security what it does not do.
    fn check_narrowing(&mut self, document: &Document, spec: &GrantSpec, of: Option<&GrantSpec>) {
        let Some(of) = of else {
            let message = format!(
                "no Grant of security allows {} anything, and this one only takes away",
                spec.filter
            );
            let problem = document.problem("grant.narrows", "/spec/filter", message);
            let problem = problem
                .help("ask whoever writes the documents of security for a Grant")
                .lacks(grant_of(&spec.filter));
            return self.fail(document, ACCEPTED, "Invalid", problem);
        };
        if asks_too_many(spec) {
            return self.too_many(document);
        }
        if self.scopes_unavailable(document, spec) {
            return;
        }
        if asks_too_many(&narrowed(of, spec)) {
            let message = format!(
                "security's Grant for {} asks for other keys, so that no signature satisfies both",
                spec.filter
            );
            let problem = document.problem("grant.narrows", "/spec/signedBy/keys", message);
            let problem = problem.help("name keys that security's Grant names too");
            self.fail(document, ACCEPTED, "Invalid", problem);
        }
    }
}

/// The `spec` of a Grant in the engine's form.
#[must_use]
pub fn grant_plan(spec: &GrantSpec) -> GrantPlan {
    let of = |views: &[&Option<GrantedView>]| {
        let views: Vec<&GrantedView> = views.iter().filter_map(|view| view.as_ref()).collect();
        let read = views.iter().map(|it| (&it.read_headers, &it.read_trailers, &it.attributes));
        let written =
            views.iter().map(|it| (&it.write_headers, &it.write_trailers, &it.write_attributes));
        FieldsPlan { reads: fields(read), writes: fields(written) }
    };
    let FieldsPlan { reads, writes } = of(&[&spec.request, &spec.response]);
    let (in_requests, in_responses) = (of(&[&spec.request]), of(&[&spec.response]));
    let set = |fields: &[String]| fields.iter().cloned().collect::<BTreeSet<_>>();
    let is_one = set(&in_requests.reads) == set(&in_responses.reads)
        && set(&in_requests.writes) == set(&in_responses.writes);
    let limits = spec.limits.as_ref();
    let default = LimitsPlan::default();
    let us = |ms: u64| ms.saturating_mul(1_000);
    let body = |view: &Option<GrantedView>| {
        view.as_ref().is_some_and(|view| view.body == BodyAccess::Replace)
    };
    GrantPlan {
        imports: imports(&spec.imports),
        reads,
        writes,
        in_requests: (!is_one).then_some(in_requests),
        in_responses: (!is_one).then_some(in_responses),
        request_body: body(&spec.request),
        response_body: body(&spec.response),
        limits: LimitsPlan {
            time_us: limits.and_then(|it| it.time).map_or(default.time_us, |it| us(it.0)),
            configure_us: limits
                .and_then(|it| it.configure)
                .map_or(default.configure_us, |it| us(it.0)),
            memory_bytes: limits.and_then(|it| it.memory).map_or(default.memory_bytes, |it| it.0),
            body_bytes: limits.and_then(|it| it.body).map(|it| it.0),
        },
    }
}

/// Header names in lower case, trailers after `trailer:`, and attributes with their `@`, each once.
fn fields<'a>(
    all: impl Iterator<Item = (&'a Vec<String>, &'a Vec<String>, &'a Vec<String>)>,
) -> Vec<String> {
    let mut fields = Vec::new();
    for (headers, trailers, attributes) in all {
        let headers = headers.iter().map(|name| name.to_ascii_lowercase());
        let trailers = trailers.iter().map(|name| format!("trailer:{}", name.to_ascii_lowercase()));
        let attributes = attributes.iter().map(|name| format!("@{}", name.trim_start_matches('@')));
        for field in headers.chain(trailers).chain(attributes) {
            if !fields.contains(&field) {
                fields.push(field);
            }
        }
    }
    fields
}

/// The settings that are present, as plain numbers; the engine has the defaults.
fn imports(spec: &GrantedImports) -> BTreeMap<String, Json> {
    let mut imports = BTreeMap::new();
    let mut put = |name: &str, settings: Option<Json>| {
        if let Some(settings) = settings {
            imports.insert(name.to_owned(), settings);
        }
    };
    put("http-client", spec.http_client.as_ref().map(http_client));
    put("kv", spec.kv.as_ref().map(kv));
    put("quota", spec.quota.as_ref().map(quota));
    put(
        "secrets",
        spec.secrets.as_ref().map(|it| {
            stated(&[("names", Some(json!(it.names))), ("reveal", it.reveal.map(Json::from))])
        }),
    );
    put("log", spec.log.as_ref().map(plain));
    put("metrics", spec.metrics.as_ref().map(plain));
    put("clock", spec.clock.as_ref().map(plain));
    put("random", spec.random.as_ref().map(plain));
    put("crypto", spec.crypto.as_ref().map(plain));
    put("passwords", spec.passwords.as_ref().map(plain));
    put("exchange-state", spec.exchange_state.as_ref().map(plain));
    put("counters", spec.counters.as_ref().map(counters));
    put("spans", spec.spans.as_ref().map(plain));
    put("records", spec.records.as_ref().map(plain));
    imports
}

fn http_client(it: &HttpClientSettings) -> Json {
    stated(&[
        ("hosts", Some(json!(it.hosts))),
        // Left out where there is none: a proxy that does not know the setting runs the filter too.
        ("services", (!it.services.is_empty()).then(|| json!(it.services))),
        ("timeoutMs", it.timeout.map(|it| json!(it.0))),
        ("perMinute", it.per_minute.map(Json::from)),
        ("maxBytes", it.max_bytes.map(|it| json!(it.0))),
        ("duringRequests", it.during_requests.map(Json::from)),
        ("hooks", (!it.hooks.is_empty()).then(|| json!(it.hooks))),
        ("concurrent", it.concurrent.map(Json::from)),
        ("cache", it.cache.as_ref().map(call_cache)),
        ("clearText", it.clear_text.map(Json::from)),
        ("ca", it.ca.as_ref().map(|ca| json!(ca))),
    ])
}

fn kv(it: &KvSettings) -> Json {
    stated(&[
        ("entries", it.entries.map(Json::from)),
        ("keyBytes", it.key_bytes.map(|it| json!(it.0))),
        ("valueBytes", it.value_bytes.map(|it| json!(it.0))),
        ("totalBytes", it.total_bytes.map(|it| json!(it.0))),
    ])
}

fn quota(it: &QuotaSettings) -> Json {
    let classes = it.classes.iter().map(|(name, class)| {
        (name.clone(), json!({ "perSecond": class.rate.0, "burst": class.burst }))
    });
    stated(&[
        ("classes", Some(Json::Object(classes.collect::<Map<String, Json>>()))),
        ("scope", it.scope.and_then(beyond_proxy)),
        ("keys", it.keys.map(Json::from)),
        ("keyBytes", it.key_bytes.map(|it| json!(it.0))),
        ("totalBytes", it.total_bytes.map(|it| json!(it.0))),
    ])
}

fn counters(it: &CountersSettings) -> Json {
    stated(&[
        ("scope", it.scope.and_then(beyond_proxy)),
        ("keys", it.keys.map(Json::from)),
        ("keyBytes", it.key_bytes.map(|it| json!(it.0))),
        ("totalBytes", it.total_bytes.map(|it| json!(it.0))),
    ])
}

/// Headers in lower case, in one order.
fn call_cache(cache: &CallCacheSettings) -> Json {
    let mut headers: Vec<String> =
        cache.headers.iter().map(|name| name.to_ascii_lowercase()).collect();
    headers.sort();
    headers.dedup();
    stated(&[
        ("ttlMs", Some(json!(cache.ttl.0))),
        ("headers", Some(json!(headers))),
        ("entries", cache.entries.map(Json::from)),
        ("totalBytes", cache.total_bytes.map(|it| json!(it.0))),
    ])
}

/// A scope in the engine's form. `proxy` is left out: it is what a proxy does that does not know the setting.
fn beyond_proxy(scope: GrantedScope) -> Option<Json> {
    (scope != GrantedScope::Proxy).then(|| json!(scope.as_str()))
}

/// Settings that are plain numbers as written.
fn plain<T: Serialize>(settings: &T) -> Json {
    let mut json = serde_json::to_value(settings).unwrap_or_default();
    if let Some(map) = json.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    json
}

fn stated(fields: &[(&str, Option<Json>)]) -> Json {
    let said = fields.iter().filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?)));
    Json::Object(said.collect())
}

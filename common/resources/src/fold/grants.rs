//! Grants in the engine's form.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::{ACCEPTED, Claim, Fold};
use crate::kinds::{BodyAccess, GrantSpec, GrantedImports, GrantedView};
use crate::plan::{GrantPlan, LimitsPlan, SignedByPlan};

/// A grant and the keys that must have signed.
pub(super) type Granted = (GrantPlan, Option<SignedByPlan>);

impl<'a> Fold<'a> {
    /// Grants by filter.
    pub(super) fn grants(&mut self) -> BTreeMap<String, Granted> {
        let mut grants = BTreeMap::new();
        let all = self.all::<GrantSpec>();
        let claims: Vec<_> = all
            .iter()
            .map(|(document, spec)| {
                (spec.filter.clone(), Claim { document, pointer: "/spec/filter".to_owned() })
            })
            .collect();
        let lost = self.contradictions(&claims, "grant.conflict", |filter| {
            format!("{filter} has more than one Grant")
        });
        for ((document, spec), _) in all.into_iter().zip(lost).filter(|(_, lost)| !lost) {
            let signed_by = spec.signed_by.as_ref().map(|by| SignedByPlan {
                keys: by.keys.clone(),
                threshold: by.threshold.unwrap_or(1),
            });
            let wanted = signed_by.as_ref().map(|by| (by.threshold as usize, by.keys.len()));
            if wanted.is_some_and(|(threshold, keys)| threshold > keys) {
                let message = "the threshold is higher than the number of keys";
                let problem =
                    document.problem("grant.threshold", "/spec/signedBy/threshold", message);
                self.fail(document, ACCEPTED, "Invalid", problem);
                continue;
            }
            grants.insert(spec.filter.clone(), (grant_plan(spec), signed_by));
        }
        grants
    }
}

/// The `spec` of a Grant in the engine's form.
#[must_use]
pub fn grant_plan(spec: &GrantSpec) -> GrantPlan {
    let views = || spec.request.iter().chain(&spec.response);
    let limits = spec.limits.as_ref();
    let default = LimitsPlan::default();
    let us = |ms: u64| ms.saturating_mul(1_000);
    let body = |view: &Option<GrantedView>| {
        view.as_ref().is_some_and(|view| view.body == BodyAccess::Replace)
    };
    GrantPlan {
        imports: imports(&spec.imports),
        reads: fields(views().map(|view| (&view.read_headers, &view.attributes))),
        writes: fields(views().map(|view| (&view.write_headers, &view.write_attributes))),
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

/// Header names in lower case and attributes with their `@`, each once.
fn fields<'a>(all: impl Iterator<Item = (&'a Vec<String>, &'a Vec<String>)>) -> Vec<String> {
    let mut fields = Vec::new();
    for (headers, attributes) in all {
        let headers = headers.iter().map(|name| name.to_ascii_lowercase());
        let attributes = attributes.iter().map(|name| format!("@{}", name.trim_start_matches('@')));
        for field in headers.chain(attributes) {
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
    put(
        "http-client",
        spec.http_client.as_ref().map(|it| {
            said(&[
                ("hosts", Some(json!(it.hosts))),
                ("timeoutMs", it.timeout.map(|it| json!(it.0))),
                ("perMinute", it.per_minute.map(Json::from)),
                ("maxBytes", it.max_bytes.map(|it| json!(it.0))),
                ("duringRequests", it.during_requests.map(Json::from)),
                ("clearText", it.clear_text.map(Json::from)),
                ("ca", it.ca.as_ref().map(|ca| json!(ca))),
            ])
        }),
    );
    put(
        "kv",
        spec.kv.as_ref().map(|it| {
            said(&[
                ("entries", it.entries.map(Json::from)),
                ("keyBytes", it.key_bytes.map(|it| json!(it.0))),
                ("valueBytes", it.value_bytes.map(|it| json!(it.0))),
                ("totalBytes", it.total_bytes.map(|it| json!(it.0))),
            ])
        }),
    );
    put(
        "quota",
        spec.quota.as_ref().map(|it| {
            let classes = it.classes.iter().map(|(name, class)| {
                (name.clone(), json!({ "perSecond": class.rate.0, "burst": class.burst }))
            });
            said(&[
                ("classes", Some(Json::Object(classes.collect::<Map<String, Json>>()))),
                ("keys", it.keys.map(Json::from)),
                ("keyBytes", it.key_bytes.map(|it| json!(it.0))),
                ("totalBytes", it.total_bytes.map(|it| json!(it.0))),
            ])
        }),
    );
    put(
        "secrets",
        spec.secrets.as_ref().map(|it| {
            said(&[("names", Some(json!(it.names))), ("reveal", it.reveal.map(Json::from))])
        }),
    );
    put("log", spec.log.as_ref().map(plain));
    put("metrics", spec.metrics.as_ref().map(plain));
    put("clock", spec.clock.as_ref().map(plain));
    put("random", spec.random.as_ref().map(plain));
    put("crypto", spec.crypto.as_ref().map(plain));
    put("counters", spec.counters.as_ref().map(plain));
    put("spans", spec.spans.as_ref().map(plain));
    put("records", spec.records.as_ref().map(plain));
    imports
}

/// Settings that are plain numbers as written.
fn plain<T: Serialize>(settings: &T) -> Json {
    let mut json = serde_json::to_value(settings).unwrap_or_default();
    if let Some(map) = json.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    json
}

fn said(fields: &[(&str, Option<Json>)]) -> Json {
    let said = fields.iter().filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?)));
    Json::Object(said.collect())
}

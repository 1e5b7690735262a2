//! Liveness, readiness and metrics of the registry.
//!
//! Liveness and readiness need no token. Metrics require `observe`, and contain no names.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use tamis_api::SlotStateView;
use tamis_oci::{Store, Verb};

use crate::plane::Control;
use crate::rest::{Api, Caller, ProblemResponse, typed};

/// `/healthz`, `/readyz` and `/metrics`.
pub(crate) fn router(control: Control, store: Store) -> Router {
    Router::new()
        .route("/healthz", get(async || text(StatusCode::OK, "ok\n")))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Api::new(control, store))
}

fn text(status: StatusCode, body: &str) -> Response {
    typed(status, "text/plain; version=0.0.4; charset=utf-8", body.as_bytes().to_vec())
}

/// How long readiness waits for the journal: less than whoever asks waits for readiness.
const READY_WITHIN: Duration = Duration::from_secs(3);

/// Ready once the journal can be read, which responses depend on.
async fn ready(State(api): State<Api>) -> Response {
    match tokio::time::timeout(READY_WITHIN, api.control.catch_up()).await {
        Ok(Ok(())) => text(StatusCode::OK, "ready\n"),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the registry is not ready: the journal cannot be read");
            text(StatusCode::SERVICE_UNAVAILABLE, "the journal cannot be read; see the log\n")
        }
        Err(_) => {
            tracing::warn!("the registry is not ready: the journal does not respond");
            text(StatusCode::SERVICE_UNAVAILABLE, "the journal does not respond\n")
        }
    }
}

/// Metrics of the registry: name, type, help.
pub const METRICS: [(&str, &str, &str); 9] = [
    ("tamis_registry_build_info", "gauge", "1, with the release as `version`."),
    ("tamis_registry_revision", "gauge", "The journal's revision that responses are based on."),
    ("tamis_registry_proxies", "gauge", "Proxies that documents declare."),
    ("tamis_registry_proxies_connected", "gauge", "Proxies connected to this replica."),
    ("tamis_registry_proxies_behind", "gauge", "Proxies that do not have their current plan."),
    (
        "tamis_registry_slots",
        "gauge",
        "Slots of all proxies by state, as `tamis status` names them.",
    ),
    (
        "tamis_registry_problems",
        "gauge",
        "Problems of the documents in force, those that proxies report, and revoked code that they run, by code; absent when there are none.",
    ),
    (
        "tamis_registry_intermediate_expires_seconds",
        "gauge",
        "When the intermediate that signs identities expires, in seconds since the Unix epoch; absent without --trust-domain.",
    ),
    (
        "tamis_registry_time_seconds",
        "gauge",
        "The clock of the registry, in seconds since the Unix epoch.",
    ),
];

async fn metrics(State(api): State<Api>, caller: Caller) -> Result<Response, ProblemResponse> {
    caller.must(Verb::Observe)?;
    api.control.know_plans().await;
    api.control.know_signatures().await;
    let status = api.control.status(None);
    let count = |is: &dyn Fn(&tamis_api::ProxyStatus) -> bool| {
        status.proxies.iter().filter(|proxy| is(proxy)).count().to_string()
    };
    let now = api.store.clock().unix_secs();
    let mut page = String::new();
    for (name, kind, help) in METRICS {
        // Writing into a string cannot fail.
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
        let value = match name {
            "tamis_registry_build_info" => {
                let _ = writeln!(page, "{name}{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
                continue;
            }
            "tamis_registry_slots" => {
                for state in STATES {
                    let slots = status.proxies.iter().flat_map(|proxy| &proxy.slots);
                    let count = slots.filter(|slot| slot.state == state).count();
                    let _ = writeln!(page, "{name}{{state=\"{}\"}} {count}", word(state));
                }
                continue;
            }
            "tamis_registry_problems" => {
                for ((of, code), count) in problems(&api, &status) {
                    let _ = writeln!(page, "{name}{{of=\"{of}\",code=\"{code}\"}} {count}");
                }
                continue;
            }
            "tamis_registry_intermediate_expires_seconds" => {
                if let Ok(authority) = api.control.authority_view() {
                    let until = authority.intermediate_until_ms / 1_000;
                    let _ = writeln!(page, "{name} {until}");
                }
                continue;
            }
            "tamis_registry_revision" => status.revision.to_string(),
            "tamis_registry_proxies" => count(&|_| true),
            "tamis_registry_proxies_connected" => count(&|proxy| proxy.connected),
            "tamis_registry_proxies_behind" => count(&|proxy| !proxy.current),
            _ => now.to_string(),
        };
        let _ = writeln!(page, "{name} {value}");
    }
    Ok(text(StatusCode::OK, &page))
}

/// How many problems there are of each code: of documents, and of proxies.
fn problems(api: &Api, status: &tamis_api::FleetStatus) -> BTreeMap<(&'static str, String), usize> {
    let documents = api.control.problems().into_iter().map(|code| ("documents", code));
    let proxies = status.proxies.iter().flat_map(|proxy| &proxy.problems);
    // What a proxy says is a label here: nothing but what codes are made of.
    let plain = |code: &str| {
        code.chars().filter(|c| c.is_ascii_alphanumeric() || ".-".contains(*c)).take(64).collect()
    };
    let proxies = proxies.map(|one| ("proxies", plain(&one.code)));
    let slots = status.proxies.iter().flat_map(|proxy| &proxy.slots);
    let revoked = slots.filter_map(|slot| slot.revoked.as_ref());
    let revoked = revoked.map(|one| ("proxies", one.code.clone().into_owned()));
    let mut counts = BTreeMap::new();
    for key in documents.chain(proxies).chain(revoked) {
        // A proxy that makes codes up makes no more lines than this.
        let full = counts.len() >= CODES_MAX && !counts.contains_key(&key);
        let key = if full { (key.0, "other".to_owned()) } else { key };
        *counts.entry(key).or_default() += 1;
    }
    counts
}

/// The most codes that problems are counted by; the rest is `other`.
const CODES_MAX: usize = 200;

/// Every state that slots are counted by.
const STATES: [SlotStateView; 7] = [
    SlotStateView::Serving,
    SlotStateView::Pending,
    SlotStateView::KeptLastGood,
    SlotStateView::Refused,
    SlotStateView::Drift,
    SlotStateView::Unassigned,
    SlotStateView::Disconnected,
];

/// The value of the label `state`, as `tamis status --output json` writes it.
fn word(state: SlotStateView) -> &'static str {
    match state {
        SlotStateView::Serving => "serving",
        SlotStateView::Pending => "pending",
        SlotStateView::KeptLastGood => "kept-last-good",
        SlotStateView::Refused => "refused",
        SlotStateView::Drift => "drift",
        SlotStateView::Unassigned => "unassigned",
        SlotStateView::Disconnected => "disconnected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use utoipa::PartialSchema as _;

    #[test]
    fn every_state_of_a_slot_is_counted_under_the_word_that_status_writes() {
        let schema = serde_json::to_value(SlotStateView::schema()).unwrap();
        let words = STATES.map(word);
        assert_eq!(schema["enum"], serde_json::json!(words), "{schema}");
        assert_eq!(serde_json::json!(STATES), serde_json::json!(words));
    }
}

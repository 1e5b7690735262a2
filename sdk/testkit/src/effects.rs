//! Compares what a step leaves behind, and the answers of hooks that are no part of an exchange's way.

use crate::ask::{circuit, micros, short};
use crate::expect::{ConnectionText, Expect, ExpectConnection, ExpectHttp, ExpectRetry, RetryText};
use crate::seen::{RetryObservation, StepObservation};
use crate::shown::{differs, text};
use serde_json::Value;
use std::collections::BTreeMap;
use tamis_engine::{FetchRequest, Filter};
use tamis_exchange::{ConnectionVerdict, RetryVerdict};

/// Hooks that are no part of an exchange's way.
pub(crate) fn hooks_differ(
    expect: &Expect,
    seen: &StepObservation,
    filter: &Filter,
    found: &mut Vec<String>,
) {
    if let Some(expected) = &expect.retry {
        found.extend(retry_differs(expected, seen.retry));
    }
    if let Some(expected) = &expect.hedge {
        let wanted = expected.after.map(|time| micros(Some(time), 0));
        let shown = |after: Option<u32>| {
            after.map_or("no second attempt".to_owned(), |us| format!("one after {us}µs"))
        };
        match seen.hedge {
            Some(came) if came == wanted => {}
            Some(came) => found.push(format!("expected {}, got {}", shown(wanted), shown(came))),
            None => found.push("`hedge` was not called: the step has no `hedge`".to_owned()),
        }
    }
    if let Some(expected) = expect.circuit {
        let wanted = circuit(expected);
        if seen.circuit != Some(wanted) {
            found.push(format!("expected the circuit {wanted:?}, got {:?}", seen.circuit));
        }
    }
    if let Some(expected) = &expect.weights
        && seen.weights.as_ref() != Some(expected)
    {
        found.push(format!("expected the weights {expected:?}, got {:?}", seen.weights));
    }
    if let Some(expected) = &expect.connection {
        found.extend(connection_differs(expected, seen.connection, filter));
    }
    if let Some(expected) = &expect.tick {
        let wanted = expected.next.map(|time| short(Some(time), 0));
        let shown = |next: Option<u32>| next.map_or("none".to_owned(), |ms| format!("in {ms}ms"));
        match seen.tick {
            Some(came) if came == wanted => {}
            Some(came) => {
                found.push(format!(
                    "expected the next tick {}, got {}",
                    shown(wanted),
                    shown(came)
                ));
            }
            None => found.push("`tick` was not called: the step has no `tick`".to_owned()),
        }
    }
}

fn retry_differs(expected: &ExpectRetry, came: Option<RetryObservation>) -> Option<String> {
    let (came, after) = match came {
        None => return Some("`retry` was not called: the step has no `retry`".to_owned()),
        Some(RetryObservation::NotCalled) => (RetryText::NotCalled, None),
        Some(RetryObservation::Called(RetryVerdict::GiveUp)) => (RetryText::GiveUp, None),
        Some(RetryObservation::Called(RetryVerdict::Again(ms))) => (RetryText::Again, Some(ms)),
        Some(RetryObservation::Called(RetryVerdict::Elsewhere(ms))) => {
            (RetryText::Elsewhere, Some(ms))
        }
    };
    let word = |verdict: RetryText| match verdict {
        RetryText::GiveUp => "no other attempt",
        RetryText::Again => "another attempt",
        RetryText::Elsewhere => "another attempt elsewhere",
        RetryText::NotCalled => "no call (`failing-statuses` does not name the status)",
    };
    if came != expected.verdict {
        return Some(format!("expected {}, got {}", word(expected.verdict), word(came)));
    }
    let wanted = expected.after.map(|time| short(Some(time), 0));
    let (Some(wanted), Some(after)) = (wanted, after) else { return None };
    (wanted != after).then(|| format!("expected an attempt after {wanted}ms, got {after}ms"))
}

fn connection_differs(
    expected: &ExpectConnection,
    came: Option<ConnectionVerdict>,
    filter: &Filter,
) -> Option<String> {
    let (word, backend) = match came {
        None => {
            return Some("`connection` was not called: the step has no `connection`".to_owned());
        }
        Some(ConnectionVerdict::Allow) => (ConnectionText::Allow, None),
        Some(ConnectionVerdict::Deny) => (ConnectionText::Deny, None),
        Some(ConnectionVerdict::Tunnel(at)) => {
            (ConnectionText::Tunnel, filter.connection_backends().get(at as usize))
        }
    };
    if word != expected.verdict {
        return Some(format!(
            "expected the connection verdict {:?}, got {word:?}",
            expected.verdict
        ));
    }
    let wanted = expected.backend.as_ref().filter(|wanted| Some(*wanted) != backend)?;
    let came = backend.map_or("one that the filter did not declare", String::as_str);
    Some(format!("expected the backend `{wanted}`, got `{came}`"))
}

/// What the step leaves behind: values, series, requests, records, spans.
pub(crate) fn effects_differ(
    expect: &Expect,
    seen: &StepObservation,
    filter: &Filter,
    page: Option<&str>,
    found: &mut Vec<String>,
) {
    for (key, wanted) in &expect.kv {
        let came = filter.state().read_kv(key).map(|value| text(&value));
        if *wanted != came {
            let shown = |value: &Option<String>| {
                value.as_ref().map_or("none".to_owned(), |value| format!("{value:?}"))
            };
            found.push(format!("kv {key}: expected {}, got {}", shown(wanted), shown(&came)));
        }
    }
    if let Some(page) = page {
        metrics_differ(&expect.metrics, filter, page, found);
    }
    if let Some(expected) = &expect.http {
        http_differs(expected, &seen.http, found);
    }
    if let Some(expected) = &expect.records {
        records_differ(expected, &seen.records, found);
    }
    if let Some(expected) = &expect.spans
        && *expected != seen.spans
    {
        found.push(format!("expected the spans {expected:?}, got {:?}", seen.spans));
    }
}

fn metrics_differ(
    expected: &BTreeMap<String, f64>,
    filter: &Filter,
    page: &str,
    found: &mut Vec<String>,
) {
    for (series, wanted) in expected {
        let name = tamis_observe::shown_name(filter.name(), series);
        let came = page.lines().find_map(|line| {
            let (shown, value) = line.rsplit_once(' ')?;
            (shown == name).then(|| value.parse::<f64>().ok()).flatten()
        });
        if came != Some(*wanted) {
            let came = came.map_or("none".to_owned(), |came| came.to_string());
            found.push(format!("metric {series}: expected {wanted}, got {came}"));
        }
    }
}

fn http_differs(expected: &[ExpectHttp], came: &[FetchRequest], found: &mut Vec<String>) {
    let sent: Vec<String> =
        came.iter().map(|request| format!("{} {}", request.method, request.url)).collect();
    if expected.len() != came.len() {
        let sent = if sent.is_empty() { "none".to_owned() } else { sent.join(", ") };
        found.push(format!("expected {} requests of the filter, got: {sent}", expected.len()));
        return;
    }
    for ((wanted, came), number) in expected.iter().zip(came).zip(1..) {
        let pairs = [
            ("method", &wanted.method, came.method.clone()),
            ("URL", &wanted.url, came.url.clone()),
            ("body", &wanted.body, text(&came.body)),
        ];
        for (what, wanted, came) in pairs {
            if let Some(wanted) = wanted.as_ref().filter(|wanted| **wanted != came) {
                found.push(format!(
                    "its request {number}, {what}: expected {wanted:?}, got {came:?}"
                ));
            }
        }
        for (name, lines) in &wanted.headers {
            let fields = came.headers.iter().filter(|(field, _)| field == name);
            let came: Vec<String> = fields.map(|(_, value)| text(value)).collect();
            if lines.values() != came {
                let what = format!("its request {number}, header {name}");
                found.push(differs(&what, &lines.values(), &came));
            }
        }
    }
}

fn records_differ(expected: &[BTreeMap<String, Value>], came: &[String], found: &mut Vec<String>) {
    if expected.len() != came.len() {
        found.push(format!("expected {} records, got {}", expected.len(), came.len()));
        return;
    }
    for ((wanted, came), number) in expected.iter().zip(came).zip(1..) {
        let came: Value = serde_json::from_str(came).unwrap_or(Value::Null);
        for (field, wanted) in wanted {
            let came = came.get(field).unwrap_or(&Value::Null);
            if wanted != came {
                found.push(format!("record {number}, {field}: expected {wanted}, got {came}"));
            }
        }
    }
}

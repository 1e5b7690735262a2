//! `/metrics`: the metrics of filters, then those of the host.

use crate::generation::{Attachment, SlotOccupant};
use crate::plaintext_counts::PlaintextUse;
use crate::proxy_state::ProxyState;
use crate::status::{OrderStatus, SlotStatus};
use crate::traffic::{CLASSES, DIRECTIONS};
use crate::udp_counts::UdpCounts;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use tamis_exchange::Circuit;
use tamis_upstream::ServiceSnapshot;

/// The host's own metrics: name, type, help. Filters define theirs themselves.
pub const METRICS: [(&str, &str, &str); 57] = [
    ("tamis_build_info", "gauge", "1, with the release as `version`."),
    ("tamis_generation", "gauge", "Generation in use."),
    ("tamis_ready", "gauge", "1 when the proxy serves and is not draining, as in `/readyz`."),
    (
        "tamis_problems",
        "gauge",
        "Problems of documents, files and certificates, by code; absent when there are none. `/config` has the messages.",
    ),
    (
        "tamis_slots",
        "gauge",
        "Slots by state: `serving` the assigned version, `kept` at the last good version, `refused`.",
    ),
    (
        "tamis_slot_drift",
        "gauge",
        "1 for each slot that does not run the assigned version, by attachment, filter, state and code; absent when all do.",
    ),
    (
        "tamis_acme_orders_total",
        "counter",
        "Orders at an ACME server that gave a certificate, by host.",
    ),
    ("tamis_acme_orders_failed_total", "counter", "Orders at an ACME server that failed, by host."),
    (
        "tamis_acme_order_due_seconds",
        "gauge",
        "When the next order at an ACME server is due, in seconds since the Unix epoch, by host.",
    ),
    (
        "tamis_certificate_not_after_seconds",
        "gauge",
        "When a certificate in use expires, in seconds since the Unix epoch, by use and file.",
    ),
    (
        "tamis_svid_seconds_left",
        "gauge",
        "Seconds until the SVID of the proxy expires, 0 when it has; absent when the proxy has no SVID.",
    ),
    ("tamis_svid_renewals_total", "counter", "Renewals of the SVID; absent without one."),
    (
        "tamis_svid_renewals_failed_total",
        "counter",
        "Renewals of the SVID that failed; absent without one.",
    ),
    (
        "tamis_director_connected",
        "gauge",
        "1 while the stream to the director is open; absent without a director.",
    ),
    (
        "tamis_director_heard_seconds",
        "gauge",
        "When the last message of the director arrived, in seconds since the Unix epoch; absent without a director.",
    ),
    ("tamis_connections", "gauge", "Open connections."),
    ("tamis_connections_total", "counter", "Connections accepted."),
    (
        "tamis_http3_connections_total",
        "counter",
        "Connections of HTTP/3 whose handshake was completed; they are among all connections too.",
    ),
    (
        "tamis_handshakes_failed_total",
        "counter",
        "Connections that ended before their first request, since the TLS handshake or the PROXY header failed or nobody could serve what was captured, by reason: `not-captured`, `tls-to-http`, `proxy-peer`, `proxy-header-absent`, `proxy-header`, `unknown-name`, `unknown-port`, `no-challenge`, `awaits-certificate`, `expired`, `not-yet-valid`, `foreign-domain`, `usage`, `chain`, `no-certificate`, `no-id`, `several-ids`, `invalid-id`, `no-path`, `authority`, `plaintext`, `silent`, `incompatible`, `refused-by-peer`, `certificate`, `closed`, `timeout`, `other`.",
    ),
    (
        "tamis_plaintext_connections",
        "gauge",
        "Open connections in plain text to services with `mtls: permissive`, by service and port.",
    ),
    (
        "tamis_plaintext_connections_total",
        "counter",
        "Connections in plain text to services with `mtls: permissive`, those refused among them, by service and port.",
    ),
    (
        "tamis_plaintext_used_seconds",
        "gauge",
        "The last second in which a connection in plain text was open, since the Unix epoch, by service and port; absent: none was since the proxy started.",
    ),
    ("tamis_tcp_connections", "gauge", "Open connections of `tcp` ports, by listener."),
    (
        "tamis_tcp_connections_total",
        "counter",
        "Connections of `tcp` ports, those refused among them, by listener; `tamis_refusals_total` has the reasons.",
    ),
    (
        "tamis_tcp_bytes_total",
        "counter",
        "Bytes carried for `tcp` ports, by listener and sender: `client` or `service`.",
    ),
    ("tamis_udp_sessions", "gauge", "Open sessions of listeners for UDP, by listener."),
    (
        "tamis_udp_sessions_total",
        "counter",
        "Sessions of listeners for UDP, those refused among them, by listener; `tamis_refusals_total` has the reasons.",
    ),
    (
        "tamis_udp_datagrams_total",
        "counter",
        "Datagrams sent on by listeners for UDP, by listener and sender: `client` or `service`.",
    ),
    (
        "tamis_udp_bytes_total",
        "counter",
        "Bytes of these datagrams, by listener and sender: `client` or `service`.",
    ),
    (
        "tamis_udp_dropped_total",
        "counter",
        "Datagrams that listeners for UDP did not send on, by listener and reason: `refused` (the session is refused), `full` (there is no place for another session), `waiting` (too many wait for the endpoint of their session), `draining` (the proxy takes no new sessions), `unsent` (the system has no room for it, or does not send one so large), `loop` (it comes from a socket of this proxy itself).",
    ),
    ("tamis_exchanges_total", "counter", "Exchanges begun."),
    (
        "tamis_responses_total",
        "counter",
        "Exchanges that ended, by direction of the listener and class of the status; `none` when no status was sent.",
    ),
    (
        "tamis_refusals_total",
        "counter",
        "Exchanges that the host refused or a filter answered, by direction and reason; after 200 reasons `other`.",
    ),
    (
        "tamis_records_dropped_total",
        "counter",
        "Access records that were dropped because they could not be written fast enough, or not at all.",
    ),
    (
        "tamis_mirrors_skipped_total",
        "counter",
        "Requests that were not mirrored, since 256 copies to the service, 512 to those of its namespace, or 1,024 to all were in progress, or as many as its endpoint may have.",
    ),
    ("tamis_encoded_responses_total", "counter", "Responses that were encoded, by coding."),
    (
        "tamis_encoded_bytes_total",
        "counter",
        "Bytes of these responses, by coding and side: `before` and `after`.",
    ),
    (
        "tamis_encodings_skipped_total",
        "counter",
        "Responses that were sent as they are, since there was no memory for their encoder.",
    ),
    ("tamis_filter_calls_total", "counter", "Calls of filters, by attachment, filter and hook."),
    (
        "tamis_filter_faults_total",
        "counter",
        "Calls that returned no verdict, by attachment, filter and hook.",
    ),
    ("tamis_upstream_retries_total", "counter", "Attempts after the first, by service."),
    (
        "tamis_upstream_retries_refused_total",
        "counter",
        "Retries that the retry budget refused, by service.",
    ),
    (
        "tamis_upstream_hedges_total",
        "counter",
        "Second attempts in parallel to a slow first one, by service.",
    ),
    (
        "tamis_upstream_hedges_won_total",
        "counter",
        "Second attempts whose response came first, by service.",
    ),
    (
        "tamis_upstream_hedges_refused_total",
        "counter",
        "Second attempts that the retry budget refused, by service.",
    ),
    ("tamis_circuit_state", "gauge", "0 closed, 1 half-open, 2 open, by service and endpoint."),
    ("tamis_circuit_opened_total", "counter", "Times a circuit opened, by service and endpoint."),
    (
        "process_start_time_seconds",
        "gauge",
        "When the process started, in seconds since the Unix epoch.",
    ),
    ("process_cpu_seconds_total", "counter", "Processor time of the process, user and system."),
    ("process_resident_memory_bytes", "gauge", "Resident memory of the process."),
    ("process_virtual_memory_bytes", "gauge", "Address space of the process."),
    ("process_threads", "gauge", "Threads of the process."),
    ("process_open_fds", "gauge", "Open file descriptors."),
    ("process_max_fds", "gauge", "Maximum number of open file descriptors."),
    (
        "tamis_upstream_connections",
        "gauge",
        "Open connections to endpoints, by service and endpoint.",
    ),
    (
        "tamis_upstream_in_flight",
        "gauge",
        "Requests in progress to endpoints, by service and endpoint.",
    ),
    (
        "tamis_draining",
        "gauge",
        "1 while the proxy sends clients elsewhere or has closed its listeners.",
    ),
];

/// Text of the exposition format (Prometheus 0.0.4).
struct Page(String);

impl Page {
    /// Starts a metric of [`METRICS`].
    fn family(&mut self, name: &str) {
        if let Some((_, kind, help)) = METRICS.iter().find(|(known, _, _)| *known == name) {
            // Writing to a string cannot fail.
            let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
    }

    fn series(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    /// A metric with one series.
    fn one(&mut self, name: &str, value: impl std::fmt::Display) {
        self.family(name);
        self.series(name, &[], value);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// All metrics.
pub(crate) fn metrics(inner: &ProxyState) -> String {
    let mut page = Page(inner.shared.metrics.render());
    state(inner, &mut page);
    slots(inner, &mut page);
    traffic(inner, &mut page);
    filters(inner, &mut page);
    upstreams(inner, &mut page);
    for (name, value) in tamis_observe::process() {
        page.one(name, value);
    }
    page.0
}

/// The proxy, and its connection to the director.
fn state(inner: &ProxyState, page: &mut Page) {
    let (shared, status) = (&inner.shared, inner.status_now());
    let number = inner.generation.load().number;
    page.family("tamis_build_info");
    page.series("tamis_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.one("tamis_generation", number);
    page.one("tamis_ready", u8::from(number > 0 && !shared.is_draining()));
    page.one("tamis_draining", u8::from(shared.is_draining()));
    page.family("tamis_problems");
    let mut problems: BTreeMap<&str, usize> = BTreeMap::new();
    for problem in &status.problems {
        let code = problem.get("code").and_then(serde_json::Value::as_str);
        *problems.entry(code.unwrap_or("other")).or_default() += 1;
    }
    for (code, count) in problems {
        page.series("tamis_problems", &[("code", code)], count);
    }
    page.family("tamis_certificate_not_after_seconds");
    for one in &status.certificates {
        let labels = [("use", one.used_by.as_str()), ("file", one.file.as_str())];
        page.series("tamis_certificate_not_after_seconds", &labels, one.not_after);
    }
    if let Some(identity) = &status.identity {
        page.one("tamis_svid_seconds_left", identity.seconds_left);
        page.one("tamis_svid_renewals_total", identity.renewed);
        page.one("tamis_svid_renewals_failed_total", identity.failed);
    }
    type OrderFigure = fn(&OrderStatus) -> u64;
    let orders: [(&str, OrderFigure); 3] = [
        ("tamis_acme_orders_total", |one| one.fulfilled),
        ("tamis_acme_orders_failed_total", |one| one.failed),
        ("tamis_acme_order_due_seconds", |one| one.due),
    ];
    for (name, value) in orders {
        page.family(name);
        for one in &status.orders {
            page.series(name, &[("host", one.host.as_str())], value(one));
        }
    }
    if let Some((connected, heard)) = shared.director.read() {
        page.one("tamis_director_connected", u8::from(connected));
        page.one("tamis_director_heard_seconds", heard);
    }
}

/// What slots run, and what they were assigned.
fn slots(inner: &ProxyState, page: &mut Page) {
    let (status, generation) = (inner.status.load(), inner.generation.load());
    let runs = |slot: &SlotStatus| {
        let mut filters = generation.filters.iter();
        let found = filters.find(|one| one.name == slot.attachment);
        found.is_some_and(|one| matches!(one.occupant, SlotOccupant::Running(_)))
    };
    let of = |slot: &SlotStatus| match (slot.state.is_serving(), runs(slot)) {
        (true, _) => "serving",
        (false, true) => "kept",
        (false, false) => "refused",
    };
    page.family("tamis_slots");
    for wanted in ["serving", "kept", "refused"] {
        let count = status.slots.iter().filter(|slot| of(slot) == wanted).count();
        page.series("tamis_slots", &[("state", wanted)], count);
    }
    page.family("tamis_slot_drift");
    for slot in status.slots.iter().filter(|slot| !slot.state.is_serving()) {
        let code = slot.state.refusal().map_or("", |refusal| &*refusal.code);
        let state = of(slot);
        let labels = [
            ("attachment", slot.attachment.as_str()),
            ("filter", slot.filter.as_str()),
            ("state", state),
            ("code", code),
        ];
        page.series("tamis_slot_drift", &labels, 1);
    }
}

/// Encoded responses.
fn encodings(inner: &ProxyState, page: &mut Page) {
    let encodings = &inner.shared.encodings;
    page.family("tamis_encoded_responses_total");
    for (coding, [responses, ..]) in encodings.counts() {
        page.series("tamis_encoded_responses_total", &[("coding", coding.as_str())], responses);
    }
    page.family("tamis_encoded_bytes_total");
    for (coding, [_, before, after]) in encodings.counts() {
        for (side, bytes) in [("before", before), ("after", after)] {
            let labels = [("coding", coding.as_str()), ("side", side)];
            page.series("tamis_encoded_bytes_total", &labels, bytes);
        }
    }
    page.one("tamis_encodings_skipped_total", encodings.skipped());
}

/// Connections and exchanges.
fn traffic(inner: &ProxyState, page: &mut Page) {
    let shared = &inner.shared;
    let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
    page.one("tamis_connections", read(&shared.connections));
    page.one("tamis_connections_total", read(&shared.connections_total));
    page.one("tamis_http3_connections_total", read(&shared.http3_connections_total));
    page.family("tamis_handshakes_failed_total");
    for (reason, count) in shared.handshakes_failed.counts() {
        page.series("tamis_handshakes_failed_total", &[("reason", reason)], count);
    }
    plaintext(inner, page);
    tcp(inner, page);
    udp(inner, page);
    page.one("tamis_exchanges_total", read(&shared.exchanges));
    page.one("tamis_records_dropped_total", shared.recorder.dropped());
    page.one("tamis_mirrors_skipped_total", shared.mirrors.skipped());
    encodings(inner, page);
    page.family("tamis_responses_total");
    let sum = shared.traffic.sum();
    for (direction, row) in DIRECTIONS.iter().zip(&sum.responses) {
        for (class, count) in CLASSES.iter().zip(row).filter(|(_, count)| **count > 0) {
            let labels = [("direction", direction.as_str()), ("status_class", class)];
            page.series("tamis_responses_total", &labels, count);
        }
    }
    page.family("tamis_refusals_total");
    for ((direction, reason), count) in shared.traffic.refusals() {
        let labels = [("direction", direction), ("reason", reason.as_str())];
        page.series("tamis_refusals_total", &labels, count);
    }
}

/// Connections in plain text to ports of the mesh.
fn plaintext(inner: &ProxyState, page: &mut Page) {
    let generation = inner.generation.load();
    let ports = generation.listeners.iter().filter_map(|one| one.plaintext.as_deref());
    let all = inner.shared.plaintext.all(ports, inner.shared.clock);
    type Figure = fn(&PlaintextUse) -> Option<u64>;
    let figures: [(&str, Figure); 3] = [
        ("tamis_plaintext_connections", |one| Some(one.open)),
        ("tamis_plaintext_connections_total", |one| Some(one.total)),
        ("tamis_plaintext_used_seconds", |one| one.used),
    ];
    for (name, figure) in figures {
        page.family(name);
        for (port, counts) in &all {
            let number = port.port.to_string();
            let labels = [("service", port.service.as_str()), ("port", number.as_str())];
            if let Some(value) = figure(counts) {
                page.series(name, &labels, value);
            }
        }
    }
}

/// Connections that are carried unread.
fn tcp(inner: &ProxyState, page: &mut Page) {
    let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let all = inner.shared.tcp.all();
    page.family("tamis_tcp_connections");
    for (listener, counts) in &all {
        page.series("tamis_tcp_connections", &[("listener", listener)], read(&counts.open));
    }
    page.family("tamis_tcp_connections_total");
    for (listener, counts) in &all {
        page.series("tamis_tcp_connections_total", &[("listener", listener)], read(&counts.total));
    }
    page.family("tamis_tcp_bytes_total");
    for (listener, counts) in &all {
        for (sender, number) in [("client", &counts.sent), ("service", &counts.received)] {
            let labels = [("listener", &**listener), ("sender", sender)];
            page.series("tamis_tcp_bytes_total", &labels, read(number));
        }
    }
}

/// Datagrams that are carried unread.
fn udp(inner: &ProxyState, page: &mut Page) {
    let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let all = inner.shared.udp.all();
    page.family("tamis_udp_sessions");
    for (listener, counts) in &all {
        let open = read(&counts.sessions.open);
        page.series("tamis_udp_sessions", &[("listener", listener)], open);
    }
    page.family("tamis_udp_sessions_total");
    for (listener, counts) in &all {
        let total = read(&counts.sessions.total);
        page.series("tamis_udp_sessions_total", &[("listener", listener)], total);
    }
    let mut by_sender = |name, of: fn(&UdpCounts) -> [&AtomicU64; 2]| {
        page.family(name);
        for (listener, counts) in &all {
            for (sender, number) in ["client", "service"].into_iter().zip(of(counts)) {
                page.series(name, &[("listener", &**listener), ("sender", sender)], read(number));
            }
        }
    };
    by_sender("tamis_udp_datagrams_total", |counts| [&counts.sent, &counts.received]);
    by_sender("tamis_udp_bytes_total", |counts| [&counts.sessions.sent, &counts.sessions.received]);
    page.family("tamis_udp_dropped_total");
    for (listener, counts) in &all {
        for (reason, count) in counts.dropped() {
            let labels = [("listener", &**listener), ("reason", reason)];
            page.series("tamis_udp_dropped_total", &labels, count);
        }
    }
}

fn filters(inner: &ProxyState, page: &mut Page) {
    let generation = inner.generation.load();
    for (name, faults) in [("tamis_filter_calls_total", false), ("tamis_filter_faults_total", true)]
    {
        page.family(name);
        each_hook(&generation.filters, |attachment, filter, hook| {
            let value = if faults { hook.faults } else { hook.calls };
            let labels =
                [("attachment", attachment), ("filter", filter), ("hook", hook.hook.as_str())];
            page.series(name, &labels, value);
        });
    }
}

fn each_hook(
    filters: &[std::sync::Arc<Attachment>],
    mut show: impl FnMut(&str, &str, &tamis_engine::HookNumbers),
) {
    for attachment in filters {
        let SlotOccupant::Running(filter) = &attachment.occupant else { continue };
        for hook in &filter.state().statistics().hooks {
            show(&attachment.name, filter.name(), hook);
        }
    }
}

fn upstreams(inner: &ProxyState, page: &mut Page) {
    let services = inner.shared.service_table.snapshot();
    type Count = fn(&ServiceSnapshot) -> u64;
    let counts: [(&str, Count); 5] = [
        ("tamis_upstream_retries_total", |service| service.retries),
        ("tamis_upstream_retries_refused_total", |service| service.retries_refused),
        ("tamis_upstream_hedges_total", |service| service.hedges),
        ("tamis_upstream_hedges_won_total", |service| service.hedges_won),
        ("tamis_upstream_hedges_refused_total", |service| service.hedges_refused),
    ];
    for (name, count) in counts {
        page.family(name);
        for service in &services {
            let value = count(service);
            page.series(name, &[("service", &service.name)], value);
        }
    }
    for name in [
        "tamis_circuit_state",
        "tamis_circuit_opened_total",
        "tamis_upstream_connections",
        "tamis_upstream_in_flight",
    ] {
        page.family(name);
        for service in &services {
            for endpoint in &service.endpoints {
                let value = match name {
                    "tamis_circuit_state" => match endpoint.circuit {
                        Circuit::Closed => 0,
                        Circuit::HalfOpen(_) => 1,
                        Circuit::Open(_) => 2,
                    },
                    "tamis_circuit_opened_total" => endpoint.opened,
                    "tamis_upstream_connections" => u64::from(endpoint.connections),
                    _ => u64::from(endpoint.window.in_flight),
                };
                let labels =
                    [("service", service.name.as_str()), ("endpoint", endpoint.name.as_str())];
                page.series(name, &labels, value);
            }
        }
    }
}

//! The end of an exchange: the counts, the summary for telemetry filters, the access record for people.

use super::ExchangeState;
use crate::slot::{EndedExchange, Slot};
use http::HeaderMap;
use std::rc::Rc;
use std::time::Duration;
use tamis_exchange::{ExchangeEnding, NameKind, Outcome, Summary};
use tamis_observe::AccessRecord;
use tamis_transport::give_back;

/// The gRPC status in summaries of a response without one.
const NO_GRPC: u16 = u16::MAX;

impl Drop for ExchangeState {
    fn drop(&mut self) {
        if !self.complete {
            self.outcome.insert(Outcome::CLIENT_GONE);
        }
        let duration = self.elapsed();
        self.bytes_in = self.bytes_in.saturating_add(self.body.bytes_in());
        self.finish(duration);
        self.summarise(duration);
        self.calls.settle(&self.chain.slots, self.status);
        let refused = self.outcome.contains(Outcome::REFUSED_BY_FILTER) || self.detail.is_some();
        self.count(duration, refused);
        self.record(duration, refused || self.outcome.contains(Outcome::UPSTREAM_FAILED));
        give_back(std::mem::take(&mut self.exchange.headers));
        give_back(std::mem::take(&mut self.exchange.response_headers));
        self.exchange.give_back();
    }
}

impl ExchangeState {
    /// Shows the end to the filters that want it, and drops what filters kept for the exchange.
    fn finish(&mut self, duration: Duration) {
        let chain = Rc::clone(&self.chain);
        if !chain.finished.is_empty() {
            let ending = self.ending(duration);
            let mut long: Vec<Rc<Slot>> = Vec::new();
            for slot in &chain.finished {
                if self.is_for(slot) {
                    self.calls.note(slot.number);
                    if slot.waits_for_turns() {
                        long.push(Rc::clone(slot));
                    } else {
                        slot.finished(&self.exchange, &ending);
                    }
                }
            }
            if !long.is_empty() {
                let exchange = self.exchange.clone();
                let ended = Rc::new(EndedExchange { exchange, ending, chain });
                long.iter().for_each(|slot| slot.finished_later(&ended));
                return;
            }
        }
        chain.end(self.exchange.id);
    }

    fn ending(&self, duration: Duration) -> ExchangeEnding {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        ExchangeEnding {
            outcome: self.outcome,
            status: self.status,
            grpc_status: self.grpc_status,
            duration_us: micros(duration),
            upstream_us: micros(self.upstream_time),
            attempts: self.attempts,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            reason: self.reason.as_deref().map(str::to_owned),
        }
    }

    fn summarise(&mut self, duration: Duration) {
        let (telemetry, names) = (&self.chain.telemetry, &self.chain.names);
        if telemetry.slots().is_empty() {
            return;
        }
        telemetry.slots().iter().for_each(|slot| self.calls.note(slot.number));
        let service = self.service.as_ref().map(|upstream| upstream.name());
        let peer = self.exchange.attributes.find("peer.spiffe-id");
        let summary = Summary {
            exchange: self.exchange.id,
            start_unix_us: self.start_unix_us,
            duration_us: micros(duration),
            upstream_us: micros(self.upstream_time),
            status: self.status,
            grpc_status: self.grpc_status.unwrap_or(NO_GRPC),
            outcome: self.outcome,
            attempts: self.attempts,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            rule: names.number(NameKind::Rule, self.rule_name()),
            upstream: names.number(NameKind::Upstream, service),
            endpoint: names.number(NameKind::Endpoint, self.endpoint.as_deref()),
            peer: names.number(NameKind::Identity, peer),
            reason: names.number(NameKind::Reason, self.reason.as_deref()),
        };
        telemetry.add(summary, &self.exchange);
    }

    fn count(&self, duration: Duration, refused: bool) {
        let (traffic, direction) = (&self.shared.traffic, self.chain.direction);
        // A connection that is carried unread is no exchange, and lives for as long as it likes.
        if !self.chain.unread {
            traffic.ended(self.worker(), direction, self.status, duration);
        }
        if refused && let Some(reason) = self.reason.as_deref() {
            traffic.refused(direction, reason);
        }
    }

    /// Writes the record where the log has one of this exchange, and shows it to whoever watches.
    fn record(&self, duration: Duration, failed: bool) {
        let (recorder, taps) = (&self.shared.recorder, &self.shared.taps);
        let (is_logged, is_watched) = (recorder.wants(failed), taps.is_open());
        if !is_logged && !is_watched {
            return;
        }
        let record = self.access_record(duration);
        if is_logged {
            recorder.record(&record);
        }
        if is_watched {
            taps.show(&record, self.shared.clock.unix_secs());
        }
    }

    fn access_record(&self, duration: Duration) -> AccessRecord<'_> {
        AccessRecord {
            time_unix_us: self.start_unix_us,
            exchange: self.exchange.id,
            trace: trace_id(&self.exchange.headers),
            request_id: self.request_id.as_ref().and_then(|id| id.to_str().ok()),
            generation: self.chain.generation,
            listener: self.exchange.attributes.find("listener.name"),
            peer: self.exchange.attributes.find("peer.spiffe-id"),
            source: self.exchange.attributes.find("source.address"),
            method: self.exchange.method.as_str(),
            scheme: self.exchange.scheme.as_str(),
            authority: &self.exchange.authority,
            path: &self.exchange.path,
            status: self.status,
            grpc_status: self.grpc_status,
            reason: self.reason.as_deref(),
            detail: self.detail.as_deref(),
            filter: self.answered_by.as_ref().map(|slot| slot.name()),
            route: self.rule_name(),
            service: self.service.as_ref().map(|upstream| upstream.name()),
            endpoint: self.endpoint.as_deref(),
            attempts: self.attempts,
            duration_us: micros(duration),
            upstream_us: micros(self.upstream_time),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            outcome: outcome_words(self.outcome),
        }
    }

    /// The worker that serves it: the upper part of its id.
    fn worker(&self) -> u64 {
        self.exchange.id >> crate::shared::ID_BITS
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

fn outcome_words(outcome: Outcome) -> Vec<&'static str> {
    [
        (Outcome::CLIENT_GONE, "client-gone"),
        (Outcome::UPSTREAM_FAILED, "upstream-failed"),
        (Outcome::TIMED_OUT, "timed-out"),
        (Outcome::REFUSED_BY_FILTER, "refused-by-filter"),
        (Outcome::RETRIED, "retried"),
        (Outcome::HEDGED, "hedged"),
        (Outcome::RESET, "reset"),
    ]
    .into_iter()
    .filter_map(|(bit, word)| outcome.contains(bit).then_some(word))
    .collect()
}

/// The trace id of a request, 32 hex digits.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("traceparent")?.to_str().ok()?.get(3..35)
}

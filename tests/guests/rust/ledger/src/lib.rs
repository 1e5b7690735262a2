//! A filter that counts in its exchange and its connection, and writes each end of an exchange into `kv`,
//! where the header `x-ask` reads it.

use tamis_sdk::exchange_state::{self, Scope};
use tamis_sdk::telemetry::{NameKind, Summary};
use tamis_sdk::{
    ConfigError, Edit, Filter, Finished, Interest, Kept, Request, Response, Telemetry, Trailers,
    View, finished, kv, reply, request, response, trailers,
};

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Ledger {
    /// Length of a value to keep with each exchange.
    keep: usize,
    /// Trailers of requests, and of responses, to set.
    trailers: [Vec<(String, String)>; 2],
    /// Fail at the end, but in the host's self-test.
    trap: bool,
}

impl Filter for Ledger {
    type Settings = Self;
    const SCHEMA: &'static str = r#"{"type":"object"}"#;

    fn configure(settings: Self) -> Result<(Self, Interest), Vec<ConfigError>> {
        let interest = Interest::reading([
            ":path",
            "x-ask",
            "user-agent",
            "@ledger.mark",
            "trailer:x-sum",
            "trailer:*",
        ]);
        let written = [
            "x-count",
            "x-kept",
            "x-started",
            "@ledger.mark",
            "trailer:grpc-status",
            "trailer:x-seen",
        ];
        Ok((settings, interest.writing(written)))
    }
}

/// The count under `n` after this call.
fn count(scope: Scope) -> String {
    let before = exchange_state::read(scope, "n").and_then(|octets| octets.first().copied());
    let now = before.unwrap_or(0) + 1;
    match exchange_state::write(scope, "n", &[now]) {
        Ok(()) => now.to_string(),
        Err(why) => why,
    }
}

impl Request for Ledger {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        if let Some(about) = seen.text("x-ask") {
            let line = kv::read(about).map(|entry| entry.value).unwrap_or_default();
            return request::Decision::answer(reply(200).body(line));
        }
        let path = seen.path().unwrap_or_default();
        let _ = exchange_state::write(Scope::Exchange, "path", path.as_bytes());
        let kept = exchange_state::write(Scope::Exchange, "kept", &vec![7; self.keep]);
        let kept = kept.err().unwrap_or_else(|| "yes".to_owned());
        let count = format!("{} {}", count(Scope::Exchange), count(Scope::Connection));
        let mark = Edit::attribute("ledger.mark", path.len().to_string());
        request::Decision::change(vec![
            Edit::set("x-count", count),
            Edit::set("x-kept", kept),
            mark,
        ])
    }
}

impl Response for Ledger {
    fn on_response(&mut self, _: View<'_>) -> response::Decision {
        let path = exchange_state::read(Scope::Exchange, "path").unwrap_or_default();
        response::Decision::change(vec![Edit::set("x-started", path)])
    }
}

/// Writes the trailers of its configuration, and in `x-seen` the value of `x-sum`, the number of trailers and the path.
fn changed(seen: View<'_>, set: &[(String, String)]) -> trailers::Decision {
    let set = set.iter().map(|(name, value)| Edit::set(name, value.as_bytes()));
    let sum = String::from_utf8_lossy(seen.trailer("x-sum").unwrap_or_default());
    let path = seen.path().unwrap_or_default();
    let count = seen.entries().filter(|(name, _)| name.starts_with("trailer:")).count();
    let saw = Edit::set("x-seen", format!("{sum} of {count} at {path}"));
    trailers::Decision::change(set.chain([saw]).collect()).because("ledger.trailers")
}

impl Trailers for Ledger {
    fn on_request_trailers(&mut self, seen: View<'_>) -> trailers::Decision {
        changed(seen, &self.trailers[0])
    }

    fn on_response_trailers(&mut self, seen: View<'_>) -> trailers::Decision {
        changed(seen, &self.trailers[1])
    }
}

impl Finished for Ledger {
    fn on_finished(&mut self, seen: View<'_>, how: finished::Ending) {
        assert!(!self.trap || seen.exchange() == 0, "told to");
        let path = exchange_state::read(Scope::Exchange, "path").unwrap_or_default();
        let line = format!(
            "{} {} {} in {} out {} attempts {} {:?} {}",
            seen.path().unwrap_or_default(),
            String::from_utf8_lossy(&path),
            how.status,
            how.bytes_in,
            how.bytes_out,
            how.attempts,
            how.outcome,
            how.reason.unwrap_or_default(),
        );
        let _ = kv::write(seen.path().unwrap_or_default(), line.as_bytes(), 0);
    }
}

impl Telemetry for Ledger {
    fn on_names(&mut self, _: NameKind, _: u32, _: Vec<String>) {}

    fn on_exchanges(&mut self, batch: &[Summary], kept: Kept<'_>) {
        for (at, one) in batch.iter().enumerate() {
            let path = kept.text(at, ":path").unwrap_or_default();
            let agent = kept.text(at, "user-agent").unwrap_or("nobody");
            let mark = kept.text(at, "@ledger.mark").unwrap_or("no mark");
            let line = format!("{agent} {mark} {}", one.status);
            let _ = kv::write(&format!("telemetry {path}"), line.as_bytes(), 0);
        }
    }
}

tamis_sdk::export!(Ledger: request, response, trailers, finished, telemetry);

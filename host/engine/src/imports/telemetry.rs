//! `spans` and `records`: what a telemetry filter exports.

use super::cut;
use crate::abi::{Attribute, FinishedSpan};
use crate::limiter::RateLimiter;
use crate::{FilterSpan, Host, RateGrant};
use std::time::Duration;
use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

const SECOND: Duration = Duration::from_secs(1);
/// Fields of a record or attributes of a span.
const MAX_FIELDS: usize = 128;
/// Bytes of a name or value.
const MAX_TEXT: usize = 8 * 1024;

pub(super) fn spans(linker: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    linker.func_wrap("emit", |store: StoreContextMut<'_, Host>, (spans,): (Vec<FinishedSpan>,)| {
        let host = store.data();
        let grant = host.settings.grant.imports.spans.clone().unwrap_or_default();
        for span in spans {
            let octets = octets(&span.attributes).saturating_add(span.name.len().min(MAX_TEXT));
            if fits(octets, &grant, &host.state.spans, &host.state.span_octets) {
                export(host, span);
            }
        }
        Ok(())
    })
}

fn export(host: &Host, span: FinishedSpan) {
    let attributes = pairs(span.attributes);
    let span = FilterSpan {
        exchange: span.exchange,
        name: cut(&span.name, MAX_TEXT).to_owned(),
        start_unix_us: span.start_unix_us,
        duration_us: span.duration_us,
        attributes,
    };
    if let Some(exporter) = &host.state.exporter {
        exporter.span(&host.settings.name, &span);
    }
}

pub(super) fn records(linker: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    linker.func_wrap("emit", |store: StoreContextMut<'_, Host>, (fields,): (Vec<Attribute>,)| {
        let host = store.data();
        let grant = host.settings.grant.imports.records.clone().unwrap_or_default();
        // Checked before anything is built from it: an item above the limit costs no more than passing it
        // in.
        if !fits(octets(&fields), &grant, &host.state.records, &host.state.record_octets) {
            return Ok(());
        }
        let object: serde_json::Map<String, serde_json::Value> =
            pairs(fields).into_iter().map(|(name, value)| (name, value.into())).collect();
        let json = serde_json::Value::Object(object).to_string();
        match &host.state.exporter {
            Some(exporter) => exporter.record(&host.settings.name, &json),
            None => tracing::info!(target: "tamis::record", filter = host.settings.name, "{json}"),
        }
        Ok(())
    })
}

/// Whether one item of this many bytes is within the grant; counts it.
fn fits(octets: usize, grant: &RateGrant, number: &RateLimiter, bytes: &RateLimiter) -> bool {
    if octets > grant.max_bytes {
        number.drop_one();
        return false;
    }
    let octets = u32::try_from(octets).unwrap_or(u32::MAX);
    number.take(1, grant.per_second, SECOND) && bytes.take(octets, grant.bytes_per_second, SECOND)
}

/// Bytes of the fields after names and values are cut. A control character becomes six bytes of JSON.
fn octets(fields: &[Attribute]) -> usize {
    let one = |text: &str| {
        let text = cut(text, MAX_TEXT);
        let controls = text.bytes().filter(u8::is_ascii_control).count();
        text.len().saturating_add(controls.saturating_mul(5))
    };
    let lengths =
        fields.iter().take(MAX_FIELDS).flat_map(|field| [one(&field.name), one(&field.value), 6]);
    lengths.fold(0, usize::saturating_add)
}

fn pairs(attributes: Vec<Attribute>) -> Vec<(String, String)> {
    let short = |text: String| cut(&text, MAX_TEXT).to_owned();
    attributes.into_iter().take(MAX_FIELDS).map(|a| (short(a.name), short(a.value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(octets: usize, fill: &str) -> Attribute {
        Attribute { name: "n".into(), value: fill.repeat(octets) }
    }

    #[test]
    fn records_cost_no_more_octets_than_granted() {
        let (number, bytes) = (RateLimiter::default(), RateLimiter::default());
        let grant = RateGrant::default();
        let huge: Vec<_> = (0..128).map(|_| field(8 * 1024, "a")).collect();
        assert!(!fits(octets(&huge), &grant, &number, &bytes), "1 MiB in one");
        let control = [field(16 * 1024, "\u{1}")];
        assert_eq!(octets(&control), MAX_TEXT * 6 + 7, "as it will be written");
        let plain = [field(8 * 1024, "a")];
        let taken = (0..1_000).filter(|_| fits(octets(&plain), &grant, &number, &bytes)).count();
        // A new second may begin in between.
        assert!(taken <= 2 * (grant.bytes_per_second as usize / (8 * 1024)), "{taken}");
        assert!(number.dropped() + bytes.dropped() >= 1, "and those over it are counted");
    }
}

//! `spans` and `records`: what a telemetry filter exports.

use super::cut;
use crate::abi::{Attribute, FinishedSpan};
use crate::{FilterSpan, Host, RateGrant};
use std::time::Duration;
use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

const SECOND: Duration = Duration::from_secs(1);
/// Fields of a record or attributes of a span.
const MAX_FIELDS: usize = 128;
/// Octets of a name or value.
const MAX_TEXT: usize = 8 * 1024;

pub(super) fn spans(linker: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    linker.func_wrap("emit", |store: StoreContextMut<'_, Host>, (spans,): (Vec<FinishedSpan>,)| {
        let host = store.data();
        let rate = rate(host.settings.grant.imports.spans.as_ref());
        for span in spans {
            if host.state.spans.take(1, rate, SECOND) {
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
        if !host.state.records.take(1, rate(host.settings.grant.imports.records.as_ref()), SECOND) {
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

fn pairs(attributes: Vec<Attribute>) -> Vec<(String, String)> {
    let short = |text: String| cut(&text, MAX_TEXT).to_owned();
    attributes.into_iter().take(MAX_FIELDS).map(|a| (short(a.name), short(a.value))).collect()
}

fn rate(grant: Option<&RateGrant>) -> u32 {
    grant.map_or_else(|| RateGrant::default().per_second, |g| g.per_second)
}

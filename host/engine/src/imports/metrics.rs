//! `metrics`: defined in `configure`, changed through handles.

use super::{handle, no_handle};
use crate::abi::MetricKind;
use crate::{Host, MetricsGrant};
use tamis_observe as observe;
use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

/// Labels of a metric; values beyond them belong to none.
const MAX_LABELS: usize = 16;
/// Series handles an instance may hold.
const MAX_HANDLES: usize = 100_000;

pub(super) fn add(linker: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "define",
        |mut store: StoreContextMut<'_, Host>,
         params: (MetricKind, String, String, Vec<String>)| {
            Ok((define(store.data_mut(), &params),))
        },
    )?;
    linker.func_wrap(
        "series",
        |mut store: StoreContextMut<'_, Host>, (metric, values): (u32, Vec<String>)| {
            let host = store.data_mut();
            let family =
                host.families.get(metric as usize).ok_or_else(|| no_handle("metrics.series"))?;
            let values: Vec<&str> = values.iter().take(MAX_LABELS).map(String::as_str).collect();
            if host.series.len() >= MAX_HANDLES {
                return Err(wasmtime::Error::msg(
                    "too many series handles; keep a handle instead of asking for it again",
                ));
            }
            host.series.push(family.series(&values));
            Ok((handle(host.series.len()),))
        },
    )?;
    change(linker, "add", observe::Series::add)?;
    change(linker, "set", observe::Series::set)?;
    change(linker, "observe", observe::Series::observe)
}

fn change(
    linker: &mut LinkerInstance<'_, Host>,
    name: &'static str,
    apply: fn(&observe::Series, f64),
) -> wasmtime::Result<()> {
    linker.func_wrap(name, move |store: StoreContextMut<'_, Host>, (series, value): (u32, f64)| {
        let series = store.data().series.get(series as usize).ok_or_else(|| no_handle(name))?;
        apply(series, value);
        Ok(())
    })
}

fn define(
    host: &mut Host,
    (kind, name, help, labels): &(MetricKind, String, String, Vec<String>),
) -> Result<u32, String> {
    if !host.configuring {
        return Err("metrics can only be defined in `configure`".to_owned());
    }
    let default = MetricsGrant::default();
    let grant = host.settings.grant.imports.metrics.as_ref().unwrap_or(&default);
    if host.families.len() >= grant.metrics {
        return Err(format!(
            "the grant allows {} metrics (`imports.metrics.metrics`)",
            grant.metrics
        ));
    }
    let kind = match kind {
        MetricKind::Counter => observe::MetricKind::Counter,
        MetricKind::Gauge => observe::MetricKind::Gauge,
        MetricKind::Histogram => observe::MetricKind::Histogram,
    };
    let labels: Vec<&str> = labels.iter().take(MAX_LABELS + 1).map(String::as_str).collect();
    let family = host
        .state
        .metrics
        .define_for(
            &host.settings.name,
            kind,
            name,
            help,
            &labels,
            grant.series,
            host.settings.buckets(name),
        )
        .map_err(|e| e.to_string())?;
    host.families.push(family);
    Ok(handle(host.families.len()))
}

#[cfg(test)]
mod tests {
    use super::super::basic::tests::host;
    use super::*;

    #[test]
    fn a_metric_that_is_refused_is_named_in_few_characters() {
        let long = || "a".repeat(1 << 20);
        for params in [
            (MetricKind::Counter, long(), String::new(), Vec::new()),
            (MetricKind::Counter, "\u{1}".repeat(1 << 20), String::new(), Vec::new()),
            (MetricKind::Counter, "a".to_owned(), long(), Vec::new()),
            (MetricKind::Counter, "a".to_owned(), String::new(), vec![long()]),
            (MetricKind::Counter, "a".to_owned(), String::new(), vec!["b".to_owned(); 100_000]),
        ] {
            let mut host = host();
            host.configuring = true;
            let said = define(&mut host, &params).unwrap_err();
            assert!(said.len() < 4_096, "{}", said.len());
        }
    }
}

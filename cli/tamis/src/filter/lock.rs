//! `filters.lock.yaml`: every filter name resolved to a digest.

use super::artifact::put;
use crate::named_file;
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use tamis_resources::{FiltersLockSpec, Pin, Resource, TAMIS_API, parse};

/// Refuses a file that no command and no proxy would read: documents are in files whose names end with `.yaml` or `.yml`.
pub(crate) fn is_document(path: &Path) -> Result<()> {
    let ending = path.extension().unwrap_or_default();
    if ["yaml", "yml"].iter().any(|one| ending.eq_ignore_ascii_case(one)) {
        return Ok(());
    }
    bail!(
        "a pin in {} has no effect, since only *.yaml and *.yml are read; use `.tamis/filters.lock.yaml` of the folder of documents",
        path.display()
    )
}

/// Reads a lock; a missing file is an empty lock.
pub(crate) fn read(path: &Path) -> Result<FiltersLockSpec> {
    if !path.exists() {
        return Ok(FiltersLockSpec { filters: Vec::new() });
    }
    let text = named_file::text(path).with_context(|| format!("{}", path.display()))?;
    let (documents, problems) = parse(&path.display().to_string(), &text);
    if let Some(problem) = problems.first() {
        let problem = problem.printable();
        let place = &problem.place;
        bail!("{}:{}:{}: {problem}", place.source, place.line, place.column);
    }
    let lock = documents.into_iter().find_map(|document| match document.resource {
        Resource::FiltersLock(spec) => Some(spec),
        _ => None,
    });
    lock.with_context(|| format!("{} contains no FiltersLock", path.display()))
}

/// Writes a lock.
pub(crate) fn write(path: &Path, lock: &FiltersLockSpec) -> Result<()> {
    let mut text = format!(
        "# Every filter of every service, exactly. Written by `tamis`; review changes like code.\n\
         kind: FiltersLock\napiVersion: {TAMIS_API}\nfilters:\n"
    );
    for pin in &lock.filters {
        let Pin { service, filter, version, digest } = pin;
        text.push_str(&format!(
            "  - service: {service:?}\n    filter: {filter}\n    version: {version}\n    digest: {digest}\n"
        ));
    }
    if lock.filters.is_empty() {
        text = text.replace("filters:\n", "filters: []\n");
    }
    put(path, text.as_bytes())
}

/// Pins a filter, replacing the pin of the same service.
pub(crate) fn pin(path: &Path, pin: Pin) -> Result<()> {
    let mut lock = read(path)?;
    let same = |other: &&mut Pin| other.service == pin.service && other.filter == pin.filter;
    match lock.filters.iter_mut().find(same) {
        Some(slot) => *slot = pin,
        None => lock.filters.push(pin),
    }
    write(path, &lock)
}

#[cfg(test)]
mod tests;

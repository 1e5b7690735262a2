//! `tamis filter test`: tables of cases through the engine of the proxy.

use super::build;
use crate::output::{self, Output};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tamis_engine::Engine;
use tamis_testkit::Table;

/// What `test` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder of the filter.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// A component built before, instead of building the folder's.
    #[arg(long)]
    component: Option<PathBuf>,
    /// A table of cases; those in `tests/*.yaml` of the folder when not said.
    #[arg(long)]
    cases: Vec<PathBuf>,
}

/// Runs every case; fails if one does.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let component = match &arguments.component {
        Some(path) => std::fs::read(path)
            .with_context(|| format!("the component {} cannot be read", path.display()))?,
        None => build::make(&arguments.folder)?.component,
    };
    let cases = if arguments.cases.is_empty() {
        tables(&arguments.folder.join("tests"))?
    } else {
        arguments.cases.clone()
    };
    if cases.is_empty() {
        bail!("{} has no table of cases; write tests/cases.yaml", arguments.folder.display());
    }
    let from = arguments.component.as_ref().unwrap_or(&arguments.folder).display().to_string();
    let busy = output::busy(format!("compiling and testing {from}"));
    let compiled = Engine::new()?.compile(&component, None).context(from)?;
    let (mut failed, mut values, mut text) = (0, Vec::new(), String::new());
    for path in &cases {
        let table = std::fs::read_to_string(path)
            .with_context(|| format!("the cases {} cannot be read", path.display()))?;
        let table = Table::parse(&path.display().to_string(), &table)?;
        let report = table.run(&compiled);
        failed += report.failed();
        text.push_str(&report.to_string());
        values.push(serde_json::to_value(&report)?);
    }
    drop(busy);
    output::result(output, &json!({ "failed": failed, "tables": values }), || text);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tables(folder: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml"));
    found.sort();
    Ok(found)
}

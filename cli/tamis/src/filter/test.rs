//! `tamis filter test`: runs tables of cases through the proxy's engine.

use super::build;
use crate::named_file;
use crate::output::{self, Output};
use crate::user_state;
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tamis_engine::Engine;
use tamis_resources::Problem;
use tamis_testkit::Table;

/// Arguments of `test`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder of the filter.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// A built component; default: build that of the folder.
    #[arg(long)]
    component: Option<PathBuf>,
    /// A table of cases; default: `tests/*.yaml` of the folder.
    #[arg(long)]
    cases: Vec<PathBuf>,
}

/// Runs every case; fails if one does.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let cases = if arguments.cases.is_empty() {
        tables(&arguments.folder.join("tests"))?
    } else {
        arguments.cases.clone()
    };
    if cases.is_empty() {
        bail!("{} has no table of cases; write tests/cases.yaml", arguments.folder.display());
    }
    // Mistakes in a table are reported before the build.
    let tables = match read(&cases)? {
        Ok(tables) => tables,
        Err(problems) => return Ok(refused(output, &problems)),
    };
    let (name, component) = match &arguments.component {
        Some(path) => (None, build::read(path)?),
        None => {
            let built = build::make(&arguments.folder)?;
            (Some(built.description.name), built.component)
        }
    };
    let from = arguments.component.as_ref().unwrap_or(&arguments.folder).display().to_string();
    let busy = output::busy(format!("compiling and testing {from}"));
    let compiled =
        Engine::new()?.compile(&component, user_state::own_code().as_ref()).context(from)?;
    let (mut failed, mut values, mut text) = (0, Vec::new(), String::new());
    for mut table in tables {
        table.filter = name.clone();
        let report = table.run(&compiled);
        failed += report.failed();
        text.push_str(&report.to_string());
        values.push(serde_json::to_value(&report)?);
    }
    drop(busy);
    output::result(output, &json!({ "failed": failed, "tables": values }), || text);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All tables, or all problems of all of them.
fn read(cases: &[PathBuf]) -> Result<Result<Vec<Table>, Vec<Problem>>> {
    let (mut tables, mut problems) = (Vec::new(), Vec::new());
    for path in cases {
        let text = named_file::text(path)
            .with_context(|| format!("the cases {} cannot be read", path.display()))?;
        match Table::parse(&path.display().to_string(), &text) {
            Ok(table) => tables.push(table),
            Err(error) => problems.extend(error.problems),
        }
    }
    Ok(if problems.is_empty() { Ok(tables) } else { Err(problems) })
}

/// Prints the problems of tables, as `tamis check` prints those of documents.
fn refused(output: Output, problems: &[Problem]) -> ExitCode {
    output::drawn_result(output, &json!({ "problems": problems }), || {
        problems.iter().map(crate::problem_text::render).collect()
    });
    ExitCode::FAILURE
}

/// The tables of a folder, by name.
pub(super) fn tables(folder: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml"));
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The folder has no crate: a build would fail with another message.
    #[test]
    fn a_table_is_read_before_anything_is_built() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("tests/cases.yaml");
        std::fs::create_dir(folder.path().join("tests")).unwrap();
        let test = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let (component, cases) = (None, Vec::new());
            let arguments = Arguments { folder: folder.path().to_owned(), component, cases };
            run(&arguments, Output::Json).map_err(|error| format!("{error:#}"))
        };
        for wrong in ["cases: [\n", "cases: [{ name: a, expect: {} }]\n", "case: []\n"] {
            let failed = format!("{:?}", ExitCode::FAILURE);
            assert_eq!(test(wrong).map(|code| format!("{code:?}")), Ok(failed), "{wrong}");
        }
        let said = test("cases: [{ name: a, expect: { pass: true } }]\n").unwrap_err();
        assert!(said.contains("filter.yaml cannot be read"), "{said}");
    }

    #[test]
    fn mistakes_in_a_table_are_shown_as_check_shows_those_of_documents() {
        let text = "config: { blocked: [bad/] }\ncases:\n  - name: a blocked agent\n    request: { headers: { user-agent: 1 } }\n    expect: { anser: { status: 403 } }\n  - name: nothing\n    expect: {}\n";
        let shown = |text: &str| {
            let problems = Table::parse("tests/cases.yaml", text).unwrap_err().problems;
            problems.iter().map(crate::problem_text::render).collect::<String>()
        };
        insta::assert_snapshot!("shape", shown(text));
        insta::assert_snapshot!("sense", shown("cases:\n  - name: nothing\n    expect: {}\n"));
    }
}

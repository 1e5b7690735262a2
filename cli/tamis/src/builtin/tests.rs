//! The built-in filters do what their tables say.

use super::*;
use crate::filter::grants;
use std::path::Path;
use tamis_engine::Engine;
use tamis_testkit::Table;

/// A table without a grant of its own runs under the Grant that the page of the filter shows, so that the
/// Grant suffices for what the table shows.
#[test]
fn every_built_in_filter_passes_its_tables_under_its_grant() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../filters");
    let engine = Engine::new().unwrap();
    let (mut cases, mut failed) = (0, Vec::new());
    for builtin in all().unwrap() {
        let folder = sources.join(builtin.name.trim_start_matches("tamis/"));
        let file = folder.join("tests/cases.yaml");
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        let mut table = Table::parse(&file.display().to_string(), &text).unwrap();
        if table.grant.is_none() {
            let grant = folder.join("grant.yaml");
            table.grant = Some(grants::read(&grant, Some(&builtin.name)).unwrap());
        }
        let report = table.run(&engine.compile(builtin.component, None).unwrap());
        cases += report.cases.len();
        if report.failed() > 0 {
            failed.push(report.to_string());
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(cases >= 60, "only {cases} cases were found");
}

//! h1spec: HTTP/1.1, strict, in clear text.
//!
//! It is in no package registry and not in this repository: it runs from a checkout in
//! `target/tools/h1spec`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use serde_json::json;

use super::gateway::{Gateway, Way};
use super::{Outcome, listening, peer};
use tamis_harness::Workspace;
use tamis_harness::shell;

/// The commit whose 33 cases are meant.
const VERSION: &str = "d8f6918";
const CASES: usize = 33;

/// Cases that fail, and why that is right. There are none.
const MISSED: [(&str, &str); 0] = [];

/// Where the checkout is, if there is one.
pub(super) fn checkout() -> Result<Option<PathBuf>> {
    let folder = Workspace::load()?.tools().join("h1spec");
    Ok(folder.join("h1spec/runner.py").exists().then_some(folder))
}

pub(super) fn run() -> Result<Vec<Outcome>> {
    let Some(folder) = checkout()? else {
        bail!(
            "h1spec comes from no registry; put dropseed/h1spec at {VERSION} in target/tools/h1spec"
        );
    };
    let (_backend, address) = listening(shell::command(peer()?).arg("echo"))?;
    let gateway = Gateway::start(&address, Way::Http1)?;
    let mut suite = shell::command("python3");
    suite.args(["-c", "from h1spec import main; main()", "--strict", &gateway.http]);
    let output = shell::capture(suite.current_dir(folder))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let passed = text.lines().filter(|line| line.contains('✓')).count();
    let failed: Vec<&str> = text.lines().filter(|line| line.contains('✗')).map(case).collect();
    let reason = |case: &str| MISSED.iter().find(|(name, _)| *name == case).map(|(_, why)| *why);
    let unexplained = failed.iter().filter(|case| reason(case).is_none()).count();
    let details: Vec<_> =
        failed.iter().map(|case| json!({ "case": case, "why": reason(case) })).collect();
    Ok(vec![Outcome {
        name: "h1spec",
        said: format!(
            "{passed} of {CASES} cases; {} missed for a written reason, {unexplained} for none",
            failed.len() - unexplained
        ),
        passed: passed + failed.len() == CASES && unexplained == 0,
        details: json!({ "version": VERSION, "failed": details }),
    }])
}

/// The name on a line such as `  ✗ 5. CONNECT authority-form accepted`, without mark and number.
fn case(line: &str) -> &str {
    line.split_once(". ").map_or(line, |(_, name)| name).trim()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_case_is_named_without_mark_and_number() {
        let line = "  \u{1b}[31m✗\u{1b}[0m 5. CONNECT authority-form accepted";
        assert_eq!(super::case(line), "CONNECT authority-form accepted");
        assert_eq!(super::case("no number at all"), "no number at all");
    }
}

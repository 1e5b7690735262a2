//! The suite of OCI Distribution against a registry: 1.1, and the draft of the next version.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::registry::{Registry, Way};
use super::{Outcome, checked_out, go_program};
use tamis_harness::Workspace;
use tamis_harness::shell;

const PACKAGE: &str = "github.com/opencontainers/distribution-spec/conformance";
/// The commit whose tests are meant; no release has this suite yet.
const COMMIT: &str = "967efdc079b91785ad18c77cc4f8991a47feefbf";

/// Expected results for each version of the specification. For 1.1 the suite itself disables two tests:
/// cancelling an upload, with either digest, was added later.
const VERSIONS: [(&str, &str, Counts); 2] = [
    ("oci 1.1", "1.1", Counts { tests: 862, failures: 0, errors: 0, not_run: 2 }),
    ("oci dev", "dev", Counts { tests: 986, failures: 0, errors: 0, not_run: 0 }),
];

/// The attributes of the suite in `junit.xml`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Counts {
    tests: u64,
    failures: u64,
    errors: u64,
    /// Skipped and disabled.
    not_run: u64,
}

/// The suite, built from a checkout in `target/tools/distribution-spec` if there is one, installed otherwise.
fn suite() -> Result<PathBuf> {
    let folder = Workspace::load()?.tools().join("distribution-spec");
    let Some(folder) = checked_out(&folder, COMMIT)? else {
        return go_program(PACKAGE, COMMIT).with_context(|| {
            format!(
                "put opencontainers/distribution-spec at {COMMIT} in target/tools/distribution-spec"
            )
        });
    };
    let program = folder.join("conformance/conformance");
    let mut go = shell::command("go");
    go.args(["build", "-buildvcs=false", "-o"]).arg(&program).arg(".");
    shell::read(go.current_dir(folder.join("conformance")))?;
    Ok(program)
}

pub(super) fn run() -> Result<Vec<Outcome>> {
    let suite = suite()?;
    let results = Workspace::load()?.target_directory.join("conformance");
    VERSIONS
        .map(|(name, version, expected)| against(&suite, &results, name, version, expected))
        .into_iter()
        .collect()
}

fn against(
    suite: &Path,
    results: &Path,
    name: &'static str,
    version: &str,
    expected: Counts,
) -> Result<Outcome> {
    let registry = Registry::start(Way::Clear)?;
    let results = results.join(name.replace(' ', "-"));
    // Results of an earlier run would be mistaken for those of this one.
    let _ = fs::remove_dir_all(&results);
    fs::create_dir_all(&results)?;
    let mut command = shell::command(suite);
    command
        .env("OCI_REGISTRY", &registry.address)
        .env("OCI_TLS", "disabled")
        .env("OCI_REPO1", "conformance/one")
        .env("OCI_REPO2", "conformance/two")
        .env("OCI_USERNAME", "suite")
        .env("OCI_PASSWORD", &registry.token)
        .env("OCI_VERSION", version)
        .env("OCI_RESULTS_DIR", &results)
        .env("OCI_LOG", "warn")
        .current_dir(&results);
    let output = shell::capture(&mut command)?;
    // With a wrong setting the suite prints a message and succeeds: only the file shows whether tests ran.
    let report = fs::read_to_string(results.join("junit.xml"));
    let report = report.with_context(|| {
        format!("the suite left no junit.xml: {}", String::from_utf8_lossy(&output.stdout))
    })?;
    let counts = counts(&report).context("junit.xml does not say how many tests there were")?;
    let passed = i128::from(counts.tests)
        - i128::from(counts.failures)
        - i128::from(counts.errors)
        - i128::from(counts.not_run);
    Ok(Outcome {
        name,
        said: format!(
            "{} tests, {passed} passed, {} failed, {} not run",
            counts.tests,
            counts.failures.saturating_add(counts.errors),
            counts.not_run
        ),
        passed: output.status.success() && counts == expected,
        details: json!({ "commit": COMMIT, "version": version, "failed": failed(&report) }),
    })
}

/// What the one suite in the report came to.
fn counts(report: &str) -> Option<Counts> {
    let line = report.lines().map(str::trim).find(|line| line.starts_with("<testsuite "))?;
    let count = |name| attribute(line, name)?.parse::<u64>().ok();
    let (skipped, disabled) = (count("skipped"), count("disabled"));
    Some(Counts {
        tests: count("tests")?,
        failures: count("failures")?,
        errors: count("errors")?,
        // Left out when there are none.
        not_run: skipped.unwrap_or(0).saturating_add(disabled.unwrap_or(0)),
    })
}

/// The names of the tests that neither passed nor were skipped.
fn failed(report: &str) -> Vec<&str> {
    let cases = report.lines().map(str::trim).filter(|line| line.starts_with("<testcase "));
    cases
        .filter(|line| !matches!(attribute(line, "status"), Some("passed" | "skipped")))
        .filter_map(|line| attribute(line, "name"))
        .collect()
}

/// The value of an attribute, as it is written.
fn attribute<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!(" {name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"<testsuites time="1.2" tests="3" disabled="1">
  <testsuite name="OCI" tests="3" failures="1" errors="0" disabled="1" time="1.2">
    <testcase name="OCI/ping" classname="" time="0.1" status="passed">
    <testcase name="OCI/cancel" classname="" status="skipped">
    <testcase name="OCI/push" classname="" status="failure">"#;

    #[test]
    fn a_report_is_counted_by_its_suite() {
        let expected = Counts { tests: 3, failures: 1, errors: 0, not_run: 1 };
        assert_eq!(counts(REPORT), Some(expected));
        assert_eq!(failed(REPORT), ["OCI/push"]);
    }

    #[test]
    fn a_report_without_numbers_counts_for_nothing() {
        assert_eq!(counts(""), None);
        assert_eq!(counts("<testsuite name=\"OCI\" tests=\"many\">"), None);
    }
}

//! Tests the REST API against its own document: schemathesis generates valid and invalid requests from the
//! document, and checks every response.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;
use tempfile::TempDir;

use super::Outcome;
use super::registry::{Registry, Way};
use tamis_harness::Workspace;
use tamis_harness::shell;

const PACKAGE: &str = "schemathesis==4.32.5";
const VERSION: &str = "4.32.5";
/// Requests made for each operation, about.
const EXAMPLES: &str = "100";
/// No server error, and nothing that the document does not describe: status, type, headers, shape.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";

pub(super) fn run() -> Result<Vec<Outcome>> {
    let schemathesis = installed()?;
    let registry = Registry::start(Way::Clear)?;
    let folder = TempDir::new()?;
    seed(&registry, folder.path())?;
    let mut command = shell::command(schemathesis);
    command
        .arg("run")
        .arg(format!("http://{}/v1/openapi.json", registry.address))
        .args(["--header", &format!("Authorization: Bearer {}", registry.token)])
        .args(["--checks", CHECKS, "--max-examples", EXAMPLES, "--no-color"])
        .current_dir(folder.path());
    let output = shell::capture(&mut command)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let cases = cases(&said).with_context(|| format!("schemathesis tested nothing: {said}"))?;
    Ok(vec![Outcome {
        name: "api",
        said: format!("schemathesis {VERSION}: {cases}"),
        passed: output.status.success(),
        details: json!({ "version": VERSION, "checks": CHECKS, "said": said }),
    }])
}

/// Where schemathesis is, installed if it is not there.
fn installed() -> Result<PathBuf> {
    let environment = Workspace::load()?.tools().join("schemathesis");
    if !environment.join(VERSION).exists() {
        println!("    installing {PACKAGE}");
        shell::read(shell::command("python3").args(["-m", "venv"]).arg(&environment))?;
        let mut pip = shell::command(environment.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", PACKAGE]);
        shell::read(&mut pip)?;
        fs::write(environment.join(VERSION), "")?;
    }
    Ok(environment.join("bin/schemathesis"))
}

/// Puts a mesh in force, so that there is something to ask about.
fn seed(registry: &Registry, folder: &Path) -> Result<()> {
    let workspace = Workspace::load()?;
    let shop = shell::root().join("examples/shop");
    for entry in fs::read_dir(&shop)? {
        let path = entry?.path();
        if let (Some(name), true) =
            (path.file_name(), path.extension().is_some_and(|it| it == "yaml"))
        {
            fs::copy(&path, folder.join(name))?;
        }
    }
    let tamis = |arguments: &[&str]| {
        let mut command = shell::command(workspace.target_directory.join("debug/tamis"));
        command
            .args(arguments)
            .env("TAMIS_REGISTRY", format!("http://{}", registry.address))
            .env("TAMIS_TOKEN", &registry.token)
            .current_dir(folder);
        shell::read(&mut command)
    };
    tamis(&["up", ".", "--prepare"])?;
    tamis(&["apply", "-f", ".", "--confirm"])?;
    tamis(&["filter", "push", ".tamis/store/tamis-retry-0.1.0.wasm", "tamis/retry"])?;
    tamis(&["pin", "*", "tamis/retry@0.1.0", "--confirm"])?;
    Ok(())
}

/// The line of the summary with the number of cases.
fn cases(said: &str) -> Option<&str> {
    said.lines().map(str::trim).find(|line| line.contains(" generated, "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_cases_is_none() {
        let summary = "Test cases:\n  5423 generated, 5423 passed\n\nSeed: 1";
        assert_eq!(cases(summary), Some("5423 generated, 5423 passed"));
        assert_eq!(cases("error: no such file"), None);
    }
}

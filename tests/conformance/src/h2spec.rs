//! h2spec: HTTP/2 and HPACK, strict.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::gateway::{Gateway, Way};
use super::{Outcome, checked_out, go_program, listening, peer};
use tamis_harness::Workspace;
use tamis_harness::shell;

/// The newest release that Go can install; later tags lack the `/v2` that Go asks of their module.
const RELEASE: (&str, &str) = ("v2.2.1+incompatible", "146 tests, 146 passed, 0 skipped, 0 failed");
/// What a checkout must be at; it has a case more.
const COMMIT: (&str, &str) = ("af83a65f0b62", "147 tests, 147 passed, 0 skipped, 0 failed");

/// The suite built from a checkout in `target/tools/h2spec` if there is one, from the newest release otherwise; with its
/// version and its output on success.
fn suite() -> Result<(PathBuf, (&'static str, &'static str))> {
    let folder = Workspace::load()?.tools().join("h2spec");
    let Some(folder) = checked_out(&folder, COMMIT.0)? else {
        let program = go_program("github.com/summerwind/h2spec/cmd/h2spec", RELEASE.0)?;
        return Ok((program, RELEASE));
    };
    let program = folder.join("h2spec");
    let mut go = shell::command("go");
    go.args(["build", "-buildvcs=false", "-o"]).arg(&program).arg("./cmd/h2spec");
    shell::read(go.current_dir(&folder))?;
    Ok((program, COMMIT))
}

pub(super) fn run() -> Result<Vec<Outcome>> {
    let (h2spec, (version, well)) = suite()?;
    let (_backend, address) = listening(shell::command(peer()?).arg("echo"))?;
    let gateway = Gateway::start(&address, Way::Http1)?;
    let mut outcomes = Vec::new();
    for (name, address, tls) in
        [("h2spec h2c", &gateway.http, false), ("h2spec tls", &gateway.https, true)]
    {
        let (host, port) = address.split_once(':').unwrap_or((address, ""));
        let mut command = shell::command(&h2spec);
        command.args(["-S", "-h", host, "-p", port]);
        if tls {
            command.args(["-t", "-k"]);
        }
        let output = shell::capture(&mut command)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said =
            text.lines().rev().find(|line| line.contains("tests,")).unwrap_or("it said nothing");
        let failed: Vec<&str> =
            text.lines().filter(|line| line.contains('×')).map(str::trim).collect();
        outcomes.push(Outcome {
            name,
            said: said.trim().to_owned(),
            passed: said.trim() == well,
            details: json!({ "version": version, "failed": failed }),
        });
    }
    Ok(outcomes)
}

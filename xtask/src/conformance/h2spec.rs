//! h2spec: HTTP/2 and HPACK, strict.

use anyhow::Result;
use serde_json::json;

use super::gateway::{Gateway, Way};
use super::{Outcome, go_program, listening, peer};
use crate::shell;

/// The newest release that Go can install; 146 tests.
const VERSION: &str = "v2.2.1+incompatible";
const TESTS: &str = "146 tests, 146 passed, 0 skipped, 0 failed";

pub(super) fn run() -> Result<Vec<Outcome>> {
    let h2spec = go_program("github.com/summerwind/h2spec/cmd/h2spec", VERSION)?;
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
            passed: said.trim() == TESTS,
            details: json!({ "version": VERSION, "failed": failed }),
        });
    }
    Ok(outcomes)
}

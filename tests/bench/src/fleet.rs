//! F1–F3: a thousand simulated proxies under one registry, by `tests/fleet`. The registry has the core of the proxy under
//! test, the proxies have the other.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Bench;
use super::report::{Bar, Report};
use tamis_harness::Workspace;
use tamis_harness::shell;

/// Builds the proxies, runs the measurement, and reads its output. All of it is in `fleet.json` too.
pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    shell::run(shell::cargo().args(["build", "--package", "tamis-fleet", "--release"]))?;
    let workspace = Workspace::load()?;
    let program = workspace.target_directory.join("release/tamis-fleet");
    let mut command = bench.cores.other(program.to_str().context("its path is no text")?);
    command.arg("--tamis").arg(&bench.binary);
    command.arg("--components").arg(workspace.components());
    command.args(["--rounds", &bench.rounds.to_string()]);
    if let Some(core) = bench.cores.of_the_proxy() {
        command.args(["--core", &core.to_string()]);
    }
    let text = shell::read(&mut command)?;
    fs::write(workspace.target_directory.join("bench/fleet.json"), &text)?;
    let said: Value =
        serde_json::from_str(&text).context("the fleet does not say what it measured")?;
    let number = |path: &str| said.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let mut figure = |id: &str, what: &str, unit: &'static str, path: &str, bar: Bar| {
        report.figure(id, what, unit, &[number(path)], bar);
    };
    let rows = [
        (
            "F1",
            "a pin of all, from acknowledged to serving, p99 of 1,000 proxies",
            "ms",
            "/pinForAll/toServing/p99Ms",
            Bar::at_most(1_000.0),
        ),
        ("F1", "the same, the last proxy", "ms", "/pinForAll/toServing/maxMs", Bar::none()),
        (
            "F1",
            "the same, from asked to acknowledged, median",
            "ms",
            "/pinForAll/acknowledged/p50Ms",
            Bar::none(),
        ),
        (
            "F1",
            "the same, until the status says it of all, median",
            "ms",
            "/pinForAll/statusSaysAll/p50Ms",
            Bar::none(),
        ),
        (
            "F1",
            "the same, processor time of the registry",
            "s",
            "/pinForAll/registryCpuSecondsEach",
            Bar::none(),
        ),
        (
            "F2",
            "a pin of one service, from acknowledged to serving, p99",
            "ms",
            "/pinForOne/toServing/p99Ms",
            Bar::at_most(1_000.0),
        ),
        (
            "F2",
            "the same, bytes pushed beside the slot",
            "B",
            "/pinForOne/bytesBesideTheSlot",
            Bar::at_most(300.0),
        ),
        ("F2", "the same, bytes of the slot", "B", "/pinForOne/slotBytes", Bar::none()),
        (
            "F3",
            "the registry killed and started: until all are current",
            "ms",
            "/restart/allCurrentMs",
            Bar::none(),
        ),
        (
            "F3",
            "the same, connections that were begun",
            "",
            "/restart/connectionsTried",
            Bar::none(),
        ),
        (
            "F3",
            "the same, proxies that came back too soon",
            "",
            "/restart/cameBackTooSoon",
            Bar::at_most(0.0),
        ),
        (
            "",
            "resident memory of the registry under 1,000 proxies",
            "MiB",
            "/registryMemoryMib/settled",
            Bar::none(),
        ),
    ];
    for (id, what, unit, path, bar) in rows {
        figure(id, what, unit, path, bar);
    }
    Ok(())
}

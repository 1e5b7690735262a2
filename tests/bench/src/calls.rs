//! P5: what one call into a filter costs, by itself.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Bench;
use super::report::{Bar, Report};
use tamis_harness::Workspace;
use tamis_harness::shell;

/// Runs the examples of the engine that call filters in a loop.
pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut build = shell::cargo();
    build.args(["build", "--release", "--package", "tamis-engine", "--examples"]);
    shell::run(&mut build)?;
    let examples = Workspace::load()?.target_directory.join("release/examples");
    let mut rounds = Vec::new();
    for _ in 0..bench.rounds {
        let program = examples.join("call_cost");
        let said = shell::read(bench.cores.proxy(&program.to_string_lossy()).arg("--json"))?;
        let value: Value = serde_json::from_str(&said)?;
        rounds.push(number(&value, "medianNs")? / 1000.0);
    }
    report.figure(
        "P5",
        "one call of the route policy: path, two headers, an attribute",
        "µs",
        &rounds,
        Bar::at_most(0.5),
    );
    access_decisions(bench, report, &examples.join("call_cost"))?;
    let program = examples.join("guest_table");
    let said = shell::read(bench.cores.proxy(&program.to_string_lossy()).arg("--json"))?;
    for line in said.lines() {
        let guest: Value = serde_json::from_str(line)?;
        let name =
            guest.pointer("/guest").and_then(Value::as_str).context("a guest has no name")?;
        let failed = number(&guest, "failed").with_context(|| format!("{name}: {line}"))?;
        anyhow::ensure!(failed < 0.5, "{name} fails {failed} of its cases");
        report.guest(json!({
            "name": name,
            "medianUs": number(&guest, "medianNs")? / 1000.0,
            "p99Us": number(&guest, "p99Ns")? / 1000.0,
            "sizeKib": number(&guest, "bytes")? / 1024.0,
            "memoryKib": number(&guest, "memoryBytes")? / 1024.0,
            "compileMs": number(&guest, "compileMs")?,
        }));
    }
    Ok(())
}

/// What a decision about an `AuthorizationPolicy` costs: remembered, and evaluated by Cedar each time. The rule that covers
/// the request is the last of twenty.
fn access_decisions(bench: &Bench, report: &mut Report, program: &Path) -> Result<()> {
    let component = Workspace::load()?.target_directory.join("components/authz.wasm");
    let rule = |number: u32| {
        let last = number == 19;
        let path = if last { "/pay".to_owned() } else { format!("/api/v{number}") };
        let who = if last { "sa/cart".to_owned() } else { format!("sa/s{number}") };
        json!({ "identities": [format!("spiffe://mesh/ns/shop/{who}")], "methods": ["GET"],
                "paths": [{ "type": "PathPrefix", "value": path }] })
    };
    let rules: Vec<Value> = (0..20).map(rule).collect();
    for (what, remember, bar) in
        [("remembered", 4096, Bar::at_most(1.0)), ("evaluated by Cedar", 0, Bar::none())]
    {
        let config = json!({ "policies": [{ "name": "shop/pay", "allow": rules }],
            "guarded": { "kind": "Service", "name": "shop/pay" }, "config": { "remember": remember } });
        let mut rounds = Vec::new();
        for _ in 0..bench.rounds {
            let mut command = bench.cores.proxy(&program.to_string_lossy());
            command.arg("--json").arg(&component).arg(config.to_string());
            let value: Value = serde_json::from_str(&shell::read(&mut command)?)?;
            rounds.push(number(&value, "medianNs")? / 1000.0);
        }
        let what = format!("one decision of the authz policy, twenty rules, {what}");
        report.figure("P5", &what, "µs", &rounds, bar);
    }
    Ok(())
}

fn number(value: &Value, name: &str) -> Result<f64> {
    value.get(name).and_then(Value::as_f64).with_context(|| format!("there is no {name}"))
}

//! `tamis authz test`: a table of requests and connections, and expected decisions.

use super::ask::{AccessDecision, AccessOutcome, AskedRequest, Enforcer};
use super::target::PolicyFolder;
use crate::named_file;
use crate::output::{self, Output};
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `test`.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Folder with the documents.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The table of requests and connections.
    #[arg(long, value_name = "FILE")]
    cases: PathBuf,
}

/// A file of cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessTable {
    cases: Vec<Value>,
}

/// A request or connection, and what is expected of the policies.
struct AccessCase {
    name: String,
    expect: AccessOutcome,
    reason: Option<String>,
    request: AskedRequest,
}

/// Most cases of a table.
const MAX_CASES: usize = 10_000;

impl AccessCase {
    fn read(at: usize, value: Value) -> Result<Self> {
        let named = value.get("name").and_then(Value::as_str).map(str::to_owned);
        let name = named.unwrap_or_else(|| format!("case {}", at.saturating_add(1)));
        let place = || format!("`{name}`");
        let Value::Object(mut map) = value else { bail!("{name} is not a map") };
        map.remove("name");
        let expect = map.remove("expect").context("it has no `expect`").with_context(place)?;
        let expect = serde_json::from_value(expect).context("`expect`").with_context(place)?;
        let reason = map.remove("reason");
        let reason = reason.map(serde_json::from_value).transpose().context("`reason`");
        let request = request(map).with_context(place)?;
        Ok(Self { reason: reason.with_context(place)?, expect, request, name })
    }

    /// What differs from the expectation; `None`: nothing.
    fn difference(&self, found: &AccessDecision) -> Option<String> {
        let (wanted, is) = (self.expect.as_str(), found.decision.as_str());
        let why = found.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        if self.expect != found.decision {
            return Some(format!("expected {wanted}, is {is} ({}{why})", shown(&found.reason)));
        }
        let reason = self.reason.as_ref().filter(|reason| **reason != found.reason)?;
        Some(format!("expected {wanted} because of {reason}, is {}", shown(&found.reason)))
    }
}

/// A reason; no filter gave an empty one.
pub(super) fn shown(reason: &str) -> &str {
    if reason.is_empty() { "nothing enforces policies there" } else { reason }
}

fn request(map: Map<String, Value>) -> Result<AskedRequest> {
    Ok(serde_json::from_value(Value::Object(map))?)
}

/// Asks about every case; fails if a decision is another than expected.
pub(super) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let file = arguments.cases.display();
    let text = named_file::text(&arguments.cases)
        .with_context(|| format!("the cases {file} cannot be read"))?;
    let table: AccessTable = serde_norway::from_str(&text).with_context(|| file.to_string())?;
    if table.cases.is_empty() || table.cases.len() > MAX_CASES {
        bail!("{file} has {} cases: write 1 to {MAX_CASES}", table.cases.len());
    }
    let cases = table.cases.into_iter().enumerate().map(|(at, one)| AccessCase::read(at, one));
    let cases: Vec<AccessCase> = cases.collect::<Result<_>>().with_context(|| file.to_string())?;
    let folder = PolicyFolder::read(&arguments.folder)?;
    for AccessCase { name, request, .. } in &cases {
        let declared = request.listener().and_then(|at| folder.guards(&request.to, at));
        drop(declared.with_context(|| format!("{file}: `{name}`"))?);
    }
    let busy = output::busy("asking the policies");
    let enforcer = Enforcer::new()?;
    let (mut rows, mut text, mut failed) = (Vec::new(), String::new(), Vec::new());
    for case in &cases {
        let found = enforcer.decide(&folder, &case.request);
        let found = found.with_context(|| format!("{file}: `{}`", case.name))?;
        let difference = case.difference(&found);
        let mark = if difference.is_some() { "✗" } else { "✓" };
        let _ = writeln!(text, "{mark} {}", case.name);
        if let Some(difference) = &difference {
            let _ = writeln!(text, "    {difference}");
            failed.push(format!("`{}` {difference}", case.name));
        }
        rows.push(json!({
            "name": case.name, "decision": found.decision, "reason": found.reason, "difference": difference,
        }));
    }
    drop(busy);
    let count = cases.len();
    let _ = match failed.first() {
        None => writeln!(text, "{count} cases, all as expected"),
        Some(first) => {
            writeln!(text, "{} of {count} cases failed; the first: {first}", failed.len())
        }
    };
    output::result(output, &json!({ "failed": failed.len(), "cases": rows }), || text);
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

//! `tamis authz explain`: why a request or a connection is allowed or refused.
//!
//! Each rule is shown to the enforcing filter alone, and of a rule that does not cover what is asked each condition alone:
//! so what is said about them is decided by the code that decides in proxies.

use super::ask::{AccessDecision, AccessOutcome, AskedRequest, Enforcer, applies};
use super::target::{CalledTarget, PolicyFolder};
use super::test::shown;
use super::{allowing_rule, connecting_rule};
use crate::output::{self, Output};
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use tamis_engine::Grant;

/// Arguments of `explain`.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Folder with the documents.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// What is called: namespace/name of a Service, or gateway:namespace/name.
    #[arg(long)]
    to: CalledTarget,
    /// SPIFFE id of the client; default: it has none.
    #[arg(long)]
    from: Option<String>,
    /// A tcp port of the Service: a connection is asked about, which has nothing of a request.
    #[arg(long, conflicts_with_all = ["method", "path", "header", "claims", "listener", "route"])]
    port: Option<u16>,
    /// Method of the request; default: GET.
    #[arg(long)]
    method: Option<String>,
    /// Path of the request; default: /.
    #[arg(long)]
    path: Option<String>,
    /// A header of the request, as NAME=VALUE; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    header: Vec<String>,
    /// Claims of a verified token, as a JSON object.
    #[arg(long, value_name = "JSON")]
    claims: Option<String>,
    /// Address of the client.
    #[arg(long, default_value = "127.0.0.1")]
    address: String,
    /// Listener of a gateway; default: its first.
    #[arg(long)]
    listener: Option<String>,
    /// The rule of a route that matched, as namespace/route/rule.
    #[arg(long)]
    route: Option<String>,
}

/// Whether a rule covers what is asked.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CoveringRule {
    /// `namespace/name` of its policy.
    policy: String,
    /// `enforce` or `audit`.
    mode: String,
    /// `allow` or `deny` with its name or index, or `cedar`.
    rule: String,
    covers: bool,
    /// Conditions that do not hold.
    missing: Vec<String>,
}

impl Arguments {
    fn asked(&self) -> Result<AskedRequest> {
        let mut headers = BTreeMap::new();
        for line in &self.header {
            let Some((name, value)) = line.split_once('=') else {
                bail!("`{line}` is not a header: write NAME=VALUE");
            };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let claims = self.claims.as_deref().map(serde_json::from_str).transpose();
        Ok(AskedRequest {
            to: self.to.clone(),
            from: self.from.clone(),
            port: self.port,
            method: self.method.clone(),
            path: self.path.clone(),
            headers,
            claims: claims.context("`--claims` is not a JSON object")?.unwrap_or_default(),
            address: Some(self.address.clone()),
            listener: self.listener.clone(),
            route: self.route.clone(),
        })
    }
}

/// Prints the decision and what every rule has to do with it.
pub(super) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let asked = arguments.asked()?;
    let folder = PolicyFolder::read(&arguments.folder)?;
    let guards = folder.guards(&asked.to, asked.listener()?)?;
    let busy = output::busy("asking the policies");
    let enforcer = Enforcer::new()?;
    let decided = enforcer.decide(&folder, &asked)?;
    let mut rules = Vec::new();
    for guard in guards {
        if guard.receives && guard.refused.is_none() && applies(&guard, asked.route.as_deref()) {
            let one = RuleByRule { enforcer: &enforcer, config: &guard.config, asked: &asked };
            rules.extend(one.rules()?);
        }
    }
    drop(busy);
    let line = line(&decided, &asked);
    let value = json!({
        "decision": decided.decision, "reason": decided.reason, "why": decided.why, "rules": rules, "add": line,
    });
    output::result(output, &value, || text(&decided, &rules, line.as_deref()));
    Ok(ExitCode::SUCCESS)
}

fn text(decided: &AccessDecision, rules: &[CoveringRule], line: Option<&str>) -> String {
    let mut text = format!("{}: {}\n", decided.decision.as_str(), shown(&decided.reason));
    if let Some(why) = &decided.why {
        let _ = writeln!(text, "  {why}");
    }
    for one in rules {
        let mode = if one.mode == "audit" { " (audit)" } else { "" };
        let covers = if one.covers { "covers it" } else { "does not cover it" };
        let missing = match one.missing.as_slice() {
            [] => String::new(),
            missing => format!(": {}", missing.join(", ")),
        };
        let _ = writeln!(text, "  {}{mode} {} {covers}{missing}", one.policy, one.rule);
    }
    if rules.is_empty() && decided.decision == AccessOutcome::Refused {
        let _ = writeln!(text, "  no policy has this target");
    }
    if let Some(line) = line {
        let _ = writeln!(
            text,
            "to allow it, add this under `allow` of a policy of the target:\n  {line}"
        );
    }
    text
}

/// The rule that would allow what no rule allows.
fn line(decided: &AccessDecision, asked: &AskedRequest) -> Option<String> {
    if !decided.reason.ends_with("no-rule") {
        return None;
    }
    let from = asked.from.as_deref();
    if let Some(port) = asked.port {
        return Some(connecting_rule(from, port));
    }
    let method = asked.method.as_deref().unwrap_or("GET");
    let path = asked.path.as_deref().unwrap_or("/");
    Some(allowing_rule(from, method, path))
}

/// Shows the filter one rule, or one condition, at a time.
struct RuleByRule<'a> {
    enforcer: &'a Enforcer,
    config: &'a Value,
    asked: &'a AskedRequest,
}

impl RuleByRule<'_> {
    fn rules(&self) -> Result<Vec<CoveringRule>> {
        let mut all = Vec::new();
        let policies = self.config.get("policies").and_then(Value::as_array);
        for policy in policies.into_iter().flatten() {
            let text = |name: &str| policy.get(name).and_then(Value::as_str).unwrap_or_default();
            let scope = policy.get("scope").cloned().unwrap_or(Value::Null);
            let (name, mode) = (text("name").to_owned(), text("mode").to_owned());
            for list in ["allow", "deny"] {
                let rules = policy.get(list).and_then(Value::as_array);
                for (at, rule) in rules.into_iter().flatten().enumerate() {
                    let own = rule.get("name").and_then(Value::as_str);
                    let own = own.map_or_else(|| at.to_string(), str::to_owned);
                    let covers = self.covers(list, rule, &scope)?;
                    let missing =
                        if covers { Vec::new() } else { self.missing(list, rule, &scope)? };
                    let (policy, mode, rule) =
                        (name.clone(), mode.clone(), format!("{list} {own}"));
                    all.push(CoveringRule { policy, mode, rule, covers, missing });
                }
            }
            if let Some(cedar) = policy.get("cedar") {
                all.push(self.cedar(name, mode, cedar)?);
            }
        }
        Ok(all)
    }

    fn covers(&self, list: &str, rule: &Value, scope: &Value) -> Result<bool> {
        let mut policy = json!({ "name": "a/b", list: [rule] });
        if let (Value::Array(_), Some(map)) = (scope, policy.as_object_mut()) {
            map.insert("scope".to_owned(), scope.clone());
        }
        // What is denied is only seen where something else allows it.
        let all = match list {
            "deny" => json!([policy, { "name": "a/all", "allow": [self.with_port(json!({}))] }]),
            _ => json!([policy]),
        };
        let passes = self.alone(&all)?.decision == AccessOutcome::Allowed;
        Ok(passes != (list == "deny"))
    }

    /// The conditions of a rule that do not hold by themselves.
    fn missing(&self, list: &str, rule: &Value, scope: &Value) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        for (name, condition) in rule.as_object().into_iter().flatten() {
            let alone = self.with_port(json!({ name: condition }));
            if name != "name" && !self.covers(list, &alone, &Value::Null)? {
                missing.push(format!("{name} {condition}"));
            }
        }
        if self.asked.port.is_some() && list == "allow" && rule.get("ports").is_none() {
            missing.push("it names no port".to_owned());
        }
        if !scope.is_null() && !self.covers(list, &self.with_port(json!({})), scope)? {
            missing.push(format!("route {scope}"));
        }
        Ok(missing)
    }

    /// A rule about connections only covers one if it names the port; one with `ports` is left as it is.
    fn with_port(&self, mut rule: Value) -> Value {
        if let (Some(port), Some(map)) = (self.asked.port, rule.as_object_mut()) {
            map.entry("ports").or_insert_with(|| json!([port]));
        }
        rule
    }

    fn cedar(&self, policy: String, mode: String, cedar: &Value) -> Result<CoveringRule> {
        let said = self.alone(&json!([{ "name": "a/b", "cedar": cedar }]))?;
        let end = said.reason.rsplit_once("cedar.").map(|(_, end)| format!(" {end}"));
        let rule = match said.decision {
            AccessOutcome::Allowed => "cedar permit",
            _ if said.reason.starts_with("authz.denied") => "cedar forbid",
            _ => "cedar",
        };
        let covers = rule != "cedar";
        let rule = format!("{rule}{}", end.unwrap_or_default());
        Ok(CoveringRule { policy, mode, rule, covers, missing: Vec::new() })
    }

    fn alone(&self, policies: &Value) -> Result<AccessDecision> {
        let mut config = self.config.clone();
        if let Some(map) = config.as_object_mut() {
            map.insert("policies".to_owned(), policies.clone());
            map.remove("config");
        }
        self.enforcer.ask(&config, &Grant::everything(), self.asked)
    }
}

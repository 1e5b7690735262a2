//! `tamis authz learn`: the least policy that allows what access records show would be refused.

use super::target::CalledTarget;
use crate::named_file;
use crate::output::{self, Output};
use crate::when;
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `learn`.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Access records of the proxies of the target.
    #[arg(required = true)]
    records: Vec<PathBuf>,
    /// What the proxies serve: namespace/name of a Service, or gateway:namespace/name.
    #[arg(long)]
    to: CalledTarget,
    /// Only requests and connections since then: an age (10m, 1h30m), a day or a moment; default: all.
    #[arg(long)]
    since: Option<String>,
    /// Only requests and connections until then; default: now.
    #[arg(long, default_value = "now")]
    until: String,
    /// Also allow what was refused, not only what a policy in audit mode would refuse.
    #[arg(long)]
    refused: bool,
    /// Keep every path as it is; by default segments that are numbers or UUIDs become `{id}`.
    #[arg(long)]
    exact: bool,
}

/// The fields of a record that matter here.
#[derive(Debug, Deserialize)]
struct AccessRecord {
    #[serde(default)]
    time_unix_us: u64,
    #[serde(default)]
    listener: String,
    #[serde(default)]
    peer: Option<String>,
    #[serde(default)]
    method: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    reason: String,
}

impl AccessRecord {
    /// The port of the connection; `None`: it is the record of a request.
    fn tcp_port(&self) -> Option<u16> {
        self.listener.strip_prefix("inbound:")?.parse().ok()
    }
}

/// What was learned.
#[derive(Debug, Default)]
struct LearnedRules {
    /// Methods by path by client.
    wanted: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    /// `tcp` ports by client.
    ports: BTreeMap<String, BTreeSet<u16>>,
    /// How many requests and connections need these.
    requests: usize,
    /// Requests and connections that no rule can allow, by cause.
    left_out: BTreeMap<&'static str, usize>,
}

/// Most different paths and ports of a proposal: who has more should write a prefix.
const MAX_PATHS: usize = 200;
/// Octets of a record at most; what is longer is none.
const LINE_MAX: u64 = 1 << 20;

impl LearnedRules {
    fn add(&mut self, record: &AccessRecord, arguments: &Arguments) {
        if record.listener == "outbound" || record.listener.starts_with("outbound:") {
            return;
        }
        let refused = arguments.refused && record.reason.starts_with("authz.no-rule");
        let missing = refused || record.reason.starts_with("authz.audit.no-rule");
        let denied = record.reason.starts_with("authz.audit.denied")
            || (arguments.refused && record.reason.starts_with("authz.denied"));
        if denied {
            *self.left_out.entry("a rule under `deny` covers them").or_default() += 1;
        }
        if !missing {
            return;
        }
        let Some(peer) = &record.peer else {
            *self.left_out.entry("the client has no SPIFFE id").or_default() += 1;
            return;
        };
        self.requests += 1;
        if let Some(port) = record.tcp_port() {
            self.ports.entry(peer.clone()).or_default().insert(port);
            return;
        }
        let path = record.path.split('?').next().unwrap_or_default();
        let path = if arguments.exact { path.to_owned() } else { template(path) };
        let paths = self.wanted.entry(peer.clone()).or_default().entry(path).or_default();
        paths.insert(record.method.clone());
    }

    /// One rule for each client and set of methods, and one for the ports of each client.
    fn rules(&self) -> Vec<Value> {
        let mut rules = Vec::new();
        for (peer, paths) in &self.wanted {
            let mut by_methods: BTreeMap<&BTreeSet<String>, Vec<Value>> = BTreeMap::new();
            for (path, methods) in paths {
                let kind = if path.contains('{') { "Template" } else { "Exact" };
                by_methods.entry(methods).or_default().push(json!({ "type": kind, "value": path }));
            }
            for (methods, paths) in by_methods {
                rules.push(json!({ "identities": [peer], "methods": methods, "paths": paths }));
            }
        }
        let ports = self.ports.iter();
        rules.extend(ports.map(|(peer, ports)| json!({ "identities": [peer], "ports": ports })));
        rules
    }
}

/// Segments that are numbers or UUIDs become `{id}`.
fn template(path: &str) -> String {
    let is_id = |segment: &str| {
        let number = !segment.is_empty() && segment.bytes().all(|it| it.is_ascii_digit());
        let uuid = segment.len() == 36
            && segment.bytes().enumerate().all(|(at, it)| match at {
                8 | 13 | 18 | 23 => it == b'-',
                _ => it.is_ascii_hexdigit(),
            });
        number || uuid
    };
    let one = |segment| if is_id(segment) { "{id}" } else { segment };
    path.split('/').map(one).collect::<Vec<_>>().join("/")
}

/// Prints a policy.
pub(super) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let now = when::now_ms();
    let since = arguments.since.as_deref().map(|text| when::moment(text, now)).transpose()?;
    let (since, until) = (since.unwrap_or(0), when::moment(&arguments.until, now)?);
    let mut lesson = LearnedRules::default();
    let mut read = 0_usize;
    let mut line = Vec::new();
    for path in &arguments.records {
        let shown = path.display();
        let unread = || format!("the records {shown} cannot be read");
        let mut records = BufReader::new(named_file::open(path).with_context(unread)?);
        loop {
            line.clear();
            let mut rest = (&mut records).take(LINE_MAX);
            if rest.read_until(b'\n', &mut line).with_context(unread)? == 0 {
                break;
            }
            // Records that filters write are in the same file, and the last line may be incomplete.
            let Ok(record) = serde_json::from_slice::<AccessRecord>(&line) else { continue };
            let ms = record.time_unix_us / 1_000;
            if ms < since || ms > until || record.method.is_empty() {
                continue;
            }
            read += 1;
            lesson.add(&record, arguments);
        }
    }
    if read == 0 {
        bail!("no access record of that time: name files of `--access-log-file`");
    }
    let rules = lesson.rules();
    let paths: usize = lesson.wanted.values().map(BTreeMap::len).sum();
    let paths = paths + lesson.ports.values().map(BTreeSet::len).sum::<usize>();
    if paths > MAX_PATHS {
        bail!(
            "{paths} different paths and ports are too many for a proposal (at most {MAX_PATHS}): write a PathPrefix, or name a shorter time"
        );
    }
    let policy = (!rules.is_empty()).then(|| policy(&arguments.to, &rules));
    let left: BTreeMap<_, _> = lesson.left_out.iter().collect();
    let value = json!({
        "records": read, "requests": lesson.requests, "policy": policy, "leftOut": left,
    });
    output::result(output, &value, || text(read, &lesson, policy.as_ref()));
    Ok(ExitCode::SUCCESS)
}

fn policy(to: &CalledTarget, rules: &[Value]) -> Value {
    let (namespace, name) = to.key.split_once('/').unwrap_or(("", &to.key));
    json!({
        "kind": "AuthorizationPolicy",
        "apiVersion": "tamis.dev/v1alpha1",
        "metadata": { "name": format!("{name}-learned"), "namespace": namespace },
        "spec": { "targetRefs": [{ "kind": to.kind.as_str(), "name": name }], "allow": rules },
    })
}

fn text(read: usize, lesson: &LearnedRules, policy: Option<&Value>) -> String {
    let what = if lesson.ports.is_empty() { "requests" } else { "requests and connections" };
    let mut text = format!("# {} of {read} {what} need it.\n", lesson.requests);
    for (why, count) in &lesson.left_out {
        let _ = writeln!(text, "# {count} are left out: {why}.");
    }
    match policy {
        Some(policy) => text.push_str(&serde_norway::to_string(policy).unwrap_or_default()),
        None => text.push_str("# No rule is missing.\n"),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(lines: &[Value], more: &[&str]) -> Value {
        use clap::Parser as _;
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            arguments: Arguments,
        }
        let all = ["learn", "--to", "shop/pay", "records.jsonl"].iter().chain(more);
        let arguments = Line::parse_from(all).arguments;
        let mut lesson = LearnedRules::default();
        for line in lines {
            lesson.add(&serde_json::from_value(line.clone()).unwrap(), &arguments);
        }
        let rules = lesson.rules();
        // What is proposed is a policy.
        let text = serde_norway::to_string(&policy(&arguments.to, &rules)).unwrap();
        let read = tamis_resources::read("learned.yaml", &text);
        assert!(read.problems.is_empty(), "{:?}\n{text}", read.problems);
        json!({ "rules": rules, "leftOut": lesson.left_out })
    }

    fn record(peer: Option<&str>, method: &str, path: &str, reason: &str) -> Value {
        let peer = peer.map(|name| format!("spiffe://m/{name}"));
        json!({ "time_unix_us": 1, "listener": "inbound", "peer": peer, "method": method, "path": path, "reason": reason })
    }

    #[test]
    fn the_proposal_has_what_audit_would_refuse_and_nothing_else() {
        let missing = "authz.audit.no-rule";
        let lines = [
            record(Some("web"), "GET", "/users/7?x=1", missing),
            record(Some("web"), "GET", "/users/8", missing),
            record(Some("web"), "POST", "/pay", missing),
            record(Some("web"), "GET", "/pay", missing),
            record(Some("job"), "GET", "/a/123e4567-e89b-12d3-a456-426614174000/b", missing),
            record(Some("job"), "GET", "/fine", "authz.allowed"),
            record(Some("job"), "GET", "/no", "authz.no-rule"),
            record(Some("job"), "GET", "/old", "authz.audit.denied.shop.pay.deny.old"),
            record(None, "GET", "/", missing),
        ];
        let rule = |peer: &str, methods: Value, paths: Value| json!({ "identities": [format!("spiffe://m/{peer}")], "methods": methods, "paths": paths });
        let template = |path: &str| json!({ "type": "Template", "value": path });
        let exact = |path: &str| json!({ "type": "Exact", "value": path });
        let base = [
            rule("job", json!(["GET"]), json!([template("/a/{id}/b")])),
            rule("web", json!(["GET"]), json!([template("/users/{id}")])),
            rule("web", json!(["GET", "POST"]), json!([exact("/pay")])),
        ];
        let left =
            json!({ "a rule under `deny` covers them": 1, "the client has no SPIFFE id": 1 });
        assert_eq!(learned(&lines, &[]), json!({ "rules": base, "leftOut": left }));
        let refused = learned(&lines, &["--refused"]);
        let job = rule("job", json!(["GET"]), json!([template("/a/{id}/b"), exact("/no")]));
        assert_eq!(refused["rules"][0], job);
        let whole = learned(&lines, &["--exact"]);
        assert_eq!(whole["rules"][1]["paths"], json!([exact("/users/7"), exact("/users/8")]));
        assert_eq!(learned(&lines[5..6], &[])["rules"], json!([]));
    }

    #[test]
    fn connections_of_tcp_ports_get_rules_that_name_the_ports() {
        let missing = "authz.audit.no-rule";
        let at = |listener: &str, peer: &str, reason: &str| {
            let mut one = record(Some(peer), "CONNECT", "", reason);
            one["listener"] = json!(listener);
            one
        };
        let lines = [
            at("inbound:700", "web", missing),
            at("inbound:700", "web", missing),
            at("inbound:701", "web", missing),
            at("inbound:700", "job", "authz.no-rule"),
            at("inbound:700", "fine", "authz.allowed.shop.pay.allow.0"),
            // The caller's own record of the same connection.
            at("outbound:pay.shop:700", "web", missing),
            record(Some("web"), "GET", "/", missing),
        ];
        let ports = |peer: &str, ports: Value| json!({ "identities": [format!("spiffe://m/{peer}")], "ports": ports });
        let rules = learned(&lines, &[])["rules"].clone();
        assert_eq!(rules.as_array().map(Vec::len), Some(2), "{rules}");
        assert_eq!(rules[1], ports("web", json!([700, 701])));
        let refused = learned(&lines, &["--refused"])["rules"].clone();
        assert_eq!(refused[1], ports("job", json!([700])));
    }
}

//! Route tables: what ten thousand rules add to a request.

use std::fmt::Write as _;

use anyhow::Result;

use super::mesh::{Mesh, Policies};
use super::peers::Peers;
use super::report::{Bar, Report};
use super::turns::Contest;
use super::{Bench, wrk};

/// Kinds of rules, and the share of each in twentieths.
const KINDS: [(&str, usize); 3] = [("exact", 10), ("prefix", 9), ("regex", 1)];
/// Rules of one route, which the Gateway API bounds.
const PER_ROUTE: usize = 16;
const FEW: usize = 20;
/// With the rule for everything else almost as many as a router may have.
const MANY: usize = 9_980;
/// What the router needs for that table, in its Grant.
const MEMORY: &str = "memory: 64MiB";

/// Sends each request that matches the last rule of its kind through small and large tables in turn.
pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let peers = Peers::install()?;
    let backend = peers.backend(bench)?;
    let mesh = |count: usize| -> Result<Mesh> {
        let mesh = Mesh::new(bench, &backend.address, Policies::Route)?;
        mesh.write("routes.yaml", &documents(count))?;
        mesh.write("mesh.yaml", &mesh.read("mesh.yaml")?.replace("memory: 16MiB", MEMORY))?;
        Ok(mesh)
    };
    let (few, many) = (mesh(FEW)?, mesh(MANY)?);
    let token = "authorization: Bearer none".to_owned();
    let headers = [token];
    for mesh in [&few, &many] {
        mesh.write(".tamis/token", "none")?;
    }
    let (small, large) = (few.gateway(bench, false)?, many.gateway(bench, false)?);
    let envoy = peers.envoy_routing(bench, &backend.address, &envoy_routes(MANY))?;
    let mut contest = Contest::new();
    for (kind, _) in KINDS {
        for (name, running, count) in
            [("few", &small, FEW), ("many", &large, MANY), ("envoy", &envoy, MANY)]
        {
            let url = format!("http://{}{}", running.address, path(kind, count));
            let headers = &headers;
            contest.add(format!("{kind} {name}"), vec![running], move |seconds| {
                wrk::run_at(bench, &url, headers, seconds, &[])
            });
        }
    }
    contest.run(bench)?;
    contest.report(report, "CPU per request by route table", "µs", |turn| turn.cpu_us);
    for (kind, _) in KINDS {
        let (few, many) = (format!("{kind} few"), format!("{kind} many"));
        let envoy = format!("{kind} envoy");
        let ratio = contest.ratio(&many, &few, |turn| turn.cpu_us);
        let bar = if kind == "regex" { Bar::none() } else { Bar::at_most(1.2) };
        let what = format!("last {kind} rule of {MANY} ÷ of {FEW}");
        report.ratio("P16", &what, &ratio, bar);
        let bar = if kind == "regex" { Bar::at_most(0.65) } else { Bar::none() };
        let ratio = contest.ratio(&many, &envoy, |turn| turn.cpu_us);
        report.ratio("P17", &format!("last {kind} rule of {MANY} ÷ Envoy"), &ratio, bar);
    }
    Ok(())
}

/// How many rules of a kind a table of `count` has.
fn of_kind(kind: &str, count: usize) -> usize {
    let share = KINDS.iter().find(|(name, _)| *name == kind).map_or(0, |(_, share)| *share);
    count * share / 20
}

/// A path that matches the last rule of a kind.
fn path(kind: &str, count: usize) -> String {
    let last = of_kind(kind, count) - 1;
    match kind {
        "regex" => format!("/regex/{last}/items/42"),
        _ => format!("/{kind}/{last}"),
    }
}

/// Kind and value of every rule.
fn rules(count: usize) -> impl Iterator<Item = (&'static str, String)> {
    KINDS.iter().flat_map(move |&(kind, _)| {
        (0..of_kind(kind, count)).map(move |n| match kind {
            "regex" => (kind, format!("/regex/{n}/[a-z]+/[0-9]+")),
            _ => (kind, format!("/{kind}/{n}")),
        })
    })
}

/// The routes of a table, and one for everything else.
fn documents(count: usize) -> String {
    let all: Vec<_> = rules(count).collect();
    let mut text = String::new();
    for (number, rules) in all.chunks(PER_ROUTE).enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "kind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: {{ name: r{number}, namespace: bench }}\nspec:\n  parentRefs: [{{ kind: Gateway, name: edge }}]\n  rules:"
        );
        for (kind, value) in rules {
            let kind = match *kind {
                "exact" => "Exact",
                "prefix" => "PathPrefix",
                _ => "RegularExpression",
            };
            let _ = writeln!(
                text,
                "    - {{ matches: [{{ path: {{ type: {kind}, value: \"{value}\" }} }}], backendRefs: [{{ name: app, port: 80 }}] }}"
            );
        }
        text.push_str("---\n");
    }
    text + "kind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: rest, namespace: bench }\nspec:\n  parentRefs: [{ kind: Gateway, name: edge }]\n  rules: [{ backendRefs: [{ name: app, port: 80 }] }]\n"
}

/// The same table for Envoy.
fn envoy_routes(count: usize) -> String {
    rules(count).fold(String::new(), |mut text, (kind, value)| {
        let matches = match kind {
            "exact" => format!("path: {value}"),
            "prefix" => format!("path_separated_prefix: {value}"),
            _ => format!("safe_regex: {{ regex: \"{value}\" }}"),
        };
        let _ = writeln!(
            text,
            "                        - {{ match: {{ {matches} }}, route: {{ cluster: app }} }}"
        );
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_its_rules_and_a_path_matches_the_last_of_its_kind() {
        assert_eq!(rules(MANY).count(), MANY);
        assert_eq!(path("exact", FEW), "/exact/9");
        assert_eq!(path("regex", FEW), "/regex/0/items/42");
        assert!(rules(FEW).any(|(_, value)| value == "/prefix/8"));
        assert_eq!(documents(FEW).matches("matches:").count(), FEW);
        assert_eq!(envoy_routes(FEW).lines().count(), FEW);
    }
}

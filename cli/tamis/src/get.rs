//! `tamis get` and `tamis describe`: documents in force.

use crate::output::{self, Output};
use crate::plaintext_use::plaintext;
use crate::proxy_identities::identities;
use crate::remote::RegistryAccess;
use crate::table::table;
use crate::when::{ago, dated, now_ms, rfc3339};
use anyhow::Result;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use tamis_api::{ResourceSummary, ResourceView};

/// A kind of document, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    All,
    One(&'static str),
}

/// Reads a kind in any case, in the singular or the plural.
pub(crate) fn kind(text: &str) -> Result<Kind, String> {
    let wanted = text.to_lowercase();
    if wanted == "all" {
        return Ok(Kind::All);
    }
    let kinds: Vec<&'static str> =
        tamis_resources::schemas().into_iter().map(|one| one.0).collect();
    let same = |kind: &&&'static str| {
        let lower = kind.to_lowercase();
        let plural = lower.strip_suffix('y').map(|stem| format!("{stem}ies"));
        lower == wanted || format!("{lower}s") == wanted || plural.as_deref() == Some(&wanted)
    };
    let found = kinds.iter().find(same).copied();
    found.map(Kind::One).ok_or_else(|| format!("the kinds are {}, or all", kinds.join(", ")))
}

/// Arguments of `get`.
#[derive(clap::Args)]
pub(crate) struct GetArguments {
    /// Kind of document, in the singular or the plural; `all` means every kind.
    #[arg(value_parser = kind)]
    kind: Kind,
    /// Name; default: all documents of the kind.
    name: Option<String>,
    /// Namespace; default: every namespace, or `default` when a name is given.
    #[arg(short, long)]
    namespace: Option<String>,
    #[command(flatten)]
    at: RegistryAccess,
}

/// Arguments of `describe`.
#[derive(clap::Args)]
pub(crate) struct Describe {
    /// Kind of document.
    #[arg(value_parser = kind)]
    kind: Kind,
    /// Name.
    name: String,
    /// Namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[command(flatten)]
    at: RegistryAccess,
}

/// Lists documents, or prints the text of one.
pub(crate) fn get(arguments: &GetArguments, output: Output) -> Result<ExitCode> {
    let remote = arguments.at.remote()?;
    let (kind, name) = match (arguments.kind, &arguments.name) {
        (Kind::One(kind), Some(name)) => (kind, name),
        (Kind::All, Some(name)) => anyhow::bail!("which {name}? give its kind instead of `all`"),
        (kind, None) => {
            let mut list = remote.ask("reading", async |client| client.resources().await)?;
            let namespace = arguments.namespace.as_ref();
            list.items.retain(|one| {
                let of_kind =
                    kind == Kind::All || matches!(kind, Kind::One(kind) if one.kind == kind);
                of_kind && namespace.is_none_or(|namespace| one.namespace == *namespace)
            });
            output::result(output, &dated(&list), || listed(&list.items, now_ms()));
            return Ok(ExitCode::SUCCESS);
        }
    };
    let namespace = arguments.namespace.as_deref().unwrap_or("default");
    let found =
        remote.ask("reading", async |client| client.resource(kind, namespace, name).await)?;
    output::result(output, &dated(&found), || found.text.clone());
    Ok(ExitCode::SUCCESS)
}

fn listed(items: &[ResourceSummary], now: u64) -> String {
    if items.is_empty() {
        return "nothing is in force\n".to_owned();
    }
    let rows: Vec<_> = items
        .iter()
        .map(|one| {
            let ok = if one.ok { "yes" } else { "no" };
            let when = ago(now, one.time_ms);
            let revision = one.revision.to_string();
            let (kind, namespace) = (one.kind.clone(), one.namespace.clone());
            [kind, namespace, one.name.clone(), ok.to_owned(), revision, when, one.actor.clone()]
        })
        .collect();
    table(["KIND", "NAMESPACE", "NAME", "OK", "REVISION", "CHANGED", "BY"], &rows)
}

/// Everything about one document: its text, its conditions, and what each proxy reports about it.
pub(crate) fn describe(arguments: &Describe, output: Output) -> Result<ExitCode> {
    let Kind::One(kind) = arguments.kind else {
        anyhow::bail!("one document is described at a time; give its kind instead of `all`")
    };
    let (namespace, name) = (&arguments.namespace, &arguments.name);
    let remote = arguments.at.remote()?;
    let found =
        remote.ask("reading", async |client| client.resource(kind, namespace, name).await)?;
    output::result(output, &dated(&found), || described(&found, now_ms()));
    Ok(ExitCode::SUCCESS)
}

fn described(found: &ResourceView, now: u64) -> String {
    let ResourceSummary { kind, namespace, name, digest, revision, time_ms, actor, ok: _ } =
        &found.summary;
    let mut text = format!("{kind} {namespace}/{name}\n{digest}\n");
    let (when, then) = (ago(now, *time_ms), rfc3339(*time_ms));
    let _ = writeln!(text, "in force by {actor} at revision {revision}, {when} ({then})\n");
    let yes = |holds: bool| if holds { "yes" } else { "no" }.to_owned();
    let rows: Vec<_> = found
        .conditions
        .iter()
        .map(|one| [one.kind.clone(), yes(one.status), one.reason.clone(), one.message.clone()])
        .collect();
    text.push_str(&table(["CONDITION", "HOLDS", "REASON", "MESSAGE"], &rows));
    if !found.programmed.is_empty() {
        let rows: Vec<_> = found
            .programmed
            .iter()
            .map(|one| [one.node.clone(), yes(one.status), one.reason.clone()])
            .collect();
        let _ = write!(text, "\n{}", table(["PROXY", "PROGRAMMED", "REASON"], &rows));
        let named =
            found.programmed.iter().filter_map(|one| Some((&*one.node, one.identity.as_ref()?)));
        text.push_str(&identities(named, now));
        let clear = found.programmed.iter().map(|one| (&*one.node, one.plaintext.as_slice()));
        text.push_str(&plaintext(clear, now));
        let mut whys: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for one in found.programmed.iter().filter(|one| !one.message.is_empty()) {
            whys.entry(&one.message).or_default().push(&one.node);
        }
        for (why, proxies) in whys {
            let _ = write!(text, "\n! {why}\n    {}\n", proxies.join(", "));
        }
    }
    for one in &found.problems {
        let help = one.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        let (source, line, column) = (&one.source, one.line, one.column);
        let _ = write!(text, "\n{source}:{line}:{column}: {}{help}", one.message);
    }
    let _ = write!(text, "\n{}", found.text);
    text
}

/// A list as a JSON value.
pub(crate) fn items<T: serde::Serialize>(items: &[T]) -> serde_json::Value {
    json!({ "items": dated(&items) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_api::{ConditionView, PlaintextView, ProgrammedView, ProxyIdentity};

    fn summary() -> ResourceSummary {
        ResourceSummary {
            kind: "Service".into(),
            namespace: "shop".into(),
            name: "a".into(),
            digest: "sha256:00".into(),
            revision: 7,
            time_ms: 60_000,
            actor: "ada".into(),
            ok: true,
        }
    }

    #[test]
    fn kinds_are_read_as_people_write_them_and_others_are_told() {
        for text in ["Service", "service", "services"] {
            assert_eq!(kind(text), Ok(Kind::One("Service")));
        }
        assert_eq!(kind("trustpolicies"), Ok(Kind::One("TrustPolicy")));
        assert_eq!(kind("all"), Ok(Kind::All));
        assert!(kind("pod").unwrap_err().contains("HTTPRoute"));
    }

    #[test]
    fn a_list_says_who_changed_what_when() {
        let text = listed(&[summary()], 240_000);
        assert_eq!(
            text,
            "KIND     NAMESPACE  NAME  OK   REVISION  CHANGED  BY\n\
             Service  shop       a     yes  7         3m ago   ada\n"
        );
        assert_eq!(listed(&[], 0), "nothing is in force\n");
    }

    #[test]
    fn a_description_has_conditions_proxies_and_the_text() {
        let condition = ConditionView {
            kind: "Accepted".into(),
            status: true,
            reason: "Accepted".into(),
            message: String::new(),
        };
        let programmed = ProgrammedView {
            node: "sidecar:shop/a/0".into(),
            status: false,
            reason: "trust.threshold".into(),
            message: "retry: trust.threshold: two keys must sign, one did".into(),
            identity: Some(ProxyIdentity {
                id: "spiffe://shop.example/a".into(),
                expires_ms: 600_000,
                renewed_ms: None,
            }),
            plaintext: vec![PlaintextView { port: 80, open: 0, total: 3, used_ms: Some(120_000) }],
        };
        let found = ResourceView {
            summary: summary(),
            text: "kind: Service\n".into(),
            conditions: vec![condition],
            programmed: vec![programmed],
            problems: Vec::new(),
        };
        assert_eq!(
            described(&found, 240_000),
            "Service shop/a\nsha256:00\nin force by ada at revision 7, 3m ago (1970-01-01T00:01:00Z)\n\n\
             CONDITION  HOLDS  REASON\nAccepted   yes    Accepted\n\n\
             PROXY             PROGRAMMED  REASON\nsidecar:shop/a/0  no          trust.threshold\n\n\
             PROXY             IDENTITY                 EXPIRES  RENEWED\n\
             sidecar:shop/a/0  spiffe://shop.example/a  in 6m    -\n\n\
             PROXY             PLAIN TEXT AT  OPEN  ALL  LAST USED\n\
             sidecar:shop/a/0  80             0     3    2m ago\n\n\
             ! retry: trust.threshold: two keys must sign, one did\n    sidecar:shop/a/0\n\n\
             kind: Service\n"
        );
    }
}

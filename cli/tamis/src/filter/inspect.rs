//! `tamis filter inspect`.

use super::grants;
use super::trial::{NO_CONFIG, Trial};
use crate::named_file;
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use tamis_engine::{Filter, Grant, Inspection};
use tamis_node::StoredArtifact;
use tamis_trust::{Digest, Manifest};

/// Arguments of `inspect`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The component.
    component: PathBuf,
    /// Configuration (JSON) for which it declares what it reads and writes, as its attachment has it: of a router what it
    /// receives as `config` in addition to its routes, or an object of both; default: {}. One that the filter refuses is a
    /// failure.
    #[arg(long)]
    config: Option<String>,
    /// File of documents with the Grant under which it is tried; default: everything is granted except
    /// hosts and secrets.
    #[arg(long)]
    grant: Option<PathBuf>,
    /// The same as `--output json`.
    #[arg(long)]
    pub(super) json: bool,
}

/// Reads the component, configures it in a sandbox, and prints what was found.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let (value, inspection) = inspect(arguments)?;
    output::result(output, &value, || text(&value, &inspection));
    // Many filters need settings, and without any there is still much to see.
    let refused = arguments.config.is_some() && value.pointer("/declared/error").is_some();
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn inspect(arguments: &Arguments) -> Result<(Value, Inspection)> {
    let path = &arguments.component;
    let config = arguments.config.as_deref().unwrap_or(NO_CONFIG);
    serde_json::from_str::<serde::de::IgnoredAny>(config).context("--config is not JSON")?;
    let octets = named_file::component(path)
        .with_context(|| format!("the component {} cannot be read", path.display()))?;
    let inspection =
        tamis_engine::inspect(&octets).with_context(|| format!("{}", path.display()))?;
    let signed = StoredArtifact::read(path).ok().map(|artifact| signed(&artifact));
    let name = signed.as_ref().and_then(|signed| signed.get("name")).and_then(Value::as_str);
    let grant = match &arguments.grant {
        Some(path) => grants::read(path, name)?,
        None => Grant::everything(),
    };
    let busy = output::busy(format!("compiling {}", path.display()));
    let granted = arguments.grant.as_ref().map(|_| kept(&grant));
    let shown = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let trial = Trial {
        name: name.unwrap_or(&shown),
        config,
        grant,
        grant_file: arguments.grant.as_deref(),
    };
    let declared = trial.run(&octets, &inspection);
    drop(busy);
    let value = json!({
        "file": path,
        "size": octets.len(),
        "componentDigest": Digest::of(&octets).to_string(),
        "contract": inspection.contract.as_str(),
        "hooks": inspection.hooks.iter().map(|hook| hook.as_str()).collect::<Vec<_>>(),
        "imports": inspection.imports,
        "wasi": inspection.wasi,
        "declared": match declared {
            Ok(filter) => declared_of(&filter),
            Err(why) => json!({ "error": why }),
        },
        "grant": granted,
        "artifact": signed,
    });
    Ok((value, inspection))
}

/// The state that a grant lets it keep in the host, with the operator's rates and who shares it.
fn kept(grant: &Grant) -> Value {
    let (quota, counters) = (&grant.imports.quota, &grant.imports.counters);
    json!({
        "quota": quota.as_ref().map(|it| json!({ "scope": it.scope, "classes": it.classes })),
        "counters": counters.as_ref().map(|it| json!({ "scope": it.scope, "keys": it.keys })),
    })
}

/// The quota and the counters of a grant, a line each.
fn kept_rows(grant: &Value) -> Vec<(&'static str, String)> {
    let scope = |import: &Value| {
        format!("scope {}", import.get("scope").and_then(Value::as_str).unwrap_or_default())
    };
    let mut rows = Vec::new();
    if let Some(quota) = grant.get("quota").filter(|it| !it.is_null()) {
        let classes = quota.get("classes").and_then(Value::as_object).into_iter().flatten();
        let classes = classes.map(|(name, class)| {
            let number = |field: &str| class.get(field).cloned().unwrap_or_default();
            format!("{name} {}/s burst {}", number("perSecond"), number("burst"))
        });
        let all: Vec<String> = std::iter::once(scope(quota)).chain(classes).collect();
        rows.push(("quota", all.join("; ")));
    }
    if let Some(counters) = grant.get("counters").filter(|it| !it.is_null()) {
        let keys = counters.get("keys").cloned().unwrap_or_default();
        rows.push(("counters", format!("{}; at most {keys} counters", scope(counters))));
    }
    rows
}

/// What a configured filter declares.
pub(crate) fn declared_of(filter: &Filter) -> Value {
    let reads: Vec<String> = filter.reads().selectors().iter().map(ToString::to_string).collect();
    json!({
        "reads": reads,
        "writes": filter.writes().names(),
        "requestBody": filter.request_body().as_str(),
        "responseBody": filter.response_body().as_str(),
        "responses": filter.responses().as_str(),
        "configSchema": serde_json::from_str::<Value>(filter.config_schema()).ok(),
    })
}

/// The content of its manifest and the key ids of its signatures; the signatures are not checked here.
fn signed(artifact: &StoredArtifact) -> Value {
    match Manifest::parse(&artifact.manifest) {
        Ok(manifest) => json!({
            "name": manifest.name().to_string(),
            "version": manifest.version().to_string(),
            "digest": manifest.digest().to_string(),
            "matches": manifest.check(&artifact.component).is_ok(),
            "signatures": tamis_trust::bundle_lines(&artifact.bundles).len(),
        }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn text(value: &Value, inspection: &Inspection) -> String {
    let list = |pointer: &str| -> String {
        let found = value.pointer(pointer).and_then(Value::as_array);
        let words: Vec<&str> = found.into_iter().flatten().filter_map(Value::as_str).collect();
        if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
    };
    let word = |pointer: &str| {
        value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let mut text = String::new();
    let mut row = |name: &str, what: String| {
        let _ = writeln!(text, "{name:<11}{what}");
    };
    row("contract", word("/contract"));
    row("hooks", list("/hooks"));
    row("imports", list("/imports"));
    if !inspection.wasi.is_empty() {
        row("inert", format!("{} (linked to an empty world)", list("/wasi")));
    }
    match value.pointer("/declared/error").and_then(Value::as_str) {
        Some(why) => row("declares", format!("unknown, because {why}")),
        None => {
            row("reads", list("/declared/reads"));
            row("writes", list("/declared/writes"));
            let (request, response) =
                (word("/declared/requestBody"), word("/declared/responseBody"));
            row("bodies", format!("request {request}, response {response}"));
        }
    }
    for (name, what) in kept_rows(value.get("grant").unwrap_or(&Value::Null)) {
        row(name, what);
    }
    row("size", format!("{} KiB", inspection.size.div_ceil(1024)));
    row("component", word("/componentDigest"));
    match value.get("artifact") {
        Some(artifact) if artifact.get("digest").is_some() => {
            row("name", format!("{} {}", word("/artifact/name"), word("/artifact/version")));
            row("digest", word("/artifact/digest"));
            let matches = artifact.get("matches") == Some(&Value::Bool(true));
            let signatures = artifact.get("signatures").and_then(Value::as_u64).unwrap_or(0);
            let altered = if matches { "" } else { "; the component does NOT match its manifest" };
            row(
                "signed",
                format!("{signatures} signature(s); `tamis filter verify` checks them{altered}"),
            );
        }
        _ => row("signed", "no manifest; `tamis filter sign` makes one".to_owned()),
    }
    text
}

#[cfg(test)]
mod tests;

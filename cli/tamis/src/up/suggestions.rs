//! What to try while a mesh runs.

use super::prepare::PreparedFolder;
use super::refused_call::{MissingRule, RefusedCall};
use super::registry::EmbeddedRegistry;
use super::{mesh, quoted};
use serde_json::{Value, json};
use std::path::Path;

/// A command to try.
pub(super) struct Suggestion {
    /// What it shows.
    pub(super) what: String,
    pub(super) command: String,
    /// What is refused by the command, and would not be with this rule.
    pub(super) missing: Option<MissingRule>,
}

impl Suggestion {
    pub(super) fn new(what: impl Into<String>, command: impl Into<String>) -> Self {
        Self { what: what.into(), command: command.into(), missing: None }
    }

    /// The lines of the rule that is missing, as comments of a shell.
    pub(super) fn missing_lines(&self) -> Vec<String> {
        let missing = self.missing.iter();
        missing
            .flat_map(|it| [format!("  # {}", it.place()), format!("  #   {}", it.line)])
            .collect()
    }

    /// For programs.
    pub(super) fn describe(&self) -> Value {
        let mut value = json!({ "what": self.what, "command": self.command });
        if let (Some(missing), Some(map)) = (&self.missing, value.as_object_mut()) {
            map.insert("missing".to_owned(), missing.describe());
        }
        value
    }
}

/// Things to try now.
pub(super) fn suggestions(
    folder: &Path,
    prepared: &PreparedFolder,
    mesh: &mesh::Mesh,
    (ask, registry): (&str, &EmbeddedRegistry),
) -> Vec<Suggestion> {
    let tamis = std::env::current_exe().ok();
    let tamis = quoted(&tamis.unwrap_or_else(|| "tamis".into()));
    let mut all = Vec::new();
    if let Some(address) = mesh.entrance() {
        let command = format!("curl -s http://{address}/");
        all.push(Suggestion::new("a request through gateway and sidecars", command));
    }
    if let Some(call) = RefusedCall::of(&prepared.documents) {
        let (what, command) = (call.what(), call.command());
        all.push(Suggestion { what, command, missing: Some(call.missing) });
    }
    if let Some(upgradable) = prepared.upgradable() {
        all.extend(of_a_filter(&folder.join(".tamis"), upgradable, (&tamis, ask)));
    }
    all.push(Suggestion::new(
        "what each proxy runs, as reported to the registry",
        format!("{ask} {tamis} status"),
    ));
    if registry.domain().is_some() {
        all.push(Suggestion::new(
            "who each proxy is, and until when",
            format!("{ask} {tamis} identity list"),
        ));
    }
    all
}

/// What can be done to a filter while traffic runs.
fn of_a_filter(
    dot: &Path,
    (name, version, file): (String, String, std::path::PathBuf),
    (tamis, ask): (&str, &str),
) -> [Suggestion; 3] {
    let next = next(&version);
    let upgrade = format!(
        "{tamis} filter sign {file} --name {name} --version {next} --key {key} --store {store} --pin {lock}",
        file = quoted(&file),
        key = quoted(&dot.join("keys/local-dev.key")),
        store = quoted(&dot.join("store")),
        lock = quoted(&dot.join("filters.lock.yaml")),
    );
    [
        Suggestion::new(format!("{name} upgraded to {next} while traffic runs"), upgrade),
        Suggestion::new(
            format!(
                "{name} back to its previous version; the folder keeps the upgrade until its lock changes"
            ),
            format!("{ask} {tamis} rollback '*' {name} --confirm"),
        ),
        Suggestion::new(
            format!("{name} tampered with: no proxy receives it, and what runs keeps running"),
            format!("printf '\\0' >> {}", quoted(&file)),
        ),
    ]
}

/// The next patch release.
pub(super) fn next(version: &str) -> String {
    match version.rsplit_once('.').map(|(front, last)| (front, last.parse::<u64>())) {
        Some((front, Ok(last))) => format!("{front}.{}", last + 1),
        _ => format!("{version}.1"),
    }
}

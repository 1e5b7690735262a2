//! A page for each built-in filter: its README, its settings, its rights, and a Grant to copy.
//!
//! The settings come from its schema, and its rights from the component itself, configured as the README
//! shows.

use super::{MADE, options, resolved};
use crate::builtin::{self, Builtin};
use crate::filter::{configured, declared_of};
use crate::named_file;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

/// The pages, by name below `filters/`, made from the sources in `folder`.
pub(super) fn pages(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut pages = Vec::new();
    let mut index = format!(
        "{MADE}# Built-in filters\n\nThey are part of the binary, and are signed, granted and pinned like any other filter: `tamis up FOLDER --prepare` signs them with a key of that folder.\n\n| filter | world | what it does |\n| --- | --- | --- |\n"
    );
    for builtin in builtin::all()? {
        let short = builtin.name.trim_start_matches("tamis/").to_owned();
        let (world, about) = (builtin.world.as_deref().unwrap_or_default(), &builtin.description);
        let _ = writeln!(index, "| [{}]({short}.md) | `{world}` | {about} |", builtin.name);
        let sources = folder.join(&short);
        let text = page(&builtin, &sources).with_context(|| format!("the page of {short}"))?;
        pages.push((format!("filters/{short}.md"), text));
    }
    pages.push(("filters/README.md".to_owned(), index));
    Ok(pages)
}

fn page(builtin: &Builtin, sources: &Path) -> Result<String> {
    let read =
        |name: &str| named_file::text(sources.join(name)).with_context(|| format!("{name} of it"));
    let (readme, grant) = (read("README.md")?, read("grant.yaml")?);
    let schema: Value = serde_json::from_str(&read("schema.json")?).context("its schema")?;
    let (title, words) = readme.split_once('\n').context("its README has no title")?;
    let world = builtin.world.as_deref().context("its filter.yaml names no world")?;
    let mut text = format!(
        "{MADE}{title}\n\n{} World [`{world}`](../contract.md#world-{world}), version {}.\n\n{}\n",
        builtin.description,
        builtin.version,
        words.trim()
    );
    let place = match world {
        "route-policy" => {
            "The mesh generates them from its routes ([HTTPRoute](../resources.md#httproute), [GRPCRoute](../resources.md#grpcroute)): omit `config` in the attachment."
        }
        _ => {
            "Under `config` of an attachment. An unknown field is an error, reported with its place."
        }
    };
    let _ = write!(
        text,
        "\n## Settings\n\n{place}\n\n| setting | type | default | meaning |\n| --- | --- | --- | --- |\n"
    );
    settings(&resolved(&schema, &schema, 0), "", 0, &mut text);
    text.push_str(&authority(builtin, &readme)?);
    let _ = write!(text, "\n## A Grant to copy\n\n```yaml\n{}\n```\n", grant.trim());
    Ok(text)
}

/// The configuration that a README shows: its first block of JSON.
pub(super) fn example(readme: &str) -> Result<&str> {
    let (_, rest) = readme.split_once("```json\n").context("its README shows no configuration")?;
    Ok(rest.split("```").next().unwrap_or_default())
}

/// What the component itself declares.
fn authority(builtin: &Builtin, readme: &str) -> Result<String> {
    let inspection = tamis_engine::inspect(builtin.component)?;
    let filter = configured(builtin.component, example(readme)?).map_err(anyhow::Error::msg)?;
    let declared = declared_of(&filter);
    let list = |names: Vec<String>| match names.is_empty() {
        true => "nothing".to_owned(),
        false => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    };
    let words = |name: &str| -> Vec<String> {
        let found = declared.get(name).and_then(Value::as_array).into_iter().flatten();
        found.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let hooks = inspection.hooks.iter().map(|hook| hook.as_str().to_owned()).collect();
    let mut imports = inspection.imports.clone();
    imports.sort_unstable();
    let body = |name: &str| declared.get(name).and_then(Value::as_str).unwrap_or_default();
    Ok(format!(
        "\n## What it reads and writes\n\nAs the component itself declares with the configuration above (`tamis filter inspect`):\n\n\
         | | |\n| --- | --- |\n| hooks | {} |\n| imports | {} |\n| reads | {} |\n| writes | {} |\n| bodies | request {}, response {} |\n",
        list(hooks),
        list(imports),
        list(words("reads")),
        list(words("writes")),
        body("requestBody"),
        body("responseBody"),
    ))
}

/// Deeper settings are documented by the Gateway API.
const DEPTH_MAX: usize = 4;

fn settings(schema: &Value, path: &str, depth: usize, text: &mut String) {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let place = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let field = options(field);
        let default = match (field.get("default"), required.contains(&name.as_str())) {
            (Some(default), _) => format!("`{}`", default.to_string().replace('|', "\\|")),
            (None, true) => "needed".to_owned(),
            (None, false) => String::new(),
        };
        let about = field.get("description").and_then(Value::as_str).unwrap_or_default();
        let about = about.replace('\n', " ").replace('|', "\\|");
        let _ = writeln!(text, "| `{place}` | {} | {default} | {about} |", super::kind(field));
        if depth < DEPTH_MAX {
            super::below(field, &place, |field, place| settings(field, place, depth + 1, text));
        }
    }
}

#[cfg(test)]
mod tests;

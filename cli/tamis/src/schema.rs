//! `tamis schema`: the JSON Schema of resources, for editors.

use crate::output;
use anyhow::Result;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Prints one JSON Schema for every kind.
pub(crate) fn run() -> Result<ExitCode> {
    let kinds: Vec<Value> =
        tamis_resources::schemas().into_iter().map(|(_, schema)| schema).collect();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A resource of Tamis",
        "oneOf": kinds,
    });
    output::line(&serde_json::to_string_pretty(&schema)?);
    Ok(ExitCode::SUCCESS)
}

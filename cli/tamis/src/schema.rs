//! `tamis schema`: JSON Schemas for editors.

use crate::output;
use anyhow::Result;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Arguments of `schema`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What the files hold.
    #[arg(value_enum, default_value_t)]
    of: SchemaSubject,
}

/// What has a schema.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum SchemaSubject {
    /// Documents of a mesh.
    #[default]
    Documents,
    /// Tables of cases of a filter.
    Cases,
}

/// Prints one JSON Schema.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let schema = match arguments.of {
        SchemaSubject::Documents => documents(),
        SchemaSubject::Cases => tamis_testkit::Table::schema(),
    };
    output::line(&serde_json::to_string_pretty(&schema)?);
    Ok(ExitCode::SUCCESS)
}

fn documents() -> Value {
    let kinds: Vec<Value> =
        tamis_resources::schemas().into_iter().map(|(_, schema)| schema).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A resource of Tamis",
        "oneOf": kinds,
    })
}

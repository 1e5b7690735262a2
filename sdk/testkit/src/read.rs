//! Reads a table from YAML: all its problems, each with its place, before any component is loaded.

use crate::check;
use crate::table::Table;
use schemars::generate::SchemaSettings;
use serde_json::Value;
use std::fmt;
use std::sync::OnceLock;
use tamis_resources::{CheckedText, Problem};

/// A table that cannot be read, with all its problems.
#[derive(Debug)]
pub struct TableError {
    /// At least one, each with its place and the way out.
    pub problems: Vec<Problem>,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            let place = &problem.place;
            let end = if at == 0 { "" } else { "\n" };
            write!(f, "{end}{}:{}:{}: {problem}", place.source, place.line, place.column)?;
            if let Some(help) = &problem.help {
                write!(f, "; {help}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for TableError {}

impl Table {
    /// Parses a table. `source_name` is its name in errors and reports.
    ///
    /// # Errors
    /// All problems of the table, before any component is loaded.
    pub fn parse(source_name: &str, text: &str) -> Result<Self, TableError> {
        static SCHEMA: OnceLock<Value> = OnceLock::new();
        let schema = SCHEMA.get_or_init(Self::schema);
        let checked = CheckedText::read(source_name, text, schema)
            .map_err(|problems| TableError { problems })?;
        let table: Self = serde_json::from_value(checked.to_json()).map_err(|error| {
            let help = "docs/reference/cases.md describes the fields of a table";
            TableError {
                problems: vec![checked.problem("cases.shape", "", error.to_string(), help)],
            }
        })?;
        let problems = check::problems(&table, &checked);
        if !problems.is_empty() {
            return Err(TableError { problems });
        }
        Ok(Self { source: source_name.to_owned(), ..table })
    }

    /// The JSON Schema of a table, for editors.
    #[must_use]
    pub fn schema() -> Value {
        let mut settings = SchemaSettings::draft2020_12();
        settings.inline_subschemas = true;
        schemars::SchemaGenerator::new(settings).into_root_schema_for::<Self>().to_value()
    }
}

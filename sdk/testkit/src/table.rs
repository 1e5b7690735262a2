//! A table of cases, read from YAML.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use tamis_engine::Grant;

/// Configuration and cases of one filter.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Table {
    /// Where it was read from.
    #[serde(skip)]
    pub source: String,
    /// Given to the filter unless a case says otherwise.
    #[serde(default)]
    pub config: Option<Value>,
    /// What the filter may do; everything when not said.
    #[serde(default)]
    pub grant: Option<Grant>,
    /// In order.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Case {
    /// What it shows, as a sentence.
    pub name: String,
    /// Instead of the table's.
    #[serde(default)]
    pub config: Option<Value>,
    /// What a client sends.
    #[serde(default)]
    pub request: Message,
    /// What the upstream answers; then response hooks run too.
    #[serde(default)]
    pub response: Option<Message>,
    /// What should come of it.
    pub expect: Expect,
}

/// A request or a response.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Message {
    pub method: Option<String>,
    pub scheme: Option<String>,
    pub authority: Option<String>,
    pub path: Option<String>,
    pub status: Option<u16>,
    #[serde(default)]
    pub headers: BTreeMap<String, Lines>,
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    pub body: Option<String>,
}

/// One value, several, or (in what is expected) none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Lines {
    /// One field.
    One(String),
    /// Several fields of the name, in order.
    Many(Vec<String>),
    /// No field of the name.
    Absent(Option<()>),
}

impl Lines {
    /// The values.
    pub fn values(&self) -> Vec<&str> {
        match self {
            Self::One(value) => vec![value],
            Self::Many(values) => values.iter().map(String::as_str).collect(),
            Self::Absent(_) => Vec::new(),
        }
    }
}

/// What should come of a case. What is not said is not looked at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the table in the crate's documentation says what each means")]
pub struct Expect {
    pub pass: Option<bool>,
    pub answer: Option<ExpectAnswer>,
    pub reason: Option<String>,
    pub request: Option<ExpectMessage>,
    pub response: Option<ExpectMessage>,
    pub forward: Option<ExpectForward>,
    pub unmatched: Option<bool>,
    pub configure: Option<ExpectConfigure>,
    pub fault: Option<String>,
}

/// An answer of the filter.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ExpectAnswer {
    pub status: Option<u16>,
    pub headers: BTreeMap<String, Lines>,
    pub body: Option<String>,
    pub body_contains: Option<String>,
}

/// A message as it goes on.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ExpectMessage {
    pub path: Option<String>,
    pub authority: Option<String>,
    pub status: Option<u16>,
    pub headers: BTreeMap<String, Lines>,
    pub attributes: BTreeMap<String, Option<String>>,
    pub body: Option<String>,
}

/// Where a router sends a request.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ExpectForward {
    pub rule: Option<String>,
    pub backend: Option<String>,
}

/// A configuration that is refused.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ExpectConfigure {
    /// JSON pointer of the place; `/` or empty is the whole.
    pub error: Option<String>,
    /// Part of what it says.
    pub contains: Option<String>,
}

/// A table that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{source_name}: {message}")]
pub struct TableError {
    /// The file.
    pub source_name: String,
    /// What is wrong, with line and column.
    pub message: String,
}

impl Table {
    /// Reads a table. `source_name` is what errors and reports call it.
    ///
    /// # Errors
    /// Says where the text is no table.
    pub fn parse(source_name: &str, text: &str) -> Result<Self, TableError> {
        let table: Self = serde_norway::from_str(text).map_err(|error| TableError {
            source_name: source_name.to_owned(),
            message: error.to_string(),
        })?;
        Ok(Self { source: source_name.to_owned(), ..table })
    }
}

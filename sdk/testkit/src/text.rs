//! Values of a table that may be written in several ways.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::borrow::Cow;

/// One value, several, or (in expectations) `null`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Lines {
    /// One field.
    One(String),
    /// Several fields of the name, in order.
    Many(Vec<String>),
    /// No field of the name.
    Absent(Option<()>),
}

impl Lines {
    /// The values.
    pub(crate) fn values(&self) -> Vec<&str> {
        match self {
            Self::One(value) => vec![value],
            Self::Many(values) => values.iter().map(String::as_str).collect(),
            Self::Absent(_) => Vec::new(),
        }
    }
}

impl JsonSchema for Lines {
    fn schema_name() -> Cow<'static, str> {
        "Lines".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string" },
            { "type": "array", "items": { "type": "string" } },
            { "type": "null" },
        ] })
    }
}

/// A body: complete, or in chunks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Body {
    /// In one piece.
    Whole(String),
    /// A filter that reads `chunks` sees these; one that buffers sees them joined.
    Chunks(Vec<String>),
}

impl Body {
    /// The chunks that are not empty.
    pub(crate) fn chunks(&self) -> Vec<Vec<u8>> {
        let octets = |text: &String| text.clone().into_bytes();
        let mut chunks: Vec<Vec<u8>> = match self {
            Self::Whole(text) => vec![octets(text)],
            Self::Chunks(chunks) => chunks.iter().map(octets).collect(),
        };
        chunks.retain(|chunk| !chunk.is_empty());
        chunks
    }
}

impl JsonSchema for Body {
    fn schema_name() -> Cow<'static, str> {
        "Body".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string" },
            { "type": "array", "items": { "type": "string" } },
        ] })
    }
}

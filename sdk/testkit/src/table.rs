//! A table of cases, read from YAML.
//!
//! The Rust types are the only definition of its shape: the schema that finds mistakes with their places,
//! and the reference page, are generated from them.

mod check;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;
use tamis_engine::Grant;
use tamis_resources::{CheckedText, GrantSpec, Problem, grant_plan};

/// Configuration and cases of one filter.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Table {
    /// File it was read from.
    #[serde(skip)]
    pub source: String,
    /// Configuration of the filter, unless a case has its own. Default: `{}`.
    #[serde(default)]
    pub config: Option<Value>,
    /// What the filter may do: the `spec` of a Grant, without `filter`. Default: every capability, field
    /// and body, a quota that never runs out, no host, no secret, and the usual limits.
    #[serde(default, deserialize_with = "granted")]
    #[schemars(schema_with = "grant_schema")]
    pub grant: Option<Grant>,
    /// In order; each has an instance of its own.
    #[schemars(length(min = 1))]
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Case {
    /// What it shows, as a sentence; names must differ.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Replaces the table's configuration.
    #[serde(default)]
    pub config: Option<Value>,
    /// Request of the client. Default: `GET /` of `https://test.example`.
    #[serde(default)]
    pub request: Request,
    /// Response of the upstream; with it, hooks on responses run too.
    #[serde(default)]
    pub response: Option<Response>,
    /// Expected result.
    pub expect: Expect,
}

/// A request of a client.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Request {
    /// Default: `GET`.
    pub method: Option<String>,
    /// Default: `https`.
    pub scheme: Option<Scheme>,
    /// Host and port. Default: `test.example`.
    pub authority: Option<String>,
    /// Path and query. Default: `/`.
    pub path: Option<String>,
    /// One value each, or a list of values for several fields of a name.
    pub headers: BTreeMap<String, Lines>,
    /// Attributes that the proxy (`peer.spiffe-id`) or an earlier filter sets.
    pub attributes: BTreeMap<String, String>,
    /// The complete body, or a list of chunks as they arrive.
    pub body: Option<Body>,
}

/// A response of the upstream.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Response {
    /// Default: 200.
    #[schemars(range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// One value each, or a list of values for several fields of a name.
    pub headers: BTreeMap<String, Lines>,
    /// The complete body, or a list of chunks as they arrive.
    pub body: Option<Body>,
}

/// Scheme of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// In clear text.
    Http,
    /// Over TLS.
    Https,
}

/// One value, several, or (in expectations) `null`.
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
pub enum Body {
    /// In one piece.
    Whole(String),
    /// A filter that reads `chunks` sees these; one that buffers sees them joined.
    Chunks(Vec<String>),
}

impl Body {
    /// The chunks, at least one.
    pub fn chunks(&self) -> Vec<Vec<u8>> {
        let octets = |text: &String| text.clone().into_bytes();
        match self {
            Self::Whole(text) => vec![octets(text)],
            Self::Chunks(chunks) if chunks.is_empty() => vec![Vec::new()],
            Self::Chunks(chunks) => chunks.iter().map(octets).collect(),
        }
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

/// Expected result of a case. Only what is written is compared; at least one field is required.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Expect {
    /// `true`: the filter changed nothing and did not answer.
    pub pass: Option<bool>,
    /// The filter answers with this reply.
    pub answer: Option<ExpectAnswer>,
    /// The last reason that the filter gave.
    pub reason: Option<String>,
    /// The request as sent to the upstream.
    pub request: Option<ExpectRequest>,
    /// The response as sent to the client; the case needs a `response`.
    pub response: Option<ExpectResponse>,
    /// Where a router sends the request; `{}`: anywhere.
    pub forward: Option<ExpectForward>,
    /// `true`: no rule of a router matches.
    pub unmatched: Option<bool>,
    /// The configuration is refused. Cannot be combined with other expectations.
    pub configure: Option<ExpectConfigure>,
    /// A call fails: `trap`, `deadline`, `memory`, `stack`, `lift` (an answer that breaks the contract).
    /// Cannot be combined with other expectations.
    pub fault: Option<String>,
}

/// A reply of the filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ExpectAnswer {
    /// Its status.
    #[schemars(range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// Its headers, each with all its values; `null`: absent.
    pub headers: BTreeMap<String, Lines>,
    /// Its complete body.
    pub body: Option<String>,
    /// Part of its body.
    pub body_contains: Option<String>,
}

/// The request as sent to the upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ExpectRequest {
    /// Path and query.
    pub path: Option<String>,
    /// Host and port.
    pub authority: Option<String>,
    /// Each with all its values; `null`: absent.
    pub headers: BTreeMap<String, Lines>,
    /// `null`: absent.
    pub attributes: BTreeMap<String, Option<String>>,
    /// The complete body.
    pub body: Option<String>,
}

/// The response as sent to the client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ExpectResponse {
    /// Its status.
    #[schemars(range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// Each with all its values; `null`: absent.
    pub headers: BTreeMap<String, Lines>,
    /// `null`: absent.
    pub attributes: BTreeMap<String, Option<String>>,
    /// The complete body.
    pub body: Option<String>,
}

/// Where a router sends a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ExpectForward {
    /// Name of the rule.
    pub rule: Option<String>,
    /// The service, `namespace/name:port`.
    pub backend: Option<String>,
}

/// A configuration that is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ExpectConfigure {
    /// JSON pointer of the place; `/` or empty: the whole configuration.
    pub error: Option<String>,
    /// Part of its message.
    pub contains: Option<String>,
}

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

    /// The JSON Schema of a table.
    #[must_use]
    pub fn schema() -> Value {
        let mut settings = SchemaSettings::draft2020_12();
        settings.inline_subschemas = true;
        SchemaGenerator::new(settings).into_root_schema_for::<Self>().to_value()
    }
}

/// The `spec` of a Grant, without the name of its filter.
fn grant_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<GrantSpec>();
    let description = "What the filter may do: the `spec` of a Grant, without `filter`. Default: every capability, field and body, a quota that never runs out, no host, no secret, and the usual limits.";
    schema.insert("description".to_owned(), description.into());
    schema.remove("required");
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for name in ["filter", "signedBy"] {
            properties.remove(name);
        }
    }
    schema
}

/// A grant in the format of documents, converted to the engine's type.
fn granted<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Grant>, D::Error> {
    let Some(Value::Object(mut spec)) = Option::<Value>::deserialize(deserializer)? else {
        return Ok(None);
    };
    spec.insert("filter".to_owned(), "test/filter".into());
    let spec: GrantSpec = serde_json::from_value(spec.into()).map_err(D::Error::custom)?;
    let plan = serde_json::to_value(grant_plan(&spec)).map_err(D::Error::custom)?;
    serde_json::from_value(plan).map(Some).map_err(D::Error::custom)
}

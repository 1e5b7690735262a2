//! A table of cases.
//!
//! The Rust types are the only definition of its shape: the schema that finds mistakes with their places,
//! and the reference page, are generated from them.

use crate::step::CaseStep;
use crate::text::{Body, Lines};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use tamis_engine::Grant;
use tamis_resources::{GrantSpec, grant_plan};

/// Configuration and cases of one filter.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Table {
    /// File it was read from.
    #[serde(skip)]
    pub(crate) source: String,
    /// The filter that is tested, `namespace/name`, where a message has to name it.
    #[serde(skip)]
    pub filter: Option<String>,
    /// Configuration of the filter, unless a case has its own. Default: `{}`.
    #[serde(default)]
    pub config: Option<Value>,
    /// What the filter may do: the `spec` of a Grant, without `filter`. Default: every capability, field
    /// and body, a quota that never runs out, the hosts and secrets of `given`, and the usual limits.
    #[serde(default, deserialize_with = "granted")]
    #[schemars(schema_with = "grant_schema")]
    pub grant: Option<Grant>,
    /// What the filter finds, unless a case has its own.
    #[serde(default)]
    pub(crate) given: Option<CaseStart>,
    /// In order; each has an instance, a clock and a state of its own.
    #[schemars(length(min = 1))]
    pub(crate) cases: Vec<Case>,
}

/// What a filter finds when a case begins.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct CaseStart {
    /// The time at the beginning (RFC 3339). Default: `2026-01-01T00:00:00Z`. It stands still but for `wait`.
    pub(crate) time: Option<String>,
    /// Values in `kv`, without an end.
    pub(crate) kv: BTreeMap<String, String>,
    /// Secrets by name.
    pub(crate) secrets: BTreeMap<String, String>,
    /// Answers to requests of `http-client`: the first that fits is given, as often as it is asked for. A
    /// request that no answer fits finds no connection.
    pub(crate) http: Vec<HttpStub>,
}

/// An answer to requests of `http-client`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct HttpStub {
    /// Method of the requests. Default: any.
    #[serde(default)]
    pub(crate) method: Option<String>,
    /// URL of the requests, exactly.
    pub(crate) url: String,
    /// How often it answers; then the next that fits does. Default: without end.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub(crate) times: Option<u32>,
    /// Default: 200.
    #[serde(default)]
    #[schemars(range(min = 200, max = 599))]
    pub(crate) status: Option<u16>,
    /// One value each, or a list of values for several fields of a name.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Lines>,
    /// Its complete body. Default: empty.
    #[serde(default)]
    pub(crate) body: Option<Body>,
    /// Why there is no answer.
    #[serde(default)]
    pub(crate) failure: Option<StubFailure>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StubFailure {
    Connect,
    Timeout,
    TooLarge,
}

/// One case: steps in order, or one step written as part of the case.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// What it shows.
    pub(crate) name: String,
    pub(crate) config: Option<Value>,
    pub(crate) given: Option<CaseStart>,
    pub(crate) steps: Vec<CaseStep>,
    /// The one step stands in the case itself, without `steps`.
    pub(crate) is_single: bool,
}

/// The fields of a case that are not those of its one step.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CaseHead {
    /// What it shows, as a sentence; names must differ.
    #[schemars(length(min = 1))]
    name: String,
    /// Replaces the table's configuration.
    #[serde(default)]
    config: Option<Value>,
    /// Replaces the table's.
    #[serde(default)]
    given: Option<CaseStart>,
    /// Several steps, in order, with one instance, clock and state; each has the fields of a step below. A
    /// case without it has the fields of its one step.
    #[serde(default)]
    #[schemars(length(min = 1))]
    steps: Option<Vec<CaseStep>>,
}

const HEAD: [&str; 4] = ["name", "config", "given", "steps"];

impl<'de> Deserialize<'de> for Case {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let all = Map::<String, Value>::deserialize(deserializer)?;
        let (head, step): (Map<_, _>, Map<_, _>) =
            all.into_iter().partition(|(name, _)| HEAD.contains(&name.as_str()));
        let CaseHead { name, config, given, steps } =
            serde_json::from_value(head.into()).map_err(D::Error::custom)?;
        if let (Some(_), Some((field, _))) = (&steps, step.iter().next()) {
            return Err(D::Error::custom(format!(
                "the case `{name}` has `steps` and `{field}`: write `{field}` in a step"
            )));
        }
        let is_single = steps.is_none();
        let steps = match steps {
            Some(steps) => steps,
            None => vec![serde_json::from_value(step.into()).map_err(D::Error::custom)?],
        };
        Ok(Self { name, config, given, steps, is_single })
    }
}

impl JsonSchema for Case {
    fn schema_name() -> Cow<'static, str> {
        "Case".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = CaseHead::json_schema(generator);
        let step = CaseStep::json_schema(generator);
        let fields = step.get("properties").and_then(Value::as_object);
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            for (name, field) in fields.into_iter().flatten() {
                properties.insert(name.clone(), field.clone());
            }
        }
        schema
    }
}

/// The `spec` of a Grant, without the name of its filter.
fn grant_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<GrantSpec>();
    let description = "What the filter may do: the `spec` of a Grant, without `filter`. Default: every capability, field and body, a quota that never runs out, the hosts and secrets of `given`, and the usual limits.";
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

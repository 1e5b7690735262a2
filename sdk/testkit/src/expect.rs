//! The expected result of a step.

use crate::event::CircuitText;
use crate::text::Lines;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use tamis_resources::Millis;

/// Expected result of a step. Only what is written is compared; at least one field is required.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct Expect {
    /// `true`: the filter changed nothing and did not answer.
    pub(crate) pass: Option<bool>,
    /// The filter answers with this reply.
    pub(crate) answer: Option<ExpectAnswer>,
    /// The last reason that the filter gave.
    pub(crate) reason: Option<String>,
    /// The request as sent to the upstream.
    pub(crate) request: Option<ExpectRequest>,
    /// The response as sent to the client; the step needs a `response`.
    pub(crate) response: Option<ExpectResponse>,
    /// Where a router sends the request; `{}`: anywhere.
    pub(crate) forward: Option<ExpectForward>,
    /// `true`: no rule of a router matches.
    pub(crate) unmatched: Option<bool>,
    /// `true`: a router leaves the request to the router that it extends.
    pub(crate) extend: Option<bool>,
    /// The configuration is refused. Cannot be combined with other expectations.
    pub(crate) configure: Option<ExpectConfigure>,
    /// A call fails: `trap`, `deadline`, `memory`, `stack`, `bad-answer` (an answer that breaks the contract).
    pub(crate) fault: Option<ExpectFault>,
    /// Whether and where another attempt is made.
    pub(crate) retry: Option<ExpectRetry>,
    /// When a second attempt starts; `{}`: never.
    pub(crate) hedge: Option<ExpectHedge>,
    /// The circuit afterwards.
    pub(crate) circuit: Option<CircuitText>,
    /// The weight of each endpoint.
    pub(crate) weights: Option<Vec<u32>>,
    /// Whether the connection continues.
    pub(crate) connection: Option<ExpectConnection>,
    /// When the timer is called again; `{}`: never.
    pub(crate) tick: Option<ExpectTick>,
    /// Values in `kv` afterwards; `null`: absent.
    pub(crate) kv: BTreeMap<String, Option<String>>,
    /// Series of metrics afterwards, as in `/metrics` but with the names that the filter gives them:
    /// `slow_total` or `agents_total{agent="curl"}`.
    pub(crate) metrics: BTreeMap<String, f64>,
    /// Requests that it sent with `http-client` in this step, in order; `[]`: none.
    pub(crate) http: Option<Vec<ExpectHttp>>,
    /// Access records that it wrote in this step, in order: fields of each.
    pub(crate) records: Option<Vec<BTreeMap<String, serde_json::Value>>>,
    /// Names of the spans that it finished in this step, in order.
    pub(crate) spans: Option<Vec<String>>,
}

/// A failed call: its kind, or its kind with a part of the message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum ExpectFault {
    /// Kind alone.
    Kind(String),
    /// Kind and message.
    Said {
        /// As above.
        kind: String,
        /// Part of its message.
        contains: String,
    },
}

impl ExpectFault {
    pub(crate) fn kind(&self) -> &str {
        match self {
            Self::Kind(kind) | Self::Said { kind, .. } => kind,
        }
    }
}

impl JsonSchema for ExpectFault {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ExpectFault".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "anyOf": [
            { "type": "string" },
            { "type": "object", "additionalProperties": false, "required": ["kind", "contains"],
              "properties": {
                "kind": { "type": "string", "description": "Its kind." },
                "contains": { "type": "string", "description": "Part of its message." } } },
        ] })
    }
}

/// A reply of the filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct ExpectAnswer {
    /// Its status.
    #[schemars(range(min = 200, max = 599))]
    pub(crate) status: Option<u16>,
    /// Its headers, each with all its values; `null`: absent.
    pub(crate) headers: BTreeMap<String, Lines>,
    /// Its complete body.
    pub(crate) body: Option<String>,
    /// Part of its body.
    pub(crate) body_contains: Option<String>,
}

/// The request as sent to the upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct ExpectRequest {
    /// Its method.
    pub(crate) method: Option<String>,
    /// Path and query.
    pub(crate) path: Option<String>,
    /// Host and port.
    pub(crate) authority: Option<String>,
    /// Each with all its values; `null`: absent.
    pub(crate) headers: BTreeMap<String, Lines>,
    /// `null`: absent.
    pub(crate) attributes: BTreeMap<String, Option<String>>,
    /// The complete body.
    pub(crate) body: Option<String>,
    /// Each with all its values; `null`: absent.
    pub(crate) trailers: BTreeMap<String, Lines>,
}

/// The response as sent to the client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct ExpectResponse {
    /// Its status.
    #[schemars(range(min = 200, max = 599))]
    pub(crate) status: Option<u16>,
    /// Each with all its values; `null`: absent.
    pub(crate) headers: BTreeMap<String, Lines>,
    /// `null`: absent.
    pub(crate) attributes: BTreeMap<String, Option<String>>,
    /// What the host is to encode the body with.
    pub(crate) coding: Option<ExpectCoding>,
    /// The complete body.
    pub(crate) body: Option<String>,
    /// Each with all its values; `null`: absent.
    pub(crate) trailers: BTreeMap<String, Lines>,
}

/// What a filter has the host encode a body with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ExpectCoding {
    /// The body stays as it is.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Br,
    /// RFC 8878.
    Zstd,
}

/// Where a router sends a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct ExpectForward {
    /// Name of the rule.
    pub(crate) rule: Option<String>,
    /// The service, `namespace/name:port`.
    pub(crate) backend: Option<String>,
}

/// A configuration that is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct ExpectConfigure {
    /// JSON pointer of the place; `/` or empty: the whole configuration.
    pub(crate) error: Option<String>,
    /// Part of its message.
    pub(crate) contains: Option<String>,
}

/// Another attempt.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ExpectRetry {
    /// No other attempt, one at any endpoint, or one at an endpoint not tried yet; `not-called`: the filter does not name
    /// the status, so it is not called.
    pub(crate) verdict: RetryText,
    /// Wait before it.
    #[serde(default)]
    pub(crate) after: Option<Millis>,
}

/// Whether and where another attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RetryText {
    GiveUp,
    Again,
    Elsewhere,
    NotCalled,
}

/// A second attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct ExpectHedge {
    /// Wait before it starts.
    pub(crate) after: Option<Millis>,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ExpectConnection {
    /// It continues, is closed, or its bytes go to `backend`.
    pub(crate) verdict: ConnectionText,
    /// The service, `namespace/name:port`.
    #[serde(default)]
    pub(crate) backend: Option<String>,
}

/// Whether a connection continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ConnectionText {
    Allow,
    Deny,
    Tunnel,
}

/// The next call of the timer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct ExpectTick {
    /// Wait before it.
    pub(crate) next: Option<Millis>,
}

/// A request that the filter sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct ExpectHttp {
    /// Its method.
    pub(crate) method: Option<String>,
    /// Its URL.
    pub(crate) url: Option<String>,
    /// Each with all its values; `null`: absent.
    pub(crate) headers: BTreeMap<String, Lines>,
    /// Its complete body.
    pub(crate) body: Option<String>,
}

//! The `metadata` of a document.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `metadata` of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Metadata {
    /// Unique within kind and namespace.
    #[schemars(extend("format" = "resource-name"))]
    pub name: String,
    /// Default: `default`.
    #[serde(default = "default_namespace")]
    #[schemars(extend("format" = "resource-name"))]
    pub namespace: String,
    /// For people and tools.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// For people and tools.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339 in UTC; among the routes of one namespace the older wins a tie, and one without a date
    /// comes last. It decides nothing between namespaces.
    pub creation_timestamp: Option<String>,
}

pub(crate) fn default_namespace() -> String {
    "default".to_owned()
}

//! The kinds of documents, one file each, and their schemas.
//!
//! The Rust types are the only definition of a kind: schemas, checks and decoding are derived from them.

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value as Json, json};

use crate::metadata::Metadata;

/// Structs: camelCase, unknown fields refused.
macro_rules! shapes {
    ($($item:item)*) => {$(
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        $item
    )*};
}
/// Enums without fields: words.
macro_rules! words {
    ($($item:item)*) => {$(
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        $item
    )*};
}

/// Writes words as documents write them.
macro_rules! shown_as_written {
    ($($word:ident)*) => {$(
        impl std::fmt::Display for $word {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                serde::Serialize::serialize(self, f)
            }
        }
    )*};
}

mod authorization_policy;
mod backend_tls_policy;
mod external_service;
mod federated_trust_domain;
mod filter;
mod gateway;
mod grant;
mod reference_grant;
mod rollout;
mod route;
mod service;
mod stream_route;
mod trust_policy;
mod upstream_policy;

pub use authorization_policy::*;
pub use backend_tls_policy::*;
pub use external_service::*;
pub use federated_trust_domain::*;
pub use filter::*;
pub use gateway::*;
pub use grant::*;
pub use reference_grant::*;
pub use rollout::*;
pub use route::*;
pub use service::*;
pub use stream_route::*;
pub use trust_policy::*;
pub use upstream_policy::*;

/// `apiVersion` of the kinds of the Gateway API.
pub const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";
/// `apiVersion` of `ReferenceGrant`, which is a beta in the Gateway API's standard channel.
pub const REFERENCE_API: &str = "gateway.networking.k8s.io/v1beta1";
/// `apiVersion` of `UDPRoute`, which is in the Gateway API's experimental channel.
pub const EXPERIMENTAL_API: &str = "gateway.networking.k8s.io/v1alpha2";
/// `apiVersion` of this project's kinds.
pub const TAMIS_API: &str = "tamis.dev/v1alpha1";

/// The `spec` of a kind of document.
pub(crate) trait Spec {
    /// Name of the kind.
    const KIND: &'static str;
    /// This spec, when the resource is of this kind.
    fn of(resource: &Resource) -> Option<&Self>;
}

macro_rules! kinds {
    ($($kind:ident($spec:ty) in $api:expr,)*) => {
        /// The checked `spec` of a document, by kind.
        #[derive(Debug, Clone, PartialEq)]
        #[expect(missing_docs, reason = "each is documented at its spec")]
        #[expect(clippy::large_enum_variant, reason = "documents are few and boxed nowhere else")]
        pub enum Resource { $($kind($spec),)* }

        impl Resource {
            /// Name of the kind.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$kind(_) => stringify!($kind),)* }
            }

            /// The spec as JSON.
            #[must_use]
            pub fn to_json(&self) -> Json {
                // Specs are made of strings, numbers and maps with string keys.
                match self { $(Self::$kind(spec) => serde_json::to_value(spec).unwrap_or_default(),)* }
            }

            /// Reads a spec that was checked against its schema.
            pub(crate) fn read(kind: &str, spec: Json) -> Result<Self, String> {
                match kind {
                    $(stringify!($kind) => serde_json::from_value(spec).map(Self::$kind).map_err(|e| e.to_string()),)*
                    other => Err(format!("no kind {other}")),
                }
            }
        }

        $(impl Spec for $spec {
            const KIND: &'static str = stringify!($kind);
            fn of(resource: &Resource) -> Option<&Self> {
                match resource { Resource::$kind(spec) => Some(spec), _ => None }
            }
        })*

        fn make() -> Vec<KindSchema> {
            vec![$(KindSchema::new::<$spec>(stringify!($kind), $api),)*]
        }
    };
}

kinds! {
    Gateway(GatewaySpec) in GATEWAY_API,
    HTTPRoute(HttpRouteSpec) in GATEWAY_API,
    GRPCRoute(GrpcRouteSpec) in GATEWAY_API,
    TLSRoute(TlsRouteSpec) in GATEWAY_API,
    TCPRoute(TcpRouteSpec) in GATEWAY_API,
    UDPRoute(UdpRouteSpec) in EXPERIMENTAL_API,
    ReferenceGrant(ReferenceGrantSpec) in REFERENCE_API,
    BackendTLSPolicy(BackendTlsPolicySpec) in GATEWAY_API,
    Service(ServiceSpec) in TAMIS_API,
    ExternalService(ExternalServiceSpec) in TAMIS_API,
    FederatedTrustDomain(FederatedTrustDomainSpec) in TAMIS_API,
    Filter(FilterSpec) in TAMIS_API,
    FilterAttachment(FilterAttachmentSpec) in TAMIS_API,
    Grant(GrantSpec) in TAMIS_API,
    TrustPolicy(TrustPolicySpec) in TAMIS_API,
    UpstreamPolicy(UpstreamPolicySpec) in TAMIS_API,
    AuthorizationPolicy(AuthorizationPolicySpec) in TAMIS_API,
    Rollout(RolloutSpec) in TAMIS_API,
    FiltersLock(FiltersLockSpec) in TAMIS_API,
}

/// A kind and the schema of its documents.
pub(crate) struct KindSchema {
    pub(crate) kind: &'static str,
    pub(crate) api: &'static str,
    pub(crate) schema: Json,
}

/// The kind whose documents have neither `metadata` nor `spec`.
pub(crate) const LOCK: &str = "FiltersLock";

impl KindSchema {
    fn new<T: JsonSchema>(kind: &'static str, api: &'static str) -> Self {
        let mut settings = SchemaSettings::draft2020_12();
        settings.inline_subschemas = true;
        let mut generator = SchemaGenerator::new(settings);
        let spec = generator.subschema_for::<T>().to_value();
        let mut schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": kind,
            "type": "object",
            "additionalProperties": false,
            "required": ["apiVersion", "kind", "metadata", "spec"],
            "properties": { "apiVersion": { "const": api }, "kind": { "const": kind } },
        });
        let mut put = |name: &str, value: Json| {
            if let Some(properties) = schema.get_mut("properties").and_then(Json::as_object_mut) {
                properties.insert(name.to_owned(), value);
            }
        };
        if kind == LOCK {
            put("filters", spec.pointer("/properties/filters").cloned().unwrap_or_default());
            if let Some(required) = schema.get_mut("required") {
                *required = json!(["apiVersion", "kind", "filters"]);
            }
        } else {
            put("metadata", generator.subschema_for::<Metadata>().to_value());
            put("spec", spec);
        }
        Self { kind, api, schema }
    }
}

pub(crate) fn all() -> &'static [KindSchema] {
    static ALL: OnceLock<Vec<KindSchema>> = OnceLock::new();
    ALL.get_or_init(make)
}

/// The JSON Schema of every kind's documents, by name of the kind.
#[must_use]
pub fn schemas() -> Vec<(&'static str, Json)> {
    all().iter().map(|one| (one.kind, one.schema.clone())).collect()
}

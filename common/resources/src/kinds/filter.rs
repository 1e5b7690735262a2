//! `Filter`, `FilterAttachment` and the lock: what runs, where, and exactly which.

use serde_json::Value as Json;

words! {
    /// Contract a filter fulfils.
    #[serde(rename_all = "kebab-case")]
    #[expect(missing_docs, reason = "named like the worlds of the contract")]
    pub enum World {
        Authorizer, RefreshingAuthorizer, HeadPolicy, Transformer, RoutePolicy, RetryPolicy, HedgePolicy, BreakerPolicy,
        BalancePolicy, TelemetryPolicy, ConnectionPolicy, Everything,
    }
    /// Where in the chain a filter stands.
    #[serde(rename_all = "kebab-case")]
    #[expect(missing_docs, reason = "the names are the phases of the design")]
    pub enum Phase { Connection, Authn, Authz, Traffic, Transform, Observe }
    /// What a fault of a filter does to the exchange.
    #[serde(rename_all = "kebab-case")]
    #[derive(Default)]
    pub enum OnFailure {
        /// It is refused.
        #[default]
        Closed,
        /// It goes on.
        Open,
        /// It goes on, and people are told.
        SkipAndAlert,
    }
    /// How long an instance lives.
    #[serde(rename_all = "kebab-case")]
    #[derive(Default)]
    pub enum Isolation {
        /// As long as its worker.
        #[default]
        Worker,
        /// One exchange.
        Request,
    }
    /// Which traffic of a sidecar a filter sees.
    #[serde(rename_all = "kebab-case")]
    pub enum AttachmentDirection {
        /// To the local service.
        Inbound,
        /// From the local service.
        Outbound,
        /// All.
        Both,
    }
    /// What a filter is attached to.
    #[expect(missing_docs, reason = "named like the kinds")]
    pub enum TargetKind {
        Gateway, Service, HTTPRoute, GRPCRoute,
        /// Every gateway and sidecar.
        Mesh,
    }
}

shapes! {
    /// An entry of the catalogue of filters.
    pub struct FilterSpec {
        /// The contract it fulfils.
        pub world: World,
        /// Where its artifacts are.
        pub repository: Option<String>,
        /// What it is for.
        pub description: Option<String>,
        /// JSON Schema of its configuration.
        pub config_schema: Option<Json>,
    }
    /// A filter in its place.
    pub struct FilterAttachmentSpec {
        /// What it is attached to, all in the attachment's namespace (but `Mesh`, which is in none).
        #[schemars(length(min = 1))]
        pub target_refs: Vec<TargetRef>,
        /// `namespace/name` of a `Filter`.
        #[schemars(extend("format" = "filter-name"))]
        pub filter: String,
        /// Where in the chain it stands.
        pub phase: Phase,
        /// Lower comes first within the phase. A tie on one target is an error.
        pub order: i32,
        /// Which traffic of a sidecar it sees: `inbound` for filters of requests, `both` for the
        /// policies (route, retry, breaker, telemetry), when not said.
        pub direction: Option<AttachmentDirection>,
        /// Given to the filter; `{file: PATH}` under `jwks` becomes `{inline: …}`.
        #[serde(default)]
        pub config: Json,
        /// What its faults do; `closed` when not said, and always for `authn` and `authz`.
        #[serde(default)]
        pub on_failure: OnFailure,
        /// How long its instances live.
        #[serde(default)]
        pub isolation: Isolation,
    }
    /// What a filter is attached to.
    pub struct TargetRef {
        /// Group of the kind; taken as it is.
        pub group: Option<String>,
        /// Its kind.
        pub kind: TargetKind,
        /// Its name; needed but for `Mesh`.
        #[schemars(extend("format" = "resource-name"))]
        pub name: Option<String>,
        /// A listener of a gateway, a rule of a route.
        pub section_name: Option<String>,
    }
    /// Every filter name resolved to a digest.
    pub struct FiltersLockSpec {
        /// Pins; that of a service wins over `*`.
        pub filters: Vec<Pin>,
    }
    /// One filter of one service, exactly.
    pub struct Pin {
        /// `namespace/name` of a service or gateway, or `*`.
        #[schemars(length(min = 1))]
        pub service: String,
        /// `namespace/name` of the filter.
        #[schemars(extend("format" = "filter-name"))]
        pub filter: String,
        /// Version of the artifact.
        #[schemars(length(min = 1))]
        pub version: String,
        /// Digest of its manifest.
        #[schemars(extend("format" = "digest"))]
        pub digest: String,
    }
}

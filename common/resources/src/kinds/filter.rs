//! `Filter`, `FilterAttachment` and the lock: which filters run, where, and in which version.

use serde_json::Value as Json;

words! {
    /// World of the contract that a filter implements.
    #[serde(rename_all = "kebab-case")]
    #[expect(missing_docs, reason = "named like the worlds of the contract")]
    pub enum World {
        Authorizer, RefreshingAuthorizer, HeadPolicy, Transformer, RoutePolicy, RetryPolicy, HedgePolicy, BreakerPolicy,
        BalancePolicy, TelemetryPolicy, ConnectionPolicy, MeteringPolicy, Everything,
    }
    /// Position of a filter in the chain.
    #[serde(rename_all = "kebab-case")]
    #[expect(missing_docs, reason = "the names are the phases of the design")]
    pub enum Phase { Connection, Authn, Authz, Traffic, Transform, Observe }
    /// Effect of a filter's fault on the exchange.
    #[serde(rename_all = "kebab-case")]
    #[derive(Default)]
    pub enum OnFailure {
        /// The exchange is refused.
        #[default]
        Closed,
        /// The exchange continues.
        Open,
        /// The exchange continues, and the fault is logged and counted.
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
        /// All traffic.
        Both,
    }
    /// Documents that become a part of a filter's configuration.
    pub enum ReceivedKind {
        /// `AuthorizationPolicy` documents of the targets of an attachment.
        AuthorizationPolicy,
    }
    /// What a filter is attached to.
    #[expect(missing_docs, reason = "named like the kinds")]
    pub enum TargetKind {
        Gateway, Service, HTTPRoute, GRPCRoute,
        /// Every gateway and sidecar.
        Mesh,
    }
}

shown_as_written! { World Phase }

impl World {
    /// The phase in which filters of this world are attached, unless a document has a reason for another. The policies that
    /// a chain asks at a place of their own (routes, retries, hedges, circuits, balancing) have no other.
    #[must_use]
    pub fn phase(self) -> Phase {
        match self {
            Self::Authorizer | Self::RefreshingAuthorizer => Phase::Authz,
            Self::ConnectionPolicy => Phase::Connection,
            Self::TelemetryPolicy => Phase::Observe,
            Self::RoutePolicy
            | Self::RetryPolicy
            | Self::HedgePolicy
            | Self::BreakerPolicy
            | Self::BalancePolicy => Phase::Traffic,
            Self::HeadPolicy | Self::Transformer | Self::MeteringPolicy | Self::Everything => {
                Phase::Transform
            }
        }
    }
}

shapes! {
    /// An entry of the catalogue of filters.
    pub struct FilterSpec {
        /// The world that it implements.
        pub world: World,
        /// Documents that it receives as a part of its configuration, in addition to the `config` of its attachment; default: no
        /// documents. Such a filter is attached in the phase `authz`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub receives: Option<ReceivedKind>,
        /// Where its artifacts are.
        pub repository: Option<String>,
        /// What it is for.
        pub description: Option<String>,
        /// JSON Schema of its configuration.
        pub config_schema: Option<Json>,
    }
    /// A filter attached to something.
    pub struct FilterAttachmentSpec {
        /// What it is attached to; all targets are in the attachment's namespace (except `Mesh`, which has
        /// none).
        #[schemars(length(min = 1))]
        pub target_refs: Vec<TargetRef>,
        /// `namespace/name` of a `Filter`.
        #[schemars(extend("format" = "filter-name"))]
        pub filter: String,
        /// Its position in the chain. Filters that decide about routes, retries, hedges, circuits or balancing are asked when
        /// that is decided, whatever their order, and are attached in the phase `traffic`.
        pub phase: Phase,
        /// Filters with lower values come first within the phase. A tie on one target is an error.
        pub order: i32,
        /// Which traffic of a sidecar it sees; default: `inbound` for filters of requests, `both` for the
        /// policies (route, retry, breaker, telemetry).
        pub direction: Option<AttachmentDirection>,
        /// Passed to the filter; `{file: PATH}` under `jwks` becomes `{inline: …}`. A router receives it as `config`,
        /// together with its `routes`.
        #[serde(default)]
        pub config: Json,
        /// For a router: whether it extends the other router of its chain, which decides what this one leaves open; default:
        /// no. A chain has one router of each sort.
        #[serde(default)]
        pub extend: bool,
        /// Effect of its faults; default: `closed`, which is fixed for `authn` and `authz`.
        #[serde(default)]
        pub on_failure: OnFailure,
        /// How long its instances live.
        #[serde(default)]
        pub isolation: Isolation,
    }
    /// What a filter is attached to.
    pub struct TargetRef {
        /// Group of the kind; ignored.
        pub group: Option<String>,
        /// Its kind.
        pub kind: TargetKind,
        /// Its name; required except for `Mesh`.
        #[schemars(extend("format" = "resource-name"))]
        pub name: Option<String>,
        /// A listener of a gateway, or a rule of a route.
        pub section_name: Option<String>,
    }
    /// The pins of a folder: every filter name resolved to a digest.
    pub struct FiltersLockSpec {
        /// Pins; that of a service takes precedence over `*`.
        pub filters: Vec<Pin>,
    }
    /// The exact version of a filter for a service.
    pub struct Pin {
        /// `namespace/name` of a service or gateway, or `*`.
        #[schemars(extend("format" = "pinned-service"))]
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

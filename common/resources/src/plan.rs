//! The plan of one proxy: plain numbers and names, with all references resolved.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value as Json;
pub use tamis_refused::Refused;

pub use crate::kinds::{
    AcmeChallenge, Algorithm, AmbiguousPaths, ClientAddressField, Egress, EmptySegments,
    InterimResponses, Isolation, ListenerReasons, OnFailure, PathEscapes, Phase, ProxyHeader,
    World,
};

/// Proxies of the release before know the rule of a refusal by another name.
fn refused_for_both_releases<S: Serializer>(
    refused: &Option<Refused>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match refused {
        Some(refused) => tamis_refused::for_both_releases(refused, to),
        None => to.serialize_none(),
    }
}

macro_rules! plans {
    ($($item:item)*) => {$(
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        $item
    )*};
}

plans! {
    /// Everything a proxy needs to know.
    pub struct NodePlan {
        /// The name of the proxy, like `sidecar:shop/a/0`.
        pub node: String,
        /// SPIFFE id of the proxy.
        pub identity: Option<String>,
        /// Sockets.
        pub listeners: Vec<ListenerPlan>,
        /// Services that routers may choose. Plans of several proxies may share them.
        pub services: Vec<Arc<ServicePlan>>,
        /// Filters of all chains, each configuration once. Plans of several proxies may share them.
        pub filters: Vec<Arc<FilterPlan>>,
        /// Address of the admin listener.
        pub admin: Option<String>,
        /// The DNS that it answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub dns: Option<DnsPlan>,
        /// The certificates that it orders.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub acme: Option<AcmePlan>,
        /// Trust policies, in the form of the trust crate.
        pub trust: Vec<Json>,
        /// Other trust domains whose members are recognised: their authorities in PEM, by domain. Never its own domain.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub federated: BTreeMap<String, String>,
    }
    /// DNS for the application of a sidecar.
    #[derive(Eq)]
    pub struct DnsPlan {
        /// Where it is answered, each `IP:PORT` of a loopback address.
        pub addresses: Vec<String>,
        /// IPv4 addresses by name, in lower case.
        pub names: BTreeMap<String, String>,
    }
    /// Certificates that a gateway orders from an ACME server.
    #[derive(Eq)]
    pub struct AcmePlan {
        /// The URL of the directory.
        pub directory: String,
        /// Email addresses to which the server may write.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub contact: Vec<String>,
        /// PEM text: the authorities of the directory's own certificate; `None`: those of the operating system.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub authorities: Option<String>,
        /// How each host is shown to be the gateway's, by host. No host is a wildcard.
        pub hosts: BTreeMap<String, AcmeChallenge>,
    }
    /// A socket address in one of its forms.
    #[derive(Eq, Hash)]
    pub enum AddressPlan {
        /// `IP:PORT`.
        Tcp(String),
        /// Path of a Unix socket.
        Unix(String),
        /// `host.name:PORT`, resolved by the proxy. Never the address of a listener.
        Dns(String),
    }
    /// Which way traffic flows through a listener.
    #[derive(Copy, Eq)]
    pub enum TrafficDirection {
        /// From outside the mesh.
        Gateway,
        /// To the local service.
        Inbound,
        /// From the local service.
        Outbound,
    }
    /// A socket to listen on.
    pub struct ListenerPlan {
        /// Unique within the plan.
        pub name: String,
        /// Its address.
        pub address: AddressPlan,
        /// TLS; `None`: clear text.
        pub tls: Option<TlsPlan>,
        /// Direction of traffic.
        pub direction: TrafficDirection,
        /// The filters for its exchanges.
        pub chain: ChainPlan,
        /// How it reads requests.
        #[serde(default)]
        pub rules: ListenerRulesPlan,
        /// It carries connections to this port unread; `None`: it serves HTTP.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub tcp: Option<TcpPlan>,
        /// Which connections it takes of those that the kernel leads to its socket; `None`: the kernel leads none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub captured: Option<CapturedPlan>,
        /// It also takes connections in plain text, which are of this port; `None`: TLS alone, if it has any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub plaintext: Option<PlaintextPlan>,
    }
    /// A port that is served in plain text too.
    #[derive(Eq)]
    pub struct PlaintextPlan {
        /// `namespace/name` of the service.
        pub service: String,
        /// Its port.
        pub port: u16,
    }
    /// Captured connections of a listener, by the address that the application connected to.
    #[derive(Eq, Default)]
    pub struct CapturedPlan {
        /// Those that it takes, sorted by address.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub destinations: Vec<DestinationPlan>,
        /// The rule for all others; `None`: it takes no others.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub others: Option<OthersPlan>,
    }
    /// An address of the mesh.
    #[derive(Eq)]
    pub struct DestinationPlan {
        /// `IP:PORT`.
        pub address: String,
        /// The host by which its requests are routed; `None`: its connections are not read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub host: Option<String>,
    }
    /// Captured connections to addresses outside of the mesh.
    #[derive(Eq)]
    pub struct OthersPlan {
        /// Whether they leave.
        pub egress: Egress,
        /// Addresses, `IP:PORT`, to which none leaves: those of sidecars, and those that more than one service has.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub refused: Vec<String>,
    }
    /// A port whose connections are carried unread.
    #[derive(Eq)]
    pub struct TcpPlan {
        /// The service: `namespace/name:port`, or `local/namespace/name:port`.
        pub service: String,
        /// The port that peers ask for in their handshake; `None`: a listener for the application.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub asked: Option<u16>,
        /// Without traffic for this long a connection is closed.
        pub idle_timeout_ms: u64,
        /// Connections at once.
        pub max_connections: u32,
        /// The header with which the application is sent the address of the caller; `None`: no header.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub proxy_header: Option<ProxyHeader>,
        /// Routes of a gateway say where each connection goes; `None`: to the service.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub routed: Option<StreamRoutesPlan>,
        /// It takes datagrams of UDP and no connections, and these routes say where each session goes; `None`: it takes
        /// connections.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub datagrams: Option<StreamRoutesPlan>,
    }
    /// Where a listener of a gateway sends its connections.
    #[derive(Eq)]
    pub struct StreamRoutesPlan {
        /// Whether the server name of the handshake chooses the route. Without `tls` of the listener the handshake is carried
        /// on as it is.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub by_server_name: bool,
        /// The routes; a connection that none of them takes is refused.
        pub routes: Vec<StreamRoutePlan>,
    }
    /// Connections that go to the same backends.
    #[derive(Eq)]
    pub struct StreamRoutePlan {
        /// `namespace/name` of the route.
        pub name: String,
        /// Its server names, each exact or a wildcard; none: all connections.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub hosts: Vec<String>,
        /// One is chosen for each connection; none: it is refused.
        pub backends: Vec<StreamBackendPlan>,
    }
    /// A backend of connections.
    #[derive(Eq)]
    pub struct StreamBackendPlan {
        /// `namespace/name:port`, with `/udp` after it for a `udp` port; one that is missing has a name that no service has.
        pub service: String,
        /// Its share.
        pub weight: u32,
    }
    /// How a listener reads requests and how it reports refusals.
    #[derive(Eq)]
    #[serde(default)]
    pub struct ListenerRulesPlan {
        /// Protocols to which requests may be upgraded.
        pub upgrades: Vec<String>,
        /// Whether clients see the code of a refusal.
        pub reasons: ListenerReasons,
        /// Whether calls of gRPC-Web become calls of gRPC.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub grpc_web: bool,
        /// Which clients get interim responses of upstreams.
        pub interim_responses: InterimResponses,
        /// `//` in paths.
        pub empty_segments: EmptySegments,
        /// `%2F` and `%5C` in paths.
        pub escaped_slashes: AmbiguousPaths,
        /// `;` in paths.
        pub parameters: AmbiguousPaths,
        /// Which escapes of paths are decoded.
        pub escapes: PathEscapes,
        /// Proxies whose statement of the client's address counts; `None`: no proxy's does.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub client_address: Option<ClientAddressPlan>,
        /// The only host, or `*.` and a name, of its requests; over TLS also of the handshake. `None`: any.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub hostname: Option<String>,
        /// Those of its hosts that another listener of its port has, whether that one listens or not.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub elsewhere: Vec<String>,
        /// Addresses and prefixes of the load balancers that begin each connection with a PROXY header; `None`: no
        /// header is read.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub proxy_protocol: Option<Vec<String>>,
        /// HTTP/3 on the UDP port of the same number; `None`: it is not served.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub http3: Option<Http3Plan>,
    }
    /// HTTP/3 of a listener.
    #[derive(Eq)]
    pub struct Http3Plan {
        /// How long clients may remember HTTP/3, in seconds, as responses over TCP state it; `None`: no response mentions it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub advertised_for: Option<u64>,
    }
    /// Proxies whose statement of the client's address counts.
    #[derive(Eq)]
    pub struct ClientAddressPlan {
        /// The header in which these proxies state the client's address.
        pub field: ClientAddressField,
        /// Addresses and prefixes of these proxies; `None`: every peer counts as one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub trusted: Option<Vec<String>>,
        /// Their number; `None`: they are known by their addresses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub hops: Option<u8>,
    }
    /// How a listener proves who it is.
    #[serde(untagged)]
    pub enum TlsPlan {
        /// With files.
        Files(ListenerFilesPlan),
        /// With the SVID of the proxy; peers must be members of the mesh.
        Svid {
            /// SPIFFE id that the SVID must have.
            svid: String,
        },
        /// With the certificate for a host of [`AcmePlan::hosts`], once there is one.
        Acme(ListenerAcmePlan),
    }
    /// A listener whose certificate comes from an ACME server.
    #[serde(deny_unknown_fields)]
    pub struct ListenerAcmePlan {
        /// The host.
        pub host: String,
        /// Peers must show a certificate of this authority: path of a PEM file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub client_ca: Option<String>,
    }
    /// The certificate of a listener; paths of PEM files.
    pub struct ListenerFilesPlan {
        /// The chain, leaf first.
        pub certificate: String,
        /// The private key.
        pub key: String,
        /// Peers must show a certificate of this authority.
        pub client_ca: Option<String>,
    }
    /// The filters of a listener.
    pub struct ChainPlan {
        /// Indices into `filters`, in order of phase, then order, then name.
        pub attachments: Vec<usize>,
    }
    /// A filter in its place.
    pub struct FilterPlan {
        /// `namespace/name` of the attachment.
        pub attachment: String,
        /// `namespace/name` of the filter.
        pub filter: String,
        /// Pinned version; empty if the attachment was refused before it was known.
        pub version: String,
        /// Pinned digest of the manifest; empty if the attachment was refused before it was known.
        pub digest: String,
        /// Position in the chain.
        pub phase: Phase,
        /// Lower first within the phase.
        pub order: i32,
        /// Passed to the filter.
        pub config: Arc<Json>,
        /// Effect of its faults.
        pub on_failure: OnFailure,
        /// How long instances live.
        pub isolation: Isolation,
        /// The world named by its Filter document, which the component must implement. `None`: there is no
        /// Filter document.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub world: Option<World>,
        /// Whether its configuration is made from the policies of its targets and, under `config`, that of its
        /// attachment.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub receives: bool,
        /// Rules to which it applies: `ns/route/` (all of a route) or `ns/route/rule`; `None`: all.
        pub scope: Option<Vec<String>>,
        /// For a router: whether it extends the other router of its chain.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub extend: bool,
        /// For a router: what rules others of its chains are attached to, in the form of `scope`, sorted. A router
        /// without a rule of that name is refused: what is attached to it would never be called.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub covers: Vec<String>,
        /// Keys that must have signed, in addition to the trust policy.
        pub signed_by: Option<SignedByPlan>,
        /// Its rights.
        pub grant: GrantPlan,
        /// Set when documents do not allow it to run although it fails closed: the proxy must refuse every
        /// exchange in its scope, with this code.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            serialize_with = "refused_for_both_releases"
        )]
        pub refused: Option<Refused>,
    }
    /// Keys that must have signed.
    pub struct SignedByPlan {
        /// Names of keys.
        pub keys: Vec<String>,
        /// How many.
        pub threshold: u32,
    }
    /// The rights of a filter; its JSON is what the engine reads as its grant.
    #[derive(Default)]
    pub struct GrantPlan {
        /// Settings by capability.
        pub imports: BTreeMap<String, Json>,
        /// Header names, `@attributes`, `*`, `@*`.
        pub reads: Vec<String>,
        /// Header names, `:path`, `:authority`, `:method`, `:status`, `:coding`, `@attributes`, `*`, `@*`.
        pub writes: Vec<String>,
        /// What of these holds in requests; `None`: all of them. A release that does not know it takes all for both.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub in_requests: Option<FieldsPlan>,
        /// What of these holds in responses; `None`: all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub in_responses: Option<FieldsPlan>,
        /// Whether it may read and replace request bodies.
        pub request_body: bool,
        /// Whether it may read and replace response bodies.
        pub response_body: bool,
        /// Its resource limits.
        pub limits: LimitsPlan,
    }
    /// Fields that a filter may read and write in the messages of a side.
    #[derive(Default)]
    pub struct FieldsPlan {
        /// As `reads` of the grant.
        pub reads: Vec<String>,
        /// As `writes` of the grant.
        pub writes: Vec<String>,
    }
    /// Resource limits of a filter.
    #[derive(Copy, Eq)]
    pub struct LimitsPlan {
        /// Processor time of a hook.
        pub time_us: u64,
        /// Processor time of `configure`.
        pub configure_us: u64,
        /// Memory of an instance.
        pub memory_bytes: u64,
        /// Largest body that it may get whole or write; `None`: the engine's default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub body_bytes: Option<u64>,
    }
    /// Protocol for requests to a service.
    #[derive(Copy, Eq, Hash)]
    pub enum ProtocolPlan {
        /// HTTP/1.1.
        Http1,
        /// HTTP/2.
        Http2,
        /// Opaque TCP, or UDP from a listener for datagrams.
        Tcp {
            /// The service's port, which is asked for in the handshake with its sidecar.
            port: u16,
        },
    }
    /// One port of a service, as this proxy reaches it.
    #[derive(Eq, Hash)]
    pub struct ServicePlan {
        /// `namespace/name:port`, with `/udp` after it for a `udp` port, or `local/namespace/name:port` for the application of a sidecar.
        pub name: String,
        /// Protocol for its requests.
        pub protocol: ProtocolPlan,
        /// Its endpoints.
        pub endpoints: Vec<EndpointPlan>,
        /// How it is reached.
        pub policy: PolicyPlan,
    }
    /// An endpoint of a service.
    #[derive(Eq, Hash)]
    pub struct EndpointPlan {
        /// Its address.
        pub address: AddressPlan,
        /// Share of traffic.
        pub weight: u32,
        /// TLS; `None`: clear text.
        pub tls: Option<UpstreamTlsPlan>,
    }
    /// TLS to an endpoint.
    #[derive(Eq, Hash)]
    #[serde(untagged)]
    pub enum UpstreamTlsPlan {
        /// A proxy of the mesh.
        Member(MemberTlsPlan),
        /// A server outside the mesh.
        Server(ServerTlsPlan),
    }
    /// What a server outside the mesh must prove. This proxy shows no certificate.
    #[derive(Eq, Hash)]
    pub struct ServerTlsPlan {
        /// Sent as server name; without `names` also the name that its certificate must have.
        pub hostname: String,
        /// Names of which its certificate must have one.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub names: Vec<ServerNamePlan>,
        /// Certificates of authorities as PEM; `None`: those of the operating system.
        pub authorities: Option<String>,
    }
    /// A name in a certificate.
    #[derive(Eq, Hash)]
    pub enum ServerNamePlan {
        /// A DNS name.
        Dns(String),
        /// A URI.
        Uri(String),
    }
    /// How this proxy proves who it is, and the identity that it expects.
    #[derive(Eq, Hash)]
    pub struct MemberTlsPlan {
        /// Own certificate in files; `None`: the SVID of the proxy.
        #[serde(flatten)]
        pub files: Option<MemberFilesPlan>,
        /// SPIFFE id the peer must have.
        pub expect_identity: String,
        /// Sent as server name.
        pub server_name: String,
    }
    /// The certificate with which a proxy reaches peers inside the mesh; paths of PEM files.
    #[derive(Eq, Hash)]
    pub struct MemberFilesPlan {
        /// Own chain, leaf first.
        pub certificate: String,
        /// Own private key.
        pub key: String,
        /// Authority of the peer.
        pub ca: String,
    }
    /// How a service is reached.
    #[derive(Eq, Hash)]
    pub struct PolicyPlan {
        /// How an endpoint is picked.
        pub algorithm: Algorithm,
        /// Header whose value keeps requests together, in lower case; `None`: no such header.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub hash_header: Option<String>,
        /// Time limit for connecting.
        pub connect_timeout_ms: u64,
        /// How long an unused connection is kept.
        pub idle_timeout_ms: u64,
        /// Connections to an endpoint.
        pub max_connections: u32,
        /// Requests that wait for a connection.
        pub max_pending: u32,
        /// Requests in progress; `None`: no limit.
        pub max_requests: Option<u32>,
        /// Time from which a response counts as slow.
        pub slow_call_ms: u64,
        /// Time window of the statistics.
        pub stats_window_ms: u64,
        /// Retries in percent of the requests.
        pub retry_percent: u32,
        /// Retries per second that are always allowed.
        pub retry_min_per_second: u32,
        /// Interval between probes of a silent connection; `None`: no probes.
        pub keep_alive_ms: Option<u64>,
        /// Most fields in the head of a response.
        #[serde(default = "response_fields", skip_serializing_if = "is_response_fields")]
        pub max_response_fields: u32,
        /// Longest head of a response.
        #[serde(default = "response_head", skip_serializing_if = "is_response_head")]
        pub max_response_head_bytes: u32,
        /// Largest share of the endpoints whose circuits may be open at once.
        #[serde(default = "half", skip_serializing_if = "is_half")]
        pub max_ejected_percent: u32,
        /// With a smaller share of closed circuits, circuits are ignored.
        #[serde(default = "half", skip_serializing_if = "is_half")]
        pub panic_percent: u32,
    }
}

impl NodePlan {
    /// Whether the proxy needs an SVID: a listener or an endpoint has no certificate in files.
    #[must_use]
    pub fn needs_svid(&self) -> bool {
        let listens = |one: &ListenerPlan| matches!(one.tls, Some(TlsPlan::Svid { .. }));
        let reaches = |one: &EndpointPlan| match &one.tls {
            Some(UpstreamTlsPlan::Member(tls)) => tls.files.is_none(),
            Some(UpstreamTlsPlan::Server(_)) | None => false,
        };
        self.listeners.iter().any(listens)
            || self.services.iter().any(|service| service.endpoints.iter().any(reaches))
    }
}

impl FilterPlan {
    /// Whether this is the plan of a router, whose configuration consists of routes.
    #[must_use]
    pub fn has_routes(&self) -> bool {
        self.config.get("routes").is_some_and(Json::is_array)
            && self.world.is_none_or(|world| matches!(world, World::RoutePolicy))
    }

    /// The place in the attachment's document of a fault that its filter reports at a JSON pointer into its
    /// configuration. Only a part of a router's configuration is in that document.
    #[must_use]
    pub fn config_place(&self, pointer: &str) -> String {
        match (self.world, pointer.strip_prefix("/config")) {
            (Some(World::RoutePolicy), Some(own)) => format!("/spec/config{own}"),
            (Some(World::RoutePolicy), None) => "/spec/filter".to_owned(),
            _ if self.receives => match pointer.strip_prefix("/config") {
                Some(own) => format!("/spec/config{own}"),
                None => "/spec/filter".to_owned(),
            },
            _ => format!("/spec/config{pointer}"),
        }
    }

    /// The `AuthorizationPolicy` of a fault that its filter reports at a JSON pointer into its configuration, and the
    /// place in that document. `None`: the fault is not of a policy that it received.
    #[must_use]
    pub fn received_place(&self, pointer: &str) -> Option<(&str, String)> {
        let rest = pointer.strip_prefix("/policies/").filter(|_| self.receives)?;
        let (at, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let policy = self.config.get("policies")?.get(at.parse::<usize>().ok()?)?;
        Some((policy.get("name")?.as_str()?, format!("/spec/{rest}")))
    }
}

impl TrafficDirection {
    /// Its name in metrics and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

impl Default for ListenerRulesPlan {
    fn default() -> Self {
        Self {
            upgrades: vec!["websocket".to_owned()],
            reasons: ListenerReasons::Show,
            grpc_web: false,
            // The clients of a sidecar are its application and other proxies.
            interim_responses: InterimResponses::All,
            empty_segments: EmptySegments::Merge,
            escaped_slashes: AmbiguousPaths::Refuse,
            parameters: AmbiguousPaths::Refuse,
            escapes: PathEscapes::Segment,
            client_address: None,
            proxy_protocol: None,
            http3: None,
            hostname: None,
            elsewhere: Vec::new(),
        }
    }
}

impl Default for LimitsPlan {
    fn default() -> Self {
        Self { time_us: 5_000, configure_us: 2_000_000, memory_bytes: 16 << 20, body_bytes: None }
    }
}

impl Default for PolicyPlan {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::P2c,
            hash_header: None,
            connect_timeout_ms: 1_000,
            idle_timeout_ms: 60_000,
            max_connections: 1_024,
            max_pending: 1_024,
            max_requests: None,
            slow_call_ms: 1_000,
            stats_window_ms: 10_000,
            retry_percent: 20,
            retry_min_per_second: 10,
            keep_alive_ms: None,
            max_response_fields: response_fields(),
            max_response_head_bytes: response_head(),
            max_ejected_percent: half(),
            panic_percent: half(),
        }
    }
}

// Fields added in later releases are omitted at their default: a plan without them stays the same bytes.

fn response_fields() -> u32 {
    100
}

fn is_response_fields(fields: &u32) -> bool {
    *fields == response_fields()
}

fn response_head() -> u32 {
    64 * 1024
}

fn is_response_head(bytes: &u32) -> bool {
    *bytes == response_head()
}

fn half() -> u32 {
    50
}

fn is_half(percent: &u32) -> bool {
    *percent == half()
}

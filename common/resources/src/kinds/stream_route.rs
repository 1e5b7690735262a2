//! `TLSRoute`, `TCPRoute` and `UDPRoute`, field by field as in the Gateway API: connections and datagrams that a gateway carries
//! unread.

use super::{BackendKind, ParentRef};

shapes! {
    /// Routes TLS connections by the server name of their handshake.
    pub struct TlsRouteSpec {
        /// The gateways to whose listeners with protocol `TLS` the route is attached.
        #[schemars(length(min = 1, max = 32))]
        pub parent_refs: Vec<ParentRef>,
        /// Server names (SNI): each a host, or `*.` and a name for all hosts below it; no IP address. A host that is named
        /// exactly comes before a wildcard, and a longer wildcard before a shorter one.
        #[schemars(length(min = 1, max = 1024), extend("items" = { "type": "string", "format": "server-name" }))]
        pub hostnames: Vec<String>,
        /// One rule.
        #[schemars(length(min = 1, max = 1))]
        pub rules: Vec<StreamRule>,
    }
    /// Routes the connections of a port.
    pub struct TcpRouteSpec {
        /// The gateways to whose listeners with protocol `TCP` the route is attached. A listener takes one route only.
        #[schemars(length(min = 1, max = 32))]
        pub parent_refs: Vec<ParentRef>,
        /// One rule.
        #[schemars(length(min = 1, max = 1))]
        pub rules: Vec<StreamRule>,
    }
    /// Routes the datagrams of a port. All that come from one address and port of a client are a session, as long as they keep
    /// coming.
    pub struct UdpRouteSpec {
        /// The gateways to whose listeners with protocol `UDP` the route is attached. A listener takes one route only.
        #[schemars(length(min = 1, max = 32))]
        pub parent_refs: Vec<ParentRef>,
        /// One rule.
        #[schemars(length(min = 1, max = 1))]
        pub rules: Vec<StreamRule>,
    }
    /// Where the connections of a route go, or its sessions.
    pub struct StreamRule {
        /// Its name; default: its index.
        #[schemars(extend("format" = "resource-name"))]
        pub name: Option<String>,
        /// At least one, of which one is chosen for each connection or session, by weight. The share of one that is missing
        /// is refused.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(min = 1, max = 16))]
        pub backend_refs: Vec<StreamBackendRef>,
    }
    /// A `tcp` port of a Service; of a `UDPRoute`, a `udp` port.
    pub struct StreamBackendRef {
        /// Group of the kind; ignored.
        pub group: Option<String>,
        /// Default: `Service`.
        #[serde(default)]
        pub kind: BackendKind,
        /// Its name.
        #[schemars(extend("format" = "resource-name"))]
        pub name: String,
        /// Default: the route's namespace; another one must permit it by a `ReferenceGrant`.
        pub namespace: Option<String>,
        /// One of its `tcp` ports, or of its `udp` ports; optional if it has only one.
        pub port: Option<u16>,
        /// Share among the backends of the rule; default: 1.
        #[schemars(range(max = 1_000_000))]
        pub weight: Option<u32>,
    }
}

//! `Gateway`: where traffic enters the mesh.

words! {
    /// What a listener speaks.
    pub enum ListenerProtocol {
        /// Clear text.
        HTTP,
        /// TLS.
        HTTPS,
    }
    /// Whether clients of a listener read why they were refused.
    pub enum ListenerReasons {
        /// In `x-tamis-reason`, and with the text of a refusal.
        Show,
        /// The access record alone has it.
        Hide,
    }
    /// What becomes of `//` in a path.
    pub enum EmptySegments {
        /// It is one slash.
        Merge,
        /// It stays.
        Keep,
        /// The request is refused.
        Refuse,
    }
    /// What becomes of a path that servers read in more than one way.
    pub enum AmbiguousPaths {
        /// The request is refused.
        Refuse,
        /// It stays as it is written.
        Keep,
    }
    /// Which escapes of a path are decoded.
    pub enum PathEscapes {
        /// Those of all characters that a segment may hold, but `;`.
        Segment,
        /// Those of letters, digits and `-._~` alone.
        Unreserved,
    }
    /// Whose routes a listener takes.
    pub enum RouteNamespaces {
        /// Those of the gateway's namespace.
        Same,
        /// All.
        All,
    }
}

shapes! {
    /// Where traffic enters the mesh.
    pub struct GatewaySpec {
        /// Taken as it is; every gateway of the documents is ours.
        pub gateway_class_name: Option<String>,
        /// At least one.
        #[schemars(length(min = 1))]
        pub listeners: Vec<Listener>,
        /// The first is listened on; default 127.0.0.1.
        #[serde(default)]
        pub addresses: Vec<GatewayAddress>,
        /// Who the gateway is inside the mesh.
        #[schemars(extend("format" = "spiffe-id"))]
        pub identity: Option<String>,
        /// What it proves that with.
        pub tls: Option<IdentityFiles>,
        /// Address of the admin listener.
        #[schemars(extend("format" = "host-port"))]
        pub admin: Option<String>,
    }
    /// An address to listen on.
    pub struct GatewayAddress {
        /// `IPAddress`, the only type there is.
        #[serde(rename = "type")]
        pub kind: Option<AddressType>,
        /// The address, without port.
        #[schemars(length(min = 1))]
        pub value: String,
    }
    /// A socket of a gateway.
    pub struct Listener {
        /// Unique within the gateway.
        #[schemars(extend("format" = "resource-name"))]
        pub name: String,
        /// Where it listens.
        #[schemars(range(min = 1))]
        pub port: u16,
        /// What it speaks.
        pub protocol: ListenerProtocol,
        /// Routes are limited to this host.
        #[schemars(extend("format" = "hostname"))]
        pub hostname: Option<String>,
        /// Needed with HTTPS.
        pub tls: Option<ListenerTls>,
        /// Whose routes it takes; those of the gateway's namespace when not said.
        pub allowed_routes: Option<AllowedRoutes>,
        /// Protocols that requests may change to, over HTTP/1.1 and HTTP/2; `websocket` when not said. None that is HTTP or
        /// TLS itself.
        pub upgrades: Option<Vec<String>>,
        /// Whether clients read why they were refused. When not said they do where the gateway listens on a loopback
        /// address, and do not elsewhere.
        pub reasons: Option<ListenerReasons>,
        /// How paths are read that servers read in more than one way.
        pub paths: Option<ListenerPaths>,
    }
    /// How paths are read that servers read in more than one way.
    pub struct ListenerPaths {
        /// `//`; `Merge` when not said.
        pub empty_segments: Option<EmptySegments>,
        /// `%2F` and `%5C`; `Refuse` when not said.
        pub escaped_slashes: Option<AmbiguousPaths>,
        /// `;`; `Refuse` when not said.
        pub parameters: Option<AmbiguousPaths>,
        /// Which escapes are decoded; `Segment` when not said.
        pub escapes: Option<PathEscapes>,
    }
    /// Whose routes a listener takes.
    pub struct AllowedRoutes {
        /// By namespace.
        pub namespaces: Option<FromNamespaces>,
    }
    /// Namespaces of routes.
    pub struct FromNamespaces {
        /// Which.
        pub from: RouteNamespaces,
    }
    /// What a listener shows its clients; paths of PEM files.
    pub struct ListenerTls {
        /// The chain, leaf first.
        #[schemars(length(min = 1))]
        pub certificate: String,
        /// The private key of the leaf.
        #[schemars(length(min = 1))]
        pub key: String,
        /// Clients must show a certificate of this authority; none when not said.
        pub client_ca: Option<String>,
    }
    /// What a proxy proves its identity with and believes peers by; paths of PEM files.
    pub struct IdentityFiles {
        /// The chain, leaf first.
        #[schemars(length(min = 1))]
        pub certificate: String,
        /// The private key of the leaf.
        #[schemars(length(min = 1))]
        pub key: String,
        /// The authority of the mesh.
        #[schemars(length(min = 1))]
        pub ca: String,
    }
}

words! {
    /// How a gateway's address is written.
    pub enum AddressType {
        /// An IP address.
        IPAddress,
    }
}

//! `Gateway`: where traffic enters the mesh.

use crate::format::Millis;

words! {
    /// Protocol of a listener.
    pub enum ListenerProtocol {
        /// Clear text.
        HTTP,
        /// HTTP over TLS.
        HTTPS,
        /// TLS whose content nobody reads; a `TLSRoute` says where it goes, by the server name of the handshake.
        TLS,
        /// Connections that nobody reads; a `TCPRoute` says where they go.
        TCP,
        /// Datagrams that nobody reads; a `UDPRoute` says where they go.
        UDP,
    }
    /// Where TLS ends.
    #[derive(Default)]
    pub enum ListenerTlsMode {
        /// At the gateway.
        #[default]
        Terminate,
        /// At the service: the gateway reads the server name of the handshake and carries everything on as it is.
        Passthrough,
    }
    /// How an ACME server is shown that a host leads to the gateway.
    pub enum AcmeChallenge {
        /// By the answer to a request that it sends to port 80 of the host (RFC 8555 §8.3). The gateway needs a listener for
        /// HTTP that has the host.
        #[serde(rename = "http-01")]
        Http01,
        /// By a certificate in a handshake that it begins at port 443 of the host (RFC 8737).
        #[serde(rename = "tls-alpn-01")]
        TlsAlpn01,
    }
    /// A kind of routes.
    pub enum RouteKind {
        /// Requests.
        HTTPRoute,
        /// Calls of gRPC.
        GRPCRoute,
        /// Connections by server name.
        TLSRoute,
        /// Connections of a port.
        TCPRoute,
        /// Datagrams of a port.
        UDPRoute,
    }
    /// Whether clients of a listener see the code of a refusal.
    pub enum ListenerReasons {
        /// In `x-tamis-reason` and in the body of a refusal.
        Show,
        /// Only the access record has it.
        Hide,
    }
    /// Which clients of a listener get the interim responses of upstreams.
    pub enum InterimResponses {
        /// Clients of HTTP/2 and HTTP/3; clients of HTTP/1.1 get the final response alone.
        Http2,
        /// Clients of HTTP/1.1 and later.
        All,
    }
    /// Handling of `//` in a path.
    pub enum EmptySegments {
        /// It becomes one slash.
        Merge,
        /// It stays.
        Keep,
        /// The request is refused.
        Refuse,
    }
    /// Handling of a path that servers read in more than one way.
    pub enum AmbiguousPaths {
        /// The request is refused.
        Refuse,
        /// It stays unchanged.
        Keep,
    }
    /// Which escapes in a path are decoded.
    pub enum PathEscapes {
        /// Those of all characters that a segment may contain, except `;`.
        Segment,
        /// Only those of letters, digits and `-._~`.
        Unreserved,
    }
    /// The field that states the addresses of a request's way.
    pub enum ClientAddressField {
        /// `X-Forwarded-For`.
        XForwardedFor,
        /// `Forwarded` (RFC 7239).
        Forwarded,
    }
    /// Namespaces whose routes a listener accepts.
    pub enum RouteNamespaces {
        /// The gateway's namespace.
        Same,
        /// All namespaces.
        All,
    }
}

shown_as_written! { AcmeChallenge ListenerProtocol RouteKind }

shapes! {
    /// Where traffic enters the mesh.
    pub struct GatewaySpec {
        /// Ignored; every gateway of the documents is served by Tamis.
        pub gateway_class_name: Option<String>,
        /// At least one. Listeners of one protocol may share a port if their hostnames differ, except those of TCP and UDP. A listener for UDP may
        /// have the number of another one's port, where that one serves no HTTP/3. Those of
        /// HTTPS have certificates of their own, and handshakes choose among them and among those of TLS by server name;
        /// requests choose among those of HTTP.
        #[schemars(length(min = 1, max = 64))]
        pub listeners: Vec<Listener>,
        /// Addresses; only the first is used. Default: 127.0.0.1.
        #[serde(default)]
        pub addresses: Vec<GatewayAddress>,
        /// SPIFFE id of the gateway inside the mesh; required to reach services with sidecars.
        #[schemars(extend("format" = "spiffe-id"))]
        pub identity: Option<String>,
        /// Files with which it proves that identity. Default: the SVID that it gets when it joins the mesh.
        pub tls: Option<IdentityFiles>,
        /// Where listeners with `tls.acme` get their certificates. Default: nowhere.
        pub acme: Option<Acme>,
        /// Address of the admin listener.
        #[schemars(extend("format" = "host-port"))]
        pub admin: Option<String>,
    }
    /// An authority that gives certificates by itself (ACME, RFC 8555).
    pub struct Acme {
        /// The URL of its directory, such as `https://acme-v02.api.letsencrypt.org/directory`. Only this scheme, host and port
        /// are ever asked.
        #[schemars(length(max = 2048), extend("format" = "acme-directory"))]
        pub directory: String,
        /// Email addresses to which it may write, without `mailto:`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 8))]
        pub contact: Vec<String>,
        /// Whether you agree to its terms of service, which its directory names. It must be `true`.
        pub terms_of_service_agreed: bool,
        /// PEM file with the authorities that sign the certificate of the directory itself. Default: those of the operating
        /// system.
        #[schemars(length(min = 1))]
        pub ca: Option<String>,
    }
    /// An address to listen on.
    pub struct GatewayAddress {
        /// `IPAddress`, the only supported type.
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
        /// Its port.
        #[schemars(range(min = 1))]
        pub port: u16,
        /// Its protocol.
        pub protocol: ListenerProtocol,
        /// The host of this listener, or `*.` and a name for all hosts below it; only routes for it apply. Over TLS,
        /// handshakes for other server names are refused, and requests for other hosts get 421. On a port with several
        /// listeners, a host belongs to the one that names it exactly, else to the longest wildcard, else to the one
        /// without hostname. Default: all hosts.
        #[schemars(extend("format" = "hostname"))]
        pub hostname: Option<String>,
        /// Required for HTTPS and TLS.
        pub tls: Option<ListenerTls>,
        /// Without traffic for this long a connection is closed, or a session of UDP ends, an eighth later at most; with TLS,
        /// TCP and UDP only. From `1s` to `24h`; default: `1h`, of UDP `1m`.
        pub idle_timeout: Option<Millis>,
        /// Connections at once, or sessions of UDP, over all workers; with TLS, TCP and UDP only. A client has at most half of
        /// them. Default: 1024.
        #[schemars(range(min = 1, max = 65_536))]
        pub max_connections: Option<u32>,
        /// Routes that it accepts; default: those of the gateway's namespace.
        pub allowed_routes: Option<AllowedRoutes>,
        /// Protocols to which requests may be upgraded, over HTTP/1.1 and later; default: `websocket`.
        /// HTTP and TLS are never allowed.
        pub upgrades: Option<Vec<String>>,
        /// Whether clients see the code of a refusal. Default: `Show` where the gateway listens on a
        /// loopback address, `Hide` elsewhere.
        pub reasons: Option<ListenerReasons>,
        /// Whether calls of gRPC-Web, which browsers make, become calls of gRPC. Filters and services see gRPC.
        /// Default: false; they pass as they are.
        pub grpc_web: Option<bool>,
        /// Which clients get interim responses of upstreams, such as early hints. Default: `Http2`, since some clients of
        /// HTTP/1.1 take an interim response for the final one (RFC 8297 §3).
        pub interim_responses: Option<InterimResponses>,
        /// Handling of paths that servers read in more than one way.
        pub paths: Option<ListenerPaths>,
        /// Proxies in front of this listener whose statement of the client's address counts. Default: none; the
        /// client's address is that of the peer.
        pub client_address: Option<ClientAddress>,
        /// Load balancers that begin each connection with a PROXY header, version 1 or 2. Connections of others,
        /// and connections without the header, are closed. Default: none; no header is read.
        pub proxy_protocol: Option<ProxyProtocol>,
        /// HTTP/3 on the UDP port of the same number, with HTTPS only, and not together with `proxyProtocol`: load balancers
        /// write no header over UDP. Default: HTTP/1.1 and HTTP/2 alone.
        pub http3: Option<ListenerHttp3>,
    }
    /// HTTP/3 of a listener.
    pub struct ListenerHttp3 {
        /// Whether responses over TCP name it in `Alt-Svc` (RFC 7838), by which clients find it. Default: true.
        pub advertise: Option<bool>,
        /// How long clients may remember that. From `1s` to `720h`; default: `24h`.
        pub max_age: Option<Millis>,
    }
    /// Load balancers that write PROXY headers.
    pub struct ProxyProtocol {
        /// Their addresses and prefixes, such as `10.0.0.7` or `2001:db8::/64`.
        #[schemars(length(min = 1, max = 256))]
        pub trusted: Vec<String>,
    }
    /// Proxies whose statement of the client's address counts; at least one of `trusted` and `hops`.
    pub struct ClientAddress {
        /// The field that these proxies write; the other one never counts. Default: `XForwardedFor`.
        pub field: Option<ClientAddressField>,
        /// Addresses and prefixes of the proxies, such as `10.0.0.7` or `2001:db8::/64`. The field counts only
        /// if the peer is one of them. Without `hops`, the client is the last address of the field that is not
        /// one of them. Default: every peer counts, which is safe only where none but the proxies can connect.
        #[schemars(length(min = 1, max = 256))]
        pub trusted: Option<Vec<String>>,
        /// The number of proxies, this gateway not included: the client is at that place of the field, counted from
        /// the end. Default: proxies are known by their addresses.
        #[schemars(range(min = 1, max = 16))]
        pub hops: Option<u8>,
    }
    /// Handling of paths that servers read in more than one way.
    pub struct ListenerPaths {
        /// `//`; default: `Merge`.
        pub empty_segments: Option<EmptySegments>,
        /// `%2F` and `%5C`; default: `Refuse`.
        pub escaped_slashes: Option<AmbiguousPaths>,
        /// `;`; default: `Refuse`.
        pub parameters: Option<AmbiguousPaths>,
        /// Which escapes are decoded; default: `Segment`.
        pub escapes: Option<PathEscapes>,
    }
    /// Routes that a listener accepts.
    pub struct AllowedRoutes {
        /// By namespace.
        pub namespaces: Option<FromNamespaces>,
        /// By kind; default: all that fit the protocol.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 8))]
        pub kinds: Vec<RouteGroupKind>,
    }
    /// Namespaces of routes.
    pub struct FromNamespaces {
        /// Which.
        pub from: RouteNamespaces,
    }
    /// A kind of routes.
    pub struct RouteGroupKind {
        /// Group of the kind; ignored.
        pub group: Option<String>,
        /// Which.
        pub kind: RouteKind,
    }
    /// TLS of a listener; paths of PEM files.
    pub struct ListenerTls {
        /// Where it ends. `Passthrough` is for protocol TLS, and has no certificate. Default: `Terminate`.
        pub mode: Option<ListenerTlsMode>,
        /// The certificate for `hostname` comes from the server of `spec.acme`, which is shown in this way that the host is
        /// ours. `certificate` and `key` are not written then.
        pub acme: Option<AcmeChallenge>,
        /// The chain, leaf first; required where TLS ends at the gateway, or `acme`.
        #[schemars(length(min = 1))]
        pub certificate: Option<String>,
        /// The private key of the leaf; required with `certificate`.
        #[schemars(length(min = 1))]
        pub key: Option<String>,
        /// If present, clients must show a certificate of this authority; default: no client certificate is
        /// requested.
        pub client_ca: Option<String>,
    }
    /// Files with which a proxy proves its identity and verifies peers; paths of PEM files.
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
    /// Notation of a gateway's address.
    pub enum AddressType {
        /// An IP address.
        IPAddress,
    }
}

//! `Service`: the name, protocol, identity and endpoints of a service.

use super::IdentityFiles;
use crate::format::Millis;

words! {
    /// Protocol of a port.
    #[serde(rename_all = "lowercase")]
    pub enum PortProtocol {
        /// HTTP/1.1.
        Http,
        /// HTTP/2 with prior knowledge.
        Http2,
        /// gRPC, over HTTP/2.
        Grpc,
        /// Opaque TCP: octets that no filter reads. Between sidecars over mTLS, and from gateways by a `TLSRoute` or a
        /// `TCPRoute`, also to endpoints without a sidecar.
        Tcp,
        /// Datagrams that no filter reads; from gateways by a `UDPRoute`, to endpoints without a sidecar.
        Udp,
    }
}

words! {
    /// Version of the PROXY protocol (HAProxy, "The PROXY protocol").
    pub enum ProxyHeader {
        /// One line of text.
        V1,
        /// Binary.
        V2,
    }
}

words! {
    /// Whom the sidecars of a service let connect from the mesh.
    #[serde(rename_all = "kebab-case")]
    pub enum MutualTls {
        /// Members of the mesh alone, which prove themselves.
        Strict,
        /// Also callers in plain text, which prove nothing: for the time in which callers move into the mesh.
        Permissive,
    }
}

words! {
    /// Whether connections may leave the mesh.
    #[serde(rename_all = "kebab-case")]
    pub enum Egress {
        /// Only to what documents declare.
        RegistryOnly,
        /// To any address, unread and as the application sends them.
        Allow,
    }
}

shapes! {
    /// A service of the mesh.
    pub struct ServiceSpec {
        /// At least one. Calls between services go to the first port: a host does not identify one. With
        /// sidecars, a service has at most one port that is not `tcp`, and that port comes first.
        #[schemars(length(min = 1, max = 16))]
        pub ports: Vec<ServicePort>,
        /// SPIFFE id of the service inside the mesh; required with sidecars.
        #[schemars(extend("format" = "spiffe-id"))]
        pub identity: Option<String>,
        /// Files with which its sidecars prove that identity. Default: the SVID that each gets when it joins the mesh.
        pub tls: Option<IdentityFiles>,
        /// Whom its sidecars let connect from the mesh; default: `strict`. With `permissive` the first port is also
        /// served in plain text, to callers without an identity.
        pub mtls: Option<MutualTls>,
        /// Protocols that requests may change to at both sockets of its sidecars, over HTTP/1.1 and HTTP/2; default:
        /// `websocket`. HTTP and TLS themselves are not allowed.
        pub upgrades: Option<Vec<String>>,
        /// Where it runs.
        #[serde(default)]
        pub endpoints: Vec<ServiceEndpoint>,
    }
    /// A port that callers name.
    pub struct ServicePort {
        /// Its name, for policies that are about this port alone; unique within the Service.
        #[schemars(extend("format" = "resource-name"))]
        pub name: Option<String>,
        /// Its number in routes; endpoints may listen on other ports.
        #[schemars(range(min = 1))]
        pub port: u16,
        /// Its protocol.
        pub protocol: PortProtocol,
        /// Of `tcp`: without traffic for this long a connection is closed, from `1s` to `24h`; default: `1h`.
        pub idle_timeout: Option<Millis>,
        /// Of `tcp`: connections at once, in each sidecar, of which a caller has at most half; default: 1024.
        #[schemars(range(min = 1, max = 65536))]
        pub max_connections: Option<u32>,
        /// Of `tcp`: the PROXY header with which the sidecar begins each connection to the application, so that it knows
        /// the address of the caller's host. Default: no header.
        pub proxy_protocol: Option<ProxyHeader>,
    }
    /// One place where a service runs.
    pub struct ServiceEndpoint {
        /// The application, where it serves the first port: `IP:PORT`, `host.name:PORT` or `unix:/path`.
        #[schemars(extend("format" = "endpoint"))]
        pub address: String,
        /// The application, where it serves the other ports: each `tcp` port but the first, once.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub ports: Vec<EndpointPort>,
        /// Share of traffic; default: 1.
        #[schemars(range(min = 1))]
        pub weight: Option<u32>,
        /// Address at which its sidecar accepts traffic from the mesh.
        #[schemars(extend("format" = "host-port"))]
        pub sidecar: Option<String>,
        /// Address at which its sidecar accepts traffic from the application. Whoever can connect to it speaks as the
        /// service: use a loopback address.
        #[schemars(extend("format" = "host-port"))]
        pub outbound: Option<String>,
        /// Addresses at which its sidecar accepts TCP connections from the application, one for each `tcp`
        /// port of a service that the application calls.
        #[schemars(length(max = 64))]
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub outbound_tcp: Vec<OutboundTcp>,
        /// What its sidecar takes from an application that knows nothing of it.
        pub capture: Option<EndpointCapture>,
        /// Address of its sidecar's admin listener.
        #[schemars(extend("format" = "host-port"))]
        pub admin: Option<String>,
    }
    /// Connections that the kernel leads to a sidecar, wherever the application sends them: see `tamis capture`.
    pub struct EndpointCapture {
        /// Loopback addresses at which the sidecar takes them, at most one of IPv4 and one of IPv6. A connection goes to
        /// the service that has the address that the application asked for, as its `address`, in its `ports`, or by DNS.
        #[schemars(length(min = 1, max = 2))]
        pub outbound: Vec<String>,
        /// Loopback addresses at which the sidecar answers DNS, at most one of IPv4 and one of IPv6: names such as
        /// `payments.shop.mesh` itself, all others by asking the resolvers of the machine.
        #[schemars(length(max = 2))]
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub dns: Vec<String>,
        /// The rule for connections to all other addresses; default: `registry-only`.
        pub egress: Option<Egress>,
    }
    /// Where the application serves a port.
    pub struct EndpointPort {
        /// The number of the service's port.
        #[schemars(range(min = 1))]
        pub port: u16,
        /// The application: `IP:PORT`, `host.name:PORT` or `unix:/path`.
        #[schemars(extend("format" = "endpoint"))]
        pub address: String,
    }
    /// A `tcp` port of a service, as the application connects to it.
    pub struct OutboundTcp {
        /// Where the sidecar accepts connections.
        #[schemars(extend("format" = "host-port"))]
        pub address: String,
        /// Name of the called service.
        #[schemars(extend("format" = "resource-name"))]
        pub name: String,
        /// Its namespace; default: that of this document.
        #[schemars(extend("format" = "resource-name"))]
        pub namespace: Option<String>,
        /// Its port.
        #[schemars(range(min = 1))]
        pub port: u16,
    }
}

impl ServiceSpec {
    /// Whether its document says that callers may connect in plain text, whatever else is wrong with it.
    #[must_use]
    pub fn is_permissive(&self) -> bool {
        self.mtls == Some(MutualTls::Permissive)
    }
}

shown_as_written!(MutualTls);

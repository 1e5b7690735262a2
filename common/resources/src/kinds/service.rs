//! `Service`: the name, protocol, identity and endpoints of a service.

use super::IdentityFiles;

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
    }
}

shapes! {
    /// A service of the mesh.
    pub struct ServiceSpec {
        /// At least one; with sidecars, exactly one. Calls between services go to the first port: a host
        /// does not identify one.
        #[schemars(length(min = 1))]
        pub ports: Vec<ServicePort>,
        /// SPIFFE id of the service inside the mesh; required with sidecars.
        #[schemars(extend("format" = "spiffe-id"))]
        pub identity: Option<String>,
        /// Files with which its sidecars prove that identity. Default: the SVID that each gets when it joins the mesh.
        pub tls: Option<IdentityFiles>,
        /// Protocols that requests may change to at both sockets of its sidecars, over HTTP/1.1 and HTTP/2; default:
        /// `websocket`. HTTP and TLS themselves are not allowed.
        pub upgrades: Option<Vec<String>>,
        /// Where it runs.
        #[serde(default)]
        pub endpoints: Vec<ServiceEndpoint>,
    }
    /// A port that callers name.
    pub struct ServicePort {
        /// Its number in routes; endpoints may listen on other ports.
        #[schemars(range(min = 1))]
        pub port: u16,
        /// Its protocol.
        pub protocol: PortProtocol,
    }
    /// One place where a service runs.
    pub struct ServiceEndpoint {
        /// The application: `IP:PORT`, `host.name:PORT` or `unix:/path`.
        #[schemars(extend("format" = "endpoint"))]
        pub address: String,
        /// Share of traffic; default: 1.
        #[schemars(range(min = 1))]
        pub weight: Option<u32>,
        /// Address at which its sidecar accepts traffic from the mesh.
        #[schemars(extend("format" = "host-port"))]
        pub sidecar: Option<String>,
        /// Address at which its sidecar accepts traffic from the application.
        #[schemars(extend("format" = "host-port"))]
        pub outbound: Option<String>,
        /// Address of its sidecar's admin listener.
        #[schemars(extend("format" = "host-port"))]
        pub admin: Option<String>,
    }
}

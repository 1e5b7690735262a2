//! `Service`: what a service is called, speaks, is, and where it runs.

use super::IdentityFiles;

words! {
    /// What a port speaks.
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
        /// At least one; with sidecars, just one. Calls between services go to the first: a host tells no ports apart.
        #[schemars(length(min = 1))]
        pub ports: Vec<ServicePort>,
        /// Who the service is inside the mesh; needed with sidecars.
        #[schemars(extend("format" = "spiffe-id"))]
        pub identity: Option<String>,
        /// What its sidecars prove that with; needed with sidecars.
        pub tls: Option<IdentityFiles>,
        /// Where it runs.
        #[serde(default)]
        pub endpoints: Vec<ServiceEndpoint>,
    }
    /// A port callers name.
    pub struct ServicePort {
        /// Its number in routes; endpoints may listen elsewhere.
        #[schemars(range(min = 1))]
        pub port: u16,
        /// What it speaks.
        pub protocol: PortProtocol,
    }
    /// One place where a service runs.
    pub struct ServiceEndpoint {
        /// The application: `IP:PORT`, `host.name:PORT` or `unix:/path`.
        #[schemars(extend("format" = "endpoint"))]
        pub address: String,
        /// Share of traffic; 1 when not said.
        #[schemars(range(min = 1))]
        pub weight: Option<u32>,
        /// Where its sidecar takes traffic from the mesh.
        #[schemars(extend("format" = "host-port"))]
        pub sidecar: Option<String>,
        /// Where its sidecar takes traffic of the application.
        #[schemars(extend("format" = "host-port"))]
        pub outbound: Option<String>,
        /// Where its sidecar has its admin listener.
        #[schemars(extend("format" = "host-port"))]
        pub admin: Option<String>,
    }
}

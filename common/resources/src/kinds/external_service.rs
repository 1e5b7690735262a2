//! `ExternalService`: servers outside of the mesh that applications may connect to.

use super::{AuthorityRef, BackendAltName, PortProtocol};

shapes! {
    /// Servers outside of the mesh. Applications of the document's namespace may connect to them, through their sidecars,
    /// whatever `egress` of an endpoint says; applications of other namespaces have documents of their own.
    pub struct ExternalServiceSpec {
        /// Their names, each without port. Where a sidecar answers DNS, each has an address of its own that leads there.
        #[schemars(length(min = 1, max = 16))]
        pub hosts: Vec<String>,
        /// At most one port that is not `tcp`: a host does not identify one.
        #[schemars(length(min = 1, max = 16))]
        pub ports: Vec<ExternalPort>,
        /// IP addresses to connect to, and that applications of the namespace connect to, before whatever other namespaces
        /// declare; default: those that resolvers know for the host.
        #[schemars(length(max = 16))]
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub addresses: Vec<String>,
    }
    /// A port outside of the mesh.
    pub struct ExternalPort {
        /// Its number.
        #[schemars(range(min = 1))]
        pub port: u16,
        /// `tcp`: octets that nobody reads, such as TLS that the application speaks. Otherwise requests, which the filters of
        /// calls see.
        pub protocol: PortProtocol,
        /// TLS between the sidecar and the host; default: clear text. Not with `tcp`, of which nothing is read.
        pub tls: Option<ExternalTls>,
    }
    /// TLS to a host, for applications that send their requests in clear text.
    pub struct ExternalTls {
        /// Port at which the host speaks TLS; default: 443.
        #[schemars(range(min = 1))]
        pub port: Option<u16>,
        /// Files with certificates of authorities, all of which count; default: the authorities of the operating system of
        /// the proxy.
        #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "caCertificateRefs")]
        #[schemars(length(max = 8))]
        pub ca_certificate_refs: Vec<AuthorityRef>,
        /// Sent as server name (SNI); default: the host. Without `subjectAltNames` the certificate must be valid for it.
        #[schemars(extend("format" = "resource-name"))]
        pub hostname: Option<String>,
        /// Names of which the certificate must have one; then `hostname` is not compared.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 5))]
        pub subject_alt_names: Vec<BackendAltName>,
        /// The SPIFFE id of a proxy of another trust domain, which a FederatedTrustDomain declares. Then the sidecar shows its
        /// own identity, and the host must prove this one; no authority and no other name is looked at.
        #[schemars(extend("format" = "spiffe-id"))]
        pub identity: Option<String>,
    }
}

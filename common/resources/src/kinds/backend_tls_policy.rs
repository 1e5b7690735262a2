//! `BackendTLSPolicy`: a service outside the mesh that is reached over TLS, and how its certificate is checked.

use super::PolicyTargetKind;

words! {
    /// Where certificates of authorities are.
    pub enum AuthorityRefKind {
        /// A file that is applied with the documents.
        File,
    }
    /// Authorities that need no reference.
    pub enum WellKnownAuthorities {
        /// Those of the operating system of the proxy.
        System,
    }
    /// The kind of a name in a certificate.
    pub enum AltNameType {
        /// A DNS name.
        Hostname,
        /// A URI.
        URI,
    }
}

shapes! {
    /// TLS to services outside the mesh.
    pub struct BackendTlsPolicySpec {
        /// Services of the policy's namespace, without sidecars.
        #[schemars(length(min = 1, max = 16))]
        pub target_refs: Vec<BackendTlsTarget>,
        /// How the certificate of the service is checked.
        pub validation: BackendTlsValidation,
    }
    /// A service that the policy applies to.
    pub struct BackendTlsTarget {
        /// Group of the kind; ignored.
        pub group: Option<String>,
        /// `Service`.
        pub kind: PolicyTargetKind,
        /// Its name.
        #[schemars(extend("format" = "resource-name"))]
        pub name: String,
        /// The `name` of one of its ports; default: all. A policy for a port comes before one for all.
        #[schemars(extend("format" = "resource-name"))]
        pub section_name: Option<String>,
    }
    /// How a certificate is checked.
    pub struct BackendTlsValidation {
        /// Files with certificates of authorities, all of which count. Either these or `wellKnownCACertificates`.
        #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "caCertificateRefs")]
        #[schemars(length(max = 8))]
        pub ca_certificate_refs: Vec<AuthorityRef>,
        /// Authorities that need no reference.
        #[serde(rename = "wellKnownCACertificates")]
        pub well_known_ca_certificates: Option<WellKnownAuthorities>,
        /// Sent as server name (SNI). Without `subjectAltNames` the certificate must be valid for it.
        #[schemars(extend("format" = "resource-name"))]
        pub hostname: String,
        /// Names of which the certificate must have one; then `hostname` is not compared.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 5))]
        pub subject_alt_names: Vec<BackendAltName>,
    }
    /// Certificates of authorities.
    pub struct AuthorityRef {
        /// Group of the kind; ignored.
        pub group: Option<String>,
        /// `File`.
        pub kind: AuthorityRefKind,
        /// Its path: PEM, at most 64 KiB.
        #[schemars(length(min = 1, max = 253))]
        pub name: String,
    }
    /// A name in a certificate.
    pub struct BackendAltName {
        /// Its kind.
        #[serde(rename = "type")]
        pub kind: AltNameType,
        /// With type `Hostname`.
        #[schemars(extend("format" = "resource-name"))]
        pub hostname: Option<String>,
        /// With type `URI`: the whole URI, compared byte by byte.
        #[schemars(length(min = 1, max = 253))]
        pub uri: Option<String>,
    }
}

//! `FederatedTrustDomain`: a trust domain of somebody else whose members this mesh recognises.

use super::AuthorityRef;

shapes! {
    /// A trust domain of somebody else. Proxies accept an id of that domain when one of these authorities vouches for it, and
    /// these authorities vouch for no other id. Who of them may do what is for AuthorizationPolicies to say: a rule covers them
    /// only where it names them. In a registry, only security namespaces (`tamis registry --security`) may have one.
    pub struct FederatedTrustDomainSpec {
        /// The trust domain, without `spiffe://`.
        #[schemars(extend("format" = "resource-name"))]
        pub trust_domain: String,
        /// Its authorities: a SPIFFE bundle as JSON, or certificates in PEM; at most 16, and 64 KiB. Either this or `bundleRef`.
        #[schemars(length(min = 1, max = 65_536))]
        pub bundle: Option<String>,
        /// A file with the same.
        pub bundle_ref: Option<AuthorityRef>,
    }
}

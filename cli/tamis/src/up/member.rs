//! The proxies of a folder, and their identities.

use crate::declared;
use anyhow::{Result, bail};
use tamis_resources::{Document, IdentityFiles, NodeName, Resource};

/// A proxy, with the certificate that it shows to the registry.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its name.
    pub(crate) name: NodeName,
    /// Its SPIFFE id.
    pub(crate) identity: String,
    /// Its certificate.
    pub(crate) files: IdentityFiles,
}

/// Every proxy that the documents declare.
pub(crate) fn members(documents: &[Document]) -> Result<Vec<Member>> {
    declared::nodes(documents).into_iter().map(|name| member(name, documents)).collect()
}

/// A proxy that documents plan.
///
/// # Errors
/// When it has no identity that the registry could know it by.
pub(crate) fn member(name: NodeName, documents: &[Document]) -> Result<Member> {
    let found = documents.iter().filter(|one| one.key() == name.key()).find_map(|one| {
        match (&one.resource, &name) {
            (Resource::Gateway(spec), NodeName::Gateway { .. }) => {
                Some((&spec.identity, &spec.tls))
            }
            (Resource::Service(spec), NodeName::Sidecar { .. }) => {
                Some((&spec.identity, &spec.tls))
            }
            _ => None,
        }
    });
    match found {
        Some((Some(identity), Some(files))) => {
            Ok(Member { name, identity: identity.clone(), files: files.clone() })
        }
        _ => bail!(
            "{name} has no identity, so the registry accepts no proxy of that name; write into its document, for example: \
             identity: spiffe://local.example/ns/{key}, \
             tls: {{ certificate: .tamis/certs/{short}.crt, key: .tamis/certs/{short}.key, ca: .tamis/certs/ca.crt }} \
             (`tamis up` makes the files)",
            key = name.key(),
            short = name.key().replace('/', "-"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_resources::parse;

    const GATEWAY: &str = "kind: Gateway\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: edge, namespace: shop }\n\
        spec:\n  listeners: [{ name: http, port: 8080, protocol: HTTP }]\n";
    const IDENTITY: &str = "  identity: spiffe://a.example/edge\n  tls: { certificate: a.crt, key: a.key, ca: ca.crt }\n";

    #[test]
    fn a_proxy_is_who_its_document_says() {
        let (documents, problems) = parse("a.yaml", &format!("{GATEWAY}{IDENTITY}"));
        assert!(problems.is_empty(), "{problems:?}");
        let members = members(&documents).unwrap();
        assert_eq!(members[0].name.to_string(), "gateway:shop/edge");
        assert_eq!(members[0].identity, "spiffe://a.example/edge");
        assert_eq!(members[0].files.ca, "ca.crt");
    }

    #[test]
    fn a_proxy_that_is_nobody_is_told_what_to_write() {
        let (documents, _) = parse("a.yaml", GATEWAY);
        let error = members(&documents).unwrap_err().to_string();
        assert!(error.contains("gateway:shop/edge") && error.contains("identity: spiffe://"));
    }
}

//! The proxies of a folder, and their identities.

use crate::declared;
use anyhow::{Context as _, Result, bail};
use tamis_resources::{Document, IdentityFiles, NodeName, Resource};
use tamis_transport::{SpiffeId, TrustDomain};

/// A proxy, and how it proves who it is.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its name.
    pub(crate) name: NodeName,
    /// Its SPIFFE id.
    pub(crate) identity: SpiffeId,
    /// The files with its certificate; `None`: its document names none, and it has an SVID.
    pub(crate) files: Option<IdentityFiles>,
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
    let own = documents.iter().filter(|one| one.key() == name.key());
    let found = own.into_iter().find_map(|one| match (&one.resource, &name) {
        (Resource::Gateway(spec), NodeName::Gateway { .. }) => Some((&spec.identity, &spec.tls)),
        (Resource::Service(spec), NodeName::Sidecar { .. }) => Some((&spec.identity, &spec.tls)),
        _ => None,
    });
    let Some((Some(identity), files)) = found else {
        bail!(
            "{name} has no identity, so the registry accepts no proxy of that name; write into its document, for example, \
             `identity: spiffe://{domain}/ns/{key}`",
            domain = usual_domain(documents),
            key = name.key(),
        )
    };
    let identity = identity.parse();
    let identity = identity.with_context(|| format!("the identity of {name} cannot be used"))?;
    Ok(Member { name, identity, files: files.clone() })
}

/// The trust domain of the first identity in the documents; an example when there is none.
fn usual_domain(documents: &[Document]) -> String {
    let mut all = documents.iter().filter_map(|one| match &one.resource {
        Resource::Gateway(spec) => spec.identity.as_deref(),
        Resource::Service(spec) => spec.identity.as_deref(),
        _ => None,
    });
    let id: Option<SpiffeId> = all.find_map(|text| text.parse().ok());
    id.map_or_else(|| "local.example".to_owned(), |id| id.trust_domain().to_string())
}

/// The trust domain of all these proxies; `None` without any.
///
/// # Errors
/// When two are of different domains.
pub(crate) fn domain(members: &[Member]) -> Result<Option<TrustDomain>> {
    let Some(first) = members.first() else { return Ok(None) };
    let domain = first.identity.trust_domain();
    match members.iter().find(|one| one.identity.trust_domain() != domain) {
        None => Ok(Some(domain)),
        Some(other) => bail!(
            "{} is {}, and {} is {}: the registry of a folder is the authority of one trust domain, so write the same in each \
             `identity`, or run the proxies of another domain from a folder of their own",
            first.name,
            first.identity,
            other.name,
            other.identity
        ),
    }
}

/// The authority that signed the certificates of proxies with files; `None`: none has files.
///
/// # Errors
/// When two name different ones.
pub(crate) fn authority(members: &[Member]) -> Result<Option<&str>> {
    let mut all = members.iter().filter_map(|one| Some((&one.name, &one.files.as_ref()?.ca)));
    let Some((first, ca)) = all.next() else { return Ok(None) };
    match all.find(|(_, other)| *other != ca) {
        None => Ok(Some(ca)),
        Some((name, other)) => bail!(
            "{first} uses the authority {ca}, and {name} uses {other}; all proxies of one folder need the same authority"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_resources::parse;

    const GATEWAY: &str = "kind: Gateway\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: edge, namespace: shop }\n\
        spec:\n  listeners: [{ name: http, port: 8080, protocol: HTTP }]\n";
    const ID: &str = "  identity: spiffe://a.example/edge\n";
    const FILES: &str = "  tls: { certificate: a.crt, key: a.key, ca: ca.crt }\n";

    fn gateway(name: &str, more: &str) -> Vec<Document> {
        let text = format!("{}{more}", GATEWAY.replace("name: edge", &format!("name: {name}")));
        let (documents, problems) = parse("a.yaml", &text);
        assert!(problems.is_empty(), "{problems:?}");
        documents
    }

    fn all(rows: &[(&str, &str)]) -> Vec<Member> {
        let documents: Vec<Document> =
            rows.iter().flat_map(|(name, more)| gateway(name, more)).collect();
        members(&documents).unwrap()
    }

    #[test]
    fn a_proxy_is_who_its_document_says() {
        for (more, ca) in [(ID.to_owned(), None), (format!("{ID}{FILES}"), Some("ca.crt"))] {
            let members = all(&[("edge", &more)]);
            assert_eq!(members[0].name.to_string(), "gateway:shop/edge");
            assert_eq!(members[0].identity.as_str(), "spiffe://a.example/edge");
            assert_eq!(members[0].files.as_ref().map(|files| files.ca.as_str()), ca);
            assert_eq!(authority(&members).unwrap(), ca);
            assert_eq!(domain(&members).unwrap().unwrap().as_str(), "a.example");
        }
        assert_eq!(domain(&[]).unwrap(), None);
    }

    #[test]
    fn a_proxy_that_is_nobody_is_told_what_to_write() {
        let mut documents = gateway("edge", "");
        for example in ["spiffe://local.example/ns/shop/edge", "spiffe://a.example/ns/shop/edge"] {
            let error = members(&documents).unwrap_err().to_string();
            assert!(error.contains("gateway:shop/edge") && error.contains(example), "{error}");
            documents.extend(gateway("other", ID));
        }
    }

    #[test]
    fn the_proxies_of_a_folder_have_one_trust_domain_and_one_authority_of_files() {
        let of = |more: &str, from: &str, to: &str| more.replace(from, to);
        let far = all(&[("edge", ID), ("far", &of(ID, "a.example", "b.example"))]);
        let error = domain(&far).unwrap_err().to_string();
        for part in ["gateway:shop/edge", "spiffe://a.example", "gateway:shop/far", "b.example"] {
            assert!(error.contains(part), "{error}");
        }
        let files = format!("{ID}{FILES}");
        let two = all(&[("edge", &files), ("other", &of(&files, "ca.crt", "else.crt"))]);
        let error = authority(&two).unwrap_err().to_string();
        assert!(error.contains("ca.crt") && error.contains("else.crt"), "{error}");
        let mixed = all(&[("edge", ID), ("other", &files)]);
        assert_eq!(authority(&mixed).unwrap(), Some("ca.crt"));
    }
}

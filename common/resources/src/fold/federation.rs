//! Other trust domains whose members this mesh recognises.

use std::collections::BTreeMap;

use super::{ACCEPTED, Claim, Fold, IdentityProof, PlannedProxy, RESOLVED};
use crate::document::Document;
use crate::kinds::{FederatedTrustDomainSpec, GatewaySpec, ServiceSpec};
use crate::problem::Problem;
use crate::spiffe_bundle::{BundleAuthority, SpiffeBundle};

/// The code of a bundle that cannot be used.
const BUNDLE: &str = "federation.bundle";
/// Most of them: a proxy trusts 64 domains, its own among them.
const MAX_DOMAINS: usize = 63;

impl<'a> Fold<'a> {
    /// The authorities of each federated trust domain in PEM, by domain. What cannot be used is reported and left out: nobody
    /// of that domain is let in then.
    pub(super) fn federated_domains(&mut self) -> BTreeMap<String, String> {
        let (all, beyond): (Vec<_>, Vec<_>) = self
            .all::<FederatedTrustDomainSpec>()
            .into_iter()
            .partition(|(document, _)| self.decides(document));
        for (document, _) in beyond {
            let problem = beyond_security(document);
            self.fail(document, ACCEPTED, "Invalid", problem);
        }
        let claims: Vec<_> = all
            .iter()
            .map(|(document, spec)| {
                let pointer = "/spec/trustDomain".to_owned();
                (spec.trust_domain.clone(), Claim { document, pointer })
            })
            .collect();
        let lost = self.contradictions(&claims, "federation.conflict", |domain| {
            format!("more than one document declares the trust domain {domain}")
        });
        let mut domains = BTreeMap::new();
        for ((document, spec), lost) in all.into_iter().zip(lost) {
            if lost {
                continue;
            }
            if domains.len() >= MAX_DOMAINS {
                let message =
                    format!("it is one more than the {MAX_DOMAINS} domains that may be federated");
                let problem = document.problem("federation.many", "/spec/trustDomain", message);
                let problem = problem.help("remove a domain that is not called any more");
                self.fail(document, ACCEPTED, "Invalid", problem);
                continue;
            }
            if let Some(bundle) = self.bundle(document, spec) {
                domains.insert(spec.trust_domain.clone(), bundle.pem());
            }
        }
        self.own_members(&domains);
        domains
    }

    fn bundle(
        &mut self,
        document: &Document,
        spec: &FederatedTrustDomainSpec,
    ) -> Option<SpiffeBundle> {
        let (pointer, condition, read) = match (&spec.bundle, &spec.bundle_ref) {
            (Some(text), None) => {
                ("/spec/bundle", ACCEPTED, SpiffeBundle::read(text, &spec.trust_domain))
            }
            (None, Some(file)) => {
                let text = (self.files)(&file.name).and_then(|bytes| {
                    String::from_utf8(bytes).map_err(|_| "it is not text".to_owned())
                });
                let read = text.and_then(|text| SpiffeBundle::read(&text, &spec.trust_domain));
                let read = read.map_err(|rule| format!("{}: {rule}", file.name));
                ("/spec/bundleRef/name", RESOLVED, read)
            }
            _ => ("/spec", ACCEPTED, Err("write one of `bundle` and `bundleRef`".to_owned())),
        };
        match read {
            Ok(bundle) => Some(bundle),
            Err(rule) => {
                let domain = &spec.trust_domain;
                let message = format!("the bundle of {domain} cannot be used: {rule}");
                let problem = document.problem(BUNDLE, pointer, message).help(
                    "write what `tamis identity bundle --format spiffe` prints at the registry of that domain, or the certificates of its roots; until then none of its members is let in",
                );
                self.fail(document, condition, "InvalidBundle", problem);
                None
            }
        }
    }

    /// The trust domain of a proxy that recognises members of others; `None`: it recognises none.
    pub(super) fn home<'p>(&self, place: &PlannedProxy<'p>) -> Option<&'p str> {
        match place.proof()? {
            IdentityProof::Svid(id) if !self.federated.is_empty() => domain_of(id),
            IdentityProof::Svid(_) | IdentityProof::Files(_) => None,
        }
    }

    /// Reports each member of this mesh with an id of a federated domain: that domain decides who has its ids.
    fn own_members(&mut self, domains: &BTreeMap<String, String>) {
        if domains.is_empty() {
            return;
        }
        let gateways = self.all::<GatewaySpec>().into_iter();
        let gateways = gateways.map(|(document, spec)| (document, spec.identity.as_deref()));
        let services = self.all::<ServiceSpec>().into_iter();
        let services = services.map(|(document, spec)| (document, spec.identity.as_deref()));
        for (document, identity) in gateways.chain(services).collect::<Vec<_>>() {
            let Some(id) = identity else { continue };
            let Some(domain) = domain_of(id).filter(|domain| domains.contains_key(*domain)) else {
                continue;
            };
            let message = format!(
                "{id} is an id of {domain}, which a FederatedTrustDomain declares to be another trust domain: its authorities decide who has it"
            );
            let problem = document.problem("federation.own", "/spec/identity", message).help(
                "write an id of the trust domain of this mesh, or remove the FederatedTrustDomain of your own domain",
            );
            self.fail(document, ACCEPTED, "Invalid", problem);
        }
    }
}

/// The trust domain of a SPIFFE id.
pub(super) fn domain_of(id: &str) -> Option<&str> {
    let rest = id.strip_prefix("spiffe://")?;
    Some(rest.split_once('/').map_or(rest, |(domain, _)| domain))
}

/// The problem of a document outside of the namespaces of security.
pub fn beyond_security(document: &Document) -> Problem {
    let message = format!(
        "{} is no namespace of security, and whom the whole mesh recognises is for security to say",
        document.metadata.namespace
    );
    document.problem("federation.beyond", "/metadata/namespace", message).help(
        "have somebody with `operate` on a namespace of security write it there; until then none of its members is let in",
    )
}

/// The authorities of each federated trust domain, by domain, as proxies have them.
pub(super) fn authorities(
    domains: &BTreeMap<String, String>,
) -> BTreeMap<String, Vec<BundleAuthority>> {
    let read = |(domain, text): (&String, &String)| {
        let bundle = SpiffeBundle::read(text, domain).ok()?;
        Some((domain.clone(), bundle.authorities().to_vec()))
    };
    domains.iter().filter_map(read).collect()
}

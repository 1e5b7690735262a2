//! Certificates that a proxy orders: where they are kept, and by which plan.

use std::path::PathBuf;

use tamis_acme::{
    CertificateIssuer, Challenge, IssuerOptions, IssuerSettings, KeptCertificates, Pace,
};
use tamis_ambient::{Clock, Random};
use tamis_resources::plan::{AcmeChallenge, AcmePlan};
use tamis_transport::CertificateOrders;

/// Orders certificates by the plan in force.
pub(crate) struct Issuance {
    options: IssuerOptions,
    /// Once something was ordered.
    issuer: Option<CertificateIssuer>,
}

impl Issuance {
    /// Nothing is ordered yet.
    pub(crate) fn new(
        kept: KeptCertificates,
        orders: CertificateOrders,
        (clock, random): (Clock, Random),
    ) -> Self {
        let options = IssuerOptions { kept, orders, clock, random, pace: Pace::default() };
        Self { options, issuer: None }
    }

    /// Orders as a plan says from now on. What hinders it is reported in `notes`.
    pub(crate) fn follow(&mut self, plan: Option<&AcmePlan>, notes: &mut Vec<String>) {
        if self.issuer.is_none() && plan.is_some() {
            match CertificateIssuer::start(self.options.clone()) {
                Ok(issuer) => self.issuer = Some(issuer),
                Err(error) => notes.push(format!("no certificate can be ordered: {error}")),
            }
        }
        if let Some(issuer) = &self.issuer {
            issuer.follow(plan.map(settings));
        }
    }
}

/// Where the certificates of a proxy are kept: a folder of its own below `root`.
pub(crate) fn kept(root: PathBuf, name: &str) -> KeptCertificates {
    // The proxy may be started from another folder than the one that paths are relative to.
    let root = std::path::absolute(&root).unwrap_or(root);
    KeptCertificates::new(root.join(name))
}

fn settings(plan: &AcmePlan) -> IssuerSettings {
    let way = |way: AcmeChallenge| match way {
        AcmeChallenge::Http01 => Challenge::Http01,
        AcmeChallenge::TlsAlpn01 => Challenge::TlsAlpn01,
    };
    IssuerSettings {
        directory: plan.directory.clone(),
        contact: plan.contact.clone(),
        authorities: plan.authorities.clone(),
        hosts: plan.hosts.iter().map(|(host, one)| (host.clone(), way(*one))).collect(),
    }
}

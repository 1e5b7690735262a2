//! Servers outside of the mesh, as the sidecars of one namespace reach them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use serde_json::Value as Json;

use super::certificate_check::CertificateCheck;
use super::ports::protocol;
use super::route::default_route;
use super::{Claim, Fold, IdentityProof, PlannedProxy};
use crate::format::accepts;
use crate::kinds::{ExternalPort, ExternalServiceSpec, ExternalTls, PortProtocol};
use crate::machine::{is_localhost, is_own_machine};
use crate::plan::{
    AddressPlan, EndpointPlan, MemberTlsPlan, PolicyPlan, ServerTlsPlan, ServicePlan,
    UpstreamTlsPlan,
};

pub(super) const CODE: &str = "external.invalid";
/// Port of a host that speaks TLS (RFC 9110 §4.2.2), where a document names no other.
const TLS_PORT: u16 = 443;

/// The document of a port, as `namespace/name`, and the index of the port there.
pub(super) type PortPlace = (String, usize);
/// What is asked of the hosts that are reached over TLS; `None`: it cannot be used.
pub(super) type ExternalChecks = BTreeMap<PortPlace, Option<HostCheck>>;

/// What a host that is reached over TLS must prove.
#[derive(Clone)]
pub(super) enum HostCheck {
    /// A certificate of an authority; the sidecar shows none.
    Certificate(CertificateCheck),
    /// This SPIFFE id, of a federated trust domain; the sidecar shows its SVID.
    Member(String),
}

/// A port of a host, by the place of the port in its document.
pub(super) type PortOfHost = (PortPlace, String);
/// Ports that nothing may be sent to, because documents contradict each other about them.
pub(super) type ContestedPorts = BTreeSet<PortOfHost>;

/// One port of one host outside of the mesh.
#[derive(Clone)]
pub(super) struct External<'a> {
    /// In lower case.
    pub(super) host: String,
    pub(super) port: &'a ExternalPort,
    pub(super) addresses: Vec<IpAddr>,
    place: PortPlace,
}

impl ExternalPort {
    pub(super) fn is_tcp(&self) -> bool {
        self.protocol == PortProtocol::Tcp
    }

    pub(super) fn is_udp(&self) -> bool {
        self.protocol == PortProtocol::Udp
    }

    pub(super) fn is_read(&self) -> bool {
        !self.is_tcp() && !self.is_udp()
    }
}

impl External<'_> {
    /// The name of its service.
    pub(super) fn name(&self) -> String {
        format!("external/{}:{}", self.host, self.port.port)
    }

    /// Where applications connect to it by address.
    pub(super) fn sockets(&self) -> impl Iterator<Item = SocketAddr> {
        self.addresses.iter().map(|address| SocketAddr::new(*address, self.port.port))
    }

    /// With `svid` the sidecar has an SVID that it can show.
    fn service(&self, checks: &ExternalChecks, svid: bool) -> ServicePlan {
        let protocol = protocol(self.port.protocol, self.port.port);
        let endpoints = match &self.port.tls {
            None => self.endpoints(self.port.port, None),
            // If its certificate cannot be checked, nothing is sent: neither in clear text nor to whoever
            // answers.
            Some(tls) => match checks.get(&self.place).cloned().flatten() {
                None => Vec::new(),
                Some(HostCheck::Member(_)) if !svid => Vec::new(),
                Some(check) => {
                    self.endpoints(tls.port.unwrap_or(TLS_PORT), Some(self.server(tls, check)))
                }
            },
        };
        ServicePlan { name: self.name(), protocol, endpoints, policy: PolicyPlan::default() }
    }

    fn server(&self, tls: &ExternalTls, check: HostCheck) -> UpstreamTlsPlan {
        let hostname = tls.hostname.clone().unwrap_or_else(|| self.host.clone());
        match check {
            HostCheck::Certificate(CertificateCheck { names, authorities }) => {
                UpstreamTlsPlan::Server(ServerTlsPlan { hostname, names, authorities })
            }
            HostCheck::Member(expect_identity) => UpstreamTlsPlan::Member(MemberTlsPlan {
                files: None,
                expect_identity,
                server_name: hostname,
            }),
        }
    }

    fn endpoints(&self, port: u16, tls: Option<UpstreamTlsPlan>) -> Vec<EndpointPlan> {
        let addresses = self.addresses.iter().map(|address| SocketAddr::new(*address, port));
        let mut all: Vec<_> = addresses.map(|one| AddressPlan::Tcp(one.to_string())).collect();
        if all.is_empty() {
            all.push(AddressPlan::Dns(format!("{}:{port}", self.host)));
        }
        let endpoint = |address| EndpointPlan { address, weight: 1, tls: tls.clone() };
        all.into_iter().map(endpoint).collect()
    }
}

impl<'a> Fold<'a> {
    /// The hosts that documents declare, whatever their namespace.
    pub(super) fn external_hosts(&self) -> Vec<(String, Claim<'a>)> {
        let mut seen = BTreeSet::new();
        let mut all = Vec::new();
        for (document, spec) in self.all::<ExternalServiceSpec>() {
            for (at, host) in spec.hosts.iter().enumerate() {
                let host = host.to_ascii_lowercase();
                if is_outside(&host) && seen.insert(host.clone()) {
                    all.push((host, Claim { document, pointer: format!("/spec/hosts/{at}") }));
                }
            }
        }
        all
    }

    /// What the application of a sidecar may reach outside of the mesh.
    pub(super) fn externals(&self, place: &PlannedProxy<'a>) -> Vec<External<'a>> {
        let PlannedProxy::Sidecar(own, ..) = place else { return Vec::new() };
        let namespace = &own.metadata.namespace;
        let mut all: Vec<External<'a>> = Vec::new();
        for (document, spec) in self.all::<ExternalServiceSpec>() {
            if document.metadata.namespace != *namespace {
                continue;
            }
            let addresses = addresses(spec);
            for host in spec.hosts.iter().map(|host| host.to_ascii_lowercase()) {
                for (at, port) in spec.ports.iter().enumerate().filter(|_| is_outside(&host)) {
                    let place = (document.key(), at);
                    let (host, addresses) = (host.clone(), addresses.clone());
                    if !self.contested_ports.contains(&(place.clone(), host.clone())) {
                        all.push(External { host, port, addresses, place });
                    }
                }
            }
        }
        all
    }

    /// The services of [`Self::externals`].
    pub(super) fn external_services(&self, place: &PlannedProxy<'a>) -> Vec<ServicePlan> {
        let svid = matches!(place.proof(), Some(IdentityProof::Svid(_)));
        self.externals(place).iter().map(|one| one.service(&self.external_checks, svid)).collect()
    }

    /// Routes of their requests.
    pub(super) fn external_routes(&self, place: &PlannedProxy<'a>) -> Vec<Json> {
        let requests = self.externals(place).into_iter().filter(|one| !one.port.is_tcp());
        requests.map(|one| default_route(one.name(), vec![one.host.clone()])).collect()
    }
}

fn addresses(spec: &ExternalServiceSpec) -> Vec<IpAddr> {
    spec.addresses.iter().filter_map(|text| address(text)).collect()
}

/// An address of another machine.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().filter(|address| !is_own_machine(*address))
}

/// Whether a host is one name outside of the mesh and of this machine.
pub(super) fn is_outside(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let mesh = host == "mesh" || host.ends_with(".mesh");
    !mesh
        && !host.contains('*')
        && accepts("hostname", &host)
        && host.parse::<IpAddr>().is_err()
        && !is_localhost(&host)
}

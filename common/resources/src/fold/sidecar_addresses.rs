//! The addresses at which sidecars listen, over all services: no two sidecars can have one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{ACCEPTED, Claim, Fold, longest};
use crate::document::Document;
use crate::kinds::{ServiceEndpoint, ServiceSpec};
use crate::node_name::NodeName;

const CODE: &str = "service.address";

/// One use of an address by an endpoint.
struct AddressUse<'a> {
    claim: Claim<'a>,
    /// The field that names it.
    field: &'static str,
    /// Whether a sidecar listens there. Otherwise its application does, which several endpoints may share.
    listens: bool,
}

/// Where something listens: the host of the endpoint's sidecar, and the address there. Whoever calls a sidecar reaches it by
/// its host, so endpoints of one host are on one machine; on others the same loopback address is another place.
type ListenerPlace = (String, String);

impl<'a> Fold<'a> {
    /// Reports each address that this proxy's service would have to share with another listener of its machine. What others
    /// share is reported where they are folded.
    pub(super) fn check_sidecar_addresses(&mut self) {
        let NodeName::Sidecar { key, .. } = self.node else { return };
        let Some((own, spec)) = self.find::<ServiceSpec>(key) else { return };
        let mut uses: BTreeMap<ListenerPlace, Vec<AddressUse<'a>>> = BTreeMap::new();
        let mut hosts = BTreeSet::new();
        for (at, endpoint) in spec.endpoints.iter().enumerate() {
            hosts.extend(host(endpoint));
            collect(own, at, endpoint, &mut uses);
        }
        for (document, spec) in self.all::<ServiceSpec>() {
            let endpoints = spec.endpoints.iter().enumerate();
            for (at, endpoint) in endpoints.filter(|_| !std::ptr::eq(document, own)) {
                if host(endpoint).is_some_and(|host| hosts.contains(&host)) {
                    collect(document, at, endpoint, &mut uses);
                }
            }
        }
        for ((_, address), all) in uses {
            let listeners = all.iter().filter(|one| one.listens).count();
            let is_own = all.iter().any(|one| std::ptr::eq(one.claim.document, own));
            if is_own && (listeners > 1 || (listeners == 1 && all.len() > 1)) {
                self.report(&address, &all);
            }
        }
    }

    fn report(&mut self, address: &str, all: &[AddressUse<'a>]) {
        let stays = longest(all.iter().map(|one| one.claim.document.since));
        for (at, one) in all.iter().enumerate().filter(|(at, _)| Some(*at) != stays) {
            let others = || all.iter().enumerate().filter(|(other, _)| *other != at);
            // Of two applications neither is in the way of the other.
            let Some((_, other)) = others().find(|(_, other)| one.listens || other.listens) else {
                continue;
            };
            let (document, pointer) = (one.claim.document, &one.claim.pointer);
            let message = format!(
                "{address} is also `{}` of an endpoint of Service {}: only one of the two can listen there",
                other.field,
                other.claim.document.key()
            );
            let places = others()
                .map(|(_, other)| other.claim.document.place(&other.claim.pointer, "the other"));
            let problem = document
                .problem(CODE, pointer, message)
                .also(places)
                .help("give each use an address of its own; endpoints whose `sidecar` has the same host are on one machine");
            self.fail(document, ACCEPTED, "Conflicted", problem);
        }
    }
}

/// What an endpoint with a sidecar listens at, and where its application does. `outboundTcp` and `capture` are compared with
/// the others of their endpoint elsewhere, so of the uses by one endpoint the first stays.
fn collect<'a>(
    document: &'a Document,
    at: usize,
    endpoint: &'a ServiceEndpoint,
    uses: &mut BTreeMap<ListenerPlace, Vec<AddressUse<'a>>>,
) {
    let Some((sidecar, host)) = endpoint.sidecar.as_ref().zip(host(endpoint)) else { return };
    let base = format!("/spec/endpoints/{at}");
    let own = [
        ("sidecar", Some(sidecar)),
        ("outbound", endpoint.outbound.as_ref()),
        ("admin", endpoint.admin.as_ref()),
    ];
    let own = own
        .into_iter()
        .filter_map(|(field, address)| Some((field, format!("{base}/{field}"), address?, true)));
    let tcp = endpoint.outbound_tcp.iter().enumerate().map(|(nth, one)| {
        ("outboundTcp", format!("{base}/outboundTcp/{nth}/address"), &one.address, true)
    });
    let captured = endpoint.capture.iter().flat_map(|capture| {
        capture.outbound.iter().enumerate().map(|(nth, address)| {
            ("capture.outbound", format!("{base}/capture/outbound/{nth}"), address, true)
        })
    });
    let application = ("address", format!("{base}/address"), &endpoint.address, false);
    let ports =
        endpoint.ports.iter().enumerate().map(|(nth, one)| {
            ("ports", format!("{base}/ports/{nth}/address"), &one.address, false)
        });
    let checked_elsewhere = |field: &str| matches!(field, "outboundTcp" | "capture.outbound");
    let listed = own.chain(tcp).chain(captured).chain([application]).chain(ports);
    for (field, pointer, address, listens) in listed {
        let at_place = uses.entry((host.clone(), normal(address))).or_default();
        let same_endpoint = |one: &&AddressUse<'_>| {
            std::ptr::eq(one.claim.document, document)
                && one.claim.pointer.starts_with(&format!("{base}/"))
        };
        let known = at_place.iter().find(same_endpoint);
        if known.is_some_and(|known| {
            checked_elsewhere(field)
                || checked_elsewhere(known.field)
                || !(listens || known.listens)
        }) {
            continue;
        }
        at_place.push(AddressUse { claim: Claim { document, pointer }, field, listens });
    }
}

/// The host of an endpoint's sidecar.
fn host(endpoint: &ServiceEndpoint) -> Option<String> {
    let mut address = normal(endpoint.sidecar.as_ref()?);
    let end = address.rfind(':').unwrap_or(address.len());
    address.truncate(end);
    Some(address)
}

/// An address in one form: `[::1]:1` and `[0:0::1]:1` are one. A listener at the unspecified address takes the port of every
/// other one, and a connection to it arrives at this machine, as one to `localhost` does: all are its first loopback address.
pub(super) fn normal(address: &str) -> String {
    let Ok(address) = address.parse::<SocketAddr>() else {
        let address = address.to_ascii_lowercase();
        let port = address.strip_prefix("localhost:").map(|port| format!("{HERE}:{port}"));
        return port.unwrap_or(address);
    };
    let ip = Some(address.ip().to_canonical()).filter(|ip| !ip.is_unspecified());
    SocketAddr::new(ip.unwrap_or(IpAddr::V4(HERE)), address.port()).to_string()
}

/// The first loopback address.
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

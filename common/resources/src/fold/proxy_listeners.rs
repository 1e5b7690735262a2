//! Listeners of proxies at which no application can be: whoever connects to `outbound` is the service itself, so a Service with
//! such an endpoint would let its callers act as another one.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::sidecar_addresses::normal;
use super::{ACCEPTED, Fold};
use crate::document::Document;
use crate::kinds::{ServiceEndpoint, ServiceSpec};
use crate::plan::AddressPlan;
use crate::problem::Problem;

const CODE: &str = "service.address";

/// The listeners of all sidecars that are for their own application and its operators, by port.
pub(super) struct ProxyListeners<'a>(BTreeMap<u16, Vec<ProxyListener<'a>>>);

struct ProxyListener<'a> {
    document: &'a Document,
    /// The field that names it.
    field: &'static str,
    ip: IpAddr,
    /// Its address in one form.
    address: String,
    /// The machine that it is on: the host of the sidecar's own address; `None`: it is written as a name.
    machine: Option<IpAddr>,
}

impl<'a> Fold<'a> {
    pub(super) fn proxy_listeners(&self) -> ProxyListeners<'a> {
        let mut listeners: BTreeMap<u16, Vec<ProxyListener<'a>>> = BTreeMap::new();
        for (document, spec) in self.all::<ServiceSpec>() {
            for endpoint in spec.endpoints.iter().filter(|one| one.sidecar.is_some()) {
                let machine = machine(endpoint);
                for (field, text) in own(endpoint) {
                    let Ok(address) = text.parse::<SocketAddr>() else { continue };
                    let ip = address.ip().to_canonical();
                    let (port, address) = (address.port(), normal(text));
                    let listener = ProxyListener { document, field, ip, address, machine };
                    listeners.entry(port).or_default().push(listener);
                }
            }
        }
        ProxyListeners(listeners)
    }

    /// Reports each address of an application that is a listener of a proxy.
    pub(super) fn check_applications(&mut self, listeners: &ProxyListeners<'a>) {
        for (document, spec) in self.all::<ServiceSpec>() {
            for (at, endpoint) in spec.endpoints.iter().enumerate() {
                let base = format!("/spec/endpoints/{at}");
                let ports = endpoint.ports.iter().enumerate();
                let ports = ports.map(|(nth, one)| (format!("/ports/{nth}/address"), &one.address));
                for (field, text) in
                    [("/address".to_owned(), &endpoint.address)].into_iter().chain(ports)
                {
                    let pointer = format!("{base}{field}");
                    if let Some(problem) = listeners.problem(document, endpoint, text, &pointer) {
                        self.fail(document, ACCEPTED, "Conflicted", problem);
                    }
                }
            }
        }
    }
}

/// The addresses at which a sidecar listens for its own application and for operators.
fn own(endpoint: &ServiceEndpoint) -> impl Iterator<Item = (&'static str, &String)> {
    let tcp = endpoint.outbound_tcp.iter().map(|one| ("outboundTcp", &one.address));
    let captured = endpoint.capture.iter().flat_map(|capture| {
        let outbound = capture.outbound.iter().map(|one| ("capture.outbound", one));
        outbound.chain(capture.dns.iter().map(|one| ("capture.dns", one)))
    });
    let outbound = endpoint.outbound.iter().map(|one| ("outbound", one));
    let admin = endpoint.admin.iter().map(|one| ("admin", one));
    outbound.chain(admin).chain(tcp).chain(captured)
}

fn machine(endpoint: &ServiceEndpoint) -> Option<IpAddr> {
    let address: SocketAddr = endpoint.sidecar.as_ref()?.parse().ok()?;
    Some(address.ip().to_canonical())
}

impl ProxyListeners<'_> {
    /// Whether the application of an endpoint cannot be at that address.
    pub(super) fn take(
        &self,
        document: &Document,
        endpoint: &ServiceEndpoint,
        address: &AddressPlan,
    ) -> bool {
        match address {
            AddressPlan::Tcp(text) | AddressPlan::Dns(text) => {
                self.found(document, endpoint, text).is_some()
            }
            AddressPlan::Unix(_) => false,
        }
    }

    fn problem(
        &self,
        document: &Document,
        endpoint: &ServiceEndpoint,
        text: &str,
        pointer: &str,
    ) -> Option<Problem> {
        let found = self.found(document, endpoint, text)?;
        let same_machine = endpoint.sidecar.is_some() && machine(endpoint) == found.machine;
        if same_machine && normal(text) == found.address {
            // Reported with the other addresses of the machine.
            return None;
        }
        let ProxyListener { document: other, field, .. } = found;
        let message = format!(
            "{text} is `{field}` of an endpoint of Service {}: whoever connects there is taken for that service, so no \
             application can be there",
            other.key()
        );
        let problem = document.problem(CODE, pointer, message);
        Some(problem.help("write the address of the application itself; the endpoint is left out"))
    }

    fn found(
        &self,
        document: &Document,
        endpoint: &ServiceEndpoint,
        text: &str,
    ) -> Option<&ProxyListener<'_>> {
        let (host, port) = text.rsplit_once(':')?;
        let here = match text.parse::<SocketAddr>() {
            Ok(address) => Some(address.ip().to_canonical()),
            Err(_) => None,
        };
        if here.is_none() && !host.eq_ignore_ascii_case("localhost") {
            return None;
        }
        let from = machine(endpoint);
        let listeners = self.0.get(&port.parse().ok()?)?;
        listeners.iter().find(|one| {
            // Nobody takes an address away from others of another namespace that have had it for longer.
            let is_first = one.document.metadata.namespace == document.metadata.namespace
                || one.document.since <= document.since;
            is_first && one.is_at(here, from)
        })
    }
}

impl ProxyListener<'_> {
    /// Whether it listens at an address; `None`: `localhost`. `from`: the machine from which it is connected to; `None`: any.
    fn is_at(&self, address: Option<IpAddr>, from: Option<IpAddr>) -> bool {
        match address.filter(|ip| !ip.is_loopback() && !ip.is_unspecified()) {
            Some(ip) => ip == self.ip || (self.ip.is_unspecified() && self.machine == Some(ip)),
            None => {
                let is_own = |ip: IpAddr| ip == self.ip || ip.is_unspecified();
                let is_here = self.ip.is_unspecified()
                    || (self.ip.is_loopback() && address.is_none_or(is_own));
                // All loopback addresses are of one machine.
                let both = from.zip(self.machine);
                is_here
                    && both.is_none_or(|(one, other)| {
                        one == other || (one.is_loopback() && other.is_loopback())
                    })
            }
        }
    }
}

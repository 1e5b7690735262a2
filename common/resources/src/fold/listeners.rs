//! Sockets of the proxy, before their chains are known.

use super::{ACCEPTED, Fold, Place};
use crate::document::Document;
use crate::kinds::{GatewaySpec, Listener, ListenerProtocol};
use crate::plan::{AddressPlan, ChainPlan, DirectionPlan, ListenerPlan, TlsPlan};

/// A socket, and for a gateway the listener it comes from.
pub(super) struct Socket<'a> {
    pub(super) plan: ListenerPlan,
    pub(super) listener: Option<&'a Listener>,
}

impl<'a> Fold<'a> {
    pub(super) fn listeners(&mut self, place: &Place<'a>) -> Vec<Socket<'a>> {
        match place {
            Place::Gateway(document, spec) => self.gateway(document, spec),
            Place::Sidecar(_, spec, index) => {
                let endpoint = spec.endpoints.get(*index);
                // Without TLS there is no inbound socket: the mesh never takes clear text.
                let inbound = endpoint.and_then(|one| one.sidecar.clone()).zip(spec.tls.as_ref());
                let inbound = inbound.map(|(address, files)| {
                    let tls = TlsPlan {
                        certificate: files.certificate.clone(),
                        key: files.key.clone(),
                        client_ca: Some(files.ca.clone()),
                    };
                    socket("inbound", address, Some(tls), DirectionPlan::Inbound, None)
                });
                let outbound = endpoint.and_then(|one| one.outbound.clone()).map(|address| {
                    socket("outbound", address, None, DirectionPlan::Outbound, None)
                });
                inbound.into_iter().chain(outbound).collect()
            }
        }
    }

    fn gateway(&mut self, document: &'a Document, spec: &'a GatewaySpec) -> Vec<Socket<'a>> {
        let host = spec.addresses.first().map_or("127.0.0.1", |one| one.value.as_str());
        let Ok(ip) = host.parse::<std::net::IpAddr>() else {
            let message = format!("`{host}` is no IP address");
            let problem = document.problem("gateway.address", "/spec/addresses/0/value", message);
            self.fail(document, ACCEPTED, "UnsupportedAddress", problem);
            return Vec::new();
        };
        let mut sockets: Vec<Socket<'a>> = Vec::new();
        for (at, listener) in spec.listeners.iter().enumerate() {
            let wrong = match (listener.protocol, &listener.tls) {
                (ListenerProtocol::HTTPS, None) => Some("an HTTPS listener needs `tls`"),
                (ListenerProtocol::HTTP, Some(_)) => {
                    Some("an HTTP listener has no `tls`; say HTTPS")
                }
                _ => None,
            };
            let taken = sockets
                .iter()
                .filter_map(|one| one.listener)
                .any(|other| other.port == listener.port || other.name == listener.name);
            let wrong = wrong.or(taken.then_some("name and port of listeners are each used once"));
            if let Some(message) = wrong {
                let pointer = format!("/spec/listeners/{at}");
                let problem = document.problem("gateway.listener", &pointer, message);
                self.fail(document, ACCEPTED, "ListenersNotValid", problem);
                continue;
            }
            let tls = listener.tls.as_ref().map(|tls| TlsPlan {
                certificate: tls.certificate.clone(),
                key: tls.key.clone(),
                client_ca: tls.client_ca.clone(),
            });
            let address = std::net::SocketAddr::new(ip, listener.port).to_string();
            sockets.push(socket(
                &listener.name,
                address,
                tls,
                DirectionPlan::Gateway,
                Some(listener),
            ));
        }
        sockets
    }
}

fn socket<'a>(
    name: &str,
    address: String,
    tls: Option<TlsPlan>,
    direction: DirectionPlan,
    listener: Option<&'a Listener>,
) -> Socket<'a> {
    let (name, address) = (name.to_owned(), AddressPlan::Tcp(address));
    let chain = ChainPlan { attachments: Vec::new() };
    Socket { plan: ListenerPlan { name, address, tls, direction, chain }, listener }
}

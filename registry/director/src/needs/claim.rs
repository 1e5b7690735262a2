//! Names that apply to the whole mesh, which belong to whoever used them first.

use std::net::{IpAddr, SocketAddr};

use tamis_resources::{Document, ParentKind, ParentRef, Resource};

/// A name that applies to the whole mesh.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claim {
    Identity(String),
    Socket(SocketAddr),
    /// A host on a gateway; `None`: every host without a route of its own.
    Host(String, Option<String>),
}

impl Claim {
    /// What a document claims.
    pub(super) fn made(document: &Document) -> Vec<Self> {
        match &document.resource {
            Resource::Gateway(spec) => spec.identity.iter().cloned().map(Self::Identity).collect(),
            Resource::Service(spec) => {
                let identity = spec.identity.iter().cloned().map(Self::Identity);
                let sockets = spec.endpoints.iter().flat_map(|endpoint| {
                    let sidecar = endpoint.sidecar.as_deref();
                    let ports = endpoint.ports.iter().map(|port| port.address.as_str());
                    [Some(endpoint.address.as_str()), sidecar].into_iter().flatten().chain(ports)
                });
                identity.chain(sockets.filter_map(socket).map(Self::Socket)).collect()
            }
            _ => Self::hosts(document, true),
        }
    }

    /// What a document has that others may not claim.
    pub(super) fn held(document: &Document) -> Vec<Self> {
        match &document.resource {
            Resource::Gateway(spec) => {
                let admin = spec.admin.iter().filter_map(|it| socket(it)).map(Self::Socket);
                Self::made(document).into_iter().chain(admin).collect()
            }
            Resource::Service(spec) => {
                let identity = spec.identity.iter().cloned().map(Self::Identity);
                let sockets = spec.endpoints.iter().flat_map(|one| {
                    let rest = [&one.sidecar, &one.outbound, &one.admin];
                    let rest = rest.into_iter().filter_map(|it| it.as_deref());
                    let ports = one.ports.iter().map(|port| port.address.as_str());
                    let called = one.outbound_tcp.iter().map(|called| called.address.as_str());
                    let captured =
                        one.capture.iter().flat_map(|it| it.outbound.iter().chain(&it.dns));
                    let rest = rest.chain(captured.map(String::as_str));
                    std::iter::once(one.address.as_str()).chain(rest).chain(ports).chain(called)
                });
                identity.chain(sockets.filter_map(socket).map(Self::Socket)).collect()
            }
            // In its namespace, connections to these go where it says.
            Resource::ExternalService(spec) => {
                let addresses =
                    spec.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok());
                let sockets = addresses.flat_map(|address| {
                    spec.ports.iter().filter_map(move |port| shared(address, port.port))
                });
                sockets.map(Self::Socket).collect()
            }
            _ => Self::hosts(document, false),
        }
    }

    /// The hosts of a route on its gateways, or only on those of other namespaces.
    fn hosts(document: &Document, foreign: bool) -> Vec<Self> {
        let (parents, hosts): (&[ParentRef], &[String]) = match &document.resource {
            Resource::HTTPRoute(spec) => (&spec.parent_refs, &spec.hostnames),
            Resource::GRPCRoute(spec) => (&spec.parent_refs, &spec.hostnames),
            Resource::TLSRoute(spec) => (&spec.parent_refs, &spec.hostnames),
            _ => return Vec::new(),
        };
        let own = &document.metadata.namespace;
        let mut claims = Vec::new();
        for parent in parents.iter().filter(|parent| parent.kind == ParentKind::Gateway) {
            let namespace = parent.namespace.as_ref().unwrap_or(own);
            if foreign && namespace == own {
                continue;
            }
            let gateway = format!("{namespace}/{}", parent.name);
            if hosts.is_empty() {
                claims.push(Self::Host(gateway.clone(), None));
            }
            let hosts = hosts.iter().map(|host| Some(host.to_ascii_lowercase()));
            claims.extend(hosts.map(|host| Self::Host(gateway.clone(), host)));
        }
        claims
    }

    pub(super) fn words(&self) -> String {
        match self {
            Self::Identity(id) => format!("the identity {id}"),
            Self::Socket(socket) => format!("the address {socket}"),
            Self::Host(gateway, Some(host)) => format!("the host {host} of Gateway {gateway}"),
            Self::Host(gateway, None) => format!("every other host of Gateway {gateway}"),
        }
    }
}

/// An address that means the same machine to everybody; names and loopback addresses do not.
fn socket(text: &str) -> Option<SocketAddr> {
    let address: SocketAddr = text.parse().ok()?;
    shared(address.ip(), address.port())
}

fn shared(ip: IpAddr, port: u16) -> Option<SocketAddr> {
    let ip = ip.to_canonical();
    (!ip.is_loopback()).then(|| SocketAddr::new(ip, port))
}

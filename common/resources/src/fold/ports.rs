//! The ports of services: which of them routes may name, which nobody reads, and the names that plans and callers have for them.

use super::address;
use crate::kinds::{PortProtocol, ServiceEndpoint, ServicePort, ServiceSpec};
use crate::plan::{AddressPlan, ProtocolPlan};

impl ServicePort {
    pub(super) fn is_tcp(&self) -> bool {
        self.protocol == PortProtocol::Tcp
    }

    pub(super) fn is_udp(&self) -> bool {
        self.protocol == PortProtocol::Udp
    }

    /// Whether nobody reads what is sent there.
    pub(super) fn is_unread(&self) -> bool {
        self.is_tcp() || self.is_udp()
    }
}

/// The ports that routes may name, none of which is opaque: with sidecars only the first.
pub(super) fn request_ports(spec: &ServiceSpec) -> Vec<&ServicePort> {
    let most = if is_meshed(spec) { 1 } else { spec.ports.len() };
    spec.ports.iter().take(most).filter(|port| !port.is_unread()).collect()
}

/// Whether a service has sidecars.
pub(super) fn is_meshed(spec: &ServiceSpec) -> bool {
    spec.endpoints.iter().any(|endpoint| endpoint.sidecar.is_some())
}

/// Whether each endpoint of a service has a sidecar.
pub(super) fn is_wholly_meshed(spec: &ServiceSpec) -> bool {
    spec.endpoints.iter().all(|endpoint| endpoint.sidecar.is_some())
}

/// The name of the application behind a sidecar.
pub(super) fn local_name(key: &str, port: u16) -> String {
    format!("local/{key}:{port}")
}

/// The protocol of a port in plans.
pub(super) fn protocol(protocol: PortProtocol, port: u16) -> ProtocolPlan {
    match protocol {
        PortProtocol::Http => ProtocolPlan::Http1,
        PortProtocol::Http2 | PortProtocol::Grpc => ProtocolPlan::Http2,
        PortProtocol::Tcp | PortProtocol::Udp => ProtocolPlan::Tcp { port },
    }
}

/// The `tcp` ports of a service.
pub(super) fn tcp_ports(spec: &ServiceSpec) -> impl Iterator<Item = &ServicePort> {
    spec.ports.iter().filter(|port| port.is_tcp())
}

/// The `udp` ports of a service.
pub(super) fn udp_ports(spec: &ServiceSpec) -> impl Iterator<Item = &ServicePort> {
    spec.ports.iter().filter(|port| port.is_udp())
}

/// The name under which plans have a port that nobody reads: one number may be that of a `tcp` and of a `udp` port.
pub(super) fn unread_name(key: &str, port: &ServicePort) -> String {
    let kind = if port.is_udp() { "/udp" } else { "" };
    format!("{key}:{}{kind}", port.port)
}

/// Where the application serves a port; `None`: the endpoint does not say.
pub(super) fn application(
    spec: &ServiceSpec,
    endpoint: &ServiceEndpoint,
    port: u16,
) -> Option<AddressPlan> {
    if spec.ports.first().is_some_and(|first| first.port == port) {
        return Some(address(&endpoint.address));
    }
    let found = endpoint.ports.iter().find(|one| one.port == port)?;
    Some(address(&found.address))
}

/// The name under which every caller may call a service.
pub(super) fn mesh_name(key: &str) -> String {
    let (namespace, name) = key.split_once('/').unwrap_or_default();
    format!("{name}.{namespace}.mesh")
}

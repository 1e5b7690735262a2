//! Opaque TCP: ports whose connections are carried between two sidecars over mTLS, or from a gateway, and read by nobody. And
//! UDP, whose datagrams only gateways carry.
//!
//! A `tcp` port is a listener of its own at its sidecar's inbound address, which peers ask for in their handshake, and
//! one at each caller that declares it. A port that cannot be used has no listener: nothing of it is open.

use super::{Fold, PlannedProxy};
use crate::document::Document;
use crate::format::Millis;
use crate::kinds::{
    Listener, ListenerProtocol, OutboundTcp, ServiceEndpoint, ServicePort, ServiceSpec,
};
use crate::plan::{StreamRoutePlan, StreamRoutesPlan, TcpPlan};

pub(super) const CODE: &str = "service.tcp";
/// The code where the service is not there.
pub(super) const MISSING: &str = "ref.missing";
/// Bounds and default of `idleTimeout`, in milliseconds.
const IDLE: (u64, u64, u64) = (1_000, 24 * 3_600_000, 3_600_000);
/// The default of a listener for UDP, in milliseconds: a client that is gone says nothing.
const UDP_IDLE: u64 = 60_000;
const CONNECTIONS: u32 = 1_024;
/// The service of connections that routes send to services.
const ROUTED: &str = "routed";

/// The plan of a gateway's listener with protocol TCP, TLS or UDP.
pub(super) fn listener_plan(listener: &Listener, routes: Vec<StreamRoutePlan>) -> TcpPlan {
    let (least, most, default) = IDLE;
    let is_udp = listener.protocol == ListenerProtocol::UDP;
    let default = if is_udp { UDP_IDLE } else { default };
    let by_server_name = listener.protocol == ListenerProtocol::TLS;
    let routes = StreamRoutesPlan { by_server_name, routes };
    let (routed, datagrams) = if is_udp { (None, Some(routes)) } else { (Some(routes), None) };
    TcpPlan {
        // No service has this name, so proxies that know no routes refuse every connection.
        service: ROUTED.to_owned(),
        asked: None,
        idle_timeout_ms: listener.idle_timeout.map_or(default, |it| it.0).clamp(least, most),
        max_connections: listener.max_connections.unwrap_or(CONNECTIONS),
        proxy_header: None,
        routed,
        datagrams,
    }
}

/// What is wrong with the idle timeout of a listener.
pub(super) fn idle_fault(wanted: Millis) -> Option<String> {
    let (least, most, _) = IDLE;
    (!(least..=most).contains(&wanted.0))
        .then(|| format!("idleTimeout must be from 1s to 24h, not {wanted}"))
}

impl ServicePort {
    /// The plan of a listener for this port.
    pub(super) fn tcp_plan(&self, service: String, asked: Option<u16>) -> TcpPlan {
        let (least, most, default) = IDLE;
        TcpPlan {
            service,
            asked,
            idle_timeout_ms: self.idle_timeout.map_or(default, |it| it.0).clamp(least, most),
            max_connections: self.max_connections.unwrap_or(CONNECTIONS),
            // What a caller's sidecar connects to is another sidecar.
            proxy_header: self.proxy_protocol.filter(|_| asked.is_some()),
            routed: None,
            datagrams: None,
        }
    }
}

/// A port that the application of a sidecar connects to, with the declaration that names it.
pub(super) struct OutboundPort<'a> {
    pub(super) declared: &'a OutboundTcp,
    /// `namespace/name` of the service.
    pub(super) key: String,
    pub(super) port: &'a ServicePort,
}

impl<'a> Fold<'a> {
    /// The ports that the application of this sidecar connects to. Those that cannot be reached over mTLS, or that share
    /// an address, are left out.
    pub(super) fn called(&self, place: &PlannedProxy<'a>) -> Vec<OutboundPort<'a>> {
        let PlannedProxy::Sidecar(document, spec, index) = place else { return Vec::new() };
        let Some(endpoint) = spec.endpoints.get(*index) else { return Vec::new() };
        let all = endpoint.outbound_tcp.iter().enumerate();
        let used = all.filter(|(at, _)| taken(endpoint, *at).is_none());
        used.filter_map(|(_, declared)| self.callee(document, declared).ok()).collect()
    }

    /// The port that an application calls, or the reason and the message why there is no such port.
    pub(super) fn callee(
        &self,
        document: &Document,
        declared: &'a OutboundTcp,
    ) -> Result<OutboundPort<'a>, (&'static str, String)> {
        let namespace = declared.namespace.as_ref().unwrap_or(&document.metadata.namespace);
        let key = format!("{namespace}/{}", declared.name);
        let number = declared.port;
        let Some((_, spec)) = self.find::<ServiceSpec>(&key) else {
            return Err((MISSING, format!("there is no Service {key}")));
        };
        let of_number = || spec.ports.iter().filter(|one| one.port == number);
        let port = of_number().find(|one| one.is_tcp()).or_else(|| of_number().next());
        match port {
            None => Err((CODE, format!("Service {key} has no port {number}"))),
            Some(port) if !port.is_tcp() => {
                Err((CODE, format!("port {number} of Service {key} is not a tcp port")))
            }
            Some(_) if is_bare(spec) => Err((
                CODE,
                format!("Service {key} has no sidecar, so only gateways carry connections to it"),
            )),
            Some(port) => Ok(OutboundPort { declared, key, port }),
        }
    }
}

/// Whether a service has endpoints, and no sidecar.
fn is_bare(spec: &ServiceSpec) -> bool {
    !spec.endpoints.is_empty() && spec.endpoints.iter().all(|one| one.sidecar.is_none())
}

/// What else of an endpoint listens at the address of an `outboundTcp`; of two of them, the second is at fault.
pub(super) fn taken(endpoint: &ServiceEndpoint, at: usize) -> Option<&'static str> {
    let own = &endpoint.outbound_tcp.get(at)?.address;
    let others = [
        ("`sidecar`", &endpoint.sidecar),
        ("`outbound`", &endpoint.outbound),
        ("`admin`", &endpoint.admin),
    ];
    let other = others.into_iter().find(|(_, other)| other.as_ref() == Some(own));
    let before = || endpoint.outbound_tcp.iter().take(at).any(|one| one.address == *own);
    other.map(|(name, _)| name).or_else(|| before().then_some("another `outboundTcp`"))
}

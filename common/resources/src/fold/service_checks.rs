//! What is checked of services that a schema cannot express: their ports, and the addresses at which their sidecars listen.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::ports::{application, is_meshed};
use super::tcp::{CODE as TCP, MISSING, idle_fault, taken};
use super::{ACCEPTED, Fold, RESOLVED};
use crate::document::Document;
use crate::kinds::{ServiceEndpoint, ServiceSpec};
use crate::plan::AddressPlan;

/// The code of a `udp` port.
const UDP: &str = "service.udp";
const CAPTURE: &str = "service.capture";
const MTLS: &str = "service.mtls";

impl<'a> Fold<'a> {
    /// Checks what a schema cannot express about services.
    pub(super) fn check_services(&mut self) {
        let listeners = self.proxy_listeners();
        self.check_applications(&listeners);
        for (document, spec) in self.all::<ServiceSpec>() {
            let mut seen = Vec::new();
            for (at, port) in spec.ports.iter().enumerate() {
                let before = spec.ports.iter().take(at);
                if let Some(name) = &port.name
                    && before.into_iter().any(|other| other.name.as_ref() == Some(name))
                {
                    let message = format!("two ports have the name `{name}`; write another");
                    let pointer = format!("/spec/ports/{at}/name");
                    let problem = document.problem("service.ports", &pointer, message);
                    self.fail(document, ACCEPTED, "Invalid", problem);
                }
                if seen.contains(&(port.port, port.is_udp())) {
                    let message = format!("port {} is listed twice; keep one", port.port);
                    let problem = document.problem(
                        "service.ports",
                        &format!("/spec/ports/{at}/port"),
                        message,
                    );
                    self.fail(document, ACCEPTED, "Invalid", problem);
                }
                seen.push((port.port, port.is_udp()));
            }
            self.check_tcp(document, spec);
            self.check_capture(document, spec);
            if !is_meshed(spec) {
                continue;
            }
            if spec.ports.iter().skip(1).any(|port| !port.is_unread()) {
                let message =
                    "of a service with sidecars, only the first port may be other than tcp";
                let problem = document
                    .problem("service.ports", "/spec/ports", message)
                    .help("write this port first, and one Service for each further port");
                self.fail(document, ACCEPTED, "Invalid", problem);
            }
            if spec.identity.is_none() {
                let message = "a service with sidecars needs `identity`: the mesh uses only mTLS";
                let problem = document.problem("service.identity", "/spec", message).help(
                    "write `identity`, a SPIFFE id; its sidecars prove it with the SVID that they join the mesh with, or with the files in `tls`",
                );
                self.fail(document, ACCEPTED, "Invalid", problem);
            }
        }
    }

    /// Checks the `tcp` ports of a service, and the ports that its application calls.
    fn check_tcp(&mut self, document: &'a Document, spec: &'a ServiceSpec) {
        let mut wrong = faults(spec);
        for (at, endpoint) in spec.endpoints.iter().enumerate() {
            let base = format!("/spec/endpoints/{at}");
            missing_addresses(spec, endpoint, &base, &mut wrong);
            if endpoint.sidecar.is_none() && !endpoint.outbound_tcp.is_empty() {
                wrong.push(Fault {
                    code: TCP,
                    pointer: format!("{base}/outboundTcp"),
                    message: "an endpoint without `sidecar` has nothing that could accept these"
                        .to_owned(),
                    help: "write `sidecar`, or remove `outboundTcp`",
                });
            }
            for (nth, declared) in endpoint.outbound_tcp.iter().enumerate() {
                let pointer = format!("{base}/outboundTcp/{nth}");
                if let Some(other) = taken(endpoint, nth) {
                    wrong.push(Fault {
                        code: TCP,
                        pointer: format!("{pointer}/address"),
                        message: format!("{} is also the address of {other}", declared.address),
                        help: "give each listener of a sidecar an address of its own",
                    });
                }
                if let Err((code, message)) = self.callee(document, declared) {
                    let mut problem = document
                        .problem(code, &format!("{pointer}/name"), message)
                        .help("write name, namespace and number of a port with `protocol: tcp`; until then nothing listens there");
                    if code == MISSING {
                        let own = &document.metadata.namespace;
                        let namespace = declared.namespace.as_ref().unwrap_or(own);
                        problem = problem.lacks(format!("Service/{namespace}/{}", declared.name));
                    }
                    self.fail(document, RESOLVED, "BackendNotFound", problem);
                }
            }
        }
        wrong.extend(udp_faults(spec));
        wrong.extend(mtls_fault(spec));
        for Fault { code, pointer, message, help } in wrong {
            let problem = document.problem(code, &pointer, message).help(help);
            self.fail(document, ACCEPTED, "Invalid", problem);
        }
    }

    /// Checks the addresses of captured connections.
    fn check_capture(&mut self, document: &'a Document, spec: &'a ServiceSpec) {
        for (at, endpoint) in spec.endpoints.iter().enumerate() {
            let Some(capture) = &endpoint.capture else { continue };
            let base = format!("/spec/endpoints/{at}/capture");
            let mut wrong = Vec::new();
            if endpoint.sidecar.is_none() {
                wrong.push((
                    base.clone(),
                    "an endpoint without `sidecar` has nothing that could take connections"
                        .to_owned(),
                    "write `sidecar`, or remove `capture`",
                ));
            }
            for (field, list) in [("outbound", &capture.outbound), ("dns", &capture.dns)] {
                for (nth, text) in list.iter().enumerate() {
                    let Some(message) = capture_fault(endpoint, list, nth) else { continue };
                    let help = "write a loopback address of its own, with a port: \"127.0.0.1:15001\", and for IPv6 \"[::1]:15001\"";
                    wrong.push((
                        format!("{base}/{field}/{nth}"),
                        format!("`{text}` {message}"),
                        help,
                    ));
                }
            }
            for (pointer, message, help) in wrong {
                let problem = document.problem(CAPTURE, &pointer, message).help(help);
                self.fail(document, ACCEPTED, "Invalid", problem);
            }
        }
    }
}

/// A fault in a document, and the way out.
struct Fault {
    code: &'static str,
    pointer: String,
    message: String,
    help: &'static str,
}

/// The faults of the list of ports.
fn faults(spec: &ServiceSpec) -> Vec<Fault> {
    let mut wrong = Vec::new();
    let bare = spec.endpoints.iter().any(|endpoint| endpoint.sidecar.is_none());
    for (at, port) in spec.ports.iter().enumerate() {
        let mut fault = |field: &str, message: String, help| {
            let pointer = format!("/spec/ports/{at}/{field}");
            wrong.push(Fault { code: TCP, pointer, message, help });
        };
        if port.is_tcp() && port.proxy_protocol.is_some() && bare {
            let message = format!(
                "sidecars write the PROXY header, and an endpoint of port {} has none",
                port.port
            );
            fault("proxyProtocol", message, "write `sidecar` in each endpoint, or remove it");
        }
        let fields = [
            ("idleTimeout", port.idle_timeout.is_some()),
            ("maxConnections", port.max_connections.is_some()),
            ("proxyProtocol", port.proxy_protocol.is_some()),
        ];
        for (field, _) in fields.into_iter().filter(|(_, written)| *written && !port.is_tcp()) {
            let message = format!("port {} is not tcp, and `{field}` is for tcp ports", port.port);
            fault(field, message, "remove it; an UpstreamPolicy has the limits of HTTP");
        }
        if let Some(message) = port.idle_timeout.and_then(idle_fault) {
            fault("idleTimeout", message, "write a duration within these bounds");
        }
    }
    wrong
}

/// What is wrong with the `udp` ports of a service: gateways alone carry them, and to addresses.
fn udp_faults(spec: &ServiceSpec) -> Vec<Fault> {
    let mut wrong = Vec::new();
    for (at, port) in spec.ports.iter().enumerate().filter(|(_, port)| port.is_udp()) {
        if spec.endpoints.iter().any(|endpoint| endpoint.sidecar.is_some()) {
            wrong.push(Fault {
                code: UDP,
                pointer: format!("/spec/ports/{at}/protocol"),
                message: format!(
                    "sidecars carry no UDP, and an endpoint of port {} has one",
                    port.port
                ),
                help: "write a Service of its own for the udp port, with endpoints without `sidecar`",
            });
        }
        for (nth, endpoint) in spec.endpoints.iter().enumerate() {
            let Some(AddressPlan::Unix(path)) = application(spec, endpoint, port.port) else {
                continue;
            };
            wrong.push(Fault {
                code: UDP,
                pointer: format!("/spec/endpoints/{nth}/address"),
                message: format!("port {} is udp, and unix:{path} takes no UDP", port.port),
                help: "write `IP:PORT` or `host.name:PORT`",
            });
        }
    }
    wrong
}

/// What is wrong with `mtls`: sidecars alone know who connects, so without one it says what nobody keeps.
fn mtls_fault(spec: &ServiceSpec) -> Option<Fault> {
    let bare = spec.endpoints.iter().position(|endpoint| endpoint.sidecar.is_none());
    let (mtls, at) = spec.mtls.zip(bare)?;
    Some(Fault {
        code: MTLS,
        pointer: "/spec/mtls".to_owned(),
        message: format!(
            "`mtls: {mtls}` is for sidecars, and endpoint {at} has none: whoever connects there is asked for nothing"
        ),
        help: "write `sidecar` in each endpoint, or remove `mtls`; until then the sidecars of the others are strict",
    })
}

/// The ports of which an endpoint does not say where they are, and the addresses of ports that the service does not have.
fn missing_addresses(
    spec: &ServiceSpec,
    endpoint: &ServiceEndpoint,
    base: &str,
    wrong: &mut Vec<Fault>,
) {
    let wanted: BTreeSet<u16> =
        spec.ports.iter().skip(1).filter(|port| port.is_unread()).map(|port| port.port).collect();
    // A `tcp` and a `udp` port of one number are at one address.
    let first = spec.ports.first().map(|port| port.port);
    let wanted: BTreeSet<u16> = wanted.into_iter().filter(|port| Some(*port) != first).collect();
    let mut seen = BTreeSet::new();
    for (at, one) in endpoint.ports.iter().enumerate() {
        let pointer = format!("{base}/ports/{at}/port");
        if !wanted.contains(&one.port) {
            wrong.push(Fault {
                code: TCP,
                pointer,
                message: format!(
                    "port {} is not a tcp or udp port of the service after its first port",
                    one.port
                ),
                help: "remove it; the first port is at `address`",
            });
        } else if !seen.insert(one.port) {
            wrong.push(Fault {
                code: TCP,
                pointer,
                message: format!("port {} is listed twice; keep one", one.port),
                help: "an endpoint has one address for each port",
            });
        }
    }
    for port in wanted.difference(&seen) {
        wrong.push(Fault {
            code: TCP,
            pointer: format!("{base}/address"),
            message: format!("the endpoint does not say where its port {port} is"),
            help: "add it under `ports` of the endpoint: `{ port: 5432, address: \"127.0.0.1:5432\" }`",
        });
    }
}

/// What is wrong with an address of captured connections.
fn capture_fault(endpoint: &ServiceEndpoint, list: &[String], at: usize) -> Option<&'static str> {
    let text = list.get(at)?;
    let Ok(address) = text.parse::<SocketAddr>() else {
        return Some("is not an IP address with a port");
    };
    let same = |other: &&String| {
        other.parse().is_ok_and(|other: SocketAddr| other.is_ipv4() == address.is_ipv4())
    };
    let others = [&endpoint.sidecar, &endpoint.outbound, &endpoint.admin].into_iter().flatten();
    let mut others = others.chain(endpoint.outbound_tcp.iter().map(|one| &one.address));
    if !address.ip().is_loopback() || address.port() == 0 {
        Some(
            "is no loopback address with a port: from elsewhere anybody could connect with the identity of the service",
        )
    } else if list.iter().take(at).any(|other| same(&other)) {
        Some("is the second address of its family")
    } else if others.any(|other| other == text) || in_both(endpoint, text) {
        Some("is the address of another listener of this endpoint")
    } else {
        None
    }
}

/// Whether an address for DNS is also one for captured connections. The kernel would distinguish the two, and people would not.
fn in_both(endpoint: &ServiceEndpoint, text: &String) -> bool {
    let capture = endpoint.capture.as_ref();
    capture.is_some_and(|it| it.outbound.contains(text) && it.dns.contains(text))
}

//! Sockets of the proxy, without their chains.

use super::acme_listener::wrong_acme;
use super::ports::{application, is_wholly_meshed, local_name, request_ports, tcp_ports};
use super::socket::{Socket, socket};
use super::streams::StreamRoutes;
use super::tcp::{OutboundPort, idle_fault, listener_plan};
use super::{ACCEPTED, Fold, IdentityProof, PlannedProxy, RESOLVED};
use crate::access_rule::prefix;
use crate::document::Document;
use crate::format::Millis;
use crate::kinds::{
    ClientAddressField, GatewaySpec, InterimResponses, Listener, ListenerProtocol, ListenerReasons,
    ListenerTls, ListenerTlsMode, ServiceSpec,
};
use crate::plan::{
    ClientAddressPlan, Http3Plan, ListenerAcmePlan, ListenerFilesPlan, ListenerRulesPlan,
    PlaintextPlan, TlsPlan, TrafficDirection,
};

impl<'a> Fold<'a> {
    pub(super) fn listeners(
        &mut self,
        place: &PlannedProxy<'a>,
        streams: &StreamRoutes<'a>,
    ) -> Vec<Socket<'a>> {
        match place {
            PlannedProxy::Gateway(document, spec) => self.gateway(document, spec, streams),
            PlannedProxy::Sidecar(document, spec, index) => {
                self.check_upgrades(
                    document,
                    spec.upgrades.as_deref(),
                    "/spec/upgrades",
                    "Invalid",
                );
                let rules = || ListenerRulesPlan {
                    upgrades: upgrades(spec.upgrades.as_deref()),
                    ..ListenerRulesPlan::default()
                };
                let endpoint = spec.endpoints.get(*index);
                // Without an identity there is no inbound socket: the mesh never accepts clear text.
                let inbound = endpoint.and_then(|one| one.sidecar.clone()).zip(place.proof());
                let plaintext = plaintext(document, spec);
                let inbound = inbound.map(|(address, proof)| {
                    let tls = match proof {
                        IdentityProof::Svid(id) => TlsPlan::Svid { svid: id.to_owned() },
                        IdentityProof::Files(files) => TlsPlan::Files(ListenerFilesPlan {
                            certificate: files.certificate.clone(),
                            key: files.key.clone(),
                            client_ca: Some(files.ca.clone()),
                        }),
                    };
                    socket(
                        ("inbound", address),
                        Some(tls),
                        TrafficDirection::Inbound,
                        rules(),
                        None,
                    )
                });
                let outbound = endpoint.and_then(|one| one.outbound.clone()).map(|address| {
                    socket(("outbound", address), None, TrafficDirection::Outbound, rules(), None)
                });
                let tcp = self.tcp_listeners(place, inbound.as_ref(), plaintext.as_ref());
                let captured = self.captured_listeners(place, &rules());
                // Requests go to the application only where it has a port for them.
                let mut inbound = inbound.filter(|_| !request_ports(spec).is_empty());
                if let Some(inbound) = &mut inbound {
                    inbound.plan.plaintext = plaintext;
                }
                inbound.into_iter().chain(outbound).chain(tcp).chain(captured).collect()
            }
        }
    }

    /// The listeners of `tcp` ports: each port of the service at the address of `inbound`, and each that the application
    /// calls.
    fn tcp_listeners(
        &self,
        place: &PlannedProxy<'a>,
        inbound: Option<&Socket<'a>>,
        plaintext: Option<&PlaintextPlan>,
    ) -> Vec<Socket<'a>> {
        let PlannedProxy::Sidecar(document, spec, index) = place else { return Vec::new() };
        let Some(endpoint) = spec.endpoints.get(*index) else { return Vec::new() };
        let (key, mut sockets) = (document.key(), Vec::new());
        for port in inbound.into_iter().flat_map(|_| tcp_ports(spec)) {
            let known = application(spec, endpoint, port.port).is_some();
            let Some(inbound) = inbound.filter(|_| known) else { continue };
            let (number, service) = (port.port, local_name(&key, port.port));
            let mut plan = inbound.plan.clone();
            plan.name = format!("inbound:{number}");
            plan.rules = ListenerRulesPlan::default();
            plan.tcp = Some(port.tcp_plan(service, Some(number)));
            plan.plaintext = plaintext.filter(|it| it.port == number).cloned();
            sockets.push(Socket { plan, listener: None });
        }
        for OutboundPort { declared, key, port } in self.called(place) {
            let (namespace, name) = key.split_once('/').unwrap_or_default();
            let listener = format!("outbound:{name}.{namespace}:{}", port.port);
            let (address, rules) = (declared.address.clone(), ListenerRulesPlan::default());
            let named = (listener.as_str(), address);
            let mut socket = socket(named, None, TrafficDirection::Outbound, rules, None);
            socket.plan.tcp = Some(port.tcp_plan(format!("{key}:{}", port.port), None));
            sockets.push(socket);
        }
        sockets
    }

    fn gateway(
        &mut self,
        document: &'a Document,
        spec: &'a GatewaySpec,
        streams: &StreamRoutes<'a>,
    ) -> Vec<Socket<'a>> {
        let host = spec.addresses.first().map_or("127.0.0.1", |one| one.value.as_str());
        let Ok(ip) = host.parse::<std::net::IpAddr>() else {
            let message = format!("`{host}` is not an IP address");
            let problem = document.problem("gateway.address", "/spec/addresses/0/value", message);
            self.fail(document, ACCEPTED, "UnsupportedAddress", problem);
            return Vec::new();
        };
        let mut sockets: Vec<Socket<'a>> = Vec::new();
        for (at, listener) in spec.listeners.iter().enumerate() {
            let wrong = wrong_acme(spec, listener).or_else(|| wrong_tls(listener));
            let before = spec.listeners.iter().take(at).enumerate();
            let mut taken =
                before.filter_map(|(nth, other)| Some((nth, conflict(other, listener)?)));
            let problem = match (wrong, taken.next()) {
                (Some(message), _) => Some(document.problem(
                    "gateway.listener",
                    &format!("/spec/listeners/{at}"),
                    message,
                )),
                (None, Some((first, Conflict { field, message, help }))) => {
                    let pointer = format!("/spec/listeners/{at}/{field}");
                    let first = format!("/spec/listeners/{first}/{field}");
                    let problem =
                        document.problem("gateway.conflict", &pointer, message).help(help);
                    Some(problem.also([document.place(&first, "this one listens")]))
                }
                (None, None) => None,
            };
            if let Some(problem) = problem {
                self.fail(document, ACCEPTED, "ListenersNotValid", problem);
                continue;
            }
            if !self.is_client_known(document, listener, at) {
                continue;
            }
            if !self.is_of_protocol(document, listener, at) {
                continue;
            }
            let tls = listener.tls.as_ref().and_then(|tls| end_of(listener, tls));
            let pointer = format!("/spec/listeners/{at}/upgrades");
            self.check_upgrades(
                document,
                listener.upgrades.as_deref(),
                &pointer,
                "ListenersNotValid",
            );
            let address = std::net::SocketAddr::new(ip, listener.port).to_string();
            let named = (listener.name.as_str(), address);
            let rules = rules(&spec.listeners, listener, ip);
            let mut socket = socket(named, tls, TrafficDirection::Gateway, rules, Some(listener));
            socket.plan.tcp = listener
                .is_unread()
                .then(|| listener_plan(listener, streams.of(document, listener)));
            sockets.push(socket);
        }
        sockets
    }

    /// Names the fields that the protocol of a listener has no use for. Such a listener does not listen: somebody wanted
    /// what it cannot do.
    fn is_of_protocol(&mut self, document: &Document, listener: &Listener, at: usize) -> bool {
        let place = |field: &str| format!("/spec/listeners/{at}/{field}");
        let protocol = listener.protocol;
        let of_requests = [
            ("upgrades", listener.upgrades.is_some()),
            ("reasons", listener.reasons.is_some()),
            ("grpcWeb", listener.grpc_web.is_some()),
            ("interimResponses", listener.interim_responses.is_some()),
            ("paths", listener.paths.is_some()),
            ("clientAddress", listener.client_address.is_some()),
            ("http3", listener.http3.is_some()),
        ];
        let of_connections = [
            ("idleTimeout", listener.idle_timeout.is_some()),
            ("maxConnections", listener.max_connections.is_some()),
        ];
        let (stray, what): (&[_], _) = if listener.is_unread() {
            (&of_requests, "for requests, which a listener of this protocol does not read")
        } else {
            (&of_connections, "for listeners with protocol TLS, TCP or UDP")
        };
        let mut wrong: Vec<(String, String)> = stray
            .iter()
            .filter(|(_, written)| *written)
            .map(|(field, _)| (place(field), format!("`{field}` is {what}")))
            .collect();
        if protocol == ListenerProtocol::TCP && listener.hostname.is_some() {
            let message = "connections of a TCP listener name no host; remove it, or write TLS";
            wrong.push((place("hostname"), message.to_owned()));
        }
        if protocol == ListenerProtocol::UDP && listener.hostname.is_some() {
            let message = "datagrams of a UDP listener name no host; remove it";
            wrong.push((place("hostname"), message.to_owned()));
        }
        if protocol == ListenerProtocol::UDP && listener.proxy_protocol.is_some() {
            let message = "load balancers write no PROXY header over UDP; remove it";
            wrong.push((place("proxyProtocol"), message.to_owned()));
        }
        wrong.extend(http3_faults(listener).map(|(field, message)| (place(field), message)));
        let idle = listener.idle_timeout.filter(|_| listener.is_unread()).and_then(idle_fault);
        wrong.extend(idle.map(|message| (place("idleTimeout"), message)));
        let sound = wrong.is_empty();
        for (pointer, message) in wrong {
            let problem = document.problem("gateway.listener", &pointer, message);
            self.fail(document, ACCEPTED, "ListenersNotValid", problem);
        }
        let kinds = listener.allowed_routes.as_ref().map(|it| it.kinds.as_slice());
        for (nth, one) in kinds.unwrap_or_default().iter().enumerate() {
            if protocol.route_kinds().contains(&one.kind) {
                continue;
            }
            let fitting: Vec<String> =
                protocol.route_kinds().iter().map(ToString::to_string).collect();
            let fitting = fitting.join(" and ");
            let message = format!("a {protocol} listener accepts {fitting} and no {}", one.kind);
            let pointer = place(&format!("allowedRoutes/kinds/{nth}/kind"));
            let problem = document.problem("gateway.listener", &pointer, message);
            self.fail(document, RESOLVED, "InvalidRouteKinds", problem);
        }
        sound
    }

    /// Names what is wrong with `clientAddress` and `proxyProtocol`. Such a listener does not listen: filters
    /// would see the addresses of proxies, which may have rights that no client has.
    fn is_client_known(&mut self, document: &Document, listener: &Listener, at: usize) -> bool {
        let place = |field: &str| format!("/spec/listeners/{at}/{field}");
        let (client, senders) = (&listener.client_address, &listener.proxy_protocol);
        let lists = [
            (client.as_ref().and_then(|it| it.trusted.as_deref()), "clientAddress/trusted"),
            (senders.as_ref().map(|it| it.trusted.as_slice()), "proxyProtocol/trusted"),
        ];
        let mut wrong = Vec::new();
        for (list, field) in lists {
            for (nth, text) in list.unwrap_or_default().iter().enumerate() {
                if let Err(rule) = prefix(text) {
                    wrong.push((place(&format!("{field}/{nth}")), format!("`{text}`: {rule}")));
                }
            }
        }
        if client.as_ref().is_some_and(|it| it.trusted.is_none() && it.hops.is_none()) {
            let message = "write `trusted` addresses or prefixes, `hops`, or both";
            wrong.push((place("clientAddress"), message.to_owned()));
        }
        let sound = wrong.is_empty();
        for (pointer, message) in wrong {
            let problem = document.problem("gateway.client-address", &pointer, message);
            self.fail(document, ACCEPTED, "ListenersNotValid", problem);
        }
        sound
    }

    /// Names protocols that nothing may be upgraded to.
    fn check_upgrades(
        &mut self,
        document: &Document,
        names: Option<&[String]>,
        pointer: &str,
        reason: &str,
    ) {
        for (nth, name) in names.unwrap_or_default().iter().enumerate() {
            if !may_be_upgraded_to(name) {
                let message = format!(
                    "a listener must not tunnel `{name}`: HTTP or TLS in a tunnel would bypass the filters"
                );
                let pointer = format!("{pointer}/{nth}");
                let problem = document.problem("gateway.upgrade", &pointer, message);
                self.fail(document, ACCEPTED, reason, problem);
            }
        }
    }
}

/// How long clients may remember that a listener serves HTTP/3: the least, the most, and the default in milliseconds.
const HTTP3_AGE: (Millis, Millis, Millis) =
    (Millis(1_000), Millis(720 * 3_600_000), Millis(24 * 3_600_000));

/// What is wrong with the HTTP/3 of a listener, each with its field.
fn http3_faults(listener: &Listener) -> impl Iterator<Item = (&'static str, String)> {
    let http3 = listener.http3.as_ref().filter(|_| !listener.is_unread());
    let clear = http3.filter(|_| listener.protocol == ListenerProtocol::HTTP).map(|_| {
        let message = "HTTP/3 has TLS in it; write protocol HTTPS and `tls`, or remove `http3`";
        ("http3", message.to_owned())
    });
    let headed = http3.filter(|_| listener.proxy_protocol.is_some()).map(|_| {
        let message = "load balancers write no PROXY header over UDP, so `proxyProtocol` and `http3` exclude each other; remove one of them, or serve HTTP/3 at a port of its own";
        ("http3", message.to_owned())
    });
    let (least, most, _) = HTTP3_AGE;
    let age = http3.and_then(|http3| http3.max_age).filter(|age| !(least..=most).contains(age));
    let age = age.map(|age| ("http3/maxAge", format!("maxAge must be from 1s to 720h, not {age}")));
    clear.into_iter().chain(headed).chain(age)
}

/// The plan of HTTP/3.
fn http3(listener: &Listener) -> Option<Http3Plan> {
    let http3 = listener.http3.as_ref()?;
    let (_, _, default) = HTTP3_AGE;
    let seconds = http3.max_age.unwrap_or(default).0 / 1_000;
    Some(Http3Plan { advertised_for: http3.advertise.unwrap_or(true).then_some(seconds) })
}

/// What is wrong with the TLS of a listener.
fn wrong_tls(listener: &Listener) -> Option<&'static str> {
    use ListenerProtocol::{HTTP, HTTPS, TCP, TLS, UDP};
    let tls = listener.tls.as_ref();
    let passes = |tls: &ListenerTls| tls.mode == Some(ListenerTlsMode::Passthrough);
    let written = |tls: &ListenerTls| {
        tls.certificate.is_some()
            || tls.key.is_some()
            || tls.client_ca.is_some()
            || tls.acme.is_some()
    };
    match (listener.protocol, tls) {
        (HTTPS, None) => Some("an HTTPS listener needs `tls`"),
        (TLS, None) => Some("a TLS listener needs `tls`; with `mode: Passthrough` no certificate"),
        (HTTP, Some(_)) => Some("an HTTP listener has no `tls`; write HTTPS"),
        (TCP, Some(_)) => Some("a TCP listener has no `tls`; write TLS"),
        (UDP, Some(_)) => Some("a UDP listener has no `tls`; remove it"),
        (HTTPS, Some(tls)) if passes(tls) => Some(
            "HTTPS ends TLS at the gateway, since requests are read there; to carry connections on as they are, write protocol TLS",
        ),
        (TLS, Some(tls)) if passes(tls) && written(tls) => Some(
            "with `mode: Passthrough` TLS ends at the service, so `certificate`, `key`, `clientCa` and `acme` have no use here",
        ),
        (HTTPS | TLS, Some(tls)) if !passes(tls) && end_of(listener, tls).is_none() => {
            Some("`tls` needs `certificate` and `key`, or `acme`")
        }
        (HTTPS | TLS, Some(_)) | (HTTP | TCP | UDP, None) => None,
    }
}

/// The certificate of a listener that ends TLS.
fn end_of(listener: &Listener, tls: &ListenerTls) -> Option<TlsPlan> {
    if tls.acme.is_some() {
        let (host, client_ca) = (listener.hostname.clone()?, tls.client_ca.clone());
        return Some(TlsPlan::Acme(ListenerAcmePlan { host, client_ca }));
    }
    Some(TlsPlan::Files(ListenerFilesPlan {
        certificate: tls.certificate.clone()?,
        key: tls.key.clone()?,
        client_ca: tls.client_ca.clone(),
    }))
}

/// The protocols of a list that may be upgraded to; those of the reference when there is no list.
fn upgrades(names: Option<&[String]>) -> Vec<String> {
    match names {
        Some(names) => names.iter().filter(|name| may_be_upgraded_to(name)).cloned().collect(),
        None => ListenerRulesPlan::default().upgrades,
    }
}

/// The port that a service serves in plain text too. Plain text names no port, so it is the first, as for requests.
fn plaintext(document: &Document, spec: &ServiceSpec) -> Option<PlaintextPlan> {
    let first = spec.ports.first().filter(|port| !port.is_udp())?;
    let holds = spec.is_permissive() && is_wholly_meshed(spec);
    holds.then(|| PlaintextPlan { service: document.key(), port: first.port })
}

/// Why two listeners of a gateway cannot both listen, and the field by which they differ too little or too much.
struct Conflict {
    field: &'static str,
    message: String,
    help: &'static str,
}

fn is_udp(listener: &Listener) -> bool {
    listener.protocol == ListenerProtocol::UDP
}

/// The conflict of a listener with one before it. A port may have several listeners of one protocol, which hosts tell
/// apart: over TLS those of handshakes, in clear text those of requests.
fn conflict(first: &Listener, second: &Listener) -> Option<Conflict> {
    let port = second.port;
    let (field, message, help) = if first.name == second.name {
        let message = format!("another listener is named `{}`", second.name);
        ("name", message, "write another name: each name of a listener must be unique")
    } else if first.port != port {
        return None;
    } else if is_udp(first) != is_udp(second) {
        let http3 = if is_udp(first) { second } else { first };
        http3.http3.as_ref()?;
        let message = format!("UDP port {port} is that of the HTTP/3 of listener `{}`", http3.name);
        ("port", message, "write another port, or remove `http3`")
    } else if first.protocol != second.protocol {
        let message = format!("port {port} has another protocol in another listener");
        ("protocol", message, "a port has one protocol over TCP; write another port")
    } else if is_udp(second) {
        let message = format!("port {port} has another listener for UDP");
        ("port", message, "a port has one UDP listener; write another port")
    } else if second.protocol == ListenerProtocol::TCP {
        let message = format!(
            "port {port} has another listener, and nothing distinguishes their connections"
        );
        ("port", message, "a port has one TCP listener; write another port")
    } else if first.hostname == second.hostname {
        let host = second
            .hostname
            .as_deref()
            .map_or_else(|| "for all hosts".to_owned(), |host| format!("for `{host}`"));
        let message = format!("port {port} has another listener {host}");
        let field = if first.hostname.is_some() { "hostname" } else { "port" };
        (
            field,
            message,
            "the listeners of a port need different hostnames, and one of them may have none",
        )
    } else if first.proxy_protocol != second.proxy_protocol {
        let message = format!("port {port} has other `proxyProtocol` in another listener");
        let help = "the PROXY header comes before any host; write the same `proxyProtocol` in each listener of the port";
        ("port", message, help)
    } else {
        return None;
    };
    Some(Conflict { field, message, help })
}

/// Those hosts of a listener that others of its port have: an exact host comes before a wildcard, a longer wildcard before
/// a shorter one, and no hostname is the last (Gateway API, `Listener`). A listener that does not listen counts too: its
/// hosts must not get to another one, with other filters.
fn elsewhere(all: &[Listener], listener: &Listener) -> Vec<String> {
    let own = listener.hostname.as_deref();
    let has = |host: &String| match own {
        None => true,
        Some(own) => own.strip_prefix('*').is_some_and(|end| host != own && host.ends_with(end)),
    };
    let others = all
        .iter()
        .filter(|other| other.port == listener.port && other.protocol == listener.protocol);
    let hosts = others.filter_map(|other| other.hostname.clone());
    let mut hosts: Vec<String> = hosts.filter(has).collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

/// The listener's rules, with the documented defaults.
fn rules(all: &[Listener], listener: &Listener, ip: std::net::IpAddr) -> ListenerRulesPlan {
    let known = ListenerRulesPlan::default();
    // Whoever can reach a loopback address is on this machine already.
    let reasons = if ip.is_loopback() { ListenerReasons::Show } else { ListenerReasons::Hide };
    let paths = listener.paths.as_ref();
    ListenerRulesPlan {
        upgrades: upgrades(listener.upgrades.as_deref()),
        reasons: listener.reasons.unwrap_or(reasons),
        grpc_web: listener.grpc_web.unwrap_or(known.grpc_web),
        interim_responses: listener.interim_responses.unwrap_or(InterimResponses::Http2),
        empty_segments: paths.and_then(|it| it.empty_segments).unwrap_or(known.empty_segments),
        escaped_slashes: paths.and_then(|it| it.escaped_slashes).unwrap_or(known.escaped_slashes),
        parameters: paths.and_then(|it| it.parameters).unwrap_or(known.parameters),
        escapes: paths.and_then(|it| it.escapes).unwrap_or(known.escapes),
        client_address: listener.client_address.as_ref().map(|client| ClientAddressPlan {
            field: client.field.unwrap_or(ClientAddressField::XForwardedFor),
            trusted: client.trusted.clone(),
            hops: client.hops,
        }),
        hostname: listener.hostname.clone(),
        elsewhere: elsewhere(all, listener),
        proxy_protocol: listener.proxy_protocol.as_ref().map(|it| it.trusted.clone()),
        http3: http3(listener),
    }
}

/// Whether a listener may tunnel a protocol: a name, with or without a version, that is not HTTP, TLS or a
/// proxy protocol. The proxy has the same list and decides in the end.
fn may_be_upgraded_to(name: &str) -> bool {
    const NEVER: [&str; 11] =
        ["http", "shttp", "s-http", "h2", "h3", "hq", "spdy", "tls", "ssl", "quic", "connect"];
    let lower = name.to_ascii_lowercase();
    let known = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_');
    let token = |part: &str| !part.is_empty() && part.bytes().all(known);
    let parts: Vec<&str> = lower.split('/').collect();
    lower.len() <= 64
        && parts.len() <= 2
        && parts.iter().all(|part| token(part))
        && !NEVER.iter().any(|never| lower.starts_with(never))
}

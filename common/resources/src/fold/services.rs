//! Services as this proxy reaches them.

use std::collections::BTreeMap;

use super::backend_tls::BackendTls;
use super::ports::{application, local_name, protocol, request_ports, tcp_ports, unread_name};
use super::proxy_listeners::ProxyListeners;
use super::streams::StreamRoutes;
use super::{Claim, Fold, IdentityProof, PlannedProxy, RESOLVED, address};
use crate::document::Document;
use crate::kinds::{ServiceEndpoint, ServicePort, ServiceSpec, UpstreamPolicySpec};
use crate::plan::{
    AddressPlan, EndpointPlan, MemberFilesPlan, MemberTlsPlan, PolicyPlan, ProtocolPlan,
    ServicePlan, UpstreamTlsPlan,
};

impl<'a> Fold<'a> {
    /// All services; the local one first. Of `tcp` ports, only those that this proxy's application calls, which are all
    /// if its connections are captured, and of a gateway those that its routes lead to.
    pub(super) fn services(
        &mut self,
        place: &PlannedProxy<'a>,
        streams: &StreamRoutes<'a>,
    ) -> Vec<ServicePlan> {
        let policies = self.policies();
        let backend_tls = self.backend_tls();
        let policy = |key: &str| policies.get(key).cloned().unwrap_or_default();
        let listeners = self.proxy_listeners();
        let mut plans = applications(place, &policy, &listeners);
        let called = self.called(place).into_iter().map(|one| (one.key, one.port));
        let called: Vec<(String, &ServicePort)> =
            called.chain(self.captured_ports(place)).chain(streams.ports(place)).collect();
        let mut unreachable = None;
        for (document, spec) in self.all::<ServiceSpec>() {
            let key = document.key();
            let mut endpoints = Vec::new();
            let is_open = |endpoint: &&ServiceEndpoint| {
                endpoint.sidecar.is_some()
                    || !listeners.take(document, endpoint, &address(&endpoint.address))
            };
            for endpoint in spec.endpoints.iter().filter(is_open) {
                match reach(place, document, spec, endpoint) {
                    Ok(plan) => endpoints.push(plan),
                    Err(NoIdentity::Ours) => unreachable = Some(key.clone()),
                    // Already reported as a problem of the service.
                    Err(NoIdentity::Theirs) => {}
                }
            }
            let meshed = !endpoints.is_empty() && endpoints.iter().all(|one| one.tls.is_some());
            let mut unread: Vec<&ServicePort> =
                called.iter().filter(|(one, _)| *one == key).map(|(_, port)| *port).collect();
            unread.sort_by_key(|port| (port.port, port.is_udp()));
            unread.dedup_by_key(|port| (port.port, port.is_udp()));
            for port in unread {
                let mut endpoints = carried(place, (document, spec), port, &listeners);
                if backend_tls.of(&key, port).is_some() {
                    // Connections are carried as they are, and the policy wants TLS.
                    endpoints.clear();
                }
                plans.push(ServicePlan {
                    name: unread_name(&key, port),
                    protocol: protocol(port.protocol, port.port),
                    endpoints,
                    policy: policy(&key),
                });
            }
            for port in request_ports(spec) {
                plans.push(ServicePlan {
                    name: format!("{key}:{}", port.port),
                    protocol: if meshed {
                        ProtocolPlan::Http2
                    } else {
                        protocol(port.protocol, port.port)
                    },
                    endpoints: reached(&endpoints, backend_tls.of(&key, port)),
                    policy: policy(&key),
                });
            }
        }
        plans.extend(self.external_services(place));
        if let (Some(service), PlannedProxy::Gateway(document, _)) = (unreachable, place) {
            let message =
                format!("the gateway has no `identity` to prove, so it cannot reach {service}");
            let problem = document
                .problem("node.identity", "/spec", message)
                .help("write spec.identity; the gateway proves it with the SVID that it joins the mesh with, or with the files in spec.tls");
            self.fail(document, RESOLVED, "InvalidCertificateRef", problem);
        }
        plans
    }

    /// The `tcp` ports that a sidecar must reach because its application may connect to any.
    fn captured_ports(&self, place: &PlannedProxy<'a>) -> Vec<(String, &'a ServicePort)> {
        if place.capture().is_none() {
            return Vec::new();
        }
        let services = self.all::<ServiceSpec>().into_iter();
        let ports = services
            .flat_map(|(document, spec)| tcp_ports(spec).map(move |port| (document.key(), port)));
        ports.collect()
    }

    fn policies(&mut self) -> BTreeMap<String, PolicyPlan> {
        let mut claims = Vec::new();
        let mut found = Vec::new();
        for (document, spec) in self.all::<UpstreamPolicySpec>() {
            for (at, target) in spec.target_refs.iter().enumerate() {
                let pointer = format!("/spec/targetRefs/{at}/name");
                let key = format!("{}/{}", document.metadata.namespace, target.name);
                if self.find::<ServiceSpec>(&key).is_none() {
                    let message = format!("there is no Service {key}");
                    let problem = document.problem("ref.missing", &pointer, message);
                    let problem = problem.lacks(format!("Service/{key}"));
                    self.fail(document, RESOLVED, "TargetNotFound", problem);
                } else {
                    claims.push((key, Claim { document, pointer }));
                    found.push(policy(spec));
                }
            }
        }
        let lost = self.contradictions(&claims, "policy.conflict", |key| {
            format!("{key} has more than one UpstreamPolicy")
        });
        let kept = claims.into_iter().zip(found).zip(lost).filter(|(_, lost)| !lost);
        kept.map(|(((key, _), policy), _)| (key, policy)).collect()
    }
}

/// The application behind a sidecar: a service for each of its ports.
fn applications(
    place: &PlannedProxy<'_>,
    policy: &dyn Fn(&str) -> PolicyPlan,
    listeners: &ProxyListeners<'_>,
) -> Vec<ServicePlan> {
    let PlannedProxy::Sidecar(document, spec, index) = place else { return Vec::new() };
    let Some(endpoint) = spec.endpoints.get(*index) else { return Vec::new() };
    let key = document.key();
    let plan = |port: &ServicePort| {
        let address = application(spec, endpoint, port.port)?;
        Some(ServicePlan {
            name: local_name(&key, port.port),
            protocol: protocol(port.protocol, port.port),
            endpoints: if listeners.take(document, endpoint, &address) {
                Vec::new()
            } else {
                vec![EndpointPlan { address, weight: 1, tls: None }]
            },
            policy: policy(&key),
        })
    };
    request_ports(spec).into_iter().take(1).chain(tcp_ports(spec)).filter_map(plan).collect()
}

/// Endpoints as a policy has them reached.
fn reached(endpoints: &[EndpointPlan], policy: Option<&BackendTls>) -> Vec<EndpointPlan> {
    match policy {
        None => endpoints.to_vec(),
        Some(BackendTls::Closed) => Vec::new(),
        Some(BackendTls::Server(tls)) => {
            let tls = || Some(UpstreamTlsPlan::Server(tls.clone()));
            endpoints.iter().cloned().map(|one| EndpointPlan { tls: tls(), ..one }).collect()
        }
    }
}

/// The endpoints that connections to a `tcp` port are carried to. From inside the mesh never in clear text: an endpoint
/// without a sidecar is one for gateways alone, whose clients are not of the mesh either.
fn carried(
    place: &PlannedProxy<'_>,
    (document, spec): (&Document, &ServiceSpec),
    port: &ServicePort,
    listeners: &ProxyListeners<'_>,
) -> Vec<EndpointPlan> {
    let endpoint = |endpoint| {
        let plan = reach(place, document, spec, endpoint).ok()?;
        match (&plan.tls, place) {
            // Over mTLS there are connections alone.
            (Some(_), _) if port.is_udp() => None,
            (Some(_), _) => Some(plan),
            (None, PlannedProxy::Gateway(..)) => {
                let address = application(spec, endpoint, port.port)?;
                let is_taken = listeners.take(document, endpoint, &address);
                (!is_taken).then_some(EndpointPlan { address, ..plan })
            }
            (None, PlannedProxy::Sidecar(..)) => None,
        }
    };
    spec.endpoints.iter().filter_map(endpoint).collect()
}

/// Whose identity is missing for mTLS.
enum NoIdentity {
    Ours,
    Theirs,
}

fn reach(
    place: &PlannedProxy<'_>,
    document: &Document,
    spec: &ServiceSpec,
    endpoint: &ServiceEndpoint,
) -> Result<EndpointPlan, NoIdentity> {
    let weight = endpoint.weight.unwrap_or(1);
    let Some(sidecar) = &endpoint.sidecar else {
        return Ok(EndpointPlan { address: address(&endpoint.address), weight, tls: None });
    };
    let identity = spec.identity.as_ref().ok_or(NoIdentity::Theirs)?;
    let files = match place.proof().ok_or(NoIdentity::Ours)? {
        IdentityProof::Svid(_) => None,
        IdentityProof::Files(own) => Some(MemberFilesPlan {
            certificate: own.certificate.clone(),
            key: own.key.clone(),
            ca: own.ca.clone(),
        }),
    };
    let tls = MemberTlsPlan {
        files,
        expect_identity: identity.clone(),
        server_name: format!("{}.{}.mesh", document.metadata.name, document.metadata.namespace),
    };
    let tls = Some(UpstreamTlsPlan::Member(tls));
    Ok(EndpointPlan { address: AddressPlan::Tcp(sidecar.clone()), weight, tls })
}

fn policy(spec: &UpstreamPolicySpec) -> PolicyPlan {
    let default = PolicyPlan::default();
    let budget = spec.retry_budget.as_ref();
    let ejection = spec.ejection.as_ref();
    PolicyPlan {
        algorithm: spec.load_balancing.as_ref().map_or(default.algorithm, |one| one.algorithm),
        hash_header: spec.load_balancing.as_ref().and_then(|one| one.hash_header.clone()),
        connect_timeout_ms: spec.connect_timeout.map_or(default.connect_timeout_ms, |it| it.0),
        idle_timeout_ms: spec.idle_timeout.map_or(default.idle_timeout_ms, |it| it.0),
        max_connections: spec.max_connections.unwrap_or(default.max_connections),
        max_pending: spec.max_pending.unwrap_or(default.max_pending),
        max_requests: spec.max_requests,
        slow_call_ms: spec.slow_call.map_or(default.slow_call_ms, |it| it.0),
        stats_window_ms: spec.stats_window.map_or(default.stats_window_ms, |it| it.0),
        retry_percent: budget.and_then(|it| it.percent).unwrap_or(default.retry_percent),
        retry_min_per_second: budget
            .and_then(|it| it.min_per_second)
            .unwrap_or(default.retry_min_per_second),
        keep_alive_ms: spec.keep_alive.map(|it| it.0),
        max_response_fields: spec.max_response_fields.unwrap_or(default.max_response_fields),
        max_response_head_bytes: spec
            .max_response_head_bytes
            .unwrap_or(default.max_response_head_bytes),
        max_ejected_percent: ejection
            .and_then(|it| it.max_percent)
            .unwrap_or(default.max_ejected_percent),
        panic_percent: ejection.and_then(|it| it.panic_threshold).unwrap_or(default.panic_percent),
    }
}

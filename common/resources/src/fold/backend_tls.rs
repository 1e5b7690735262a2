//! `BackendTLSPolicy`: services outside the mesh that are reached over TLS.
//!
//! A policy that cannot be used closes its services: without it, requests would be sent there in clear text.

use std::collections::BTreeMap;

use super::certificate_check::{AUTHORITY, CertificateCheck};
use super::ports::{tcp_ports, udp_ports};
use super::{ACCEPTED, Claim, Fold, RESOLVED};
use crate::document::Document;
use crate::kinds::{BackendTlsPolicySpec, BackendTlsTarget, ServicePort, ServiceSpec};
use crate::plan::ServerTlsPlan;

/// How the endpoints of a port are reached.
#[derive(Clone)]
pub(super) enum BackendTls {
    /// Over TLS, with this check.
    Server(ServerTlsPlan),
    /// Not at all.
    Closed,
}

/// The policies by service and name of a port; `None`: all ports.
#[derive(Default)]
pub(super) struct BackendTlsPolicies(BTreeMap<(String, Option<String>), BackendTls>);

impl BackendTlsPolicies {
    /// The one for a port of a service; `None`: there is none.
    pub(super) fn of(&self, key: &str, port: &ServicePort) -> Option<&BackendTls> {
        let find = |section: Option<String>| self.0.get(&(key.to_owned(), section));
        let own = port.name.clone().and_then(|name| find(Some(name)));
        own.or_else(|| find(None))
    }
}

impl<'a> Fold<'a> {
    /// The policies in force, with their faults reported.
    pub(super) fn backend_tls(&mut self) -> BackendTlsPolicies {
        let (mut claims, mut plans) = (Vec::new(), Vec::new());
        let mut all = BackendTlsPolicies::default();
        for (document, spec) in self.all::<BackendTlsPolicySpec>() {
            let plan = self.server_tls(document, spec);
            for (at, target) in spec.target_refs.iter().enumerate() {
                let key = format!("{}/{}", document.metadata.namespace, target.name);
                let pointer = format!("/spec/targetRefs/{at}/name");
                if self.is_backend(document, at, target, &key) {
                    claims.push(((key, target.section_name.clone()), Claim { document, pointer }));
                    plans.push(plan.clone());
                } else {
                    all.0.insert((key, None), BackendTls::Closed);
                }
            }
        }
        let lost = self.contradictions(&claims, "backend-tls.conflict", |(key, port)| {
            let port = port.as_ref().map(|port| format!(" of port `{port}`")).unwrap_or_default();
            format!("{key} has more than one BackendTLSPolicy{port}")
        });
        for (((place, _), plan), lost) in claims.into_iter().zip(plans).zip(lost) {
            if !lost {
                all.0.insert(place, plan.map_or(BackendTls::Closed, BackendTls::Server));
            } else {
                // Of several the one in force stays; where none is, nothing is reached.
                all.0.entry(place).or_insert(BackendTls::Closed);
            }
        }
        for (document, spec) in self.doubled_of::<BackendTlsPolicySpec>() {
            for target in &spec.target_refs {
                let key = format!("{}/{}", document.metadata.namespace, target.name);
                let place = (key, target.section_name.clone());
                all.0.entry(place).or_insert(BackendTls::Closed);
            }
        }
        all
    }

    /// Whether a target is something that may be reached in this way.
    fn is_backend(
        &mut self,
        document: &Document,
        at: usize,
        target: &BackendTlsTarget,
        key: &str,
    ) -> bool {
        let place = |field: &str| format!("/spec/targetRefs/{at}/{field}");
        let Some((_, service)) = self.find::<ServiceSpec>(key) else {
            let message = format!("there is no Service {key}");
            let problem = document.problem("ref.missing", &place("name"), message);
            let problem = problem.lacks(format!("Service/{key}"));
            self.fail(document, RESOLVED, "TargetNotFound", problem);
            return false;
        };
        if service.endpoints.iter().any(|endpoint| endpoint.sidecar.is_some()) {
            let message =
                format!("{key} has sidecars, which are reached over mTLS with its identity");
            let problem = document.problem("backend-tls.mesh", &place("name"), message).help(
                "remove this target, or write the endpoints without `sidecar`; until then nothing is sent there",
            );
            self.fail(document, ACCEPTED, "Invalid", problem);
            return false;
        }
        let named = |name: &String| service.ports.iter().any(|one| one.name.as_ref() == Some(name));
        let covers =
            |one: &&ServicePort| target.section_name.is_none() || one.name == target.section_name;
        if let Some(port) = tcp_ports(service).chain(udp_ports(service)).find(covers) {
            let message = if port.is_udp() {
                format!("port {} of Service {key} is udp, and TLS is of connections", port.port)
            } else {
                format!(
                    "port {} of Service {key} is tcp: gateways carry its connections as they are",
                    port.port
                )
            };
            let problem = document.problem("backend-tls.tcp", &place("name"), message).help(
                "write in `sectionName` the name of a port for requests; until then no connection is carried to the tcp port",
            );
            self.fail(document, ACCEPTED, "Invalid", problem);
        }
        match &target.section_name {
            Some(name) if !named(name) => {
                let message = format!("no port of Service {key} has the name `{name}`");
                let problem = document.problem("ref.missing", &place("sectionName"), message).help(
                    "write the `name` of a port of the Service; until then nothing is sent there",
                );
                self.fail(document, RESOLVED, "TargetNotFound", problem);
                false
            }
            _ => true,
        }
    }

    /// The check of a policy; `None`: it cannot be used.
    fn server_tls(
        &mut self,
        document: &Document,
        spec: &BackendTlsPolicySpec,
    ) -> Option<ServerTlsPlan> {
        let validation = &spec.validation;
        let (files, names) = (&validation.ca_certificate_refs, &validation.subject_alt_names);
        let is_clear = files.is_empty() == validation.well_known_ca_certificates.is_some();
        if !is_clear {
            let message = "a policy needs either `caCertificateRefs` or `wellKnownCACertificates`";
            let problem = document.problem(AUTHORITY, "/spec/validation", message);
            self.fail(document, ACCEPTED, "NoValidCACertificate", problem);
        }
        let files = if is_clear { files.as_slice() } else { &[] };
        let check = CertificateCheck::read(self, document, (files, names), "/spec/validation")?;
        let CertificateCheck { names, authorities } = check;
        let hostname = validation.hostname.clone();
        is_clear.then_some(ServerTlsPlan { hostname, names, authorities })
    }
}

//! What is checked of servers outside of the mesh, and which of their ports nothing is sent to.

use super::certificate_check::CertificateCheck;
use super::external::{CODE, HostCheck, PortOfHost, address, is_outside};
use super::federation::domain_of;
use super::{ACCEPTED, Claim, Fold};
use crate::document::Document;
use crate::kinds::{ExternalPort, ExternalServiceSpec, ExternalTls};

impl<'a> Fold<'a> {
    /// Checks what a schema cannot express.
    pub(super) fn check_externals(&mut self) {
        let mut claims = Vec::new();
        for (document, spec) in self.all::<ExternalServiceSpec>() {
            let requests = spec.ports.iter().filter(|port| port.is_read()).count();
            let mut wrong = Vec::new();
            for (at, host) in spec.hosts.iter().enumerate() {
                let pointer = format!("/spec/hosts/{at}");
                if !is_outside(host) {
                    let message = format!(
                        "`{host}` is not a host outside of the mesh: it is a pattern, an address of this machine, or ends with `.mesh`"
                    );
                    wrong.push((
                        pointer.clone(),
                        message,
                        "write the whole name of a host, such as api.shop.example",
                    ));
                }
                let host = host.to_ascii_lowercase();
                for (at, port) in spec.ports.iter().enumerate() {
                    let one = ((document.key(), at), host.clone());
                    if requests > 1 && port.is_read() || port.is_udp() {
                        // Requests that name the host would go to either of them, and datagrams to none.
                        self.contested_ports.insert(one);
                        continue;
                    }
                    let claim = Claim { document, pointer: pointer.clone() };
                    let space = document.metadata.namespace.clone();
                    claims.push(((space, host.clone(), port.port), port.is_tcp(), one, claim));
                }
            }
            for (at, port) in spec.ports.iter().enumerate() {
                if port.is_udp() {
                    wrong.push((
                        format!("/spec/ports/{at}/protocol"),
                        format!("port {} is udp, and sidecars carry no UDP", port.port),
                        "write tcp or a protocol of requests, or remove the port",
                    ));
                }
            }
            for (at, text) in spec.addresses.iter().enumerate() {
                if address(text).is_none() {
                    let message = format!("`{text}` is not the IP address of another machine");
                    wrong.push((
                        format!("/spec/addresses/{at}"),
                        message,
                        "write an IP address without port, or remove it",
                    ));
                }
            }
            if requests > 1 {
                let message = "only one port may be other than tcp".to_owned();
                wrong.push((
                    "/spec/ports".to_owned(),
                    message,
                    "write one document for each further port of requests, with hosts of its own",
                ));
            }
            for (pointer, message, help) in wrong {
                let problem = document.problem(CODE, &pointer, message).help(help);
                self.fail(document, ACCEPTED, "Invalid", problem);
            }
            for (at, port) in spec.ports.iter().enumerate() {
                let Some(tls) = &port.tls else { continue };
                let check = self.host_check(document, port, tls, &format!("/spec/ports/{at}/tls"));
                self.external_checks.insert((document.key(), at), check);
            }
        }
        // All requests that name a host go to one port of it, whatever port their client connects to.
        let requests = claims.iter().filter(|(_, is_tcp, ..)| !is_tcp);
        let requests = requests.map(|((space, host, _), _, one, claim)| {
            (((space.clone(), host.clone()), claim.clone()), one.clone())
        });
        self.contest(requests.unzip(), |(_, host)| {
            format!("more than one ExternalService of the namespace declares the port for requests to {host}, which name none")
        });
        claims.retain(|(_, _, one, _)| !self.contested_ports.contains(one));
        let ports = claims.into_iter().map(|(port, _, one, claim)| ((port, claim), one));
        self.contest(ports.unzip(), |(_, host, port)| {
            format!("port {port} of {host} is declared by more than one ExternalService of the namespace")
        });
    }

    /// Leaves out the ports that lose in a contradiction.
    fn contest<K: Ord>(
        &mut self,
        (claims, ports): (Vec<(K, Claim<'a>)>, Vec<PortOfHost>),
        said: impl Fn(&K) -> String,
    ) {
        let lost = self.contradictions(&claims, "external.conflict", said);
        let lost = ports.into_iter().zip(lost).filter(|(_, lost)| *lost);
        self.contested_ports.extend(lost.map(|(one, _)| one));
    }
}

impl Fold<'_> {
    /// What `tls` of a port, at `place`, asks of a host, with its faults reported; `None`: it cannot be used.
    fn host_check(
        &mut self,
        document: &Document,
        port: &ExternalPort,
        tls: &ExternalTls,
        place: &str,
    ) -> Option<HostCheck> {
        if port.is_tcp() {
            let message =
                "octets of a tcp port are carried unread, so the application itself speaks TLS";
            let problem = document.problem(CODE, place, message).help(
                "remove `tls`, or write `protocol: http`; until then nothing is sent to the port",
            );
            self.fail(document, ACCEPTED, "Invalid", problem);
            return None;
        }
        let lists = (tls.ca_certificate_refs.as_slice(), tls.subject_alt_names.as_slice());
        if let Some(id) = &tls.identity {
            return self.member_check(
                document,
                (id, lists.0.len().saturating_add(lists.1.len())),
                place,
            );
        }
        CertificateCheck::read(self, document, lists, place).map(HostCheck::Certificate)
    }

    /// The same where `identity` names a proxy of another trust domain, beside `others` authorities and names.
    fn member_check(
        &mut self,
        document: &Document,
        (id, others): (&str, usize),
        place: &str,
    ) -> Option<HostCheck> {
        let domain = domain_of(id).unwrap_or_default();
        let (message, help) = if others > 0 {
            let message = "with `identity` the authorities of its trust domain count and no names, so `caCertificateRefs` and `subjectAltNames` would have no effect";
            (message.to_owned(), "remove them, or remove `identity`")
        } else if !self.federated.contains_key(domain) {
            let message = format!(
                "no FederatedTrustDomain with a usable bundle declares {domain}, so nobody can prove {id}"
            );
            (
                message,
                "have security write one; for a member of this mesh, call its Service instead",
            )
        } else {
            return Some(HostCheck::Member(id.to_owned()));
        };
        let pointer = format!("{place}/identity");
        let problem = document.problem("external.identity", &pointer, message);
        let problem = problem.help(format!("{help}; until then nothing is sent to the port"));
        self.fail(document, ACCEPTED, "Invalid", problem);
        None
    }
}

//! Certificates that a gateway orders from an ACME server: for which hosts, and how each is shown to be its own.

use std::collections::BTreeMap;

use super::certificate_check::certificates;
use super::socket::Socket;
use super::{ACCEPTED, Fold, PlannedProxy, RESOLVED};
use crate::document::Document;
use crate::kinds::{Acme, AcmeChallenge, GatewaySpec};
use crate::plan::{AcmePlan, TlsPlan};

const CODE: &str = "gateway.acme";
/// Longest email address (RFC 5321 §4.5.3.1.3).
const MAX_CONTACT: usize = 254;

impl<'a> Fold<'a> {
    /// What a gateway orders. Without it, listeners keep the certificates that they have.
    pub(super) fn acme(
        &mut self,
        place: &PlannedProxy<'a>,
        sockets: &[Socket<'a>],
    ) -> Option<AcmePlan> {
        let PlannedProxy::Gateway(document, spec) = place else { return None };
        let acme = spec.acme.as_ref()?;
        let hosts = self.ordered(document, spec, sockets);
        let authorities = self.directory_authorities(document, acme)?;
        if !self.is_agreed(document, acme) || hosts.is_empty() {
            return None;
        }
        let (directory, contact) = (acme.directory.clone(), acme.contact.clone());
        Some(AcmePlan { directory, contact, authorities, hosts })
    }

    /// The hosts of the listeners that await a certificate. Of two ways for one host the first counts.
    fn ordered(
        &mut self,
        document: &Document,
        spec: &GatewaySpec,
        sockets: &[Socket<'a>],
    ) -> BTreeMap<String, AcmeChallenge> {
        let mut hosts = BTreeMap::new();
        for socket in sockets {
            let (Some(TlsPlan::Acme(tls)), Some(listener)) = (&socket.plan.tls, socket.listener)
            else {
                continue;
            };
            let Some(way) = listener.tls.as_ref().and_then(|tls| tls.acme) else { continue };
            let first = *hosts.entry(tls.host.clone()).or_insert(way);
            if first != way {
                let at = spec.listeners.iter().position(|one| one.name == listener.name);
                let pointer = format!("/spec/listeners/{}/tls/acme", at.unwrap_or_default());
                let message = format!("another listener has the host {} and {first}", tls.host);
                let problem = document.problem(CODE, &pointer, message).help(format!(
                    "a host has one certificate: write {first} here as well, which is what counts until then"
                ));
                self.fail(document, ACCEPTED, "ListenersNotValid", problem);
            }
        }
        hosts
    }

    /// The authorities of the directory's own certificate; `None`: their file cannot be used.
    fn directory_authorities(
        &mut self,
        document: &Document,
        acme: &Acme,
    ) -> Option<Option<String>> {
        let Some(file) = &acme.ca else { return Some(None) };
        match (self.files)(file).and_then(certificates) {
            Ok(text) => Some(Some(text)),
            Err(why) => {
                let message = format!("no certificates can be read from {file}: {why}");
                let problem = document.problem(CODE, "/spec/acme/ca", message).help(
                    "name a PEM file with certificates of authorities; until then no certificate is ordered, and those in use stay",
                );
                self.fail(document, RESOLVED, "InvalidCACertificateRef", problem);
                None
            }
        }
    }

    /// Whether an order may be placed: its terms are agreed to, and who is written to can be.
    fn is_agreed(&mut self, document: &Document, acme: &Acme) -> bool {
        let mut wrong = Vec::new();
        if !acme.terms_of_service_agreed {
            let message = "no certificate is ordered before you agree to the terms of the server: read them, and write `true`";
            wrong.push(("/spec/acme/termsOfServiceAgreed".to_owned(), message.to_owned()));
        }
        for (at, one) in acme.contact.iter().enumerate().filter(|(_, one)| !is_email(one)) {
            let message =
                format!("`{one}` is not an email address; write one such as ops@example.com");
            wrong.push((format!("/spec/acme/contact/{at}"), message));
        }
        let agreed = wrong.is_empty();
        for (pointer, message) in wrong {
            let problem = document
                .problem(CODE, &pointer, message)
                .help("until then no certificate is ordered, and those in use stay");
            self.fail(document, ACCEPTED, "Invalid", problem);
        }
        agreed
    }
}

/// Whether a text is an email address as `mailto:` may have it (RFC 8555 §7.3: one, without header fields).
fn is_email(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"(),:;<>?[\\]%&".contains(&byte);
    let parts = text.split_once('@');
    text.len() <= MAX_CONTACT
        && text.bytes().all(plain)
        && parts.is_some_and(|(name, host)| {
            !name.is_empty() && !host.contains('@') && host.contains('.') && !host.ends_with('.')
        })
}

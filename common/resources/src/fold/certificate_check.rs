//! What documents ask of the certificate of a server, read with its faults reported.

use super::{ACCEPTED, Fold, RESOLVED};
use crate::document::Document;
use crate::kinds::{AltNameType, AuthorityRef, BackendAltName};
use crate::plan::ServerNamePlan;

/// The code of authorities that cannot be used.
pub(super) const AUTHORITY: &str = "backend-tls.authority";
/// Longest text of certificates in a file, in bytes.
const MAX_AUTHORITY: usize = 64 * 1024;

/// What the certificate of a server must show.
#[derive(Clone)]
pub(super) struct CertificateCheck {
    pub(super) names: Vec<ServerNamePlan>,
    /// As PEM; `None`: those of the operating system.
    pub(super) authorities: Option<String>,
}

impl CertificateCheck {
    /// What the lists `caCertificateRefs` and `subjectAltNames` at `place` ask for; without files, the authorities of the
    /// operating system count. `None`: it cannot be used, which is reported.
    pub(super) fn read(
        fold: &mut Fold<'_>,
        document: &Document,
        (files, names): (&[AuthorityRef], &[BackendAltName]),
        place: &str,
    ) -> Option<Self> {
        let authorities = match files.is_empty() {
            true => Some(None),
            false => fold.authorities(document, files, place).map(Some),
        };
        let names = fold.alt_names(document, names, place);
        Some(Self { names: names?, authorities: authorities? })
    }
}

impl Fold<'_> {
    /// Reads the list `subjectAltNames` at `place`: the names that a certificate may have. Reports each faulty name;
    /// `None` if there is one.
    fn alt_names(
        &mut self,
        document: &Document,
        names: &[BackendAltName],
        place: &str,
    ) -> Option<Vec<ServerNamePlan>> {
        for (at, _) in names.iter().enumerate().filter(|(_, one)| alt_name(one).is_none()) {
            let message = "a name has `hostname` with type Hostname, and `uri` with type URI, and not the other";
            let pointer = format!("{place}/subjectAltNames/{at}");
            let problem = document.problem("backend-tls.name", &pointer, message);
            self.fail(document, ACCEPTED, "Invalid", problem);
        }
        names.iter().map(alt_name).collect()
    }

    /// The certificates of the files in the list `caCertificateRefs` at `place`, with their faults reported; `None`: one of
    /// them has none.
    fn authorities(
        &mut self,
        document: &Document,
        files: &[AuthorityRef],
        place: &str,
    ) -> Option<String> {
        let mut all = Some(String::new());
        for (at, one) in files.iter().enumerate() {
            let read = (self.files)(&one.name).and_then(certificates);
            match read {
                Ok(text) => all.iter_mut().for_each(|all| *all += &text),
                Err(why) => {
                    let message = format!("no certificates can be read from {}: {why}", one.name);
                    let pointer = format!("{place}/caCertificateRefs/{at}/name");
                    let problem = document.problem(AUTHORITY, &pointer, message).help(
                        "name a PEM file with certificates of authorities; until then nothing is sent to the targets",
                    );
                    self.fail(document, RESOLVED, "InvalidCACertificateRef", problem);
                    all = None;
                }
            }
        }
        all
    }
}

/// The certificates of a PEM file, with a line feed at the end.
pub(super) fn certificates(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() > MAX_AUTHORITY {
        return Err("it is longer than 64 KiB".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err("it has no certificate in PEM".to_owned());
    }
    Ok(text.trim_end().to_owned() + "\n")
}

fn alt_name(one: &BackendAltName) -> Option<ServerNamePlan> {
    match (one.kind, &one.hostname, &one.uri) {
        (AltNameType::Hostname, Some(name), None) => Some(ServerNamePlan::Dns(name.clone())),
        (AltNameType::URI, None, Some(uri)) => Some(ServerNamePlan::Uri(uri.clone())),
        _ => None,
    }
}

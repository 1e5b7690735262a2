//! What a folder needs before its first start: keys, certificates, signed filters, pins, tokens.
//!
//! Everything goes into `.tamis/` of the folder, and only what a document names and does not exist yet is
//! made.

use super::home::{self, ForeignState};
use super::ports::Ports;
use super::token;
use crate::builtin::{self, Builtin};
use crate::certificates;
use crate::filter::{self, artifact};
use crate::keys;
use crate::output::{self, Output};
use crate::private_file;
use anyhow::{Context as _, Result, bail};
use rcgen::{Issuer, KeyPair, SanType};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tamis_resources::{Document, FiltersLockSpec, IdentityFiles, Pin, Resource};
use tamis_trust::{Digest, PrivateKey};

/// A prepared folder.
pub(crate) struct PreparedFolder {
    /// Its documents.
    pub(crate) documents: Vec<Document>,
    /// The problem of the first document that cannot be used.
    pub(crate) wrong: Option<String>,
    /// Where signed filters are.
    pub(crate) store: PathBuf,
    /// A token of the sample issuer, if a filter requires tokens.
    pub(crate) token: Option<String>,
    /// The built-in filters: name, version, component on disk.
    filters: Vec<(String, String, PathBuf)>,
    /// The components among them that were signed now.
    pub(crate) signed: Vec<&'static [u8]>,
}

impl PreparedFolder {
    /// A filter that suits the demonstration of an upgrade.
    pub(crate) fn upgradable(&self) -> Option<(String, String, PathBuf)> {
        let found = self.filters.iter().find(|(name, _, _)| name == "tamis/retry");
        found.or_else(|| self.filters.first()).cloned()
    }
}

/// Makes what is missing.
pub(crate) fn run(
    folder: &Path,
    ports: Ports,
    elsewhere: ForeignState,
    output: Output,
) -> Result<PreparedFolder> {
    // The documents are read before anything is made, so that a folder that does not exist gets no `.tamis`.
    let read = ports.read(folder).context("no resources to run; name their folder")?;
    if !read.documents.is_empty() || folder.join(".tamis").exists() {
        home::open(folder, elsewhere)?;
    }
    let wrong = read.problems.first().map(|problem| {
        let problem = problem.printable();
        let place = &problem.place;
        format!("{}:{}:{}: {}", place.source, place.line, place.column, problem.message)
    });
    let wrong = wrong.or_else(|| read.unreadable.first().map(ToString::to_string));
    let made = Maker { folder, output };
    let documents = read.documents;
    made.certificates(&documents)?;
    let key = made.signing_key(&documents)?;
    let token = made.tokens(&documents)?;
    let store = folder.join(".tamis/store");
    let mut signed = Vec::new();
    let filters = match key {
        Some(key) => made.filters(&documents, &store, &key, &mut signed)?,
        None => {
            made.report_unsigned(&documents)?;
            Vec::new()
        }
    };
    let documents = ports.read(folder)?.documents;
    Ok(PreparedFolder { documents, wrong, store, token, filters, signed })
}

/// Makes the certificates that documents name and that are missing, and those that soon expire.
///
/// # Errors
/// When one cannot be made.
pub(crate) fn certificates(folder: &Path, documents: &[Document], output: Output) -> Result<()> {
    Maker { folder, output }.certificates(documents)
}

struct Maker<'a> {
    folder: &'a Path,
    output: Output,
}

impl Maker<'_> {
    fn report(&self, what: &str) {
        if self.output == Output::Text {
            output::note(what);
        }
    }

    /// Whether `name` is a path that this command may create and that does not exist.
    fn is_missing(&self, name: &str) -> bool {
        name.starts_with(".tamis/") && !name.contains("..") && !self.folder.join(name).exists()
    }

    /// Whether less than a third of the validity of a certificate made by this command is left.
    fn is_old(&self, name: &str) -> bool {
        let left = certificates::days_left(&self.folder.join(name));
        name.starts_with(".tamis/") && left.is_some_and(|days| days < certificates::DAYS / 3)
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        if let Some(parent) = path.parent() {
            tamis_private::folder(parent)
                .with_context(|| format!("{} cannot be made", parent.display()))?;
        }
        Ok(path)
    }

    fn certificates(&self, documents: &[Document]) -> Result<()> {
        for document in documents {
            match &document.resource {
                Resource::Gateway(spec) => {
                    if let (Some(files), Some(identity)) = (&spec.tls, &spec.identity) {
                        self.identity(files, identity, &document.metadata.name)?;
                    }
                    let ca = spec.tls.as_ref().map(|files| files.ca.clone());
                    let ca = ca.unwrap_or_else(|| ".tamis/certs/ca.crt".to_owned());
                    for listener in &spec.listeners {
                        let files = listener.tls.as_ref();
                        let files = files
                            .and_then(|tls| Some((tls.certificate.as_ref()?, tls.key.as_ref()?)));
                        // Where TLS passes through, the service has the certificate.
                        let Some((certificate, key)) = files else { continue };
                        let mut names = vec![
                            SanType::DnsName("localhost".try_into()?),
                            SanType::DnsName("*.localhost".try_into()?),
                            SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()),
                        ];
                        if let Some(hostname) = &listener.hostname {
                            names.push(SanType::DnsName(hostname.as_str().try_into()?));
                        }
                        self.certificate(certificate, key, &ca, names, "localhost")?;
                    }
                }
                Resource::Service(spec) => {
                    if let (Some(files), Some(identity)) = (&spec.tls, &spec.identity) {
                        self.identity(files, identity, &document.metadata.name)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn identity(&self, files: &IdentityFiles, identity: &str, name: &str) -> Result<()> {
        let names = vec![SanType::URI(identity.try_into()?)];
        self.certificate(&files.certificate, &files.key, &files.ca, names, name)
    }

    fn certificate(
        &self,
        certificate: &str,
        key: &str,
        ca: &str,
        names: Vec<SanType>,
        common_name: &str,
    ) -> Result<()> {
        if !self.is_missing(certificate) && !self.is_old(certificate) {
            return Ok(());
        }
        let issuer = self.authority(ca)?;
        let (key, path) = (self.path(key)?, self.path(certificate)?);
        certificates::issue(&issuer, &path, &key, names, common_name)?;
        self.report(&format!("made {certificate}"));
        Ok(())
    }

    /// The certificate authority, made when first needed. Its key is stored next to it, readable by its
    /// owner only.
    fn authority(&self, ca: &str) -> Result<Issuer<'static, KeyPair>> {
        if self.is_missing(ca) {
            certificates::make_authority(&self.path(ca)?)?;
            self.report(&format!("made {ca}, the certificate authority of this folder"));
        }
        certificates::authority(&self.folder.join(ca))
    }

    /// The key that signs the built-in filters: the first of the trust policies whose file is under
    /// `.tamis/`.
    fn signing_key(&self, documents: &[Document]) -> Result<Option<PrivateKey>> {
        let mut first = None;
        for document in documents {
            let Resource::TrustPolicy(spec) = &document.resource else { continue };
            for file in spec.keys.iter().filter_map(|key| key.public_key_file.as_ref()) {
                let Some(name) = file.strip_suffix(".pub") else { continue };
                if self.is_missing(file) {
                    keys::generate(&self.path(name)?)?;
                    self.report(&format!("made {name}.key, which signs the built-in filters"));
                }
                let key = self.folder.join(format!("{name}.key"));
                if first.is_none() && file.starts_with(".tamis/") && key.exists() {
                    first = Some(keys::read_private(&key)?);
                }
            }
        }
        Ok(first)
    }

    /// Says which built-in filters stay unsigned, and what would change that.
    fn report_unsigned(&self, documents: &[Document]) -> Result<()> {
        let attached = attached(documents);
        let mut unsigned = builtin::all()?;
        unsigned.retain(|one| attached.contains(&one.name.as_str()));
        if !unsigned.is_empty() {
            let names: Vec<String> = unsigned.into_iter().map(|one| one.name).collect();
            self.report(&format!(
                "not signed: {}; write a TrustPolicy with `publicKeyFile: {OWN_KEY}`: that key is made, and signs built-in filters",
                names.join(", ")
            ));
        }
        Ok(())
    }

    /// Key sets that filters name, and a token that their issuer signs.
    fn tokens(&self, documents: &[Document]) -> Result<Option<String>> {
        let mut token = None;
        for document in documents {
            let Resource::FilterAttachment(spec) = &document.resource else { continue };
            let issuers = spec.config.get("issuers").and_then(Value::as_array);
            for issuer in issuers.into_iter().flatten() {
                let Some(file) = issuer.pointer("/jwks/file").and_then(Value::as_str) else {
                    continue;
                };
                let key = file.replace(".json", ".test-key.p8");
                if self.is_missing(file) {
                    let made = token::Key::generate()?;
                    private_file::write(&self.path(&key)?, made.pkcs8())?;
                    private_file::write(&self.path(file)?, made.key_set().to_string().as_bytes())?;
                    self.report(&format!("made {file}, the keys of the sample issuer"));
                }
                let key = self.folder.join(&key);
                if token.is_none() && key.exists() {
                    let name = issuer.get("issuer").and_then(Value::as_str).unwrap_or_default();
                    let audience = issuer.pointer("/audiences/0").and_then(Value::as_str);
                    let signed =
                        token::Key::read(&key)?.sign(name, audience.unwrap_or_default())?;
                    let path = self.path(".tamis/token")?;
                    private_file::write(&path, signed.as_bytes())?;
                    token = Some(signed);
                }
            }
        }
        Ok(token)
    }

    /// Signs the built-in filters that documents attach, and pins those without a pin. Those that it had to sign are added
    /// to `signed`.
    fn filters(
        &self,
        documents: &[Document],
        store: &Path,
        key: &PrivateKey,
        signed: &mut Vec<&'static [u8]>,
    ) -> Result<Vec<(String, String, PathBuf)>> {
        fs::create_dir_all(store).with_context(|| format!("{} cannot be made", store.display()))?;
        let attached = attached(documents);
        let lock = self.folder.join(".tamis/filters.lock.yaml");
        let mut pins = pins(documents);
        let (mut filters, mut changed) = (Vec::new(), false);
        let builtins = builtin::all()?;
        if builtins.is_empty() {
            bail!(
                "this binary was built without the built-in filters; build it with `cargo xtask build`"
            );
        }
        for Builtin { name, version, component, .. } in builtins {
            if !attached.contains(&name.as_str()) {
                continue;
            }
            let file = store.join(artifact::file_name(&name, &version));
            let manifest = artifact::manifest(component, &name, &version)?;
            let digest = Digest::of(&manifest).to_string();
            let mine = pins.iter().position(|pin| pin.filter == name && pin.service == "*");
            let pinned = mine.and_then(|index| pins.get(index));
            // A pin of another version, or another file there, is deliberate.
            let keep = pinned.is_some_and(|pin| pin.digest != digest) && file.exists();
            if !keep && !artifact::is_there(&file, &manifest, component) {
                artifact::write(&file, component, &manifest, &[key])?;
                signed.push(component);
                self.report(&format!("signed {name} {version}"));
            }
            if !keep && pinned.is_none_or(|pin| pin.digest != digest) {
                let pin = Pin {
                    service: "*".to_owned(),
                    filter: name.clone(),
                    version: version.clone(),
                    digest,
                };
                match mine.and_then(|index| pins.get_mut(index)) {
                    Some(slot) => *slot = pin,
                    None => pins.push(pin),
                }
                changed = true;
            }
            filters.push((name, version, file));
        }
        if changed {
            filter::lock::write(&lock, &FiltersLockSpec { filters: pins })?;
            self.report("pinned them in .tamis/filters.lock.yaml");
        }
        Ok(filters)
    }
}

/// The name of a key that this command may make, as a trust policy states it.
const OWN_KEY: &str = ".tamis/keys/local-dev.pub";

/// Whether a trust policy names a key that this command may make, with which it signs.
pub(crate) fn makes_key(documents: &[Document]) -> bool {
    documents.iter().any(|document| match &document.resource {
        Resource::TrustPolicy(spec) => {
            let mut files = spec.keys.iter().filter_map(|key| key.public_key_file.as_ref());
            files.any(|file| file.starts_with(".tamis/") && file.ends_with(".pub"))
        }
        _ => false,
    })
}

/// The filters that documents attach.
fn attached(documents: &[Document]) -> Vec<&str> {
    let attached = documents.iter().filter_map(|document| match &document.resource {
        Resource::FilterAttachment(spec) => Some(spec.filter.as_str()),
        _ => None,
    });
    attached.collect()
}

/// Existing pins, in the order of the files.
fn pins(documents: &[Document]) -> Vec<Pin> {
    let locks = documents.iter().filter_map(|document| match &document.resource {
        Resource::FiltersLock(spec) => Some(spec.filters.clone()),
        _ => None,
    });
    locks.flatten().collect()
}

#[cfg(test)]
mod tests;

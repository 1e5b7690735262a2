//! How the proxies of a folder and its registry prove who they are to each other.
//!
//! Where a proxy has no certificate files the registry is the authority of the mesh, and every proxy joins it. Where
//! all have files, the registry has a file, too. Both together work as long as each side trusts the authority of the
//! other: the registry sends its members the authority of the files, and its own root is added to theirs.

use super::admission::FolderAdmission;
use super::member::{self, Member};
use crate::certificates;
use crate::named_file;
use crate::private_file;
use crate::proxy::JoinedProxy;
use anyhow::{Context as _, Result, bail};
use rcgen::SanType;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tamis_node::DirectorLogin;
use tamis_server::TlsFiles;
use tamis_transport::TrustDomain;

/// The folder of the authority, in the folder of the registry.
const AUTHORITY: &str = "authority";
/// The roots in it.
const ROOTS: &str = "bundle.pem";

/// How the proxies of a folder and its registry prove who they are to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FolderProof {
    /// The registry is the authority of this trust domain.
    Authority {
        domain: TrustDomain,
        /// The authority of proxies that have files, as documents name it; `None`: no proxy has.
        files: Option<String>,
    },
    /// With certificates of this authority, as documents name it; the registry has that SPIFFE id.
    Files { ca: String, registry: String },
}

impl FolderProof {
    /// What these proxies need. A registry that is an authority stays one, since its journal says who joined.
    pub(super) fn of(members: &[Member], registry: &Path) -> Result<Self> {
        let files = member::authority(members)?.map(str::to_owned);
        let has_authority = registry.join(AUTHORITY).exists();
        match files {
            Some(ca) if !has_authority && members.iter().all(|one| one.files.is_some()) => {
                let first = members.first().context("there are no proxies")?;
                let registry = format!("spiffe://{}/registry", first.identity.trust_domain());
                Ok(Self::Files { ca, registry })
            }
            files => {
                let domain = member::domain(members)?.context("there are no proxies")?;
                Ok(Self::Authority { domain, files })
            }
        }
    }

    /// The trust domain whose authority the registry is.
    pub(super) fn domain(&self) -> Option<&TrustDomain> {
        match self {
            Self::Authority { domain, .. } => Some(domain),
            Self::Files { .. } => None,
        }
    }
}

/// A certificate of the folder's authority for the registry, for this start.
pub(super) fn registry_files(folder: &Path, kept: &Path, ca: &str, id: &str) -> Result<TlsFiles> {
    let ca = folder.join(ca);
    let issuer = certificates::authority(&ca)
        .context("the registry of the folder needs a certificate of the proxies' authority")?;
    let [certificate, key] = own_files(kept);
    let host = Ipv4Addr::LOCALHOST.into();
    let names = vec![SanType::URI(id.try_into()?), SanType::IpAddress(host)];
    certificates::issue(&issuer, &certificate, &key, names, "registry")?;
    Ok(TlsFiles { certificate, key, client_ca: Some(ca) })
}

/// Removes the certificate and the key that a registry had before it was an authority.
pub(super) fn forget_registry_files(kept: &Path) -> Result<()> {
    for path in own_files(kept).iter().filter(|path| path.exists()) {
        fs::remove_file(path).with_context(|| format!("{} cannot be removed", path.display()))?;
    }
    Ok(())
}

fn own_files(kept: &Path) -> [PathBuf; 2] {
    [kept.join("registry.crt"), kept.join("registry.key")]
}

/// What a proxy shows to the registry.
pub(super) struct ProxyProof {
    pub(super) login: DirectorLogin,
    /// Its identity, which is renewed until this is dropped; `None`: it has files only.
    pub(super) joined: Option<JoinedProxy>,
}

/// Gives proxies of a running folder what they show.
pub(super) struct ProofIssuer {
    folder: PathBuf,
    kept: PathBuf,
    proof: FolderProof,
    admission: FolderAdmission,
    /// Held while the root is added to a file: proxies start at the same time.
    adding: Mutex<()>,
}

impl ProofIssuer {
    /// For the registry with that folder.
    pub(super) fn new(
        folder: &Path,
        kept: &Path,
        proof: FolderProof,
        admission: FolderAdmission,
    ) -> Self {
        let (folder, kept) = (folder.to_owned(), kept.to_owned());
        Self { folder, kept, proof, admission, adding: Mutex::default() }
    }

    /// What a proxy shows.
    ///
    /// # Errors
    /// When it cannot prove itself to the registry, or it and its peers would refuse each other.
    pub(super) fn give(&self, member: &Member) -> Result<ProxyProof> {
        let name = &member.name;
        match (&self.proof, &member.files) {
            (FolderProof::Files { ca, registry }, Some(files)) => {
                if files.ca != *ca {
                    bail!(
                        "{name} is of the authority {} and the others of {ca}; the proxies of one folder need one authority",
                        files.ca
                    );
                }
                let login = DirectorLogin::Files {
                    certificate: self.folder.join(&files.certificate),
                    key: self.folder.join(&files.key),
                    ca: self.folder.join(ca),
                    director: Some(registry.clone()),
                };
                Ok(ProxyProof { login, joined: None })
            }
            (FolderProof::Files { .. }, None) => bail!(
                "{name} has no certificate files. When `tamis up` started, all proxies had such files, so its registry signs no identities: start `tamis up` again"
            ),
            (FolderProof::Authority { files, .. }, own) => {
                self.trusted(member, files.as_deref(), own.as_ref().map(|own| own.ca.as_str()))?;
                let joined = self.admission.admit(name)?;
                Ok(ProxyProof { login: joined.login(), joined: Some(joined) })
            }
        }
    }

    /// Makes sure that a proxy and its peers trust each other's authorities.
    fn trusted(&self, member: &Member, files: Option<&str>, own: Option<&str>) -> Result<()> {
        let name = &member.name;
        match (files, own) {
            (None, None) => Ok(()),
            // Peers with files trust what is in their file of authorities.
            (Some(ca), None) => self.add_root(ca),
            (Some(ca), Some(own)) if ca == own => Ok(()),
            (Some(ca), Some(own)) => bail!(
                "{name} is of the authority {own} and others of {ca}; the proxies of one folder need one authority of files"
            ),
            (None, Some(own)) => bail!(
                "{name} has certificate files of {own}, and when `tamis up` started no proxy had, so its peers do not trust them: remove `tls`, or start `tamis up` again"
            ),
        }
    }

    /// Adds the root of the registry to a file of authorities.
    fn add_root(&self, ca: &str) -> Result<()> {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let (path, roots) = (self.folder.join(ca), self.kept.join(AUTHORITY).join(ROOTS));
        let read = |path: &Path| {
            named_file::text(path).with_context(|| format!("{} cannot be read", path.display()))
        };
        let (known, root) = (read(&path)?, read(&roots)?);
        if known.contains(root.trim()) {
            return Ok(());
        }
        if !ca.starts_with(".tamis/") || ca.contains("..") {
            bail!(
                "proxies with certificate files trust the authorities in {ca}, and those without have certificates of the folder's registry: append {} to {ca}, or remove `tls` from all of them",
                roots.display()
            );
        }
        private_file::replace(&path, format!("{}\n{root}", known.trim_end()).as_bytes())
    }
}

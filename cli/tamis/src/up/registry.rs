//! The registry of a folder: the one `tamis registry` runs, in this process, in `.tamis/registry`.

use super::admission::FolderAdmission;
use super::member::Member;
use super::ports::Ports;
use super::proof::{self, FolderProof, ProofIssuer};
use crate::named_file;
use crate::registry_engine::RegistryEngine;
use anyhow::{Context as _, Result, bail};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tamis_oci::{Limits, Versions};
use tamis_server::{
    ControlSettings, MeshOptions, Registry, RegistryOptions, ServerError, Storage, TlsFiles,
};
use tamis_transport::{Address, TrustDomain};
use tamis_trust::DirectorKeys;

/// The address at which `tamis` looks for a registry by default.
const USUAL: &str = "127.0.0.1:5000";
/// Any free port.
const FREE: &str = "127.0.0.1:0";
/// Time that connections have to end: those of proxies are closed by then.
const DRAIN: Duration = Duration::from_secs(1);

/// A registry that runs in this process.
pub(crate) struct EmbeddedRegistry {
    registry: Registry,
    /// Its address.
    pub(crate) url: String,
    /// The file with the token that has all rights.
    pub(crate) token: PathBuf,
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// Where proxies connect, `HOST:PORT`.
    pub(crate) proxies: String,
    /// How it and its proxies prove who they are.
    proof: FolderProof,
    /// Lock held while it runs: the state of proxies belongs to one registry.
    _only: File,
}

impl EmbeddedRegistry {
    /// Starts it: at that address; without one at the usual address, or on a free port if that is in use. The
    /// identities that it signs are valid for that long.
    pub(crate) fn start(
        folder: &Path,
        members: &[Member],
        (address, ports): (Option<&Address>, Ports),
        lifetime: Duration,
    ) -> Result<Self> {
        let kept = folder.join(".tamis/registry");
        tamis_private::folder(&kept)
            .with_context(|| format!("{} cannot be made", kept.display()))?;
        let only = only(&kept)?;
        let proof = FolderProof::of(members, &kept)?;
        let ProxySocket { mesh, files } = socket(&proof, folder, &kept, lifetime)?;
        let start = |listen: &Address| {
            let options = RegistryOptions {
                proxies: files.clone(),
                mesh: mesh.clone(),
                // On a developer's machine a version is signed again and again until it is right.
                limits: Limits { versions: Versions::Mutable, ..Limits::default() },
                // An approval of growth needs a second person, and there is only one.
                rules: ControlSettings { growth_approvals: 0, ..ControlSettings::default() },
                drain: DRAIN,
                ..RegistryOptions::new(
                    Storage::folder(&kept),
                    listen.clone(),
                    Arc::new(RegistryEngine),
                )
            };
            Registry::start(options)
        };
        let usual = USUAL.parse().map(|usual| moved(usual, ports.offset))?;
        let registry = match start(address.unwrap_or(&usual)) {
            Err(ServerError::Listen(_)) if address.is_none() => start(&FREE.parse()?),
            other => other,
        };
        let registry = registry.map_err(|error| not_started(error, &kept))?;
        let Some(proxies) = registry.proxies_address().map(ToString::to_string) else {
            bail!("the registry of the folder has no address for proxies");
        };
        let url = format!("http://{}", registry.address());
        tamis_private::put(&kept.join("address"), format!("{url}\n").as_bytes())
            .with_context(|| format!("{} cannot be written", kept.join("address").display()))?;
        let token = kept.join("admin.token");
        // The journal contains configurations, and those contain secrets.
        tamis_private::narrow(&kept)
            .with_context(|| format!("{} cannot be made private to its owner", kept.display()))?;
        Ok(Self { registry, url, token, folder: kept, proxies, proof, _only: only })
    }

    /// The keys that sign its assignments.
    pub(crate) fn keys(&self) -> Result<DirectorKeys> {
        let path = self.registry.director_document();
        let text = named_file::octets(path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        DirectorKeys::from_json(&text).with_context(|| format!("{}", path.display()))
    }

    /// The trust domain whose authority it is; `None`: its proxies have files.
    pub(crate) fn domain(&self) -> Option<&TrustDomain> {
        self.proof.domain()
    }

    /// Gives the proxies of its folder what they show to it.
    pub(super) fn proofs(&self, folder: &Path) -> ProofIssuer {
        let admission = FolderAdmission::new(&self.url, &self.token);
        ProofIssuer::new(folder, &self.folder, self.proof.clone(), admission)
    }

    /// Whether it ended, which it should not do by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.registry.has_ended()
    }
}

/// The socket for proxies; exactly one of its parts is there.
struct ProxySocket {
    /// As the authority of a trust domain.
    mesh: Option<MeshOptions>,
    /// With files.
    files: Option<(Address, TlsFiles)>,
}

fn socket(
    proof: &FolderProof,
    folder: &Path,
    kept: &Path,
    lifetime: Duration,
) -> Result<ProxySocket> {
    let any: Address = FREE.parse()?;
    match proof {
        FolderProof::Authority { domain, files } => {
            proof::forget_registry_files(kept)?;
            let client_ca = files.as_ref().map(|ca| folder.join(ca));
            let mesh = MeshOptions::new(domain.clone(), any);
            let mesh = Some(MeshOptions { client_ca, lifetime, ..mesh });
            Ok(ProxySocket { mesh, files: None })
        }
        FolderProof::Files { ca, registry } => {
            let files = proof::registry_files(folder, kept, ca, registry)?;
            Ok(ProxySocket { mesh: None, files: Some((any, files)) })
        }
    }
}

/// Why it did not start, with the way out where its authority is not the folder's any more.
fn not_started(error: ServerError, kept: &Path) -> anyhow::Error {
    let authority = matches!(
        error,
        ServerError::Authority(_)
            | ServerError::NoAuthority { .. }
            | ServerError::OtherAuthority { .. }
    );
    let way = match authority {
        true => format!("; `rm -r {}` lets it start as an empty one", kept.display()),
        false => String::new(),
    };
    anyhow::Error::new(error).context(format!("the registry of the folder does not start{way}"))
}

/// An address with its port moved; unchanged when the result is not a port.
fn moved(address: Address, offset: u16) -> Address {
    match address {
        Address::Tcp(mut address) => {
            address.set_port(address.port().checked_add(offset).unwrap_or_else(|| address.port()));
            Address::Tcp(address)
        }
        other => other,
    }
}

/// Makes sure that no other process runs this folder.
fn only(kept: &Path) -> Result<File> {
    let path = kept.join("up.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("{} cannot be made", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another `tamis up` runs this folder; end it, or run a copy of the folder")
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{} cannot be locked", path.display()))
        }
    }
}

//! The registry of a folder: the one `tamis registry` runs, in this process, in `.tamis/registry`.

use super::member::Member;
use super::ports::Ports;
use crate::certificates;
use crate::examine::Engine;
use anyhow::{Context as _, Result, bail};
use rcgen::SanType;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tamis_node::private;
use tamis_oci::{Limits, Versions};
use tamis_server::Rules;
use tamis_server::{Registry, RegistryOptions, ServerError, Storage, TlsFiles};
use tamis_transport::Address;
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
    /// Its SPIFFE id.
    pub(crate) identity: String,
    /// Lock held while it runs: the state of proxies belongs to one registry.
    _only: File,
}

impl EmbeddedRegistry {
    /// Starts it: at that address; without one at the usual address, or on a free port if that is in use.
    pub(crate) fn start(
        folder: &Path,
        members: &[Member],
        address: Option<&Address>,
        ports: Ports,
    ) -> Result<Self> {
        let kept = folder.join(".tamis/registry");
        private::folder(&kept).with_context(|| format!("{} cannot be made", kept.display()))?;
        let only = only(&kept)?;
        let (tls, identity) = certificate(folder, &kept, members)?;
        let start = |listen: &Address| {
            let any: Address = FREE.parse()?;
            let options = RegistryOptions {
                proxies: Some((any, tls.clone())),
                // On a developer's machine a version is signed again and again until it is right.
                limits: Limits { versions: Versions::Mutable, ..Limits::default() },
                // An approval of growth needs a second person, and there is only one.
                rules: Rules { growth_approvals: 0, ..Rules::default() },
                drain: DRAIN,
                ..RegistryOptions::new(Storage::folder(&kept), listen.clone(), Arc::new(Engine))
            };
            anyhow::Ok(Registry::start(options))
        };
        let usual = USUAL.parse().map(|usual| moved(usual, ports.offset))?;
        let registry = match start(address.unwrap_or(&usual))? {
            Err(ServerError::Listen(_)) if address.is_none() => start(&FREE.parse()?)?,
            other => other,
        };
        let registry = registry.context("the registry of the folder does not start")?;
        let Some(proxies) = registry.proxies_address().map(ToString::to_string) else {
            bail!("the registry of the folder has no address for proxies");
        };
        let url = format!("http://{}", registry.address());
        fs::write(kept.join("address"), format!("{url}\n"))
            .with_context(|| format!("{} cannot be written", kept.join("address").display()))?;
        let token = kept.join("admin.token");
        // The journal contains configurations, and those contain secrets.
        private::narrow(&kept)
            .with_context(|| format!("{} cannot be made private to its owner", kept.display()))?;
        Ok(Self { registry, url, token, folder: kept, proxies, identity, _only: only })
    }

    /// The keys that sign its assignments.
    pub(crate) fn keys(&self) -> Result<DirectorKeys> {
        let path = self.registry.director_document();
        let text = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        DirectorKeys::from_json(&text).with_context(|| format!("{}", path.display()))
    }

    /// Whether it ended, which it should not do by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.registry.has_ended()
    }
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

/// A certificate of the folder's authority for this start, and its SPIFFE id.
fn certificate(folder: &Path, kept: &Path, members: &[Member]) -> Result<(TlsFiles, String)> {
    let Some(first) = members.first() else { bail!("there are no proxies that need a registry") };
    if let Some(other) = members.iter().find(|one| one.files.ca != first.files.ca) {
        bail!(
            "{} uses the authority {}, and {} uses {}; all proxies of one folder need the same authority",
            first.name,
            first.files.ca,
            other.name,
            other.files.ca
        );
    }
    let domain = first.identity.strip_prefix("spiffe://").and_then(|id| id.split('/').next());
    let Some(domain) = domain else {
        bail!("the identity {} of {} is not a SPIFFE id", first.identity, first.name);
    };
    let identity = format!("spiffe://{domain}/registry");
    let ca = folder.join(&first.files.ca);
    let issuer = certificates::authority(&ca)
        .context("the registry of the folder needs a certificate of the proxies' authority")?;
    let (chain, key) = (kept.join("registry.crt"), kept.join("registry.key"));
    let host = std::net::Ipv4Addr::LOCALHOST.into();
    let names = vec![SanType::URI(identity.as_str().try_into()?), SanType::IpAddress(host)];
    certificates::issue(&issuer, &chain, &key, names, "registry")?;
    Ok((TlsFiles { certificate: chain, key, client_ca: Some(ca) }, identity))
}

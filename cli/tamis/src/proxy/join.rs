//! How a proxy joins the mesh: it gets its identity from the registry, for a one-time token.

use crate::named_file;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tamis_ambient::{Clock, Random};
use tamis_identity::{Registrar, Renewal};
use tamis_node::DirectorLogin;
use tamis_resources::NodeName;
use tamis_sync::{Backoff, JoinFile, MAX_IDENTITY_BYTES};
use tamis_transport::{MeshIdentity, SpiffeId, causes};

use crate::output;

/// Wait after the first attempt to reach a registry, at most.
const AGAIN: Duration = Duration::from_millis(500);
/// Longest wait between attempts.
const AGAIN_MAX: Duration = Duration::from_secs(15);

/// A proxy that joined the mesh; its SVID is renewed until this is dropped.
pub(crate) struct JoinedProxy {
    /// Its identity.
    pub(crate) identity: MeshIdentity,
    /// The SPIFFE id of the registry.
    registry: SpiffeId,
    _renewal: Renewal,
}

/// A join file whose token was not used yet.
pub(super) struct Admission {
    /// The proxy that the token admits.
    pub(super) node: NodeName,
    path: PathBuf,
    file: JoinFile,
}

impl Admission {
    /// Reads a join file, which must be for the proxy that was named, if one was.
    pub(super) fn read(path: &Path, named: Option<&NodeName>) -> Result<Self> {
        let file = read(path).with_context(|| format!("the join file {}", path.display()))?;
        let node = file.node.parse().with_context(|| format!("{}: its node", path.display()))?;
        check(&node, named)?;
        Ok(Self { node, path: path.to_owned(), file })
    }

    /// Joins with the token. While no registry can be reached it tries again, without an end. Whatever this process cannot
    /// do without a registry is known before: its key ends with it, and without the key the token is used up.
    pub(super) fn join(self) -> Result<JoinedProxy> {
        let Self { path, file, .. } = self;
        let busy = output::busy(format!("joining the mesh at {}", file.registry));
        let joined = JoinedProxy::with(&file).with_context(|| format!("{}", path.display()));
        drop(busy);
        joined
    }
}

impl JoinedProxy {
    /// Joins as that proxy, with the token of a join file that is in memory. While no registry can be reached it tries
    /// again, without an end.
    pub(crate) fn with(file: &JoinFile) -> Result<Self> {
        let registry = file.registry_id.parse().context("the SPIFFE id of the registry")?;
        let (clock, random) = (Clock::system(), Random::system());
        let registrar = Registrar::new(file, clock)?;
        let identity = until_joined(&registrar, file, random)?;
        let renewal = Renewal::start(registrar, identity.clone(), random)
            .context("no thread that renews the SVID")?;
        Ok(Self { identity, registry, _renewal: renewal })
    }

    /// How the proxy and the director of its registry prove who they are to each other.
    pub(crate) fn login(&self) -> DirectorLogin {
        DirectorLogin::Svid { identity: self.identity.clone(), director: self.registry.clone() }
    }
}

/// Checks that the token admits the proxy that was named, if one was.
fn check(node: &NodeName, named: Option<&NodeName>) -> Result<()> {
    match named {
        Some(named) if named != node => {
            bail!(
                "the join file is for {node}, but --node says {named}: leave --node out, or ask the registry for a join file for {named}"
            )
        }
        Some(_) | None => Ok(()),
    }
}

fn until_joined(registrar: &Registrar, file: &JoinFile, random: Random) -> Result<MeshIdentity> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // One key for all attempts: the registry answers it again, if an answer was lost.
    let joining = registrar.joining(file)?;
    let mut backoff = Backoff::new(AGAIN, AGAIN_MAX);
    loop {
        match runtime.block_on(joining.attempt()) {
            Ok(identity) => return Ok(identity),
            Err(error) if !error.is_final() => {
                let pause = backoff.next(random.number(), None);
                tracing::warn!(why = causes(&error), ?pause, "the proxy has not joined yet");
                std::thread::sleep(pause);
            }
            Err(error) => {
                return Err(error).context(format!("{} does not join the mesh", file.node));
            }
        }
    }
}

fn read(path: &Path) -> Result<JoinFile> {
    let file = named_file::open(path).context("it cannot be read")?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        output::note(&format!(
            "{}: others may read this join file: whoever uses its token first becomes this proxy; `chmod 600` it",
            path.display()
        ));
    }
    let mut text = Vec::new();
    file.take(MAX_IDENTITY_BYTES as u64 + 1).read_to_end(&mut text).context("it cannot be read")?;
    if text.len() > MAX_IDENTITY_BYTES {
        bail!("it is longer than {MAX_IDENTITY_BYTES} bytes");
    }
    serde_json::from_slice(&text)
        .context("it is not a join file; make one with the registry's `tamis identity` commands")
}

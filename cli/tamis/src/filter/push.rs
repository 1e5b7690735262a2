//! `tamis filter push`.

use crate::output::{self, Output};
use crate::remote::RegistryAccess;
use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use tamis_client::{Artifact, ClientError, Overwrite};
use tamis_trust::{Manifest, bundle_lines};

/// Arguments of `push`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The component; its manifest and signatures are in the same folder.
    component: PathBuf,
    /// Repository; default: the filter's name.
    repository: Option<String>,
    /// Push even if the version names another filter in the registry; a registry with immutable versions
    /// still refuses.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    at: RegistryAccess,
}

/// Pushes a signed filter and tags it with its version.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let path = &arguments.component;
    let read = match tamis_node::StoredArtifact::read(path) {
        Ok(read) => read,
        Err(why) => bail!(
            "{why}; a signed filter has its manifest and signatures in the same folder, where `tamis filter sign` writes them"
        ),
    };
    let bundles: Vec<Vec<u8>> =
        bundle_lines(&read.bundles).into_iter().map(<[u8]>::to_vec).collect();
    if bundles.is_empty() {
        bail!(
            "{} has no signature, and an unsigned filter never runs; sign it with `tamis filter sign`",
            path.display()
        );
    }
    let manifest = Manifest::parse(&read.manifest)
        .with_context(|| format!("the manifest of {}", path.display()))?;
    let (name, version) = (manifest.name().to_string(), manifest.version().to_string());
    let repository = arguments.repository.clone().unwrap_or_else(|| name.clone());
    let artifact = Artifact { manifest: read.manifest, component: read.component, bundles };
    let remote = arguments.at.remote()?;
    let overwrite = if arguments.replace { Overwrite::Allowed } else { Overwrite::Forbidden };
    let pushed = remote.ask(&format!("pushing {name} {version}"), async |client| {
        client.push_parsed(&repository, (&artifact, &manifest), overwrite).await
    });
    let pushed = pushed.map_err(|error| match error.downcast_ref() {
        Some(ClientError::Released { there, here }) => anyhow!(
            "{repository}:{version} exists already with other bytes, in {}: sign these with a higher version (--version {}) and push that, or, as long as nobody else has the old ones, overwrite them with --replace (manifest there {there}, here {here})",
            remote.server(),
            super::artifact::next(&version)
        ),
        _ => error,
    })?;
    let value = json!({
        "name": name, "version": version, "repository": repository, "tag": pushed.tag,
        "digest": pushed.digest.to_string(), "signatures": pushed.signatures.len(),
        "registry": remote.server().to_string(),
    });
    output::result(output, &value, || {
        let (tag, digest) = (&pushed.tag, &pushed.digest);
        let signatures = pushed.signatures.len();
        format!("{repository}:{tag} with {signatures} signature(s)\n{digest}")
    });
    Ok(ExitCode::SUCCESS)
}

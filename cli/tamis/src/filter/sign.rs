//! `tamis filter sign`.

use super::{artifact, lock};
use crate::keys;
use crate::named_file;
use crate::output::{self, Output};
use crate::user_state;
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use tamis_resources::{NodeName, Pin};
use tamis_trust::Digest;

/// Arguments of `sign`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The component.
    component: PathBuf,
    /// NAMESPACE/NAME of the filter.
    #[arg(long)]
    name: String,
    /// Its release, a semantic version.
    #[arg(long)]
    version: String,
    /// Key to sign with; may be repeated.
    #[arg(long, required = true)]
    key: Vec<PathBuf>,
    /// Folder to write the artifact to.
    #[arg(long, default_value = ".")]
    store: PathBuf,
    /// Overwrite a release of the same version that has other bytes. Only for work on one machine: whoever
    /// has that version already would have another filter under its name.
    #[arg(long)]
    replace: bool,
    /// Lock file in which the filter is pinned to this release: a `.yaml` file of the folder of documents, such as
    /// `FOLDER/.tamis/filters.lock.yaml`.
    #[arg(long)]
    pin: Option<PathBuf>,
    /// Service or gateway it is pinned for, NAMESPACE/NAME; `*` means all.
    #[arg(long, default_value = "*")]
    service: String,
}

/// Signs, stores, pins.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let Arguments { component, name, version, key, store, replace, pin, service } = arguments;
    // Check everything the pin needs before signing, so that no signature is left without its pin.
    if let Some(path) = pin {
        pinned_for(service)?;
        lock::is_document(path)?;
        lock::read(path).context("it cannot be pinned, so nothing is signed")?;
    }
    let octets = named_file::component(component)
        .with_context(|| format!("the component {} cannot be read", component.display()))?;
    let manifest = artifact::manifest(&octets, name, version)
        .with_context(|| format!("{} cannot be signed", component.display()))?;
    let keys = key.iter().map(|path| keys::read_private(path)).collect::<Result<Vec<_>>>()?;
    let file = store.join(artifact::file_name(name, version));
    artifact::is_free(&file, name, version)?;
    if !replace {
        artifact::is_new(&file, &manifest, name, version)?;
    }
    std::fs::create_dir_all(store)
        .with_context(|| format!("the store {} cannot be made", store.display()))?;
    artifact::write(&file, &octets, &manifest, &keys.iter().collect::<Vec<_>>())?;
    let digest = Digest::of(&manifest).to_string();
    if let Some(path) = pin {
        let pin = Pin {
            service: service.clone(),
            filter: name.clone(),
            version: version.clone(),
            digest: digest.clone(),
        };
        lock::pin(path, pin).context("signed, but not pinned")?;
    }
    let value = json!({
        "name": name, "version": version, "digest": digest, "file": file,
        "keys": keys.iter().map(|key| key.public_key().id().to_string()).collect::<Vec<_>>(),
        "pinned": pin,
    });
    output::result(output, &value, || {
        let pinned = pin.as_ref().map(|path| format!("\npinned in {}", path.display()));
        format!("{name} {version}\n{digest}\n{}{}", file.display(), pinned.unwrap_or_default())
    });
    user_state::keep_compiled(&octets);
    Ok(ExitCode::SUCCESS)
}

/// Checks that a pin may name this service.
fn pinned_for(service: &str) -> Result<()> {
    if service != "*" && format!("gateway:{service}").parse::<NodeName>().is_err() {
        bail!(
            "--service `{service}` is not the name of a service; write NAMESPACE/NAME, or * for all"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! `tamis filter pull`.

use super::artifact::{beside, file_name, is_free, is_new, put};
use crate::output::{self, Output};
use crate::remote::RegistryAccess;
use crate::user_state;
use anyhow::{Context as _, Result};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use tamis_client::ManifestReference;

/// Arguments of `pull`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// REPOSITORY:TAG or REPOSITORY@sha256:….
    #[arg(value_parser = reference, value_name = "REPOSITORY:TAG")]
    reference: (String, ManifestReference),
    /// Folder to write the artifact to.
    #[arg(long, default_value = ".")]
    store: PathBuf,
    /// Overwrite a release of the same version that has other bytes.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    at: RegistryAccess,
}

fn reference(text: &str) -> Result<(String, ManifestReference), String> {
    let parts = text.split_once('@').or_else(|| text.rsplit_once(':'));
    let (repository, which) =
        parts.ok_or("write REPOSITORY:TAG or REPOSITORY@sha256:…".to_owned())?;
    Ok((repository.to_owned(), which.parse()?))
}

/// Pulls a filter with its signatures into a store. `tamis filter verify` checks whether it may run.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let Arguments { reference: (repository, which), store, replace, at } = arguments;
    let remote = at.remote()?;
    let pulled = remote.ask(&format!("pulling {repository}"), async |client| {
        client.pull(repository, which).await
    })?;
    let (name, version) = (pulled.parsed.name().to_string(), pulled.parsed.version().to_string());
    std::fs::create_dir_all(store)
        .with_context(|| format!("the store {} cannot be made", store.display()))?;
    let file = store.join(file_name(&name, &version));
    is_free(&file, &name, &version)?;
    if !replace {
        is_new(&file, &pulled.artifact.manifest, &name, &version)?;
    }
    let mut bundles = Vec::new();
    for bundle in &pulled.artifact.bundles {
        bundles.extend_from_slice(bundle);
        bundles.push(b'\n');
    }
    // The component is written last: whoever finds it finds the other files.
    put(&beside(&file, ".sigstore.json"), &bundles)?;
    put(&beside(&file, ".manifest.json"), &pulled.artifact.manifest)?;
    put(&file, &pulled.artifact.component)?;
    let (digest, signatures) = (pulled.digest.to_string(), pulled.artifact.bundles.len());
    let value = json!({
        "name": name, "version": version, "digest": digest, "file": file, "signatures": signatures,
    });
    output::result(output, &value, || {
        format!("{name} {version} with {signatures} signature(s)\n{digest}\n{}", file.display())
    });
    user_state::keep_compiled(&pulled.artifact.component);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_name_a_repository_and_a_tag_or_digest() {
        let (repository, which) = reference("acme/retry:1.4.2").unwrap();
        assert_eq!((repository.as_str(), which.to_string().as_str()), ("acme/retry", "1.4.2"));
        let digest = format!("sha256:{}", "0".repeat(64));
        let (repository, which) = reference(&format!("acme/retry@{digest}")).unwrap();
        assert_eq!((repository.as_str(), which.to_string()), ("acme/retry", digest));
        for bad in ["acme/retry", "acme/retry:", "acme/retry@latest:x"] {
            assert!(reference(bad).is_err(), "{bad}");
        }
    }
}

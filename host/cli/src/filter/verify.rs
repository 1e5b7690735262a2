//! `tamis filter verify`.

use crate::keys;
use crate::output::{self, Output};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use tamis_node::Artifact;
use tamis_trust::{Digest, Policy, Request, bundle_lines, verify};

/// What `verify` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The component; its manifest and signatures lie beside it.
    component: PathBuf,
    /// Public key to believe; may be repeated, and then all must have signed.
    #[arg(long, required_unless_present = "policy")]
    key: Vec<PathBuf>,
    /// Trust policy to judge by (JSON); may be repeated.
    #[arg(long)]
    policy: Vec<PathBuf>,
    /// Digest that is pinned; that of the manifest at hand when not said.
    #[arg(long)]
    digest: Option<Digest>,
    /// NAMESPACE/NAME it must have.
    #[arg(long)]
    name: Option<String>,
}

/// Says whether it may run; fails with the rule if it may not.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let artifact = match Artifact::read(&arguments.component) {
        Ok(artifact) => artifact,
        Err(why) => bail!("{why}; a signed filter has its manifest and signatures beside it"),
    };
    let mut policies = Vec::new();
    for path in &arguments.policy {
        let octets = std::fs::read(path)
            .with_context(|| format!("the policy {} cannot be read", path.display()))?;
        policies.push(
            Policy::from_json(&octets).with_context(|| format!("the policy {}", path.display()))?,
        );
    }
    if !arguments.key.is_empty() {
        policies.push(of_keys(&arguments.key)?);
    }
    let digest = arguments.digest.unwrap_or_else(|| Digest::of(&artifact.manifest));
    let request = Request {
        pinned: &digest,
        name: arguments.name.as_deref(),
        manifest: &artifact.manifest,
        bundles: &bundle_lines(&artifact.bundles),
        policies: &policies,
        now: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    match verify(&request, &artifact.component) {
        Ok(verified) => {
            let signers: Vec<&str> = verified.signers.iter().map(|one| one.0.as_str()).collect();
            let value = json!({
                "verified": true, "name": verified.name.to_string(), "signers": signers,
                "version": verified.version.to_string(), "digest": verified.digest.to_string(),
            });
            output::result(output, &value, || {
                let (name, version) = (&verified.name, &verified.version);
                format!("{name} {version} may run\n{digest}\nsigned by {}", signers.join(", "))
            });
            Ok(ExitCode::SUCCESS)
        }
        Err(refused) => {
            let value = json!({
                "verified": false, "code": refused.code, "rule": refused.rule,
                "setBy": refused.set_by, "remedy": refused.remedy,
            });
            output::result(output, &value, || {
                format!(
                    "refused: {}\n{} (set by {})\n{}",
                    refused.code, refused.rule, refused.set_by, refused.remedy
                )
            });
            Ok(ExitCode::FAILURE)
        }
    }
}

/// A policy that asks for all of these keys.
fn of_keys(paths: &[PathBuf]) -> Result<Policy> {
    let mut keys = Vec::new();
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        keys.push(json!({ "name": name, "publicKey": keys::read_public(path)?.to_pem() }));
    }
    let policy = json!({
        "name": "the keys given", "namespaces": ["*"], "threshold": paths.len(), "keys": keys,
    });
    Ok(Policy::from_json(policy.to_string().as_bytes())?)
}

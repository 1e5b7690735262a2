//! `tamis filter verify`.

use crate::keys;
use crate::named_file;
use crate::output::{self, Output};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tamis_ambient::Clock;
use tamis_node::{StoredArtifact, false_claim};
use tamis_trust::{
    Digest, Manifest, Refused, SignaturePolicy, VerificationRequest, VerifiedFilter, bundle_lines,
    code, verify,
};

/// Arguments of `verify`.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("whom").required(true).multiple(true)))]
pub(crate) struct Arguments {
    /// The component; its manifest and signatures are in the same folder.
    component: PathBuf,
    /// Public key to trust; may be repeated, and then all must have signed.
    #[arg(long, group = "whom")]
    key: Vec<PathBuf>,
    /// Trust policy (JSON); may be repeated.
    #[arg(long, group = "whom")]
    policy: Vec<PathBuf>,
    /// Digest that is pinned; default: that of the manifest in the folder.
    #[arg(long)]
    digest: Option<Digest>,
    /// NAMESPACE/NAME it must have.
    #[arg(long)]
    name: Option<String>,
}

/// Prints whether it may run; fails with the rule if it may not.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    match judge(arguments)? {
        Ok(verified) => {
            let signers: Vec<&str> = verified.signers.iter().map(|one| one.0.as_str()).collect();
            let (name, version) = (&verified.name, &verified.version);
            let digest = verified.digest.to_string();
            let value = json!({
                "verified": true, "name": name.to_string(), "signers": signers,
                "version": version.to_string(), "digest": digest,
            });
            output::result(output, &value, || {
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
                    "refused: {}\n{} (rule of {})\n{}",
                    refused.code, refused.rule, refused.set_by, refused.remedy
                )
            });
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The decision of the policies on the artifact.
fn judge(arguments: &Arguments) -> Result<Result<VerifiedFilter, Refused>> {
    let artifact = match StoredArtifact::read(&arguments.component) {
        Ok(artifact) => artifact,
        Err(why) => bail!(
            "{why}; a signed filter has its manifest and signatures in the same folder, where `tamis filter sign` writes them"
        ),
    };
    let mut policies = Vec::new();
    for path in &arguments.policy {
        let octets = named_file::octets(path)
            .with_context(|| format!("the policy {} cannot be read", path.display()))?;
        policies.push(
            SignaturePolicy::from_json(&octets)
                .with_context(|| format!("the policy {}", path.display()))?,
        );
    }
    if !arguments.key.is_empty() {
        policies.push(of_keys(&arguments.key)?);
    }
    let digest = arguments.digest.unwrap_or_else(|| Digest::of(&artifact.manifest));
    let request = VerificationRequest {
        pinned: &digest,
        name: arguments.name.as_deref(),
        manifest: &artifact.manifest,
        bundles: &bundle_lines(&artifact.bundles),
        // No log is available; a policy that needs one refuses.
        logged: &[],
        policies: &policies,
        policy_age: Duration::ZERO,
        now: Clock::system().unix_secs(),
    };
    Ok(verify(&request, &artifact.component)
        .and_then(|verified| truthful(&artifact).map(|()| verified)))
}

/// Checks that the manifest describes the component as it is.
fn truthful(artifact: &StoredArtifact) -> Result<(), Refused> {
    let broken = |why: String| Refused {
        code: code::FORMAT.into(),
        rule: format!("the component must be a filter ({why})"),
        set_by: "the artifact format".to_owned(),
        remedy: "build and sign it again; `tamis filter inspect` shows what the file is".to_owned(),
    };
    let manifest =
        Manifest::parse(&artifact.manifest).map_err(|error| broken(error.to_string()))?;
    let inspection =
        tamis_engine::inspect(&artifact.component).map_err(|error| broken(error.to_string()))?;
    let claims = inspection.check_claims(manifest.imports(), manifest.exports());
    claims.map_err(|claim| false_claim(&claim))
}

/// A policy that requires all of these keys.
fn of_keys(paths: &[PathBuf]) -> Result<SignaturePolicy> {
    let mut keys = Vec::new();
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        keys.push(json!({ "name": name, "publicKey": keys::read_public(path)?.to_pem() }));
    }
    let policy = json!({
        "name": "the keys given", "namespaces": ["*"], "threshold": paths.len(), "keys": keys,
    });
    Ok(SignaturePolicy::from_json(policy.to_string().as_bytes())?)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use clap::Parser;
    use std::path::Path;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    /// Code with which `verify` refuses a component under these arguments.
    pub(crate) fn refusal(component: &Path, arguments: &[&str]) -> Option<String> {
        let line = [&["verify", component.to_str().unwrap()], arguments].concat();
        let line = Line::try_parse_from(line).unwrap_or_else(|error| panic!("{error}"));
        judge(&line.arguments).unwrap().err().map(|refused| refused.code.into_owned())
    }

    #[test]
    fn a_manifest_that_lies_about_its_component_is_refused_though_it_is_signed() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        let retry = crate::builtin::all().unwrap().into_iter().find(|it| it.name == "tamis/retry");
        let component = retry.unwrap().component;
        let key = tamis_trust::PrivateKey::generate().unwrap();
        std::fs::write(path("release.pub"), key.public_key().to_pem()).unwrap();
        let said = |manifest: &[u8]| {
            crate::filter::artifact::write(&path("a.wasm"), component, manifest, &[&key]).unwrap();
            refusal(&path("a.wasm"), &["--key", path("release.pub").to_str().unwrap()])
        };
        let honest = crate::filter::artifact::manifest(component, "acme/a", "1.0.0").unwrap();
        assert_eq!(said(&honest), None);
        let lies = tamis_trust::BuildInput::new("acme/a", "1.0.0");
        let lies = tamis_trust::build(component, &lies).unwrap();
        assert_eq!(said(&lies).as_deref(), Some("trust.claims"));
    }

    #[test]
    fn somebody_has_to_be_believed_and_files_that_lack_are_named() {
        assert!(Line::try_parse_from(["verify", "a.wasm"]).is_err());
        let folder = tempfile::TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let said = |policy: &str| {
            let (component, policy) = (path("a.wasm"), path(policy));
            let line = Line::try_parse_from(["verify", &component, "--policy", &policy]).unwrap();
            format!("{:#}", judge(&line.arguments).unwrap_err())
        };
        assert!(said("p.json").contains("a.wasm") && said("p.json").contains("tamis filter sign"));
        for name in ["a.wasm", "a.wasm.manifest.json"] {
            std::fs::write(path(name), "{}").unwrap();
        }
        assert!(said("p.json").contains("p.json cannot be read"), "{}", said("p.json"));
        std::fs::write(path("p.json"), "{ \"name\": 1 }").unwrap();
        assert!(
            said("p.json").contains("the policy") && said("p.json").contains("expected a string"),
            "{}",
            said("p.json")
        );
    }
}

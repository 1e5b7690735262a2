//! `tamis keys replace`: puts a new signing key in the place of one that was lost or stolen.
//!
//! Every step is checked before the next, and all that is done already is left alone: after a step that needs
//! somebody, the same command continues.

use super::read_private;
use crate::output::{self, Output};
use crate::remote::{RegistryAccess, Remote};
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use tamis_api::{ResourceView, RevocationView, RevokeRequest, StoppedSlot};
use tamis_client::{ClientError, ManifestReference};
use tamis_trust::{Digest, PrivateKey, SignaturePolicy, is_by, sign};

/// Arguments of `replace`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The key that was lost: its id, or its name in the trust policies.
    lost: String,
    /// The private key that takes its place; `tamis keys generate` makes one.
    #[arg(long, value_name = "FILE")]
    with: PathBuf,
    /// Reason, shown with the revocation and to people who try to pin what only the lost key signed.
    #[arg(long)]
    reason: String,
    /// Show what would be signed again and what would stop, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    at: RegistryAccess,
}

/// A pinned filter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct PinnedFilter {
    filter: String,
    digest: String,
}

/// Signs what is pinned with the new key, and revokes the lost one once nothing depends on it.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let Arguments { lost, with, reason, dry_run, at } = arguments;
    let key = read_private(with)?;
    let remote = at.remote()?;
    let request = RevokeRequest {
        digest: None,
        key: Some(lost.clone()),
        from_index: None,
        reason: reason.clone(),
        now: false,
        confirm: false,
        dry_run: true,
    };
    let before = revoke(&remote, &request)?;
    if before.what == key.public_key().id().to_string() {
        bail!("{} is the lost key itself; make another with `tamis keys generate`", with.display());
    }
    let mut signed = Vec::new();
    for one in pinned(&remote, &before.stops)? {
        if again(&remote, &one, &before.what, &key, *dry_run)? {
            signed.push(one);
        }
    }
    let after = if *dry_run { before } else { revoke(&remote, &request)? };
    let stops = !after.stops.is_empty();
    let revoked = !*dry_run && !stops;
    if revoked {
        revoke(&remote, &RevokeRequest { dry_run: false, ..request })?;
    }
    let value = json!({
        "lost": after.what, "signed": signed, "stops": after.stops, "revoked": revoked,
    });
    output::result(output, &value, || {
        let mut text = signed_text(&signed, *dry_run);
        text.push_str(&match (stops, *dry_run) {
            (true, false) => untrusted(&after, &key),
            (_, true) => format!("{} slots depend on {lost} now\n", after.stops.len()),
            (false, false) => format!(
                "{lost} is revoked: nothing depends on it any more, and nothing that it alone signed can be pinned. \
                 Take it out of the trust policy, and find what it signed: `tamis audit log`\n"
            ),
        });
        text
    });
    Ok(if stops && !*dry_run { ExitCode::from(WAITS) } else { ExitCode::SUCCESS })
}

/// The exit code of a command that waits for somebody, as of a change that a guard refuses.
const WAITS: u8 = 3;

fn revoke(remote: &Remote, request: &RevokeRequest) -> Result<RevocationView> {
    remote.ask("looking up what depends on the key", async |client| client.revoke(request).await)
}

/// What is pinned, and what runs without being pinned, such as the candidate of a rollout.
fn pinned(remote: &Remote, stops: &[StoppedSlot]) -> Result<BTreeSet<PinnedFilter>> {
    let pins = remote.ask("reading the pins", async |client| client.pins().await)?;
    let pins = pins.into_iter().map(|pin| PinnedFilter { filter: pin.filter, digest: pin.digest });
    let run = stops.iter();
    let run =
        run.map(|stop| PinnedFilter { filter: stop.filter.clone(), digest: stop.digest.clone() });
    Ok(pins.chain(run).collect())
}

/// Signs an artifact with the new key if the lost one signed it; returns whether it did, or would.
fn again(
    remote: &Remote,
    one: &PinnedFilter,
    lost: &str,
    key: &PrivateKey,
    dry: bool,
) -> Result<bool> {
    let repository = repository(remote, &one.filter)?;
    let digest: Digest = one.digest.parse().with_context(|| one.digest.clone())?;
    let what = format!("looking at {} {}", one.filter, one.digest);
    let reference = ManifestReference::Digest(digest);
    let pulled = remote.ask(&what, async |client| client.pull(&repository, &reference).await)?;
    let bundles = pulled.artifact.bundles.iter();
    let names = |bundle: &&Vec<u8>| hint(bundle).is_some_and(|hint| hint == lost);
    if bundles.clone().filter(names).count() == 0 {
        return Ok(false);
    }
    // A name proves nothing: somebody else may have attached a signature that names the new key.
    let new = policy_of(key)?;
    if bundles.clone().any(|bundle| is_by(bundle, &digest, std::slice::from_ref(&new))) {
        return Ok(false);
    }
    if !dry {
        let bundle = sign(key, &pulled.artifact.manifest)?;
        let manifest = &pulled.artifact.manifest;
        remote.ask(&format!("signing {} again", one.filter), async |client| {
            client.attach(&repository, manifest, bundle.as_bytes()).await
        })?;
    }
    Ok(true)
}

/// The repository of a filter: that of its document, or its name.
fn repository(remote: &Remote, filter: &str) -> Result<String> {
    let (namespace, name) = filter.split_once('/').unwrap_or_default();
    let found: Result<ResourceView, ClientError> = remote
        .attempt("reading its document", async |client| {
            client.resource("Filter", namespace, name).await
        });
    let text = match found {
        Ok(found) => found.text,
        Err(error) if error.problem().is_some_and(|problem| problem.status == 404) => {
            return Ok(filter.to_owned());
        }
        Err(error) => return Err(error.into()),
    };
    let documents = tamis_resources::parse("Filter", &text).0;
    let named = documents.into_iter().find_map(|one| match one.resource {
        tamis_resources::Resource::Filter(spec) => spec.repository,
        _ => None,
    });
    Ok(named.unwrap_or_else(|| filter.to_owned()))
}

/// The key that a bundle claims to be signed by.
fn hint(bundle: &[u8]) -> Option<String> {
    let bundle: serde_json::Value = serde_json::from_slice(bundle).ok()?;
    let hint = bundle.pointer("/verificationMaterial/publicKey/hint")?;
    hint.as_str().map(str::to_owned)
}

/// A policy that trusts this key alone.
fn policy_of(key: &PrivateKey) -> Result<SignaturePolicy> {
    let key = json!({ "name": "new", "publicKey": key.public_key().to_pem() });
    let policy = json!({ "name": "new", "namespaces": ["*"], "keys": [key], "threshold": 1 });
    Ok(SignaturePolicy::from_json(policy.to_string().as_bytes())?)
}

fn signed_text(signed: &[PinnedFilter], dry: bool) -> String {
    let done = if dry { "would be signed again" } else { "signed again" };
    signed.iter().map(|one| format!("{done}: {} {}\n", one.filter, one.digest)).collect()
}

/// What is left to do when the new signatures do not count yet.
fn untrusted(revoked: &RevocationView, key: &PrivateKey) -> String {
    let filters: BTreeSet<&str> = revoked.stops.iter().map(|stop| stop.filter.as_str()).collect();
    let filters: Vec<&str> = filters.into_iter().collect();
    let pem = key.public_key().to_pem();
    let pem: String = pem.lines().map(|line| format!("          {line}\n")).collect();
    format!(
        "not revoked: {} slots would stop, since no trust policy counts enough other keys for {}.\n\
         Add the new key beside the old one to the TrustPolicy that decides about them, apply it, and run this \
         command again (or let the other keys sign, if the policy asks for several):\n\
         \x20   keys:\n\x20     - name: NAME\n\x20       publicKey: |\n{pem}",
        revoked.stops.len(),
        filters.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_to_do_is_told_with_the_lines_to_write() {
        let key = PrivateKey::generate().unwrap();
        let stop = |service: &str| StoppedSlot {
            service: service.to_owned(),
            slot: "shop/guard".to_owned(),
            filter: "acme/guard".to_owned(),
            digest: "sha256:00".to_owned(),
        };
        let revoked = RevocationView {
            what: "id".into(),
            from_index: None,
            reason: "lost".into(),
            revision: 3,
            time_ms: 0,
            actor: "ada".into(),
            now: false,
            stops: vec![stop("shop/a"), stop("shop/b")],
        };
        let text = untrusted(&revoked, &key);
        assert!(text.contains("2 slots would stop") && text.contains("for acme/guard."), "{text}");
        let yaml = text.split_once("    keys:\n").unwrap().1;
        let policy = format!(
            "kind: TrustPolicy\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: p, namespace: security }}\n\
             spec:\n    namespaces: [\"*\"]\n    threshold: 1\n    keys:\n{yaml}"
        );
        let (documents, problems) = tamis_resources::parse("p.yaml", &policy);
        assert!(problems.is_empty() && documents.len() == 1, "{problems:?}\n{policy}");
    }

    #[test]
    fn a_policy_of_one_key_knows_its_signatures_and_no_others() {
        let (key, other) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
        let manifest = b"{}";
        let digest = Digest::of(manifest);
        let policy = [policy_of(&key).unwrap()];
        assert!(sign(&key, manifest).is_err(), "it signs no rubbish");
        assert!(!is_by(b"{}", &digest, &policy) && hint(b"{}").is_none());
        assert!(policy_of(&other).unwrap().keys()[0].id != policy[0].keys()[0].id);
    }
}

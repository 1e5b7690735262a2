//! `tamis keys replace`: puts a new signing key in the place of one that was lost or stolen.
//!
//! Every step is checked before the next, and all that is done already is left alone: after a step that needs
//! somebody, the same command continues.
//!
//! Whoever stole a key may have pinned what they signed with it. So a digest is signed again without asking only if it was
//! in force before the key was stolen; every other one, and all of them if nobody says when that was, has to be named.

use super::read_private;
use crate::output::{self, Output};
use crate::remote::{RegistryAccess, Remote};
use crate::when::{ago, dated, moment, now_ms, rfc3339};
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use tamis_api::{PinView, ResourceView, RevocationView, RevokeRequest, StoppedSlot};
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
    /// When somebody else may have got the key: a moment of RFC 3339 in UTC, a day, or an age (10m, 1h30m); `now` if nobody
    /// has it. What was pinned before is signed again; what was pinned since, or runs without a pin, is listed.
    #[arg(long, value_name = "TIME")]
    stolen_since: Option<String>,
    /// Sign this digest again although nothing shows that it was in force before the key was stolen: you know what it is. May
    /// be repeated.
    #[arg(long, value_name = "DIGEST")]
    sign: Vec<Digest>,
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

/// A pinned filter that is not signed again before somebody says so, with its pins.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Unproven {
    #[serde(flatten)]
    what: PinnedFilter,
    /// None: it runs without being pinned.
    pins: Vec<PinView>,
}

/// Which digests are signed again.
struct Consent {
    /// When the key was stolen, in milliseconds since the Unix epoch; `None`: nobody said.
    stolen_ms: Option<u64>,
    /// Those that somebody vouches for.
    named: Vec<String>,
}

impl Consent {
    fn of(arguments: &Arguments, now_ms: u64) -> Result<Self> {
        let stolen_ms = arguments.stolen_since.as_deref().map(|text| moment(text, now_ms));
        let stolen_ms = stolen_ms.transpose().context("--stolen-since")?;
        if let Some(at) = stolen_ms.filter(|at| *at > now_ms) {
            bail!(
                "--stolen-since: {} is still to come; give the first moment at which somebody else may have had the key",
                rfc3339(at)
            );
        }
        Ok(Self { stolen_ms, named: arguments.sign.iter().map(ToString::to_string).collect() })
    }

    /// Whether the digest may be signed again: one of its pins is older than the theft, or somebody vouches for it.
    fn covers(&self, what: &PinnedFilter, pins: &[PinView]) -> bool {
        let older = |pin: &PinView| self.stolen_ms.is_some_and(|stolen| pin.time_ms < stolen);
        self.named.contains(&what.digest) || pins.iter().any(older)
    }
}

/// Signs what is pinned with the new key, and revokes the lost one once nothing depends on it.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let Arguments { lost, with, reason, dry_run, at, .. } = arguments;
    let consent = Consent::of(arguments, now_ms())?;
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
    let pinned = pinned(&remote, &before.stops)?;
    if let Some(named) =
        consent.named.iter().find(|one| !pinned.keys().any(|it| it.digest == **one))
    {
        bail!(
            "--sign {named}: nothing that is pinned or runs has this digest; `tamis pins` lists what has one"
        );
    }
    let (mut signed, mut unproven) = (Vec::new(), Vec::new());
    for (what, pins) in pinned {
        let Some(needed) = lacking(&remote, &what, &before.what, &key)? else { continue };
        if !consent.covers(&what, &pins) {
            unproven.push(Unproven { what, pins });
            continue;
        }
        if !*dry_run {
            needed.sign(&remote, &what.filter, &key)?;
        }
        signed.push(what);
    }
    let after = if *dry_run { before } else { revoke(&remote, &request)? };
    let stops = !after.stops.is_empty();
    let revoked = !*dry_run && !stops;
    if revoked {
        revoke(&remote, &RevokeRequest { dry_run: false, ..request })?;
    }
    let value = json!({
        "lost": after.what, "signed": signed, "unproven": dated(&unproven), "stops": after.stops,
        "revoked": revoked,
    });
    output::result(output, &value, || {
        let mut text = signed_text(&signed, *dry_run);
        text.push_str(&asked(&unproven, &consent, now_ms()));
        text.push_str(&match (stops, *dry_run) {
            (true, false) if !unproven.is_empty() => format!(
                "not revoked: {} slots would stop, those of what is not signed again among them\n",
                after.stops.len()
            ),
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

/// What is pinned, with its pins, and what runs without being pinned, such as the candidate of a rollout.
fn pinned(remote: &Remote, stops: &[StoppedSlot]) -> Result<BTreeMap<PinnedFilter, Vec<PinView>>> {
    let pins = remote.ask("reading the pins", async |client| client.pins().await)?;
    let mut all: BTreeMap<PinnedFilter, Vec<PinView>> = BTreeMap::new();
    for pin in pins {
        let what = PinnedFilter { filter: pin.filter.clone(), digest: pin.digest.clone() };
        all.entry(what).or_default().push(pin);
    }
    for stop in stops {
        all.entry(PinnedFilter { filter: stop.filter.clone(), digest: stop.digest.clone() })
            .or_default();
    }
    Ok(all)
}

/// An artifact that the lost key signed, and the new one did not.
struct LackingSignature {
    repository: String,
    manifest: Vec<u8>,
}

impl LackingSignature {
    /// Signs it with the new key.
    fn sign(&self, remote: &Remote, filter: &str, key: &PrivateKey) -> Result<()> {
        let Self { repository, manifest } = self;
        let bundle = sign(key, manifest)?;
        remote.ask(&format!("signing {filter} again"), async |client| {
            client.attach(repository, manifest, bundle.as_bytes()).await
        })?;
        Ok(())
    }
}

/// What has to be signed again; `None`: the lost key did not sign it, or the new one did already.
fn lacking(
    remote: &Remote,
    one: &PinnedFilter,
    lost: &str,
    key: &PrivateKey,
) -> Result<Option<LackingSignature>> {
    let repository = repository(remote, &one.filter)?;
    let digest: Digest = one.digest.parse().with_context(|| one.digest.clone())?;
    let what = format!("looking at {} {}", one.filter, one.digest);
    let reference = ManifestReference::Digest(digest);
    let pulled = remote.ask(&what, async |client| client.pull(&repository, &reference).await)?;
    let bundles = pulled.artifact.bundles.iter();
    let names = |bundle: &&Vec<u8>| hint(bundle).is_some_and(|hint| hint == lost);
    if bundles.clone().filter(names).count() == 0 {
        return Ok(None);
    }
    // A name proves nothing: somebody else may have attached a signature that names the new key.
    let new = policy_of(key)?;
    if bundles.clone().any(|bundle| is_by(bundle, &digest, std::slice::from_ref(&new))) {
        return Ok(None);
    }
    Ok(Some(LackingSignature { repository, manifest: pulled.artifact.manifest }))
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

/// What nobody vouches for, and how to go on; nothing if that is nothing.
fn asked(unproven: &[Unproven], consent: &Consent, now_ms: u64) -> String {
    if unproven.is_empty() {
        return String::new();
    }
    let mut text = String::new();
    for Unproven { what: PinnedFilter { filter, digest }, pins } in unproven {
        let _ = writeln!(text, "not signed again: {filter} {digest}");
        if pins.is_empty() {
            let _ = writeln!(
                text,
                "    it runs without a pin of its own, as the candidate of a rollout does"
            );
        }
        for PinView { service, version, time_ms, actor, .. } in pins {
            let (at, ago) = (rfc3339(*time_ms), ago(now_ms, *time_ms));
            let _ =
                writeln!(text, "    {version} for {service}, pinned by {actor} at {at} ({ago})");
        }
    }
    let why = match consent.stolen_ms {
        Some(stolen) => format!(
            "Nothing shows that these were in force before {}: whoever has the key may have signed and pinned them.",
            rfc3339(stolen)
        ),
        None => "Whoever has the key may have signed and pinned these. Say since when with `--stolen-since TIME` (`now` if nobody has it): what was pinned before is signed again.".to_owned(),
    };
    let _ = writeln!(
        text,
        "{why}\nPut what is not yours out of force (`tamis rollback`, `tamis unpin`); add `--sign DIGEST` for what you know. Then run this command again."
    );
    text
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

    fn pin(digest: &str, time_ms: u64) -> PinView {
        PinView {
            service: "shop/a".into(),
            filter: "acme/guard".into(),
            version: "1.0.0".into(),
            digest: digest.into(),
            revision: 1,
            time_ms,
            actor: "eve".into(),
        }
    }

    #[test]
    fn only_what_was_in_force_before_the_theft_or_is_named_is_signed_again() {
        // When it was stolen, what is named, when its pins were set, and whether it is signed.
        for (stolen_ms, named, pins, signed) in [
            (Some(10), &[][..], &[9][..], true),
            (Some(10), &[], &[10], false),
            (Some(10), &[], &[11], false),
            (Some(10), &[], &[11, 9], true),
            (Some(10), &[], &[], false),
            (Some(10), &["sha256:00"], &[], true),
            (Some(10), &["sha256:00"], &[11], true),
            (Some(10), &["sha256:01"], &[11], false),
            (Some(0), &[], &[0, 5], false),
            (None, &[], &[9], false),
            (None, &["sha256:00"], &[9], true),
        ] {
            let named = named.iter().map(|one| (*one).to_owned()).collect();
            let consent = Consent { stolen_ms, named };
            let what = PinnedFilter { filter: "acme/guard".into(), digest: "sha256:00".into() };
            let pins: Vec<PinView> = pins.iter().map(|at| pin("sha256:00", *at)).collect();
            assert_eq!(consent.covers(&what, &pins), signed, "{stolen_ms:?} {pins:?}");
            let unproven = Unproven { what, pins };
            let text = asked(&[unproven], &consent, 1_000_000);
            assert!(text.contains("not signed again: acme/guard sha256:00\n"), "{text}");
            assert!(text.contains("--sign DIGEST") && text.contains("tamis rollback"), "{text}");
            assert_eq!(text.contains("--stolen-since"), stolen_ms.is_none(), "{text}");
        }
        let consent = Consent { stolen_ms: None, named: Vec::new() };
        assert_eq!(asked(&[], &consent, 0), "");
        let pins = vec![pin("sha256:00", 60_000)];
        let what = PinnedFilter { filter: "acme/guard".into(), digest: "sha256:00".into() };
        let text = asked(&[Unproven { what, pins }], &consent, 120_000);
        let pinned = "    1.0.0 for shop/a, pinned by eve at 1970-01-01T00:01:00Z (1m ago)\n";
        assert!(text.contains(pinned), "{text}");
    }

    #[test]
    fn the_time_of_a_theft_lies_in_the_past() {
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            arguments: Arguments,
        }
        let now = 1_800_000_000_000;
        for (stolen, wanted) in [
            (None, Ok(None)),
            (Some("now"), Ok(Some(now))),
            (Some("1h"), Ok(Some(now - 3_600_000))),
            (Some("2500-01-01T00:00:00Z"), Err("is still to come")),
            (Some("soon"), Err("is not a moment")),
        ] {
            let all = ["replace", "release", "--with", "new.key", "--reason", "stolen"];
            let stolen = stolen.into_iter().flat_map(|text| ["--stolen-since", text]);
            let command = <Command as clap::Parser>::parse_from(all.into_iter().chain(stolen));
            match (Consent::of(&command.arguments, now), wanted) {
                (Ok(consent), Ok(wanted)) => assert_eq!(consent.stolen_ms, wanted),
                (Err(error), Err(wanted)) => {
                    assert!(format!("{error:#}").contains(wanted), "{error:#}");
                }
                (found, _) => panic!("{:?}", found.map(|consent| consent.stolen_ms)),
            }
        }
    }

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

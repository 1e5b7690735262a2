//! The verifier: may these bytes run under that digest?
//!
//! The order matters. The pin is checked first; the policy for the filter's name gives the candidate keys;
//! each bundle's signature is checked over the raw payload *before* the payload is parsed; distinct keys
//! are counted. A bundle that fails is set aside and remembered, never fatal by itself: anybody may attach
//! bundles to a filter, and a useless one must not stop it from running.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::{Envelope, MAX_BUNDLES, PREDICATE_TYPE, STATEMENT_TYPE, Statement, hint};
use crate::policy::TrustedKey;
use crate::refused::{Refused, code};
use crate::verify::withdrawn::{Revocations, fresh, withdrawn};
use crate::{Digest, Manifest, Name, SignaturePolicy, TITLE, TrustError, VERSION, Version};

/// What to verify, by which policies, and when.
#[derive(Debug, Clone, Copy)]
pub struct VerificationRequest<'a> {
    /// The digest of the manifest that somebody pinned.
    pub pinned: &'a Digest,
    /// The name that was pinned; `None`: the manifest's own name, under the policy for that name.
    pub name: Option<&'a str>,
    /// The manifest's bytes, from any source.
    pub manifest: &'a [u8],
    /// The available bundles, one per item, from any source.
    pub bundles: &'a [&'a [u8]],
    /// Where the log recorded each bundle: the index of its `sign-seen` record, in the order of `bundles`.
    /// `None` or a missing entry: not recorded, as far as the caller can prove. Only used for keys that are
    /// revoked from an index on.
    pub logged: &'a [Option<u64>],
    /// The policies in force. Of the deciding policies, the one with the closest match of the name decides; narrowing
    /// policies add requirements; the revocations and floors of all policies that match the name apply.
    pub policies: &'a [SignaturePolicy],
    /// How long ago the policies were last known to be in force. Zero for a caller that just read them at
    /// their source, and for the question whether what runs may keep running: staleness stops new
    /// activations only.
    pub policy_age: Duration,
    /// Seconds since the Unix epoch.
    pub now: u64,
}

/// The verified facts about a filter that may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedFilter {
    /// The manifest, parsed.
    pub manifest: Arc<Manifest>,
    /// The manifest's digest.
    pub digest: Digest,
    /// The filter's name.
    pub name: Name,
    /// The filter's version.
    pub version: Version,
    /// The distinct keys that signed, by their names in the policy, sorted.
    pub signers: Vec<SignerName>,
}

impl VerifiedFilter {
    /// Checks that at least `threshold` of the keys of these names signed: what a grant may ask for beyond
    /// the policy.
    ///
    /// # Errors
    /// [`Refused`] with `trust.threshold`.
    pub fn enough(&self, keys: &[String], threshold: u32) -> Result<(), Refused> {
        let by = self.signers.iter().filter(|signer| keys.contains(&signer.0)).count();
        if u32::try_from(by).is_ok_and(|by| by >= threshold) {
            return Ok(());
        }
        let keys = keys.join(", ");
        Err(Refused {
            code: code::THRESHOLD.into(),
            rule: format!(
                "its grant asks for {threshold} of the keys {keys} to have signed, {by} did"
            ),
            set_by: "its grant".to_owned(),
            remedy: "sign it with them".to_owned(),
        })
    }
}

/// The policy's name for a key that signed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignerName(pub String);

impl fmt::Display for SignerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

mod withdrawn;

/// The most policies that narrow one filter: each costs as many checks of signatures as the one that decides.
const MAX_NARROWING: usize = 8;
const FORMAT_SETTER: &str = "the artifact format";

/// Verifies a filter: pin, policy, signatures, and that `component` is what the manifest describes.
///
/// # Errors
/// [`Refused`], always with the rule, who set it and the way out.
pub fn verify(
    request: &VerificationRequest<'_>,
    component: &[u8],
) -> Result<VerifiedFilter, Refused> {
    with_component(request, check(request, None)?, component)
}

/// The same for a caller that parsed the manifest before: one of another digest is set aside, and that of the request is
/// parsed.
///
/// # Errors
/// Those of [`verify`].
pub fn verify_parsed(
    request: &VerificationRequest<'_>,
    parsed: &Arc<Manifest>,
    component: &[u8],
) -> Result<VerifiedFilter, Refused> {
    with_component(request, check(request, Some(parsed))?, component)
}

fn with_component(
    request: &VerificationRequest<'_>,
    verified: VerifiedFilter,
    component: &[u8],
) -> Result<VerifiedFilter, Refused> {
    verified.manifest.check(component).map_err(|error| Refused {
        code: code::ALTERED.into(),
        rule: format!("the component must be the one the manifest names ({error})"),
        set_by: format!("the manifest {}", request.pinned),
        remedy: "fetch the component again, or pin the digest of its own signed manifest"
            .to_owned(),
    })?;
    Ok(verified)
}

/// Verifies everything except the component's bytes, for callers that decide before they fetch it.
/// [`Manifest::check`] must still succeed before it is compiled.
///
/// # Errors
/// [`Refused`], always with the rule, who set it and the way out.
pub fn verify_manifest(request: &VerificationRequest<'_>) -> Result<VerifiedFilter, Refused> {
    check(request, None)
}

fn check(
    request: &VerificationRequest<'_>,
    parsed: Option<&Arc<Manifest>>,
) -> Result<VerifiedFilter, Refused> {
    let manifest = pinned_manifest(request, parsed)?;
    let policy = policy_for(&manifest, request.policies)?;
    withdrawn(&manifest, request.policies)?;
    fresh(&manifest, request)?;
    let signers = signers(&manifest, policy, request)?;
    narrowed(&manifest, request)?;
    Ok(VerifiedFilter {
        digest: manifest.digest(),
        name: manifest.name().clone(),
        version: manifest.version().clone(),
        signers,
        manifest,
    })
}

fn pinned_manifest(
    request: &VerificationRequest<'_>,
    parsed: Option<&Arc<Manifest>>,
) -> Result<Arc<Manifest>, Refused> {
    let actual = Digest::of(request.manifest);
    if actual != *request.pinned {
        return Err(Refused {
            code: code::ALTERED.into(),
            rule: format!(
                "the manifest's digest must be the pinned {}, it is {actual}",
                request.pinned
            ),
            set_by: "the pin".to_owned(),
            remedy: "fetch the manifest again, or pin the other digest after review".to_owned(),
        });
    }
    let manifest = match parsed.filter(|parsed| parsed.digest() == actual) {
        Some(parsed) => Arc::clone(parsed),
        None => Arc::new(Manifest::parse(request.manifest).map_err(|error| Refused {
            code: code::FORMAT.into(),
            rule: format!("the manifest must be one of a Wasm component ({error})"),
            set_by: FORMAT_SETTER.to_owned(),
            remedy: "build and sign the artifact again with `tamis filter sign`".to_owned(),
        })?),
    };
    match request.name {
        Some(name) if name != manifest.name().as_str() => Err(Refused {
            code: code::WRONG_NAME.into(),
            rule: format!(
                "the pinned digest must be of {name:?}, its manifest says {}",
                manifest.name()
            ),
            set_by: "the pin".to_owned(),
            remedy: "pin a digest of the filter that was asked for".to_owned(),
        }),
        _ => Ok(manifest),
    }
}

fn policy_for<'a>(
    manifest: &Manifest,
    policies: &'a [SignaturePolicy],
) -> Result<&'a SignaturePolicy, Refused> {
    let name = manifest.name();
    let deciding = || policies.iter().filter(|policy| !policy.narrows());
    let closest = deciding().filter_map(|policy| policy.covers(name)).max();
    let mut best = deciding().filter(|policy| closest.is_some() && policy.covers(name) == closest);
    match (best.next(), best.next()) {
        (Some(policy), None) => Ok(policy),
        (Some(one), Some(other)) => Err(Refused {
            code: code::UNKNOWN_KEY.into(),
            rule: format!(
                "one trust policy must decide on {name}, but two cover it with equally specific patterns"
            ),
            set_by: format!("trust policies {:?} and {:?}", one.name(), other.name()),
            remedy: "merge them, or make the pattern of one more specific".to_owned(),
        }),
        (None, _) => Err(Refused {
            code: code::UNKNOWN_KEY.into(),
            rule: format!("a trust policy must cover {name}, but no policy does"),
            set_by: "default deny".to_owned(),
            remedy: format!("add a trust policy whose namespaces include {name}"),
        }),
    }
}

/// Checks what narrowing policies require in addition to the deciding one. Their keys prove nothing more: signers have the
/// names that the deciding policy gives them.
fn narrowed(manifest: &Manifest, request: &VerificationRequest<'_>) -> Result<(), Refused> {
    let name = manifest.name();
    let narrowing = request.policies.iter().filter(|policy| policy.narrows());
    let narrowing: Vec<&SignaturePolicy> =
        narrowing.filter(|policy| policy.covers(name).is_some()).collect();
    if let Some(one) = narrowing.get(MAX_NARROWING) {
        return Err(Refused {
            code: code::UNKNOWN_KEY.into(),
            rule: format!(
                "at most {MAX_NARROWING} trust policies may ask for more about {name}, {} do",
                narrowing.len()
            ),
            set_by: set_by(one),
            remedy: "merge them".to_owned(),
        });
    }
    narrowing.into_iter().try_for_each(|policy| signers(manifest, policy, request).map(drop))
}

fn set_by(policy: &SignaturePolicy) -> String {
    format!("trust policy {:?}", policy.name())
}

/// Why one bundle does not count.
struct BundleFault {
    code: &'static str,
    why: String,
}

impl BundleFault {
    fn new(code: &'static str, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }
}

fn signers(
    manifest: &Manifest,
    policy: &SignaturePolicy,
    request: &VerificationRequest<'_>,
) -> Result<Vec<SignerName>, Refused> {
    let bundles = request.bundles;
    if let Some(fault) = policy.fault() {
        return Err(trusts_nobody(manifest, policy, fault));
    }
    let revoked = Revocations::of(manifest, request.policies);
    let remedy = || who_may_sign(manifest, policy, &revoked, request.now);
    if bundles.is_empty() {
        return Err(Refused {
            code: code::UNSIGNED.into(),
            rule: format!(
                "{} must be signed by {}, but has no signature",
                manifest.name(),
                distinct_keys(policy.threshold())
            ),
            set_by: set_by(policy),
            remedy: remedy(),
        });
    }
    let mut keys = BTreeSet::new();
    let mut signers = BTreeSet::new();
    let mut misses = Vec::new();
    for (at, tried) in in_turn(bundles, policy) {
        let Some(bundle) = bundles.get(at) else { continue };
        let logged = request.logged.get(at).copied().flatten();
        match signer(bundle, tried, logged, manifest, policy, &revoked, request.now) {
            Ok(key) => {
                keys.insert(key.id);
                signers.insert(SignerName(key.name.clone()));
            }
            Err(miss) if misses.len() < MAX_BUNDLES => misses.push(miss),
            Err(_) => {}
        }
    }
    if keys.len() >= policy.threshold() {
        return Ok(signers.into_iter().collect());
    }
    Err(too_few(manifest, policy, &signers, &misses, remedy()))
}

/// The refusal of everything that a policy with a fault decides on: whatever signed it, the policy is what must change.
fn trusts_nobody(manifest: &Manifest, policy: &SignaturePolicy, fault: &str) -> Refused {
    Refused {
        code: code::UNKNOWN_KEY.into(),
        rule: format!(
            "the trust policy about {} has a fault and trusts nobody until it is corrected: {fault}",
            manifest.name()
        ),
        set_by: set_by(policy),
        remedy: "correct the policy".to_owned(),
    }
}

/// The bundles to examine: those that name a trusted key, and at most [`MAX_BUNDLES`] of the others.
///
/// Anybody may attach bundles to an artifact. One that names a trusted key costs one check of a signature,
/// so that useless bundles, however many, do not stop an artifact from running; beyond [`MAX_BUNDLES`] of
/// them no other key is tried. Their number has no bound here: those who read them bound the bytes.
fn in_turn(bundles: &[&[u8]], policy: &SignaturePolicy) -> Vec<(usize, KeyChoice)> {
    let (mut turn, mut claimed, mut rest) = (Vec::new(), 0, 0);
    for (at, bundle) in bundles.iter().enumerate() {
        let named = hint(bundle);
        let trusted = named.is_some_and(|hint| policy.keys().iter().any(|key| key.id == hint));
        let count = if trusted { &mut claimed } else { &mut rest };
        *count = usize::saturating_add(*count, 1);
        match (trusted, *count <= MAX_BUNDLES) {
            (_, true) => turn.push((at, KeyChoice::All)),
            (true, false) => turn.push((at, KeyChoice::Named)),
            (false, false) => {}
        }
    }
    turn
}

/// Which keys are tried for a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyChoice {
    /// The key that it names, then all others.
    All,
    /// Only the key that it names.
    Named,
}

/// What would satisfy the count; names only keys that count at this moment.
fn who_may_sign(
    manifest: &Manifest,
    policy: &SignaturePolicy,
    revoked: &Revocations<'_>,
    now: u64,
) -> String {
    // A signature made now is recorded late, if at all.
    let counts = |key: &&TrustedKey| usable(key, None, revoked, now).is_ok();
    let usable = policy.keys().iter().filter(counts);
    let names: Vec<&str> = usable.map(|key| key.name.as_str()).collect();
    let wanted = policy.threshold();
    if names.len() < wanted {
        return format!(
            "add keys to the policy: it requires {wanted}, {} can count now",
            names.len()
        );
    }
    let (keys, key) = match names.as_slice() {
        [only] => (format!("the key {only}"), *only),
        names => (format!("{wanted} of the keys {}", names.join(", ")), "KEY"),
    };
    let flags = |folder: &str| vec![format!("--key {folder}{key}.key"); wanted].join(" ");
    let (key, kept) = (flags(""), flags(".tamis/keys/"));
    let (name, version) = (manifest.name(), manifest.version());
    format!(
        "sign it with {keys}: `tamis filter sign COMPONENT --name {name} --version {version} {key} --store STORE --pin LOCK`, in a folder of `tamis up` with `{kept} --store .tamis/store --pin .tamis/filters.lock.yaml` (where a registry directs the proxies, without `--pin`, and then `tamis filter push`); or, if you trust another key, add its `.pub` file to `spec.keys` of the policy"
    )
}

fn distinct_keys(count: usize) -> String {
    if count == 1 { "1 key".to_owned() } else { format!("{count} distinct keys") }
}

/// If there is a valid signature, the count is at fault; otherwise the most informative failure.
fn too_few(
    manifest: &Manifest,
    policy: &SignaturePolicy,
    good: &BTreeSet<SignerName>,
    misses: &[BundleFault],
    remedy: String,
) -> Refused {
    const TELLING: [&str; 6] = [
        code::REVOKED_KEY,
        code::EXPIRED,
        code::WRONG_NAME,
        code::WRONG_SUBJECT,
        code::BAD_SIGNATURE,
        code::UNKNOWN_KEY,
    ];
    let wanted = distinct_keys(policy.threshold());
    let why: Vec<&str> = misses.iter().map(|miss| miss.why.as_str()).collect();
    if !good.is_empty() {
        let names: Vec<&str> = good.iter().map(|name| name.0.as_str()).collect();
        let (name, version) = (manifest.name(), manifest.version());
        let counts = if names.len() == 1 { "counts" } else { "count" };
        let mut rule = format!(
            "{name} {version} must be signed by {wanted}, but only {} {counts} ({})",
            names.len(),
            names.join(", ")
        );
        if !why.is_empty() {
            rule.push_str(&format!("; not counted: {}", why.join("; ")));
        }
        return Refused { code: code::THRESHOLD.into(), rule, set_by: set_by(policy), remedy };
    }
    let telling = TELLING.into_iter().find(|code| misses.iter().any(|miss| miss.code == *code));
    let code = telling.unwrap_or(code::FORMAT);
    let set_by = if code == code::FORMAT { FORMAT_SETTER.to_owned() } else { set_by(policy) };
    let (name, version) = (manifest.name(), manifest.version());
    let rule = format!(
        "{name} {version} must be signed by {wanted} of the policy, but no signature counts: {}",
        why.join("; ")
    );
    Refused { code: code.into(), rule, set_by, remedy }
}

/// The trusted key that signed this bundle about this manifest.
fn signer<'a>(
    bundle: &[u8],
    tried: KeyChoice,
    logged: Option<u64>,
    manifest: &Manifest,
    policy: &'a SignaturePolicy,
    revoked: &Revocations<'_>,
    now: u64,
) -> Result<&'a TrustedKey, BundleFault> {
    let envelope = Envelope::parse(bundle).map_err(|error| format_miss(&error))?;
    let key = key_of(&envelope, tried, logged, policy, revoked)?;
    let statement = envelope.statement().map_err(|error| format_miss(&error))?;
    about(&statement, manifest)?;
    usable(key, logged, revoked, now)?;
    Ok(key)
}

fn format_miss(error: &TrustError) -> BundleFault {
    BundleFault::new(code::FORMAT, error.to_string())
}

/// The policy's key that verifies the signature; the hint only determines which is tried first.
fn key_of<'a>(
    envelope: &Envelope,
    tried: KeyChoice,
    logged: Option<u64>,
    policy: &'a SignaturePolicy,
    revoked: &Revocations<'_>,
) -> Result<&'a TrustedKey, BundleFault> {
    let signed = envelope.signed_bytes();
    let hinted = |key: &&TrustedKey| envelope.hint == Some(key.id);
    let first = policy.keys().iter().filter(hinted);
    let rest = policy.keys().iter().filter(|key| !hinted(key) && tried == KeyChoice::All);
    let found = first.chain(rest).find(|key| key.key.verifies(&signed, &envelope.signature));
    found.ok_or_else(|| {
        let Some(hint) = &envelope.hint else {
            return BundleFault::new(
                code::UNKNOWN_KEY,
                "a signature was not made by a key of the policy",
            );
        };
        if let Some(why) = revoked.refuse(hint, logged) {
            return BundleFault::new(code::REVOKED_KEY, format!("the key {hint} {why}"));
        }
        match policy.keys().iter().find(|key| key.id == *hint) {
            Some(key) => BundleFault::new(
                code::BAD_SIGNATURE,
                format!("the signature that names key {:?} does not verify", key.name),
            ),
            None => {
                BundleFault::new(code::UNKNOWN_KEY, format!("the key {hint} is not in the policy"))
            }
        }
    })
}

fn about(statement: &Statement, manifest: &Manifest) -> Result<(), BundleFault> {
    if statement.statement_type != STATEMENT_TYPE {
        return Err(BundleFault::new(code::FORMAT, "the statement is not in-toto v1"));
    }
    if statement.predicate_type != PREDICATE_TYPE {
        return Err(BundleFault::new(
            code::WRONG_SUBJECT,
            "the statement has another predicate type: it attests something else than \"sign\"",
        ));
    }
    let pinned = manifest.digest();
    let mut subjects = statement.subject.iter().filter(|subject| subject.is(&pinned));
    let subject = match (subjects.next(), subjects.next()) {
        (Some(subject), None) => subject,
        (None, _) => {
            return Err(BundleFault::new(
                code::WRONG_SUBJECT,
                "the statement is about another digest",
            ));
        }
        _ => return Err(BundleFault::new(code::FORMAT, "the statement names the digest twice")),
    };
    let (name, version) = (manifest.name().to_string(), manifest.version().to_string());
    if !subject.name.is_empty() && subject.name != name {
        return Err(BundleFault::new(code::WRONG_NAME, "the subject signed has another name"));
    }
    // Signing a manifest signs its content, including name and version. A statement that repeats them must
    // match; cosign v2 writes no annotations into bundles, so a statement with neither contradicts neither.
    if [TITLE, VERSION].iter().all(|annotation| !subject.annotations.contains_key(*annotation)) {
        return Ok(());
    }
    for (annotation, wanted) in [(TITLE, &name), (VERSION, &version)] {
        if subject.annotations.get(annotation).and_then(|value| value.as_str()) != Some(wanted) {
            return Err(BundleFault::new(
                code::WRONG_NAME,
                format!("the signed annotation {annotation} must be {wanted:?}"),
            ));
        }
    }
    Ok(())
}

fn usable(
    key: &TrustedKey,
    logged: Option<u64>,
    revoked: &Revocations<'_>,
    now: u64,
) -> Result<(), BundleFault> {
    if let Some(why) = revoked.refuse(&key.id, logged) {
        return Err(BundleFault::new(code::REVOKED_KEY, format!("key {:?} {why}", key.name)));
    }
    key.in_time(now).map_err(|why| BundleFault::new(code::EXPIRED, why))
}

#[cfg(test)]
mod tests;

//! Whether the director allows this to run here.
//!
//! As with artifacts, an envelope that fails a check is set aside and never fatal by itself. Signatures are
//! counted per assignment: two keys that signed two different assignments count as one each.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Assignment, DirectorKeys, version_words};
use crate::bundle::{Envelope, MAX_BUNDLES, PAYLOAD_TYPE};
use crate::policy::TrustedKey;
use crate::refused::{Refused, code};
use crate::{Digest, Timestamp, config_digest, sign};

/// How far the director's clock may be ahead of the node's, in seconds. It only widens the beginning: the
/// end of an assignment is exact.
pub const CLOCK_SKEW_SECONDS: u64 = 300;

/// What a node is about to run, and the evidence that it may.
#[derive(Debug, Clone, Copy)]
pub struct AssignmentRequest<'a> {
    /// The service, in the node's notation.
    pub service: &'a str,
    /// The slot.
    pub slot: &'a str,
    /// The digest of the manifest that is to run.
    pub manifest: &'a Digest,
    /// The configuration it is to run with.
    pub config: &'a Value,
    /// The available envelopes, one per item, from any source; at most [`MAX_BUNDLES`].
    pub envelopes: &'a [&'a [u8]],
    /// The trusted keys.
    pub director: &'a DirectorKeys,
    /// The highest version seen of this slot, from [`VersionFloors::floor`](super::VersionFloors::floor); 0 when there was
    /// none. That version itself is accepted again, since nodes restart.
    pub floor: u64,
    /// Seconds since the Unix epoch.
    pub now: u64,
}

/// Finds the assignment that allows this to run; of several, the one with the highest version.
///
/// ```
/// use serde_json::json;
/// use tamis_trust::{
///     AssignmentRequest, Assignment, Digest, DirectorKeys, AssignmentMode, PrivateKey, VersionFloors, config_digest,
///     sign_assignment, verify_assignment,
/// };
///
/// let key = PrivateKey::generate()?;
/// let (manifest, config) = (Digest::of(b"a manifest"), json!({ "attempts": 3 }));
/// let envelope = sign_assignment(&key, &Assignment {
///     service: "shop/checkout".to_owned(),
///     slot: "shop/retries".to_owned(),
///     filter: "acme/retry".parse()?,
///     manifest,
///     config: config_digest(&config),
///     version: 7,
///     issued: 1_800_000_000,
///     expires: 1_800_086_400,
///     mode: AssignmentMode::Serve,
/// })?;
///
/// let keys = json!({ "threshold": 1,
///     "keys": [{ "name": "director", "publicKey": key.public_key().to_pem() }] });
/// let director = DirectorKeys::from_json(keys.to_string().as_bytes())?;
/// let mut seen = VersionFloors::default();
/// let assignment = verify_assignment(&AssignmentRequest {
///     service: "shop/checkout",
///     slot: "shop/retries",
///     manifest: &manifest,
///     config: &config,
///     envelopes: &[envelope.as_bytes()],
///     director: &director,
///     floor: seen.floor("shop/checkout", "shop/retries"),
///     now: 1_800_000_060,
/// })?;
/// assert!(seen.take(&assignment));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Refused`] with a code `assign.*`, always with the rule, who set it and the way out.
pub fn verify_assignment(request: &AssignmentRequest<'_>) -> Result<Assignment, Refused> {
    let threshold = request.director.threshold();
    let (count, place) = (request.envelopes.len(), place(request));
    if count == 0 {
        let wanted = keys(threshold);
        let rule =
            format!("{place} must be assigned by {wanted} of the director, nothing assigns it");
        return Err(unsigned(request, code::ASSIGN_MISSING, rule));
    }
    if count > MAX_BUNDLES {
        let rule = format!("there must be at most {MAX_BUNDLES} envelopes, there are {count}");
        return Err(unsigned(request, code::ASSIGN_SIGNATURE, rule));
    }
    let (signed, misses) = signed(request);
    let mut judged: Vec<&SignedAssignment<'_>> =
        signed.iter().filter(|one| one.keys.len() >= threshold).collect();
    // Newest first; the other keys only make the choice the same on every node.
    judged.sort_by_key(|one| {
        let it = &one.assignment;
        std::cmp::Reverse((it.version, it.issued, it.expires, it.mode))
    });
    let mut nearest: Option<(usize, Refused)> = None;
    for one in judged {
        match admits(request, &one.assignment) {
            Ok(()) => return Ok(one.assignment.clone()),
            Err(miss) if nearest.as_ref().is_none_or(|(passed, _)| miss.0 > *passed) => {
                nearest = Some(miss);
            }
            Err(_) => {}
        }
    }
    Err(nearest.map_or_else(|| too_few(request, &signed, &misses), |(_, refused)| refused))
}

fn place(request: &AssignmentRequest<'_>) -> String {
    format!("slot {:?} of {:?}", request.slot, request.service)
}

fn keys(count: usize) -> String {
    if count == 1 { "1 key".to_owned() } else { format!("{count} distinct keys") }
}

fn unsigned(request: &AssignmentRequest<'_>, code: &'static str, rule: String) -> Refused {
    let set_by = "the director's keys that this proxy trusts".to_owned();
    Refused { code: code.into(), rule, set_by, remedy: who_may_assign(request) }
}

/// If there is a valid signature, the count is at fault; otherwise the signatures are.
fn too_few(
    request: &AssignmentRequest<'_>,
    signed: &[SignedAssignment<'_>],
    misses: &[String],
) -> Refused {
    let wanted = keys(request.director.threshold());
    let why = if misses.is_empty() {
        String::new()
    } else {
        format!("; not counted: {}", misses.join("; "))
    };
    let Some(best) = signed.iter().max_by_key(|one| one.keys.len()) else {
        let rule = format!("{wanted} of the director must have signed, none did{why}");
        return unsigned(request, code::ASSIGN_SIGNATURE, rule);
    };
    let did: Vec<&str> = best.keys.iter().copied().collect();
    let did = did.join(", ");
    let rule = format!("{wanted} must have signed one assignment, only {did} did{why}");
    unsigned(request, code::ASSIGN_THRESHOLD, rule)
}

impl DirectorKeys {
    /// Whether one of these keys signed an envelope, whatever it assigns and however long ago.
    #[must_use]
    pub fn signed(&self, envelope: &[u8]) -> bool {
        let Ok(envelope) = Envelope::parse(envelope) else { return false };
        let signed = envelope.signed_bytes();
        self.keys().iter().any(|key| key.key.verifies(&signed, &envelope.signature))
    }
}

/// An assignment and the names of the keys that signed it.
struct SignedAssignment<'a> {
    assignment: Assignment,
    keys: BTreeSet<&'a str>,
}

/// The assignments with a valid signature, and why other envelopes do not count.
fn signed<'a>(request: &AssignmentRequest<'a>) -> (Vec<SignedAssignment<'a>>, Vec<String>) {
    let (mut signed, mut misses) = (Vec::<SignedAssignment<'_>>::new(), Vec::new());
    for envelope in request.envelopes {
        match read(envelope, request.director, request.now) {
            Ok((assignment, key)) => {
                match signed.iter_mut().find(|one| one.assignment == assignment) {
                    Some(one) => drop(one.keys.insert(&key.name)),
                    None => signed
                        .push(SignedAssignment { assignment, keys: BTreeSet::from([&*key.name]) }),
                }
            }
            Err(why) => misses.push(why),
        }
    }
    (signed, misses)
}

/// The assignment in an envelope and the key that signed it; the signature is checked before the payload is
/// parsed.
fn read<'a>(
    bytes: &[u8],
    director: &'a DirectorKeys,
    now: u64,
) -> Result<(Assignment, &'a TrustedKey), String> {
    let envelope = Envelope::parse(bytes).map_err(|error| error.to_string())?;
    let signed = envelope.signed_bytes();
    let mut keys = director.keys().iter();
    let key = keys.find(|key| key.key.verifies(&signed, &envelope.signature)).ok_or_else(|| {
        match &envelope.hint {
            Some(hint) => {
                format!("a signature names key {hint}, which is not a key of the director")
            }
            None => "a signature was made by a key that is not the director's".to_owned(),
        }
    })?;
    let statement = envelope.statement().map_err(|error| error.to_string())?;
    let assignment = Assignment::of(statement).map_err(|error| error.to_string())?;
    // Unsigned parts have only one accepted encoding, so that no altered envelope is accepted.
    let spelled = sign::written(&key.id, PAYLOAD_TYPE, &envelope.payload, &envelope.signature);
    if spelled.as_bytes() != bytes {
        return Err(
            "an envelope is not encoded as the director writes it; it was altered".to_owned()
        );
    }
    key.in_time(now)?;
    Ok((assignment, key))
}

/// Whether a signed assignment is for this place, these bytes and this moment; if not, how many rules it
/// passed, so that the closest one can be reported.
fn admits(
    request: &AssignmentRequest<'_>,
    assignment: &Assignment,
) -> Result<(), (usize, Refused)> {
    let Assignment { service, slot, manifest, config, version, issued, expires, .. } = assignment;
    let asked_config = config_digest(request.config);
    let remedy = format!(
        "let the director issue a new assignment for {}, with what should run there now",
        place(request)
    );
    let latest_start = request.now.saturating_add(CLOCK_SKEW_SECONDS);
    let rules = [
        (
            service == request.service,
            code::ASSIGN_OTHER_SERVICE,
            format!("the assignment is for {service:?}, this is {:?}", request.service),
        ),
        (
            slot == request.slot,
            code::ASSIGN_OTHER_SLOT,
            format!("the assignment is for slot {slot:?}, this is {:?}", request.slot),
        ),
        (
            manifest == request.manifest,
            code::ASSIGN_OTHER_DIGEST,
            format!("{manifest} is assigned, {} is to run", request.manifest),
        ),
        (
            *config == asked_config,
            code::ASSIGN_OTHER_CONFIG,
            format!("the configuration {config} is assigned, {asked_config} is to run"),
        ),
        (
            *version >= request.floor,
            code::ASSIGN_ROLLBACK,
            format!(
                "versions only rise: {} was seen, this is {}; a rollback is a new, higher version",
                version_words(request.floor),
                version_words(*version)
            ),
        ),
        (
            request.now < *expires && *issued <= latest_start,
            code::ASSIGN_EXPIRED,
            format!(
                "it holds from {} to {}, now is {}",
                Timestamp(*issued),
                Timestamp(*expires),
                Timestamp(request.now)
            ),
        ),
    ];
    for (passed, (holds, code, rule)) in rules.into_iter().enumerate() {
        if !holds {
            let words = version_words(*version);
            let set_by = format!("the director, in version {words} of {slot:?} of {service:?}");
            let remedy = if code == code::ASSIGN_ROLLBACK {
                format!(
                    "{remedy}: `tamis reassign {}`, when its journal is the one that counts, such as after it was \
                     restored from a backup",
                    request.service
                )
            } else {
                remedy
            };
            return Err((passed, Refused { code: code.into(), rule, set_by, remedy }));
        }
    }
    Ok(())
}

/// What would satisfy the count; names only keys that count at this moment.
fn who_may_assign(request: &AssignmentRequest<'_>) -> String {
    let usable = request.director.keys().iter().filter(|key| key.in_time(request.now).is_ok());
    let names: Vec<&str> = usable.map(|key| key.name.as_str()).collect();
    let wanted = request.director.threshold();
    if names.len() < wanted {
        return format!(
            "give the proxy other keys of the director: {wanted} must sign, {} can count now",
            names.len()
        );
    }
    format!("have the assignment signed by {wanted} of {}, an envelope each", names.join(", "))
}

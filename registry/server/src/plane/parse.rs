//! What a request names, read from its text.

use tamis_api::ApiProblem;
use tamis_director::State;
use tamis_trust::{Digest, Name, Version};

use crate::plane::problem::bad;

/// Fewest digits of an abbreviated digest.
const MIN_DIGITS: usize = 8;

pub(crate) fn name(text: &str) -> Result<Name, ApiProblem> {
    text.parse().map_err(|error| bad(format!("{error}"), "name the filter as namespace/name"))
}

pub(crate) fn version(text: &str) -> Result<Version, ApiProblem> {
    text.parse().map_err(|error| bad(format!("{error}"), "write a version such as 1.4.2"))
}

/// A digest of a filter: whole, or at least eight of its first digits, as `tamis pins` prints them, if only
/// one digest that was ever pinned or rolled out begins with them.
pub(crate) fn known_digest(state: &State, filter: &Name, text: &str) -> Result<Digest, ApiProblem> {
    if let Ok(digest) = text.parse() {
        return Ok(digest);
    }
    let digits = text.trim_end_matches('…');
    let digits = digits.strip_prefix("sha256:").unwrap_or(digits);
    if digits.len() < MIN_DIGITS || !digits.bytes().all(|one| one.is_ascii_hexdigit()) {
        return digest(text);
    }
    let begins = |digest: &&Digest| digest.hex().starts_with(&digits.to_ascii_lowercase());
    let known = state.known_digests(filter);
    let found: Vec<&Digest> = known.iter().filter(begins).collect();
    match found.as_slice() {
        [one] => Ok(**one),
        [] => Err(bad(
            format!("no digest of {filter} that was ever pinned begins with {digits}"),
            "copy it whole: sha256: and 64 digits, as `--output json` prints it",
        )),
        many => Err(bad(
            format!("{} known digests of {filter} begin with {digits}", many.len()),
            "write more of its digits",
        )),
    }
}

pub(crate) fn digest(text: &str) -> Result<Digest, ApiProblem> {
    let error = || bad("a digest is sha256: and 64 hexadecimal digits", "copy it whole");
    text.parse().map_err(|_| error())
}

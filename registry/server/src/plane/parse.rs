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

#[cfg(test)]
mod tests {
    use std::fmt::Display;
    use std::str::FromStr;

    use tamis_authority::JoinToken;
    use tamis_journal::{BlobDigest, Hash, UploadId};
    use tamis_oci::{Repository, Tag};
    use tamis_resources::NodeName;
    use tamis_transport::{SpiffeId, TrustDomain};
    use tamis_trust::KeyId;

    use super::*;

    /// The text as it is kept; `None`: it is refused.
    fn kept<T: FromStr + Display>(text: &str) -> Option<String> {
        text.parse::<T>().ok().map(|it| it.to_string())
    }

    type Kept = fn(&str) -> Option<String>;

    #[test]
    fn what_a_stranger_names_is_kept_under_the_one_spelling_that_it_has() {
        let digits = "0123456789abcdef".repeat(4);
        let (sha, upper) = (format!("sha256:{digits}"), digits.to_uppercase());
        let shas = [format!("sha256:{upper}"), format!("SHA256:{digits}"), digits.clone()];
        let shas: Vec<&str> = shas.iter().map(String::as_str).collect();
        let key = format!("{}=", "A".repeat(43));
        let keys = [format!("{}B=", "A".repeat(42)), "A".repeat(43), format!("{key}=")];
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let rows: [(&str, Kept, &str, &[&str]); 11] = [
            ("a proxy", kept::<NodeName>, "sidecar:a/b/0", &["sidecar:a/b/00", "sidecar:a/b/+0"]),
            ("a digest", kept::<Digest>, &sha, &shas),
            ("a blob", kept::<BlobDigest>, &sha, &shas),
            ("a hash", kept::<Hash>, &digits, &[&upper, &sha]),
            (
                "a version",
                kept::<Version>,
                "1.2.3-rc.1",
                &["01.2.3-rc.1", "1.2.3-rc.01", "v1.2.3", "+1.2.3", "1.2.3+x"],
            ),
            (
                "a filter",
                kept::<Name>,
                "acme/jwt",
                &["Acme/jwt", "acme//jwt", "acme/jwt/", "/acme/jwt", "acme/./jwt"],
            ),
            (
                "a repository",
                kept::<Repository>,
                "acme/jwt",
                &["Acme/jwt", "acme//jwt", "acme/jwt/", "acme/./jwt"],
            ),
            ("a key", kept::<KeyId>, &key, &keys),
            (
                "an identity",
                kept::<SpiffeId>,
                "spiffe://a.b/c",
                &[
                    "spiffe://A.b/c",
                    "SPIFFE://a.b/c",
                    "spiffe://a.b/c/",
                    "spiffe://a.b//c",
                    "spiffe://a.b/%63",
                ],
            ),
            ("a trust domain", kept::<TrustDomain>, "a.b", &["A.b", "spiffe://a.b"]),
            ("a tag", kept::<Tag>, "1.2.3", &["+1.2.3", " 1.2.3", "1.2.3 "]),
        ];
        for (what, kept, one, others) in rows {
            assert_eq!(kept(one).as_deref(), Some(one), "{what}");
            for other in others {
                assert_eq!(kept(other), None, "{what}: {other}");
            }
        }
        // Kept as their hash.
        assert!(format!("tamis-join-{upper}").parse::<JoinToken>().is_err());
        assert!(upper.parse::<UploadId>().is_err());
    }
}

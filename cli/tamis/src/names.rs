//! Names of services and filters on a command line.

use tamis_resources::NodeName;
use tamis_trust::{Digest, Name, Version};

/// `NAMESPACE/NAME` of a service or gateway; a bare name is in `default`, `*` means all.
pub(crate) fn service(text: &str) -> Result<String, String> {
    let whole =
        if text == "*" || text.contains('/') { text.to_owned() } else { format!("default/{text}") };
    if whole == "*" || format!("gateway:{whole}").parse::<NodeName>().is_ok() {
        return Ok(whole);
    }
    Err("write NAMESPACE/NAME, NAME for one in the namespace `default`, or * for all".to_owned())
}

/// `NAMESPACE/NAME` of a filter.
pub(crate) fn filter(text: &str) -> Result<String, String> {
    match text.parse::<Name>() {
        Ok(name) => Ok(name.to_string()),
        Err(_) if text.contains('@') => {
            Err("write the filter without the part from @ on".to_owned())
        }
        Err(_) => Err("write NAMESPACE/NAME".to_owned()),
    }
}

/// A suggestion for a wrong name: similar names, or else the existing ones; empty when there are none.
pub(crate) fn meant(text: &str, names: &[&str]) -> String {
    if let Some(question) = near(text, names) {
        return question;
    }
    let near = sorted(text, names);
    let (shown, all) = (near.iter().take(5).map(|one| one.1).collect::<Vec<_>>(), near.len());
    match (shown.as_slice(), all.saturating_sub(5)) {
        ([], _) => String::new(),
        (shown, 0) => format!("; there are {}", shown.join(", ")),
        (shown, more) => format!("; there are {} and {more} more", shown.join(", ")),
    }
}

/// The names with their distance, the nearest first.
fn sorted<'a>(text: &str, names: &[&'a str]) -> Vec<(usize, &'a str)> {
    let mut near: Vec<(usize, &str)> =
        names.iter().map(|name| (distance(text, name), *name)).collect();
    near.sort_unstable();
    near.dedup();
    near
}

/// The names that a misspelt one may stand for, as a question; `None`: none is near.
pub(crate) fn near(text: &str, names: &[&str]) -> Option<String> {
    let close: Vec<String> = sorted(text, names)
        .into_iter()
        .filter(|(distance, _)| *distance <= 3)
        .take(3)
        .map(|(_, name)| format!("`{name}`"))
        .collect();
    (!close.is_empty()).then(|| format!("; did you mean {}?", close.join(" or ")))
}

/// The number of characters to insert, remove or replace to turn one text into the other (Levenshtein
/// distance).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(300).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, here) in one.chars().take(300).enumerate() {
        let mut next = vec![at + 1];
        let mut left = at + 1;
        for ((there, above), diagonal) in other.iter().zip(row.iter().skip(1)).zip(&row) {
            left = (diagonal + usize::from(here != *there)).min(left + 1).min(above + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// A filter and its version or digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    /// `NAMESPACE/NAME`.
    pub(crate) filter: String,
    /// Its version; `None` when it is named by digest.
    pub(crate) version: Option<String>,
    /// Its digest; `None` when it is named by version.
    pub(crate) digest: Option<String>,
}

/// `FILTER@VERSION` or `FILTER@sha256:…`.
pub(crate) fn release(text: &str) -> Result<Release, String> {
    let Some((name, which)) = text.split_once('@') else {
        return Err("write FILTER@VERSION or FILTER@sha256:…".to_owned());
    };
    let filter = filter(name)?;
    if which.contains(':') {
        let digest = digest(which)?;
        return Ok(Release { filter, version: None, digest: Some(digest) });
    }
    let version = which.parse::<Version>().map_err(|error| error.to_string())?.to_string();
    Ok(Release { filter, version: Some(version), digest: None })
}

/// A digest: whole, or at least its first eight digits, as `tamis pins` prints them; the registry finds the
/// pinned digest they belong to.
pub(crate) fn digest(text: &str) -> Result<String, String> {
    let digits = text.trim_end_matches('…');
    let hex = digits.strip_prefix("sha256:").unwrap_or(digits);
    if (8..64).contains(&hex.len()) && hex.bytes().all(|one| one.is_ascii_hexdigit()) {
        return Ok(format!("sha256:{hex}"));
    }
    digits
        .parse::<Digest>()
        .map(|digest| digest.to_string())
        .map_err(|error| format!("{error}; for a pinned digest the first 8 digits are enough"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_may_be_written_as_it_is_printed() {
        let whole = Digest::of(b"").to_string();
        let cut = crate::table::short(&whole);
        assert_eq!(digest(&whole).as_deref(), Ok(whole.as_str()));
        let twelve = whole.get(..19).unwrap();
        for text in [cut.as_str(), twelve, twelve.strip_prefix("sha256:").unwrap()] {
            assert_eq!(digest(text).as_deref(), Ok(twelve), "{text}");
        }
        for bad in ["", "sha256:", "sha256:0123456", "sha256:gggggggggggg", "…"] {
            assert!(digest(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_was_meant_is_near_or_is_listed() {
        let names = ["shop/payments", "shop/web", "shop/edge"];
        assert_eq!(meant("shop/paymnts", &names), "; did you mean `shop/payments`?");
        assert_eq!(meant("xxxxxxxxxxx", &names), "; there are shop/edge, shop/web, shop/payments");
        assert_eq!(meant("a", &[]), "");
    }

    #[test]
    fn services_may_be_written_without_the_default_namespace() {
        assert_eq!(service("shop/a").as_deref(), Ok("shop/a"));
        assert_eq!(service("a").as_deref(), Ok("default/a"));
        assert_eq!(service("*").as_deref(), Ok("*"));
        for bad in ["", "a/b/c", "A", "shop/", "* "] {
            assert!(service(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_release_is_a_version_or_a_digest() {
        let by = release("acme/retry@1.4.2").unwrap();
        assert_eq!((by.filter.as_str(), by.version.as_deref()), ("acme/retry", Some("1.4.2")));
        let digest = Digest::of(b"").to_string();
        let by = release(&format!("acme/retry@{digest}")).unwrap();
        assert_eq!((by.version, by.digest), (None, Some(digest)));
        for bad in ["acme/retry", "acme/retry@", "acme/retry@latest", "retry@1.0.0", "a/b@sha256:0"]
        {
            assert!(release(bad).is_err(), "{bad}");
        }
    }
}

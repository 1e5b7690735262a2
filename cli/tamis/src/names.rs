//! What people call services and filters on a command line.

use tamis_resources::NodeName;
use tamis_trust::{Digest, Name, Version};

/// `NAMESPACE/NAME` of a service or gateway; a name alone is in `default`, `*` is all.
pub(crate) fn service(text: &str) -> Result<String, String> {
    let whole =
        if text == "*" || text.contains('/') { text.to_owned() } else { format!("default/{text}") };
    if whole == "*" || format!("gateway:{whole}").parse::<NodeName>().is_ok() {
        return Ok(whole);
    }
    Err("a service is NAMESPACE/NAME, NAME in the namespace `default`, or * for all".to_owned())
}

/// `NAMESPACE/NAME` of a filter.
pub(crate) fn filter(text: &str) -> Result<String, String> {
    match text.parse::<Name>() {
        Ok(name) => Ok(name.to_string()),
        Err(_) if text.contains('@') => {
            Err("the filter alone, without what stands behind the @".to_owned())
        }
        Err(_) => Err("a filter is NAMESPACE/NAME".to_owned()),
    }
}

/// A filter and what is to run of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    /// `NAMESPACE/NAME`.
    pub(crate) filter: String,
    /// Its version; none: by digest.
    pub(crate) version: Option<String>,
    /// Its digest; none: by version.
    pub(crate) digest: Option<String>,
}

/// `FILTER@VERSION` or `FILTER@sha256:…`.
pub(crate) fn release(text: &str) -> Result<Release, String> {
    let Some((name, which)) = text.split_once('@') else {
        return Err("say which: FILTER@VERSION or FILTER@sha256:…".to_owned());
    };
    let filter = filter(name)?;
    if which.contains(':') {
        let digest = which.parse::<Digest>().map_err(|error| error.to_string())?.to_string();
        return Ok(Release { filter, version: None, digest: Some(digest) });
    }
    let version = which.parse::<Version>().map_err(|error| error.to_string())?.to_string();
    Ok(Release { filter, version: Some(version), digest: None })
}

#[cfg(test)]
mod tests {
    use super::*;

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

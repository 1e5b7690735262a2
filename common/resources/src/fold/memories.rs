//! Attachments that would read each other's cookies, and remember apart what ended.
//!
//! What `tamis/oidc` remembers of a session is its attachment's, as the state of every filter is. Two attachments with one secret
//! for the cookies of one site would both let a session pass that ended at one of them, so there is one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::{Claim, Fold};
use crate::document::Document;
use crate::kinds::FilterAttachmentSpec;
use crate::problem::Problem;

/// The filter whose attachments remember which sessions ended.
const LOGINS: &str = "tamis/oidc";
/// The code for a second memory of the same sessions.
const SHARED: &str = "attachment.shared-secret";

/// What two attachments have in common that read the same cookies: secrets are those of a namespace, and the filter binds its
/// cookies to the rest.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct CookieSecret {
    namespace: String,
    issuer: String,
    client: String,
    site: String,
    name: String,
}

impl<'a> Fold<'a> {
    /// Attachments that share the cookies of a site with another, by their keys: the one longest in force stays; the others, or
    /// all, are refused.
    pub(super) fn shared_memories(
        &mut self,
        all: impl Iterator<Item = (&'a Document, &'a FilterAttachmentSpec)>,
    ) -> BTreeMap<String, Problem> {
        let mut claims = Vec::new();
        for (document, spec) in
            all.filter(|(document, spec)| spec.filter == LOGINS && !document.is_stub())
        {
            let pointer = "/spec/config/cookieSecretNames";
            let claim = || Claim { document, pointer: pointer.to_owned() };
            let secrets = secrets(&document.metadata.namespace, &spec.config);
            claims.extend(secrets.into_iter().map(|secret| (secret, claim())));
        }
        let said = |secret: &CookieSecret| {
            format!(
                "several attachments of {LOGINS} have the cookie secret `{}` for {}: each would let sessions pass that ended at another",
                secret.name, secret.site
            )
        };
        let help =
            Some("let one attachment name all routes of the site, or give each secrets of its own");
        let lost = self.contradicted(&claims, SHARED, said, help);
        let lost = claims.iter().zip(lost).filter_map(|((_, claim), lost)| Some((claim, lost?)));
        let mut refused = BTreeMap::new();
        for (claim, problem) in lost {
            refused.entry(claim.document.key()).or_insert(problem);
        }
        refused
    }
}

/// The secrets of a configuration; none of one that the filter will refuse.
fn secrets(namespace: &str, config: &Json) -> BTreeSet<CookieSecret> {
    let text = |name: &str| config.get(name).and_then(Json::as_str);
    let names = config.get("cookieSecretNames").and_then(Json::as_array).into_iter().flatten();
    let (Some(issuer), Some(client), Some(site)) =
        (text("issuer"), text("clientId"), text("redirectUrl").and_then(site))
    else {
        return BTreeSet::new();
    };
    let secret = |name: &str| CookieSecret {
        namespace: namespace.to_owned(),
        issuer: issuer.to_owned(),
        client: client.to_owned(),
        site: site.clone(),
        name: name.to_owned(),
    };
    names.filter_map(Json::as_str).map(secret).collect()
}

/// The site of a URL: its scheme and host, and a port that is not the usual one.
fn site(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let scheme = scheme.to_ascii_lowercase();
    let usual = if scheme == "https" { ":443" } else { ":80" };
    Some(format!("{scheme}://{}", authority.strip_suffix(usual).unwrap_or(&authority)))
}

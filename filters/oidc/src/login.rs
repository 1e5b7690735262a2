//! The way to the provider: what is asked, and what the browser keeps meanwhile.
//!
//! `state`, `nonce` and the verifier of PKCE (RFC 7636) are random and of one login. They are in an encrypted cookie of the
//! browser that began it, for ten minutes, so that no other browser can finish the login and no answer of another login fits.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use crate::config::OidcRules;
use crate::cookies::Cookies;
use crate::endpoints::Endpoints;
use crate::host::OidcHost;
use crate::seal::{Purpose, Sealer};

/// How long a login may take, in seconds.
pub const LOGIN_S: u64 = 600;
/// Logins of a browser that may be in progress: tabs that are opened again.
const MAX_LOGINS: usize = 5;
/// Octets of an id; it is in the name of the cookie.
const ID_OCTETS: u32 = 6;
/// Length of an encoded id.
const ID_LENGTH: usize = 8;
/// Octets of `state`, of `nonce` and of the verifier.
const SECRET_OCTETS: u32 = 32;
/// Longest path that a login returns to.
const LONGEST_PATH: usize = 1024;

/// A login in progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Login {
    /// The part of `state` that is not in the name of the cookie.
    #[serde(rename = "s")]
    secret: String,
    /// What the ID token repeats.
    #[serde(rename = "n")]
    pub nonce: String,
    /// What only who asked for the code knows.
    #[serde(rename = "v")]
    pub verifier: String,
    /// Where the person wanted to go.
    #[serde(rename = "p")]
    pub path: String,
    /// When it began, in seconds since 1970.
    #[serde(rename = "b")]
    began_s: u64,
}

/// Where a browser is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginRedirect {
    /// An absolute address.
    pub location: String,
    /// Lines for `set-cookie`.
    pub cookies: Vec<String>,
}

/// Octets in base64url, without padding.
pub(crate) fn encoded(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

/// Begins a login. `None` without keys.
pub fn begin<H: OidcHost>(
    rules: &OidcRules,
    endpoints: &Endpoints,
    sealer: &Sealer,
    path: &str,
    present: &Cookies<'_>,
    host: &H,
) -> Option<LoginRedirect> {
    let random = |octets| encoded(&host.random(octets));
    let id = random(ID_OCTETS);
    let login = Login {
        secret: random(SECRET_OCTETS),
        nonce: random(SECRET_OCTETS),
        verifier: random(SECRET_OCTETS),
        path: return_path(rules, path).to_owned(),
        began_s: host.now_ms() / 1000,
    };
    let sealed = sealer.seal(Purpose::Login, &serde_json::to_vec(&login).ok()?, host)?;
    let mut cookies = vec![rules.cookies.set(&rules.cookies.login(&id), &sealed, LOGIN_S)];
    // Logins that nobody finished would fill the requests of this browser.
    let others = rules.cookies.logins(present);
    if others.len() >= MAX_LOGINS {
        cookies.extend(others.into_iter().map(|name| rules.cookies.set(name, "", 0)));
    }
    let location = question(rules, endpoints, &login, &format!("{id}.{}", login.secret), host);
    Some(LoginRedirect { location, cookies })
}

/// The address of the provider's login, with what it is asked (OpenID Connect Core §3.1.2.1).
fn question<H: OidcHost>(
    rules: &OidcRules,
    endpoints: &Endpoints,
    login: &Login,
    state: &str,
    host: &H,
) -> String {
    let challenge = encoded(&host.sha256(login.verifier.as_bytes()));
    let mut query = form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("response_type", "code")
        .append_pair("client_id", &rules.client_id)
        .append_pair("redirect_uri", &rules.callback.url)
        .append_pair("scope", &rules.scopes)
        .append_pair("state", state)
        .append_pair("nonce", &login.nonce)
        .append_pair("code_challenge", &challenge)
        .append_pair("code_challenge_method", "S256")
        .extend_pairs(&rules.parameters);
    with_query(&endpoints.authorization, &query.finish())
}

/// An address with a query, or with a longer one.
pub(crate) fn with_query(address: &str, query: &str) -> String {
    let between = if address.contains('?') { '&' } else { '?' };
    format!("{address}{between}{query}")
}

/// The path that a login returns to: one of this site, which no reader takes for another host, or `/`.
#[must_use]
pub fn return_path<'a>(rules: &OidcRules, path: &'a str) -> &'a str {
    let plain = |octet: u8| octet.is_ascii_graphic() && octet != b'\\';
    let is_page = path.starts_with('/')
        && !path.starts_with("//")
        && path.len() <= LONGEST_PATH
        && path.bytes().all(plain);
    let page = path.split('?').next().unwrap_or_default();
    let is_own = page == rules.callback.path
        || rules.logout.as_ref().is_some_and(|logout| logout.path == page);
    if is_page && !is_own { path } else { "/" }
}

/// The two parts of `state`: the id in the name of the cookie, and the secret in it.
#[must_use]
pub fn parts(state: &str) -> Option<(&str, &str)> {
    let (id, secret) = state.split_once('.')?;
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    (id.len() == ID_LENGTH && id.bytes().all(plain) && !secret.is_empty()).then_some((id, secret))
}

impl Login {
    /// The login that a browser brings back with this `state`. `None`: it did not begin one here, or too long ago.
    #[must_use]
    pub fn find(
        rules: &OidcRules,
        sealer: &Sealer,
        state: &str,
        present: &Cookies<'_>,
        now_ms: u64,
    ) -> Option<Self> {
        let (id, secret) = parts(state)?;
        let sealed = present.value(&rules.cookies.login(id))?;
        let login: Self = serde_json::from_slice(&sealer.open(Purpose::Login, sealed)?).ok()?;
        let same = bool::from(login.secret.as_bytes().ct_eq(secret.as_bytes()));
        let age_s = (now_ms / 1000).checked_sub(login.began_s)?;
        (same && age_s <= LOGIN_S).then_some(login)
    }
}

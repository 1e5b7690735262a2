//! The configuration: as written ([`OidcSettings`]) and as checked ([`OidcRules`]).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use tamis_jose::algorithm::SigningAlgorithm;
use tamis_jose::names::is_safe_address;
use tamis_sdk::{ConfigError, GatewayDuration, Interest, Responses};

use crate::browser;
use crate::cookies::{CACHE_RULES, COOKIE, CookieNames, SET_COOKIE};
use crate::endpoints::Endpoints;

mod checks;

use checks::ConfigChecks;

/// The attribute with claims of a verified token, as a JSON object: the one of `tamis/jwt`, so that rules about claims hold
/// for both.
pub const CLAIMS: &str = "jwt.claims";

/// The configuration as the operator writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OidcSettings {
    issuer: String,
    #[serde(default)]
    endpoints: Option<EndpointSettings>,
    client_id: String,
    #[serde(default)]
    client_secret_name: Option<String>,
    #[serde(default)]
    client_authentication: ClientAuthenticationSettings,
    redirect_url: String,
    cookie_secret_names: Vec<String>,
    #[serde(default = "cookie_name")]
    cookie_name: String,
    #[serde(default = "scopes")]
    scopes: Vec<String>,
    #[serde(default)]
    authorization_parameters: BTreeMap<String, String>,
    #[serde(default = "algorithms")]
    algorithms: Vec<SigningAlgorithm>,
    #[serde(default = "clock_skew")]
    clock_skew: GatewayDuration,
    #[serde(default = "session_length")]
    session_length: GatewayDuration,
    #[serde(default = "renew_before")]
    renew_before: GatewayDuration,
    #[serde(default = "timeout")]
    timeout: GatewayDuration,
    #[serde(default = "refresh")]
    refresh: GatewayDuration,
    #[serde(default)]
    optional_paths: Vec<String>,
    #[serde(default)]
    claims_to_headers: Vec<ClaimSettings>,
    #[serde(default)]
    claims_to_attribute: Vec<String>,
    #[serde(default)]
    logout: Option<LogoutSettings>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EndpointSettings {
    authorization: String,
    token: String,
    jwks: String,
    #[serde(default)]
    end_session: Option<String>,
    #[serde(default)]
    names_issuer: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClientAuthenticationSettings {
    #[default]
    Basic,
    Post,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClaimSettings {
    claim: String,
    header: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LogoutSettings {
    path: String,
    #[serde(default)]
    return_to: Option<String>,
    #[serde(default)]
    send_id_token: bool,
}

fn cookie_name() -> String {
    "oidc".to_owned()
}

fn scopes() -> Vec<String> {
    vec!["openid".to_owned()]
}

fn algorithms() -> Vec<SigningAlgorithm> {
    vec![SigningAlgorithm::Rs256]
}

fn clock_skew() -> GatewayDuration {
    GatewayDuration::from_millis(60_000)
}

fn session_length() -> GatewayDuration {
    GatewayDuration::from_millis(8 * 3_600_000)
}

fn renew_before() -> GatewayDuration {
    GatewayDuration::from_millis(60_000)
}

fn timeout() -> GatewayDuration {
    GatewayDuration::from_millis(5_000)
}

fn refresh() -> GatewayDuration {
    GatewayDuration::from_millis(300_000)
}

/// How the token endpoint knows this client; each names a secret of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// A public client: PKCE alone binds a code to it.
    None,
    /// `client_secret_basic`.
    Basic(String),
    /// `client_secret_post`.
    Post(String),
}

/// Where the provider sends the browser back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackPlace {
    /// As the provider knows it.
    pub url: String,
    /// Scheme, host and port, in lower case, without the port that is usual for the scheme.
    pub origin: String,
    /// Its path.
    pub path: String,
    /// Host and port, without the port that is usual for the scheme.
    authority: String,
    /// Whether it is reached over TLS.
    pub secure: bool,
}

/// A claim that becomes a header for the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimHeader {
    /// Name of the claim, at the top level of the ID token.
    pub claim: String,
    /// Header, in lower case.
    pub header: String,
}

/// How a session is ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutRules {
    /// The path that ends it.
    pub path: String,
    /// Where the browser goes afterwards.
    pub return_to: Option<String>,
    /// Whether the provider receives the ID token.
    pub names_token: bool,
}

/// The configuration, checked.
#[derive(Clone, Debug)]
pub struct OidcRules {
    /// Compared with `iss` exactly.
    pub issuer: String,
    /// `None`: they are in the metadata.
    pub endpoints: Option<Endpoints>,
    /// Name of this client at the provider.
    pub client_id: String,
    /// How it is known there.
    pub client_authentication: ClientAuthentication,
    /// Where the browser comes back.
    pub callback: CallbackPlace,
    /// Secrets for cookies: the first seals, all open.
    pub cookie_secrets: Vec<String>,
    /// Names of cookies.
    pub cookies: CookieNames,
    /// Separated by spaces.
    pub scopes: String,
    /// Further parameters of the question.
    pub parameters: BTreeMap<String, String>,
    /// Algorithms of ID tokens.
    pub algorithms: Vec<SigningAlgorithm>,
    /// Tolerated difference of clocks, in seconds.
    pub skew_s: f64,
    /// Length of a session, in seconds.
    pub session_s: u64,
    /// How long before its end the provider is asked, in seconds.
    pub renew_before_s: u64,
    /// Of a request to the provider.
    pub timeout_ms: u32,
    /// Time between two fetches of metadata and keys.
    pub refresh: Duration,
    /// Where requests without a session pass, without claims; elsewhere a page leads to the login, and all else is refused.
    pub optional: Vec<OptionalPath>,
    /// Claims for the upstream.
    pub claims_to_headers: Vec<ClaimHeader>,
    /// Claims for other filters, in the attribute [`CLAIMS`].
    pub claims_to_attribute: Vec<String>,
    /// `None`: nothing ends a session early.
    pub logout: Option<LogoutRules>,
}

/// Bytes of an address, and of a name.
const LONGEST_URL: usize = 2048;
const LONGEST_NAME: usize = 256;

impl CallbackPlace {
    /// Reads an absolute address; `None`: it is none that a browser comes back to safely.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let secure = url.starts_with("https://");
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
        let (authority, path) = rest.split_at_checked(rest.find('/')?)?;
        let authority = authority.to_ascii_lowercase();
        let host = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host);
        // Clear text to this machine alone, to try it; browsers do not know names of the mesh.
        let is_local = is_safe_address(url) && !host.ends_with(".mesh");
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || b".-:[]".contains(&octet);
        let is_host =
            !authority.is_empty() && !authority.starts_with(':') && authority.bytes().all(plain);
        if !is_host || !(secure || is_local) || !is_page(path) || url.len() > LONGEST_URL {
            return None;
        }
        let scheme = if secure { "https" } else { "http" };
        // As browsers write it in `origin`.
        let authority = without_port(&authority, secure).to_owned();
        let (url, path) = (url.to_owned(), path.to_owned());
        Some(Self { url, origin: format!("{scheme}://{authority}"), path, authority, secure })
    }

    /// Whether a request is for this host.
    #[must_use]
    pub fn is_at(&self, authority: &str) -> bool {
        without_port(authority, self.secure).eq_ignore_ascii_case(&self.authority)
    }
}

fn without_port(authority: &str, secure: bool) -> &str {
    let usual = if secure { ":443" } else { ":80" };
    authority.strip_suffix(usual).unwrap_or(authority)
}

/// A path that requests have as it is written here: without a query, encoding, empty or dot segments.
fn is_page(path: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"/-._~".contains(&octet);
    let mut segments = path.split('/');
    segments.next() == Some("")
        && path.len() <= LONGEST_NAME
        && path.bytes().all(plain)
        && segments.all(|segment| !matches!(segment, "" | "." | ".."))
}

/// A path, and all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionalPath {
    /// Without a slash at its end.
    base: String,
}

impl OptionalPath {
    fn new(path: &str) -> Self {
        Self { base: path.trim_end_matches('/').to_owned() }
    }

    /// Whether a request's path, without its query, is this one or below it. One that another reader might take for a path
    /// elsewhere is not: with dot or empty segments, backslashes, parameters, or an encoded octet that could become one of these.
    #[must_use]
    pub fn covers(&self, page: &str) -> bool {
        let below = page.strip_prefix(&self.base);
        below.is_some_and(|below| below.is_empty() || below.starts_with('/')) && is_plain(page)
    }
}

/// Whether all readers of a path take it for the same one.
fn is_plain(page: &str) -> bool {
    let mut octets = page.bytes();
    while let Some(octet) = octets.next() {
        let digit = |octet: Option<u8>| char::from(octet?).to_digit(16);
        let octet = match octet {
            b'%' => match (digit(octets.next()), digit(octets.next())) {
                (Some(high), Some(low)) => u8::try_from(high * 16 + low).unwrap_or_default(),
                _ => return false,
            },
            b'/' | b'.' => continue,
            octet => octet,
        };
        if octet.is_ascii_control() || b"/.\\%;?#".contains(&octet) {
            return false;
        }
    }
    let (end, segments) = page.rsplit_once('/').map_or((page, ""), |(before, end)| (end, before));
    let dots = |segment: &str| matches!(segment, "." | "..");
    !dots(end) && segments.split('/').skip(1).all(|segment| !segment.is_empty() && !dots(segment))
}

impl OidcRules {
    /// Checks settings.
    ///
    /// # Errors
    /// All errors, each with its JSON pointer.
    pub fn check(settings: &OidcSettings) -> Result<Self, Vec<ConfigError>> {
        let mut checked = ConfigChecks::default();
        let callback = checked.callback(settings);
        let endpoints = checked.provider(settings);
        let client_authentication = checked.client(settings);
        checked.cookies(settings);
        checked.question(settings);
        checked.times(settings);
        let claims_to_headers = checked.claims(settings);
        let logout = checked.logout(settings, callback.as_ref());
        checked.optional(settings);
        let Some(callback) = callback.filter(|_| checked.errors.is_empty()) else {
            return Err(checked.errors);
        };
        Ok(Self {
            issuer: settings.issuer.clone(),
            endpoints,
            client_id: settings.client_id.clone(),
            client_authentication,
            cookies: CookieNames::new(&settings.cookie_name, callback.secure),
            callback,
            cookie_secrets: settings.cookie_secret_names.clone(),
            scopes: settings.scopes.join(" "),
            parameters: settings.authorization_parameters.clone(),
            algorithms: settings.algorithms.clone(),
            skew_s: settings.clock_skew.0.as_secs_f64(),
            session_s: settings.session_length.0.as_secs(),
            renew_before_s: settings.renew_before.0.as_secs(),
            timeout_ms: settings.timeout.millis(),
            refresh: settings.refresh.0,
            optional: settings.optional_paths.iter().map(|path| OptionalPath::new(path)).collect(),
            claims_to_headers,
            claims_to_attribute: settings.claims_to_attribute.clone(),
            logout,
        })
    }

    /// Whether a request for this path, without its query, passes without a session.
    #[must_use]
    pub fn is_optional(&self, page: &str) -> bool {
        self.optional.iter().any(|optional| optional.covers(page))
    }

    /// Whether a session keeps a claim.
    #[must_use]
    pub fn keeps(&self, claim: &str) -> bool {
        self.claims_to_headers.iter().any(|carried| carried.claim == claim)
            || self.claims_to_attribute.iter().any(|name| name == claim)
    }

    /// Reads cookies, and what says who sent the request; writes cookies, claims, and what keeps caches from the former.
    #[must_use]
    pub fn interest(&self) -> Interest {
        let headers = self.claims_to_headers.iter().map(|carried| carried.header.as_str());
        let attribute = (!self.claims_to_attribute.is_empty()).then(|| format!("@{CLAIMS}"));
        Interest::reading([":path", ":authority", COOKIE].into_iter().chain(browser::FIELDS))
            .writing([COOKIE, SET_COOKIE])
            .writing(CACHE_RULES)
            .writing(headers)
            .writing(attribute.as_deref())
            .seeing(Responses::All)
    }
}

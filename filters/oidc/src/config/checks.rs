//! What the checks of a configuration refuse, each at its place.

use std::time::Duration;

use tamis_jose::algorithm::KeyKind;
use tamis_jose::names::{is_header_name, is_reserved, is_safe_address};
use tamis_sdk::ConfigError;

use super::{
    CallbackPlace, ClaimHeader, ClientAuthentication, ClientAuthenticationSettings, LONGEST_NAME,
    LONGEST_URL, LogoutRules, OidcSettings, is_page,
};
use crate::cookies::{CACHE_RULES, COOKIE, SET_COOKIE};
use crate::endpoints::Endpoints;

const MOST_SECRETS: usize = 4;
const MOST_CLAIMS: usize = 64;
const MOST_SCOPES: usize = 32;
const MOST_PATHS: usize = 64;
const LONGEST_SKEW: Duration = Duration::from_secs(600);
const SESSION: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(30 * 24 * 3600);
const LONGEST_EARLY: Duration = Duration::from_secs(3600);
const REFRESH: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_secs(24 * 3600);
const TIMEOUT_MS: std::ops::RangeInclusive<u32> = 10..=10_000;

/// Parameters of the question that this filter writes, or that would replace all others.
const TAKEN_PARAMETERS: [&str; 11] = [
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

/// The checks; every error has its JSON pointer.
#[derive(Debug, Default)]
pub(super) struct ConfigChecks {
    /// What was found so far.
    pub(super) errors: Vec<ConfigError>,
}

impl ConfigChecks {
    fn refuse(&mut self, at: impl Into<String>, why: impl Into<String>) {
        self.errors.push(ConfigError::at(at, why));
    }

    pub(super) fn callback(&mut self, settings: &OidcSettings) -> Option<CallbackPlace> {
        let place = CallbackPlace::parse(&settings.redirect_url);
        if place.is_none() {
            self.refuse(
                "/redirectUrl",
                "write https://HOST[:PORT]/PATH, as the provider knows it, without a query (http: is allowed only for a loopback address)",
            );
        }
        place
    }

    pub(super) fn provider(&mut self, settings: &OidcSettings) -> Option<Endpoints> {
        if !is_provider_address(&settings.issuer) || settings.issuer.contains('?') {
            self.refuse(
                "/issuer",
                "write the https: URL that is `issuer` in the provider's metadata, without a query (http: is allowed only for a loopback address and for a service of the mesh)",
            );
        }
        let written = settings.endpoints.as_ref()?;
        let end_session = written.end_session.as_ref().map(|url| ("endSession", url));
        let urls = [
            ("authorization", &written.authorization),
            ("token", &written.token),
            ("jwks", &written.jwks),
        ];
        for (name, url) in urls.into_iter().chain(end_session) {
            if !is_provider_address(url) {
                self.refuse(
                    format!("/endpoints/{name}"),
                    "must be an https: URL (http: is allowed only for a loopback address and for a service of the mesh)",
                );
            }
        }
        Some(Endpoints {
            authorization: written.authorization.clone(),
            token: written.token.clone(),
            jwks: written.jwks.clone(),
            end_session: written.end_session.clone(),
            names_issuer: written.names_issuer,
        })
    }

    pub(super) fn client(&mut self, settings: &OidcSettings) -> ClientAuthentication {
        if settings.client_id.is_empty() || settings.client_id.len() > LONGEST_NAME {
            self.refuse("/clientId", "write the name that the provider gave this client");
        }
        let Some(name) = &settings.client_secret_name else {
            if settings.client_authentication == ClientAuthenticationSettings::Post {
                self.refuse(
                    "/clientAuthentication",
                    "name the secret that is sent (`clientSecretName`), or remove this: a client without a secret has nothing to send",
                );
            }
            return ClientAuthentication::None;
        };
        if !is_secret_name(name) {
            self.refuse(
                "/clientSecretName",
                "name the secret that the Grant lets the filter open and reveal",
            );
        }
        match settings.client_authentication {
            ClientAuthenticationSettings::Basic => ClientAuthentication::Basic(name.clone()),
            ClientAuthenticationSettings::Post => ClientAuthentication::Post(name.clone()),
        }
    }

    pub(super) fn cookies(&mut self, settings: &OidcSettings) {
        let names = &settings.cookie_secret_names;
        if !(1..=MOST_SECRETS).contains(&names.len()) {
            self.refuse(
                "/cookieSecretNames",
                "name 1 to 4 secrets of 32 random bytes: the first encrypts, all decrypt",
            );
        }
        for (index, name) in names.iter().enumerate() {
            if !is_secret_name(name) {
                let why = "name a secret that the Grant lets the filter open";
                self.refuse(format!("/cookieSecretNames/{index}"), why);
            }
            if names.iter().take(index).any(|other| other == name) {
                let why = "this name is in the list twice: keep one of the two";
                self.refuse(format!("/cookieSecretNames/{index}"), why);
            }
            if settings.client_secret_name.as_ref() == Some(name) {
                let why = "this is the client's secret, which the provider knows too: make one of its own";
                self.refuse(format!("/cookieSecretNames/{index}"), why);
            }
        }
        let name = &settings.cookie_name;
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_".contains(&octet);
        if !(1..=32).contains(&name.len()) || !name.bytes().all(plain) {
            self.refuse("/cookieName", "a name has 1 to 32 letters, digits, `-` and `_`");
        }
    }

    pub(super) fn optional(&mut self, settings: &OidcSettings) {
        if settings.optional_paths.len() > MOST_PATHS {
            self.refuse("/optionalPaths", format!("at most {MOST_PATHS} paths"));
        }
        for (index, path) in settings.optional_paths.iter().enumerate() {
            let base = path.strip_suffix('/').unwrap_or(path);
            if path != "/" && (base.is_empty() || !is_page(base)) {
                self.refuse(
                    format!("/optionalPaths/{index}"),
                    "write a path such as /open, without a query, encoding, empty or dot segments; it stands for all below it too, and / for all",
                );
            }
        }
    }

    pub(super) fn question(&mut self, settings: &OidcSettings) {
        let scopes = &settings.scopes;
        if !scopes.iter().any(|scope| scope == "openid") {
            self.refuse(
                "/scopes",
                "`openid` must be among them: without it the provider sends no ID token",
            );
        }
        // RFC 6749 §3.3.
        let token = |octet: u8| octet.is_ascii_graphic() && octet != b'"' && octet != b'\\';
        let bad = |scope: &String| {
            !(1..=LONGEST_NAME).contains(&scope.len()) || !scope.bytes().all(token)
        };
        if scopes.len() > MOST_SCOPES || scopes.iter().any(bad) {
            self.refuse(
                "/scopes",
                "at most 32, each a word without spaces, quotes and backslashes",
            );
        }
        for name in settings.authorization_parameters.keys() {
            if TAKEN_PARAMETERS.contains(&name.as_str()) {
                let at = format!("/authorizationParameters/{}", tamis_sdk::config::step(name));
                self.refuse(at, "this parameter is written by the filter: remove it");
            }
        }
        let length = |(name, value): (&String, &String)| name.len().saturating_add(value.len());
        let length: usize = settings.authorization_parameters.iter().map(length).sum();
        if length > LONGEST_URL {
            self.refuse("/authorizationParameters", "must have at most 2048 bytes together");
        }
        if settings.algorithms.is_empty() {
            self.refuse("/algorithms", "name at least one algorithm, such as RS256");
        }
        if settings.algorithms.iter().any(|it| it.key_kind() == KeyKind::Symmetric) {
            self.refuse(
                "/algorithms",
                "HS algorithms are not supported: the provider signs with a key that it publishes",
            );
        }
    }

    pub(super) fn times(&mut self, settings: &OidcSettings) {
        if settings.clock_skew.0 > LONGEST_SKEW {
            self.refuse("/clockSkew", "must be at most 10m");
        }
        if !SESSION.contains(&settings.session_length.0) {
            self.refuse("/sessionLength", "must be from 1m to 720h");
        }
        if settings.renew_before.0 > LONGEST_EARLY {
            self.refuse("/renewBefore", "must be at most 1h");
        }
        if !TIMEOUT_MS.contains(&settings.timeout.millis()) {
            self.refuse("/timeout", "must be from 10ms to 10s: a person waits for it");
        }
        if !REFRESH.contains(&settings.refresh.0) {
            self.refuse("/refresh", "must be from 10s to 24h");
        }
    }

    pub(super) fn claims(&mut self, settings: &OidcSettings) -> Vec<ClaimHeader> {
        let mut carried: Vec<ClaimHeader> = Vec::new();
        for (index, wanted) in settings.claims_to_headers.iter().enumerate() {
            let header = wanted.header.to_ascii_lowercase();
            let mut own = [COOKIE, SET_COOKIE, "authorization"].into_iter().chain(CACHE_RULES);
            let taken = own.any(|name| name == header);
            let why = if !is_header_name(&header) || is_reserved(&header) || taken {
                "a claim must not become this header: use a name such as x-user"
            } else if carried.iter().any(|other| other.header == header) {
                "another claim has this header"
            } else {
                carried.push(ClaimHeader { claim: wanted.claim.clone(), header });
                continue;
            };
            self.refuse(format!("/claimsToHeaders/{index}/header"), why);
        }
        for (at, count) in [
            ("/claimsToHeaders", settings.claims_to_headers.len()),
            ("/claimsToAttribute", settings.claims_to_attribute.len()),
        ] {
            if count > MOST_CLAIMS {
                self.refuse(at, "must be at most 64 claims");
            }
        }
        carried
    }

    pub(super) fn logout(
        &mut self,
        settings: &OidcSettings,
        callback: Option<&CallbackPlace>,
    ) -> Option<LogoutRules> {
        let written = settings.logout.as_ref()?;
        if !is_page(&written.path) {
            self.refuse(
                "/logout/path",
                "write a path such as /oidc/logout: letters, digits, `-`, `.`, `_`, `~`, without a query and without empty or dot segments",
            );
        }
        if callback.is_some_and(|callback| callback.path == written.path) {
            self.refuse("/logout/path", "this is the path of `redirectUrl`: choose another one");
        }
        if written.return_to.as_ref().is_some_and(|url| !is_provider_address(url)) {
            self.refuse("/logout/returnTo", "must be an https: URL, as the provider knows it");
        }
        Some(LogoutRules {
            path: written.path.clone(),
            return_to: written.return_to.clone(),
            names_token: written.send_id_token,
        })
    }
}

fn is_secret_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
}

/// An address that is fetched, or that a browser is sent to.
fn is_provider_address(url: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_graphic() && !b"#\\\"<>".contains(&octet);
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    is_safe_address(url)
        && url.bytes().all(plain)
        && url.len() <= LONGEST_URL
        && !authority.is_empty()
        && !authority.contains('@')
}

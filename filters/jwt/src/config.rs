//! The configuration: as written ([`JwtSettings`]) and as checked ([`JwtRules`]).

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use tamis_jose::algorithm::{KeyKind, SigningAlgorithm};
use tamis_jose::keyring::IssuerKeys;
use tamis_jose::keys::{KeyOrigin, KeySet};
use tamis_jose::names::{is_header_name, is_reserved, is_safe_address};
use tamis_sdk::{ConfigError, GatewayDuration};

/// The configuration as the operator writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtSettings {
    issuers: Vec<IssuerSettings>,
    #[serde(default = "yes")]
    required: bool,
    #[serde(default)]
    forward: bool,
    #[serde(default)]
    claims_to_attribute: Vec<String>,
    #[serde(default)]
    from: FromSettings,
    #[serde(default = "cache_size")]
    cache_size: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct IssuerSettings {
    issuer: String,
    audiences: Vec<String>,
    algorithms: Vec<SigningAlgorithm>,
    jwks: JwksSettings,
    #[serde(default)]
    claims_to_headers: Vec<ClaimSettings>,
    #[serde(default = "clock_skew")]
    clock_skew: GatewayDuration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JwksSettings {
    inline: Option<Map<String, Value>>,
    url: Option<String>,
    refresh: Option<GatewayDuration>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClaimSettings {
    claim: String,
    header: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FromSettings {
    header: String,
    #[serde(default)]
    prefix: String,
}

impl Default for FromSettings {
    fn default() -> Self {
        Self { header: "authorization".to_owned(), prefix: "Bearer ".to_owned() }
    }
}

fn yes() -> bool {
    true
}

fn cache_size() -> usize {
    1024
}

fn clock_skew() -> GatewayDuration {
    GatewayDuration::from_millis(60_000)
}

/// What happens to a request without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingTokenRule {
    /// It is refused.
    Refused,
    /// It passes, without claim headers; a bad token is refused nevertheless.
    Passes,
}

/// What happens to the token of a request that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenForwarding {
    /// It is removed.
    Removed,
    /// It is forwarded to the upstream.
    Forwarded,
}

/// The configuration, checked.
#[derive(Clone, Debug)]
pub struct JwtRules {
    /// At least one; their names differ.
    pub issuers: Vec<Issuer>,
    /// Requests without a token.
    pub absent: MissingTokenRule,
    /// Tokens of requests that pass.
    pub spent: TokenForwarding,
    /// Lower-case name of the header with the token.
    pub token_header: String,
    /// Text before the token, compared without case; may be empty.
    pub token_prefix: String,
    /// Lower-case names of the claim headers of all issuers, each once.
    pub claim_headers: Vec<String>,
    /// Claims in the attribute [`CLAIMS`]; none: it is not set.
    pub claims_to_attribute: Vec<String>,
    /// Maximum number of remembered tokens.
    pub cache_size: usize,
}

/// The attribute with claims of a verified token, as a JSON object.
pub const CLAIMS: &str = "jwt.claims";
/// Most claims in the attribute.
const MOST_CLAIMS: usize = 64;

/// An issuer whose tokens are trusted.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Compared with `iss` exactly.
    pub name: String,
    /// At least one.
    pub audiences: Vec<String>,
    /// At least one.
    pub algorithms: Vec<SigningAlgorithm>,
    /// Where its keys come from.
    pub keys: IssuerKeys,
    /// Claims that become headers for the upstream.
    pub claims_to_headers: Vec<CarriedClaim>,
    /// Tolerated difference of clocks.
    pub clock_skew: Duration,
}

/// A claim that becomes a header for the upstream.
#[derive(Clone, Debug)]
pub struct CarriedClaim {
    /// Name of the claim, at the top level of the payload.
    pub claim: String,
    /// Index into [`JwtRules::claim_headers`].
    pub header: usize,
}

const MOST_CACHED: usize = 1 << 20;
const SHORTEST_REFRESH: Duration = Duration::from_secs(10);
const LONGEST_REFRESH: Duration = Duration::from_secs(24 * 3600);
const LONGEST_SKEW: Duration = Duration::from_secs(3600);
const USUAL_REFRESH: Duration = Duration::from_secs(300);

impl JwtRules {
    /// Checks settings.
    ///
    /// # Errors
    /// All errors, each with its JSON pointer.
    pub fn check(settings: &JwtSettings) -> Result<Self, Vec<ConfigError>> {
        let mut errors = Vec::new();
        if settings.issuers.is_empty() {
            errors.push(ConfigError::at("/issuers", "name at least one issuer"));
        }
        let token_header = settings.from.header.to_ascii_lowercase();
        if !is_header_name(&token_header) {
            errors.push(ConfigError::at("/from/header", "this is not a header name"));
        }
        if settings.cache_size > MOST_CACHED {
            errors.push(ConfigError::at("/cacheSize", "must be at most 1048576"));
        }
        if settings.claims_to_attribute.len() > MOST_CLAIMS {
            errors.push(ConfigError::at("/claimsToAttribute", "must be at most 64 claims"));
        }
        let mut claim_headers = Vec::new();
        let mut issuers: Vec<Issuer> = Vec::new();
        for (index, written) in settings.issuers.iter().enumerate() {
            let at = format!("/issuers/{index}");
            if issuers.iter().any(|other| other.name == written.issuer) {
                errors.push(ConfigError::at(
                    format!("{at}/issuer"),
                    "an earlier issuer has this name: merge the two",
                ));
            }
            let mut checked = IssuerChecks { at, errors: &mut errors };
            let claims = checked.claims(written, &token_header, &mut claim_headers);
            issuers.extend(checked.issuer(written, claims));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            issuers,
            absent: if settings.required {
                MissingTokenRule::Refused
            } else {
                MissingTokenRule::Passes
            },
            spent: if settings.forward {
                TokenForwarding::Forwarded
            } else {
                TokenForwarding::Removed
            },
            token_header,
            token_prefix: settings.from.prefix.clone(),
            claim_headers,
            claims_to_attribute: settings.claims_to_attribute.clone(),
            cache_size: settings.cache_size,
        })
    }

    /// The addresses of key sets, each with the time between two fetches.
    pub fn fetched(&self) -> impl Iterator<Item = (&str, Duration)> {
        self.issuers.iter().filter_map(|issuer| match &issuer.keys {
            IssuerKeys::Url { url, refresh } => Some((url.as_str(), *refresh)),
            IssuerKeys::Inline(_) => None,
        })
    }
}

/// The checks of one issuer; every error has its JSON pointer.
struct IssuerChecks<'a> {
    at: String,
    errors: &'a mut Vec<ConfigError>,
}

impl IssuerChecks<'_> {
    fn issuer(&mut self, written: &IssuerSettings, claims: Vec<CarriedClaim>) -> Option<Issuer> {
        if written.audiences.is_empty() {
            self.refuse(
                "audiences",
                "name at least one audience: otherwise tokens for other services would be accepted",
            );
        }
        if written.algorithms.is_empty() {
            self.refuse("algorithms", "name at least one algorithm, such as RS256");
        }
        if written.clock_skew.0 > LONGEST_SKEW {
            self.refuse("clockSkew", "must be at most 1h");
        }
        let keys = self.keys(written)?;
        Some(Issuer {
            name: written.issuer.clone(),
            audiences: written.audiences.clone(),
            algorithms: written.algorithms.clone(),
            keys,
            claims_to_headers: claims,
            clock_skew: written.clock_skew.0,
        })
    }

    fn keys(&mut self, written: &IssuerSettings) -> Option<IssuerKeys> {
        let jwks = &written.jwks;
        match (&jwks.inline, &jwks.url) {
            (Some(members), None) => match KeySet::from_members(members, KeyOrigin::Inline) {
                Ok(set) => Some(IssuerKeys::Inline(set)),
                Err(why) => {
                    self.refuse("jwks/inline", why.to_string());
                    None
                }
            },
            (None, Some(url)) => {
                let refresh = jwks.refresh.map_or(USUAL_REFRESH, |given| given.0);
                if !(SHORTEST_REFRESH..=LONGEST_REFRESH).contains(&refresh) {
                    self.refuse("jwks/refresh", "must be from 10s to 24h");
                }
                if !is_safe_address(url) {
                    self.refuse(
                        "jwks/url",
                        "must be an https: URL (http: is allowed only for a loopback address and for a service of the mesh, NAME.NAMESPACE.mesh)",
                    );
                }
                if written.algorithms.iter().any(|a| a.key_kind() == KeyKind::Symmetric) {
                    self.refuse(
                        "algorithms",
                        "HS algorithms need a secret key, which is not published: use `jwks.inline`",
                    );
                }
                Some(IssuerKeys::Url { url: url.clone(), refresh })
            }
            (Some(_), Some(_)) | (None, None) => {
                self.refuse("jwks", "give either `inline` or `url`");
                None
            }
        }
    }

    fn claims(
        &mut self,
        written: &IssuerSettings,
        token_header: &str,
        all: &mut Vec<String>,
    ) -> Vec<CarriedClaim> {
        let mut carried: Vec<CarriedClaim> = Vec::new();
        for (index, wanted) in written.claims_to_headers.iter().enumerate() {
            let name = wanted.header.to_ascii_lowercase();
            if !is_header_name(&name) || is_reserved(&name) || name == token_header {
                let at = format!("claimsToHeaders/{index}/header");
                self.refuse(&at, "a claim must not become this header: use a name such as x-user");
                continue;
            }
            let header = all.iter().position(|known| *known == name).unwrap_or(all.len());
            if header == all.len() {
                all.push(name);
            }
            if carried.iter().any(|other| other.header == header) {
                let at = format!("claimsToHeaders/{index}/header");
                self.refuse(&at, "another claim of this issuer has this header");
            }
            carried.push(CarriedClaim { claim: wanted.claim.clone(), header });
        }
        carried
    }

    fn refuse(&mut self, member: &str, message: impl Into<String>) {
        self.errors.push(ConfigError::at(format!("{}/{member}", self.at), message));
    }
}

#[cfg(test)]
mod tests;

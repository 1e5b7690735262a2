//! The ID token (OpenID Connect Core §3.1.3.7): who signed it, for whom, when, and for which login.

use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;
use tamis_jose::claims::{date, header_value, is_meant_for, seconds};
use tamis_jose::fault::TokenFault;
use tamis_jose::host::Verify;
use tamis_jose::json::unique_object;
use tamis_jose::jws::Token;
use tamis_jose::keys::ImportedKeys;

use crate::config::OidcRules;

/// Octets of a `sub` (OpenID Connect Core §2: at most 255).
const LONGEST_SUBJECT: usize = 255;

/// Which rule an ID token breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdTokenFault {
    /// There is none, it is no token, or a claim has another type than it must.
    Malformed,
    /// It is not signed, or with an algorithm that is not allowed.
    Algorithm,
    /// No key of the provider fits.
    Key,
    /// The signature is wrong.
    Signature,
    /// `iss` names another issuer than the provider.
    Issuer,
    /// `aud` or `azp` names another client.
    Audience,
    /// It is over, not valid yet, or from the future.
    Time,
    /// `nonce` is that of another login.
    Nonce,
    /// `sub` is missing, or another one than before.
    Subject,
}

impl IdTokenFault {
    /// The rule id for the decision trail.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "oidc.id-token-malformed",
            Self::Algorithm => "oidc.id-token-algorithm",
            Self::Key => "oidc.id-token-key",
            Self::Signature => "oidc.id-token-signature",
            Self::Issuer => "oidc.id-token-issuer",
            Self::Audience => "oidc.id-token-audience",
            Self::Time => "oidc.id-token-time",
            Self::Nonce => "oidc.id-token-nonce",
            Self::Subject => "oidc.id-token-subject",
        }
    }
}

impl From<TokenFault> for IdTokenFault {
    fn from(fault: TokenFault) -> Self {
        match fault {
            TokenFault::Malformed(_) => Self::Malformed,
            TokenFault::AlgNone | TokenFault::AlgNotAllowed => Self::Algorithm,
            TokenFault::BadSignature => Self::Signature,
            TokenFault::UnknownKey => Self::Key,
        }
    }
}

/// What an ID token must say besides what the configuration names.
#[derive(Clone, Copy, Debug)]
pub enum ExpectedIdToken<'a> {
    /// Of a login: its nonce.
    Login(&'a str),
    /// Of a renewal: the same person, and the nonce of the login if it names one (OpenID Connect Core §12.2).
    Renewal {
        /// Of the login.
        nonce: &'a str,
        /// Who logged in.
        subject: &'a str,
    },
}

/// The claims of an ID token that holds.
///
/// # Errors
/// The first rule that it breaks.
pub fn verified<V: Verify>(
    rules: &OidcRules,
    text: &str,
    ring: &ImportedKeys,
    expected: ExpectedIdToken<'_>,
    now_ms: u64,
    crypto: &V,
) -> Result<Map<String, Value>, IdTokenFault> {
    let token = Token::parse(text.as_bytes())?;
    token.check(ring, &rules.algorithms, crypto)?;
    let claims = unique_object(token.payload()).map_err(|_| IdTokenFault::Malformed)?;
    if claims.get("iss").and_then(Value::as_str) != Some(&rules.issuer) {
        return Err(IdTokenFault::Issuer);
    }
    check_audience(&claims, &rules.client_id)?;
    check_time(&claims, rules.skew_s, now_ms)?;
    check_login(&claims, expected)?;
    for carried in &rules.claims_to_headers {
        // A person whose name cannot be sent to the upstream is refused, and does not pass without a name.
        claims.get(&carried.claim).map(header_value).transpose()?;
    }
    Ok(claims)
}

fn check_audience(claims: &Map<String, Value>, client: &str) -> Result<(), IdTokenFault> {
    let audience = claims.get("aud");
    if !is_meant_for(audience, &[client.to_owned()]) {
        return Err(IdTokenFault::Audience);
    }
    let several = audience.and_then(Value::as_array).is_some_and(|names| names.len() > 1);
    match claims.get("azp") {
        Some(party) if party.as_str() == Some(client) => Ok(()),
        Some(_) => Err(IdTokenFault::Audience),
        None if several => Err(IdTokenFault::Audience),
        None => Ok(()),
    }
}

fn check_time(claims: &Map<String, Value>, skew_s: f64, now_ms: u64) -> Result<(), IdTokenFault> {
    let now = seconds(now_ms);
    let expires = date(claims, "exp")?.ok_or(IdTokenFault::Malformed)?;
    let issued = date(claims, "iat")?.ok_or(IdTokenFault::Malformed)?;
    let starts = date(claims, "nbf")?.unwrap_or(issued).max(issued);
    if now >= expires + skew_s || now < starts - skew_s {
        return Err(IdTokenFault::Time);
    }
    Ok(())
}

fn check_login(
    claims: &Map<String, Value>,
    expected: ExpectedIdToken<'_>,
) -> Result<(), IdTokenFault> {
    let named = claims.get("sub").and_then(Value::as_str);
    let subject = named.filter(|sub| (1..=LONGEST_SUBJECT).contains(&sub.len()));
    let subject = subject.ok_or(IdTokenFault::Subject)?;
    let is = |nonce: &str| {
        let named = claims.get("nonce").and_then(Value::as_str).unwrap_or_default();
        bool::from(named.as_bytes().ct_eq(nonce.as_bytes()))
    };
    match expected {
        ExpectedIdToken::Login(nonce) if is(nonce) => Ok(()),
        ExpectedIdToken::Login(_) => Err(IdTokenFault::Nonce),
        ExpectedIdToken::Renewal { subject: before, .. } if before != subject => {
            Err(IdTokenFault::Subject)
        }
        ExpectedIdToken::Renewal { nonce, .. } if !claims.contains_key("nonce") || is(nonce) => {
            Ok(())
        }
        ExpectedIdToken::Renewal { .. } => Err(IdTokenFault::Nonce),
    }
}

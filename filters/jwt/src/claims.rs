//! Claims (RFC 7519 §4.1): checked, and turned into headers.

use serde_json::{Map, Value};
use tamis_jose::claims::{date, header_value, is_meant_for, seconds};
use tamis_jose::fault::TokenFault;

use crate::config::Issuer;
use crate::refusal::JwtRefusal;

/// The claims of a verified token that matter.
#[derive(Clone, Debug, PartialEq)]
pub struct AcceptedClaims {
    /// Seconds since 1970 from which the token is valid, clock skew subtracted.
    not_before: f64,
    /// Seconds since 1970 at which it expires, clock skew added.
    expires: f64,
    /// Claim headers: index into the configuration's header list, and the value.
    pub headers: Vec<(usize, String)>,
    /// The claims for other filters, as a JSON object; `None`: none are asked for.
    pub attribute: Option<String>,
}

impl AcceptedClaims {
    /// Checks whether the token is valid at this time.
    ///
    /// # Errors
    /// [`JwtRefusal::Expired`] or [`JwtRefusal::NotYet`].
    pub fn check_time(&self, now_ms: u64) -> Result<(), JwtRefusal> {
        let now = seconds(now_ms);
        if now >= self.expires {
            return Err(JwtRefusal::Expired);
        }
        if now < self.not_before {
            return Err(JwtRefusal::NotYet);
        }
        Ok(())
    }
}

/// Checks the claims of a token whose signature was verified.
///
/// # Errors
/// The first rule that the claims break.
pub fn judge(
    claims: &Map<String, Value>,
    issuer: &Issuer,
    for_filters: &[String],
    now_ms: u64,
) -> Result<AcceptedClaims, JwtRefusal> {
    let skew = issuer.clock_skew.as_secs_f64();
    let expires =
        date(claims, "exp")?.ok_or(TokenFault::Malformed("the token has no expiry"))? + skew;
    let starts = [date(claims, "nbf")?, date(claims, "iat")?];
    let not_before = starts.into_iter().flatten().fold(f64::MIN, f64::max) - skew;
    let headers = headers(claims, issuer)?;
    let attribute = attribute(claims, for_filters);
    let accepted = AcceptedClaims { not_before, expires, headers, attribute };
    accepted.check_time(now_ms)?;
    if !is_meant_for(claims.get("aud"), &issuer.audiences) {
        return Err(JwtRefusal::WrongAudience);
    }
    Ok(accepted)
}

/// The claims that other filters see; a token that has none of them gives an empty object.
fn attribute(claims: &Map<String, Value>, names: &[String]) -> Option<String> {
    let named = |name: &String| Some((name.clone(), claims.get(name)?.clone()));
    let all = || names.iter().filter_map(named).collect();
    (!names.is_empty()).then(|| Value::Object(all()).to_string())
}

fn headers(
    claims: &Map<String, Value>,
    issuer: &Issuer,
) -> Result<Vec<(usize, String)>, JwtRefusal> {
    let mut headers = Vec::new();
    for carried in &issuer.claims_to_headers {
        let value = claims.get(&carried.claim).map(header_value).transpose()?.flatten();
        headers.extend(value.map(|value| (carried.header, value)));
    }
    Ok(headers)
}

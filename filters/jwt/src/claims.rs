//! Claims (RFC 7519 §4.1): checked, and turned into headers.

use serde_json::{Map, Value};

use crate::config::Issuer;
use crate::refusal::Refusal;

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
    /// [`Refusal::Expired`] or [`Refusal::NotYet`].
    pub fn check_time(&self, now_ms: u64) -> Result<(), Refusal> {
        let now = seconds(now_ms);
        if now >= self.expires {
            return Err(Refusal::Expired);
        }
        if now < self.not_before {
            return Err(Refusal::NotYet);
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
) -> Result<AcceptedClaims, Refusal> {
    let skew = issuer.clock_skew.as_secs_f64();
    let expires = date(claims, "exp")?.ok_or(Refusal::Malformed("the token has no expiry"))? + skew;
    let starts = [date(claims, "nbf")?, date(claims, "iat")?];
    let not_before = starts.into_iter().flatten().fold(f64::MIN, f64::max) - skew;
    let headers = headers(claims, issuer)?;
    let attribute = attribute(claims, for_filters);
    let accepted = AcceptedClaims { not_before, expires, headers, attribute };
    accepted.check_time(now_ms)?;
    if !is_meant_for(claims.get("aud"), &issuer.audiences) {
        return Err(Refusal::WrongAudience);
    }
    Ok(accepted)
}

/// The claims that other filters see; a token that has none of them gives an empty object.
fn attribute(claims: &Map<String, Value>, names: &[String]) -> Option<String> {
    let named = |name: &String| Some((name.clone(), claims.get(name)?.clone()));
    let all = || names.iter().filter_map(named).collect();
    (!names.is_empty()).then(|| Value::Object(all()).to_string())
}

fn is_meant_for(audience: Option<&Value>, ours: &[String]) -> bool {
    let is_ours = |value: &Value| value.as_str().is_some_and(|name| ours.iter().any(|a| a == name));
    match audience {
        Some(Value::Array(names)) => names.iter().any(is_ours),
        Some(one) => is_ours(one),
        None => false,
    }
}

/// A NumericDate: seconds since 1970, perhaps with a fraction.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, Refusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => number
            .as_f64()
            .filter(|value| value.is_finite())
            .map(Some)
            .ok_or(Refusal::Malformed("a date is out of range")),
        Some(_) => Err(Refusal::Malformed("a date is not a number")),
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 stay far below 2⁵³")]
fn seconds(now_ms: u64) -> f64 {
    now_ms as f64 / 1000.0
}

fn headers(claims: &Map<String, Value>, issuer: &Issuer) -> Result<Vec<(usize, String)>, Refusal> {
    let mut headers = Vec::new();
    for carried in &issuer.claims_to_headers {
        let Some(value) = claims.get(&carried.claim).and_then(as_text) else { continue };
        // A claim that cannot be a header is not dropped: the upstream would treat the user as anonymous.
        if value.chars().any(char::is_control) || value.trim() != value {
            return Err(Refusal::Malformed("a claim cannot be carried in a header"));
        }
        headers.push((carried.header, value));
    }
    Ok(headers)
}

/// Strings, numbers and booleans unchanged; lists of them joined by spaces. List items that contain white
/// space are left out, because `["a b"]` would read as `["a","b"]`. `None` for other values.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Array(items) => {
            let items = items.iter().filter_map(scalar);
            let words: Vec<String> =
                items.filter(|item| !item.contains(char::is_whitespace)).collect();
            Some(words.join(" "))
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null | Value::Object(_) => {
            scalar(value)
        }
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

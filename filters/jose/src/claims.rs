//! Claims (RFC 7519 §4.1): dates, audiences, and what of them a header can carry.

use serde_json::{Map, Value};

use crate::fault::TokenFault;

/// A NumericDate: seconds since 1970, perhaps with a fraction.
///
/// # Errors
/// [`TokenFault::Malformed`] where the claim is no date.
pub fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, TokenFault> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => number
            .as_f64()
            .filter(|value| value.is_finite())
            .map(Some)
            .ok_or(TokenFault::Malformed("a date is out of range")),
        Some(_) => Err(TokenFault::Malformed("a date is not a number")),
    }
}

/// Seconds since 1970, as dates in claims are written.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 stay far below 2⁵³")]
#[must_use]
pub fn seconds(now_ms: u64) -> f64 {
    now_ms as f64 / 1000.0
}

/// Whether `aud` names one of these audiences.
#[must_use]
pub fn is_meant_for(audience: Option<&Value>, ours: &[String]) -> bool {
    let is_ours = |value: &Value| value.as_str().is_some_and(|name| ours.iter().any(|a| a == name));
    match audience {
        Some(Value::Array(names)) => names.iter().any(is_ours),
        Some(one) => is_ours(one),
        None => false,
    }
}

/// The value of a header for a claim; `None` where the claim has no text (an object).
///
/// # Errors
/// The claim has a text that no header can carry. It is not dropped: the upstream would treat the user as anonymous.
pub fn header_value(claim: &Value) -> Result<Option<String>, TokenFault> {
    let Some(value) = as_text(claim) else { return Ok(None) };
    if value.chars().any(char::is_control) || value.trim() != value {
        return Err(TokenFault::Malformed("a claim cannot be carried in a header"));
    }
    Ok(Some(value))
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

//! One PEM block (RFC 7468), strictly: the expected label, base64, and nothing around it but white space.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::TrustError;

/// Largest PEM block in bytes; keys are far smaller.
const MAX_PEM_BYTES: usize = 4096;

pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for (at, symbol) in body.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(symbol);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text
}

pub(crate) fn decode(label: &'static str, text: &str) -> Result<Vec<u8>, TrustError> {
    if text.len() > MAX_PEM_BYTES {
        return Err(TrustError::Pem(label));
    }
    let body = text
        .trim()
        .strip_prefix(&format!("-----BEGIN {label}-----"))
        .and_then(|rest| rest.strip_suffix(&format!("-----END {label}-----")))
        .ok_or(TrustError::Pem(label))?;
    let body: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(body).map_err(|_| TrustError::Pem(label))
}

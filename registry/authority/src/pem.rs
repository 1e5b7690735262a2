//! The parts of PEM texts (RFC 7468) that an authority keeps.

use crate::AuthorityError;

/// The certificates of a PEM text, each without blanks.
pub(crate) fn certificates(text: &str) -> impl Iterator<Item = String> {
    let parts = text.split("-----BEGIN CERTIFICATE-----").skip(1);
    let bodies = parts.filter_map(|part| part.split_once("-----END CERTIFICATE-----"));
    bodies.map(|(body, _)| body.split_ascii_whitespace().collect())
}

/// The certificate and the key in a text of both.
pub(crate) fn parts(text: &str) -> Option<(&str, &str)> {
    const END: &str = "-----END CERTIFICATE-----";
    let end = text.find(END)?.checked_add(END.len())?;
    let (certificate, key) = text.split_at_checked(end)?;
    Some((certificate, key.trim_start()))
}

/// A text of certificates that everybody may read, which is to have no key in it.
///
/// # Errors
/// [`AuthorityError::Import`]: there is one.
pub(crate) fn without_keys(text: &str) -> Result<String, AuthorityError> {
    if text.contains("PRIVATE KEY-----") {
        let rule = "there is a private key beside the certificate, and everybody would read it: give the certificates alone";
        return Err(AuthorityError::Import { rule: rule.to_owned() });
    }
    Ok(text.to_owned())
}

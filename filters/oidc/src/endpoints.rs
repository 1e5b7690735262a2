//! The endpoints of a provider, of its configuration or of its metadata (OpenID Connect Discovery 1.0, RFC 8414).

use serde_json::{Map, Value};
use tamis_jose::json::unique_object;
use tamis_jose::names::is_safe_address;

/// The endpoints of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Where people log in.
    pub authorization: String,
    /// Where a code becomes tokens.
    pub token: String,
    /// Its keys.
    pub jwks: String,
    /// Where people log out (OpenID Connect RP-Initiated Logout 1.0).
    pub end_session: Option<String>,
    /// Whether its answers name it (RFC 9207).
    pub names_issuer: bool,
}

impl Endpoints {
    /// Reads metadata.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8], issuer: &str) -> Result<Self, String> {
        let members = unique_object(text).map_err(|_| "it is not a JSON object".to_owned())?;
        // Metadata of another issuer would send people and codes there (Discovery §4.3).
        if members.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err(format!("its `issuer` is not {issuer}, letter by letter"));
        }
        let wanted =
            |name: &str| address(&members, name)?.ok_or_else(|| format!("it has no `{name}`"));
        let flag = members.get("authorization_response_iss_parameter_supported");
        Ok(Self {
            authorization: wanted("authorization_endpoint")?,
            token: wanted("token_endpoint")?,
            jwks: wanted("jwks_uri")?,
            end_session: address(&members, "end_session_endpoint")?,
            names_issuer: flag == Some(&Value::Bool(true)),
        })
    }
}

fn address(members: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(url)) if is_safe_address(url) && !url.contains('#') => {
            Ok(Some(url.clone()))
        }
        Some(_) => Err(format!("its `{name}` is not an https: URL")),
    }
}

//! The token endpoint (RFC 6749 §4.1.3, §6; OpenID Connect Core §3.1.3): a code, or a refresh token, becomes tokens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use tamis_jose::host::FetchedResponse;
use tamis_jose::json::unique_object;

use crate::config::{ClientAuthentication, OidcRules};
use crate::host::{FormPost, OidcHost};

/// Longest token that is taken from an answer.
const LONGEST_TOKEN: usize = 16 * 1024;

/// What is exchanged for tokens.
#[derive(Clone, Copy, Debug)]
pub enum TokenGrant<'a> {
    /// A code, and the verifier that belongs to it.
    Code {
        /// As the browser brought it.
        code: &'a str,
        /// Of the login.
        verifier: &'a str,
    },
    /// A refresh token.
    Refresh(&'a str),
}

/// Tokens of an answer. The access token is not kept: this filter calls nothing with it.
#[derive(Clone, PartialEq, Eq)]
pub struct ProviderTokens {
    /// Always there for a code.
    pub id_token: Option<String>,
    /// With what the provider is asked again.
    pub refresh_token: Option<String>,
    /// Seconds for which the access token is valid.
    pub lifetime_s: Option<u64>,
}

/// Which tokens there are.
impl std::fmt::Debug for ProviderTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProviderTokens")
            .field("id_token", &self.id_token.is_some())
            .field("refresh_token", &self.refresh_token.is_some())
            .field("lifetime_s", &self.lifetime_s)
            .finish()
    }
}

/// Why there are no tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFailure {
    /// The provider does not accept the code or the refresh token (`invalid_grant`).
    Refused,
    /// It gave no usable answer; why, for the log.
    Unavailable(String),
}

/// Asks the token endpoint.
///
/// # Errors
/// There are no tokens.
pub fn ask<H: OidcHost>(
    rules: &OidcRules,
    endpoint: &str,
    grant: TokenGrant<'_>,
    host: &H,
) -> Result<ProviderTokens, TokenFailure> {
    let post = question(rules, endpoint, grant, host).map_err(TokenFailure::Unavailable)?;
    let answer = host.post(&post).map_err(TokenFailure::Unavailable)?;
    read(&answer)
}

fn question<H: OidcHost>(
    rules: &OidcRules,
    endpoint: &str,
    grant: TokenGrant<'_>,
    host: &H,
) -> Result<FormPost, String> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    match grant {
        TokenGrant::Code { code, verifier } => form
            .append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &rules.callback.url)
            .append_pair("code_verifier", verifier),
        TokenGrant::Refresh(token) => {
            form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", token)
        }
    };
    let mut authorization = None;
    match &rules.client_authentication {
        ClientAuthentication::None => {
            form.append_pair("client_id", &rules.client_id);
        }
        ClientAuthentication::Post(name) => {
            form.append_pair("client_id", &rules.client_id)
                .append_pair("client_secret", &secret(name, host)?);
        }
        ClientAuthentication::Basic(name) => {
            authorization = Some(basic(&rules.client_id, &secret(name, host)?));
        }
    }
    let (url, timeout_ms) = (endpoint.to_owned(), rules.timeout_ms);
    Ok(FormPost { url, authorization, form: form.finish(), timeout_ms })
}

/// The secret of the client, as the host has it; a file usually ends with a line feed.
fn secret<H: OidcHost>(name: &str, host: &H) -> Result<String, String> {
    let octets = host.reveal(name)?;
    let text = String::from_utf8(octets).map_err(|_| "the client's secret is not text")?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        Err("the client's secret is empty".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// Credentials of a client (RFC 6749 §2.3.1: encoded as in a form, then as RFC 7617 says).
fn basic(client: &str, secret: &str) -> String {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(client), encoded(secret))))
}

fn read(answer: &FetchedResponse) -> Result<ProviderTokens, TokenFailure> {
    let members = unique_object(&answer.body);
    if answer.status != 200 {
        let error = members.ok().and_then(|it| it.get("error")?.as_str().map(str::to_owned));
        return Err(match error.as_deref() {
            // RFC 6749 §5.2 has 400; some providers send 401 or 403.
            Some("invalid_grant") if (400..500).contains(&answer.status) => TokenFailure::Refused,
            _ => TokenFailure::Unavailable(refused(answer.status, error.as_deref())),
        });
    }
    let unusable = |why: &str| TokenFailure::Unavailable(format!("its answer {why}"));
    let members = members.map_err(|_| unusable("is not a JSON object"))?;
    let kind = members.get("token_type").and_then(Value::as_str).unwrap_or_default();
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err(unusable("has another token type than Bearer"));
    }
    let token = |name: &str| text(&members, name).map_err(|why| unusable(&why));
    let lifetime_s = match members.get("expires_in") {
        None | Some(Value::Null) => None,
        // Some providers send the number as a text.
        Some(Value::String(number)) => {
            Some(number.parse().map_err(|_| unusable("has no number in `expires_in`"))?)
        }
        Some(number) => {
            Some(number.as_u64().ok_or_else(|| unusable("has no number in `expires_in`"))?)
        }
    };
    let (id_token, refresh_token) = (token("id_token")?, token("refresh_token")?);
    Ok(ProviderTokens { id_token, refresh_token, lifetime_s })
}

/// A refusal for the log. Its code is one of RFC 6749, or is not repeated.
fn refused(status: u16, error: Option<&str>) -> String {
    let is_code = |code: &&str| {
        code.len() <= 64 && code.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_')
    };
    match error.filter(is_code) {
        Some(code) => format!("it answered {status} with the error {code}"),
        None => format!("it answered {status}"),
    }
}

fn text(members: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= LONGEST_TOKEN => {
            Ok(Some(text.clone()))
        }
        Some(_) => Err(format!("has no token in `{name}`, or one that is longer than 16 KiB")),
    }
}

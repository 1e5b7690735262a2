//! What a browser brings back from the provider, and how it becomes a session.

use tamis_sdk::{Method, View};

use crate::config::OidcRules;
use crate::cookies::Cookies;
use crate::host::{KeyWriteResult, OidcHost};
use crate::id_token::{ExpectedIdToken, IdTokenFault};
use crate::login::{LOGIN_S, Login, LoginRedirect, parts};
use crate::provider::Provider;
use crate::refusal::OidcRefusal;
use crate::renewal::checked;
use crate::seal::Sealer;
use crate::session::OidcSession;
use crate::tokens::{self, ProviderTokens, TokenFailure, TokenGrant};

/// Longest query of a callback.
const LONGEST_QUERY: usize = 8 * 1024;
/// Longest code.
const LONGEST_CODE: usize = 4096;

/// The parameters of an answer (RFC 6749 §4.1.2, RFC 9207).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallbackAnswer {
    /// What was sent with the question.
    pub state: String,
    /// The code.
    pub code: Option<String>,
    /// An error instead of it.
    pub error: Option<String>,
    /// Who answers.
    pub issuer: Option<String>,
}

impl CallbackAnswer {
    /// Reads a query. `None`: it is no answer, or says one thing twice.
    #[must_use]
    pub fn parse(query: &str) -> Option<Self> {
        if query.len() > LONGEST_QUERY {
            return None;
        }
        let (mut answer, mut state) = (Self::default(), None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "state" => &mut state,
                "code" => &mut answer.code,
                "error" => &mut answer.error,
                "iss" => &mut answer.issuer,
                // Others are to be ignored (RFC 6749 §4.1.2).
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return None;
            }
        }
        answer.state = state?;
        let code = answer.code.as_ref();
        let fits = code.is_none_or(|code| (1..=LONGEST_CODE).contains(&code.len()));
        // One of them: an answer with both has two readings.
        (fits && answer.code.is_some() != answer.error.is_some()).then_some(answer)
    }
}

/// What became of an answer: a refusal has the lines that remove the login's cookie, once it is used.
#[derive(Clone, Debug, PartialEq)]
pub struct CallbackRefusal {
    /// Why.
    pub refusal: OidcRefusal,
    /// Lines for `set-cookie`.
    pub cookies: Vec<String>,
}

impl From<OidcRefusal> for CallbackRefusal {
    fn from(refusal: OidcRefusal) -> Self {
        Self { refusal, cookies: Vec::new() }
    }
}

/// Finishes a login.
///
/// # Errors
/// Why there is no session.
pub fn finish<H: OidcHost>(
    rules: &OidcRules,
    provider: &mut Provider,
    sealer: &Sealer,
    seen: View<'_>,
    query: &str,
    host: &H,
) -> Result<LoginRedirect, CallbackRefusal> {
    if seen.method() != Method::Get {
        return Err(OidcRefusal::CallbackMalformed.into());
    }
    let answer = CallbackAnswer::parse(query).ok_or(OidcRefusal::CallbackMalformed)?;
    let present = Cookies::of(seen);
    let login = Login::find(rules, sealer, &answer.state, &present, host.now_ms())
        .ok_or(OidcRefusal::LoginUnknown)?;
    // From here on the login cookie of this browser goes, whatever the provider answers.
    let used = parts(&answer.state).map(|(id, _)| rules.cookies.login(id)).unwrap_or_default();
    let removed = rules.cookies.set(&used, "", 0);
    let refused = |refusal| CallbackRefusal { refusal, cookies: vec![removed.clone()] };
    let session = match session(rules, provider, &answer, &login, host) {
        Ok(session) => session,
        // Its code is still good: the browser may load the page again.
        Err(OidcRefusal::NoRoom) => return Err(OidcRefusal::NoRoom.into()),
        Err(refusal) => return Err(refused(refusal)),
    };
    let sealed = session.seal(sealer, host).ok_or_else(|| refused(OidcRefusal::NoKey))?;
    let left_s = session.left_s(host.now_ms());
    let mut cookies = rules
        .cookies
        .set_session(&sealed, left_s, &present)
        .ok_or_else(|| refused(OidcRefusal::SessionTooLarge))?;
    cookies.push(removed);
    // An absolute address: whatever the path is, it is one of this site.
    Ok(LoginRedirect { location: format!("{}{}", rules.callback.origin, login.path), cookies })
}

fn session<H: OidcHost>(
    rules: &OidcRules,
    provider: &mut Provider,
    answer: &CallbackAnswer,
    login: &Login,
    host: &H,
) -> Result<OidcSession, OidcRefusal> {
    let endpoints = provider.endpoints().ok_or(OidcRefusal::NoProvider)?.clone();
    check_issuer(rules, endpoints.names_issuer, answer)?;
    let Some(code) = &answer.code else { return Err(OidcRefusal::ProviderRefused) };
    let key = format!("login:{}", answer.state);
    let ttl_ms = u32::try_from(LOGIN_S.saturating_mul(1000)).unwrap_or(u32::MAX);
    match host.claim(&key, ttl_ms) {
        KeyWriteResult::First(_) => {}
        KeyWriteResult::Taken => return Err(OidcRefusal::Replayed),
        KeyWriteResult::NoRoom => return Err(OidcRefusal::NoRoom),
    }
    let grant = TokenGrant::Code { code, verifier: &login.verifier };
    let tokens = exchanged(rules, &endpoints.token, grant, host);
    // A code that the provider does not take finishes no login. So whoever has no account leaves nothing in the store, whose
    // room is that of all others.
    let tokens = tokens.inspect_err(|_| host.remove(&key))?;
    let text = tokens.id_token.as_ref().ok_or(OidcRefusal::IdToken(IdTokenFault::Malformed))?;
    let claims = checked(rules, provider, text, ExpectedIdToken::Login(&login.nonce), host)?;
    Ok(OidcSession::begin(rules, claims, login.nonce.clone(), tokens, host))
}

/// The tokens for a code.
fn exchanged<H: OidcHost>(
    rules: &OidcRules,
    endpoint: &str,
    grant: TokenGrant<'_>,
    host: &H,
) -> Result<ProviderTokens, OidcRefusal> {
    tokens::ask(rules, endpoint, grant, host).map_err(|why| match why {
        TokenFailure::Refused => OidcRefusal::CodeRefused,
        TokenFailure::Unavailable(why) => {
            host.warn(&format!("a code cannot be exchanged: {why}"));
            OidcRefusal::Unavailable
        }
    })
}

/// Whether the provider that was asked is the one that answers (RFC 9207 §2.4).
fn check_issuer(
    rules: &OidcRules,
    named: bool,
    answer: &CallbackAnswer,
) -> Result<(), OidcRefusal> {
    match &answer.issuer {
        Some(issuer) if *issuer == rules.issuer => Ok(()),
        None if !named => Ok(()),
        Some(_) | None => Err(OidcRefusal::CallbackIssuer),
    }
}

//! A session is confirmed at the provider before its tokens end, by one request at a time.
//!
//! Instances and workers share what became of a session in the store: that it ended, or the newer one that another request
//! received. A browser that sends several requests at once has the same cookie in all of them, and a provider that
//! replaces refresh tokens would take the second use of one for a theft.

use crate::config::OidcRules;
use crate::host::{KeyWriteResult, OidcHost, SwapFault};
use crate::id_token::{self, ExpectedIdToken};
use crate::provider::Provider;
use crate::refusal::OidcRefusal;
use crate::seal::Sealer;
use crate::session::OidcSession;
use crate::tokens::{self, TokenFailure, TokenGrant};

/// In the store: the session ended.
const ENDED: &[u8] = b"ended";
/// How long a renewed session is kept for requests with the cookie of before, in milliseconds.
const RENEWED_MS: u32 = 120_000;
/// How long nobody asks again after an attempt that failed, in milliseconds.
const PAUSE_MS: u32 = 5_000;
/// How often a renewed session is offered to the store, in which others write meanwhile.
const OFFERS: u32 = 4;

/// What became of the session of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckedSession {
    /// It passes as it is.
    Same(OidcSession),
    /// It passes, and the browser receives a newer one.
    Newer(OidcSession),
}

fn state_key(session: &OidcSession) -> String {
    format!("session:{}", session.id)
}

fn turn_key(session: &OidcSession) -> String {
    format!("turn:{}", session.id)
}

/// Ends a session, also for those who kept a copy of its cookie.
///
/// # Errors
/// [`OidcRefusal::NoRoom`]: it cannot be stored, so the session goes on.
pub fn end<H: OidcHost>(session: &OidcSession, host: &H) -> Result<(), OidcRefusal> {
    let left_ms = session.left_s(host.now_ms()).saturating_mul(1000);
    let ttl_ms = u32::try_from(left_ms).unwrap_or(u32::MAX).max(1);
    host.write(&state_key(session), ENDED, ttl_ms).map_err(|why| {
        host.warn(&format!("the logout cannot be stored, so the session stays valid: {why}"));
        OidcRefusal::NoRoom
    })
}

/// Confirms a session where that is due.
///
/// # Errors
/// The session does not pass.
pub fn confirm<H: OidcHost>(
    rules: &OidcRules,
    provider: &mut Provider,
    sealer: &Sealer,
    session: OidcSession,
    host: &H,
) -> Result<CheckedSession, OidcRefusal> {
    let now_ms = host.now_ms();
    let stored = host.read(&state_key(&session));
    let version = stored.as_ref().map_or(0, |stored| stored.version);
    let standing = match stored {
        None => CheckedSession::Same(session),
        Some(stored) if stored.value == ENDED => return Err(OidcRefusal::SessionEnded),
        Some(stored) => match newer(sealer, &stored.value, &session, now_ms) {
            Some(newer) => CheckedSession::Newer(newer),
            None => CheckedSession::Same(session),
        },
    };
    let (CheckedSession::Same(session) | CheckedSession::Newer(session)) = &standing;
    if !session.is_due(now_ms) {
        return Ok(standing);
    }
    let waiting = |refusal| if session.is_confirmed(now_ms) { None } else { Some(refusal) };
    let pause_ms = rules.timeout_ms.saturating_add(PAUSE_MS);
    let turn = match host.claim(&turn_key(session), pause_ms) {
        KeyWriteResult::First(turn) => turn,
        KeyWriteResult::Taken => return waiting(OidcRefusal::Renewing).map_or(Ok(standing), Err),
        // Who cannot say that it asks does not: the second use of a refresh token would end the session.
        KeyWriteResult::NoRoom => {
            host.warn("a session is not renewed: the store has no room");
            return waiting(OidcRefusal::NoRoom).map_or(Ok(standing), Err);
        }
    };
    // The provider takes its time, in which a logout may be served.
    match renew(rules, provider, session, host) {
        Ok(renewed) => keep(sealer, renewed, version, turn, host).map(CheckedSession::Newer),
        Err(RenewalFailure::Ended) => {
            // Without room, each request of the session asks the provider again and gets the same answer.
            let _ = end(session, host);
            Err(OidcRefusal::SessionEnded)
        }
        // The turn stays taken for a while, so that a provider in trouble is not asked by every request.
        Err(RenewalFailure::Unavailable(why)) => {
            host.warn(&format!("a session cannot be renewed: {why}"));
            still_on(session, host)?;
            waiting(OidcRefusal::Unavailable).map_or(Ok(standing), Err)
        }
    }
}

/// The session in the store, if it is a later one than that of the cookie.
fn newer(sealer: &Sealer, stored: &[u8], than: &OidcSession, now_ms: u64) -> Option<OidcSession> {
    let sealed = std::str::from_utf8(stored).ok()?;
    let session = OidcSession::open(sealer, sealed, now_ms).ok()?;
    (session.id == than.id && session.renewals > than.renewals).then_some(session)
}

/// Lets other requests with the older cookie have the renewed session, and the next renewal its turn. Where they cannot have
/// it, the turn stays taken for a while, so that they do not use its older token at once. `version` is what the store had
/// before the provider was asked: nothing that was written since, as the end of the session, is overwritten unseen.
///
/// # Errors
/// [`OidcRefusal::SessionEnded`]: it ended while the provider was asked.
fn keep<H: OidcHost>(
    sealer: &Sealer,
    renewed: OidcSession,
    mut version: u64,
    turn: u64,
    host: &H,
) -> Result<OidcSession, OidcRefusal> {
    let key = state_key(&renewed);
    for _ in 0..OFFERS {
        let Some(sealed) = renewed.seal(sealer, host) else { break };
        match host.swap(&key, version, sealed.as_bytes(), RENEWED_MS) {
            Ok(_) => {
                release(&renewed, turn, host);
                return Ok(renewed);
            }
            Err(SwapFault::Changed(None)) => version = 0,
            Err(SwapFault::Changed(Some(stored))) if stored.value == ENDED => {
                return Err(OidcRefusal::SessionEnded);
            }
            Err(SwapFault::Changed(Some(stored))) => {
                if let Some(later) = newer(sealer, &stored.value, &renewed, host.now_ms()) {
                    return Ok(later);
                }
                version = stored.version;
            }
            Err(SwapFault::NoRoom) => break,
        }
    }
    still_on(&renewed, host)?;
    host.warn("a renewed session cannot be shared with other requests: the store has no room");
    Ok(renewed)
}

/// Gives a turn back, unless its time was over and another request has it by now.
fn release<H: OidcHost>(session: &OidcSession, turn: u64, host: &H) {
    let key = turn_key(session);
    if host.read(&key).is_some_and(|stored| stored.version == turn) {
        host.remove(&key);
    }
}

/// Looks again whether a session ended.
///
/// # Errors
/// [`OidcRefusal::SessionEnded`].
fn still_on<H: OidcHost>(session: &OidcSession, host: &H) -> Result<(), OidcRefusal> {
    let ended = host.read(&state_key(session)).is_some_and(|stored| stored.value == ENDED);
    if ended { Err(OidcRefusal::SessionEnded) } else { Ok(()) }
}

enum RenewalFailure {
    /// The provider no longer knows the session, or returns the identity of somebody else.
    Ended,
    /// It gave no usable answer.
    Unavailable(String),
}

fn renew<H: OidcHost>(
    rules: &OidcRules,
    provider: &mut Provider,
    session: &OidcSession,
    host: &H,
) -> Result<OidcSession, RenewalFailure> {
    let unavailable = |why: &str| RenewalFailure::Unavailable(why.to_owned());
    let renewal = session.renewal.as_ref().ok_or_else(|| unavailable("it has no token"))?;
    let endpoints = provider.endpoints().ok_or_else(|| unavailable("no metadata yet"))?;
    let grant = TokenGrant::Refresh(&renewal.token);
    let tokens = tokens::ask(rules, &endpoints.token, grant, host).map_err(|why| match why {
        TokenFailure::Refused => RenewalFailure::Ended,
        TokenFailure::Unavailable(why) => RenewalFailure::Unavailable(why),
    })?;
    let claims = match &tokens.id_token {
        None => None,
        Some(text) => {
            let subject = session.claims.get("sub").and_then(|sub| sub.as_str());
            let subject = subject.unwrap_or_default();
            let expected = ExpectedIdToken::Renewal { nonce: &session.nonce, subject };
            let checked = checked(rules, provider, text, expected, host);
            Some(checked.map_err(|refusal| match refusal {
                OidcRefusal::NoProvider => unavailable("the keys of the provider are not known"),
                other => {
                    host.warn(&format!("a session ends: {}", other.reason()));
                    RenewalFailure::Ended
                }
            })?)
        }
    };
    Ok(session.clone().renewed(rules, claims, tokens, host))
}

/// The claims of an ID token; a key that is unknown may be new, and is fetched.
///
/// # Errors
/// The token does not hold, or there are no keys.
pub(crate) fn checked<H: OidcHost>(
    rules: &OidcRules,
    provider: &mut Provider,
    text: &str,
    expected: ExpectedIdToken<'_>,
    host: &H,
) -> Result<serde_json::Map<String, serde_json::Value>, OidcRefusal> {
    let now_ms = host.now_ms();
    let check = |provider: &Provider| {
        let ring = provider.keyring().and_then(|keyring| keyring.ring());
        let ring = ring.ok_or(OidcRefusal::NoProvider)?;
        id_token::verified(rules, text, ring, expected, now_ms, host).map_err(OidcRefusal::IdToken)
    };
    let first = check(provider);
    let outdated = matches!(
        first,
        Err(OidcRefusal::NoProvider
            | OidcRefusal::IdToken(
                id_token::IdTokenFault::Key | id_token::IdTokenFault::Signature
            ))
    );
    if !outdated {
        return first;
    }
    match provider.renew_keys(now_ms, host) {
        Ok(()) => check(provider),
        Err(why) => {
            host.warn(&format!("the keys of the provider stay the old ones: {why}"));
            first
        }
    }
}

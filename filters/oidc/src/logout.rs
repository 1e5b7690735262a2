//! The end of a session: here, and at the provider (OpenID Connect RP-Initiated Logout 1.0).

use tamis_sdk::{Method, View};

use crate::browser;
use crate::config::{LogoutRules, OidcRules};
use crate::cookies::{Cookies, PresentedSession};
use crate::host::OidcHost;
use crate::login::with_query;
use crate::provider::Provider;
use crate::refusal::OidcRefusal;
use crate::renewal;
use crate::seal::Sealer;
use crate::session::OidcSession;

/// A session that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedSession {
    /// Where the browser goes; `None`: it stays here.
    pub location: Option<String>,
    /// Lines for `set-cookie`.
    pub cookies: Vec<String>,
}

/// Ends the session of a request. Only a page of this site may ask for it: a form, or a link.
///
/// # Errors
/// [`OidcRefusal::LogoutCrossSite`]; [`OidcRefusal::NoRoom`]: nothing has ended.
pub fn end<H: OidcHost>(
    rules: &OidcRules,
    logout: &LogoutRules,
    provider: &Provider,
    sealer: &Sealer,
    seen: View<'_>,
    host: &H,
) -> Result<EndedSession, OidcRefusal> {
    let asks = matches!(seen.method(), Method::Post | Method::Get);
    if !asks || !browser::is_same_origin(seen, &rules.callback.origin) {
        return Err(OidcRefusal::LogoutCrossSite);
    }
    let present = Cookies::of(seen);
    let session = match rules.cookies.session(&present) {
        PresentedSession::Whole(sealed) => OidcSession::open(sealer, &sealed, host.now_ms()).ok(),
        PresentedSession::None | PresentedSession::Broken => None,
    };
    if let Some(session) = &session {
        renewal::end(session, host)?;
    }
    let at_provider = provider.endpoints().and_then(|it| it.end_session.as_deref());
    let location = match (at_provider, session) {
        (Some(address), Some(session)) => Some(question(rules, logout, address, &session)),
        _ => logout.return_to.clone(),
    };
    Ok(EndedSession { location, cookies: rules.cookies.remove_session(&present) })
}

fn question(
    rules: &OidcRules,
    logout: &LogoutRules,
    address: &str,
    session: &OidcSession,
) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("client_id", &rules.client_id);
    if let Some(place) = &logout.return_to {
        query.append_pair("post_logout_redirect_uri", place);
    }
    if let Some(token) = &session.id_token {
        query.append_pair("id_token_hint", token);
    }
    with_query(address, &query.finish())
}

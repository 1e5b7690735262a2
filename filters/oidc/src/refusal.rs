//! Why a request is refused: stable rule ids.

use thiserror::Error;

use crate::id_token::IdTokenFault;

/// Why a request is refused. The text is the body of the answer: it quotes nothing of the request, of a token or of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OidcRefusal {
    /// The request has no session, and cannot be sent to the login.
    #[error("this request needs a session: open the page in a browser and log in")]
    NoSession,
    /// The cookie was not made here, was altered, or was made with a key that is gone.
    #[error("the session is not valid here: log in again")]
    SessionInvalid,
    /// The session is as old as the configuration allows.
    #[error("the session has expired: log in again")]
    SessionExpired,
    /// The person logged out, or the provider no longer confirms the session.
    #[error("the session has ended: log in again")]
    SessionEnded,
    /// There is a login for another host only.
    #[error("nobody can log in at this host")]
    WrongHost,
    /// The metadata or the keys of the provider were not fetched yet.
    #[error("the login service is not known yet; try again in a second")]
    NoProvider,
    /// No secret for cookies can be opened.
    #[error("sessions cannot be read or written now")]
    NoKey,
    /// The provider gave no usable answer.
    #[error("the login service does not answer; try again later")]
    Unavailable,
    /// The store has no room for what must be remembered: that a login is used, that a session ended, or who renews it.
    #[error("this cannot be remembered now, so it is not done; try again in a second")]
    NoRoom,
    /// Another request of the session waits for the provider.
    #[error("the session is being renewed; try again in a second")]
    Renewing,
    /// The request to the callback is not one that a provider makes a browser send.
    #[error("this is not the answer of a login service")]
    CallbackMalformed,
    /// The browser did not begin the login that it brings back, or began it too long ago.
    #[error("this browser did not begin this login: open the page again")]
    LoginUnknown,
    /// The login was finished before.
    #[error("this login was finished before: open the page again")]
    Replayed,
    /// The answer names another provider than the one that was asked, or none although it must (RFC 9207).
    #[error("the answer comes from another login service")]
    CallbackIssuer,
    /// The provider answered with an error instead of a code.
    #[error("the login service refused the login")]
    ProviderRefused,
    /// The provider does not know the code.
    #[error("the login service does not know this login: open the page again")]
    CodeRefused,
    /// The ID token does not hold.
    #[error("the login service sent an identity that cannot be accepted")]
    IdToken(IdTokenFault),
    /// The session does not fit into the cookies that browsers keep.
    #[error("the session is too large for cookies")]
    SessionTooLarge,
    /// Another site, or nobody who says who he is, asks for the logout.
    #[error("a logout is asked for on a page of this site")]
    LogoutCrossSite,
}

impl OidcRefusal {
    /// The rule id for the decision trail.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoSession => "oidc.no-session",
            Self::SessionInvalid => "oidc.session-invalid",
            Self::SessionExpired => "oidc.session-expired",
            Self::SessionEnded => "oidc.session-ended",
            Self::WrongHost => "oidc.wrong-host",
            Self::NoProvider => "oidc.no-provider",
            Self::NoKey => "oidc.no-key",
            Self::Unavailable => "oidc.provider-unavailable",
            Self::NoRoom => "oidc.no-room",
            Self::Renewing => "oidc.renewing",
            Self::CallbackMalformed => "oidc.callback-malformed",
            Self::LoginUnknown => "oidc.login-unknown",
            Self::Replayed => "oidc.callback-replayed",
            Self::CallbackIssuer => "oidc.callback-issuer",
            Self::ProviderRefused => "oidc.provider-refused",
            Self::CodeRefused => "oidc.code-refused",
            Self::IdToken(fault) => fault.reason(),
            Self::SessionTooLarge => "oidc.session-too-large",
            Self::LogoutCrossSite => "oidc.logout-cross-site",
        }
    }

    /// 401 where a login helps, 503 where the fault may pass.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::NoSession | Self::SessionInvalid | Self::SessionExpired | Self::SessionEnded => {
                401
            }
            Self::CallbackMalformed | Self::LoginUnknown | Self::Replayed => 400,
            Self::WrongHost
            | Self::CallbackIssuer
            | Self::ProviderRefused
            | Self::CodeRefused
            | Self::IdToken(_)
            | Self::LogoutCrossSite => 403,
            Self::SessionTooLarge => 500,
            Self::NoProvider | Self::NoKey | Self::Unavailable | Self::NoRoom | Self::Renewing => {
                503
            }
        }
    }
}

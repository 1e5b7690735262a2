//! A session: who it is of, how long it lasts, and what confirms it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::OidcRules;
use crate::host::OidcHost;
use crate::seal::{Purpose, Sealer};
use crate::tokens::ProviderTokens;

/// Octets of an id.
const ID_OCTETS: u32 = 16;
/// Longest refresh token that is kept.
const LONGEST_REFRESH_TOKEN: usize = 4096;
/// Longest ID token that is kept.
const LONGEST_ID_TOKEN: usize = 6144;
/// Shortest time that tokens count as valid, in seconds: a provider whose tokens end at once must not be asked at every request.
const SHORTEST_LIFETIME_S: u64 = 10;

/// A session, as it is sealed in its cookie. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OidcSession {
    /// Names it for this proxy, whatever cookie it is in.
    #[serde(rename = "i")]
    pub id: String,
    /// How often it was renewed.
    #[serde(rename = "v")]
    pub renewals: u32,
    /// When it ends, whatever the provider says.
    #[serde(rename = "e")]
    pub ends_s: u64,
    /// What the provider must confirm; without it the session lasts until it ends.
    #[serde(rename = "r", skip_serializing_if = "Option::is_none")]
    pub renewal: Option<RenewalTerms>,
    /// The nonce of its login.
    #[serde(rename = "n")]
    pub nonce: String,
    /// The claims that the configuration names, and `sub`.
    #[serde(rename = "c")]
    pub claims: Map<String, Value>,
    /// The ID token, for the logout.
    #[serde(rename = "t", skip_serializing_if = "Option::is_none")]
    pub id_token: Option<String>,
}

/// When and how the provider is asked again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RenewalTerms {
    /// The refresh token.
    #[serde(rename = "t")]
    pub token: String,
    /// From when on it is asked.
    #[serde(rename = "w")]
    pub from_s: u64,
    /// When the session is no longer confirmed.
    #[serde(rename = "u")]
    pub until_s: u64,
}

/// Why the text of a cookie is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionFault {
    /// It does not open.
    Invalid,
    /// It is over.
    Expired,
}

impl OidcSession {
    /// A new session, with an id that nobody had before.
    #[must_use]
    pub fn begin<H: OidcHost>(
        rules: &OidcRules,
        claims: Map<String, Value>,
        nonce: String,
        tokens: ProviderTokens,
        host: &H,
    ) -> Self {
        let now_s = host.now_ms() / 1000;
        let session = Self {
            id: crate::login::encoded(&host.random(ID_OCTETS)),
            renewals: 0,
            ends_s: now_s.saturating_add(rules.session_s),
            renewal: None,
            nonce,
            claims: kept(rules, claims),
            id_token: None,
        };
        session.confirmed(rules, tokens, now_s, host)
    }

    /// The session with newer tokens, and newer claims where the provider sent some.
    #[must_use]
    pub fn renewed<H: OidcHost>(
        mut self,
        rules: &OidcRules,
        claims: Option<Map<String, Value>>,
        tokens: ProviderTokens,
        host: &H,
    ) -> Self {
        if let Some(claims) = claims {
            self.claims = kept(rules, claims);
        }
        self.renewals = self.renewals.saturating_add(1);
        self.confirmed(rules, tokens, host.now_ms() / 1000, host)
    }

    fn confirmed<H: OidcHost>(
        mut self,
        rules: &OidcRules,
        tokens: ProviderTokens,
        now_s: u64,
        host: &H,
    ) -> Self {
        // A provider that does not replace the token means the one it gave before (RFC 6749 §6).
        let old = self.renewal.take().map(|renewal| renewal.token);
        let token = tokens.refresh_token.or(old);
        if token.as_ref().is_some_and(|token| token.len() > LONGEST_REFRESH_TOKEN) {
            host.warn("the refresh token is too long for a cookie: the session is not renewed");
        }
        self.renewal = token.filter(|token| token.len() <= LONGEST_REFRESH_TOKEN).map(|token| {
            let lifetime_s = tokens.lifetime_s.unwrap_or(rules.session_s).max(SHORTEST_LIFETIME_S);
            let early_s = rules.renew_before_s.min(lifetime_s / 2);
            let until_s = now_s.saturating_add(lifetime_s);
            RenewalTerms { token, from_s: until_s.saturating_sub(early_s), until_s }
        });
        if rules.logout.as_ref().is_some_and(|logout| logout.names_token) {
            let fits = tokens.id_token.filter(|token| token.len() <= LONGEST_ID_TOKEN);
            self.id_token = fits.or(self.id_token);
        }
        self
    }

    /// The session in the text of a cookie.
    ///
    /// # Errors
    /// It was not sealed here, or is over.
    pub fn open(sealer: &Sealer, sealed: &str, now_ms: u64) -> Result<Self, SessionFault> {
        let text = sealer.open(Purpose::OidcSession, sealed).ok_or(SessionFault::Invalid)?;
        let session: Self = serde_json::from_slice(&text).map_err(|_| SessionFault::Invalid)?;
        if now_ms / 1000 >= session.ends_s {
            return Err(SessionFault::Expired);
        }
        Ok(session)
    }

    /// The text of its cookie; `None` without keys.
    pub fn seal<H: OidcHost>(&self, sealer: &Sealer, host: &H) -> Option<String> {
        let text = serde_json::to_vec(self).ok()?;
        sealer.seal(Purpose::OidcSession, &text, host)
    }

    /// Seconds until it ends.
    #[must_use]
    pub fn left_s(&self, now_ms: u64) -> u64 {
        self.ends_s.saturating_sub(now_ms / 1000)
    }

    /// Whether the provider is to be asked.
    #[must_use]
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.renewal.as_ref().is_some_and(|renewal| now_ms / 1000 >= renewal.from_s)
    }

    /// Whether the provider's last word about it still counts.
    #[must_use]
    pub fn is_confirmed(&self, now_ms: u64) -> bool {
        self.renewal.as_ref().is_none_or(|renewal| now_ms / 1000 < renewal.until_s)
    }
}

/// The claims that a request or a later check needs.
fn kept(rules: &OidcRules, mut claims: Map<String, Value>) -> Map<String, Value> {
    claims.retain(|name, _| name == "sub" || rules.keeps(name));
    claims
}

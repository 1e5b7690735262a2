//! The decision about one request.

use tamis_jose::fault::TokenFault;
use tamis_jose::host::{SharedStore, Verify};
use tamis_jose::json::unique_object;
use tamis_jose::jws::Token;
use tamis_jose::keyring::{Keyring, KeyringChange};
use tamis_sdk::credentials::{SchemeCredentials, behind_scheme, is_token_octet};
use tamis_sdk::{ConfigError, Edit, View, reply, request};

use crate::cache::TokenCache;
use crate::claims::{AcceptedClaims, judge};
use crate::config::{CLAIMS, JwtRules, MissingTokenRule, TokenForwarding};
use crate::refusal::JwtRefusal;

/// Rules, keys and remembered tokens of one instance.
#[derive(Debug)]
pub struct JwtPolicy {
    rules: JwtRules,
    keyrings: Vec<Keyring>,
    cache: TokenCache,
}

impl JwtPolicy {
    /// Imports the inline keys. `seed` is for the hash of the cache.
    ///
    /// # Errors
    /// The host refuses all inline keys of an issuer.
    pub fn new<V: Verify>(
        rules: JwtRules,
        seed: u64,
        crypto: &V,
    ) -> Result<Self, Vec<ConfigError>> {
        let mut keyrings = Vec::with_capacity(rules.issuers.len());
        for (index, issuer) in rules.issuers.iter().enumerate() {
            let keyring = Keyring::new(&issuer.keys, crypto).map_err(|error| {
                vec![ConfigError::at(format!("/issuers/{index}/jwks/inline"), error.to_string())]
            })?;
            keyrings.push(keyring);
        }
        let cache = TokenCache::new(rules.cache_size, seed);
        Ok(Self { rules, keyrings, cache })
    }

    /// Decides about a request. Claim headers that the client sent never pass.
    pub fn decide<H: Verify + SharedStore>(
        &mut self,
        seen: View<'_>,
        now_ms: u64,
        host: &H,
    ) -> request::Decision {
        let token = match find_token(&self.rules, seen) {
            Ok(token) => token,
            Err(refusal) => return refuse(refusal),
        };
        let Some(token) = token else {
            return match self.rules.absent {
                MissingTokenRule::Refused => refuse(JwtRefusal::Missing),
                MissingTokenRule::Passes => {
                    request::Decision::change(claim_edits(&self.rules, None, seen))
                }
            };
        };
        let Self { rules, keyrings, cache } = self;
        let mut issuers = Issuers { rules, keyrings };
        if issuers.look(now_ms, host) == KeyringChange::Other {
            cache.clear();
        }
        let edits = match cache.find(token, host) {
            Some(accepted) => accepted.check_time(now_ms).map(|()| edits(rules, accepted, seen)),
            None => issuers.accept(token, now_ms, host).map(|accepted| {
                let edits = edits(rules, &accepted, seen);
                cache.remember(token, accepted, host);
                edits
            }),
        };
        match edits {
            Ok(edits) => request::Decision::change(edits),
            Err(refusal) => {
                if refusal == JwtRefusal::Expired {
                    cache.forget(token, host);
                }
                refuse(refusal)
            }
        }
    }

    /// Number of tokens that are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.cache.len()
    }
}

/// The issuers with their keys.
struct Issuers<'a> {
    rules: &'a JwtRules,
    keyrings: &'a mut [Keyring],
}

impl Issuers<'_> {
    fn look<H: Verify + SharedStore>(&mut self, now_ms: u64, host: &H) -> KeyringChange {
        let look = |keyring: &mut Keyring| keyring.look(now_ms, host);
        // Every keyring checks: the loop must not stop at the first change.
        let changes = self.keyrings.iter_mut().map(look);
        changes.fold(
            KeyringChange::Same,
            |all, one| if one == KeyringChange::Other { one } else { all },
        )
    }

    /// Checks a token that is not remembered. Its issuer is read before the signature is checked, but only
    /// to choose the keys.
    fn accept<H: Verify + SharedStore>(
        &mut self,
        text: &[u8],
        now_ms: u64,
        host: &H,
    ) -> Result<AcceptedClaims, JwtRefusal> {
        let token = Token::parse(text)?;
        let claims = unique_object(token.payload())
            .map_err(|_| TokenFault::Malformed("the claims are not a JSON object"))?;
        let name =
            claims.get("iss").and_then(|name| name.as_str()).ok_or(JwtRefusal::WrongIssuer)?;
        let mut known = self.rules.issuers.iter().zip(self.keyrings.iter_mut());
        let (issuer, keyring) =
            known.find(|(issuer, _)| issuer.name == name).ok_or(JwtRefusal::WrongIssuer)?;
        let ring = keyring.ring().ok_or(JwtRefusal::NoKeys)?;
        let checked = token.check(ring, &issuer.algorithms, host);
        // Without a key id, a new key shows as a signature that no key verifies.
        let rotated = match checked {
            Err(TokenFault::UnknownKey) => true,
            Err(TokenFault::BadSignature) => token.key_id().is_none(),
            _ => false,
        };
        if rotated {
            keyring.wish(now_ms, host);
        }
        checked?;
        judge(&claims, issuer, &self.rules.claims_to_attribute, now_ms)
    }
}

/// The token of a request; `None` if the field has another scheme (`Basic …`).
fn find_token<'a>(rules: &JwtRules, seen: View<'a>) -> Result<Option<&'a [u8]>, JwtRefusal> {
    let mut fields = seen.headers(&rules.token_header);
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(JwtRefusal::Ambiguous);
    }
    let prefix = rules.token_prefix.as_bytes();
    if let Some(scheme) = prefix.strip_suffix(b" ").filter(|it| it.iter().all(is_token_octet)) {
        return match behind_scheme(scheme, field) {
            SchemeCredentials::OtherScheme => Ok(None),
            SchemeCredentials::Found(token) => Ok(Some(token)),
            SchemeCredentials::Ambiguous => {
                let form = "one space stands between the scheme and the token";
                Err(JwtRefusal::Token(TokenFault::Malformed(form)))
            }
        };
    }
    let Some((start, rest)) = field.split_at_checked(prefix.len()) else { return Ok(None) };
    if !start.eq_ignore_ascii_case(prefix) {
        return Ok(None);
    }
    Ok(Some(rest.trim_ascii()))
}

fn edits(rules: &JwtRules, accepted: &AcceptedClaims, seen: View<'_>) -> Vec<Edit> {
    let mut edits = claim_edits(rules, Some(accepted), seen);
    if let Some(claims) = &accepted.attribute {
        edits.push(Edit::attribute(CLAIMS, claims.as_str()));
    }
    match rules.spent {
        TokenForwarding::Removed => edits.push(Edit::remove(&rules.token_header)),
        TokenForwarding::Forwarded => {}
    }
    edits
}

/// Sets the headers for which the token has claims, and removes those that the client sent for others.
fn claim_edits(rules: &JwtRules, accepted: Option<&AcceptedClaims>, seen: View<'_>) -> Vec<Edit> {
    let mut edits = Vec::with_capacity(rules.claim_headers.len() + 1);
    for (index, name) in rules.claim_headers.iter().enumerate() {
        let claims = accepted.into_iter().flat_map(|accepted| &accepted.headers);
        match claims.into_iter().find(|(header, _)| *header == index) {
            Some((_, value)) => edits.push(Edit::set(name, value.as_str())),
            None if seen.header(name).is_some() => edits.push(Edit::remove(name)),
            None => {}
        }
    }
    edits
}

fn refuse(refusal: JwtRefusal) -> request::Decision {
    let (name, value) = refusal.header();
    request::Decision::answer(reply(refusal.status()).header(name, value)).because(refusal.reason())
}

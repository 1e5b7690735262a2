//! One-time tokens that admit a proxy for the first time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tamis_ambient::Random;
use tamis_trust::Digest;
use thiserror::Error;

use crate::AuthorityError;
use crate::validity;

/// Begins every token, so that a scanner for secrets finds it.
const PREFIX: &str = "tamis-join-";
/// Random bytes of a token.
const BYTES: usize = 32;

/// A one-time token: 256 random bits. Whoever has it can become the proxy that it was made for, once.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken([u8; BYTES]);

/// A text is not a join token. The text, which may be a mistyped secret, is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("that is not a join token: it begins with `{PREFIX}` and has 64 hexadecimal digits")]
pub struct JoinTokenError;

impl JoinToken {
    /// Makes a token.
    ///
    /// # Errors
    /// [`AuthorityError::Random`].
    pub fn generate(random: Random) -> Result<Self, AuthorityError> {
        Ok(Self(random.octets()?))
    }

    /// The text for the proxy, a secret.
    #[must_use]
    pub fn reveal(&self) -> String {
        let digits: String = self.0.iter().map(|octet| format!("{octet:02x}")).collect();
        format!("{PREFIX}{digits}")
    }

    /// Its hash, the only part of it that is stored. A fast hash is enough: nobody can guess 256 random bits.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest::of(&self.0)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(secret)")
    }
}

impl FromStr for JoinToken {
    type Err = JoinTokenError;

    fn from_str(text: &str) -> Result<Self, JoinTokenError> {
        let digits = text.strip_prefix(PREFIX).ok_or(JoinTokenError)?;
        // A digest has the same form: 64 lower-case hexadecimal digits.
        let octets: Digest = format!("sha256:{digits}").parse().map_err(|_| JoinTokenError)?;
        Ok(Self(*octets.as_bytes()))
    }
}

/// A record about join tokens. The journal contains no token, only hashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "event")]
pub enum JoinRecord {
    /// A token was made.
    Created {
        /// Hash of the token.
        token: Digest,
        /// The proxy that it admits, like `sidecar:shop/pay/0`.
        node: String,
        /// Valid before this second, since the Unix epoch.
        expires: u64,
        /// The token of the registry by which it was made, with which it ends; `None`: none made it, or an earlier release did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        maker: Option<JoinMaker>,
    },
    /// A proxy was admitted with it.
    Used {
        /// Hash of the token.
        token: Digest,
        /// The key that it was admitted with, as [`request_key`](crate::request_key) names it; `None`: it is not recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<Digest>,
    },
    /// All tokens of a proxy were withdrawn.
    Withdrawn {
        /// The proxy.
        node: String,
    },
}

/// A token of the registry. Another one of that name was made at another time; one that is rotated stays the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinMaker {
    /// Its name.
    pub name: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
}

/// A token that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinTokenState {
    /// The proxy that it admits.
    pub node: String,
    /// Valid before this second, since the Unix epoch.
    pub expires: u64,
    /// When it was used, in seconds since the Unix epoch; `None`: it was not.
    pub used: Option<u64>,
    /// The key that it was used with; `None`: it is not known.
    pub key: Option<Digest>,
    /// Whether it was withdrawn.
    pub withdrawn: bool,
    /// The token of the registry with which it ends.
    pub maker: Option<JoinMaker>,
}

/// Why a join token admits nobody.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JoinRefusal {
    /// Nobody made it, or it was forgotten after it expired.
    #[error("the registry does not know this join token: make a new one at the registry")]
    Unknown,
    /// It was made for another proxy.
    #[error("the join token is for another proxy: make one for this proxy")]
    OtherNode,
    /// It was used before, with another key: whoever sends it again may have stolen it.
    #[error(
        "the join token was used at {at} and is valid once: if this proxy did not use it then, revoke the identity of {node}; \
         make a new token for a proxy that starts again"
    )]
    Replayed {
        /// When it was used; RFC 3339.
        at: String,
        /// The proxy that it admitted.
        node: String,
    },
    /// It is too old.
    #[error("the join token expired at {at}: make a new one")]
    Expired {
        /// When; RFC 3339.
        at: String,
    },
    /// An operator withdrew it.
    #[error("the join token was withdrawn: make a new one")]
    Withdrawn,
    /// The token of the registry by which it was made is not there any more.
    #[error(
        "the token {maker:?}, which made the join token, was revoked or replaced, or it expired: make a new one with another"
    )]
    MakerEnded {
        /// Its name.
        maker: String,
    },
}

impl JoinRefusal {
    /// Its stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "join.unknown",
            Self::OtherNode => "join.other-node",
            Self::Replayed { .. } => "join.replayed",
            Self::Expired { .. } => "join.expired",
            Self::Withdrawn | Self::MakerEnded { .. } => "join.withdrawn",
        }
    }
}

/// All join tokens, computed from records: the same records give the same ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JoinLedger {
    tokens: BTreeMap<Digest, JoinTokenState>,
    /// The same, the one that expires first in front.
    by_expiry: BTreeSet<(u64, Digest)>,
}

/// How long a token is known after it expired, in seconds: 30 days.
const KNOWN: u64 = 30 * 24 * 3_600;

impl JoinLedger {
    /// Applies a record written at that second, since the Unix epoch. A token is used once: later uses of it,
    /// and uses of unknown tokens, change nothing. A token that is withdrawn after it was used admits no more with its key.
    pub fn apply(&mut self, record: &JoinRecord, second: u64) {
        match record {
            JoinRecord::Created { token, node, expires, maker } => {
                let (node, expires, maker) = (node.clone(), *expires, maker.clone());
                let (used, key, withdrawn) = (None, None, false);
                let state = JoinTokenState { node, expires, used, key, withdrawn, maker };
                if !self.tokens.contains_key(token) {
                    self.tokens.insert(*token, state);
                    self.by_expiry.insert((expires, *token));
                }
                self.forget(second);
            }
            JoinRecord::Used { token, key } => {
                let unused = self.tokens.get_mut(token).filter(|one| one.used.is_none());
                if let Some(state) = unused {
                    (state.used, state.key) = (Some(second), *key);
                }
            }
            JoinRecord::Withdrawn { node } => {
                let own = self.tokens.values_mut().filter(|one| one.node == *node);
                own.for_each(|one| one.withdrawn = true);
            }
        }
    }

    /// Forgets tokens that expired long ago: an unknown one admits nobody either.
    fn forget(&mut self, second: u64) {
        while let Some((expires, token)) = self.by_expiry.first().copied()
            && expires.saturating_add(KNOWN) < second
        {
            self.by_expiry.pop_first();
            self.tokens.remove(&token);
        }
    }

    /// Whether a token admits a proxy with that key now (`None`: with a new one, whichever it is); the record to write, before anything is given to the proxy.
    ///
    /// `None`: it did before, with the same key. The proxy may not have received what it got for the token, or have been
    /// unable to use it; who has neither the token nor the key learns nothing from a second answer.
    ///
    /// # Errors
    /// [`JoinRefusal`].
    pub fn admit(
        &self,
        token: &JoinToken,
        node: &str,
        key: Option<&Digest>,
        now: u64,
    ) -> Result<Option<JoinRecord>, JoinRefusal> {
        let hash = token.hash();
        let state = self.tokens.get(&hash).ok_or(JoinRefusal::Unknown)?;
        let holds = state.node == node && !state.withdrawn && now < state.expires;
        // Whoever has the token may know that it was replayed, whichever proxy they claim to be.
        if let Some(used) = state.used {
            if holds && key.is_some() && state.key.as_ref() == key {
                return Ok(None);
            }
            let (at, node) = (validity::text(used), state.node.clone());
            return Err(JoinRefusal::Replayed { at, node });
        }
        if state.node != node {
            return Err(JoinRefusal::OtherNode);
        }
        if state.withdrawn {
            return Err(JoinRefusal::Withdrawn);
        }
        if !holds {
            return Err(JoinRefusal::Expired { at: validity::text(state.expires) });
        }
        Ok(Some(JoinRecord::Used { token: hash, key: key.copied() }))
    }

    /// The token of the registry with which a join token ends.
    #[must_use]
    pub fn maker(&self, token: &JoinToken) -> Option<&JoinMaker> {
        self.tokens.get(&token.hash())?.maker.as_ref()
    }

    /// All tokens, by hash.
    pub fn tokens(&self) -> impl Iterator<Item = (&Digest, &JoinTokenState)> {
        self.tokens.iter()
    }
}

#[cfg(test)]
mod tests;

//! Who writes to the journal, and whether they still may when it is written.

use std::fmt;

use crate::access::{Caller, Tokens};
use crate::refusal::OciRefusal;

/// Whoever writes to the journal: the registry itself, by one of its names, or a caller.
///
/// The rights of a caller are taken from the head of its request, and the body may come a while later. So a caller is looked
/// at again when its write is decided: a token that was revoked, replaced or expired meanwhile writes nothing.
#[derive(Clone, Copy)]
pub struct Author<'a>(Kind<'a>);

#[derive(Clone, Copy)]
enum Kind<'a> {
    Registry(&'static str),
    Caller(&'a Caller),
}

impl<'a> Author<'a> {
    /// The actor that the journal records.
    #[must_use]
    pub fn actor(self) -> &'a str {
        match self.0 {
            Kind::Registry(name) => name,
            Kind::Caller(caller) => caller.actor(),
        }
    }

    /// Whether it is a caller, and not the registry itself.
    pub(crate) fn is_caller(self) -> bool {
        matches!(self.0, Kind::Caller(_))
    }

    /// Refuses a caller whose token was revoked or changed after the request arrived.
    pub(crate) fn must_hold(self, tokens: &Tokens, now_ms: u64) -> Result<(), OciRefusal> {
        let Kind::Caller(Caller::Token(token)) = self.0 else { return Ok(()) };
        if tokens.has(token, now_ms) {
            return Ok(());
        }
        let message = format!(
            "the token {:?} was revoked or replaced, or it expired, before the request was complete, so nothing was written",
            token.name
        );
        Err(OciRefusal::unauthorized(&message))
    }
}

/// A name of the registry itself. Only names in this program are `'static`, so the name of a caller cannot pass here without a
/// check of its token.
impl From<&'static str> for Author<'static> {
    fn from(name: &'static str) -> Self {
        Self(Kind::Registry(name))
    }
}

impl<'a> From<&'a Caller> for Author<'a> {
    fn from(caller: &'a Caller) -> Self {
        Self(Kind::Caller(caller))
    }
}

impl fmt::Debug for Author<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Author").field(&self.actor()).finish()
    }
}

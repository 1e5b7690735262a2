//! Builders for what a filter answers: replies, edits, decisions.

use crate::types::{Attribute, Edit, Field, Reply};
use crate::{connection, request, request_body, response, response_body, retry};

/// Begins an answer: `reply(403).header("x-why", "no token").text("forbidden")`.
#[must_use]
pub fn reply(status: u16) -> Reply {
    Reply { status, headers: Vec::new(), body: Vec::new() }
}

impl Reply {
    /// Adds a header field; the name is lower case.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push(Field { name: name.into(), value: value.into() });
        self
    }

    /// Sets the body; the host writes `content-length`.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body and says that it is plain text.
    #[must_use]
    pub fn text(self, body: impl Into<String>) -> Self {
        self.header("content-type", "text/plain; charset=utf-8").body(body.into())
    }
}

impl Edit {
    /// Replaces every field of that name.
    #[must_use]
    pub fn set(name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self::SetHeader(Field { name: name.into(), value: value.into() })
    }

    /// Adds a field after those of that name.
    #[must_use]
    pub fn add(name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self::AddHeader(Field { name: name.into(), value: value.into() })
    }

    /// Removes every field of that name.
    #[must_use]
    pub fn remove(name: impl Into<String>) -> Self {
        Self::RemoveHeader(name.into())
    }

    /// Replaces path and query.
    #[must_use]
    pub fn path(path: impl Into<String>) -> Self {
        Self::SetPath(path.into())
    }

    /// Replaces the authority.
    #[must_use]
    pub fn authority(authority: impl Into<String>) -> Self {
        Self::SetAuthority(authority.into())
    }

    /// Sets an attribute for filters that come later in this exchange; never sent.
    #[must_use]
    pub fn attribute(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::SetAttribute(Attribute { name: name.into(), value: value.into() })
    }
}

macro_rules! because {
    ($($module:ident),+) => {$(
        impl $module::Decision {
            /// Names the rule behind the decision, for the decision trail: `jwt.expired`.
            #[must_use]
            pub fn because(mut self, reason: impl Into<String>) -> Self {
                self.reason = Some(reason.into());
                self
            }
        }
        impl From<$module::Verdict> for $module::Decision {
            fn from(verdict: $module::Verdict) -> Self {
                Self { verdict, reason: None }
            }
        }
    )+};
}

because!(request, request_body, response, response_body, connection, retry);

macro_rules! heads {
    ($($module:ident),+) => {$(
        impl $module::Decision {
            /// Go on, nothing to change.
            #[must_use]
            pub fn pass() -> Self {
                $module::Verdict::Pass.into()
            }
            /// Go on with these changes; none is the same as [`Self::pass`].
            #[must_use]
            pub fn change(edits: Vec<Edit>) -> Self {
                if edits.is_empty() { Self::pass() } else { $module::Verdict::Change(edits).into() }
            }
            /// Answer with this.
            #[must_use]
            pub fn answer(reply: Reply) -> Self {
                $module::Verdict::Answer(reply).into()
            }
        }
    )+};
}

heads!(request, response);

macro_rules! bodies {
    ($($module:ident),+) => {$(
        impl $module::Decision {
            /// Go on with these octets as they are.
            #[must_use]
            pub fn pass() -> Self {
                $module::Verdict::Pass.into()
            }
            /// Go on with other octets.
            #[must_use]
            pub fn replace(octets: impl Into<Vec<u8>>) -> Self {
                $module::Verdict::Replace(octets.into()).into()
            }
            /// Answer with this.
            #[must_use]
            pub fn answer(reply: Reply) -> Self {
                $module::Verdict::Answer(reply).into()
            }
        }
    )+};
}

bodies!(request_body, response_body);

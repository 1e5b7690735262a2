//! Requests that name no caller.

/// The rule for requests without a key, or without a user and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnonymousRequestRule {
    /// They are refused.
    Refused,
    /// They pass, and no caller is named to the upstream.
    Passes,
}

impl AnonymousRequestRule {
    /// The rule of a configuration that does, or does not, require a caller.
    #[must_use]
    pub fn of(required: bool) -> Self {
        if required { Self::Refused } else { Self::Passes }
    }
}

//! The user or group as which proxies run: their own connections are never captured.

use anyhow::{Context as _, Result, bail};
use nix::unistd::{Group, User};
use std::fmt;

/// What distinguishes the sockets of one program from those of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SocketOwner {
    /// Those of a user, by its number.
    User(u32),
    /// Those of a group, by its number.
    Group(u32),
}

impl SocketOwner {
    /// A user, by name or number.
    ///
    /// # Errors
    /// There is no such user.
    pub(super) fn user(text: &str) -> Result<Self> {
        let named = || {
            let found = User::from_name(text).context("cannot read the users of this machine")?;
            found.map(|user| user.uid.as_raw()).with_context(|| {
                format!("there is no user `{text}`: write one of `getent passwd`, or its number")
            })
        };
        text.parse().or_else(|_| named()).map(Self::User)
    }

    /// A group, by name or number.
    ///
    /// # Errors
    /// There is no such group.
    pub(super) fn group(text: &str) -> Result<Self> {
        let named = || {
            let found = Group::from_name(text).context("cannot read the groups of this machine")?;
            found.map(|group| group.gid.as_raw()).with_context(|| {
                format!("there is no group `{text}`: write one of `getent group`, or its number")
            })
        };
        text.parse().or_else(|_| named()).map(Self::Group)
    }

    /// Refuses root as the owner of a proxy: every program of root would go its own way, in clear text.
    ///
    /// # Errors
    /// It is root.
    pub(super) fn of_a_proxy(self) -> Result<Self> {
        if let Self::User(0) | Self::Group(0) = self {
            bail!(
                "a proxy that runs as root cannot be distinguished from other programs of root: run it as a user or group of its own, and name that"
            );
        }
        Ok(self)
    }
}

impl fmt::Display for SocketOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(number) => write!(f, "meta skuid {number}"),
            Self::Group(number) => write!(f, "meta skgid {number}"),
        }
    }
}

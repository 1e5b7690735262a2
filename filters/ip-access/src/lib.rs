//! The built-in `ip-access` policy: lets clients in by their address.
//!
//! The address is the attribute `@source.address`, which the host determines; no header of a
//! client is looked at. Of all prefixes that contain the address, the longest decides ([`prefixes`]).

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

use std::net::IpAddr;

use tamis_sdk::{ConfigError, Filter, Interest, Request, View, reply, request};

pub mod config;
pub mod prefixes;

use config::{IpAccessRules, IpAccessSettings};
use prefixes::Access;

const ADDRESS: &str = "@source.address";
/// The address of a peer on a Unix socket.
pub const UNIX: &str = "unix";

/// The policy.
#[derive(Clone, Debug)]
pub struct IpAccess {
    rules: IpAccessRules,
}

impl IpAccess {
    /// A policy of checked rules.
    #[must_use]
    pub fn new(rules: IpAccessRules) -> Self {
        Self { rules }
    }

    /// The reason to refuse an address, as `@source.address` states it. `None`: it may pass.
    #[must_use]
    pub fn refusal(&self, address: Option<&str>) -> Option<&'static str> {
        let found = match address {
            Some(UNIX) => self.rules.unix,
            Some(text) => match text.parse::<IpAddr>() {
                Ok(address) => self.rules.prefixes.find(address),
                Err(_) => return Some("ip-access.unknown-address"),
            },
            None => return Some("ip-access.unknown-address"),
        };
        match (found, self.rules.otherwise) {
            (Some(Access::Allow), _) | (None, Access::Allow) => None,
            (Some(Access::Deny), _) => Some("ip-access.denied"),
            (None, Access::Deny) => Some("ip-access.not-allowed"),
        }
    }
}

impl Filter for IpAccess {
    type Settings = IpAccessSettings;
    const SCHEMA: &'static str = include_str!("../schema.json");

    fn check(settings: &IpAccessSettings) -> Result<(), Vec<ConfigError>> {
        IpAccessRules::check(settings).map(drop)
    }

    fn configure(settings: IpAccessSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        Ok((Self::new(IpAccessRules::check(&settings)?), Interest::reading([ADDRESS])))
    }
}

impl Request for IpAccess {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        match self.refusal(seen.attribute(ADDRESS)) {
            None => request::Decision::pass(),
            Some(reason) => {
                let answer = reply(403).text("this address is not allowed\n");
                request::Decision::answer(answer).because(reason)
            }
        }
    }
}

tamis_sdk::export_authorizer!(IpAccess);

#[cfg(test)]
mod tests;

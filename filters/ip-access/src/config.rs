//! What the operator writes, and the rules that it becomes.

use serde::Deserialize;
use tamis_sdk::ConfigError;

use crate::UNIX;
use crate::prefixes::{self, Access, Prefixes};

/// The configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IpAccessSettings {
    /// Addresses and prefixes that may pass.
    pub allow: Vec<String>,
    /// Addresses and prefixes that may not.
    pub deny: Vec<String>,
    /// The rule for an address in no prefix. Default: `deny`.
    pub otherwise: UnlistedAddressRule,
}

/// The rule for an address in no prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnlistedAddressRule {
    /// It is refused.
    #[default]
    Deny,
    /// It passes.
    Allow,
}

/// The configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpAccessRules {
    /// All prefixes.
    pub prefixes: Prefixes,
    /// For peers on a Unix socket; `None`: as for an address in no prefix.
    pub unix: Option<Access>,
    /// For an address in no prefix.
    pub otherwise: Access,
}

/// Entries of both lists.
const MAX_ENTRIES: usize = 10_000;

impl IpAccessRules {
    /// Checks settings.
    ///
    /// # Errors
    /// All errors, each with its JSON pointer and the way out.
    pub fn check(settings: &IpAccessSettings) -> Result<Self, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let otherwise = match settings.otherwise {
            UnlistedAddressRule::Deny => Access::Deny,
            UnlistedAddressRule::Allow => Access::Allow,
        };
        let mut rules = Self { prefixes: Prefixes::default(), unix: None, otherwise };
        let count = settings.allow.len().saturating_add(settings.deny.len());
        if count > MAX_ENTRIES {
            let why =
                format!("{count} entries; both lists have at most {MAX_ENTRIES}: join prefixes");
            return Err(vec![ConfigError::at("", why)]);
        }
        for (list, entries, access) in
            [("allow", &settings.allow, Access::Allow), ("deny", &settings.deny, Access::Deny)]
        {
            for (index, text) in entries.iter().enumerate() {
                if let Err(why) = rules.add(text, access) {
                    errors.push(ConfigError::at(format!("/{list}/{index}"), why));
                }
            }
        }
        match (settings.otherwise, settings.allow.is_empty(), settings.deny.is_empty()) {
            (UnlistedAddressRule::Deny, true, _) => errors.push(ConfigError::at(
                "",
                "nobody would pass: name addresses under `allow`, or write `otherwise: allow`",
            )),
            (UnlistedAddressRule::Allow, _, true) => errors.push(ConfigError::at(
                "",
                "everybody would pass: name addresses under `deny`, or remove `otherwise: allow`",
            )),
            (UnlistedAddressRule::Deny | UnlistedAddressRule::Allow, ..) => {}
        }
        if errors.is_empty() { Ok(rules) } else { Err(errors) }
    }

    fn add(&mut self, text: &str, access: Access) -> Result<(), String> {
        let before = if text == UNIX {
            let before = self.unix;
            self.unix = Some(before.unwrap_or(access));
            before
        } else {
            let prefix = prefixes::parse(text).map_err(|error| error.to_string())?;
            if prefixes::spans_mapped(&prefix) {
                return Err("this prefix contains ::ffff:0:0/96, which is IPv4 here: write the prefixes of IPv4, or ::/0 for all of IPv6".to_owned());
            }
            self.prefixes.add(prefix, access)
        };
        match before {
            Some(_) => Err(format!("{text} stands in the lists twice: keep one of the two")),
            None => Ok(()),
        }
    }
}

//! The filter as a component: exports the hooks.

use tamis_jose::imports::HostImports;
use tamis_jose::refresh::Refresher;
use tamis_sdk::{ConfigError, Filter, Interest, Request, Tick, View, clock, log, request};

use crate::config::{CLAIMS, JwtRules, JwtSettings, TokenForwarding};
use crate::policy::JwtPolicy;

/// The built-in `jwt` policy.
#[derive(Debug)]
pub struct Jwt {
    policy: JwtPolicy,
    refresher: Refresher,
}

impl Filter for Jwt {
    type Settings = JwtSettings;
    const SCHEMA: &'static str = include_str!("../schema.json");

    fn check(settings: &JwtSettings) -> Result<(), Vec<ConfigError>> {
        JwtRules::check(settings).map(drop)
    }

    fn configure(settings: JwtSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        let rules = JwtRules::check(&settings)?;
        let interest = interest(&rules);
        let refresher = Refresher::new(rules.fetched());
        // Only verified tokens enter the cache, so a seed that differs from start to start is sufficient.
        let seed = clock::unix_ms() ^ clock::monotonic_us().rotate_left(32);
        Ok((Self { policy: JwtPolicy::new(rules, seed, &HostImports)?, refresher }, interest))
    }
}

impl Request for Jwt {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        self.policy.decide(seen, clock::unix_ms(), &HostImports)
    }
}

impl Tick for Jwt {
    fn on_tick(&mut self) -> Option<u32> {
        let round = self.refresher.tick(clock::unix_ms(), &HostImports);
        for failure in &round.failures {
            log::write(log::Level::Warn, failure);
        }
        round.next_ms
    }
}

/// Reads: the token and the claim headers (to see whether a client sent one). Writes: the claim headers,
/// the attribute with claims if it is asked for, and the token's header unless it is forwarded.
#[must_use]
pub fn interest(rules: &JwtRules) -> Interest {
    let token = std::iter::once(rules.token_header.as_str());
    let claims = rules.claim_headers.iter().map(String::as_str);
    let interest = Interest::reading(token.clone().chain(claims.clone())).writing(claims);
    let attribute = (!rules.claims_to_attribute.is_empty()).then(|| format!("@{CLAIMS}"));
    let interest = interest.writing(attribute.as_deref());
    match rules.spent {
        TokenForwarding::Removed => interest.writing(token),
        TokenForwarding::Forwarded => interest,
    }
}

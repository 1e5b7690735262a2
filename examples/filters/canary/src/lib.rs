//! Sends testers, and a share of the other clients, to the canary of a service. What remains is left to the router that
//! it extends, such as the built-in one. A client stays where it is: its share is decided by its name, not by chance.

use tamis_sdk::{ConfigError, Filter, Interest, Router, View, log_panics, router};

/// What a router is configured with.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// `config` of its attachment.
    config: CanarySettings,
    /// The routes of its listener: for the router that it extends.
    #[serde(default, rename = "routes")]
    _routes: serde::de::IgnoredAny,
}

/// What the operator writes.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CanarySettings {
    /// Path of the service: requests for it and for what is below it.
    path: String,
    /// The canary of the service, `namespace/name:port`.
    canary: String,
    /// Share of the clients whose requests the canary receives, in thousandths.
    permille: u64,
}

/// The filter.
#[derive(Debug)]
pub struct Canary(CanarySettings);

/// `x-canary: always` and `never` are for testers.
const CHOICE: &str = "x-canary";
const CLIENT: &str = "x-client";

impl Filter for Canary {
    type Settings = Configuration;
    const SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": {
            "routes": { "type": "array" },
            "config": {
                "type": "object",
                "properties": {
                    "path": { "type": "string", "pattern": "^/" },
                    "canary": { "type": "string" },
                    "permille": { "type": "integer", "minimum": 0, "maximum": 1000 }
                },
                "required": ["path", "canary", "permille"],
                "additionalProperties": false
            }
        },
        "required": ["config"],
        "additionalProperties": false
    }"#;

    fn check(settings: &Configuration) -> Result<(), Vec<ConfigError>> {
        let mut errors = Vec::new();
        if settings.config.permille > 1_000 {
            errors.push(ConfigError::at("/config/permille", "must be at most 1000"));
        }
        if !settings.config.path.starts_with('/') {
            errors.push(ConfigError::at("/config/path", "must begin with `/`"));
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn configure(settings: Configuration) -> Result<(Self, Interest), Vec<ConfigError>> {
        log_panics();
        Ok((Self(settings.config), Interest::reading([":path", CHOICE, CLIENT])))
    }
}

/// FNV-1a, 64 bits: it only has to spread.
fn share(client: &[u8]) -> u64 {
    let hash = client.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
    });
    hash % 1_000
}

/// Whether a path and query is that path or below it.
fn is_below(asked: &str, path: &str) -> bool {
    let asked = asked.split('?').next().unwrap_or_default();
    let below = asked.strip_prefix(path.trim_end_matches('/'));
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Router for Canary {
    fn backends(&self) -> Vec<String> {
        vec![self.0.canary.clone()]
    }

    fn rules(&self) -> Vec<String> {
        vec!["acme/canary/canary".to_owned()]
    }

    fn on_route(&mut self, seen: View<'_>) -> router::Choice {
        let chosen = is_below(seen.path().unwrap_or_default(), &self.0.path)
            && match seen.header(CHOICE) {
                Some(b"always") => true,
                Some(b"never") => false,
                _ => share(seen.header(CLIENT).unwrap_or_default()) < self.0.permille,
            };
        if !chosen {
            return router::Choice::Extend;
        }
        router::Choice::Forward(router::Selection {
            rule: 0,
            backend: 0,
            request_timeout_ms: 0,
            attempt_timeout_ms: 0,
            hash: None,
            request_edits: Vec::new(),
            response_edits: Vec::new(),
            mirrors: Vec::new(),
        })
    }
}

tamis_sdk::export_router!(Canary);

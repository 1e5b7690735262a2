//! Sends testers, and a share of the other clients, to the canary of a service. A client stays where it is: its share
//! is decided by its name, not by chance.

use tamis_sdk::{ConfigError, Filter, Interest, Router, View, log_panics, router};

/// What the operator writes.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// The service, `namespace/name:port`.
    stable: String,
    /// Its canary.
    canary: String,
    /// Share of the clients whose requests the canary receives, in thousandths.
    permille: u64,
}

/// The filter.
#[derive(Debug)]
pub struct Canary(Settings);

/// `x-canary: always` and `never` are for testers.
const CHOICE: &str = "x-canary";
const CLIENT: &str = "x-client";
const STABLE: u32 = 0;
const CANARY: u32 = 1;

impl Filter for Canary {
    type Settings = Settings;
    const SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": {
            "stable": { "type": "string" },
            "canary": { "type": "string" },
            "permille": { "type": "integer", "minimum": 0, "maximum": 1000 }
        },
        "required": ["stable", "canary", "permille"],
        "additionalProperties": false
    }"#;

    fn check(settings: &Settings) -> Result<(), Vec<ConfigError>> {
        match settings.permille {
            0..=1_000 => Ok(()),
            _ => Err(vec![ConfigError::at("/permille", "must be at most 1000")]),
        }
    }

    fn configure(settings: Settings) -> Result<(Self, Interest), Vec<ConfigError>> {
        log_panics();
        Ok((Self(settings), Interest::reading([CHOICE, CLIENT])))
    }
}

/// FNV-1a, 64 bits: it only has to spread.
fn share(client: &[u8]) -> u64 {
    let hash = client.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
    });
    hash % 1_000
}

impl Router for Canary {
    fn backends(&self) -> Vec<String> {
        vec![self.0.stable.clone(), self.0.canary.clone()]
    }

    fn rules(&self) -> Vec<String> {
        vec!["stable".to_owned(), "canary".to_owned()]
    }

    fn on_route(&mut self, seen: View<'_>) -> router::Choice {
        let chosen = match seen.header(CHOICE) {
            Some(b"always") => CANARY,
            Some(b"never") => STABLE,
            _ => {
                let client = seen.header(CLIENT).unwrap_or_default();
                if share(client) < self.0.permille { CANARY } else { STABLE }
            }
        };
        router::Choice::Forward(router::Selection {
            rule: chosen,
            backend: chosen,
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

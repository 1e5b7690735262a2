//! Adds `strict-transport-security` to every response, those of the proxy and of other filters included, and
//! removes `server`.

use tamis_sdk::{
    ConfigError, Edit, Filter, Interest, Response, Responses, View, log_panics, response,
};

/// What the operator writes.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HstsSettings {
    /// How long browsers remember it.
    max_age_seconds: u32,
}

/// The filter.
#[derive(Debug)]
pub struct Hsts(String);

const NAME: &str = "strict-transport-security";

impl Filter for Hsts {
    type Settings = HstsSettings;
    const SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": { "maxAgeSeconds": { "type": "integer", "minimum": 0 } },
        "required": ["maxAgeSeconds"],
        "additionalProperties": false
    }"#;

    fn configure(settings: HstsSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        log_panics();
        let interest = Interest::reading([]).writing([NAME, "server"]).seeing(Responses::All);
        Ok((Self(format!("max-age={}", settings.max_age_seconds)), interest))
    }
}

impl Response for Hsts {
    fn on_response(&mut self, _: View<'_>) -> response::Decision {
        response::Decision::change(vec![Edit::set(NAME, self.0.clone()), Edit::remove("server")])
    }
}

tamis_sdk::export!(Hsts: response);

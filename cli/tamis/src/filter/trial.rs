//! A component that a command configures on its own, with no host reachable, to read what it declares.

use crate::user_state;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;
use tamis_engine::{
    Admission, CompiledComponent, Engine, EngineError, Filter, FilterOptions, FilterState, Grant,
    GrantPlace, Hook, Inspection, Isolation, OnFailure,
};
use tamis_observe::Metrics;

/// The configuration of whoever gives none.
pub(super) const NO_CONFIG: &str = "{}";

/// With what a component is configured.
pub(super) struct Trial<'a> {
    /// Its name in messages.
    pub(super) name: &'a str,
    /// JSON.
    pub(super) config: &'a str,
    pub(super) grant: Grant,
    /// The file with that grant; `None`: everything is granted.
    pub(super) grant_file: Option<&'a Path>,
}

impl Trial<'_> {
    /// Configures the component, or says why it cannot be, and the way out: an option that was given is corrected in its
    /// file, one that was not may be all that is missing.
    pub(super) fn run(&self, octets: &[u8], inspection: &Inspection) -> Result<Filter, String> {
        let config = match inspection.has(Hook::Router) {
            true => of_router(self.config),
            false => self.config.to_owned(),
        };
        configured_as(self.name, octets, &config, self.grant.clone())
            .map_err(|error| self.why(&error))
    }

    fn why(&self, error: &EngineError) -> String {
        let grant = self.grant_file.map(|path| path.display().to_string());
        let place = grant.as_deref().map(GrantPlace::File);
        let remedy = place.and_then(|place| error.grant_remedy(place));
        let config = matches!(error, EngineError::Configure { .. }) && self.config == NO_CONFIG;
        let way = match (remedy, grant) {
            (Some(remedy), _) => Some(remedy),
            (None, _) if config => Some("give its configuration with --config".to_owned()),
            (None, Some(file)) if matches!(error, EngineError::SelfTest { .. }) => {
                Some(format!("its Grant is in {file}"))
            }
            (None, None) if matches!(error, EngineError::SelfTest { .. }) => {
                Some("if it needs its Grant, give the file with --grant".to_owned())
            }
            (None, _) => None,
        };
        way.map_or_else(|| error.to_string(), |way| format!("{error}; {way}"))
    }
}

/// Whether a configuration of a router is what it receives as a whole, as in a table of cases: `config` of its attachment
/// together with the `routes` of its listener. Anything else is that `config` alone.
fn is_whole(given: &Map<String, Value>) -> bool {
    !given.is_empty() && given.keys().all(|name| name == "routes" || name == "config")
}

/// What a router receives of a configuration in either form; there are no routes here.
fn of_router(config: &str) -> String {
    match serde_json::from_str(config) {
        Ok(Value::Object(given)) if given.is_empty() => json!({ "routes": [] }).to_string(),
        Ok(Value::Object(given)) if !is_whole(&given) => {
            json!({ "routes": [], "config": given }).to_string()
        }
        _ => config.to_owned(),
    }
}

/// What the attachment of a router has as `config`, of a configuration in either form.
pub(super) fn of_attachment(config: Value) -> Value {
    match config {
        Value::Object(mut given) if is_whole(&given) => {
            given.remove("config").unwrap_or_else(|| json!({}))
        }
        config => config,
    }
}

/// A compiled component, configured with every capability granted and no host reachable.
pub(crate) fn configured_from(
    compiled: &CompiledComponent,
    config: &str,
) -> Result<Filter, String> {
    let made = make("inspected", compiled, config, Admission::everything());
    made.map_err(|error| error.to_string())
}

/// The component configured with every capability granted and no host reachable.
pub(crate) fn configured(octets: &[u8], config: &str) -> Result<Filter, String> {
    configured_under(octets, config, Grant::everything())
}

/// The component configured under a grant, with no host reachable.
pub(crate) fn configured_under(
    octets: &[u8],
    config: &str,
    grant: Grant,
) -> Result<Filter, String> {
    configured_as("inspected", octets, config, grant).map_err(|error| error.to_string())
}

/// As [`configured_under`], with the name that messages have.
fn configured_as(
    name: &str,
    octets: &[u8],
    config: &str,
    grant: Grant,
) -> Result<Filter, EngineError> {
    let kept = user_state::own_code();
    let compiled = Engine::new()?.compile(octets, kept.as_ref())?;
    let admission = Admission::of_grant(name, compiled.inspection(), grant)?;
    make(name, &compiled, config, admission)
}

fn make(
    name: &str,
    compiled: &CompiledComponent,
    config: &str,
    admission: Admission,
) -> Result<Filter, EngineError> {
    let options = FilterOptions {
        name: name.to_owned(),
        digest: String::new(),
        version: String::new(),
        config_json: config.to_owned(),
        admission,
        state: Arc::new(FilterState::new(Arc::new(Metrics::new()))),
        fetch: None,
        failure: OnFailure::Closed,
        isolation: Isolation::Worker,
    };
    Filter::new(compiled, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_is_configured_as_in_a_proxy_whichever_of_the_two_forms_is_given() {
        for (given, received) in [
            ("{}", r#"{"routes":[]}"#),
            (r#"{"permille":5}"#, r#"{"config":{"permille":5},"routes":[]}"#),
            (r#"{"config":{"permille":5}}"#, r#"{"config":{"permille":5}}"#),
            (r#"{"routes":[]}"#, r#"{"routes":[]}"#),
            (
                r#"{"routes":[],"permille":5}"#,
                r#"{"config":{"permille":5,"routes":[]},"routes":[]}"#,
            ),
            ("[1]", "[1]"),
        ] {
            let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            assert_eq!(value(&of_router(given)), value(received), "{given}");
            // A gateway adds the routes of its own to what the attachment has.
            let attached = of_attachment(serde_json::from_str(given).unwrap());
            let config: Value = serde_json::from_str(received).unwrap();
            let config = config.get("config").cloned();
            let unchanged = serde_json::from_str(given).unwrap();
            assert_eq!(
                attached,
                config.unwrap_or(if given == "[1]" { unchanged } else { json!({}) })
            );
        }
    }
}

//! Counts finished exchanges by user agent and by tenant, an attribute that an earlier filter sets. A telemetry filter is
//! called once for a batch of exchanges, which costs less than a call at the end of each. Agents and tenants that are not on
//! the list count as `other`: what clients send must not choose the number of series.

use std::collections::BTreeMap;
use tamis_sdk::{ConfigError, Filter, Interest, Kept, Telemetry, log_panics, metrics, telemetry};

/// What the operator writes.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AgentTelemetrySettings {
    /// Beginnings of `user-agent`, such as `curl`.
    agents: Vec<String>,
    /// Values of the attribute `tenant`.
    #[serde(default)]
    tenants: Vec<String>,
}

/// The filter.
#[derive(Debug)]
pub struct AgentTelemetry {
    settings: AgentTelemetrySettings,
    metric: u32,
    /// By agent and tenant; a handle is asked for once.
    series: BTreeMap<(String, String), u32>,
}

const AGENT: &str = "user-agent";
const TENANT: &str = "@tenant";
const OTHER: &str = "other";

impl Filter for AgentTelemetry {
    type Settings = AgentTelemetrySettings;
    const SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": {
            "agents": { "type": "array", "items": { "type": "string" }, "maxItems": 100 },
            "tenants": { "type": "array", "items": { "type": "string" }, "maxItems": 100 }
        },
        "required": ["agents"],
        "additionalProperties": false
    }"#;

    fn configure(settings: AgentTelemetrySettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        log_panics();
        let metric = metrics::define(
            metrics::Kind::Counter,
            "agent_exchanges_total",
            "Exchanges by user agent and tenant.",
            &["agent".to_owned(), "tenant".to_owned()],
        )
        .map_err(|why| vec![ConfigError::at("", why)])?;
        let counts = Self { settings, metric, series: BTreeMap::new() };
        Ok((counts, Interest::reading([AGENT, TENANT])))
    }
}

impl Telemetry for AgentTelemetry {
    fn on_names(&mut self, _: telemetry::NameKind, _: u32, _: Vec<String>) {}

    fn on_exchanges(&mut self, batch: &[telemetry::Summary], kept: Kept<'_>) {
        for exchange in 0..batch.len() {
            let agent = kept.text(exchange, AGENT).unwrap_or_default();
            let agents = self.settings.agents.iter();
            let agent = agents.clone().find(|known| agent.starts_with(known.as_str()));
            let tenant = kept.text(exchange, TENANT);
            let tenant = self.settings.tenants.iter().find(|known| Some(known.as_str()) == tenant);
            let name = |known: Option<&String>| known.map_or(OTHER, String::as_str).to_owned();
            let (key, metric) = ((name(agent), name(tenant)), self.metric);
            let series = self.series.entry(key).or_insert_with_key(|(agent, tenant)| {
                metrics::series(metric, &[agent.clone(), tenant.clone()])
            });
            metrics::add(*series, 1.0);
        }
    }
}

tamis_sdk::export!(AgentTelemetry: telemetry);

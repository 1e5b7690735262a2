//! Counts finished exchanges by user agent and by class of their status. Agents that are not on the list count as
//! `other`: what clients send must not choose the number of series.

use std::collections::BTreeMap;
use tamis_sdk::{ConfigError, Filter, Finished, Interest, View, finished, log_panics, metrics};

/// What the operator writes.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AgentsSettings {
    /// Beginnings of `user-agent`, such as `curl`.
    agents: Vec<String>,
}

/// The filter.
#[derive(Debug)]
pub struct Agents {
    agents: Vec<String>,
    metric: u32,
    /// By agent and class; a handle is asked for once.
    series: BTreeMap<(String, u16), u32>,
}

const OTHER: &str = "other";

impl Filter for Agents {
    type Settings = AgentsSettings;
    const SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": { "agents": { "type": "array", "items": { "type": "string" }, "maxItems": 100 } },
        "required": ["agents"],
        "additionalProperties": false
    }"#;

    fn configure(settings: AgentsSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        log_panics();
        let metric = metrics::define(
            metrics::Kind::Counter,
            "exchanges_total",
            "Exchanges by user agent and class of the status.",
            &["agent".to_owned(), "class".to_owned()],
        )
        .map_err(|why| vec![ConfigError::at("", why)])?;
        let agents = Self { agents: settings.agents, metric, series: BTreeMap::new() };
        Ok((agents, Interest::reading(["user-agent"])))
    }
}

impl Finished for Agents {
    fn on_finished(&mut self, seen: View<'_>, how: finished::Ending) {
        let agent = seen.text("user-agent").unwrap_or_default();
        let known = self.agents.iter().find(|known| agent.starts_with(known.as_str()));
        let agent = known.map_or(OTHER, String::as_str).to_owned();
        let (metric, class) = (self.metric, how.status / 100);
        let series = self.series.entry((agent, class)).or_insert_with_key(|(agent, class)| {
            metrics::series(metric, &[agent.clone(), format!("{class}xx")])
        });
        metrics::add(*series, 1.0);
    }
}

tamis_sdk::export!(Agents: finished);

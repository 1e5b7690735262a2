//! The rules that a router must have, because filters are attached to them.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::plan::{FilterPlan, Refused};

impl FilterPlan {
    /// Why a router that knows these rules may not serve: a rule of its configuration to which filters are attached is none
    /// of them, and they would never be called.
    #[must_use]
    pub fn uncovered_rules(&self, known: &[Arc<str>]) -> Option<Refused> {
        let covered = |rule: &str| {
            self.covers.iter().any(|entry| {
                if entry.ends_with('/') { rule.starts_with(entry.as_str()) } else { rule == entry }
            })
        };
        if self.covers.is_empty() {
            return None;
        }
        let mut missing: Vec<String> = rule_names(&self.config);
        missing.retain(|rule| covered(rule) && !known.iter().any(|known| **known == *rule));
        let (first, more) = (missing.first()?, missing.len().saturating_sub(1));
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let rule = format!(
            "the router has no rule named `{first}`{more}, and filters attached to it would never be called"
        );
        let remedy = "name rules as the configuration does: `NAMESPACE/ROUTE/RULE`, the index of a rule without a name";
        Some(Refused::new("router.rules", rule, "the proxy", remedy))
    }
}

/// The names of a router's rules according to its configuration.
fn rule_names(config: &Json) -> Vec<String> {
    let list = |json: &Json, name: &str| -> Vec<Json> {
        json.get(name).and_then(Json::as_array).cloned().unwrap_or_default()
    };
    let mut names = Vec::new();
    for route in list(config, "routes") {
        let name = route.get("name").and_then(Json::as_str).unwrap_or_default();
        for (at, rule) in list(&route, "rules").iter().enumerate() {
            let rule = rule.get("name").and_then(Json::as_str);
            names.push(format!("{name}/{}", rule.map_or_else(|| at.to_string(), str::to_owned)));
        }
    }
    names
}

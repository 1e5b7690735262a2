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
        let returned: Vec<String> =
            known.iter().take(RULES_SHOWN).map(|name| format!("`{name}`")).collect();
        let returned = match (returned.is_empty(), known.len() > RULES_SHOWN) {
            (true, _) => "nothing".to_owned(),
            (false, true) => format!("{}, …", returned.join(", ")),
            (false, false) => returned.join(", "),
        };
        let rule = format!(
            "`rules()` of the router {} returned {returned}, but not `{first}`{more}, and filters attached to that rule would never run",
            self.filter
        );
        let remedy = "return `NAMESPACE/ROUTE/RULE` for every rule of its configuration: RULE is the name of the rule or, without one, its number from 0";
        Some(Refused::new("router.rules", rule, "the proxy", remedy))
    }
}

/// Names that a router returned and a message shows.
const RULES_SHOWN: usize = 3;

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

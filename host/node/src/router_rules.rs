//! Whether a router has the rules that filters are attached to.

use serde_json::Value as Json;
use tamis_engine::{Filter, Hook};
use tamis_resources::plan::FilterPlan;
use tamis_trust::TrustRefusal;

/// Why a router may not serve if its rules do not cover what is attached to them: what is attached there
/// would never be called.
#[must_use]
pub fn uncovered_rules(filter: &Filter, plan: &FilterPlan) -> Option<TrustRefusal> {
    if !filter.has(Hook::Router) || plan.covers.is_empty() {
        return None;
    }
    let covered = |rule: &str| {
        plan.covers.iter().any(|entry| {
            if entry.ends_with('/') { rule.starts_with(entry.as_str()) } else { rule == entry }
        })
    };
    let mut missing: Vec<String> = rule_names(&plan.config);
    missing.retain(|rule| covered(rule) && !filter.rules().contains(rule));
    let (first, more) = (missing.first()?, missing.len().saturating_sub(1));
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let rule = format!(
        "the router has no rule named `{first}`{more}, and filters attached to it would never be called"
    );
    let remedy = "name rules as the configuration does: `NAMESPACE/ROUTE/RULE`, the index of a rule without a name";
    let (code, set_by, remedy) = ("router.rules", "the proxy".to_owned(), remedy.to_owned());
    Some(TrustRefusal { code, rule, set_by, remedy })
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

//! What a filter may do that the previous one could not.

use std::sync::Arc;

use bytes::Bytes;
use tamis_api::{ApiProblem, GrowthView};
use tamis_director::{Guards, Plans, State};
use tamis_trust::{Digest, Name};

use crate::plane::control::Control;
use crate::plane::control::compute_turns::{Size, Waiting};
use crate::plane::rights::AuthorizedCaller;

impl Control {
    /// What a digest may do and the previous one could not, under the configurations of the filter in a service (in all
    /// services for `*`); empty when there was no previous one.
    pub(crate) async fn capabilities_added(
        &self,
        holder: &AuthorizedCaller,
        (service, filter): (&str, &Name),
        before: Option<Digest>,
        after: Bytes,
    ) -> Result<Vec<GrowthView>, ApiProblem> {
        let Some(before) = before else { return Ok(Vec::new()) };
        let Some(artifact) = self.artifact(&before).await? else {
            let what = format!("{before} is no longer stored, so they cannot be compared");
            return Ok(vec![GrowthView { kind: "unknown".to_owned(), what }]);
        };
        let before = self.component(&artifact).await?;
        self.know_plans().await;
        let configs = configurations(&self.state(), &mut self.plans(), service, filter);
        let examine = Arc::clone(&self.0.examine);
        let compare = move |_: &Waiting| examine.capabilities_added(&before, &after, &configs);
        self.compute(self.turn(holder, Size::Small).await?, compare).await
    }

    /// The guards for a change that adds these capabilities.
    pub(crate) fn guards_for(&self, added: &[GrowthView]) -> Guards {
        let mut guards = self.0.rules.guards;
        if !added.is_empty() {
            guards.approvals = guards.approvals.max(self.0.rules.growth_approvals);
        }
        guards
    }
}

/// The configurations of a filter in the proxies of a service (of all services for `*`), each once.
fn configurations(state: &State, plans: &mut Plans, service: &str, filter: &Name) -> Vec<String> {
    let mut configs: Vec<String> = Vec::new();
    for node in state.nodes() {
        if service != "*" && node.key() != service {
            continue;
        }
        let Some(plan) = plans.node_plan(state, &node) else { continue };
        for one in plan.filters.iter().filter(|one| one.filter == filter.as_str()) {
            let config = one.config.to_string();
            if !configs.contains(&config) {
                configs.push(config);
            }
        }
    }
    if configs.is_empty() {
        configs.push("{}".to_owned());
    }
    configs
}

//! The responses of the API, from the state.

pub(crate) mod audit;
pub(crate) mod diff;
mod history;
mod resources;
mod rollouts;
mod status;

use tamis_api::PinView;
use tamis_director::{self as director, Plans, State};
use tamis_oci::Verb;
use tamis_trust::{Name, SignaturePolicy};

use crate::plane::control::Control;
use crate::plane::control::parts::withdraw;
use crate::plane::rights::AuthorizedCaller;

pub(crate) fn pin(pin: &director::Pin) -> PinView {
    PinView {
        service: pin.service.clone(),
        filter: pin.filter.to_string(),
        version: pin.version.to_string(),
        digest: pin.digest.to_string(),
        revision: pin.stamp.revision,
        time_ms: pin.stamp.time_ms,
        actor: pin.stamp.actor.clone(),
    }
}

/// The configurations of a filter in the proxies of a service (of all services for `*`), each once.
pub(crate) fn configs(
    state: &State,
    plans: &mut Plans,
    service: &str,
    filter: &Name,
    now: u64,
) -> Vec<String> {
    let mut configs: Vec<String> = Vec::new();
    for node in state.nodes() {
        if service != "*" && node.key() != service {
            continue;
        }
        let Some(plan) = plans.node(state, &node, now).plan.clone() else { continue };
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

impl Control {
    /// Whether the caller decides what filters may do and which keys are trusted.
    #[must_use]
    pub fn decides(&self, holder: &AuthorizedCaller) -> bool {
        holder.is_security(Verb::Operate, &self.0.rules.security)
    }

    /// The trust policies in force, with what was revoked since. One that is wrong trusts nobody about what it speaks of:
    /// left out, a wider one would count in its place, here and not at the proxies.
    pub(crate) fn policies(&self, state: &State) -> Vec<SignaturePolicy> {
        if let Some(policy) = &self.0.policy {
            return policy.policies();
        }
        let mut policies = state.trust_policies();
        withdraw(&mut policies, state, |_| true);
        policies.iter().map(|policy| SignaturePolicy::read_or_nobody(policy).0).collect()
    }
}

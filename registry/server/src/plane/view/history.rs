//! Pins, revocations and what happened to filters.

use tamis_api::{HistoryItem, Pin, Problem, Revoked};
use tamis_director::{Happening, What};
use tamis_trust::Name;

use crate::plane::change::name;
use crate::plane::control::Control;

impl Control {
    /// Pins in force, perhaps those of one service alone; by filter, then service.
    #[must_use]
    pub fn pins(&self, service: Option<&str>) -> Vec<Pin> {
        let state = self.state();
        let pins = state.pins().filter(|pin| service.is_none_or(|service| pin.service == service));
        pins.map(super::pin).collect()
    }

    /// What is revoked: digests, then keys.
    #[must_use]
    pub fn revocations(&self) -> Vec<Revoked> {
        let state = self.state();
        let digests = state.revoked_digests().iter().map(|(digest, it)| (digest.to_string(), it));
        let keys = state.revoked_keys().iter().map(|(key, it)| (key.clone(), it));
        let all = digests.chain(keys).map(|(what, it)| Revoked {
            what,
            from_index: it.from_index,
            reason: it.reason.clone(),
            revision: it.stamp.revision,
            time_ms: it.stamp.time_ms,
            actor: it.stamp.actor.clone(),
        });
        all.collect()
    }

    /// What happened to the filters of a service, or to one of them; oldest first.
    ///
    /// # Errors
    /// [`Problem`] when the filter has no name that one can have.
    pub fn history(
        &self,
        service: &str,
        filter: Option<&str>,
    ) -> Result<Vec<HistoryItem>, Problem> {
        let state = self.state();
        let filters: Vec<Name> = match filter {
            Some(filter) => vec![name(filter)?],
            None => state.filters().cloned().collect(),
        };
        let mut items: Vec<HistoryItem> = Vec::new();
        for filter in filters {
            let happened = state.history(service, &filter).into_iter();
            items.extend(happened.map(|one| item(&filter, one)));
        }
        items.sort_by_key(|one| one.revision);
        Ok(items)
    }
}

fn item(filter: &Name, happening: &Happening) -> HistoryItem {
    let what = match &happening.what {
        What::Pinned { version, digest, rollout: None } => format!("pinned {version} {digest}"),
        What::Pinned { version, digest, rollout: Some(rollout) } => {
            format!("pinned {version} {digest} by rollout {rollout}")
        }
        What::Unpinned => "unpinned".to_owned(),
        What::RolloutStarted { rollout, to } => format!("rollout {rollout} to {to} began"),
        What::RolloutMoved { rollout, stage, why } => {
            format!("rollout {rollout} is {stage}: {why}")
        }
        What::RolloutEnded { rollout, outcome, why } => {
            format!("rollout {rollout} is {outcome}: {why}")
        }
    };
    HistoryItem {
        revision: happening.stamp.revision,
        time_ms: happening.stamp.time_ms,
        actor: happening.stamp.actor.clone(),
        filter: filter.to_string(),
        services: happening.services.clone(),
        what: what.trim_end_matches([':', ' ']).to_owned(),
    }
}

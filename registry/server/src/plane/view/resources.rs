//! Documents in force, with what became of them.

use tamis_api::{
    Condition, Problem, Programmed, Resource, ResourceList, ResourceSummary, SlotState,
};
use tamis_director::DocumentInForce;
use tamis_resources::{Folded, ResourceStatus};

use crate::plane::change::unknown;
use crate::plane::control::Control;
use crate::plane::problem::document;

impl Control {
    /// Documents in force, perhaps of one kind or one namespace alone.
    #[must_use]
    pub fn resources(&self, kind: Option<&str>, namespace: Option<&str>) -> ResourceList {
        let state = self.state();
        let folded = self.plans().everything(&state);
        let all = state.documents().iter().filter_map(|(key, held)| {
            let (found, rest) = key.split_once('/')?;
            let (space, name) = rest.split_once('/')?;
            let wanted = kind.is_none_or(|kind| kind.eq_ignore_ascii_case(found))
                && namespace.is_none_or(|namespace| namespace == space);
            let ok = conditions(&folded, found, space, name).iter().all(|one| one.status);
            wanted.then(|| summary((found, space, name), held, ok))
        });
        ResourceList { revision: state.head(), items: all.collect() }
    }

    /// A document in force.
    ///
    /// # Errors
    /// [`Problem`] when there is none.
    pub fn resource(&self, kind: &str, namespace: &str, name: &str) -> Result<Resource, Problem> {
        let (mut resource, targets) = {
            let state = self.state();
            let key = format!("{kind}/{namespace}/{name}");
            let Some(held) = state.documents().get(&key) else {
                return Err(unknown(&key));
            };
            let folded = self.plans().everything(&state);
            let conditions = conditions(&folded, kind, namespace, name);
            let ok = conditions.iter().all(|one| one.status);
            let source = held.source();
            let problems = folded.problems.iter().filter(|one| one.place.source == source);
            let resource = Resource {
                summary: summary((kind, namespace, name), held, ok),
                text: held.text.to_string(),
                conditions,
                programmed: Vec::new(),
                problems: problems.map(document).collect(),
            };
            let targets = match kind {
                "Gateway" | "Service" => Some(format!("{namespace}/{name}")),
                _ => None,
            };
            (resource, targets)
        };
        let attachment = format!("{namespace}/{name}");
        for proxy in self.status(targets.as_deref()).proxies {
            let about = |slot: &str| kind == "FilterAttachment" && is_of(slot, &attachment);
            let slots: Vec<_> = proxy
                .slots
                .iter()
                .filter(|slot| targets.is_some() || about(&slot.slot) || slot.filter == attachment)
                .collect();
            if targets.is_none() && slots.is_empty() {
                continue;
            }
            let wrong = slots.iter().find(|slot| slot.state != SlotState::Serving);
            let reason = match wrong {
                _ if !proxy.connected => "Disconnected".to_owned(),
                Some(slot) => slot.why.clone().unwrap_or_else(|| "Pending".to_owned()),
                None if !proxy.current => "Pending".to_owned(),
                None => "Programmed".to_owned(),
            };
            let status = reason == "Programmed";
            resource.programmed.push(Programmed { node: proxy.node, status, reason });
        }
        Ok(resource)
    }
}

/// Whether a slot is one of that attachment.
fn is_of(slot: &str, attachment: &str) -> bool {
    slot.strip_prefix(attachment)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '~']))
}

fn summary(
    (kind, namespace, name): (&str, &str, &str),
    held: &DocumentInForce,
    ok: bool,
) -> ResourceSummary {
    ResourceSummary {
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        digest: held.digest.to_string(),
        revision: held.stamp.revision,
        time_ms: held.stamp.time_ms,
        actor: held.stamp.actor.clone(),
        ok,
    }
}

fn conditions(folded: &Folded, kind: &str, namespace: &str, name: &str) -> Vec<Condition> {
    let is = |one: &&ResourceStatus| {
        (one.kind.as_str(), one.namespace.as_str(), one.name.as_str()) == (kind, namespace, name)
    };
    let status = folded.statuses.iter().find(is);
    let conditions = status.into_iter().flat_map(|one| &one.conditions).map(|one| Condition {
        kind: one.kind.to_owned(),
        status: one.status,
        reason: one.reason.clone(),
        message: one.message.clone(),
    });
    conditions.collect()
}

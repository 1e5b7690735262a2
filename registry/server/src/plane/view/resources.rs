//! Documents in force, with their conditions.

use tamis_api::{
    ApiProblem, ConditionView, ProgrammedView, ProxyStatus, Refused, ResourceList, ResourceSummary,
    ResourceView, SlotStateView, SlotView,
};
use tamis_director::DocumentInForce;
use tamis_resources::{FoldResult, ResourceStatus};

use crate::plane::control::Control;
use crate::plane::problem::{count, document, unknown};

/// The code of a document that cannot be used, and for which another stands in.
const STANDS_IN: &str = "document.invalid";

impl Control {
    /// The codes of everything that is wrong with the documents in force, one for each fault, and one for each
    /// document that stands in for another, which cannot be used.
    pub(crate) fn problems(&self) -> Vec<String> {
        let state = self.state();
        let folded = self.plans().everything(&state);
        let stand_ins = state.documents().values().filter(|held| held.stands_in());
        let stand_ins = stand_ins.map(|_| STANDS_IN.to_owned());
        let problems = folded.problems.iter().map(|problem| problem.code.clone());
        problems.chain(stand_ins).collect()
    }

    /// Documents in force, optionally only of one kind or one namespace.
    #[must_use]
    pub fn resources(&self, kind: Option<&str>, namespace: Option<&str>) -> ResourceList {
        let proxies = self.status(None).proxies;
        let state = self.state();
        let folded = self.plans().everything(&state);
        let all = state.documents().iter().filter_map(|(key, held)| {
            let (found, rest) = key.split_once('/')?;
            let (space, name) = rest.split_once('/')?;
            let wanted = kind.is_none_or(|kind| kind.eq_ignore_ascii_case(found))
                && namespace.is_none_or(|namespace| namespace == space);
            wanted.then(|| {
                let says = conditions(&folded, found, space, name).iter().all(|one| one.status);
                let done = proxies.iter().filter_map(|proxy| programmed(proxy, found, space, name));
                // A proxy that never connected does not count as a problem.
                let mut done = done.filter(|one| one.reason != NEVER);
                summary((found, space, name), held, says && done.all(|one| one.status))
            })
        });
        ResourceList { revision: state.head(), items: all.collect() }
    }

    /// A document in force.
    ///
    /// # Errors
    /// [`ApiProblem`] when there is none.
    pub fn resource(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<ResourceView, ApiProblem> {
        let proxies = self.status(None).proxies;
        let mut resource = {
            let state = self.state();
            let key = format!("{kind}/{namespace}/{name}");
            let Some(held) = state.documents().get(&key) else {
                return Err(unknown(&key));
            };
            let folded = self.plans().everything(&state);
            let conditions = conditions(&folded, kind, namespace, name);
            let ok = conditions.iter().all(|one| one.status);
            let problems = folded.problems.iter().filter(|one| one.of.as_ref() == Some(&key));
            ResourceView {
                summary: summary((kind, namespace, name), held, ok),
                text: held.text.to_string(),
                conditions,
                programmed: Vec::new(),
                problems: problems.map(document).collect(),
            }
        };
        let all = proxies.iter().filter_map(|proxy| programmed(proxy, kind, namespace, name));
        resource.programmed = all.collect();
        resource.conditions.extend(condition(&resource.programmed));
        resource.summary.ok = resource
            .conditions
            .iter()
            .all(|one| one.status || (one.kind == PROGRAMMED && one.reason == NEVER));
        Ok(resource)
    }
}

const PROGRAMMED: &str = "Programmed";
const DISCONNECTED: &str = "Disconnected";
/// The reason for proxies that never connected.
const NEVER: &str = "NeverConnected";
const PENDING: &str = "Pending";
/// The reason for proxies with problems outside their slots.
const PROBLEMS: &str = "Problems";

/// Whether a proxy does what a document says; `None` when the document does not concern it.
fn programmed(
    proxy: &ProxyStatus,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Option<ProgrammedView> {
    let key = format!("{namespace}/{name}");
    let whole = matches!((kind, proxy.node.split_once(':')), ("Gateway", Some(("gateway", _))))
        || matches!((kind, proxy.node.split_once(':')), ("Service", Some(("sidecar", _))));
    let whole = whole && proxy.service == key;
    let about = |slot: &SlotView| match kind {
        "FilterAttachment" => is_of(&slot.slot, &key),
        "Filter" | "Grant" => slot.filter == key,
        _ => false,
    };
    let mut slots = proxy.slots.iter().filter(|slot| whole || about(slot)).peekable();
    if !whole && slots.peek().is_none() {
        return None;
    }
    let wrong = slots.find(|slot| slot.state != SlotStateView::Serving || slot.revoked.is_some());
    let (reason, message) = match (proxy.connected, wrong, proxy.problems.first()) {
        (false, _, _) if proxy.disconnected_ms.is_none() => {
            (NEVER.to_owned(), "it never connected".to_owned())
        }
        (false, _, _) => (DISCONNECTED.to_owned(), "it is not connected".to_owned()),
        (true, Some(slot), _) => {
            let refusal = slot.refusal.as_ref().or(slot.revoked.as_ref());
            let code = refusal.map(|refusal| refusal.code.clone().into_owned());
            let why = slot.why.clone().or(slot.revoked.as_ref().map(Refused::sentence));
            let why = why.unwrap_or_else(|| "it has not reported yet".to_owned());
            (code.unwrap_or_else(|| PENDING.to_owned()), format!("{}: {why}", slot.slot))
        }
        (true, None, Some(problem)) if whole => (PROBLEMS.to_owned(), problem.message.clone()),
        (true, None, _) if !proxy.current => {
            let why = proxy.why.clone().unwrap_or_else(|| "it has not reported yet".to_owned());
            (PENDING.to_owned(), why)
        }
        (true, None, _) => (PROGRAMMED.to_owned(), String::new()),
    };
    let (node, status) = (proxy.node.clone(), reason == PROGRAMMED);
    let identity = proxy.identity.clone().filter(|_| whole);
    let plaintext = if whole { proxy.plaintext.clone() } else { Vec::new() };
    Some(ProgrammedView { node, status, reason, message, identity, plaintext })
}

/// The condition over all proxies; `None` when the document concerns none.
fn condition(all: &[ProgrammedView]) -> Option<ConditionView> {
    let wrong: Vec<&ProgrammedView> = all.iter().filter(|one| !one.status).collect();
    // What needs a repair comes before what is only absent.
    let absent =
        |one: &&&ProgrammedView| [DISCONNECTED, NEVER, PENDING].contains(&one.reason.as_str());
    let worst = wrong.iter().find(|one| !absent(one)).or(wrong.first());
    let kind = PROGRAMMED.to_owned();
    let Some(worst) = worst else {
        let (reason, message) = (PROGRAMMED.to_owned(), String::new());
        return (!all.is_empty()).then_some(ConditionView { kind, status: true, reason, message });
    };
    let message = format!(
        "{} of {} do not: {}: {}",
        wrong.len(),
        count(all.len(), "proxy", "proxies"),
        worst.node,
        worst.message
    );
    Some(ConditionView { kind, status: false, reason: worst.reason.clone(), message })
}

/// Whether a slot belongs to that attachment.
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

fn conditions(folded: &FoldResult, kind: &str, namespace: &str, name: &str) -> Vec<ConditionView> {
    let is = |one: &&ResourceStatus| {
        (one.kind.as_str(), one.namespace.as_str(), one.name.as_str()) == (kind, namespace, name)
    };
    let status = folded.statuses.iter().find(is);
    let conditions = status.into_iter().flat_map(|one| &one.conditions).map(|one| ConditionView {
        kind: one.kind.to_owned(),
        status: one.status,
        reason: one.reason.clone(),
        message: one.message.clone(),
    });
    conditions.collect()
}

//! Pins, revocations and events of filters.

use std::collections::BTreeSet;

use tamis_api::{ApiProblem, DocumentText, DocumentVersion, HistoryItem, PinView, RevocationView};
use tamis_director::{self as director, FilterEvent, FilterEventKind, RecordBody, State};
use tamis_oci::Verb;
use tamis_resources::Resource;
use tamis_trust::{Digest, Name};

use crate::plane::control::Control;
use crate::plane::parse::name;
use crate::plane::problem::{journal, missing, unknown};
use crate::plane::rights::AuthorizedCaller;

impl Control {
    /// Pins in force, optionally only those of one service; by filter, then service.
    #[must_use]
    pub fn pins(&self, service: Option<&str>) -> Vec<PinView> {
        let state = self.state();
        let pins = state.pins().filter(|pin| service.is_none_or(|service| pin.service == service));
        pins.map(super::pin).collect()
    }

    /// The revocations in force: of digests, then of keys. A caller who may not see everything sees only digests that
    /// were ever pinned for what they may see.
    #[must_use]
    pub fn revocations(&self, holder: &AuthorizedCaller) -> Vec<RevocationView> {
        let state = self.state();
        let all = holder.is_security(Verb::Observe, &self.0.rules.security);
        let pinned: BTreeSet<Digest> = if all {
            BTreeSet::new()
        } else {
            let own = state.services().into_iter().filter(|it| holder.may_at(Verb::Observe, it));
            let own: Vec<String> = own.collect();
            let filters: Vec<Name> = state.filters().cloned().collect();
            let known = filters.iter().flat_map(|filter| {
                own.iter().filter_map(|service| state.pinned_last(service, filter))
            });
            known.collect()
        };
        let digests = state.revoked_digests().iter();
        let digests = digests.filter(|(digest, _)| all || pinned.contains(*digest));
        let digests = digests.map(|(digest, it)| (digest.to_string(), it));
        let keys = state.revoked_keys().iter().filter(|_| all);
        let keys = keys.map(|(key, it)| (key.clone(), it));
        let found = digests.chain(keys).map(|(what, it)| RevocationView {
            what,
            from_index: it.from_index,
            reason: it.reason.clone(),
            revision: it.stamp.revision,
            time_ms: it.stamp.time_ms,
            actor: it.stamp.actor.clone(),
            now: it.now,
            stops: Vec::new(),
        });
        found.collect()
    }

    /// What happened to the filters of a service, or to one of them; oldest first. Of what concerns services of others too,
    /// whoever asks sees what it was, not where else and not why: that speaks of them.
    ///
    /// # Errors
    /// [`ApiProblem`] when the filter's name is invalid, or there never was such a service or filter.
    pub fn history(
        &self,
        holder: &AuthorizedCaller,
        service: &str,
        filter: Option<&str>,
    ) -> Result<Vec<HistoryItem>, ApiProblem> {
        let state = self.state();
        let filters: Vec<Name> = match filter {
            Some(filter) => vec![known_filter(&state, holder, service, name(filter)?)?],
            None => state.filters().cloned().collect(),
        };
        must_be_known(&state, service)?;
        let mut items: Vec<HistoryItem> = Vec::new();
        for filter in filters {
            let happened = state.history(service, &filter).into_iter();
            items.extend(happened.map(|one| item(holder, &filter, one)));
        }
        if filter.is_none() {
            let documents = state.documents_of(service).into_iter();
            items.extend(documents.map(|(key, one)| document(service, key, one)));
        }
        items.sort_by_key(|one| one.revision);
        Ok(items)
    }

    /// The versions of a document, oldest first.
    ///
    /// # Errors
    /// [`ApiProblem`] when there never was such a document.
    pub fn versions(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<DocumentVersion>, ApiProblem> {
        let key = format!("{kind}/{namespace}/{name}");
        let state = self.state();
        let versions: Vec<DocumentVersion> = state.versions(&key).map(version).collect();
        if versions.is_empty() { Err(unknown(&key)) } else { Ok(versions) }
    }

    /// The text of a document as a revision put it in force.
    ///
    /// # Errors
    /// [`ApiProblem`] when that revision did not put it in force, or the journal cannot be read.
    pub async fn text_at(
        &self,
        (kind, namespace, name): (&str, &str, &str),
        revision: u64,
    ) -> Result<DocumentText, ApiProblem> {
        let key = format!("{kind}/{namespace}/{name}");
        let none = || {
            missing(
                format!("revision {revision} put no version of {key} in force"),
                format!("`tamis history {kind} {name} -n {namespace}` lists those that did"),
            )
        };
        let after = revision.checked_sub(1).ok_or_else(none)?;
        let entries = self.0.journal.read(after, 1).await.map_err(|error| journal(&error))?;
        let entry = entries.first().filter(|entry| entry.revision == revision).ok_or_else(none)?;
        let body = RecordBody::from_body(&entry.record.kind, &entry.record.body).ok().flatten();
        let Some(RecordBody::Applied(applied)) = body else { return Err(none()) };
        let found = applied.documents.into_iter().find(|one| one.key == key).ok_or_else(none)?;
        let (source, digest) = (found.source, found.digest.to_string());
        Ok(DocumentText { revision, source, digest, text: found.text })
    }
}

/// The kinds of documents whose names are names of services.
const SERVICES: [&str; 3] = ["Service", "Gateway", "ExternalService"];

/// Fails for a service that never was.
fn must_be_known(state: &State, service: &str) -> Result<(), ApiProblem> {
    let keys = SERVICES.map(|kind| format!("{kind}/{service}"));
    let is_known = service == "*"
        || keys.iter().any(|key| state.versions(key).next().is_some())
        || state.pins().any(|pin| pin.service == service)
        || state.known_services().contains(service);
    if is_known {
        return Ok(());
    }
    let way = "`tamis get services` and `tamis get gateways` list those that there are";
    Err(missing(format!("there is no service or gateway {service}, and there never was"), way))
}

/// A filter with which something happened in a service, or that a pin or a document is about that the caller may see: what is
/// of others alone is not for everybody to find out.
fn known_filter(
    state: &State,
    holder: &AuthorizedCaller,
    service: &str,
    filter: Name,
) -> Result<Name, ApiProblem> {
    let pinned = |pin: &director::ServicePin| {
        pin.filter == filter && (pin.service == "*" || holder.sees(&pin.service))
    };
    let names = |(key, held): (&String, &director::DocumentInForce)| {
        let of = match held.resource() {
            Resource::FilterAttachment(spec) => &spec.filter,
            Resource::Grant(spec) => &spec.filter,
            _ => return false,
        };
        of == filter.as_str() && key.split_once('/').is_some_and(|(_, place)| holder.sees(place))
    };
    let described = || state.versions(&format!("Filter/{filter}")).next().is_some();
    let is_known = !state.history(service, &filter).is_empty()
        || (holder.sees("*") && state.filters().any(|known| *known == filter))
        || state.pins().any(pinned)
        || (holder.sees(filter.as_str()) && described())
        || state.documents().iter().any(names);
    if is_known {
        return Ok(filter);
    }
    let way = "`tamis pins` and `tamis get filters` list those that there are";
    Err(missing(format!("no pin and no document names a filter {filter}"), way))
}

fn version(one: &director::PastDocument) -> DocumentVersion {
    DocumentVersion {
        revision: one.stamp.revision,
        time_ms: one.stamp.time_ms,
        actor: one.stamp.actor.clone(),
        digest: one.digest.map(|digest| digest.to_string()),
        fields: super::diff::fields(one.fields.clone()),
        back_to: one.back_to,
    }
}

/// Most fields listed in an item of a history.
const FIELDS: usize = 3;

fn document(service: &str, key: &str, one: &director::PastDocument) -> HistoryItem {
    let shown = one.fields.iter().take(FIELDS).map(|field| {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        format!("{} {} → {}", field.field, value(&field.before), value(&field.after))
    });
    let mut what = shown.collect::<Vec<_>>().join(", ");
    match one.fields.len().saturating_sub(FIELDS) {
        0 => {}
        more => what.push_str(&format!(" and {more} more")),
    }
    let how = match (one.digest, one.back_to) {
        (None, _) => "taken out".to_owned(),
        (Some(_), Some(revision)) => format!("back to revision {revision}"),
        (Some(_), None) if what.is_empty() => "put in force".to_owned(),
        (Some(_), None) => String::new(),
    };
    let between = if how.is_empty() || what.is_empty() { "" } else { ": " };
    HistoryItem {
        revision: one.stamp.revision,
        time_ms: one.stamp.time_ms,
        actor: one.stamp.actor.clone(),
        filter: String::new(),
        document: Some(key.to_owned()),
        services: vec![service.to_owned()],
        what: format!("{how}{between}{what}"),
    }
}

fn item(holder: &AuthorizedCaller, filter: &Name, happening: &FilterEvent) -> HistoryItem {
    let sees = |service: &&String| holder.may_with(Verb::Observe, service);
    let services: Vec<String> = happening.services.iter().filter(sees).cloned().collect();
    let all = services.len() == happening.services.len();
    let because = |why: &str| if all { format!(": {why}") } else { String::new() };
    let what = match &happening.what {
        FilterEventKind::Pinned { version, digest, rollout: None, back: false } => {
            format!("pinned {version} {digest}")
        }
        FilterEventKind::Pinned { version, digest, rollout: None, back: true } => {
            format!("rolled back to {version} {digest}")
        }
        FilterEventKind::Pinned { version, digest, rollout: Some(rollout), back: _ } => {
            format!("pinned {version} {digest} by rollout {rollout}")
        }
        FilterEventKind::Unpinned => "unpinned".to_owned(),
        FilterEventKind::RolloutStarted { rollout, to } => {
            format!("rollout {rollout} to {to} began")
        }
        FilterEventKind::RolloutMoved { rollout, stage, why } => {
            format!("rollout {rollout} is {stage}{}", because(why))
        }
        FilterEventKind::RolloutEnded { rollout, outcome, why } => {
            format!("rollout {rollout} is {outcome}{}", because(why))
        }
    };
    HistoryItem {
        revision: happening.stamp.revision,
        time_ms: happening.stamp.time_ms,
        actor: happening.stamp.actor.clone(),
        filter: filter.to_string(),
        document: None,
        services,
        what: what.trim_end_matches([':', ' ']).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::plane::fixture::{FILTER, SignedRouter};

    #[tokio::test]
    async fn a_service_or_a_filter_that_never_was_is_missing_and_one_of_others_looks_the_same() {
        let scene = SignedRouter::new().await;
        let control = &scene.world.control;
        let asked = |who: &str, service: &str, filter: Option<&str>| {
            control.history(&scene.world.holder(who), service, filter).map_err(|one| one.status)
        };
        for (service, filter) in [
            ("rival/edge", None),
            ("*", None),
            ("rival/edge", Some(FILTER)),
            ("rival/edge", Some("rival/own")),
        ] {
            assert!(asked("root", service, filter).is_ok(), "{service} {filter:?}");
        }
        for (service, filter) in
            [("rival/none", None), ("rival/edge", Some("acme/none")), ("*", Some("acme/none"))]
        {
            assert_eq!(asked("root", service, filter).unwrap_err(), 404, "{service} {filter:?}");
        }
        // `rival/own` is pinned for `rival` alone.
        for filter in ["rival/own", "rival/none"] {
            assert_eq!(asked("acme", "acme/edge", Some(filter)).unwrap_err(), 404, "{filter}");
        }
        assert!(asked("acme", "acme/edge", Some(FILTER)).is_ok());
    }
}

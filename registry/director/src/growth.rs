//! What a change of documents allows filters to do that they could not do before, and whom it lets in without an identity.
//!
//! A Grant and a TrustPolicy are authority as much as a digest is, so they need the same approval as a pin.
//! Something decided for the first time is not growth, just as a first pin is not. A removed document is
//! remembered, so that removing it and adding a wider one counts as growth.
//!
//! So is another trust domain whose members are recognised, or another authority of it.
//!
//! So is a Service that takes plain text, or whose sidecars listen for their application at every address of their machine. What
//! nothing says about is strict, so its first document is growth too: there is nothing to remember of one that was removed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde_json::Value as Json;
use tamis_resources::{
    Bytes, GrantSpec, Millis, Rate, Resource, ServiceEndpoint, narrowed, uncovered_names,
};
use tamis_trust::{Digest, KeyId, Name, Revocation, SignaturePolicy, TrustedKey};

use crate::change::{Change, PlanError, changed};
use crate::desired::DesiredState;
use crate::documents::read;
use crate::record::ApplyRecord;
use crate::state::State;

impl State {
    /// What `applied` allows that was not allowed before: the filter, pattern or Service, and what, in words.
    ///
    /// # Errors
    /// [`PlanError`] when the change cannot be made at all.
    pub fn growth(&self, applied: &ApplyRecord) -> Result<Vec<(String, String)>, PlanError> {
        let mut grown = self.loosened_services(applied);
        if !self.decides(applied) {
            return Ok(grown);
        }
        let before = &self.desired;
        let after = changed(before, &Change::Apply(applied.clone()), self)?;
        grown.extend(grants(before, &after));
        grown.extend(trust(before, &after));
        grown.extend(federated(before, &after));
        Ok(grown)
    }

    /// The Services that would let in callers without an identity and do not now. A document that cannot be read changes nothing,
    /// and is refused elsewhere.
    fn loosened_services(&self, applied: &ApplyRecord) -> Vec<(String, String)> {
        let mut grown = Vec::new();
        for written in applied.documents.iter().filter(|one| one.key.starts_with("Service/")) {
            let Ok(now) = read(written) else { continue };
            let before = match self.desired.documents.by_key.get(&written.key) {
                Some(held) => lets_in(held.resource()),
                None => BTreeSet::new(),
            };
            let more = lets_in(&now.resource).into_iter().filter(|what| !before.contains(what));
            let service = written.key.replacen('/', " ", 1);
            grown.extend(more.map(|what| (service.clone(), what)));
        }
        grown
    }

    /// Whether `applied` may change what filters may do: most changes do not, and need no computation.
    fn decides(&self, applied: &ApplyRecord) -> bool {
        let kinds = ["Grant/", "TrustPolicy/", "FederatedTrustDomain/"];
        let authority = |key: &str| kinds.iter().any(|kind| key.starts_with(kind));
        let keys = applied.documents.iter().map(|one| &one.key).chain(&applied.removed);
        let files = !applied.files.is_empty() || !applied.removed_files.is_empty();
        files || keys.map(String::as_str).any(authority)
    }
}

/// Whom a Service lets in that proves no identity, in words.
fn lets_in(resource: &Resource) -> BTreeSet<String> {
    let Resource::Service(spec) = resource else { return BTreeSet::new() };
    let mut found = BTreeSet::new();
    if spec.is_permissive() {
        found.insert("plain text of callers without an identity (mtls: permissive)".to_owned());
    }
    let open = spec.endpoints.iter().flat_map(own_listeners).filter(|(_, text)| {
        text.parse::<SocketAddr>().is_ok_and(|at| at.ip().to_canonical().is_unspecified())
    });
    found.extend(open.map(|(field, text)| {
        format!("whoever reaches a machine of it, as the Service itself ({field}: {text} is every address of the machine)")
    }));
    found
}

/// Where a sidecar listens for its own application: who connects there is the Service.
fn own_listeners(endpoint: &ServiceEndpoint) -> impl Iterator<Item = (&'static str, &String)> {
    let tcp = endpoint.outbound_tcp.iter().map(|one| ("outboundTcp", &one.address));
    endpoint.outbound.iter().map(|one| ("outbound", one)).chain(tcp)
}

/// Grants by filter. Of several for one filter all count, since which of them holds is decided elsewhere.
type GrantsByFilter<'a> = BTreeMap<&'a str, Vec<&'a GrantSpec>>;

/// The grants in force: security's, and those of other namespaces, which narrow them, by namespace.
fn granted(desired: &DesiredState) -> (GrantsByFilter<'_>, BTreeMap<&str, GrantsByFilter<'_>>) {
    let (mut decided, mut narrowing) =
        (GrantsByFilter::new(), BTreeMap::<&str, GrantsByFilter<'_>>::new());
    for held in desired.documents.by_key.values() {
        let Resource::Grant(spec) = held.resource() else { continue };
        let namespace = held.document.metadata.namespace.as_str();
        let grants = if desired.security().is_in(namespace) {
            &mut decided
        } else {
            narrowing.entry(namespace).or_default()
        };
        grants.entry(&spec.filter).or_default().push(spec);
    }
    (decided, narrowing)
}

fn grants(before: &DesiredState, after: &DesiredState) -> Vec<(String, String)> {
    let ((old, old_narrowing), (new, new_narrowing)) = (granted(before), granted(after));
    let mut grown = Vec::new();
    for (filter, specs) in &new {
        let known: Vec<&GrantSpec> = match old.get(filter) {
            Some(known) => known.clone(),
            None => retired(before, filter),
        };
        if known.is_empty() {
            continue;
        }
        for spec in specs.iter().filter(|spec| !known.contains(spec)) {
            // It is growth unless one of the earlier grants allows all of it.
            let wider = known.iter().map(|known| wider_grant(known, spec));
            let least = wider.min_by_key(Vec::len).unwrap_or_default();
            grown.extend(least.into_iter().map(|what| ((*filter).to_owned(), what)));
        }
    }
    // Grants of a namespace that narrowed its own filters, and do so no longer, widen them.
    for (namespace, grants) in &old_narrowing {
        for (filter, were) in grants {
            let are = new_narrowing.get(namespace).and_then(|it| it.get(filter));
            let are = are.map(Vec::as_slice).unwrap_or_default();
            if are == were.as_slice() {
                continue;
            }
            for decided in new.get(filter).into_iter().flatten() {
                let whole = |all: &[&GrantSpec]| {
                    all.iter().fold((*decided).clone(), |whole, one| narrowed(&whole, one))
                };
                let wider = wider_grant(&whole(were), &whole(are)).into_iter();
                let wider = wider.map(|what| format!("{what}, where {namespace} attaches it"));
                grown.extend(wider.map(|what| ((*filter).to_owned(), what)));
            }
        }
    }
    grown
}

/// The grants for a filter that were in force last: those that the last change took out which took out any. One that gave way to
/// another earlier is no measure, whichever namespace it was in.
fn retired<'a>(desired: &'a DesiredState, filter: &str) -> Vec<&'a GrantSpec> {
    let all = desired.documents.retired.get(filter).into_iter().flatten();
    let decided = all.filter(|(namespace, _)| desired.security().is_in(namespace));
    let decided: Vec<&(u64, GrantSpec)> = decided.map(|(_, retired)| retired).collect();
    let last = decided.iter().map(|(revision, _)| *revision).max();
    let of_last = decided.into_iter().filter(|(revision, _)| Some(*revision) == last);
    of_last.map(|(_, spec)| spec).collect()
}

/// What `after` allows and `before` does not.
fn wider_grant(before: &GrantSpec, after: &GrantSpec) -> Vec<String> {
    let mut found = Vec::new();
    match (&before.signed_by, &after.signed_by) {
        (Some(_), None) => found.push("signedBy was removed".to_owned()),
        (Some(old), Some(new)) => {
            if new.threshold.unwrap_or(1) < old.threshold.unwrap_or(1) {
                found.push("signedBy requires fewer keys".to_owned());
            }
            let more = new.keys.iter().filter(|key| !old.keys.contains(key));
            found.extend(more.map(|key| format!("signedBy {key}")));
        }
        (None, _) => {}
    }
    let json = |spec: &GrantSpec| {
        let mut json = serde_json::to_value(spec).unwrap_or_default();
        if let Some(map) = json.as_object_mut() {
            map.retain(|name, _| {
                matches!(name.as_str(), "request" | "response" | "imports" | "limits")
            });
        }
        json
    };
    wider(Some(&json(before)), &json(after), "", &mut found);
    // Without its own authorities a client believes all of the machine's.
    let ca = |spec: &GrantSpec| spec.imports.http_client.as_ref().map(|it| it.ca.is_some());
    if (ca(before), ca(after)) == (Some(true), Some(false)) {
        found.push("imports.http-client.ca is gone".to_owned());
    }
    found
}

fn wider(before: Option<&Json>, after: &Json, path: &str, found: &mut Vec<String>) {
    let before = before.filter(|before| !before.is_null());
    match after {
        Json::Null => found.extend(before.into_iter().flat_map(|was| defaults_again(was, path))),
        Json::Bool(false) => {}
        Json::Object(map) => {
            for (name, was) in before.and_then(Json::as_object).into_iter().flatten() {
                if !map.contains_key(name) {
                    found.extend(defaults_again(was, &joined(path, name)));
                }
            }
            if before.is_none() && map.values().all(Json::is_null) && !path.is_empty() {
                found.push(path.to_owned());
            }
            for (name, value) in map {
                let path = joined(path, name);
                // A new capability is one item, whatever its settings.
                match before.and_then(|before| before.get(name)).filter(|it| !it.is_null()) {
                    None if value.is_object() && path.starts_with("imports.") => found.push(path),
                    old => wider(old, value, &path, found),
                }
            }
        }
        Json::Array(items) => {
            let texts = |items: &[Json]| -> Vec<String> {
                items.iter().map(|item| item.as_str().unwrap_or_default().to_owned()).collect()
            };
            let old = texts(before.and_then(Json::as_array).map_or(&[], Vec::as_slice));
            let items = texts(items);
            let field = path.rsplit('.').next().unwrap_or_default();
            // A star means all in a view, and nothing elsewhere.
            let view = path.starts_with("request.") || path.starts_with("response.");
            let more = match uncovered_names(field, &old, &items).filter(|_| view) {
                Some(more) => more,
                None => items.into_iter().filter(|item| !old.contains(item)).collect(),
            };
            found.extend(more.into_iter().map(|item| format!("{path} {item}")));
        }
        _ if before == Some(after) || is_less(before, after) => {}
        _ => found.push(path.to_owned()),
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The amounts that are bounded no longer by what was written, but by what holds where nothing is: it may be more. A capability
/// that is taken away takes its amounts along.
fn defaults_again(was: &Json, path: &str) -> Vec<String> {
    match was {
        Json::Object(amounts) if path == "limits" => amounts
            .iter()
            .flat_map(|(name, was)| defaults_again(was, &joined(path, name)))
            .collect(),
        was if amount(was).is_some() => vec![format!("{path}, which has its default again")],
        _ => Vec::new(),
    }
}

/// A number, a time, a size or a rate, for comparison with another of its kind.
fn amount(json: &Json) -> Option<f64> {
    if let Some(number) = json.as_f64() {
        return Some(number);
    }
    let text = json.as_str()?;
    #[expect(clippy::cast_precision_loss, reason = "amounts are compared, not kept")]
    let whole = |number: u64| number as f64;
    Millis::parse(text)
        .map(|it| whole(it.0))
        .or_else(|| Bytes::parse(text).map(|it| whole(it.0)))
        .or_else(|| Rate::parse(text).map(|it| it.0))
}

/// Whether a setting is an amount that fell.
fn is_less(before: Option<&Json>, after: &Json) -> bool {
    // What a setting says that is not written.
    if after == "none" || (before.is_none() && after == "proxy") {
        return true;
    }
    before.and_then(amount).zip(amount(after)).is_some_and(|(before, after)| after <= before)
}

/// Authorities of other trust domains that are trusted from now on. What no document says is trusted is not, so the first
/// document is growth too.
fn federated(before: &DesiredState, after: &DesiredState) -> Vec<(String, String)> {
    let (old, new) = (before.federated(), after.federated());
    let mut grown = Vec::new();
    for (domain, authorities) in new {
        let known = old.get(&domain);
        let is_known =
            |der: &[u8]| known.is_some_and(|known| known.iter().any(|one| one.der() == der));
        for authority in authorities.iter().filter(|one| !is_known(one.der())) {
            let digest = Digest::of(authority.der());
            let what = format!(
                "whoever an authority of {domain} vouches for, as an id of it (certificate {digest})"
            );
            grown.push((format!("trust domain {domain}"), what));
        }
    }
    grown
}

fn policies(desired: &DesiredState) -> Vec<SignaturePolicy> {
    desired
        .trust_policies()
        .iter()
        .map(|policy| SignaturePolicy::read_or_nobody(policy).0)
        .collect()
}

fn trust(before: &DesiredState, after: &DesiredState) -> Vec<(String, String)> {
    let (old, new) = (policies(before), policies(after));
    let asked: BTreeSet<&str> = [before, after].into_iter().flat_map(asked_keys).collect();
    let mut patterns: Vec<&str> = old
        .iter()
        .chain(&new)
        .flat_map(SignaturePolicy::namespaces)
        .map(|one| one.as_str())
        .collect();
    let floors = old.iter().flat_map(SignaturePolicy::floors).map(|(name, _)| name.as_str());
    patterns.extend(floors);
    patterns.sort_unstable();
    patterns.dedup();
    let mut grown = Vec::new();
    for pattern in &patterns {
        let name = example(pattern, &patterns).and_then(|name| name.parse::<Name>().ok());
        let Some(name) = name else { continue };
        let what = match (decides(&old, &name), decides(&new, &name)) {
            (Some(was), Some(will)) => {
                let mut what = wider_trust(was, will);
                what.extend(renamed(was, will, &asked));
                what
            }
            // No key was trusted before this change, but one was earlier.
            (None, Some(will)) if before.documents.retired_trust => {
                will.keys().iter().map(|key| format!("key {}", key.name)).collect()
            }
            _ => Vec::new(),
        };
        let both = decides(&old, &name).is_some() && decides(&new, &name).is_some();
        let lifted = if both { lifted(&old, &new, &name) } else { Vec::new() };
        let what = what.into_iter().chain(lifted).chain(loosened(&old, &new, &name));
        grown.extend(what.map(|what| ((*pattern).to_owned(), what)));
    }
    grown
}

/// A name that matches a pattern and none of those that are closer: what holds for it holds for all such names. Every pattern
/// has an example of its own, so no change of what a pattern decides hides behind a closer one.
fn example(pattern: &str, patterns: &[&str]) -> Option<String> {
    let Some(base) = pattern.strip_suffix('*') else { return Some(pattern.to_owned()) };
    let is_closer = |other: &str, name: &str| match other.strip_suffix('*') {
        Some(other) => other.len() > base.len() && name.starts_with(other),
        None => other == name,
    };
    // Each of the others is closer for one of these at most.
    let names = (0..=patterns.len()).map(|number| match base {
        "" => format!("any-{number}/any-{number}"),
        base => format!("{base}any-{number}"),
    });
    let mut names = names.filter(|name| !patterns.iter().any(|other| is_closer(other, name)));
    names.next()
}

/// The policy that decides on a filter; `None` also when two are equally specific.
fn decides<'a>(policies: &'a [SignaturePolicy], name: &Name) -> Option<&'a SignaturePolicy> {
    let deciding = || policies.iter().filter(|policy| !policy.narrows());
    let closest = deciding().filter_map(|policy| policy.covers(name)).max()?;
    let mut best = deciding().filter(|policy| policy.covers(name) == Some(closest));
    best.next().filter(|_| best.next().is_none())
}

/// Names of keys that grants ask for, those that were taken out among them: they may come back.
fn asked_keys(desired: &DesiredState) -> impl Iterator<Item = &str> {
    let documents = &desired.documents;
    let grants = documents.by_key.values().filter_map(|held| match held.resource() {
        Resource::Grant(spec) => Some(spec),
        _ => None,
    });
    let retired = documents.retired.values().flat_map(BTreeMap::values).map(|(_, spec)| spec);
    let signed_by = grants.chain(retired).filter_map(|spec| spec.signed_by.as_ref());
    signed_by.flat_map(|signed_by| signed_by.keys.iter().map(String::as_str))
}

/// Keys that are trusted already, under a name by which grants ask for another: they would do as that one.
fn renamed(was: &SignaturePolicy, will: &SignaturePolicy, asked: &BTreeSet<&str>) -> Vec<String> {
    let is_known = |id: &KeyId| was.keys().iter().any(|known| known.id == *id);
    let has_name = |key: &&TrustedKey| {
        was.keys().iter().any(|known| known.id == key.id && known.name == key.name)
    };
    let others = will.keys().iter().filter(|key| is_known(&key.id) && !has_name(key));
    let others = others.filter(|key| asked.contains(key.name.as_str()));
    others.map(|key| format!("key {}, by which grants ask for another one", key.name)).collect()
}

fn wider_trust(was: &SignaturePolicy, will: &SignaturePolicy) -> Vec<String> {
    let mut found = Vec::new();
    for key in will.keys() {
        let Some(known) = was.keys().iter().find(|known| known.id == key.id) else {
            found.push(format!("key {}", key.name));
            continue;
        };
        let longer = known.expires.is_some_and(|old| key.expires.is_none_or(|new| new > old))
            || known.not_before.is_some_and(|old| key.not_before.is_none_or(|new| new < old));
        if longer {
            found.push(format!("key {} for longer", key.name));
        }
    }
    if will.threshold() < was.threshold() {
        found.push(format!("{} keys instead of {}", will.threshold(), was.threshold()));
    }
    let older =
        was.staleness_bound().is_some_and(|old| will.staleness_bound().is_none_or(|new| new > old));
    if older {
        found.push("policies of any age".to_owned());
    }
    found
}

/// What narrowing policies required until now and no longer require.
fn loosened(old: &[SignaturePolicy], new: &[SignaturePolicy], name: &Name) -> Vec<String> {
    let about = |policy: &&SignaturePolicy| policy.narrows() && policy.covers(name).is_some();
    let gone = old.iter().filter(about).filter(|was| {
        let mut same = new.iter().filter(about);
        !same.any(|will| wider_trust(was, will).is_empty())
    });
    gone.map(|policy| format!("without what {} asks for", policy.name())).collect()
}

/// Restrictions of a filter by any policy that covers it, which no longer apply.
fn lifted(old: &[SignaturePolicy], new: &[SignaturePolicy], name: &Name) -> Vec<String> {
    fn about<'a>(
        policies: &'a [SignaturePolicy],
        name: &'a Name,
    ) -> impl Iterator<Item = &'a SignaturePolicy> {
        policies.iter().filter(move |policy| policy.covers(name).is_some())
    }
    let mut found = Vec::new();
    let floor = |policies: &[SignaturePolicy]| {
        about(policies, name).filter_map(|one| one.floor(name).cloned()).max()
    };
    if let Some(was) = floor(old)
        && floor(new).is_none_or(|will| will < was)
    {
        found.push(format!("versions below {was}"));
    }
    for digest in about(old, name).flat_map(SignaturePolicy::revoked_digests) {
        if !about(new, name).any(|policy| policy.revokes_digest(digest)) {
            found.push(format!("the revoked {digest}"));
        }
    }
    for (key, revocation) in about(old, name).flat_map(SignaturePolicy::revocations) {
        let still = about(new, name).filter_map(|policy| policy.revocation(key)).min();
        let rank = |one: Revocation| (one != Revocation::Ever, one);
        if still.is_none_or(|still| rank(still) > rank(revocation)) {
            found.push(format!("the revoked key {key}"));
        }
    }
    found
}

#[cfg(test)]
mod tests;

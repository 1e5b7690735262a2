//! Replacements for documents that cannot be used: without them, what these documents should guard would be
//! open.
//!
//! Reads as much of a document as possible, including misspelt keys, and assumes the widest scope for the
//! rest.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::{Document, UnusableDocument, UnusableReach};
use crate::check::suggestion;
use crate::format;
use crate::kinds::{AttachmentDirection, LOCK, OnFailure, Phase, Resource, TargetKind};
use crate::metadata::{Metadata, default_namespace};
use crate::problem::grant_of;
use crate::tree::{Value, YamlEntry, YamlNode};

/// The result for a document that cannot be used.
pub(crate) enum Recovery {
    /// Ignoring it harms only its owner.
    Nothing,
    /// Ignoring it would do harm, and there is no replacement.
    Lost,
    /// The replacement.
    Stub(Box<Metadata>, Box<Resource>, UnusableDocument),
}

const TOP: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];
const METADATA: [&str; 5] = ["name", "namespace", "labels", "annotations", "creationTimestamp"];
const ATTACHMENT: [&str; 8] =
    ["targetRefs", "filter", "phase", "order", "direction", "config", "onFailure", "isolation"];
/// Fields by which the `spec` of a guard is known.
const GUARD: [&str; 6] = ["targetRefs", "filter", "phase", "allow", "deny", "cedar"];
/// Fields of the files that `tamis filter new` writes.
const FILE_OF_FILTER: [&str; 7] =
    ["name", "version", "description", "world", "config", "grant", "cases"];
/// Fields whose content is a filter's own.
const SETTINGS: [&str; 2] = ["config", "configSchema"];
const TARGET: [&str; 4] = ["group", "kind", "name", "sectionName"];
const ROUTE: [&str; 3] = ["parentRefs", "hostnames", "rules"];
const PARENT: [&str; 6] = ["group", "kind", "name", "namespace", "sectionName", "port"];
const KINDS: [&str; 19] = [
    "Gateway",
    "HTTPRoute",
    "GRPCRoute",
    "TLSRoute",
    "TCPRoute",
    "UDPRoute",
    "ReferenceGrant",
    "BackendTLSPolicy",
    "Service",
    "ExternalService",
    "FederatedTrustDomain",
    "Filter",
    "FilterAttachment",
    "Grant",
    "TrustPolicy",
    "UpstreamPolicy",
    "AuthorizationPolicy",
    "Rollout",
    LOCK,
];
/// A name that no filter has.
const NO_FILTER: &str = "unreadable/unreadable";

/// The name of a gateway that cannot be read; none has it by chance.
const NO_GATEWAY: &str = "unreadable.gateway";

/// The annotation of a document that stands in for one that cannot be used: why that one cannot be.
///
/// The sender of documents writes it in place of a broken document: the registry then closes what the broken one was to
/// guard. Whoever writes it needs the rights to everything that it closes ([`crate::guard_reach`]).
const STANDS_IN: &str = "tamis.dev/stands-in";
/// A second annotation, with [`NAMESPACE`] where not all targets can be read.
const CLOSES: &str = "tamis.dev/closes";
const NAMESPACE: &str = "namespace";
/// The most characters of a reason that are written down.
const WHY_MAX: usize = 500;

/// What a document says that stands in for another, if it says that it does.
pub(crate) fn annotated(metadata: &Metadata, resource: &Resource) -> Option<UnusableDocument> {
    let why = metadata.annotations.get(STANDS_IN)?.clone();
    let is_one = matches!(
        resource,
        Resource::FilterAttachment(_)
            | Resource::HTTPRoute(_)
            | Resource::GRPCRoute(_)
            | Resource::TLSRoute(_)
    );
    let wide = metadata.annotations.get(CLOSES).is_some_and(|what| what == NAMESPACE);
    let reach = if wide { UnusableReach::Namespace } else { UnusableReach::Targets };
    is_one.then_some(UnusableDocument { why, reach })
}

/// A stub as a document in one line, for whoever is not to be sent the document that it stands in for; `None` when it
/// cannot be written as one, as a route that hangs on nothing.
pub(crate) fn written(document: &Document) -> Option<String> {
    let stub = document.stub.as_ref()?;
    let why: String =
        stub.why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WHY_MAX).collect();
    let mut annotations = BTreeMap::from([(STANDS_IN, why)]);
    let mut spec = without_null(document.resource.to_json());
    if let Some(spec) = spec.as_object_mut() {
        // Nobody runs it.
        spec.remove("config");
    }
    if let Some(targets) = spec.get_mut("targetRefs").and_then(Json::as_array_mut) {
        match stub.reach {
            UnusableReach::Everything => targets.push(json!({ "kind": TargetKind::Mesh })),
            UnusableReach::Namespace => drop(annotations.insert(CLOSES, NAMESPACE.to_owned())),
            UnusableReach::Targets => {}
        }
        if targets.is_empty() {
            // A document has at least one target. A target that does not exist closes nothing beyond the namespace, which is
            // closed anyway.
            targets.push(json!({ "kind": TargetKind::HTTPRoute, "name": "unreadable" }));
        }
    }
    let (kind, metadata) = (document.kind(), &document.metadata);
    let api = crate::kinds::all().iter().find(|one| one.kind == kind)?.api;
    let text = json!({
        "apiVersion": api, "kind": kind, "spec": spec,
        "metadata": { "name": metadata.name, "namespace": metadata.namespace, "annotations": annotations },
    })
    .to_string();
    let read = crate::read(&document.source, &text);
    let is_one = read.documents.first().is_some_and(Document::is_stub) && read.problems.is_empty();
    is_one.then_some(text)
}

/// In a spec that was read, an absent field is null; in a document, a field with nothing behind it is refused.
fn without_null(json: Json) -> Json {
    match json {
        Json::Object(map) => {
            let there = map.into_iter().filter(|(_, value)| !value.is_null());
            there.map(|(key, value)| (key, without_null(value))).collect()
        }
        Json::Array(items) => items.into_iter().map(without_null).collect(),
        other => other,
    }
}

/// The replacement for the document of that tree.
///
/// A word is no evidence of what was meant: of an unknown kind, only what has the content of a guard or of a route stands
/// for one. Anything else might have held a guard, wherever in it.
pub(crate) fn stub(tree: &YamlNode, why: &str) -> Recovery {
    if holds_document(tree) {
        return Recovery::Lost;
    }
    match tree.text("kind").and_then(|kind| KINDS.into_iter().find(|one| *one == kind)) {
        // Without the first two, a wider one would hold instead of what they take away; without the third, requests would be
        // sent in clear text, and which ones cannot be read; without the last, the pins of another lock for all services would
        // hold instead of its own.
        Some("TrustPolicy" | "Grant" | "BackendTLSPolicy" | LOCK) => Recovery::Lost,
        Some("FilterAttachment") => attachment(tree, why),
        // What it was to guard is refused as by a guard that cannot run.
        Some("AuthorizationPolicy") => guard(tree, why),
        Some(kind) if has_fields_of_guards(tree, kind) => Recovery::Lost,
        Some(kind @ ("HTTPRoute" | "GRPCRoute" | "TLSRoute")) => route(tree, kind, why),
        Some(_) => Recovery::Nothing,
        None => of_unknown_kind(tree, why),
    }
}

fn of_unknown_kind(tree: &YamlNode, why: &str) -> Recovery {
    let kind = near(tree, "kind", &TOP).and_then(text);
    let like = kind.and_then(|kind| KINDS.into_iter().find(|one| is_like(kind, one, &KINDS)));
    let has =
        |key, all: &[&str]| near(tree, "spec", &TOP).is_some_and(|it| near(it, key, all).is_some());
    match like {
        // It may have been meant to attach a filter, whatever its kind is.
        _ if attaches(tree) => attachment(tree, why),
        Some("AuthorizationPolicy") if has("targetRefs", &ATTACHMENT) => guard(tree, why),
        Some(kind @ ("HTTPRoute" | "GRPCRoute" | "TLSRoute"))
            if has("parentRefs", &ROUTE) && !has_fields_of_guards(tree, kind) =>
        {
            route(tree, kind, why)
        }
        _ if is_file_of_filter(tree) => Recovery::Nothing,
        _ => Recovery::Lost,
    }
}

/// Whether it is one of the files that `tamis filter new` writes, the description of a filter or a table of cases: people
/// keep filters in the folder of their documents.
fn is_file_of_filter(tree: &YamlNode) -> bool {
    let has = |key: &&str| tree.text(key).is_some();
    let known = [FILE_OF_FILTER.as_slice(), &GUARD].concat();
    let guards = |one: &YamlEntry| GUARD.iter().any(|field| is_like(&one.key, field, &known));
    let document = ["kind", "metadata", "spec"].iter().any(|key| near(tree, key, &TOP).is_some())
        || entries(Some(tree)).any(guards);
    let cases =
        tree.entry("cases").is_some_and(|cases| matches!(cases.value.value, Value::List(_)));
    (cases || ["name", "version", "world"].iter().all(has)) && !document
}

/// Whether there is a document in the document, as in a `List` of Kubernetes or where somebody indented too much. The
/// settings of filters may have any shape, and stand in the `spec` of their kinds alone.
fn holds_document(tree: &YamlNode) -> bool {
    let kind = tree.text("kind").filter(|kind| KINDS.contains(kind));
    let settings = match kind {
        None => Settings::Anywhere,
        Some("FilterAttachment" | "Filter") => {
            near(tree, "spec", &TOP).map_or(Settings::Nowhere, Settings::In)
        }
        Some(_) => Settings::Nowhere,
    };
    settings.has_document(tree)
}

/// Where the settings of filters stand.
#[derive(Clone, Copy)]
enum Settings<'a> {
    /// In a file that is no document: wherever they are called so.
    Anywhere,
    In(&'a YamlNode),
    Nowhere,
}

impl Settings<'_> {
    fn has_document(self, node: &YamlNode) -> bool {
        let is_or_has = |node: &YamlNode| {
            let is_one = node.entry("kind").is_some() && node.entry("spec").is_some();
            is_one || self.has_document(node)
        };
        match &node.value {
            Value::List(items) => items.iter().any(is_or_has),
            Value::Map(entries) => {
                let free = match self {
                    Self::Anywhere => true,
                    Self::In(spec) => std::ptr::eq(spec, node),
                    Self::Nowhere => false,
                };
                let is_settings = |key: &str| free && SETTINGS.contains(&key);
                entries.iter().filter(|one| !is_settings(&one.key)).any(|one| is_or_has(&one.value))
            }
            Value::Text(text) => !matches!(self, Self::Anywhere) && is_text_of_guard(text),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => false,
        }
    }
}

/// Whether a block of text has a guard in it, as where the text before it was not ended.
fn is_text_of_guard(text: &str) -> bool {
    let kinds = ["FilterAttachment", "AuthorizationPolicy"];
    let has = |field: &str| text.lines().any(|line| line.trim_start().starts_with(field));
    kinds.iter().any(|kind| text.contains(kind)) && has("kind:") && has("spec:")
}

/// Whether its `spec` has a field that guards have and its kind has not: it may be a guard under a wrong kind.
fn has_fields_of_guards(tree: &YamlNode, kind: &str) -> bool {
    let Some(Value::Map(entries)) = near(tree, "spec", &TOP).map(|spec| &spec.value) else {
        return false;
    };
    let own: Vec<&str> = fields(kind).collect();
    let of_guards: Vec<&str> = GUARD.into_iter().filter(|one| !own.contains(one)).collect();
    let all = [own.as_slice(), of_guards.as_slice()].concat();
    entries.iter().any(|entry| of_guards.iter().any(|field| is_like(&entry.key, field, &all)))
}

/// Whether its `spec` looks like that of an attachment.
fn attaches(tree: &YamlNode) -> bool {
    let Some(spec) = near(tree, "spec", &TOP) else { return false };
    let has = |key| near(spec, key, &ATTACHMENT).is_some();
    [has("targetRefs"), has("filter"), has("phase")].into_iter().filter(|there| *there).count() >= 2
}

/// Whether `word` is `wanted`, or a misspelling whose nearest word is `wanted`.
fn is_like(word: &str, wanted: &str, all: &[&str]) -> bool {
    word == wanted
        || (!all.contains(&word)
            && suggestion(word, all).is_some_and(|help| help.contains(&format!("`{wanted}`"))))
}

/// The value under a key, or under a misspelling of it.
fn near<'a>(node: &'a YamlNode, key: &str, all: &[&str]) -> Option<&'a YamlNode> {
    let Value::Map(entries) = &node.value else { return None };
    let exact = entries.iter().find(|entry| entry.key == key);
    let found = exact.or_else(|| entries.iter().find(|entry| is_like(&entry.key, key, all)));
    found.map(|entry| &entry.value)
}

fn entries(node: Option<&YamlNode>) -> impl Iterator<Item = &YamlEntry> {
    let entries = match node.map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.as_slice(),
        _ => &[],
    };
    entries.iter()
}

/// The entries whose keys are none of these, and no misspelling of one.
fn strangers<'a>(
    node: Option<&'a YamlNode>,
    known: &[&str],
) -> impl Iterator<Item = &'a YamlEntry> {
    entries(node).filter(move |entry| !known.iter().any(|one| is_like(&entry.key, one, known)))
}

/// The fields of the `spec` of a kind.
fn fields(kind: &str) -> impl Iterator<Item = &'static str> {
    let schema = crate::kinds::all().iter().find(|one| one.kind == kind).map(|one| &one.schema);
    let own = schema.and_then(|schema| schema.pointer("/properties/spec/properties")?.as_object());
    own.into_iter().flat_map(|own| own.keys()).map(String::as_str)
}

/// The fields of both kinds of guards.
fn fields_of_guards() -> Vec<&'static str> {
    fields("FilterAttachment").chain(fields("AuthorizationPolicy")).collect()
}

fn text(node: &YamlNode) -> Option<&str> {
    match &node.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn name(node: &YamlNode) -> Option<&str> {
    text(node).filter(|text| format::accepts("resource-name", text))
}

/// Name and namespace; the second value: whether the namespace is known.
fn metadata(tree: &YamlNode) -> (Metadata, bool) {
    let metadata = near(tree, "metadata", &TOP);
    let is_map = metadata.is_some_and(|node| matches!(node.value, Value::Map(_)));
    let said = metadata.and_then(|node| near(node, "namespace", &METADATA));
    let namespace = match said {
        None if is_map => Some(default_namespace()),
        None => None,
        Some(node) => name(node).map(str::to_owned),
    };
    let known = namespace.is_some();
    let own = metadata.and_then(|node| near(node, "name", &METADATA)).and_then(name);
    let own = own.map_or_else(|| format!("unnamed-{}", tree.span.start), str::to_owned);
    let metadata = Metadata {
        name: own,
        namespace: namespace.unwrap_or_else(default_namespace),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        creation_timestamp: None,
    };
    (metadata, known)
}

/// The kind and the namespace of a document, if both can be read.
pub(crate) fn named(tree: &YamlNode) -> Option<(&'static str, String)> {
    let kind = tree.text("kind").and_then(|kind| KINDS.into_iter().find(|one| *one == kind))?;
    let (metadata, known) = metadata(tree);
    known.then_some((kind, metadata.namespace))
}

/// Everything that a document with a problem may be looked for as, in the form of [`Problem::lacks`](crate::Problem::lacks).
pub(crate) fn identities(tree: &YamlNode) -> Vec<String> {
    let said = near(tree, "kind", &TOP).and_then(text);
    let Some(kind) = said.and_then(|said| KINDS.into_iter().find(|one| is_like(said, one, &KINDS)))
    else {
        return Vec::new();
    };
    if kind == LOCK {
        return vec![LOCK.to_owned()];
    }
    let (metadata, known) = metadata(tree);
    let mut all = Vec::new();
    if known {
        all.push(format!("{kind}/{}/{}", metadata.namespace, metadata.name));
    }
    if kind == "Grant" {
        let spec = near(tree, "spec", &TOP);
        let filter = spec.and_then(|spec| near(spec, "filter", &["filter"])).and_then(text);
        all.extend(filter.map(grant_of));
    }
    all
}

/// Whether a guard that says no namespace where it belongs may say it elsewhere: it is of the default namespace only where
/// nothing else in it may be one.
fn misplaces_namespace(tree: &YamlNode) -> bool {
    let metadata = near(tree, "metadata", &TOP);
    let said = |key| metadata.and_then(|node| near(node, key, &METADATA));
    if said("namespace").is_some() {
        return false;
    }
    let spec = near(tree, "spec", &TOP);
    let targets = spec.and_then(|spec| near(spec, "targetRefs", &ATTACHMENT));
    let targets = match targets.map(|node| &node.value) {
        Some(Value::List(items)) => items.as_slice(),
        _ => &[],
    };
    // `NAMESPACE/NAME` is no name.
    said("name").and_then(name).is_none()
        || entries(Some(tree)).any(|one| !TOP.contains(&one.key.as_str()))
        || entries(metadata).any(|one| !METADATA.contains(&one.key.as_str()))
        || strangers(spec, &fields_of_guards()).next().is_some()
        || targets.iter().any(|one| strangers(Some(one), &TARGET).next().is_some())
        // Near to `name`, so no stranger.
        || targets.iter().any(|one| entries(Some(one)).any(|one| is_namespace(&one.key)))
        || ["labels", "annotations"].into_iter().filter_map(said).any(may_say_namespace)
}

/// Whether labels or annotations may be the rest of the metadata, under a wrong indentation.
fn may_say_namespace(node: &YamlNode) -> bool {
    !matches!(node.value, Value::Map(_)) || entries(Some(node)).any(|one| is_namespace(&one.key))
}

fn is_namespace(key: &str) -> bool {
    is_like(key, "namespace", &METADATA)
}

fn attachment(tree: &YamlNode, why: &str) -> Recovery {
    let (metadata, known) = metadata(tree);
    let known = known && !misplaces_namespace(tree);
    let spec = near(tree, "spec", &TOP);
    let field = |key| spec.and_then(|spec| near(spec, key, &ATTACHMENT));
    let phase = field("phase").and_then(text).and_then(word::<Phase>);
    let failure = match field("onFailure") {
        None => Some(OnFailure::Closed),
        Some(node) => text(node).and_then(word::<OnFailure>),
    };
    let guards = matches!(phase, None | Some(Phase::Authn | Phase::Authz));
    let open = matches!(failure, Some(OnFailure::Open | OnFailure::SkipAndAlert));
    if open && !guards {
        return Recovery::Nothing;
    }
    let (targets, beyond) = targets(field("targetRefs"));
    let beyond = if has_more_targets(spec) { UnusableReach::Everything } else { beyond };
    let reach = match (known, beyond) {
        (false, _) => UnusableReach::Everything,
        // Only guards stand between a caller and the mesh.
        (true, UnusableReach::Everything) if !guards => UnusableReach::Namespace,
        (true, beyond) => beyond,
    };
    let filter = field("filter").and_then(text);
    let filter = filter.filter(|text| format::accepts("filter-name", text)).unwrap_or(NO_FILTER);
    let order = match field("order").map(|node| &node.value) {
        Some(Value::Int(order)) => i32::try_from(*order).unwrap_or(0),
        _ => 0,
    };
    let mut spec = json!({
        "targetRefs": targets, "filter": filter, "order": order,
        "phase": phase.unwrap_or(Phase::Authz),
    });
    if let Some(said) = field("direction") {
        let direction = text(said).and_then(word::<AttachmentDirection>);
        let direction = direction.unwrap_or(AttachmentDirection::Both);
        if let Some(map) = spec.as_object_mut() {
            map.insert("direction".to_owned(), json!(direction));
        }
    }
    stands_in(metadata, "FilterAttachment", spec, UnusableDocument { why: why.to_owned(), reach })
}

/// A guard of the targets of an `AuthorizationPolicy`, under a name that no attachment of a person has by chance.
fn guard(tree: &YamlNode, why: &str) -> Recovery {
    match attachment(tree, why) {
        Recovery::Stub(mut metadata, resource, stub) => {
            metadata.name.truncate(200);
            metadata.name.push_str(".authorization-policy");
            Recovery::Stub(metadata, resource, stub)
        }
        other => other,
    }
}

fn stands_in(metadata: Metadata, kind: &str, spec: Json, stub: UnusableDocument) -> Recovery {
    match Resource::read(kind, spec) {
        Ok(resource) => Recovery::Stub(Box::new(metadata), Box::new(resource), stub),
        Err(_) => Recovery::Lost,
    }
}

/// The targets that can be read, and what the others may be. One whose kind cannot be read may be the Mesh, and so may be
/// targets that are no list, and those of a guard that has none.
fn targets(node: Option<&YamlNode>) -> (Vec<Json>, UnusableReach) {
    let Some(Value::List(items)) = node.map(|node| &node.value) else {
        return (Vec::new(), UnusableReach::Everything);
    };
    let beyond = items.iter().map(|item| match (target(item), target_kind(item)) {
        (Some(_), _) => UnusableReach::Targets,
        // It is in the namespace, as the Mesh has another kind.
        (None, Some(_)) => UnusableReach::Namespace,
        (None, None) => UnusableReach::Everything,
    });
    let beyond = beyond.max().unwrap_or(UnusableReach::Everything);
    (items.iter().filter_map(target).collect(), beyond)
}

fn target_kind(node: &YamlNode) -> Option<TargetKind> {
    near(node, "kind", &TARGET).and_then(text).and_then(word)
}

/// Whether a guard may have targets in a second place: under two spellings of their field, or in a field that no guard has.
fn has_more_targets(spec: Option<&YamlNode>) -> bool {
    let own = fields_of_guards();
    let is_target = |node: &YamlNode| node.entry("kind").is_some() || node.entry("name").is_some();
    let has_target = |entry: &YamlEntry| match &entry.value.value {
        Value::List(items) => items.iter().any(is_target),
        _ => is_target(&entry.value),
    };
    let targets = entries(spec).filter(|one| is_like(&one.key, "targetRefs", &own)).count();
    targets > 1 || strangers(spec, &own).any(has_target)
}

fn target(node: &YamlNode) -> Option<Json> {
    let field = |key| near(node, key, &TARGET);
    let kind = target_kind(node)?;
    if kind == TargetKind::Mesh {
        return Some(json!({ "kind": kind }));
    }
    let name = field("name").and_then(name)?;
    // An unreadable section may be any section.
    let section = field("sectionName").and_then(text);
    Some(json!({ "kind": kind, "name": name, "sectionName": section }))
}

/// A word of a kind's vocabulary.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(Json::String(text.to_owned())).ok()
}

/// A route that claims what the document should route, as far as that can be read, and has no backend.
fn route(tree: &YamlNode, kind: &str, why: &str) -> Recovery {
    let (metadata, known) = metadata(tree);
    if !known {
        return Recovery::Nothing;
    }
    let spec = near(tree, "spec", &TOP);
    let list = |key| match spec.and_then(|spec| near(spec, key, &ROUTE)).map(|it| &it.value) {
        Some(Value::List(items)) => items.as_slice(),
        _ => &[],
    };
    let hostnames = spec.and_then(|spec| near(spec, "hostnames", &ROUTE)).map(hosts);
    let mut parents: Vec<Json> = list("parentRefs").iter().filter_map(parent).collect();
    if parents.is_empty() || parents.len() < list("parentRefs").len() {
        parents.push(json!({ "kind": "Gateway", "name": NO_GATEWAY }));
    }
    let meshed = parents.iter().any(|parent| parent["kind"] == "Service");
    // For a route of a gateway without a readable host, a replacement would claim requests of other routes.
    let hostnames = match hostnames {
        Some(some) if some.is_empty() => return Recovery::Nothing,
        None if !meshed => return Recovery::Nothing,
        some => some.unwrap_or_default(),
    };
    let names = list("rules").iter().map(|rule| {
        let name = near(rule, "name", &["name", "matches", "filters", "backendRefs", "timeouts"]);
        name.and_then(self::name)
    });
    let rules: Vec<Json> = names.map(|name| json!({ "name": name })).collect();
    let spec = json!({ "parentRefs": parents, "hostnames": hostnames, "rules": rules });
    stands_in(
        metadata,
        kind,
        spec,
        UnusableDocument { why: why.to_owned(), reach: UnusableReach::Targets },
    )
}

/// The hosts of a route that can be read, in the spelling of requests: a single one that is no list, and one in capitals, with
/// a port or a dot at its end.
fn hosts(node: &YamlNode) -> Vec<String> {
    let all = match &node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    all.iter().filter_map(text).filter_map(host).collect()
}

fn host(said: &str) -> Option<String> {
    let said = said.trim().to_ascii_lowercase();
    let bare = match said.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|one| one.is_ascii_digit()) => host,
        _ => &said,
    };
    let bare = bare.trim_end_matches('.');
    format::accepts("hostname", bare).then(|| bare.to_owned())
}

fn parent(node: &YamlNode) -> Option<Json> {
    let field = |key| near(node, key, &PARENT);
    let namespace = match field("namespace") {
        None => None,
        Some(node) => Some(name(node)?),
    };
    let kind = field("kind").map_or(Some("Gateway"), text)?;
    let kind = ["Gateway", "Service"].into_iter().find(|one| *one == kind)?;
    let section = field("sectionName").and_then(text);
    let name = field("name").and_then(name)?;
    Some(json!({ "kind": kind, "name": name, "namespace": namespace, "sectionName": section }))
}

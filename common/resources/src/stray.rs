//! Guards whose target is not there.
//!
//! Such a guard closes everything in its own namespace that it may have been meant for, and nothing of others: of the kind that
//! it names, or all there is where nothing is of that kind. In a namespace where nothing can be guarded, that is nothing: the
//! namespace has no owner, so it is the mistake, and nobody knows what the guard was meant for. No proxy starts from a folder
//! with such a guard. In a registry one owner's documents keep nobody else's proxy from starting.

use std::collections::{BTreeMap, BTreeSet};

use crate::document::{Document, UnusableReach};
use crate::kinds::{AuthorizationMode, Phase, Resource, TargetKind, TargetRef};
use crate::problem::Problem;
use crate::security::Security;

/// The kinds of documents that a guard can be attached to.
pub const GUARDED: [&str; 4] = ["Gateway", "Service", "HTTPRoute", "GRPCRoute"];
/// What follows where something is closed.
pub(crate) const CLOSED: &str = "until this is corrected, everything it may have been meant for is refused; to guard calls to a service, attach to the Service";
const START: &str = "no proxy starts from this folder unless it ran with this document before";

/// The problems of guards among `documents` that guard nothing, as nothing in their namespace can be guarded. Guards are
/// attachments in the phases `authn` and `authz`, and policies that decide; a policy that only allows is none where a filter
/// refuses whatever no policy allows. Only those that are `asked` about: whatever was in force as it is, opens nothing at a
/// start. `unusable` are the kinds and namespaces of the documents that have no replacement
/// ([`ParseResult::unusable`](crate::ParseResult::unusable)): their owners are there.
#[must_use]
pub fn stray_guards(
    documents: &[Document],
    unusable: &[(&'static str, String)],
    asked: impl Fn(&Document) -> bool,
) -> Vec<Problem> {
    let mut places = GuardedPlaces::of(documents.iter(), Security::Everybody);
    unusable.iter().for_each(|(kind, namespace)| places.add(kind, namespace));
    let mut strays = Vec::new();
    for document in documents.iter().filter(|one| asked(one)) {
        let namespace = &document.metadata.namespace;
        if places.is_inhabited(namespace) {
            continue;
        }
        let Some(targets) = guarded(document) else { continue };
        let wide = document.stub.as_ref().map(|stub| stub.reach);
        if wide == Some(UnusableReach::Everything) || opens_nothing(document, documents) {
            continue;
        }
        for (at, target) in targets.iter().enumerate() {
            let (Some(kind), Some(name)) = (kind_of(target.kind), target.name.as_deref()) else {
                continue;
            };
            let key = format!("{namespace}/{name}");
            let message = format!("there is no {kind} {key}");
            let problem =
                document.problem("attachment.target", &format!("/spec/targetRefs/{at}"), message);
            strays.push(problem.help(places.missing(target.kind, &key).help));
        }
        if wide == Some(UnusableReach::Namespace) {
            let message = format!("nothing in the namespace `{namespace}` could be guarded");
            let help = format!("correct the namespace, or remove this document; {START}");
            strays.push(
                document.problem("attachment.target", "/metadata/namespace", message).help(help),
            );
        }
    }
    strays
}

/// What can be guarded, by namespace.
#[derive(Default)]
pub(crate) struct GuardedPlaces {
    /// The kinds that each namespace has.
    kinds: BTreeMap<String, BTreeSet<&'static str>>,
    /// By kind and name: the first namespace that has it. Empty where documents are of many owners, who learn nothing of each
    /// other.
    namespaces: BTreeMap<(&'static str, String), String>,
}

/// What a guard closes whose target is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingReach {
    /// What is of that kind in its namespace.
    Kind,
    /// Everything in its namespace, which has nothing of that kind.
    Namespace,
}

/// A target that is not there.
pub(crate) struct MissingTarget {
    pub(crate) reach: MissingReach,
    /// What follows, and the way out.
    pub(crate) help: String,
}

impl GuardedPlaces {
    pub(crate) fn of<'a>(
        documents: impl Iterator<Item = &'a Document>,
        security: Security<'_>,
    ) -> Self {
        let mut places = Self::default();
        for document in documents.filter(|one| GUARDED.contains(&one.kind())) {
            let (kind, metadata) = (document.kind(), &document.metadata);
            places.add(kind, &metadata.namespace);
            if security == Security::Everybody {
                let key = (kind, metadata.name.clone());
                places.namespaces.entry(key).or_insert_with(|| metadata.namespace.clone());
            }
        }
        places
    }

    /// A namespace that has documents of the kinds of which `has` says so; nothing else is known.
    pub(crate) fn having(namespace: &str, has: impl Fn(&str) -> bool) -> Self {
        let mut places = Self::default();
        for kind in GUARDED.into_iter().filter(|kind| has(kind)) {
            places.add(kind, namespace);
        }
        places
    }

    fn add(&mut self, kind: &'static str, namespace: &str) {
        if GUARDED.contains(&kind) {
            self.kinds.entry(namespace.to_owned()).or_default().insert(kind);
        }
    }

    /// Whether a namespace has something that can be guarded.
    fn is_inhabited(&self, namespace: &str) -> bool {
        self.kinds.contains_key(namespace)
    }

    /// What a guard closes whose target of that kind and `namespace/name` is not there.
    pub(crate) fn missing(&self, wanted: TargetKind, key: &str) -> MissingTarget {
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        let kind = kind_of(wanted).unwrap_or_default();
        // A guard of a route that is not there closes the routes of both kinds.
        let alike: &[&str] = match wanted {
            TargetKind::HTTPRoute | TargetKind::GRPCRoute => &["HTTPRoute", "GRPCRoute"],
            TargetKind::Gateway => &["Gateway"],
            TargetKind::Service => &["Service"],
            TargetKind::Mesh => &[],
        };
        let there = self.kinds.get(namespace);
        let has_kind = there.is_some_and(|there| alike.iter().any(|kind| there.contains(kind)));
        let then = if has_kind {
            CLOSED.to_owned()
        } else if self.is_inhabited(namespace) {
            format!(
                "the namespace `{namespace}` has no {kind} at all: until this is corrected, everything in it is refused"
            )
        } else {
            format!(
                "nothing in the namespace `{namespace}` could be guarded: correct it, or remove this document; {START}"
            )
        };
        let reach = if has_kind { MissingReach::Kind } else { MissingReach::Namespace };
        let twin = self.namespaces.get(&(kind, name.to_owned()));
        let help = match twin {
            Some(other) => format!(
                "{kind} {other}/{name} exists: to guard that one, write `namespace: {other}`; {then}"
            ),
            None => then,
        };
        MissingTarget { reach, help }
    }
}

/// Whether nothing is open without this document: it only allows, and a filter refuses what no policy allows of any service.
/// Where policies only watch, a service may have no other that decides.
fn opens_nothing(document: &Document, all: &[Document]) -> bool {
    let Resource::AuthorizationPolicy(spec) = &document.resource else { return false };
    let only_allows = spec.deny.is_empty()
        && spec.cedar.is_none()
        && spec.target_refs.iter().all(|one| one.kind == TargetKind::Service);
    let watches = |one: &Document| matches!(&one.resource, Resource::AuthorizationPolicy(spec) if spec.mode == AuthorizationMode::Audit);
    only_allows && !all.iter().any(watches) && all.iter().any(|one| enforces(one, all))
}

/// Whether it attaches a filter that receives policies to the mesh.
fn enforces(document: &Document, all: &[Document]) -> bool {
    let Resource::FilterAttachment(spec) = &document.resource else { return false };
    let receives = |one: &Document| matches!(&one.resource, Resource::Filter(filter) if filter.receives.is_some() && one.key() == spec.filter);
    !document.is_stub()
        && spec.target_refs.iter().any(|one| one.kind == TargetKind::Mesh)
        && all.iter().any(receives)
}

/// The targets of a guard; `None`: it guards nothing.
fn guarded(document: &Document) -> Option<&[TargetRef]> {
    match &document.resource {
        Resource::FilterAttachment(spec) => {
            let guards = matches!(spec.phase, Phase::Authn | Phase::Authz) || document.is_stub();
            guards.then_some(&spec.target_refs)
        }
        Resource::AuthorizationPolicy(spec) => {
            (spec.mode == AuthorizationMode::Enforce).then_some(&spec.target_refs)
        }
        _ => None,
    }
}

/// The kind of document that a target is; `None`: the mesh is no document.
pub(crate) fn kind_of(target: TargetKind) -> Option<&'static str> {
    match target {
        TargetKind::Gateway => Some("Gateway"),
        TargetKind::Service => Some("Service"),
        TargetKind::HTTPRoute => Some("HTTPRoute"),
        TargetKind::GRPCRoute => Some("GRPCRoute"),
        TargetKind::Mesh => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::fold_under;
    use crate::read;

    const DOCUMENTS: &str = "
{ kind: Gateway, apiVersion: gateway.networking.k8s.io/v1, metadata: { name: edge, namespace: f }, spec: { listeners: [{ name: a, port: 1, protocol: HTTP }] } }
---
{ kind: Service, apiVersion: tamis.dev/v1alpha1, metadata: { name: app, namespace: f }, spec: { ports: [{ port: 80, protocol: http }] } }
---
{ kind: HTTPRoute, apiVersion: gateway.networking.k8s.io/v1, metadata: { name: r, namespace: f }, spec: { parentRefs: [{ name: edge }], rules: [{ name: a, backendRefs: [{ name: app, port: 80 }] }] } }
---
{ kind: Service, apiVersion: tamis.dev/v1alpha1, metadata: { name: far, namespace: g }, spec: { ports: [{ port: 80, protocol: http }] } }
";

    fn guard(namespace: &str, target: &str) -> String {
        format!(
            "{DOCUMENTS}---\nkind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: guard, namespace: {namespace} }}\n\
             spec: {{ targetRefs: [{target}], filter: acme/jwt, phase: authn, order: 1 }}\n"
        )
    }

    fn strays(text: &str) -> Vec<Problem> {
        let read = read("a.yaml", text);
        let all: Vec<Document> = read.documents.into_iter().chain(read.stubs).collect();
        stray_guards(&all, &read.unusable, |_| true)
    }

    /// The guard, one of another phase, a broken one, and a policy in its place.
    fn kinds(text: &str) -> [(&'static str, String); 4] {
        let policy = text
            .replace("FilterAttachment", "AuthorizationPolicy")
            .replace("filter: acme/jwt, phase: authn, order: 1", "deny: [{}]");
        [
            ("authn", text.to_owned()),
            ("authz", text.replace("phase: authn", "phase: authz")),
            ("broken", text.replace("order: 1", "order: one")),
            ("a policy", policy),
        ]
    }

    #[test]
    fn a_guard_in_a_namespace_where_nothing_can_be_guarded_is_named_and_no_other_is() {
        let service = "{ kind: Service, name: app }";
        let route = "{ kind: HTTPRoute, name: r, sectionName: a }";
        for (namespace, target, says) in [
            ("f", service, None),
            ("f", route, None),
            ("f", "{ kind: Gateway, name: edge }", None),
            // The namespace is nobody's, so it is the mistake.
            ("ff", service, Some("Service f/app exists: to guard that one, write `namespace: f`")),
            ("ff", route, Some("HTTPRoute f/r exists")),
            ("ff", "{ kind: Gateway, name: edge, sectionName: a }", Some("Gateway f/edge exists")),
            ("ff", "{ kind: Service, name: apps }", Some("nothing in the namespace `ff` could")),
            ("ff", "{ kind: Mesh }", None),
            // It is somebody's, and theirs alone is closed.
            ("g", service, None),
            ("g", "{ kind: HTTPRoute, name: r }", None),
            ("g", "{ kind: GRPCRoute, name: rr }", None),
            ("g", "{ kind: Gateway, name: edges }", None),
            ("f", "{ kind: Service, name: far }", None),
            ("f", "{ kind: Service, name: apps }", None),
            ("f", "{ kind: GRPCRoute, name: r }", None),
            ("f", "{ kind: HTTPRoute, name: r, sectionName: b }", None),
        ] {
            let text = guard(namespace, target);
            for (name, text) in kinds(&text) {
                let found = strays(&text);
                assert_eq!(
                    found.len(),
                    usize::from(says.is_some()),
                    "{name} {namespace} {target}: {found:#?}"
                );
                let (Some(problem), Some(says)) = (found.first(), says) else { continue };
                let help = problem.help.as_deref().unwrap_or_default();
                assert!(help.contains(says) && help.contains("no proxy starts"), "{name}: {help}");
                let line = text[..text.rfind("targetRefs").unwrap()].matches('\n').count() + 1;
                assert_eq!(problem.place.line, line, "{name} {namespace} {target}");
            }
        }
    }

    #[test]
    fn a_namespace_is_somebodys_even_if_what_is_in_it_cannot_be_used() {
        let text = guard("h", "{ kind: Service, name: own }");
        assert_eq!(strays(&text).len(), 1);
        for (kind, spec) in [
            ("Service", "{ ports: [{ port: 80, protocol: htp }] }"),
            ("Gateway", "{ listeners: [{ name: a, port: none, protocol: HTTP }] }"),
            ("HTTPRoute", "{ parentRefs: [{ name: edge }], rules: [{ a: b }] }"),
        ] {
            let more = format!(
                "{text}---\nkind: {kind}\nmetadata: {{ name: own, namespace: h }}\nspec: {spec}\n"
            );
            assert!(!read("a.yaml", &more).problems.is_empty());
            assert!(strays(&more).is_empty(), "{kind}");
        }
        // A filter or a grant guards nothing and cannot be guarded.
        let more = format!(
            "{text}---\nkind: Filter\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: a, namespace: h }}\nspec: {{ world: authorizer }}\n"
        );
        assert_eq!(strays(&more).len(), 1);
    }

    #[test]
    fn a_policy_that_only_allows_is_missed_where_nothing_refuses_without_it() {
        let enforced = "---\n{ kind: Filter, apiVersion: tamis.dev/v1alpha1, metadata: { name: authz, namespace: tamis }, spec: { world: authorizer, receives: AuthorizationPolicy } }\n\
            ---\n{ kind: FilterAttachment, apiVersion: tamis.dev/v1alpha1, metadata: { name: authz, namespace: sec }, spec: { targetRefs: [@], filter: tamis/authz, phase: authz, order: 9 } }\n";
        let mesh = enforced.replace('@', "{ kind: Mesh }");
        let one = enforced.replace('@', "{ kind: Service, name: app }").replace("sec }", "f }");
        let watched = format!(
            "{mesh}---\n{{ kind: AuthorizationPolicy, apiVersion: tamis.dev/v1alpha1, metadata: {{ name: w, namespace: f }}, spec: {{ targetRefs: [{{ kind: Service, name: app }}], mode: audit }} }}\n"
        );
        let (service, gateway) = ("{ kind: Service, name: app }", "{ kind: Gateway, name: edge }");
        for (target, rules, beside, missed) in [
            (service, "allow: [{}]", mesh.as_str(), false),
            (service, "allow: [{ methods: [GET] }]", &mesh, false),
            (service, "allow: [{}]", "", true),
            (service, "allow: [{}]", &one, true),
            (service, "allow: [{}]", &watched, true),
            (service, "allow: [{ name: a }], deny: [{ methods: [PUT] }]", &mesh, true),
            (service, "deny: [{}]", &mesh, true),
            (service, "cedar: { policies: 'forbid (principal, action, resource);' }", &mesh, true),
            (service, "alow: [{}]", &mesh, true),
            // No filter of the mesh enforces a policy at a gateway that no policy names.
            (gateway, "allow: [{}]", &mesh, true),
        ] {
            let [.., (_, policy)] = kinds(&guard("ff", target));
            let text = policy.replace("deny: [{}]", rules) + beside;
            assert_eq!(!strays(&text).is_empty(), missed, "{target} {rules} {beside}");
        }
    }

    #[test]
    fn what_is_no_guard_or_was_in_force_keeps_no_proxy_from_its_start() {
        let text = guard("ff", "{ kind: Service, name: app }");
        for other in ["traffic", "transform", "observe"] {
            assert!(strays(&text.replace("phase: authn", &format!("phase: {other}"))).is_empty());
        }
        let audit = text
            .replace("FilterAttachment", "AuthorizationPolicy")
            .replace("filter: acme/jwt, phase: authn, order: 1", "mode: audit, deny: [{}]");
        assert!(strays(&audit).is_empty());
        assert!(stray_guards(&read("a.yaml", &text).documents, &[], |_| false).is_empty());
    }

    #[test]
    fn a_guard_whose_targets_nobody_can_read_is_named_where_its_namespace_has_nothing() {
        for (namespace, stray) in [("f", false), ("g", false), ("ff", true)] {
            let text = guard(namespace, "{ kind: Service, name: [app] }");
            assert_eq!(strays(&text).len(), usize::from(stray), "{namespace}");
            // One that may have been for the mesh closes everything.
            let text = guard(namespace, "{ kind: Servise, name: app }");
            assert!(strays(&text).is_empty(), "{namespace}");
        }
    }

    /// The problem of the guard in a check by its owner, and in one by an owner among others.
    fn found(text: &str, security: Security<'_>) -> Problem {
        let documents = read("a.yaml", text).documents;
        let edge = "gateway:f/edge".parse().unwrap();
        let folded = fold_under(&documents, &edge, &|_| Ok(Vec::new()), security);
        folded.problems.into_iter().find(|one| one.code == "attachment.target").unwrap()
    }

    #[test]
    fn check_names_it_with_the_same_way_out_and_a_registry_names_nothing_of_others() {
        let text = guard("ff", "{ kind: Service, name: app }");
        let [stray] = &strays(&text)[..] else { panic!() };
        let own = found(&text, Security::Everybody);
        assert_eq!(
            (&own.message, &own.help, &own.place),
            (&stray.message, &stray.help, &stray.place)
        );
        for namespace in ["ff", "g"] {
            let text = guard(namespace, "{ kind: Service, name: app }");
            let help = found(&text, Security::Namespaces(&[])).help.unwrap();
            assert!(!help.contains("exists") && !help.contains("f/app"), "{help}");
        }
    }
}

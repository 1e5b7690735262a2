//! Guards that may stand in the wrong namespace.
//!
//! A guard whose target is not there closes everything in its namespace that it may have been meant for. That is nothing
//! where the namespace is the mistake, or the wrong things where another namespace has what it names: at a start, nobody
//! can know what was meant.

use std::collections::BTreeSet;

use crate::document::{Document, UnusableReach};
use crate::kinds::{AuthorizationMode, Phase, Resource, TargetKind, TargetRef};
use crate::problem::Problem;

/// Everything that a guard can be attached to.
const GUARDED: [&str; 4] = ["Gateway", "Service", "HTTPRoute", "GRPCRoute"];
/// The end of every way out.
const START: &str = "no proxy starts with it unless it ran with it before";

/// The problems of guards among `documents` whose target is not there, if their namespace has nothing of that kind, or
/// another namespace has one of that kind and name. Guards are attachments in the phases `authn` and `authz`, and policies
/// that decide. Only those that are `asked` about: whatever was in force as it is, opens nothing at a start.
#[must_use]
pub fn stray_guards(documents: &[Document], asked: impl Fn(&Document) -> bool) -> Vec<Problem> {
    let there: Vec<(&str, String)> = documents.iter().map(|one| (one.kind(), one.key())).collect();
    let names = || there.iter().map(|(kind, key)| (*kind, key.as_str()));
    let known: BTreeSet<(&str, &str)> = names().collect();
    let mut strays = Vec::new();
    for document in documents.iter().filter(|one| asked(one)) {
        let Some(targets) = guarded(document) else { continue };
        let namespace = &document.metadata.namespace;
        for (at, target) in targets.iter().enumerate() {
            let (Some(kind), Some(name)) = (kind_of(target.kind), target.name.as_deref()) else {
                continue;
            };
            let key = format!("{namespace}/{name}");
            if known.contains(&(kind, key.as_str())) {
                continue;
            }
            let Some(help) = way_out(names(), target.kind, &key) else { continue };
            let pointer = format!("/spec/targetRefs/{at}");
            let message = format!("there is no {kind} {key}");
            strays.push(document.problem("attachment.target", &pointer, message).help(help));
        }
        let wide = document.stub.as_ref().is_some_and(|one| one.reach == UnusableReach::Namespace);
        if wide && !names().any(|one| GUARDED.contains(&one.0) && within(one.1, namespace)) {
            let message = format!("the namespace `{namespace}` has nothing that this could guard");
            let help = format!("correct the namespace, or remove this document; {START}");
            strays.push(
                document.problem("attachment.target", "/metadata/namespace", message).help(help),
            );
        }
    }
    strays
}

/// The way out for a guard whose target is not there, if it may stand in the wrong namespace. `there` are the kinds and keys
/// of all documents.
pub(crate) fn way_out<'a>(
    there: impl Iterator<Item = (&'a str, &'a str)>,
    wanted: TargetKind,
    key: &str,
) -> Option<String> {
    let (namespace, name) = key.split_once('/')?;
    // A guard of a route that is not there closes the routes of both kinds.
    let alike: &[&str] = match wanted {
        TargetKind::HTTPRoute | TargetKind::GRPCRoute => &["HTTPRoute", "GRPCRoute"],
        TargetKind::Gateway => &["Gateway"],
        TargetKind::Service => &["Service"],
        TargetKind::Mesh => return None,
    };
    let (mut others, mut is_empty) = (Vec::new(), true);
    for (kind, one) in there.filter(|(kind, _)| alike.contains(kind)) {
        if one == key && Some(kind) == kind_of(wanted) {
            return None;
        }
        is_empty &= !within(one, namespace);
        let twin =
            one.split_once('/').is_some_and(|(other, own)| other != namespace && own == name);
        if twin && Some(kind) == kind_of(wanted) {
            others.push(format!("{kind} {one}"));
        }
    }
    let kind = kind_of(wanted)?;
    match others.first() {
        Some(other) => Some(format!(
            "{other} exists: to guard that one, correct the namespace of this document, which is `{namespace}`; {START}"
        )),
        None if is_empty => Some(format!(
            "the namespace `{namespace}` has no {kind} at all, so this guards nothing: correct the namespace, or remove this document; {START}"
        )),
        None => None,
    }
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

fn within(key: &str, namespace: &str) -> bool {
    key.split('/').next() == Some(namespace)
}

/// The kind of document that a target is; `None`: the mesh is no document.
fn kind_of(target: TargetKind) -> Option<&'static str> {
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
    use crate::{fold, read};

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
        stray_guards(&all, |_| true)
    }

    #[test]
    fn a_guard_that_may_stand_in_the_wrong_namespace_is_named_and_one_that_closes_something_is_not()
    {
        let service = "{ kind: Service, name: app }";
        let route = "{ kind: HTTPRoute, name: r, sectionName: a }";
        for (namespace, target, says) in [
            ("f", service, None),
            ("f", route, None),
            ("f", "{ kind: Gateway, name: edge }", None),
            ("ff", service, Some("Service f/app exists")),
            ("ff", route, Some("HTTPRoute f/r exists")),
            ("ff", "{ kind: Gateway, name: edge, sectionName: a }", Some("Gateway f/edge exists")),
            ("g", service, Some("Service f/app exists")),
            ("f", "{ kind: Service, name: far }", Some("Service g/far exists")),
            // What the name may have been meant for is closed.
            ("f", "{ kind: Service, name: apps }", None),
            ("f", "{ kind: HTTPRoute, name: rr }", None),
            ("f", "{ kind: GRPCRoute, name: r }", None),
            ("f", "{ kind: HTTPRoute, name: r, sectionName: b }", None),
            // There is nothing to close.
            ("g", "{ kind: HTTPRoute, name: rr }", Some("`g` has no HTTPRoute at all")),
            ("g", "{ kind: GRPCRoute, name: rr }", Some("`g` has no GRPCRoute at all")),
            ("g", "{ kind: Gateway, name: edges }", Some("`g` has no Gateway at all")),
            ("ff", "{ kind: Service, name: apps }", Some("`ff` has no Service at all")),
            ("ff", "{ kind: Mesh }", None),
        ] {
            let text = guard(namespace, target);
            let rows = [
                ("authn", text.clone()),
                ("authz", text.replace("phase: authn", "phase: authz")),
                ("broken", text.replace("order: 1", "order: one")),
                (
                    "a policy",
                    text.replace("FilterAttachment", "AuthorizationPolicy")
                        .replace("filter: acme/jwt, phase: authn, order: 1", "deny: [{}]"),
                ),
            ];
            for (name, text) in rows {
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
    fn what_is_no_guard_or_was_in_force_keeps_no_proxy_from_its_start() {
        let text = guard("ff", "{ kind: Service, name: app }");
        for other in ["traffic", "transform", "observe"] {
            assert!(strays(&text.replace("phase: authn", &format!("phase: {other}"))).is_empty());
        }
        let audit = text
            .replace("FilterAttachment", "AuthorizationPolicy")
            .replace("filter: acme/jwt, phase: authn, order: 1", "mode: audit, deny: [{}]");
        assert!(strays(&audit).is_empty());
        assert!(stray_guards(&read("a.yaml", &text).documents, |_| false).is_empty());
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

    #[test]
    fn check_names_it_with_the_same_way_out() {
        let text = guard("ff", "{ kind: Service, name: app }");
        let documents = read("a.yaml", &text).documents;
        let folded = fold(&documents, &"gateway:f/edge".parse().unwrap(), &|_| Ok(Vec::new()));
        let found = folded.problems.iter().find(|one| one.code == "attachment.target").unwrap();
        let [stray] = &stray_guards(&documents, |_| true)[..] else { panic!() };
        assert_eq!((&found.message, &found.help), (&stray.message, &stray.help));
        assert_eq!(found.place, stray.place);
    }
}

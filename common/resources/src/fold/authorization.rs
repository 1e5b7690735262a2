//! `AuthorizationPolicy`: checked, and put into the form in which a filter enforces it.
//!
//! A filter whose catalogue entry `receives` these policies is attached like any other; its configuration is what the
//! policies of its targets say, as a router's is the routes. A policy that cannot be used, or that nothing enforces,
//! closes what it was to guard, and nothing else.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::attachment::{Attachment, blank};
use super::route::Route;
use super::{ACCEPTED, Fold, RESOLVED, because};
use crate::access_rule::faults;
use crate::document::Document;
use crate::kinds::{
    AuthorizationMode, AuthorizationPolicySpec, FilterAttachmentSpec, GatewaySpec, Isolation,
    OnFailure, Phase, ServiceSpec, Spec as _, TargetKind, World,
};
use crate::problem::Problem;

/// A policy with its targets.
pub(super) struct Policy<'a> {
    /// Where it applies; its plan is refused when the policy cannot be used.
    pub(super) guard: Attachment<'a>,
    pub(super) mode: AuthorizationMode,
    /// What the filter receives.
    pub(super) config: Json,
}

impl<'a> Fold<'a> {
    /// All policies, those that cannot be used among them.
    pub(super) fn authorization(&mut self, routes: &[Route<'_>]) -> Vec<Policy<'a>> {
        let mut out = Vec::new();
        for (document, spec) in self.all::<AuthorizationPolicySpec>() {
            let (config, problem) = self.policy_config(document, spec);
            out.push(self.authorizing(document, spec, routes, config, problem));
        }
        for (at, document) in self.doubles.clone().into_iter().enumerate() {
            let Some(spec) = AuthorizationPolicySpec::of(&document.resource) else { continue };
            let message = format!("AuthorizationPolicy {} exists twice", document.key());
            let twice = document.problem("document.duplicate", "/metadata/name", message);
            let mut policy = self.authorizing(document, spec, routes, Json::Null, Some(twice));
            policy.guard.plan.attachment = format!("{}~{at}", policy.guard.plan.attachment);
            out.push(policy);
        }
        out
    }

    fn authorizing(
        &mut self,
        document: &'a Document,
        spec: &'a AuthorizationPolicySpec,
        routes: &[Route<'_>],
        config: Json,
        problem: Option<Problem>,
    ) -> Policy<'a> {
        let placed = as_guard(spec);
        let (targets, unguarded) = self.targets(document, &placed, routes).split();
        let mut plan = blank(document, &placed);
        plan.attachment = format!("{}~policy", document.key());
        if let Some(problem) = unguarded {
            plan.refused = Some(because(&problem));
            self.fail(document, RESOLVED, "TargetNotFound", problem);
        }
        if let Some(problem) = problem {
            plan.refused = Some(because(&problem));
        }
        let guard = Attachment {
            document,
            spec: Cow::Owned(placed),
            world: World::Authorizer,
            targets,
            plan,
            receives: false,
        };
        Policy { guard, mode: spec.mode, config }
    }

    /// What the filter receives of a policy, and the first problem of the policy.
    fn policy_config(
        &mut self,
        document: &Document,
        spec: &AuthorizationPolicySpec,
    ) -> (Json, Option<Problem>) {
        let mut first = None;
        let mut cedar = spec.cedar.clone();
        let mut faults = faults(spec);
        if let Some(cedar) = &mut cedar
            && let Some(path) = cedar.file.take()
        {
            let text = (self.files)(&path).and_then(|bytes| {
                String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
            });
            match text {
                Ok(text) => cedar.policies = Some(text),
                Err(error) => {
                    let message = format!("could not read {path}: {error}");
                    let problem = document.problem("file.unreadable", "/spec/cedar/file", message);
                    first = Some(problem.clone());
                    self.fail(document, RESOLVED, "FileUnreadable", problem);
                }
            }
        }
        for fault in faults.drain(..) {
            let problem = document.problem(fault.code, &fault.pointer, fault.message);
            let other = fault.other.map(|other| document.place(&other, "the other"));
            let problem = problem.also(other);
            first.get_or_insert_with(|| problem.clone());
            self.fail(document, ACCEPTED, "Invalid", problem);
        }
        self.ports_exist(document, spec);
        let mut config = json!({ "name": document.key(), "mode": spec.mode });
        if let Some(map) = config.as_object_mut() {
            for (name, rules) in [("allow", &spec.allow), ("deny", &spec.deny)] {
                if !rules.is_empty() {
                    map.insert(name.to_owned(), json!(rules));
                }
            }
            if let Some(cedar) = cedar {
                let (headers, claims) = (cedar.headers, cedar.claims);
                let text = cedar.policies.unwrap_or_default();
                map.insert(
                    "cedar".to_owned(),
                    json!({ "policies": text, "headers": headers, "claims": claims }),
                );
            }
        }
        (without_null(config), first)
    }

    /// Reports each port of a rule that none of the targets has: under `allow` the rule opens nothing, and under `deny` it
    /// closes nothing. Routes and the mesh have no ports of their own, so that where one is a target, any port may be meant.
    fn ports_exist(&mut self, document: &Document, spec: &AuthorizationPolicySpec) {
        let mut there = Vec::new();
        for target in &spec.target_refs {
            let key = format!(
                "{}/{}",
                document.metadata.namespace,
                target.name.as_deref().unwrap_or_default()
            );
            match target.kind {
                TargetKind::Service => match self.find::<ServiceSpec>(&key) {
                    Some((_, spec)) => there.extend(spec.ports.iter().map(|one| one.port)),
                    None => return,
                },
                TargetKind::Gateway => match self.find::<GatewaySpec>(&key) {
                    Some((_, spec)) => there.extend(spec.listeners.iter().map(|one| one.port)),
                    None => return,
                },
                TargetKind::Mesh | TargetKind::HTTPRoute | TargetKind::GRPCRoute => return,
            }
        }
        for (field, rules) in [("allow", &spec.allow), ("deny", &spec.deny)] {
            for (at, rule) in rules.iter().enumerate() {
                let lost = rule.ports.iter().enumerate().filter(|(_, port)| !there.contains(port));
                for (nth, port) in lost {
                    let message = format!(
                        "no target of this policy has port {port}, so the rule covers nothing there"
                    );
                    let help = format!("write one of: {}", listed(&there));
                    let pointer = format!("/spec/{field}/{at}/ports/{nth}");
                    let problem =
                        document.problem("authorization.port", &pointer, message).help(help);
                    self.fail(document, ACCEPTED, "Invalid", problem);
                }
            }
        }
    }
}

fn listed(ports: &[u16]) -> String {
    let ports: BTreeSet<u16> = ports.iter().copied().collect();
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

/// The policy as an attachment: what its targets mean.
pub(super) fn as_guard(spec: &AuthorizationPolicySpec) -> FilterAttachmentSpec {
    FilterAttachmentSpec {
        target_refs: spec.target_refs.clone(),
        filter: "tamis/authz".to_owned(),
        phase: Phase::Authz,
        order: 0,
        direction: None,
        config: Json::Null,
        extend: false,
        on_failure: OnFailure::Closed,
        isolation: Isolation::Worker,
    }
}

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

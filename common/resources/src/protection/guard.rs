//! The guards of a listener: what decides who may pass.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value as Json;

use crate::kinds::Phase;
use crate::plan::{FilterPlan, ListenerPlan, NodePlan, TlsPlan, TrafficDirection};

/// What decides who may pass on a listener, or on some of its rules.
#[derive(Debug, PartialEq)]
pub(super) struct Guard<'a> {
    kind: GuardKind<'a>,
    /// `namespace/name` of its document.
    name: &'a str,
    /// The rules that it is asked about, each `ns/route/` or `ns/route/rule`; `None`: everything.
    scope: Option<BTreeSet<&'a str>>,
    /// It lets nothing pass: documents do not allow it to run.
    closes: bool,
}

#[derive(Debug, PartialEq)]
enum GuardKind<'a> {
    /// An attachment in the phase `authn` or `authz`.
    Attachment { filter: &'a str, config: &'a Json },
    /// An attachment that enforces policies: what none of them allows is refused.
    Receiver { filter: &'a str },
    /// An `AuthorizationPolicy`; its rules are unknown when it closes.
    Policy { rules: Option<&'a Json> },
    /// A listener of a gateway whose clients must show a certificate. Which authority must have signed it is for people to
    /// judge, as a configuration is.
    ClientCertificate,
}

impl<'a> Guard<'a> {
    /// The guards of a listener: those in its chain, and what its handshake asks for.
    pub(super) fn all(plan: &'a NodePlan, listener: &'a ListenerPlan) -> Vec<Self> {
        let chain = listener.chain.attachments.iter().filter_map(|at| plan.filters.get(*at));
        let guards = chain.filter(|one| matches!(one.phase, Phase::Authn | Phase::Authz));
        guards.flat_map(|one| Self::of(one)).chain(Self::of_handshake(listener)).collect()
    }

    /// Of a gateway alone: among proxies the mesh decides who shows what.
    fn of_handshake(listener: &ListenerPlan) -> Option<Self> {
        let client_ca = match listener.tls.as_ref()? {
            TlsPlan::Files(files) => files.client_ca.as_ref(),
            TlsPlan::Acme(acme) => acme.client_ca.as_ref(),
            TlsPlan::Svid { .. } => None,
        };
        client_ca.filter(|_| listener.direction == TrafficDirection::Gateway)?;
        let kind = GuardKind::ClientCertificate;
        Some(Self { kind, name: CLIENT_CERTIFICATE, scope: None, closes: false })
    }

    /// The guards that a filter stands for: a receiver also for the policies that it enforces.
    fn of(filter: &'a FilterPlan) -> Vec<Self> {
        let closes = filter.refused.is_some();
        // What has no name of its own in the documents has that of its document and more.
        let (name, more) = filter.attachment.split_once('~').unwrap_or((&filter.attachment, ""));
        let scope = filter.scope.as_ref().map(|all| all.iter().map(String::as_str).collect());
        let guard = |kind, scope| Self { kind, name, scope, closes };
        if more.split('~').any(|one| one == "policy") {
            return vec![guard(GuardKind::Policy { rules: None }, scope)];
        }
        if !filter.receives {
            let (filter, config) = (filter.filter.as_str(), &*filter.config);
            return vec![guard(GuardKind::Attachment { filter, config }, scope)];
        }
        let receiver = guard(GuardKind::Receiver { filter: &filter.filter }, scope);
        if is_audit(filter.config.get("config").unwrap_or(&Json::Null)) && !closes {
            return Vec::new();
        }
        let all = filter.config.get("policies").and_then(Json::as_array).into_iter().flatten();
        let policies: Vec<&Json> = all.collect();
        // Without a policy everything is refused; with none that is enforced, nothing.
        let is_idle = !policies.is_empty() && policies.iter().all(|one| is_audit(one));
        let mut guards = Vec::new();
        if closes || !is_idle {
            guards.push(receiver);
        }
        guards.extend(policies.into_iter().filter(|one| !is_audit(one)).map(Self::policy));
        guards
    }

    /// A policy as its receiver has it.
    fn policy(policy: &'a Json) -> Self {
        let name = policy.get("name").and_then(Json::as_str).unwrap_or_default();
        let scope = policy.get("scope").and_then(Json::as_array);
        let scope = scope.map(|all| all.iter().filter_map(Json::as_str).collect());
        Self { kind: GuardKind::Policy { rules: Some(policy) }, name, scope, closes: false }
    }

    /// Whether it is asked about everything, whatever the rule is.
    pub(super) fn is_of_all(&self) -> bool {
        self.scope.is_none()
    }

    /// Whether it is asked about requests of that rule, `namespace/route/rule`.
    pub(super) fn covers(&self, rule: &str) -> bool {
        let Some(scope) = &self.scope else { return true };
        let whole = rule.rfind('/').and_then(|at| rule.get(..=at));
        scope.contains(rule) || whole.is_some_and(|route| scope.contains(route))
    }

    pub(super) fn is_policy(&self) -> bool {
        matches!(self.kind, GuardKind::Policy { .. })
    }

    pub(super) fn is_receiver(&self) -> bool {
        matches!(self.kind, GuardKind::Receiver { .. })
    }

    /// Whether both are the same guard, perhaps of two listeners.
    pub(super) fn is_same(&self, other: &Guard<'_>) -> bool {
        self.name == other.name
            && std::mem::discriminant(&self.kind) == std::mem::discriminant(&other.kind)
    }

    /// Whether what `before` decided is decided by this one after a change: it has the same name, or another and the same
    /// content. A changed configuration of the same guard is for people to judge.
    pub(super) fn stands_for(&self, before: &Guard<'_>) -> bool {
        match (&self.kind, &before.kind) {
            (
                GuardKind::Attachment { filter, config },
                GuardKind::Attachment { filter: old, config: was },
            ) => {
                let closes = self.closes || before.closes;
                let edited = self.name == before.name && (filter == old || closes);
                edited || (filter == old && config == was)
            }
            // What another filter makes of the same policies is not known.
            (GuardKind::Receiver { filter }, GuardKind::Receiver { filter: old }) => {
                filter == old || self.closes || before.closes
            }
            // Without their receiver, policies let nothing pass.
            (_, GuardKind::Receiver { .. }) => self.closes,
            (GuardKind::Policy { rules }, GuardKind::Policy { rules: was }) => {
                let same = |(one, other): (&Json, &Json)| {
                    RULES.iter().all(|it| one.get(it) == other.get(it))
                };
                self.name == before.name || rules.zip(*was).is_some_and(same)
            }
            (GuardKind::ClientCertificate, GuardKind::ClientCertificate) => true,
            _ => false,
        }
    }
}

/// The guard that a handshake is, in words: it has no document of its own.
const CLIENT_CERTIFICATE: &str = "the demand for client certificates (tls.clientCa)";

/// What a policy says, apart from its name, its mode and where it applies.
const RULES: [&str; 3] = ["allow", "deny", "cedar"];

impl fmt::Display for Guard<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            GuardKind::Attachment { filter, .. } | GuardKind::Receiver { filter } => {
                write!(to, "\"{}\" ({filter})", self.name)
            }
            GuardKind::Policy { .. } => write!(to, "AuthorizationPolicy \"{}\"", self.name),
            GuardKind::ClientCertificate => to.write_str(self.name),
        }
    }
}

fn is_audit(settings: &Json) -> bool {
    settings.get("mode").and_then(Json::as_str) == Some("audit")
}

//! A call between services of a folder that its policies refuse, and the line that would allow it.

use crate::authz;
use serde_json::{Value, json};
use tamis_resources::{
    AuthorizationMode, AuthorizationPolicySpec, Document, FilterAttachmentSpec, PortProtocol,
    Resource, ServiceSpec, TargetKind, TargetRef,
};

/// A call that is refused because no rule allows it.
pub(super) struct RefusedCall {
    /// Name of the service that calls.
    caller: String,
    /// Its outbound address, where its application sends what it has to say to others.
    outbound: String,
    /// Name of the service that is called: the host of the request.
    called: String,
    /// The line that allows it.
    pub(super) missing: MissingRule,
}

/// A rule that a policy would need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MissingRule {
    /// `namespace/name` of the policy.
    pub(super) policy: String,
    /// The file with the policy.
    pub(super) file: String,
    /// The entry of `allow`.
    pub(super) line: String,
}

const METHOD: &str = "GET";
const PATH: &str = "/";

impl RefusedCall {
    /// The first one: of a service that no rule for the called one covers. `None`: nothing enforces policies on the whole
    /// mesh, or the documents alone do not show what is refused.
    pub(super) fn of(documents: &[Document]) -> Option<Self> {
        if !documents.iter().any(|one| enforces(one, documents)) {
            return None;
        }
        documents.iter().find_map(|policy| {
            let Resource::AuthorizationPolicy(spec) = &policy.resource else { return None };
            let names = |it: &&TargetRef| it.kind == TargetKind::Service;
            let name = spec.target_refs.iter().find(names)?.name.as_deref()?;
            let space = &policy.metadata.namespace;
            let called = service(documents, space, name)?;
            let called_runs = called.endpoints.iter().any(|one| one.sidecar.is_some())
                && called.ports.first().is_some_and(|one| {
                    !matches!(one.protocol, PortProtocol::Tcp | PortProtocol::Udp)
                });
            let rules = about(documents, space, name)?;
            let callers = documents.iter().filter(|one| one.metadata.namespace == *space);
            callers.filter(|_| called_runs).find_map(|one| {
                let Resource::Service(caller) = &one.resource else { return None };
                let outbound = caller.endpoints.first()?.outbound.clone()?;
                let id = caller.identity.as_deref()?;
                let other = one.metadata.name != name && !outbound.starts_with("unix:");
                if !other || !rules.iter().all(|rule| leaves_out(rule, id)) {
                    return None;
                }
                let line = authz::allowing_rule(Some(id), METHOD, PATH);
                let (policy, file) = (policy.key(), policy.place("", "").source);
                let (caller, called) = (one.metadata.name.clone(), name.to_owned());
                Some(Self { caller, outbound, called, missing: MissingRule { policy, file, line } })
            })
        })
    }

    /// What it shows.
    pub(super) fn what(&self) -> String {
        format!("{} calls {}, which no policy allows: 403 authz.no-rule", self.caller, self.called)
    }

    /// The command that sends it.
    pub(super) fn command(&self) -> String {
        format!("curl -si -H 'host: {}' http://{}{PATH}", self.called, self.outbound)
    }
}

impl MissingRule {
    /// Where the line belongs.
    pub(super) fn place(&self) -> String {
        format!("to allow it, add this under `allow` of {} in {}:", self.policy, self.file)
    }

    pub(super) fn describe(&self) -> Value {
        json!({ "policy": self.policy, "file": self.file, "allow": self.line })
    }
}

/// Whether a document has the policies of the whole mesh enforced.
fn enforces(document: &Document, documents: &[Document]) -> bool {
    let Resource::FilterAttachment(FilterAttachmentSpec { target_refs, filter, config, .. }) =
        &document.resource
    else {
        return false;
    };
    let everywhere = target_refs.iter().any(|it| it.kind == TargetKind::Mesh);
    let audit = config.get("mode").is_some_and(|mode| mode == "audit");
    let receives = documents.iter().any(|one| match &one.resource {
        Resource::Filter(spec) => one.key() == *filter && spec.receives.is_some(),
        _ => false,
    });
    everywhere && receives && !audit
}

fn service<'a>(documents: &'a [Document], space: &str, name: &str) -> Option<&'a ServiceSpec> {
    documents.iter().find_map(|one| match &one.resource {
        Resource::Service(spec) if one.metadata.namespace == space && one.metadata.name == name => {
            Some(spec)
        }
        _ => None,
    })
}

/// Identities of the rules that allow calls to a service. `None`: policies say more about it than that.
fn about<'a>(documents: &'a [Document], space: &str, name: &str) -> Option<Vec<&'a [String]>> {
    let mut rules = Vec::new();
    for one in documents {
        let Resource::AuthorizationPolicy(AuthorizationPolicySpec {
            target_refs,
            mode,
            allow,
            deny,
            cedar,
        }) = &one.resource
        else {
            continue;
        };
        let own = one.metadata.namespace == space;
        let meant = target_refs.iter().any(|it| match it.kind {
            TargetKind::Mesh => true,
            TargetKind::Service => own && it.name.as_deref() == Some(name),
            TargetKind::Gateway => false,
            TargetKind::HTTPRoute | TargetKind::GRPCRoute => own,
        });
        if !meant {
            continue;
        }
        if *mode != AuthorizationMode::Enforce || !deny.is_empty() || cedar.is_some() {
            return None;
        }
        rules.extend(allow.iter().map(|rule| rule.identities.as_slice()));
    }
    Some(rules)
}

/// Whether a rule for these identities certainly does not cover that one.
fn leaves_out(identities: &[String], id: &str) -> bool {
    !identities.is_empty() && identities.iter().all(|one| one != id && !one.contains('*'))
}

#[cfg(test)]
mod tests;

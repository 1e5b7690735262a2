//! One request or connection, and what the filter that enforces policies decides about it.

use super::target::{CalledKind, CalledListener, CalledTarget, PolicyFolder};
use crate::builtin;
use crate::user_state;
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use tamis_engine::{
    Admission, CompiledComponent, Engine, EngineError, Filter, FilterOptions, FilterState, Grant,
    Isolation, OnFailure,
};
use tamis_exchange::{
    Attributes, ConnectionVerdict, Exchange, HeadBounds, PathRules, Scheme, Verdict, View,
    normal_path,
};
use tamis_observe::Metrics;
use tamis_resources::plan::FilterPlan;

/// A request to a target, or a connection to a `tcp` port of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct AskedRequest {
    /// What is called.
    pub(super) to: CalledTarget,
    /// SPIFFE id of the client; `None`: it has none.
    #[serde(default)]
    pub(super) from: Option<String>,
    /// Number of a `tcp` port of a Service: a connection is asked about, which has nothing of a request.
    #[serde(default)]
    pub(super) port: Option<u16>,
    /// Default: `GET`.
    #[serde(default)]
    pub(super) method: Option<String>,
    /// Default: `/`.
    #[serde(default)]
    pub(super) path: Option<String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// Claims of a verified token.
    #[serde(default)]
    pub(super) claims: Map<String, Value>,
    /// Address of the client; default: 127.0.0.1.
    #[serde(default)]
    pub(super) address: Option<String>,
    /// Listener of a gateway; default: its first.
    #[serde(default)]
    pub(super) listener: Option<String>,
    /// The rule of a route that matched, as `namespace/route/rule`.
    #[serde(default)]
    pub(super) route: Option<String>,
}

impl AskedRequest {
    /// Where it arrives.
    ///
    /// # Errors
    /// It is a connection, and has something of a request.
    pub(super) fn listener(&self) -> Result<CalledListener<'_>> {
        let Some(port) = self.port else {
            return Ok(self
                .listener
                .as_deref()
                .map_or(CalledListener::First, CalledListener::Named));
        };
        let of_requests = [
            ("method", self.method.is_some()),
            ("path", self.path.is_some()),
            ("headers", !self.headers.is_empty()),
            ("claims", !self.claims.is_empty()),
            ("listener", self.listener.is_some()),
            ("route", self.route.is_some()),
        ];
        if let Some((name, _)) = of_requests.into_iter().find(|(_, there)| *there) {
            bail!("a connection of a tcp port has no `{name}`: remove it, or `port`");
        }
        if self.to.kind == CalledKind::Gateway {
            bail!("a gateway has no tcp ports: remove `port`, or name a Service");
        }
        Ok(CalledListener::Port(port))
    }
}

/// The decision about a request or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum AccessOutcome {
    /// It passes.
    Allowed,
    /// It is refused: a request with 403, a connection is closed.
    Refused,
    /// A policy cannot be used, or a guard cannot judge connections, so nothing passes (503).
    Closed,
}

impl AccessOutcome {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Closed => "closed",
        }
    }
}

/// A decision with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct AccessDecision {
    pub(super) decision: AccessOutcome,
    /// As in the record of the proxy; of what is closed, the code. Empty: no filter enforces policies there.
    pub(super) reason: String,
    /// Why it is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
}

/// The enforcing filter of this binary, compiled.
pub(super) struct Enforcer {
    compiled: CompiledComponent,
}

/// The filter whose decisions this program knows.
const FILTER: &str = "tamis/authz";

impl Enforcer {
    pub(super) fn new() -> Result<Self> {
        let all = builtin::all()?;
        let own = all.iter().find(|one| one.name == FILTER);
        let own = own.with_context(|| format!("this binary has no {FILTER}"))?;
        let cache = user_state::own_code();
        let compiled = Engine::new()?.compile(own.component, cache.as_ref()).context(FILTER)?;
        Ok(Self { compiled })
    }

    /// What the guards of a target decide about a request.
    ///
    /// # Errors
    /// The target is not declared, or the request cannot be one.
    pub(super) fn decide(
        &self,
        folder: &PolicyFolder,
        asked: &AskedRequest,
    ) -> Result<AccessDecision> {
        let mut last =
            AccessDecision { decision: AccessOutcome::Allowed, reason: String::new(), why: None };
        for guard in folder.guards(&asked.to, asked.listener()?)? {
            if !applies(&guard, asked.route.as_deref()) {
                continue;
            }
            if let Some(refused) = &guard.refused {
                let (reason, why) = (refused.code.clone().into_owned(), Some(refused.rule.clone()));
                return Ok(AccessDecision { decision: AccessOutcome::Closed, reason, why });
            }
            if !guard.receives {
                continue;
            }
            if guard.filter != FILTER {
                let filter = &guard.filter;
                bail!("policies are enforced by {filter} there; this command knows {FILTER} alone");
            }
            last = self.ask(&guard.config, &rights(&guard), asked)?;
            if last.decision != AccessOutcome::Allowed {
                break;
            }
        }
        Ok(last)
    }

    fn filter(&self, config: &Value, grant: &Grant) -> Result<Filter, EngineError> {
        let inspection = self.compiled.inspection();
        let options = FilterOptions {
            name: FILTER.to_owned(),
            digest: String::new(),
            version: "0.0.0".to_owned(),
            config_json: config.to_string(),
            admission: Admission::of_grant(FILTER, inspection, grant.clone())?,
            state: Arc::new(FilterState::new(Arc::new(Metrics::new()))),
            fetch: None,
            failure: OnFailure::Closed,
            isolation: Isolation::Worker,
        };
        Filter::new(&self.compiled, options)
    }

    /// What the filter decides with this configuration.
    pub(super) fn ask(
        &self,
        config: &Value,
        grant: &Grant,
        asked: &AskedRequest,
    ) -> Result<AccessDecision> {
        let exchange = exchange(asked)?;
        let filter = match self.filter(config, grant) {
            Ok(filter) => filter,
            Err(error) => {
                let code = tamis_node::refusal(&error).code;
                let why = Some(error.to_string());
                return Ok(AccessDecision {
                    decision: AccessOutcome::Closed,
                    reason: code.into_owned(),
                    why,
                });
            }
        };
        let mut instance = filter.instantiate()?;
        let mut view = View::default();
        view.fill_request(filter.reads(), &exchange);
        let (passes, reason) = if asked.port.is_some() {
            let said = instance.on_connection(&view)?;
            (!matches!(said.verdict, ConnectionVerdict::Deny), said.reason)
        } else {
            let said = instance.on_request(&view)?;
            (!matches!(said.verdict, Verdict::Answer(_)), said.reason)
        };
        let decision = if passes { AccessOutcome::Allowed } else { AccessOutcome::Refused };
        Ok(AccessDecision { decision, reason: reason.unwrap_or_default(), why: None })
    }
}

/// The rights of a guard, with time for a slow machine: how long a proxy waits is no matter of policies.
pub(super) fn rights(guard: &FilterPlan) -> Grant {
    let granted = serde_json::to_value(&guard.grant).and_then(serde_json::from_value::<Grant>);
    Grant { limits: Grant::everything().limits, ..granted.unwrap_or_default() }
}

/// Whether a guard sees requests that matched this rule of a route.
pub(super) fn applies(guard: &FilterPlan, route: Option<&str>) -> bool {
    let Some(scope) = &guard.scope else { return true };
    route.is_some_and(|route| {
        scope.iter().any(|one| one == route || (one.ends_with('/') && route.starts_with(one)))
    })
}

fn exchange(asked: &AskedRequest) -> Result<Exchange> {
    let method = asked.method.as_deref().unwrap_or("GET");
    let path = asked.path.as_deref().unwrap_or("/");
    let listener = asked.listener()?.name();
    let normal = normal_path(path, PathRules::default());
    let mut attributes = Attributes::default();
    let mut set = |name: &str, value: &str| attributes.set(name.to_owned(), value);
    set("source.address", asked.address.as_deref().unwrap_or("127.0.0.1"));
    set("listener.name", &listener);
    if let Some(id) = &asked.from {
        set("peer.spiffe-id", id);
    }
    if let Some(route) = &asked.route {
        set("route.name", route);
    }
    if !asked.claims.is_empty() {
        set("jwt.claims", &Value::Object(asked.claims.clone()).to_string());
    }
    let mut headers = http::HeaderMap::new();
    for (name, value) in &asked.headers {
        let line = || format!("`{name}: {value}` is not a header");
        let name: http::HeaderName = name.parse().with_context(line)?;
        headers.append(name, value.parse().with_context(line)?);
    }
    Ok(Exchange {
        // As in a self-test, the filter writes nothing to the log.
        id: 0,
        method: method.parse().with_context(|| format!("`{method}` is not a method"))?,
        scheme: Scheme::Https,
        authority: asked.to.key.clone(),
        path: normal.with_context(|| format!("`{path}` is not a path"))?.into_owned(),
        headers,
        status: None,
        response_headers: http::HeaderMap::new(),
        attributes,
        bounds: HeadBounds::default(),
        coding: None,
    })
}

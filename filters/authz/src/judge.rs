//! The policies, and the decision about a request.

use std::collections::{HashMap, HashSet};

use cedar_policy::{
    ActionConstraint, Authorizer, Context, Decision, Effect as CedarEffect, Entities, Entity,
    EntityId, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, Request,
    RestrictedExpression, Schema, ValidationMode, Validator,
};
use tamis_sdk::ConfigError;

use crate::compile::{self, CompiledRule};
use crate::config::{AuthzSettings, Enforcement};
use crate::looks::{RequestFacts, RuleConditions};

/// Longest reason of the contract.
const MAX_REASON: usize = 64;

/// What is decided about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Whether it passes.
    pub passes: bool,
    /// The rule behind it.
    pub reason: String,
}

/// Why a set of policies allows or refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RulingCause {
    /// A rule allows it.
    Allowed(String),
    /// A rule refuses it.
    Denied(String),
    /// No rule covers it.
    Nothing,
    /// A policy cannot be evaluated.
    Fault,
}

/// Checked policies.
#[derive(Debug)]
pub struct Judge {
    looks: RuleConditions,
    schema: String,
    requests: JudgedPolicies,
    /// About the connections of `tcp` ports.
    connections: JudgedPolicies,
    /// Nothing is refused, only reported.
    audit: bool,
    /// Ids of policies, in the order of documents.
    order: HashMap<String, usize>,
    names: Names,
    resource: EntityUid,
    authorizer: Authorizer,
}

/// The policies about one action.
#[derive(Debug)]
struct JudgedPolicies {
    action: EntityUid,
    enforced: PolicySet,
    /// With those in audit mode; `None`: there are none.
    all: Option<PolicySet>,
}

#[derive(Debug)]
struct Names {
    identity: EntityTypeName,
    anonymous: EntityUid,
}

impl Judge {
    /// Compiles and validates policies.
    ///
    /// # Errors
    /// All errors, each with its JSON pointer.
    pub fn new(settings: &AuthzSettings) -> Result<Self, Vec<ConfigError>> {
        let looks = RuleConditions::of(settings);
        let schema = compile::schema(&looks.headers, &looks.claims);
        let (checked, _) = Schema::from_cedarschema_str(&schema)
            .map_err(|error| vec![ConfigError::at("", format!("the schema: {error}"))])?;
        let validator = Validator::new(checked);
        let connect = action("connect")?;
        let mut sets = PolicySets { connect: Some(connect.clone()), ..PolicySets::default() };
        let mut errors = Vec::new();
        for (at, policy) in settings.policies.iter().enumerate() {
            if let Err(error) = sets.add(policy, settings.home.as_deref(), &validator) {
                errors.push(ConfigError::at(format!("/policies/{at}{}", error.0), error.1));
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let uid = |kind: &str, id: &str| -> Result<EntityUid, Vec<ConfigError>> {
            let kind = type_name(kind)?;
            Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
        };
        let audits = settings.policies.iter().any(|one| one.mode == Enforcement::Audit);
        let enforces = settings.policies.iter().any(|one| one.mode == Enforcement::Enforce);
        let judged = |action, sets: ModeSets| JudgedPolicies {
            action,
            enforced: sets.enforced,
            all: audits.then_some(sets.all),
        };
        Ok(Self {
            looks,
            schema,
            requests: judged(action("request")?, sets.requests),
            connections: judged(connect, sets.connections),
            audit: settings.config.mode == Enforcement::Audit || (audits && !enforces),
            order: sets.order,
            names: Names { identity: type_name("Identity")?, anonymous: uid("Anonymous", "")? },
            resource: uid(settings.guarded.kind.as_str(), &settings.guarded.name)?,
            authorizer: Authorizer::new(),
        })
    }

    /// What the policies look at.
    #[must_use]
    pub fn looks(&self) -> &RuleConditions {
        &self.looks
    }

    /// The policies as Cedar, those in audit mode among them.
    #[must_use]
    pub fn text(&self) -> String {
        let requests = &self.requests;
        let mut all: Vec<(&usize, String)> = requests
            .all
            .as_ref()
            .unwrap_or(&requests.enforced)
            .policies()
            .filter_map(|one| Some((self.order.get::<str>(one.id().as_ref())?, one.to_string())))
            .collect();
        all.sort();
        all.into_iter().map(|(_, text)| text + "\n").collect()
    }

    /// The schema of the policies.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Decides about a request.
    #[must_use]
    pub fn rule(&self, seen: &RequestFacts<'_>) -> Ruling {
        self.judge(&self.requests, seen)
    }

    /// Decides about a connection of a `tcp` port, which has no method, no path, no headers and no claims.
    #[must_use]
    pub fn rule_connection(&self, seen: &RequestFacts<'_>) -> Ruling {
        self.judge(&self.connections, seen)
    }

    fn judge(&self, policies: &JudgedPolicies, seen: &RequestFacts<'_>) -> Ruling {
        let action = &policies.action;
        let enforced = self.cause((&policies.enforced, action), seen);
        let whole = match &policies.all {
            Some(all) => self.cause((all, action), seen),
            None => enforced.clone(),
        };
        match (self.audit, &enforced, &whole) {
            (true, _, RulingCause::Allowed(rule)) => ruling(true, "authz.allowed", rule),
            (false, RulingCause::Allowed(rule), RulingCause::Allowed(_)) => {
                ruling(true, "authz.allowed", rule)
            }
            // Reported, and not refused.
            (true, _, RulingCause::Denied(rule))
            | (false, RulingCause::Allowed(_), RulingCause::Denied(rule)) => {
                ruling(true, "authz.audit.denied", rule)
            }
            (true, _, RulingCause::Nothing)
            | (false, RulingCause::Allowed(_), RulingCause::Nothing) => {
                ruling(true, "authz.audit.no-rule", "")
            }
            (true, _, RulingCause::Fault)
            | (false, RulingCause::Allowed(_), RulingCause::Fault) => {
                ruling(true, "authz.audit.fault", "")
            }
            (false, RulingCause::Denied(rule), _) => ruling(false, "authz.denied", rule),
            (false, RulingCause::Nothing, _) => ruling(false, "authz.no-rule", ""),
            (false, RulingCause::Fault, _) => ruling(false, "authz.fault", ""),
        }
    }

    /// What a set of policies says. A policy that cannot be evaluated refuses: Cedar would skip it.
    fn cause(
        &self,
        (set, action): (&PolicySet, &EntityUid),
        seen: &RequestFacts<'_>,
    ) -> RulingCause {
        // A list that policies see only a part of may hide what one of them forbids.
        if seen.crowded {
            return RulingCause::Fault;
        }
        let Some((request, entities)) = self.request(action, seen) else {
            return RulingCause::Fault;
        };
        let response = self.authorizer.is_authorized(&request, set, &entities);
        if response.diagnostics().errors().next().is_some() {
            return RulingCause::Fault;
        }
        let ids = response.diagnostics().reason().map(AsRef::<str>::as_ref);
        let first = ids.min_by_key(|id| self.order.get(*id).copied().unwrap_or(usize::MAX));
        match (response.decision(), first) {
            (Decision::Allow, Some(id)) => RulingCause::Allowed(id.to_owned()),
            (Decision::Deny, Some(id)) => RulingCause::Denied(id.to_owned()),
            (Decision::Allow | Decision::Deny, None) => RulingCause::Nothing,
        }
    }

    fn request(&self, action: &EntityUid, seen: &RequestFacts<'_>) -> Option<(Request, Entities)> {
        let (principal, attributes) = match seen.identity {
            None => (self.names.anonymous.clone(), HashMap::new()),
            Some(id) => {
                let of = EntityUid::from_type_name_and_id(
                    self.names.identity.clone(),
                    EntityId::new(id),
                );
                let domain = id.strip_prefix("spiffe://").unwrap_or(id);
                let domain = domain.split('/').next().unwrap_or_default();
                let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
                let attributes = [("id".to_owned(), text(id)), ("domain".to_owned(), text(domain))];
                (of, HashMap::from(attributes))
            }
        };
        let entity = Entity::new(principal.clone(), attributes, HashSet::new()).ok()?;
        let entities = Entities::from_entities([entity], None).ok()?;
        let context = self.context(seen)?;
        let (action, resource) = (action.clone(), self.resource.clone());
        let request = Request::new(principal, action, resource, context, None).ok()?;
        Some((request, entities))
    }

    fn context(&self, seen: &RequestFacts<'_>) -> Option<Context> {
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let templates = self.looks.templates(seen.path);
        let members: Vec<Vec<&str>> =
            seen.members.iter().map(|all| all.iter().map(|one| &**one).collect()).collect();
        let named = |all: &[Vec<&str>]| {
            let all = self.looks.headers.iter().zip(all).filter(|(_, values)| !values.is_empty());
            let sets = all.map(|(name, values)| {
                (name.clone(), RestrictedExpression::new_set(values.iter().map(|it| text(it))))
            });
            RestrictedExpression::new_record(sets).ok()
        };
        let claims = self.looks.claims.iter().zip(&seen.claims);
        let claims = claims.filter(|(_, values)| !values.is_empty()).map(|(name, values)| {
            (name.clone(), RestrictedExpression::new_set(values.iter().map(|it| text(it))))
        });
        let mut pairs = vec![
            ("method".to_owned(), text(seen.method)),
            ("path".to_owned(), text(seen.path)),
            (
                "templates".to_owned(),
                RestrictedExpression::new_set(templates.into_iter().map(text)),
            ),
            ("unix".to_owned(), RestrictedExpression::new_bool(seen.unix)),
            ("headers".to_owned(), named(&seen.headers)?),
            ("members".to_owned(), named(&members)?),
            ("claims".to_owned(), RestrictedExpression::new_record(claims).ok()?),
        ];
        let port = seen.port.map(|port| RestrictedExpression::new_long(port.into()));
        pairs.extend(port.map(|port| ("port".to_owned(), port)));
        let address = seen.address.map(|address| RestrictedExpression::new_ip(address.to_string()));
        pairs.extend(address.map(|address| ("address".to_owned(), address)));
        pairs.extend(seen.route.map(|route| ("route".to_owned(), text(route))));
        Context::from_pairs(pairs).ok()
    }
}

/// The sets of policies while they are collected.
#[derive(Default)]
struct PolicySets {
    requests: ModeSets,
    connections: ModeSets,
    /// The action that only policies about connections name.
    connect: Option<EntityUid>,
    order: HashMap<String, usize>,
}

/// The policies about one action by their modes, while they are collected.
#[derive(Default)]
struct ModeSets {
    enforced: PolicySet,
    all: PolicySet,
}

impl ModeSets {
    fn insert(&mut self, policy: Policy, mode: Enforcement) -> Result<(), String> {
        if mode == Enforcement::Enforce {
            self.enforced.add(policy.clone()).map_err(|error| error.to_string())?;
        }
        self.all.add(policy).map_err(|error| error.to_string())
    }
}

impl PolicySets {
    /// Adds the policies of a document; the error has the rest of its pointer.
    fn add(
        &mut self,
        policy: &crate::config::AuthzPolicy,
        home: Option<&str>,
        validator: &Validator,
    ) -> Result<(), (String, String)> {
        let name = policy.name.replace('/', ".");
        for CompiledRule { end, request, connection } in compile::rules(policy, home) {
            let id = PolicyId::new(format!("{name}.{end}"));
            let (list, rule) = end.split_once('.').unwrap_or((&end, ""));
            let fail = |error: String| (format!("/{list}"), format!("rule {rule}: {error}"));
            let parse = |text: String| {
                let made = Policy::parse(Some(id.clone()), text);
                made.map_err(|error| fail(error.to_string()))
            };
            self.note(&id);
            self.requests.insert(parse(request)?, policy.mode).map_err(fail)?;
            if let Some(text) = connection {
                self.connections.insert(parse(text)?, policy.mode).map_err(fail)?;
            }
        }
        let Some(cedar) = &policy.cedar else { return Ok(()) };
        let fail = |message: String| ("/cedar/policies".to_owned(), message);
        if policy.scope.is_some() {
            return Err(fail("Cedar cannot be limited to a route: target its Gateway".to_owned()));
        }
        let set: PolicySet = cedar.policies.parse().map_err(|error| fail(chain(&error)))?;
        if set.num_of_templates() > 0 {
            return Err(fail(
                "templates have no one to fill their slots: write the entity".to_owned(),
            ));
        }
        let judged = validator.validate(&set, ValidationMode::Strict);
        if let Some(error) = judged.validation_errors().next() {
            return Err(fail(error.to_string()));
        }
        let mut all: Vec<&Policy> = set.policies().collect();
        // Cedar numbers them in the order of the text: policy2 comes before policy10.
        all.sort_by_key(|one| (one.id().to_string().len(), one.id().to_string()));
        for (at, one) in all.into_iter().enumerate() {
            let named = one.annotation("id").filter(|id| is_short(id));
            let end = named.map_or_else(|| at.to_string(), str::to_owned);
            let made = one.new_id(PolicyId::new(format!("{name}.cedar.{end}")));
            self.note(made.id());
            if self.is_about_connections(&made) {
                self.connections.insert(made.clone(), policy.mode).map_err(fail)?;
            }
            self.requests.insert(made, policy.mode).map_err(fail)?;
        }
        Ok(())
    }

    /// Whether free Cedar counts for connections: a `permit` that names them, and every `forbid`. What was written about
    /// requests opens no port.
    fn is_about_connections(&self, policy: &Policy) -> bool {
        let named = match policy.action_constraint() {
            ActionConstraint::Any => false,
            ActionConstraint::Eq(action) => Some(&action) == self.connect.as_ref(),
            ActionConstraint::In(all) => self.connect.as_ref().is_some_and(|it| all.contains(it)),
        };
        named || policy.effect() == CedarEffect::Forbid
    }

    /// Remembers where a policy stands in its document.
    fn note(&mut self, id: &PolicyId) {
        let next = self.order.len();
        self.order.insert(id.to_string(), next);
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(one) = source {
        text = format!("{text}: {one}");
        source = one.source();
    }
    text
}

fn action(name: &str) -> Result<EntityUid, Vec<ConfigError>> {
    Ok(EntityUid::from_type_name_and_id(type_name("Action")?, EntityId::new(name)))
}

fn type_name(name: &str) -> Result<EntityTypeName, Vec<ConfigError>> {
    name.parse().map_err(|error| vec![ConfigError::at("", format!("{name}: {error}"))])
}

fn is_short(text: &str) -> bool {
    let known =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    !text.is_empty() && text.bytes().all(known)
}

fn ruling(passes: bool, reason: &str, rule: &str) -> Ruling {
    let long = format!("{reason}.{rule}");
    let fits = is_short(rule) && long.len() <= MAX_REASON;
    Ruling { passes, reason: if fits { long } else { reason.to_owned() } }
}

//! From rules to Cedar.

use std::collections::BTreeSet;

use crate::config::{AuthzPolicy, AuthzRule, PathConditionKind, Values};
use crate::members::listed;

/// The rule for a request that a rule covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is allowed.
    Permit,
    /// It is refused.
    Forbid,
}

/// The schema of all policies: a principal with a SPIFFE id or without one, what it does, what is guarded, and the request; of
/// a connection, what only a request has is empty.
#[must_use]
pub fn schema(headers: &BTreeSet<String>, claims: &BTreeSet<String>) -> String {
    let record = |names: &BTreeSet<String>| {
        let fields: Vec<String> =
            names.iter().map(|name| format!("{}?: Set<String>", literal(name))).collect();
        fields.join(", ")
    };
    format!(
        "entity Identity = {{ id: String, domain: String }};\n\
         entity Anonymous, Service, Gateway;\n\
         action \"request\", \"connect\" appliesTo {{\n  principal: [Identity, Anonymous],\n  resource: [Service, Gateway],\n  context: {{\n    \
         method: String, path: String, templates: Set<String>, unix: Bool,\n    \
         port?: Long, address?: ipaddr, route?: String,\n    \
         headers: {{ {} }},\n    members: {{ {} }},\n    claims: {{ {} }}\n  }}\n}};\n",
        record(headers),
        record(headers),
        record(claims)
    )
}

/// A rule as a policy.
#[must_use]
pub fn rule(
    rule: &AuthzRule,
    effect: Effect,
    (scope, home): (Option<&[String]>, Option<&str>),
) -> String {
    policy("request", rule, effect, (scope, home))
}

/// A rule as a policy about the connections of `tcp` ports. `None`: it says nothing about them. Of octets that nobody reads no
/// condition on a request holds, and only a rule that names a port opens one.
#[must_use]
pub fn connection_rule(
    rule: &AuthzRule,
    effect: Effect,
    (scope, home): (Option<&[String]>, Option<&str>),
) -> Option<String> {
    let of_requests = [rule.methods.len(), rule.paths.len(), rule.headers.len(), rule.claims.len()];
    let is_named = effect == Effect::Forbid || !rule.ports.is_empty();
    let covers = is_named && scope.is_none() && of_requests == [0; 4];
    covers.then(|| policy("connect", rule, effect, (None, home)))
}

fn policy(
    action: &str,
    rule: &AuthzRule,
    effect: Effect,
    about: (Option<&[String]>, Option<&str>),
) -> String {
    let conditions = conditions(rule, effect, about);
    let word = match effect {
        Effect::Permit => "permit",
        Effect::Forbid => "forbid",
    };
    let head = format!("{word} (principal, action == Action::\"{action}\", resource)");
    if conditions.is_empty() {
        return format!("{head};");
    }
    format!("{head}\nwhen {{\n  {}\n}};", conditions.join(" &&\n  "))
}

/// A rule of a policy as Cedar.
#[derive(Clone, Debug)]
pub struct CompiledRule {
    /// The end of its id.
    pub end: String,
    /// About requests.
    pub request: String,
    /// About the connections of `tcp` ports, if it says anything about them.
    pub connection: Option<String>,
}

/// All rules of a policy as Cedar, in a mesh of the trust domain `home`, if callers of others may be recognised.
#[must_use]
pub fn rules(policy: &AuthzPolicy, home: Option<&str>) -> Vec<CompiledRule> {
    let lists = [(Effect::Permit, "allow", &policy.allow), (Effect::Forbid, "deny", &policy.deny)];
    let (mut all, scope) = (Vec::new(), policy.scope.as_deref());
    for (effect, list, rules) in lists {
        for (at, one) in rules.iter().enumerate() {
            let name = one.name.clone().unwrap_or_else(|| at.to_string());
            all.push(CompiledRule {
                end: format!("{list}.{name}"),
                request: rule(one, effect, (scope, home)),
                connection: connection_rule(one, effect, (scope, home)),
            });
        }
    }
    all
}

fn conditions(
    rule: &AuthzRule,
    effect: Effect,
    (scope, home): (Option<&[String]>, Option<&str>),
) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(scope) = scope {
        let one = |entry: &String| match entry.ends_with('/') {
            true => format!("context.route like {}", below(entry)),
            false => format!("context.route == {}", literal(entry)),
        };
        all.push(format!("(context has route && ({}))", any(scope, one)));
    }
    // What is allowed to everybody is allowed to nobody of another trust domain; what is forbidden to everybody is to all.
    let home = home.filter(|_| effect == Effect::Permit).map(literal);
    let everybody = rule.identities.iter().any(|one| one == "*");
    if everybody && let Some(home) = &home {
        let named: Vec<&String> =
            rule.identities.iter().filter(|one| one.as_str() != "*").collect();
        let mut ways = vec![format!("principal.domain == {home}")];
        ways.extend(named.into_iter().map(|id| is_id(id)));
        all.push(format!("(principal is Identity && ({}))", ways.join(" || ")));
    } else if everybody {
        all.push("principal is Identity".to_owned());
    } else if let (true, Some(home)) = (rule.identities.is_empty(), &home) {
        all.push(format!("(principal is Anonymous || principal.domain == {home})"));
    } else if !rule.identities.is_empty() {
        let one = |id: &String| is_id(id);
        all.push(format!("(principal is Identity && ({}))", any(&rule.identities, one)));
    }
    if !rule.addresses.is_empty() {
        let one = |address: &String| match address.as_str() {
            "unix" => "context.unix".to_owned(),
            net => {
                format!("(context has address && context.address.isInRange(ip({})))", literal(net))
            }
        };
        all.push(format!("({})", any(&rule.addresses, one)));
    }
    if !rule.methods.is_empty() {
        all.push(format!("{}.contains(context.method)", set(&rule.methods)));
    }
    if !rule.paths.is_empty() {
        let one = |path: &crate::config::Path| match path.kind {
            PathConditionKind::Exact => format!("context.path == {}", literal(&path.value)),
            PathConditionKind::Template => {
                format!("context.templates.contains({})", literal(&path.value))
            }
            PathConditionKind::PathPrefix => match path.value.trim_end_matches('/') {
                "" => "true".to_owned(),
                own => format!(
                    "context.path == {} || context.path like {}",
                    literal(own),
                    below(&format!("{own}/"))
                ),
            },
        };
        all.push(format!("({})", any(&rule.paths, one)));
    }
    if !rule.ports.is_empty() {
        let ports: Vec<String> = rule.ports.iter().map(u16::to_string).collect();
        let ports = ports.join(", ");
        all.push(format!("(context has port && [{ports}].contains(context.port))"));
    }
    let header = match effect {
        Effect::Permit => permitted_header,
        Effect::Forbid => forbidden_header,
    };
    all.extend(rule.headers.iter().map(header));
    all.extend(rule.claims.iter().map(claim));
    all
}

/// Whether a caller has this id, or one that it is a pattern for.
fn is_id(id: &str) -> String {
    match id.strip_suffix('*') {
        Some(prefix) => format!("principal.id like {}", below(prefix)),
        None => format!("principal.id == {}", literal(id)),
    }
}

/// Every line is one of the values, or every member of its lists is: what nobody allowed does not pass beside what somebody
/// did.
fn permitted_header(one: &Values) -> String {
    let (name, set) = (literal(&one.name), set(&one.values));
    format!(
        "(context.headers has {name} && ({set}.containsAll(context.headers[{name}]) || {set}.containsAll(context.members[{name}])))"
    )
}

/// One member of a list is one of the values, on whatever line. A value with commas is a list, all of which is there.
fn forbidden_header(one: &Values) -> String {
    let name = literal(&one.name);
    let (lists, single): (Vec<Vec<String>>, Vec<Vec<String>>) = one
        .values
        .iter()
        .map(|value| listed(&one.name, value))
        .partition(|members| members.len() > 1);
    let single: Vec<String> = single.into_iter().flatten().collect();
    let mut ways = Vec::new();
    if !single.is_empty() {
        ways.push(format!("{}.containsAny(context.members[{name}])", set(&single)));
    }
    ways.extend(
        lists.iter().map(|list| format!("context.members[{name}].containsAll({})", set(list))),
    );
    format!("(context.members has {name} && ({}))", ways.join(" || "))
}

fn claim(one: &Values) -> String {
    let (name, set) = (literal(&one.name), set(&one.values));
    format!("(context.claims has {name} && {set}.containsAny(context.claims[{name}]))")
}

fn any<T>(all: &[T], one: impl Fn(&T) -> String) -> String {
    all.iter().map(one).collect::<Vec<_>>().join(" || ")
}

fn set(all: &[String]) -> String {
    format!("[{}]", all.iter().map(|one| literal(one)).collect::<Vec<_>>().join(", "))
}

/// A string of Cedar: everything but visible ASCII is escaped.
fn literal(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            c => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// A pattern of Cedar for everything that begins with a text.
fn below(prefix: &str) -> String {
    let mut quoted = literal(prefix).replace('*', "\\*");
    quoted.pop();
    quoted + "*\""
}

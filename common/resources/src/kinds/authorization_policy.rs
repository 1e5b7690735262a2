//! `AuthorizationPolicy`: who may do what.

use super::TargetRef;

words! {
    /// Whether a policy decides.
    #[serde(rename_all = "kebab-case")]
    #[derive(Default)]
    pub enum AuthorizationMode {
        /// It decides.
        #[default]
        Enforce,
        /// Nothing is refused because of it, and records state what it would have refused. A target all of
        /// whose policies are in this mode refuses nothing.
        Audit,
    }
    /// How a path is compared with its normal form, without the query.
    pub enum PathPatternType {
        /// Equal.
        Exact,
        /// Equal, or below it: `/pay` covers `/pay` and `/pay/card`, not `/payments`.
        PathPrefix,
        /// Equal, where `{name}` stands for one whole segment: `/users/{id}/orders`.
        Template,
    }
}

shapes! {
    /// Who may do what at its targets. What no rule under `allow` covers is refused; what a rule under `deny`
    /// covers is refused, whatever else allows it.
    pub struct AuthorizationPolicySpec {
        /// What it guards; all targets are in the policy's namespace (except `Mesh`, which has none). Each
        /// must be covered by an attachment of a filter that `receives` these policies.
        #[schemars(length(min = 1))]
        pub target_refs: Vec<TargetRef>,
        /// Whether it decides; default: `enforce`.
        #[serde(default)]
        pub mode: AuthorizationMode,
        /// Rules of which one must cover a request.
        #[serde(default)]
        pub allow: Vec<AccessRule>,
        /// Rules of which none may cover a request.
        #[serde(default)]
        pub deny: Vec<AccessRule>,
        /// Policies in the Cedar language, in addition to the rules.
        pub cedar: Option<CedarPolicies>,
    }
    /// Conditions that must all hold; of a list, one entry must. Without conditions it covers every request.
    #[derive(Default)]
    pub struct AccessRule {
        /// Its name in records; default: its index.
        #[schemars(extend("format" = "resource-name"))]
        pub name: Option<String>,
        /// SPIFFE ids of clients: a whole id; `PREFIX/*` for all ids below it; `*` for every client with an
        /// id.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(min = 1))]
        pub identities: Vec<String>,
        /// Addresses of connections, or prefixes such as `10.0.0.0/8`; `unix` for Unix sockets.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(min = 1))]
        pub addresses: Vec<String>,
        /// Methods, in capitals.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(min = 1))]
        pub methods: Vec<String>,
        /// Paths.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(min = 1))]
        pub paths: Vec<PathPattern>,
        /// Ports: that of a Service, or of the listener of a Gateway.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(min = 1))]
        pub ports: Vec<u16>,
        /// Headers, each of which must match. Clients write headers themselves: use them to narrow a rule.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(min = 1))]
        pub headers: Vec<ValueCondition>,
        /// Claims of a verified token, each of which must match, from the attribute `jwt.claims`: a JSON
        /// object that a filter in the phase `authn` sets.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(min = 1))]
        pub claims: Vec<ValueCondition>,
    }
    /// A path or a set of paths.
    pub struct PathPattern {
        /// How it is compared; default: `PathPrefix`.
        #[serde(rename = "type", default = "prefix")]
        pub kind: PathPatternType,
        /// The path, in normal form.
        pub value: String,
    }
    /// A name and its values.
    pub struct ValueCondition {
        /// Name of the header, in lower case, or of the claim.
        #[schemars(length(min = 1))]
        pub name: String,
        /// Of a header, under `allow` every line or every member of its comma-separated lists must be one of
        /// these, and there must be one; under `deny` one member on one line suffices. Of claims, one value
        /// suffices everywhere.
        #[schemars(length(min = 1))]
        pub values: Vec<String>,
    }
    /// Policies in the Cedar language; they are validated with the schema in the description of the filter.
    pub struct CedarPolicies {
        /// The policies.
        pub policies: Option<String>,
        /// A file with the policies.
        pub file: Option<String>,
        /// Headers in `context.headers` (their lines) and `context.members` (the members of their lists).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub headers: Vec<String>,
        /// Claims in `context.claims`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub claims: Vec<String>,
    }
}

fn prefix() -> PathPatternType {
    PathPatternType::PathPrefix
}

//! What the host passes: the policies of the targets, what they guard, and the settings of the attachment.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthzSettings {
    /// The policies, in the order of their names.
    pub policies: Vec<AuthzPolicy>,
    /// What they guard.
    pub guarded: GuardedTarget,
    /// The trust domain of the mesh, where callers of others may be recognised: rules under `allow` that name nobody, or every
    /// caller with an id, cover those of this domain alone. `None`: there are no others.
    pub home: Option<String>,
    /// The port of each listener.
    pub ports: std::collections::BTreeMap<String, u16>,
    /// Whether it decides about the connections of these listeners instead of requests.
    pub connections: bool,
    /// What the attachment says.
    pub config: AuthzConfig,
}

/// The `config` of the attachment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthzConfig {
    /// `audit`: every request passes, and records state what would be refused. Default: `enforce`.
    pub mode: Enforcement,
    /// Combinations whose decision is remembered; default: 4096.
    pub remember: usize,
}

impl Default for AuthzConfig {
    fn default() -> Self {
        Self { mode: Enforcement::Enforce, remember: 4096 }
    }
}

/// Whether something is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enforcement {
    /// It is.
    #[default]
    Enforce,
    /// It is only reported.
    Audit,
}

/// What is guarded.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardedTarget {
    /// The kind of its document.
    pub kind: GuardedKind,
    /// `namespace/name`.
    pub name: String,
}

/// Kinds that are guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum GuardedKind {
    /// A service, in its sidecar.
    #[default]
    Service,
    /// A gateway.
    Gateway,
}

impl GuardedKind {
    /// Its name in Cedar.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Gateway => "Gateway",
        }
    }
}

/// An `AuthorizationPolicy`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthzPolicy {
    /// `namespace/name`.
    pub name: String,
    /// Whether it decides.
    pub mode: Enforcement,
    /// Rules of routes to which it applies: `ns/route/` (all of a route) or `ns/route/rule`; `None`: everything.
    pub scope: Option<Vec<String>>,
    /// Rules of which one must cover a request.
    pub allow: Vec<AuthzRule>,
    /// Rules of which none may.
    pub deny: Vec<AuthzRule>,
    /// Policies in Cedar.
    pub cedar: Option<Cedar>,
}

/// Conditions that must all hold; an absent list is none, and an empty one is refused.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthzRule {
    /// Its name; default: its index.
    pub name: Option<String>,
    /// SPIFFE ids.
    #[serde(deserialize_with = "entries")]
    pub identities: Vec<String>,
    /// Addresses and prefixes.
    #[serde(deserialize_with = "entries")]
    pub addresses: Vec<String>,
    /// Methods.
    #[serde(deserialize_with = "entries")]
    pub methods: Vec<String>,
    /// Paths.
    #[serde(deserialize_with = "entries")]
    pub paths: Vec<Path>,
    /// Ports.
    #[serde(deserialize_with = "entries")]
    pub ports: Vec<u16>,
    /// Headers.
    #[serde(deserialize_with = "entries")]
    pub headers: Vec<Values>,
    /// Claims.
    #[serde(deserialize_with = "entries")]
    pub claims: Vec<Values>,
}

/// A path or a set of paths.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Path {
    /// How it is compared.
    #[serde(rename = "type")]
    pub kind: PathConditionKind,
    /// In normal form.
    pub value: String,
}

/// How a path is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum PathConditionKind {
    /// Equal.
    Exact,
    /// Equal or below.
    PathPrefix,
    /// Equal, where `{name}` is one segment.
    Template,
}

/// A name and its values.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Values {
    /// The name.
    pub name: String,
    /// The values.
    #[serde(deserialize_with = "entries")]
    pub values: Vec<String>,
}

/// The entries of a condition. A list without any would hold for nothing or for everything, and somebody meant neither: an
/// absent list is no condition.
fn entries<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    from.deserialize_seq(Entries(PhantomData))
}

/// Reads the entries of a list one by one, so that an error names the entry.
struct Entries<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list with at least one entry")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = list.next_element()? {
            all.push(one);
        }
        if all.is_empty() {
            return Err(A::Error::custom(
                "a list of a rule has at least one entry; remove it to have no such condition",
            ));
        }
        Ok(all)
    }
}

/// Policies in Cedar.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cedar {
    /// Their text.
    pub policies: String,
    /// Headers that they look at.
    pub headers: Vec<String>,
    /// Claims that they look at.
    pub claims: Vec<String>,
}

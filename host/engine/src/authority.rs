//! The authority of a filter as sets, so that "may the new release do more?" is set arithmetic.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use tamis_exchange::TRAILER;

use crate::{BodyMode, Filter, Hook, Inspection, Responses};

/// What a component may do: derived from its bytes and from what it declares when it is configured, never
/// from what somebody claims about it.
///
/// WASI imports are not part of it: the host links them to an empty world. The grant is not part of it
/// either: a grant limits a filter, an authority is what the filter asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Hooks that the host calls.
    pub hooks: BTreeSet<Hook>,
    /// Capabilities of the host it can call.
    pub imports: BTreeSet<String>,
    /// Fields and bodies that it reads and writes.
    pub declaration: Declaration,
}

/// The declaration of a component, made when it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declaration {
    /// It was configured and declared this.
    Known(DeclaredAccess),
    /// Unknown: the component refuses the configuration at hand, for this reason.
    Unknown(String),
}

/// What a configured filter reads and writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeclaredAccess {
    /// Fields its hooks read, as declared: `cookie`, `:path`, `request:cookie`, `@attribute`, `*`.
    pub reads: BTreeSet<String>,
    /// Fields its edits write, as declared: `x-a`, `:path`, `@attribute`, `*`.
    pub writes: BTreeSet<String>,
    /// How it sees request bodies.
    pub request_body: BodyMode,
    /// How it sees response bodies.
    pub response_body: BodyMode,
    /// The longest body that it buffers, in bytes.
    pub body_limit_bytes: u32,
    /// Which responses its hook on response heads sees.
    pub responses: Responses,
    /// Services its router may choose.
    pub backends: BTreeSet<String>,
    /// Services its connection hook may tunnel to.
    pub tunnels: BTreeSet<String>,
}

/// One thing that one filter may do and another may not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AuthorityGrowth {
    /// The respect in which authority grows.
    pub kind: GrowthKind,
    /// The hook, capability, field, mode or service; for an unknown declaration, why it is unknown.
    pub what: String,
}

/// In which respect authority grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrowthKind {
    /// The host calls it in one more hook.
    Hook,
    /// It can call a capability.
    Import,
    /// It reads a field.
    Read,
    /// It writes a field.
    Write,
    /// It sees more of request bodies, or sees them in another way.
    RequestBody,
    /// It sees more of response bodies, or sees them in another way.
    ResponseBody,
    /// Its hook on response heads sees more of them.
    Responses,
    /// It may send a request to a service.
    Backend,
    /// It may tunnel a connection to a service.
    Tunnel,
    /// The declaration of one of the two is unknown, so it is unknown whether it may do more.
    Unknown,
}

impl GrowthKind {
    /// The name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hook => "hook",
            Self::Import => "import",
            Self::Read => "read",
            Self::Write => "write",
            Self::RequestBody => "request-body",
            Self::ResponseBody => "response-body",
            Self::Responses => "responses",
            Self::Backend => "backend",
            Self::Tunnel => "tunnel",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for AuthorityGrowth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.what)
    }
}

impl DeclaredAccess {
    /// What this filter declared.
    pub fn of(filter: &Filter) -> Self {
        let names = |names: &[String]| names.iter().cloned().collect();
        Self {
            reads: filter.reads().selectors().iter().map(ToString::to_string).collect(),
            writes: names(filter.writes().names()),
            request_body: filter.request_body(),
            response_body: filter.response_body(),
            body_limit_bytes: filter.body_limit_bytes(),
            responses: if filter.has(Hook::Response) {
                filter.responses()
            } else {
                Responses::default()
            },
            backends: names(filter.backends()),
            tunnels: names(filter.connection_backends()),
        }
    }
}

impl Authority {
    /// From an inspection and a declaration.
    pub fn new(inspection: &Inspection, declaration: Declaration) -> Self {
        Self {
            hooks: inspection.hooks.iter().copied().collect(),
            imports: inspection.imports.iter().cloned().collect(),
            declaration,
        }
    }

    /// What this authority allows and `other` does not, sorted; empty when it allows nothing more. With the two exchanged, it
    /// says what was lost.
    ///
    /// In doubt it reports growth: two ways to see a body are never equal, `request:NAME` is covered by
    /// itself alone, and an unknown declaration on either side is growth.
    pub fn grows_beyond(&self, other: &Self) -> Vec<AuthorityGrowth> {
        let mut grown = Vec::new();
        let mut add =
            |kind, what: &str| grown.push(AuthorityGrowth { kind, what: what.to_owned() });
        for hook in self.hooks.difference(&other.hooks) {
            add(GrowthKind::Hook, hook.as_str());
        }
        for import in self.imports.difference(&other.imports) {
            add(GrowthKind::Import, import);
        }
        match (&self.declaration, &other.declaration) {
            (Declaration::Known(this), Declaration::Known(that)) => declared(this, that, add),
            (Declaration::Unknown(why), _) | (_, Declaration::Unknown(why)) => {
                add(GrowthKind::Unknown, why);
            }
        }
        grown.sort();
        grown
    }
}

fn declared(this: &DeclaredAccess, that: &DeclaredAccess, mut add: impl FnMut(GrowthKind, &str)) {
    for read in this.reads.iter().filter(|read| !covers(&that.reads, read)) {
        add(GrowthKind::Read, read);
    }
    for write in this.writes.iter().filter(|write| !covers(&that.writes, write)) {
        add(GrowthKind::Write, write);
    }
    let bodies = [
        (GrowthKind::RequestBody, this.request_body, that.request_body),
        (GrowthKind::ResponseBody, this.response_body, that.response_body),
    ];
    for (kind, mode, before) in bodies {
        let longer = this.body_limit_bytes > that.body_limit_bytes;
        match (mode, before) {
            (BodyMode::None, _) | (BodyMode::Chunks, BodyMode::Chunks) => {}
            (BodyMode::Buffered, BodyMode::Buffered) if !longer => {}
            (BodyMode::Buffered, BodyMode::Buffered) => {
                add(kind, &format!("buffered up to {} bytes", this.body_limit_bytes));
            }
            (BodyMode::Buffered | BodyMode::Chunks, _) => add(kind, mode.as_str()),
        }
    }
    let (sees, saw) = (this.responses, that.responses);
    if (sees.has_local() && !saw.has_local()) || (sees.has_upstream() && !saw.has_upstream()) {
        add(GrowthKind::Responses, sees.as_str());
    }
    for backend in this.backends.difference(&that.backends) {
        add(GrowthKind::Backend, backend);
    }
    for tunnel in this.tunnels.difference(&that.tunnels) {
        add(GrowthKind::Tunnel, tunnel);
    }
}

/// Whether the declared fields cover `field`. `*` covers the headers of the message at hand, `@*` covers
/// attributes, `trailer:*` trailers; none of them covers pseudo-headers, nor the headers of a request that are read with its response.
fn covers(fields: &BTreeSet<String>, field: &str) -> bool {
    let star = match field.chars().next() {
        Some('@') => Some("@*"),
        Some(':') | None => None,
        Some(_) if field.starts_with("request:") => None,
        Some(_) if field.starts_with(TRAILER) => Some("trailer:*"),
        Some(_) => Some("*"),
    };
    fields.contains(field) || star.is_some_and(|star| fields.contains(star))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set<T: Ord + From<&'static str>>(names: &[&'static str]) -> BTreeSet<T> {
        names.iter().map(|name| T::from(name)).collect()
    }

    fn declaring(change: impl FnOnce(&mut DeclaredAccess)) -> Authority {
        let mut declared = DeclaredAccess {
            reads: set(&["cookie", ":path", "@peer.spiffe-id"]),
            writes: set(&["x-a"]),
            request_body: BodyMode::Buffered,
            body_limit_bytes: 1000,
            ..DeclaredAccess::default()
        };
        change(&mut declared);
        Authority {
            hooks: BTreeSet::from([Hook::Request]),
            imports: set(&["log"]),
            declaration: Declaration::Known(declared),
        }
    }

    fn grown(new: &Authority, old: &Authority) -> Vec<String> {
        new.grows_beyond(old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_a_filter_may_newly_do_is_named_and_what_it_lost_is_no_growth() {
        let old = declaring(|_| {});
        let mut new = declaring(|it| {
            it.reads = set(&["*", ":path", "request:cookie"]);
            it.writes = set(&["x-a", ":path"]);
            it.response_body = BodyMode::Chunks;
            it.body_limit_bytes = 1001;
            it.responses = Responses::All;
            it.backends = set(&["shop/cart:80"]);
            it.tunnels = set(&["shop/db:5432"]);
        });
        new.hooks = BTreeSet::from([Hook::Request, Hook::Tick]);
        new.imports = set(&["http-client"]);
        assert_eq!(
            grown(&new, &old),
            [
                "hook tick",
                "import http-client",
                "read *",
                "read request:cookie",
                "write :path",
                "request-body buffered up to 1001 bytes",
                "response-body chunks",
                "responses all",
                "backend shop/cart:80",
                "tunnel shop/db:5432",
            ]
        );
        assert_eq!(grown(&old, &new), ["import log", "read @peer.spiffe-id"]);
    }

    #[test]
    fn a_star_covers_headers_and_nothing_else() {
        let old = declaring(|it| {
            it.reads = set(&["*"]);
            it.writes = set(&["*", "@*"]);
        });
        let new = declaring(|it| {
            it.reads = set(&["a", ":path", "@x", "request:a", "trailer:a"]);
            it.writes = set(&["a", "@x", ":authority"]);
        });
        assert_eq!(
            grown(&new, &old),
            ["read :path", "read @x", "read request:a", "read trailer:a", "write :authority"]
        );
    }

    #[test]
    fn another_way_to_see_bodies_is_a_growth_and_none_is_not() {
        use BodyMode::{Buffered, Chunks, None};
        for (mode, before, grows) in [
            (None, Buffered, false),
            (Buffered, Buffered, false),
            (Chunks, Chunks, false),
            (Buffered, None, true),
            (Chunks, Buffered, true),
            (Buffered, Chunks, true),
        ] {
            let of = |mode| declaring(|it| it.response_body = mode);
            assert_eq!(!grown(&of(mode), &of(before)).is_empty(), grows, "{mode:?} {before:?}");
        }
    }

    #[test]
    fn what_nobody_knows_counts_as_growth() {
        let known = declaring(|_| {});
        let unknown =
            Authority { declaration: Declaration::Unknown("no rutes".into()), ..known.clone() };
        for (new, old) in [(&known, &unknown), (&unknown, &known), (&unknown, &unknown)] {
            assert_eq!(grown(new, old), ["unknown no rutes"]);
        }
    }

    fn fields() -> impl Strategy<Value = BTreeSet<String>> {
        let field = prop::sample::select(vec!["*", "a", "b", ":path", "@x", "@*", "request:a"]);
        prop::collection::btree_set(field.prop_map(str::to_owned), 0..5)
    }

    proptest! {
        #[test]
        fn growth_is_empty_for_itself_and_for_any_part_of_itself(
            reads in fields(), writes in fields(), fewer in fields(),
        ) {
            let of = |reads: BTreeSet<String>, writes| declaring(|it| {
                it.reads = reads;
                it.writes = writes;
            });
            let whole = of(reads.clone(), writes.clone());
            prop_assert_eq!(whole.grows_beyond(&whole), vec![]);
            let part = of(reads.intersection(&fewer).cloned().collect(), writes);
            prop_assert_eq!(part.grows_beyond(&whole), vec![]);
        }

        #[test]
        fn growth_adds_up(a in fields(), b in fields(), c in fields()) {
            let of = |reads| declaring(|it| it.reads = reads);
            let (a, b, c) = (of(a), of(b), of(c));
            // If neither of two steps grows, both together do not: a reviewer may review one release at a
            // time.
            if b.grows_beyond(&a).is_empty() && c.grows_beyond(&b).is_empty() {
                prop_assert_eq!(c.grows_beyond(&a), vec![]);
            }
        }
    }
}

//! Documents, and an index of their owners.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Bound;

use tamis_resources::{
    Document, GUARDED, GuardReach, ReferenceGrantSpec, Resource, RouteNamespaces, Security,
    TouchTarget, guard_reach, machine,
};

use super::claim::Claim;
use super::hosts::GatewayHosts;
use super::{RequiredRight, RequiredRights};

/// Documents of one address whose rights a claim of it needs: each of many with one address would ask for all others.
const MAX_HOLDERS: usize = 16;

/// Documents by `Kind/namespace/name`.
pub(super) struct Documents<'a> {
    pub(super) by_key: BTreeMap<&'a str, &'a Document>,
    /// Built once, when it is first needed and nothing changes any more.
    index: OnceCell<Index<'a>>,
}

/// An index, so that a change of many documents reads each of the others once.
#[derive(Default)]
struct Index<'a> {
    /// The documents that name a file.
    files: BTreeMap<String, Vec<&'a Document>>,
    /// What is attached to a document, by its kind and key.
    attached: BTreeMap<(String, String), Vec<&'a Document>>,
    /// Routes, by the kind and key of what they are attached to.
    routes: BTreeMap<(String, String), Vec<&'a Document>>,
    /// Attachments of filters and policies, by their namespace.
    guards: BTreeMap<&'a str, Vec<&'a Document>>,
    /// Attachments, by the filter that they run.
    users: BTreeMap<&'a str, Vec<&'a Document>>,
    identities: BTreeMap<&'a str, Vec<&'a Document>>,
    sockets: BTreeMap<SocketAddr, Vec<&'a Document>>,
    /// Hosts of routes, by their gateway.
    hosts: BTreeMap<String, GatewayHosts<'a>>,
    /// ReferenceGrants, by their namespace.
    grants: BTreeMap<&'a str, Vec<&'a ReferenceGrantSpec>>,
}

impl<'a> Index<'a> {
    fn of(documents: impl Iterator<Item = &'a Document>) -> Self {
        let mut index = Self::default();
        for document in documents {
            index.add(document);
        }
        index
    }

    fn add(&mut self, document: &'a Document) {
        for file in document.files() {
            self.files.entry(file).or_default().push(document);
        }
        let attaches = matches!(
            document.resource,
            Resource::FilterAttachment(_)
                | Resource::UpstreamPolicy(_)
                | Resource::BackendTLSPolicy(_)
                | Resource::AuthorizationPolicy(_)
        );
        let guards = matches!(
            document.resource,
            Resource::FilterAttachment(_) | Resource::AuthorizationPolicy(_)
        );
        if guards {
            self.guards.entry(&document.metadata.namespace).or_default().push(document);
        }
        for touch in attaches.then(|| document.touches()).into_iter().flatten() {
            if let TouchTarget::Place { kind, key } = touch.what {
                self.attached.entry((kind, key)).or_default().push(document);
            }
        }
        for (kind, key) in document.route_parents() {
            self.routes.entry((kind.to_owned(), key)).or_default().push(document);
        }
        if let Resource::FilterAttachment(spec) = &document.resource {
            self.users.entry(&spec.filter).or_default().push(document);
        }
        let identity = match &document.resource {
            Resource::Gateway(spec) => spec.identity.as_deref(),
            Resource::Service(spec) => spec.identity.as_deref(),
            Resource::ReferenceGrant(spec) => {
                self.grants.entry(&document.metadata.namespace).or_default().push(spec);
                None
            }
            _ => None,
        };
        if let Some(identity) = identity {
            self.identities.entry(identity).or_default().push(document);
        }
        for claim in Claim::held(document) {
            match claim {
                // Borrowed above.
                Claim::Identity(_) => {}
                Claim::Socket(socket) => {
                    let holders = self.sockets.entry(socket).or_default();
                    if holders.len() < MAX_HOLDERS {
                        holders.push(document);
                    }
                }
                Claim::Host(gateway, host) => {
                    self.hosts.entry(gateway).or_default().add(host.as_deref(), document);
                }
            }
        }
    }

    /// The documents that have what is claimed, or a part of it.
    fn holding(&self, claim: &Claim) -> Vec<&'a Document> {
        let listed = match claim {
            Claim::Identity(identity) => self.identities.get(identity.as_str()),
            Claim::Socket(socket) => self.sockets.get(socket),
            Claim::Host(gateway, host) => {
                let hosts = self.hosts.get(gateway);
                return hosts.map(|all| all.competing(host.as_deref())).unwrap_or_default();
            }
        };
        listed.cloned().unwrap_or_default()
    }
}

impl<'a> Documents<'a> {
    pub(super) fn of(all: impl Iterator<Item = (&'a String, &'a Document)>) -> Self {
        let by_key = all.map(|(key, document)| (key.as_str(), document)).collect();
        Self { by_key, index: OnceCell::new() }
    }

    /// The same documents, with some replaced and some left out.
    pub(super) fn with<'b>(
        &self,
        removed: impl Iterator<Item = &'b String>,
        fresh: impl Iterator<Item = (&'a String, &'a Document)>,
    ) -> Self {
        let mut by_key = self.by_key.clone();
        for key in removed {
            by_key.remove(key.as_str());
        }
        by_key.extend(fresh.map(|(key, document)| (key.as_str(), document)));
        Self { by_key, index: OnceCell::new() }
    }

    fn index(&self) -> &Index<'a> {
        self.index.get_or_init(|| Index::of(self.by_key.values().copied()))
    }

    /// The documents that name a file.
    pub(super) fn naming(&self, path: &str) -> impl Iterator<Item = &'a Document> {
        self.index().files.get(path).cloned().unwrap_or_default().into_iter()
    }

    pub(super) fn spoken(&self, document: &Document, security: Security<'_>) -> RequiredRights {
        let mut needs = RequiredRights::default();
        self.speaks(document, security, &mut needs);
        needs
    }

    /// What a document needs by itself: its place, and what it touches.
    pub(super) fn speaks(
        &self,
        document: &Document,
        security: Security<'_>,
        needs: &mut RequiredRights,
    ) {
        let me = format!("{}/{}", document.kind(), document.key());
        let namespace = &document.metadata.namespace;
        let authority = matches!(document.resource, Resource::Grant(_) | Resource::TrustPolicy(_));
        if authority {
            // Elsewhere they only take away, and only from what is of the namespace.
            let what = if security.is_in(namespace) { "decides" } else { "narrows" };
            needs.add(RequiredRight::Namespace(namespace.clone()), || {
                format!("{me} {what} what filters may do: this needs `operate` on {namespace}/*")
            });
            return;
        }
        if matches!(document.resource, Resource::FederatedTrustDomain(_)) {
            needs.add(RequiredRight::Namespace(namespace.clone()), || {
                format!("{me} says whom the mesh recognises: this needs `operate` on {namespace}/*")
            });
            return;
        }
        needs.add(RequiredRight::Place(document.key()), || format!("it changes {me}"));
        opens(document, &me, needs);
        for touch in document.touches() {
            let why = |what: &str| format!("{me} names {what} ({})", touch.pointer);
            match &touch.what {
                TouchTarget::Mesh => needs.add(RequiredRight::Mesh, || why("the Mesh")),
                TouchTarget::Place { kind, key } if !self.permits(document, kind, key) => {
                    needs.add(RequiredRight::Place(key.clone()), || why(&format!("{kind} {key}")));
                }
                // Permitted, decided above, or checked where it is claimed.
                TouchTarget::Place { .. }
                | TouchTarget::Filters(_)
                | TouchTarget::File(_)
                | TouchTarget::Identity(_)
                | TouchTarget::Socket(_)
                | TouchTarget::Host(_) => {}
            }
        }
    }

    /// What a document needs because it closes more than its targets.
    pub(super) fn reaches(&self, document: &Document, needs: &mut RequiredRights) {
        for reach in self.reach(document) {
            needs.add(right_of(&reach), || {
                let why = match &reach {
                    _ if document.is_stub() => "stands in for a guard that cannot be used",
                    GuardReach::Service(_) => "guards a route between services",
                    GuardReach::Mesh | GuardReach::Kind { .. } => {
                        "guards what is not there or cannot be used (apply that before it or with it)"
                    }
                };
                let me = format!("{}/{}", document.kind(), document.key());
                format!("{me} {why}, and so closes {}", words_of(&reach))
            });
        }
    }

    /// What a document closes beyond its targets, while these are the documents in force.
    fn reach(&self, document: &Document) -> BTreeSet<GuardReach> {
        let find = |kind: &str, key: &str| {
            self.by_key.get(format!("{kind}/{key}").as_str()).map(|found| &**found)
        };
        guard_reach(document, &find, &|kind, namespace| self.has(kind, namespace))
    }

    /// Whether there is a document of a kind in a namespace.
    fn has(&self, kind: &str, namespace: &str) -> bool {
        let start = format!("{kind}/{namespace}/");
        let from = (Bound::Included(start.as_str()), Bound::Unbounded);
        let mut after = self.by_key.range::<str, _>(from);
        after.next().is_some_and(|(key, _)| key.starts_with(&start))
    }

    /// What guards that were there `before` close beyond their targets once these documents are in force and did not, or
    /// did and no longer do: without what it guards, a guard closes whatever it may have been meant for, and with it nothing
    /// else. A guard that comes or goes has needs of its own.
    pub(super) fn closes(&self, key: &str, before: &Self, needs: &mut RequiredRights) {
        let Some((kind, place)) = key.split_once('/') else { return };
        let target = (kind.to_owned(), place.to_owned());
        let index = self.index();
        let routes = index.routes.get(&target).into_iter().flatten();
        let routes = routes.map(|route| (route.kind().to_owned(), route.key()));
        let targets = std::iter::once(target.clone()).chain(routes);
        let guards = targets.flat_map(|of| index.attached.get(&of).into_iter().flatten());
        self.shifts(guards.copied(), before, &format!("with {key} as it would be"), needs);
    }

    /// The same for guards whose target does not exist. Such a guard closes everything of its target's kind in its
    /// namespace, or, if there is nothing of that kind, everything: so only the first and the last document of a kind in
    /// a namespace matter, whatever their names. `keys` names every document that changes.
    pub(super) fn closes_kinds<'k>(
        &self,
        keys: impl Iterator<Item = &'k str>,
        before: &Self,
        needs: &mut RequiredRights,
    ) {
        let place = |key: &'k str| {
            let (kind, place) = key.split_once('/')?;
            Some((kind, place.split_once('/')?.0))
        };
        let places = keys.filter_map(place).filter(|(kind, _)| GUARDED.contains(kind));
        for (kind, namespace) in places.collect::<BTreeSet<_>>() {
            let (was, is) = (before.has(kind, namespace), self.has(kind, namespace));
            if was != is {
                let order = if is { "with the first" } else { "without the last" };
                let guards = self.index().guards.get(namespace).into_iter().flatten().copied();
                let cause = format!("{order} {kind} of {namespace}");
                self.shifts(guards, before, &cause, needs);
            }
        }
    }

    fn shifts(
        &self,
        guards: impl Iterator<Item = &'a Document>,
        before: &Self,
        cause: &str,
        needs: &mut RequiredRights,
    ) {
        for guard in guards {
            let key = format!("{}/{}", guard.kind(), guard.key());
            let Some(known) = before.by_key.get(key.as_str()).map(|known| before.reach(known))
            else {
                continue;
            };
            let reach = self.reach(guard);
            for shifted in reach.symmetric_difference(&known) {
                let verb = if reach.contains(shifted) { "closes" } else { "no longer closes" };
                let why = format!("{cause}, a guard {verb} {}", words_of(shifted));
                needs.add_elsewhere(RequiredRights::of(right_of(shifted)), &why);
            }
        }
    }

    /// The attachments that run a filter, whose entry in the catalogue is to go or to name another world: they are refused
    /// without it, and close what they guard.
    pub(super) fn users(&self, old: &Document, new: Option<&Document>, needs: &mut RequiredRights) {
        let Resource::Filter(was) = &old.resource else { return };
        let stays = matches!(new.map(|new| &new.resource), Some(Resource::Filter(is))
            if is.world == was.world && is.receives == was.receives);
        if stays {
            return;
        }
        let key = old.key();
        for user in self.index().users.get(key.as_str()).into_iter().flatten() {
            let why = format!("something runs the filter {key}");
            needs.add_elsewhere(RequiredRights::of_services([user.key().as_str()]), &why);
        }
    }

    /// Services that a grant of security lets a filter call and that the grant before did not: their owners permit it, or
    /// whoever writes it has the rights to them. Taking one away needs nothing of the kind.
    pub(super) fn callees(
        &self,
        new: &Document,
        old: Option<&Document>,
        security: Security<'_>,
        needs: &mut RequiredRights,
    ) {
        if !matches!(new.resource, Resource::Grant(_)) || !security.is_in(&new.metadata.namespace) {
            return;
        }
        let known = old.map(Document::touches).unwrap_or_default();
        for touch in new.touches() {
            let TouchTarget::Place { kind, key } = &touch.what else { continue };
            let is_new = known.iter().all(|one| one.what != touch.what);
            if is_new && !self.permits(new, kind, key) {
                needs.add(RequiredRight::Place(key.clone()), || {
                    let me = format!("{}/{}", new.kind(), new.key());
                    format!("{me} lets a filter call {kind} {key} ({})", touch.pointer)
                });
            }
        }
    }

    /// Whether the owner of what a document refers to permits it: by the `allowedRoutes` of a listener or
    /// by a ReferenceGrant.
    fn permits(&self, from: &Document, kind: &str, key: &str) -> bool {
        let Some((namespace, name)) = key.split_once('/') else { return false };
        if namespace == from.metadata.namespace {
            return false;
        }
        let route = matches!(
            from.resource,
            Resource::HTTPRoute(_)
                | Resource::GRPCRoute(_)
                | Resource::TLSRoute(_)
                | Resource::TCPRoute(_)
                | Resource::UDPRoute(_)
        );
        if route && kind == "Gateway" && self.is_open(key) {
            return true;
        }
        let from = (from.kind(), from.metadata.namespace.as_str());
        let grants = self.index().grants.get(namespace).into_iter().flatten();
        grants.into_iter().any(|grant| grant.permits(from, (kind, name)))
    }

    /// Whether a gateway has a listener for routes of all namespaces.
    fn is_open(&self, gateway: &str) -> bool {
        let document = self.by_key.get(format!("Gateway/{gateway}").as_str());
        let Some(Resource::Gateway(spec)) = document.map(|document| &document.resource) else {
            return false;
        };
        spec.listeners.iter().any(|listener| {
            let allowed = listener.allowed_routes.as_ref().and_then(|it| it.namespaces.as_ref());
            allowed.is_some_and(|it| it.from == RouteNamespaces::All)
        })
    }

    /// What is attached to a document: changing or removing the document changes the effect of what is
    /// attached.
    pub(super) fn hangs(&self, document: &Document, needs: &mut RequiredRights) {
        let target = (document.kind().to_owned(), document.key());
        for other in self.index().attached.get(&target).into_iter().flatten() {
            let why = format!("something is attached to {}/{}", target.0, target.1);
            needs.add_elsewhere(RequiredRights::of_services([other.key().as_str()]), &why);
        }
    }

    /// Names of the mesh that a document starts to use and that a document of another namespace has
    /// already: an identity, a socket of a sidecar, a host of a shared gateway. The first one keeps them.
    pub(super) fn claims(
        &self,
        new: &Document,
        old: Option<&Document>,
        needs: &mut RequiredRights,
    ) {
        let mut claims: BTreeSet<Claim> = Claim::made(new).into_iter().collect();
        for claim in old.map(Claim::made).unwrap_or_default() {
            claims.remove(&claim);
        }
        let me = format!("{}/{}", new.kind(), new.key());
        let before: Vec<&str> = old.map(own_machine).unwrap_or_default();
        for address in own_machine(new) {
            if !before.contains(&address) {
                needs.add(RequiredRight::Mesh, || {
                    format!(
                        "{me} has the address {address}, which is the machine of whoever calls it"
                    )
                });
            }
        }
        for claim in claims {
            if let Claim::Identity(id) = &claim
                && let Some(need) = identity_need(id, &new.metadata.namespace)
            {
                needs.add(need, || format!("{me} claims {}", claim.words()));
            }
            for other in self.index().holding(&claim) {
                let own = other.metadata.namespace == new.metadata.namespace;
                let whose = if own { "another name" } else { "another namespace" };
                let why = format!("{me} claims {}, which {whose} has", claim.words());
                needs.add_elsewhere(RequiredRights::of_services([other.key().as_str()]), &why);
            }
        }
    }
}

/// What a document opens beyond its own name: to others by a ReferenceGrant, or a way out of the mesh for all applications
/// of its namespace.
fn opens(document: &Document, me: &str, needs: &mut RequiredRights) {
    let namespace = &document.metadata.namespace;
    match &document.resource {
        Resource::ReferenceGrant(spec) => {
            for to in &spec.to {
                let (need, what) = match &to.name {
                    Some(name) => {
                        (RequiredRight::Place(format!("{namespace}/{name}")), name.as_str())
                    }
                    None => (RequiredRight::Namespace(namespace.clone()), "everything of a kind"),
                };
                needs.add(need, || format!("{me} lets others refer to {what} of {namespace}"));
            }
        }
        Resource::ExternalService(_) => {
            needs.add(RequiredRight::Namespace(namespace.clone()), || {
                format!("{me} opens a way out of the mesh for all applications of {namespace}")
            });
        }
        _ => {}
    }
}

/// The right to what a guard closes beyond its targets.
fn right_of(reach: &GuardReach) -> RequiredRight {
    match reach {
        GuardReach::Mesh => RequiredRight::Mesh,
        GuardReach::Kind { namespace, .. } => RequiredRight::Namespace(namespace.clone()),
        GuardReach::Service(key) => RequiredRight::Place(key.clone()),
    }
}

fn words_of(reach: &GuardReach) -> String {
    match reach {
        GuardReach::Mesh => "the whole mesh".to_owned(),
        GuardReach::Kind { namespace, .. } => {
            format!("all that it may be meant for in the namespace {namespace}")
        }
        GuardReach::Service(key) => format!("Service {key}"),
    }
}

/// The right to an identity that a document of `namespace` claims; `None` for one of that namespace. Policies allow
/// identities by patterns such as `spiffe://DOMAIN/ns/NAMESPACE/*`, so an identity that nobody has yet belongs to the
/// namespace in its path, and one with another path to nobody less than the mesh.
fn identity_need(id: &str, namespace: &str) -> Option<RequiredRight> {
    let path = id.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
    let mut segments = path.map(|(_, path)| path.split('/')).into_iter().flatten();
    match (segments.next(), segments.next()) {
        (Some("ns"), Some(owner)) if owner == namespace => None,
        (Some("ns"), Some(owner)) if !owner.is_empty() => {
            Some(RequiredRight::Namespace(owner.to_owned()))
        }
        _ => Some(RequiredRight::Mesh),
    }
}

/// The addresses of a document by which each proxy reaches its own machine: unix sockets, loopback and link-local addresses,
/// and names of this machine (RFC 6761 §6.3). What is there may believe whoever comes from the machine itself.
fn own_machine(document: &Document) -> Vec<&str> {
    let spec = match &document.resource {
        Resource::Service(spec) => spec,
        Resource::Gateway(spec) => {
            let directory = spec.acme.as_ref().map(|acme| acme.directory.as_str());
            return directory.filter(|url| is_url_of_own_machine(url)).into_iter().collect();
        }
        _ => return Vec::new(),
    };
    // Where there is a sidecar it alone is reached, and the addresses of its application are on its own machine.
    let reached = spec.endpoints.iter().flat_map(|one| match &one.sidecar {
        Some(sidecar) => vec![sidecar.as_str()],
        None => {
            let ports = one.ports.iter().map(|port| port.address.as_str());
            ports.chain([one.address.as_str()]).collect()
        }
    });
    reached.filter(|address| is_own_machine(address)).collect()
}

/// `url` has the form of an ACME directory's: `https://HOST[:PORT][/PATH]`.
fn is_url_of_own_machine(url: &str) -> bool {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    let authority = rest.split('/').next().unwrap_or_default();
    let has_port = !authority.ends_with(']') && authority.contains(':');
    is_own_machine(&if has_port { authority.to_owned() } else { format!("{authority}:443") })
}

fn is_own_machine(address: &str) -> bool {
    if address.starts_with("unix:") {
        return true;
    }
    if let Ok(socket) = address.parse::<SocketAddr>() {
        return machine::is_own_machine(socket.ip());
    }
    machine::is_localhost(address.rsplit_once(':').map_or(address, |(host, _)| host))
}

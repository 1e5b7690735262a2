//! The places of routes: a route is computed once for each listener that it is on, for each change of anybody.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tamis_resources::{Document, Listener, ParentKind, ParentRef, Resource};

use crate::documents::read;
use crate::record::ApplyRecord;
use crate::state::State;

/// The kinds that decide how many places there are.
const KINDS: [&str; 6] =
    ["GRPCRoute/", "Gateway/", "HTTPRoute/", "TCPRoute/", "TLSRoute/", "UDPRoute/"];

/// Whether a change may add places.
#[must_use]
pub fn has_places(applied: &ApplyRecord) -> bool {
    applied.documents.iter().any(|one| is_counted(&one.key))
}

fn is_counted(key: &str) -> bool {
    KINDS.iter().any(|kind| key.starts_with(kind))
}

impl State {
    /// The places of the routes of each namespace, after a change if there is one: for each route the listeners of gateways
    /// that it names, and one for each gateway or service that is not there.
    /// Documents of the change that cannot be used have none.
    #[must_use]
    pub fn route_places(&self, applied: Option<&ApplyRecord>) -> BTreeMap<String, usize> {
        let mut documents: Vec<Arc<Document>> = Vec::new();
        let mut gone: BTreeSet<&str> = BTreeSet::new();
        if let Some(applied) = applied {
            gone.extend(applied.removed.iter().map(String::as_str));
            for one in applied.documents.iter().filter(|one| is_counted(&one.key)) {
                documents.extend(read(one).ok());
                gone.insert(&one.key);
            }
        }
        for kind in KINDS {
            let all = self.documents().range(kind.to_owned()..);
            let all = all.take_while(|(key, _)| key.starts_with(kind));
            let stay = all.filter(|(key, _)| !gone.contains(key.as_str()));
            documents.extend(stay.map(|(_, one)| Arc::clone(&one.document)));
        }
        let gateways = documents.iter().filter_map(|one| match &one.resource {
            Resource::Gateway(spec) => Some((one.key(), spec.listeners.as_slice())),
            _ => None,
        });
        let gateways: HashMap<String, &[Listener]> = gateways.collect();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for document in &documents {
            let namespace = &document.metadata.namespace;
            let all = parents(document).iter().map(|parent| on(parent, namespace, &gateways));
            let all = all.fold(0, usize::saturating_add);
            let counted = places.entry(namespace.clone()).or_default();
            *counted = counted.saturating_add(all);
        }
        places.retain(|_, count| *count > 0);
        places
    }
}

fn parents(document: &Document) -> &[ParentRef] {
    match &document.resource {
        Resource::HTTPRoute(spec) => &spec.parent_refs,
        Resource::GRPCRoute(spec) => &spec.parent_refs,
        Resource::TLSRoute(spec) => &spec.parent_refs,
        Resource::TCPRoute(spec) => &spec.parent_refs,
        Resource::UDPRoute(spec) => &spec.parent_refs,
        _ => &[],
    }
}

/// The listeners of a gateway that a route names.
fn on(parent: &ParentRef, namespace: &str, gateways: &HashMap<String, &[Listener]>) -> usize {
    if parent.kind != ParentKind::Gateway {
        return 1;
    }
    let namespace = parent.namespace.as_deref().unwrap_or(namespace);
    let Some(listeners) = gateways.get(&format!("{namespace}/{}", parent.name)) else { return 1 };
    let named = listeners.iter().filter(|listener| {
        parent.section_name.as_ref().is_none_or(|name| *name == listener.name)
            && parent.port.is_none_or(|port| port == listener.port)
    });
    named.count()
}

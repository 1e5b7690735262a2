//! The proxies that documents declare.

use tamis_resources::{Document, NodeName, Resource};

/// Every proxy that the documents declare.
pub(crate) fn nodes(documents: &[Document]) -> Vec<NodeName> {
    let mut nodes = Vec::new();
    for document in documents {
        match &document.resource {
            Resource::Gateway(_) => nodes.push(NodeName::Gateway { key: document.key() }),
            Resource::Service(spec) => {
                let with =
                    spec.endpoints.iter().enumerate().filter(|(_, one)| one.sidecar.is_some());
                nodes.extend(
                    with.map(|(index, _)| NodeName::Sidecar { key: document.key(), index }),
                );
            }
            _ => {}
        }
    }
    nodes
}

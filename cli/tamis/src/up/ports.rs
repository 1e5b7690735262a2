//! A second instance of the same mesh on one machine: every port of the folder, moved by a number.

use crate::named_file;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use tamis_node::{DocumentPlaces, Documents};
use tamis_resources::{Document, Resource, ServiceEndpoint, parse};

/// The number that ports are moved by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    /// Added to every port that the folder's proxies listen on.
    pub(crate) offset: u16,
    /// Whether this command runs the applications, so that their ports move too.
    pub(crate) apps: bool,
}

impl Ports {
    /// The documents of a folder, with their ports moved.
    pub(crate) fn read(self, folder: &Path) -> Result<Documents> {
        let mut read = DocumentPlaces::folder(folder).read()?;
        if self.offset == 0 {
            return Ok(read);
        }
        let mut files: BTreeMap<String, Vec<Document>> = BTreeMap::new();
        for document in read.documents.drain(..) {
            files.entry(document.source.clone()).or_default().push(document);
        }
        for name in files.into_keys() {
            let path = folder.join(&name);
            let text = named_file::text(&path)
                .with_context(|| format!("{} cannot be read", path.display()))?;
            // The problems of the file have been reported before.
            read.documents.extend(parse(&name, &self.moved(&name, &text)?).0);
        }
        Ok(read)
    }

    /// A text of documents with its ports moved and everything else unchanged.
    pub(crate) fn moved(self, name: &str, text: &str) -> Result<String> {
        if self.offset == 0 {
            return Ok(text.to_owned());
        }
        let (documents, _) = parse(name, text);
        let mut places: Vec<(usize, usize)> = Vec::new();
        for document in &documents {
            for pointer in self.pointers(document) {
                let place = document.place(&pointer, "");
                places.push((place.start, place.end));
            }
        }
        places.sort_unstable();
        places.dedup();
        let mut moved = text.to_owned();
        for (start, end) in places.into_iter().rev() {
            let written = text.get(start..end).unwrap_or_default();
            moved.replace_range(start..end, &self.port(name, written)?);
        }
        Ok(moved)
    }

    /// The places of a document's listening ports.
    fn pointers(self, document: &Document) -> Vec<String> {
        let mut pointers = Vec::new();
        match &document.resource {
            Resource::Gateway(spec) => {
                let listeners = 0..spec.listeners.len();
                pointers.extend(listeners.map(|at| format!("/spec/listeners/{at}/port")));
                pointers.extend(spec.admin.is_some().then(|| "/spec/admin".to_owned()));
            }
            Resource::Service(spec) => {
                for (at, endpoint) in spec.endpoints.iter().enumerate() {
                    let own = self.of_endpoint(endpoint).into_iter();
                    pointers.extend(own.map(|name| format!("/spec/endpoints/{at}/{name}")));
                }
            }
            _ => {}
        }
        pointers
    }

    /// The same of an endpoint, each relative to it.
    fn of_endpoint(self, endpoint: &ServiceEndpoint) -> Vec<String> {
        let own = |address: &str| {
            let here = |address: SocketAddr| address.ip().is_loopback();
            self.apps && address.parse().is_ok_and(here)
        };
        let there = [
            ("address", own(&endpoint.address)),
            ("sidecar", endpoint.sidecar.is_some()),
            ("outbound", endpoint.outbound.is_some()),
            ("admin", endpoint.admin.is_some()),
        ];
        let there = there.into_iter().filter(|(_, there)| *there);
        let there = there.map(|(name, _)| name.to_owned());
        let ports = endpoint.ports.iter().enumerate().filter(|(_, one)| own(&one.address));
        let ports = ports.map(|(nth, _)| format!("ports/{nth}/address"));
        let called = 0..endpoint.outbound_tcp.len();
        let called = called.map(|nth| format!("outboundTcp/{nth}/address"));
        there.chain(ports).chain(called).collect()
    }

    /// A port, or an address with one, with the port moved.
    fn port(self, name: &str, written: &str) -> Result<String> {
        let digits = |c: char| c.is_ascii_digit();
        let end = written.rfind(digits).map_or(0, |at| at + 1);
        let front = written.get(..end).unwrap_or_default();
        let start = front.rfind(|c| !digits(c)).map_or(0, |at| at + 1);
        let (Some(before), Some(port), Some(after)) =
            (written.get(..start), written.get(start..end), written.get(end..))
        else {
            return Ok(written.to_owned());
        };
        let Ok(port) = port.parse::<u16>() else { return Ok(written.to_owned()) };
        let Some(moved) = port.checked_add(self.offset) else {
            bail!("{name}: port {port} and --port-offset {} are more than 65535", self.offset);
        };
        Ok(format!("{before}{moved}{after}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Port 8080 of 127.0.0.1:8080.
kind: Gateway
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: edge, namespace: shop }
spec:
  listeners: [{ name: http, port: 8080, protocol: HTTP }]
  admin: \"127.0.0.1:15090\"
---
kind: Service
apiVersion: tamis.dev/v1alpha1
metadata: { name: pay, namespace: shop }
spec:
  ports: [{ port: 80, protocol: http }]
  endpoints:
    - { address: '127.0.0.1:9001', sidecar: 127.0.0.1:15006 }
    - address: pay.example:9001
      outbound: 127.0.0.1:15001 # the application's
    - address: \"[::1]:9002\"
---
kind: Service
apiVersion: tamis.dev/v1alpha1
metadata: { name: db, namespace: shop }
spec:
  ports: [{ port: 5432, protocol: tcp }, { port: 6379, protocol: tcp }]
  endpoints:
    - address: 127.0.0.1:5432
      sidecar: 127.0.0.1:15016
      ports: [{ port: 6379, address: \"127.0.0.1:6379\" }]
      outboundTcp: [{ address: \"127.0.0.1:15017\", name: other, port: 5432 }]
";

    #[test]
    fn only_ports_that_are_listened_on_move() {
        let ports = Ports { offset: 10_000, apps: true };
        let moved = ports.moved("a.yaml", TEXT).unwrap();
        let wanted = TEXT
            .replace("port: 8080", "port: 18080")
            .replace("15090", "25090")
            .replace("'127.0.0.1:9001'", "'127.0.0.1:19001'")
            .replace("15006", "25006")
            .replace("15001", "25001")
            .replace("[::1]:9002", "[::1]:19002")
            .replace("127.0.0.1:5432", "127.0.0.1:15432")
            .replace("15016", "25016")
            .replace("127.0.0.1:6379", "127.0.0.1:16379")
            .replace("15017", "25017");
        assert_eq!(moved, wanted);
        // Applications that already run keep their ports.
        let elsewhere = Ports { apps: false, ..ports }.moved("a.yaml", TEXT).unwrap();
        for kept in ["'127.0.0.1:9001'", "[::1]:9002", "127.0.0.1:5432", "127.0.0.1:6379"] {
            assert!(elsewhere.contains(kept), "{kept}");
        }
        assert!(elsewhere.contains("127.0.0.1:25017"), "the sidecar listens there");
        assert_eq!(Ports { offset: 0, apps: true }.moved("a.yaml", TEXT).unwrap(), TEXT);
        let error = Ports { offset: 60_000, apps: true }.moved("a.yaml", TEXT).unwrap_err();
        assert!(error.to_string().contains("more than 65535"), "{error}");
    }
}

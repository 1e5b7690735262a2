//! `mtls`: which port a service also serves in plain text, and mistakes, with which no port does.

use super::*;
use crate::plan::PlaintextPlan;

const HTTP: &str = "{ port: 80, protocol: http }";
const TCP: &str = "{ port: 5432, protocol: tcp }, { port: 6379, protocol: tcp }";
const ONE: &str = "{ address: \"127.0.0.1:7000\", sidecar: \"127.0.0.1:7001\", ports: [{ port: 5432, address: \
    \"127.0.0.1:7003\" }, { port: 6379, address: \"127.0.0.1:7004\" }] }";
const OPAQUE: &str = "{ address: \"127.0.0.1:7000\", sidecar: \"127.0.0.1:7001\", ports: [{ port: 6379, address: \
    \"127.0.0.1:7004\" }] }";
const BARE: &str = "{ address: \"10.0.0.1:7000\", ports: [{ port: 5432, address: \"10.0.0.1:7003\" }, { port: 6379, \
    address: \"10.0.0.1:7004\" }] }";

fn service(mtls: &str, ports: &str, endpoints: &str) -> String {
    format!(
        "\n---\n{{ kind: Service, apiVersion: tamis.dev/v1alpha1, metadata: {{ name: db, namespace: data }}, spec: {{ {mtls}\
         identity: \"spiffe://shop.example/ns/data/service/db\", ports: [{ports}], endpoints: [{endpoints}] }} }}\n"
    )
}

#[test]
fn the_first_port_alone_is_served_in_plain_text_and_only_where_every_endpoint_has_a_sidecar() {
    let (all, opaque) = (format!("{HTTP}, {TCP}"), TCP.to_owned());
    let (both, permissive) = (format!("{ONE}, {BARE}"), "mtls: permissive, ");
    // The document; the listener that takes plain text, and its port; the codes of its problems.
    for (mtls, ports, endpoints, wanted, problems) in [
        ("", &all, ONE, None, &[][..]),
        ("mtls: strict, ", &all, ONE, None, &[]),
        (permissive, &all, ONE, Some(("inbound", 80)), &[]),
        (permissive, &opaque, OPAQUE, Some(("inbound:5432", 5432)), &[]),
        (permissive, &all, &both, None, &["service.mtls"]),
        ("mtls: strict, ", &all, &both, None, &["service.mtls"]),
        ("", &all, &both, None, &[]),
    ] {
        let text = service(mtls, ports, endpoints);
        let folded = folded(&text, "sidecar:data/db/0");
        assert_eq!(codes(&folded.problems), problems, "{text}");
        let plan = folded.plan.unwrap();
        let taking = plan.listeners.iter().filter_map(|one| {
            let PlaintextPlan { service, port } = one.plaintext.clone()?;
            assert!(one.tls.is_some() && service == "data/db", "{text}");
            Some((one.name.clone(), port))
        });
        let wanted: Vec<_> =
            wanted.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect();
        assert_eq!(taking.collect::<Vec<_>>(), wanted, "{text}");
    }
}

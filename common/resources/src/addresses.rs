//! The addresses in documents, and those that no document may have.
//!
//! 240.0.0.0/5 is where DNS names services: such an address is computed from a name, and belongs to whoever has the name.

use std::net::{IpAddr, SocketAddr};

use crate::kinds::{GatewaySpec, Resource, ServiceEndpoint, ServiceSpec};
use crate::machine::is_virtual;

/// The way out of an address of that range.
pub(crate) const WAY_OUT: &str = "addresses in 240.0.0.0/5 are those by which DNS names services, and nobody's own: write the address of a machine, or call the service by its name, NAME.NAMESPACE.mesh";

/// The addresses in a document by which DNS names services, each with its place.
pub(crate) fn reserved(resource: &Resource) -> Vec<(String, &str)> {
    let mut all = match resource {
        Resource::Service(spec) => of_service(spec),
        Resource::Gateway(spec) => of_gateway(spec),
        Resource::ExternalService(spec) => {
            numbered("/spec/addresses".to_owned(), &spec.addresses).collect()
        }
        _ => Vec::new(),
    };
    all.retain(|(_, text)| ip(text).is_some_and(is_virtual));
    all
}

fn of_gateway(spec: &GatewaySpec) -> Vec<(String, &str)> {
    let values = spec.addresses.iter().enumerate();
    let values = values.map(|(at, one)| (format!("/spec/addresses/{at}/value"), &*one.value));
    values.chain(spec.admin.as_deref().map(|text| ("/spec/admin".to_owned(), text))).collect()
}

fn of_service(spec: &ServiceSpec) -> Vec<(String, &str)> {
    let endpoints = spec.endpoints.iter().enumerate();
    endpoints.flat_map(|(at, one)| of_endpoint(&format!("/spec/endpoints/{at}"), one)).collect()
}

fn of_endpoint<'a>(base: &str, one: &'a ServiceEndpoint) -> Vec<(String, &'a str)> {
    let single = [
        ("address", Some(&one.address)),
        ("sidecar", one.sidecar.as_ref()),
        ("outbound", one.outbound.as_ref()),
        ("admin", one.admin.as_ref()),
    ];
    let single = single
        .into_iter()
        .filter_map(|(name, text)| Some((format!("{base}/{name}"), text?.as_str())));
    let ports = one.ports.iter().enumerate();
    let ports = ports.map(|(at, port)| (format!("{base}/ports/{at}/address"), &*port.address));
    let called = one.outbound_tcp.iter().enumerate();
    let called = called.map(|(at, to)| (format!("{base}/outboundTcp/{at}/address"), &*to.address));
    let captured = one.capture.iter().flat_map(|capture| {
        let outbound = numbered(format!("{base}/capture/outbound"), &capture.outbound);
        outbound.chain(numbered(format!("{base}/capture/dns"), &capture.dns))
    });
    single.chain(ports).chain(called).chain(captured).collect()
}

fn numbered(base: String, all: &[String]) -> impl Iterator<Item = (String, &str)> {
    let all = all.iter().enumerate();
    all.map(move |(at, text)| (format!("{base}/{at}"), text.as_str()))
}

/// The IP address of a text, with a port or without.
fn ip(text: &str) -> Option<IpAddr> {
    text.parse::<SocketAddr>().map(|it| it.ip()).or_else(|_| text.parse()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use crate::{parse, schemas};

    /// Every field of every kind that has an address, as a document with `@` in its place.
    const FIELDS: [(&str, &str); 11] = [
        ("Service", "{ address: \"@:80\" }"),
        ("Service", "{ address: \"10.0.0.1:80\", ports: [{ port: 81, address: \"@:80\" }] }"),
        ("Service", "{ address: \"10.0.0.1:80\", sidecar: \"@:80\" }"),
        ("Service", "{ address: \"10.0.0.1:80\", outbound: \"@:80\" }"),
        ("Service", "{ address: \"10.0.0.1:80\", admin: \"@:80\" }"),
        (
            "Service",
            "{ address: \"10.0.0.1:80\", outboundTcp: [{ address: \"@:80\", name: a, port: 1 }] }",
        ),
        ("Service", "{ address: \"10.0.0.1:80\", capture: { outbound: [\"@:80\"] } }"),
        (
            "Service",
            "{ address: \"10.0.0.1:80\", capture: { outbound: [\"127.0.0.1:1\"], dns: [\"@:80\"] } }",
        ),
        ("Gateway", "addresses: [{ value: \"@\" }]"),
        ("Gateway", "admin: \"@:80\""),
        ("ExternalService", "addresses: [\"@\"]"),
    ];

    fn document(kind: &str, field: &str) -> String {
        let (api, spec) = match kind {
            "Service" => (
                "tamis.dev/v1alpha1",
                format!("ports: [{{ port: 80, protocol: http }}], endpoints: [{field}]"),
            ),
            "Gateway" => (
                "gateway.networking.k8s.io/v1",
                format!("listeners: [{{ name: a, port: 1, protocol: HTTP }}], {field}"),
            ),
            _ => (
                "tamis.dev/v1alpha1",
                format!("hosts: [a.example], ports: [{{ port: 443, protocol: tcp }}], {field}"),
            ),
        };
        format!(
            "{{ kind: {kind}, apiVersion: {api}, metadata: {{ name: a, namespace: b }}, spec: {{ {spec} }} }}\n"
        )
    }

    #[test]
    fn no_document_has_an_address_by_which_dns_names_services() {
        for (kind, field) in FIELDS {
            for (address, taken) in [
                ("240.107.13.115", false),
                ("240.0.0.0", false),
                ("247.255.255.255", false),
                ("::ffff:240.0.0.1", false),
                ("64:ff9b::f000:1", false),
                ("239.255.255.255", true),
                ("248.0.0.1", true),
                ("10.0.0.9", true),
                ("203.0.113.5", true),
                ("2001:db8::1", true),
            ] {
                let (text, at) = match (address.contains(':'), field.contains("@:")) {
                    (true, true) => (field.replace('@', &format!("[{address}]")), "["),
                    _ => (field.replace('@', address), address),
                };
                let (documents, problems) = parse("a.yaml", &document(kind, &text));
                assert_eq!(documents.len(), usize::from(taken), "{text}: {problems:#?}");
                let Some(problem) = problems.first() else { continue };
                assert_eq!(
                    (problem.code.as_str(), problems.len()),
                    ("document.virtual-address", 1),
                    "{text}"
                );
                assert!(problem.help.as_deref().is_some_and(|help| help.contains("240.0.0.0/5")));
                let column = document(kind, &text).rfind(at).unwrap() + 1;
                assert!(problem.place.column.abs_diff(column) <= 1, "{text}: {:?}", problem.place);
            }
        }
    }

    #[test]
    fn every_field_with_an_address_is_looked_at() {
        for schema in schemas() {
            let mut fields = Vec::new();
            addresses(&schema.1, "", &mut fields);
            for field in fields {
                let name = field.rsplit('/').find(|part| *part != "*").unwrap();
                let looked = FIELDS.iter().any(|(kind, text)| {
                    *kind == schema.0 && text.find(&format!("{name}: \"@")).is_some()
                });
                assert!(looked, "{}{field} is not in the table", schema.0);
            }
        }
    }

    fn addresses(schema: &Json, path: &str, found: &mut Vec<String>) {
        let format = schema.get("format").and_then(Json::as_str);
        if matches!(format, Some("host-port" | "endpoint")) {
            found.push(path.to_owned());
        }
        for (name, field) in
            schema.get("properties").and_then(Json::as_object).into_iter().flatten()
        {
            addresses(field, &format!("{path}/{name}"), found);
        }
        if let Some(items) = schema.get("items") {
            addresses(items, &format!("{path}/*"), found);
        }
        for one in
            ["anyOf", "oneOf"].iter().filter_map(|word| schema.get(word)?.as_array()).flatten()
        {
            addresses(one, path, found);
        }
    }
}

//! Services over TLS outside the mesh: what a policy says, and mistakes, each of which closes what it was for.

use super::*;
use crate::plan::{ServerNamePlan, ServerTlsPlan};

const PEM: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----";

fn bank(ports: &str, endpoint: &str) -> String {
    format!(
        "\n---\n{{ kind: Service, apiVersion: tamis.dev/v1alpha1, metadata: {{ name: bank, namespace: out }}, spec: {{ \
         ports: [{ports}], endpoints: [{{ {endpoint} }}] }} }}\n"
    )
}

const PORTS: &str =
    "{ name: api, port: 443, protocol: http2 }, { name: old, port: 80, protocol: http }";
const OUTSIDE: &str = "address: \"bank.example:443\"";
const FILE: &str = "caCertificateRefs: [{ kind: File, name: ca.pem }]";

fn policy(name: &str, target: &str, validation: &str) -> String {
    format!(
        "\n---\n{{ kind: BackendTLSPolicy, apiVersion: gateway.networking.k8s.io/v1, metadata: {{ name: {name}, namespace: out }}, \
         spec: {{ targetRefs: [{{ kind: Service, {target} }}], validation: {{ hostname: bank.example, {validation} }} }} }}\n"
    )
}

const GATEWAY: &str = "{ kind: Gateway, apiVersion: gateway.networking.k8s.io/v1, metadata: { name: edge, namespace: out }, \
     spec: { identity: \"spiffe://a.example/edge\", listeners: [{ name: http, port: 8080, protocol: HTTP }] } }\n";

fn read(path: &str) -> Result<Vec<u8>, String> {
    match path {
        "ca.pem" => Ok(format!("{PEM}\n\n").into_bytes()),
        "other.pem" => Ok(PEM.into()),
        "text" => Ok(b"no certificate".to_vec()),
        "octets" => Ok(vec![0xff; 10]),
        "long" => Ok(vec![b'-'; 64 * 1024 + 1]),
        _ => Err("there is no such file".to_owned()),
    }
}

/// How a port is reached; `None`: its endpoints are left out.
type PortTls = Option<Option<UpstreamTlsPlan>>;

/// How each port is reached, and the codes and places of problems.
fn reached(text: &str) -> ([PortTls; 2], Vec<(String, String)>) {
    let text = format!("{GATEWAY}{text}");
    let folded = fold(&documents(&text), &"gateway:out/edge".parse().unwrap(), &read);
    let plan = folded.plan.unwrap();
    let port = |number: u16| {
        let name = format!("out/bank:{number}");
        let service = plan.services.iter().find(|one| one.name == name).unwrap();
        service.endpoints.first().map(|one| one.tls.clone())
    };
    let place = |one: &Problem| text[one.place.start..one.place.end].trim().to_owned();
    let problems = folded.problems.iter().map(|one| (one.code.clone(), place(one))).collect();
    ([port(443), port(80)], problems)
}

fn server(
    authorities: Option<&str>,
    names: Vec<ServerNamePlan>,
) -> Option<Option<UpstreamTlsPlan>> {
    let hostname = "bank.example".to_owned();
    let authorities = authorities.map(str::to_owned);
    Some(Some(UpstreamTlsPlan::Server(ServerTlsPlan { hostname, names, authorities })))
}

#[test]
fn a_service_is_reached_as_its_policy_says_and_a_policy_of_a_port_comes_first() {
    let service = bank(PORTS, OUTSIDE);
    let (clear, pem) = (Some(None), format!("{PEM}\n"));
    let of_file = server(Some(&pem), Vec::new());
    let system = server(None, Vec::new());
    let all = policy("all", "name: bank", FILE);
    let api = policy("api", "name: bank, sectionName: api", "wellKnownCACertificates: System");
    for (text, wanted) in [
        (String::new(), [clear.clone(), clear.clone()]),
        (all.clone(), [of_file.clone(), of_file.clone()]),
        (api.clone(), [system.clone(), clear]),
        (all + &api, [system, of_file]),
    ] {
        let (found, problems) = reached(&format!("{service}{text}"));
        assert_eq!(problems, [], "{text}");
        assert_eq!(found, wanted, "{text}");
    }
    let names = "subjectAltNames: [{ type: Hostname, hostname: a.example }, { type: URI, uri: \"spiffe://b/c\" }]";
    let two = "caCertificateRefs: [{ kind: File, name: ca.pem }, { group: \"\", kind: File, name: other.pem }]";
    let (found, problems) =
        reached(&format!("{service}{}", policy("p", "name: bank", &format!("{two}, {names}"))));
    assert_eq!(problems, []);
    let names =
        vec![ServerNamePlan::Dns("a.example".into()), ServerNamePlan::Uri("spiffe://b/c".into())];
    assert_eq!(found[0], server(Some(&format!("{pem}{pem}")), names));
    let text = serde_json::to_string(&found[0]).unwrap();
    let again: Option<Option<UpstreamTlsPlan>> = serde_json::from_str(&text).unwrap();
    assert_eq!(again, found[0]);
}

#[test]
fn a_policy_that_cannot_be_used_closes_what_it_was_for_and_is_named_with_its_place() {
    let service = bank(PORTS, OUTSIDE);
    let closed = [None, None];
    for (text, code, place, wanted) in [
        (
            policy("p", "name: bank", "subjectAltNames: []"),
            "backend-tls.authority",
            "validation",
            &closed,
        ),
        (
            policy("p", "name: bank", &format!("{FILE}, wellKnownCACertificates: System")),
            "backend-tls.authority",
            "validation",
            &closed,
        ),
        (file("gone.pem"), "backend-tls.authority", "gone.pem", &closed),
        (file("text"), "backend-tls.authority", "text", &closed),
        (file("octets"), "backend-tls.authority", "octets", &closed),
        (file("long"), "backend-tls.authority", "long", &closed),
        (
            policy(
                "p",
                "name: bank",
                &format!("{FILE}, subjectAltNames: [{{ type: URI, hostname: a.b }}]"),
            ),
            "backend-tls.name",
            "type",
            &closed,
        ),
        (
            policy(
                "p",
                "name: bank",
                &format!("{FILE}, subjectAltNames: [{{ type: Hostname, hostname: a.b, uri: x }}]"),
            ),
            "backend-tls.name",
            "type",
            &closed,
        ),
        // A port that is not there may be any of them.
        (policy("p", "name: bank, sectionName: apo", FILE), "ref.missing", "apo", &closed),
        (policy("p", "name: bnk", FILE), "ref.missing", "bnk", &[Some(None), Some(None)]),
        // Only the port is closed that the policy names.
        (
            policy(
                "p",
                "name: bank, sectionName: api",
                "caCertificateRefs: [{ kind: File, name: no }]",
            ),
            "backend-tls.authority",
            "no",
            &[None, Some(None)],
        ),
    ] {
        let (found, problems) = reached(&format!("{service}{text}"));
        let [(found_code, found_place)] = &problems[..] else { panic!("{text}: {problems:?}") };
        assert_eq!(found_code, code, "{text}");
        assert!(found_place.contains(place), "{text}: {found_place}");
        assert_eq!(&found, wanted, "{text}");
    }
    let meshed = bank(
        "{ port: 443, protocol: http2 }",
        "address: \"127.0.0.1:1\", sidecar: \"127.0.0.1:2\"",
    )
    .replace("ports:", "identity: \"spiffe://a.example/bank\", ports:");
    let text = format!("{GATEWAY}{meshed}{}", policy("p", "name: bank", FILE));
    let folded = fold(&documents(&text), &"gateway:out/edge".parse().unwrap(), &read);
    assert_eq!(codes(&folded.problems), ["backend-tls.mesh"]);
    assert_eq!(folded.plan.unwrap().services[0].endpoints, []);
}

fn file(name: &str) -> String {
    policy("p", "name: bank", &format!("caCertificateRefs: [{{ kind: File, name: {name} }}]"))
}

#[test]
fn of_two_policies_for_one_port_none_takes_effect_unless_it_is_in_force_and_both_places_are_named()
{
    let service = bank(PORTS, OUTSIDE);
    let both = policy("a", "name: bank", FILE)
        + &policy("b", "name: bank", "wellKnownCACertificates: System");
    let (found, problems) = reached(&format!("{service}{both}"));
    assert_eq!(found, [None, None]);
    let codes: Vec<&str> = problems.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(codes, ["backend-tls.conflict"; 2]);
    // The same name twice: nobody knows which one was meant.
    let twice = policy("a", "name: bank", FILE) + &policy("a", "name: bank", FILE);
    let (found, problems) = reached(&format!("{service}{twice}"));
    assert_eq!(found, [None, None]);
    assert!(problems.iter().any(|(code, _)| code == "document.duplicate"), "{problems:?}");
}

//! Captured connections: which listener has which address, and mistakes, each of which leaves a socket closed.

use super::*;
use crate::fold_under;
use crate::kinds::Egress;
use crate::plan::{CapturedPlan, ListenerPlan};

fn service(name: &str, ports: &str, endpoints: &str) -> String {
    format!(
        "\n---\n{{ kind: Service, apiVersion: tamis.dev/v1alpha1, metadata: {{ name: {name}, namespace: data }}, spec: {{ \
         identity: \"spiffe://shop.example/ns/data/service/{name}\", ports: [{ports}], endpoints: [{endpoints}] }} }}\n"
    )
}

const HTTP: &str = "{ port: 80, protocol: http }";
const TCP: &str = "{ port: 5432, protocol: tcp, maxConnections: 9 }";
const BOTH: &str = "outbound: [\"127.0.0.1:15001\", \"[::1]:15001\"], dns: [\"127.0.0.1:15053\"]";

/// A service with two replicas and a `tcp` port, one of IPv6, one without sidecars, and the caller.
fn mesh(capture: &str) -> String {
    let db = |last: u8| {
        format!(
            "{{ address: \"10.0.0.{last}:8080\", sidecar: \"10.0.0.{last}:15006\", ports: [{{ port: 5432, address: \
             \"10.0.0.{last}:5432\" }}] }}"
        )
    };
    service("db", &format!("{HTTP}, {TCP}"), &format!("{}, {}", db(2), db(3)))
        + &service("six", HTTP, "{ address: \"[fd00::4]:8080\", sidecar: \"[fd00::4]:15006\" }")
        + &service("bare", HTTP, "{ address: \"10.0.0.5:8080\" }")
        + &service("near", HTTP, "{ address: \"127.0.0.1:8080\", sidecar: \"10.0.0.6:15006\" }")
        + &service(
            "web",
            HTTP,
            &format!(
                "{{ address: \"10.0.0.1:8080\", sidecar: \"10.0.0.1:15006\", capture: {{ {capture} }} }}"
            ),
        )
}

fn captured<'a>(plan: &'a NodePlan, name: &str) -> (&'a ListenerPlan, &'a CapturedPlan) {
    let listener = plan.listeners.iter().find(|one| one.name == name).unwrap();
    (listener, listener.captured.as_ref().unwrap())
}

/// The addresses of a listener with their hosts, those of DNS under their names.
fn destinations(plan: &NodePlan, name: &str) -> Vec<(String, Option<String>)> {
    let names = &plan.dns.as_ref().unwrap().names;
    let shown = |address: &str| {
        let named = names.iter().find(|(_, one)| address.starts_with(&format!("{one}:")));
        named.map_or_else(|| address.to_owned(), |(name, one)| address.replace(one, name))
    };
    let (_, captured) = captured(plan, name);
    let mut all: Vec<_> =
        captured.destinations.iter().map(|one| (shown(&one.address), one.host.clone())).collect();
    all.sort();
    all
}

#[test]
fn an_address_leads_to_its_service_and_all_others_to_the_rule_for_what_leaves() {
    let folded = folded(&mesh(BOTH), "sidecar:data/web/0");
    assert_eq!(codes(&folded.problems), Vec::<&str>::new());
    let plan = folded.plan.unwrap();
    let names: Vec<&str> = plan.listeners.iter().map(|one| one.name.as_str()).collect();
    let expected = [
        "inbound",
        "captured",
        "captured:db.data:5432",
        "captured:egress",
        "captured-ipv6",
        "captured-ipv6:egress",
    ];
    assert_eq!(names, expected);
    let host = |name: &str| Some(format!("{name}.data.mesh"));
    let to = |address: &str, name: &str| (address.to_owned(), host(name));
    assert_eq!(
        destinations(&plan, "captured"),
        [
            to("10.0.0.1:8080", "web"),
            to("10.0.0.2:8080", "db"),
            to("10.0.0.3:8080", "db"),
            to("10.0.0.5:8080", "bare"),
            to("bare.data.mesh:80", "bare"),
            to("db.data.mesh:80", "db"),
            to("near.data.mesh:80", "near"),
            to("six.data.mesh:80", "six"),
            to("web.data.mesh:80", "web"),
        ]
    );
    assert_eq!(destinations(&plan, "captured-ipv6"), [to("[fd00::4]:8080", "six")]);
    let unread = |address: &str| (address.to_owned(), None);
    assert_eq!(
        destinations(&plan, "captured:db.data:5432"),
        ["10.0.0.2:5432", "10.0.0.3:5432", "db.data.mesh:5432"].map(unread)
    );
    let (listener, _) = captured(&plan, "captured:db.data:5432");
    let rules = listener.tcp.as_ref().unwrap();
    assert_eq!(
        (rules.service.as_str(), rules.asked, rules.max_connections),
        ("data/db:5432", None, 9)
    );
    let service = plan.services.iter().find(|one| one.name == "data/db:5432").unwrap();
    assert!(service.endpoints.len() == 2 && service.endpoints.iter().all(|one| one.tls.is_some()));
    let (listener, rest) = captured(&plan, "captured:egress");
    assert!(listener.tcp.is_some() && rest.destinations.is_empty());
    let others = rest.others.as_ref().unwrap();
    assert_eq!(others.egress, Egress::RegistryOnly);
    let sidecars = ["10.0.0.1:15006", "10.0.0.2:15006", "10.0.0.3:15006", "10.0.0.6:15006"];
    assert_eq!(others.refused, sidecars);
    assert!(plan.listeners.iter().skip(1).all(|one| one.tls.is_none()));
    // Those that take requests have the filters of calls.
    let folded = super::folded(
        &mesh("outbound: [\"127.0.0.1:15001\"], egress: allow"),
        "sidecar:data/web/0",
    );
    let plan = folded.plan.unwrap();
    assert!(plan.dns.is_none());
    let (_, rest) = captured(&plan, "captured:egress");
    assert_eq!(rest.others.as_ref().unwrap().egress, Egress::Allow);
}

#[test]
fn an_address_of_two_services_leads_to_neither_and_does_not_leave() {
    let text = mesh(&format!("{BOTH}, egress: allow"))
        + &service("other", HTTP, "{ address: \"10.0.0.2:8080\", sidecar: \"10.0.0.7:15006\" }");
    let plan = folded(&text, "sidecar:data/web/0").plan.unwrap();
    let all = destinations(&plan, "captured");
    assert!(all.iter().all(|(address, _)| address != "10.0.0.2:8080"), "{all:?}");
    assert!(all.iter().any(|(address, _)| address == "other.data.mesh:80"), "{all:?}");
    let (_, rest) = captured(&plan, "captured:egress");
    assert!(rest.others.as_ref().unwrap().refused.contains(&"10.0.0.2:8080".to_owned()));
}

/// A service of any namespace: its ports and its endpoints.
fn of(namespace: &str, name: &str, ports: &str, endpoints: &str) -> String {
    service(name, ports, endpoints)
        .replace("namespace: data", &format!("namespace: {namespace}"))
        .replace("ns/data/", &format!("ns/{namespace}/"))
}

/// The caller, `beta/app`, and what its namespace declares; and a service of `gamma`.
fn tenants() -> String {
    of(
        "beta",
        "app",
        HTTP,
        &format!(
            "{{ address: \"10.0.0.1:8080\", sidecar: \"10.0.0.1:15006\", capture: {{ {BOTH}, egress: allow }} }}"
        ),
    ) + &of("beta", "db", HTTP, "{ address: \"10.9.0.9:80\" }, { address: \"[fd00::9]:80\" }")
        + "\n---\n{ kind: ExternalService, apiVersion: tamis.dev/v1alpha1, metadata: { name: pay, namespace: beta }, spec: { \
           hosts: [pay.example], ports: [{ port: 443, protocol: tcp }], addresses: [\"203.0.113.5\", \"10.9.0.5\"] } }\n"
        + &of("gamma", "api", HTTP, "{ address: \"10.8.0.8:80\" }")
}

/// What connections of `beta/app` to an address become: the host or the listener of a service, `refused`, or `leaves`.
fn reached(text: &str, security: Security<'_>, address: &str) -> String {
    let node = "sidecar:beta/app/0".parse().unwrap();
    let plan = fold_under(&documents(text), &node, &files, security).plan.unwrap();
    let mut found = Vec::new();
    for listener in &plan.listeners {
        let Some(captured) = &listener.captured else { continue };
        let to = captured.destinations.iter().filter(|one| one.address == address);
        found.extend(to.map(|one| one.host.clone().unwrap_or_else(|| listener.name.clone())));
        let refused = captured.others.iter().flat_map(|one| &one.refused);
        found.extend(refused.filter(|one| *one == address).map(|_| "refused".to_owned()));
    }
    assert!(found.len() < 2, "{address}: {found:?}");
    found.pop().unwrap_or_else(|| "leaves".to_owned())
}

#[test]
fn nobody_takes_or_closes_what_an_application_reaches_by_documents_of_another_namespace() {
    const TLS: &str = "{ port: 443, protocol: tcp }";
    let meshed =
        |address: &str| format!("{{ address: \"{address}\", sidecar: \"10.66.0.1:15006\" }}");
    let bare = |address: &str| format!("{{ address: \"{address}\" }}");
    let sidecar =
        |address: &str| format!("{{ address: \"127.0.0.1:80\", sidecar: \"{address}\" }}");
    let second = |address: &str| {
        let ports = format!("ports: [{{ port: 443, address: \"{address}\" }}]");
        format!("{{ address: \"127.0.0.1:80\", sidecar: \"10.66.0.1:15006\", {ports} }}")
    };
    let acme = |ports: &str, endpoints: &str| of("acme", "x", ports, endpoints);
    let security: &[String] = &["security".to_owned()];
    let owners = Security::Namespaces(security);
    let pay = "captured:pay.example:443";
    for (what, text, address, to) in [
        // What the namespace of the caller declares.
        ("an endpoint", acme(HTTP, &bare("10.9.0.9:80")), "10.9.0.9:80", "db.beta.mesh"),
        ("behind a sidecar", acme(HTTP, &meshed("10.9.0.9:80")), "10.9.0.9:80", "db.beta.mesh"),
        ("IPv6", acme(HTTP, &bare("[fd00::9]:80")), "[fd00::9]:80", "db.beta.mesh"),
        ("a sidecar", acme(HTTP, &sidecar("10.9.0.9:80")), "10.9.0.9:80", "db.beta.mesh"),
        (
            "a second port",
            acme(&format!("{HTTP}, {TLS}"), &second("10.9.0.9:80")),
            "10.9.0.9:80",
            "db.beta.mesh",
        ),
        ("a server outside", acme(TLS, &meshed("203.0.113.5:443")), "203.0.113.5:443", pay),
        ("one by a private address", acme(TLS, &meshed("10.9.0.5:443")), "10.9.0.5:443", pay),
        ("a sidecar for it", acme(HTTP, &sidecar("203.0.113.5:443")), "203.0.113.5:443", pay),
        // What nobody declares, outside of the mesh or on the machine of the caller.
        ("a public server", acme(TLS, &meshed("198.51.100.7:443")), "198.51.100.7:443", "leaves"),
        ("with requests", acme(HTTP, &meshed("198.51.100.7:80")), "198.51.100.7:80", "leaves"),
        ("and no sidecar", acme(HTTP, &bare("198.51.100.7:80")), "198.51.100.7:80", "leaves"),
        ("over IPv6", acme(TLS, &meshed("[2001:db8::7]:443")), "[2001:db8::7]:443", "leaves"),
        ("as a sidecar", acme(HTTP, &sidecar("198.51.100.7:443")), "198.51.100.7:443", "leaves"),
        (
            "as its second port",
            acme(&format!("{HTTP}, {TLS}"), &second("198.51.100.7:443")),
            "198.51.100.7:443",
            "leaves",
        ),
        (
            "of two services",
            acme(HTTP, &bare("198.51.100.7:80")) + &of("acme", "y", HTTP, &bare("198.51.100.7:80")),
            "198.51.100.7:80",
            "leaves",
        ),
        ("metadata", acme(HTTP, &meshed("169.254.169.254:80")), "169.254.169.254:80", "leaves"),
        (
            "metadata again",
            acme(HTTP, &meshed("100.100.100.200:80")),
            "100.100.100.200:80",
            "leaves",
        ),
        (
            "metadata of IPv6",
            acme(HTTP, &meshed("[fd00:ec2::254]:80")),
            "[fd00:ec2::254]:80",
            "leaves",
        ),
        (
            "as a sidecar",
            acme(HTTP, &sidecar("169.254.169.254:80")),
            "169.254.169.254:80",
            "leaves",
        ),
        (
            "of the own namespace",
            of("beta", "m", HTTP, &meshed("169.254.169.254:80")),
            "169.254.169.254:80",
            "leaves",
        ),
        // Services of others are reached by the addresses of their machines.
        ("a machine", acme(HTTP, &bare("10.7.0.7:80")), "10.7.0.7:80", "x.acme.mesh"),
        ("a pod", acme(HTTP, &meshed("192.168.7.7:80")), "192.168.7.7:80", "x.acme.mesh"),
        ("its port", acme(TLS, &meshed("172.16.7.7:443")), "172.16.7.7:443", "captured:x.acme:443"),
        (
            "of a shared network",
            acme(HTTP, &meshed("100.64.0.7:80")),
            "100.64.0.7:80",
            "x.acme.mesh",
        ),
        ("of IPv6", acme(HTTP, &meshed("[fd00::7]:80")), "[fd00::7]:80", "x.acme.mesh"),
        ("its sidecar", acme(HTTP, &sidecar("10.7.0.7:15006")), "10.7.0.7:15006", "refused"),
        ("two others", acme(HTTP, &bare("10.8.0.8:80")), "10.8.0.8:80", "refused"),
        // Public addresses count in the own namespace, and where security declares them.
        (
            "its own",
            of("beta", "p", HTTP, &meshed("198.51.100.7:80")),
            "198.51.100.7:80",
            "p.beta.mesh",
        ),
        ("two of its own", of("beta", "p", HTTP, &bare("10.9.0.9:80")), "10.9.0.9:80", "refused"),
        (
            "of security",
            of("security", "p", HTTP, &bare("198.51.100.7:80")),
            "198.51.100.7:80",
            "p.security.mesh",
        ),
    ] {
        let text = tenants() + &text;
        assert_eq!(reached(&text, owners, address), to, "{what}: {address}");
        // What the name of a service leads to never changes.
        let plan = folded(&text, "sidecar:beta/app/0").plan.unwrap();
        let named = format!("{}:80", plan.dns.unwrap().names["db.beta.mesh"]);
        assert_eq!(reached(&text, owners, &named), "db.beta.mesh", "{what}: {address}");
    }
    // Documents of one owner: every address counts, and the own namespace comes first.
    for (text, address, to) in [
        (acme(TLS, &meshed("198.51.100.7:443")), "198.51.100.7:443", "captured:x.acme:443"),
        (acme(HTTP, &bare("10.9.0.9:80")), "10.9.0.9:80", "db.beta.mesh"),
        (acme(HTTP, &sidecar("203.0.113.5:443")), "203.0.113.5:443", pay),
    ] {
        assert_eq!(reached(&(tenants() + &text), Security::Everybody, address), to, "{address}");
    }
}

#[test]
fn names_have_addresses_of_their_own_that_stay_whatever_else_there_is() {
    let names = |text: &str| folded(text, "sidecar:data/web/0").plan.unwrap().dns.unwrap().names;
    let before = names(&mesh(BOTH));
    let more: String = (0..200)
        .map(|at| service(&format!("s{at}"), HTTP, "{ address: \"192.0.2.1:1\" }"))
        .collect();
    let after = names(&(mesh(BOTH) + &more));
    assert_eq!((before.len(), after.len()), (5, 205));
    assert!(before.iter().all(|(name, address)| after[name] == *address));
    let mut addresses: Vec<std::net::Ipv4Addr> =
        after.values().map(|address| address.parse().unwrap()).collect();
    // 240.0.0.0/5: reserved, and no broadcast among them.
    assert!(addresses.iter().all(|one| (240..248).contains(&one.octets()[0])), "{addresses:?}");
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 205);
}

#[test]
fn a_mistake_is_named_with_its_place_and_opens_nothing() {
    let at = |capture: &str| mesh(capture);
    let bare = service(
        "lone",
        HTTP,
        "{ address: \"10.0.0.9:8080\", capture: { outbound: [\"127.0.0.1:15001\"] } }",
    );
    for (text, pointer, says, listeners) in [
        (at("outbound: [\"10.0.0.1:15001\"]"), "outbound", "no loopback address", 1),
        (at("outbound: [\"0.0.0.0:15001\"]"), "outbound", "no loopback address", 1),
        (at("outbound: [\"127.0.0.1:0\"]"), "outbound", "with a port", 1),
        (at("outbound: [\"localhost:15001\"]"), "outbound", "not an IP address", 1),
        (at("outbound: [\"127.0.0.1:1\", \"127.0.0.2:2\"]"), "outbound", "second address", 4),
        (at("outbound: [\"127.0.0.1:1\"], dns: [\"10.0.0.1:53\"]"), "dns", "no loopback", 4),
        (at("outbound: [\"127.0.0.1:1\"], dns: [\"127.0.0.1:1\"]"), "dns", "another listener", 4),
        (mesh(BOTH) + &bare, "capture", "an endpoint without `sidecar`", 6),
    ] {
        let folded = folded(&text, "sidecar:data/web/0");
        let found = folded.problems.iter().find(|one| one.code == "service.capture");
        let problem = found.unwrap_or_else(|| panic!("{says}: {:#?}", folded.problems));
        assert!(problem.message.contains(says), "{says}: {}", problem.message);
        assert!(problem.help.is_some(), "{pointer}");
        let plan = folded.plan.unwrap();
        assert_eq!(plan.listeners.len(), listeners, "{says}: {:?}", plan.listeners);
    }
}

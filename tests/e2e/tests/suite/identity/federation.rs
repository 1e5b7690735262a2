//! Two meshes of two trust domains, which recognise each other's members by bundles; and a registry whose root is elsewhere.

use std::fs;
use std::net::UdpSocket;

use serde_json::{Value, json};
use tamis_e2e::{Reply, eventually, eventually_or, free_port, get, request, root, tamis};
use tempfile::TempDir;

use super::Mesh;
use super::joined::{Place, Shop};
use crate::connections::raw;
use crate::control::{json as read, said};
use crate::docs::{follow, renumber};
use crate::tunnels::{ask_at, shouting, shouts};

/// The name by which applications of the partner call `pay`.
const HOST: &str = "pay.shop.example";

/// An address of this machine that is no loopback address: an ExternalService leads to other machines. What is sent there does
/// not leave the machine. It needs a network beside the loopback interface.
fn address() -> String {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("198.51.100.1:9").unwrap();
    socket.local_addr().unwrap().ip().to_string()
}

fn bundle(of: &Shop) -> Value {
    of.mesh.did(&["identity", "bundle", "--format", "spiffe"])
}

fn federated(domain: &str, bundle: &Value) -> String {
    let metadata = json!({ "name": "other", "namespace": "security" });
    let spec = json!({ "trustDomain": domain, "bundle": bundle.to_string() });
    json!({ "kind": "FederatedTrustDomain", "apiVersion": "tamis.dev/v1alpha1", "metadata": metadata, "spec": spec }).to_string()
}

impl Shop {
    /// Writes a file of documents and applies all of them.
    fn apply(&self, file: &str, text: &str) {
        fs::write(self.mesh.folder.path().join(file), text).unwrap();
        self.mesh.did(&["apply", "-f", ".", "--confirm"]);
    }
}

/// Waits until calls of the partner's application have this status and reason.
fn answers(what: &str, from: &Place, path: &str, is: impl Fn(&Reply) -> bool) {
    eventually_or(what, || {
        let reply = from.call_host(HOST, path);
        if is(&reply) { Ok(()) } else { Err(format!("{reply:?}")) }
    });
}

fn foreign(place: &Place) -> f64 {
    place.metric(&["tamis_handshakes_failed_total", "reason=\"foreign-domain\""])
}

#[test]
fn two_meshes_of_two_trust_domains_recognise_each_other_by_bundles_and_until_one_is_withdrawn() {
    let (mut shop, partner) =
        (Shop::start(&[]), Shop::of("partner.example", &["--growth-approvals", "0"]));
    let reached = format!("{}:{}", address(), free_port());
    let file = shop.mesh.folder.path().join("mesh.yaml");
    let text = fs::read_to_string(&file).unwrap().replace(&shop.pay.inbound, &reached);
    shop.apply("mesh.yaml", &text);
    shop.pay.inbound.clone_from(&reached);
    let _ours = [shop.joins(&shop.pay), shop.joins(&shop.cart)];
    let _theirs = [partner.joins(&partner.cart), partner.joins(&partner.guest)];
    shop.reaches("/home");

    // The partner recognises us and calls; we do not know it.
    let (own, theirs) = (bundle(&shop), bundle(&partner));
    assert_eq!(own["keys"][0]["use"], "x509-svid", "{own}");
    assert!(own["spiffe_sequence"].as_u64().is_some_and(|it| it > 0), "{own}");
    let (ip, port) = reached.rsplit_once(':').unwrap();
    let calls = format!(
        "{}\n---\nkind: ExternalService\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: pay-there, namespace: shop }}\nspec:\n  \
         hosts: [{HOST}]\n  addresses: [{ip}]\n  ports: [{{ port: 80, protocol: http, tls: {{ port: {port}, identity: \
         spiffe://shop.example/ns/shop/service/pay }} }}]\n",
        federated("shop.example", &own)
    );
    partner.apply("other.yaml", &calls);
    answers("a stranger is refused", &partner.cart, "/stranger", |reply| reply.status == 503);
    eventually("the refusal is counted", || (foreign(&shop.pay) >= 1.0).then_some(()));

    // Recognised is not allowed, and a rule that names it is.
    // That is growth of who is trusted, to which a second person agrees.
    fs::write(shop.mesh.folder.path().join("other.yaml"), federated("partner.example", &theirs))
        .unwrap();
    let all = ["apply", "-f", ".", "--confirm"];
    let refused = read(&shop.mesh.ask(&all));
    assert_eq!(refused["problem"]["refusals"][0]["code"], "guard.approvals", "{refused}");
    let subject = refused["problem"]["subject"].as_str().unwrap().to_owned();
    let bob = shop.person("bob", &["observe", "approve"]);
    shop.mesh.did(&["approve", &subject, "--token-file", &bob]);
    shop.mesh.did(&all);
    answers("nothing allows it", &partner.cart, "/no-rule", |reply| reply.status == 403);
    let of = |path: &'static str, reason: &'static str| {
        shop.record(reason, |one| {
            one["path"] == path && one["reason"].as_str().is_some_and(|it| it.starts_with(reason))
        })
    };
    assert_eq!(of("/no-rule", "authz.")["status"], 403);
    assert_eq!(shop.pay.identity()["federated"], json!(["partner.example"]));
    let known = shop.mesh.did(&["identity", "authority", "show"]);
    assert_eq!(known["federated"][0]["trustDomain"], "partner.example", "{known}");
    let ledger = "spiffe://partner.example/ns/shop/service/cart";
    let ours = "spiffe://shop.example/ns/shop/service/cart";
    shop.apply(
        "mesh.yaml",
        &text.replacen(&format!("[{ours}]"), &format!("[{ours}, {ledger}]"), 1),
    );
    answers("it is allowed", &partner.cart, "/allowed", |reply| reply.status == 200);
    let record = shop
        .record("the record of its call", |one| one["path"] == "/allowed" && one["status"] == 200);
    assert_eq!(record["peer"], ledger);
    let guest = partner.guest.call_host(HOST, "/guest");
    assert_eq!(guest.status, 403, "{guest:?}");

    // It is no hop of this mesh: what it claims about where a request comes from is not believed, as of own members.
    let forged = [
        ("host", HOST),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-client-cert", "URI=spiffe://shop.example/ns/shop/service/admin"),
        ("x-original-url", "/admin"),
        ("x-tamis-note", "forged"),
    ];
    let reply = request(&partner.cart.outbound, "GET", "/forged", &forged, b"");
    assert_eq!(reply.status, 200, "{reply:?}");
    let received = shop.backend.last().unwrap();
    assert!(received.line.contains("/forged"), "{received:?}");
    for (name, forged) in &forged[1..] {
        let claimed = received.headers.iter().find(|(_, value)| value.contains(forged));
        assert!(claimed.is_none(), "{name}: {received:?}");
    }

    // Where nothing decides about requests its own members go in and nobody else.
    let unguarded: Vec<&str> = text
        .split("---\n")
        .filter(|one| {
            let of = |kind: &str, name: &str| {
                one.contains(&format!("kind: {kind}\n")) && one.contains(&format!("name: {name},"))
            };
            !of("AuthorizationPolicy", "pay") && !of("FilterAttachment", "authz")
        })
        .collect();
    fs::write(shop.mesh.folder.path().join("mesh.yaml"), unguarded.join("---\n")).unwrap();
    shop.mesh.did(&["apply", "-f", ".", "--confirm", "--prune"]);
    eventually("own members go in", || (shop.cart.call("/own").status == 200).then_some(()));
    answers("nobody else does", &partner.cart, "/nothing-decides", |reply| reply.status == 403);
    assert_eq!(of("/nothing-decides", "peer.unguarded")["status"], 403);
    shop.apply(
        "mesh.yaml",
        &text.replacen(&format!("[{ours}]"), &format!("[{ours}, {ledger}]"), 1),
    );
    answers("it is allowed again", &partner.cart, "/again-allowed", |reply| reply.status == 200);

    // Its own trust domain is nobody else's, and a file of both is refused as a whole.
    fs::write(
        shop.mesh.folder.path().join("own.yaml"),
        federated("shop.example", &own).replace("other", "own"),
    )
    .unwrap();
    let refused = said(&shop.mesh.ask(&["apply", "-f", ".", "--confirm"]));
    assert!(refused.contains("federation.own"), "{refused}");
    fs::remove_file(shop.mesh.folder.path().join("own.yaml")).unwrap();

    // Tunnels of both, to an application that opens them.
    let application = raw(|stream, head| shouting(stream, &head)).to_string();
    let allowed = text.replacen(&format!("[{ours}]"), &format!("[{ours}, {ledger}]"), 1);
    shop.apply("mesh.yaml", &allowed.replace(&shop.backend.address.to_string(), &application));
    answers("its application is another", &partner.cart, "/other", |reply| reply.body == "ok");
    let opened = |outbound: &str, host: &str| {
        let (mut stream, head) = ask_at(outbound, (host, "/tunnel"), "websocket");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        shouts(&mut stream, "open").unwrap();
        stream
    };
    let mut theirs_open = opened(&partner.cart.outbound, HOST);
    let mut ours_open = opened(&shop.cart.outbound, "pay");

    // Withdrawn, it is a stranger again: on the connection that is open, and on others. The policy names it still.
    let before = foreign(&shop.pay);
    fs::remove_file(shop.mesh.folder.path().join("other.yaml")).unwrap();
    shop.mesh.did(&["apply", "-f", ".", "--prune", "--confirm"]);
    eventually("it is recognised no more", || {
        shop.pay.identity()["federated"].is_null().then_some(())
    });
    eventually("its tunnel ends", || shouts(&mut theirs_open, "still").is_none().then_some(()));
    shouts(&mut ours_open, "ours").unwrap();
    let last = partner.cart.call_host(HOST, "/withdrawn");
    assert_ne!(last.status, 200, "{last:?}");
    answers("new connections are refused", &partner.cart, "/again", |reply| reply.status == 503);
    eventually("and counted", || (foreign(&shop.pay) > before).then_some(()));
    assert_eq!(shop.cart.call("/still-home").status, 200, "its own members are not concerned");
}

#[test]
fn the_page_on_federation_does_what_it_says() {
    let folder = TempDir::new().unwrap();
    assert!(tamis(folder.path(), &["--version"]).status.success());
    let page = fs::read_to_string(root().join("docs/how-to/federation.md")).unwrap();
    let ports = ["5000", "5001", "5100", "5101"];
    let ports = ports.map(|port| (port.to_owned(), free_port().to_string()));
    let outputs = follow(folder.path(), &renumber(&page, &ports), |_, _| true);
    let shown: Vec<&String> = outputs
        .iter()
        .filter(|(commands, _)| commands.contains("identity authority show"))
        .map(|(_, out)| out)
        .collect();
    let [known, gone] = shown.as_slice() else { panic!("{outputs:?}") };
    assert!(known.contains("recognises partner.example") && known.contains("sha256:"), "{known}");
    assert!(!gone.contains("recognises"), "{gone}");
}

#[test]
fn a_registry_signs_identities_with_an_intermediate_of_a_root_that_stays_elsewhere() {
    let (folder, vault) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let at = |name: &str| vault.path().join(name).to_str().unwrap().to_owned();
    let (root_file, request, chain) = (at("root.pem"), at("request.pem"), at("chain.pem"));
    let domain = ["--data", "data", "--trust-domain", "shop.example"];
    let run = |arguments: &[&str]| tamis(folder.path(), arguments);
    let did = |arguments: &[&str]| {
        let done = run(arguments);
        assert!(done.status.success(), "{arguments:?}: {}", said(&done));
        said(&done)
    };
    let signs = |days: &str| {
        did(&[&["identity", "authority", "request", "--out", &request], &domain[..]].concat());
        did(&[
            "identity",
            "authority",
            "sign",
            &request,
            "--root",
            &root_file,
            "--days",
            days,
            "--out",
            &chain,
        ]);
    };
    did(&["identity", "authority", "init", "--trust-domain", "shop.example", "--out", &root_file]);
    signs("30");
    for file in [&request, &chain] {
        assert!(!fs::read_to_string(file).unwrap().contains("PRIVATE"), "{file}");
    }
    did(&[&["identity", "authority", "install", &chain], &domain[..]].concat());
    fs::create_dir(folder.path().join("mesh")).unwrap();
    let services = super::service("shop", "pay", 2);
    fs::write(folder.path().join("mesh/services.yaml"), services).unwrap();
    let mesh = Mesh::serve(folder, &["--trust-domain", "shop.example"]);
    mesh.did(&["apply", "-f", "mesh", "--confirm"]);
    assert!(!mesh.folder.path().join("data/authority/root.pem").exists());
    let first = mesh.did(&["identity", "authority", "show"]);
    assert_eq!(first["rootHere"], false, "{first}");
    drop(mesh.member(super::PAY));
    assert_eq!(mesh.refused(&["identity", "rotate"]), "identity.root-offline");

    // The next one, while it runs.
    let run = |arguments: &[&str]| tamis(mesh.folder.path(), arguments);
    let next =
        run(&[&["identity", "authority", "request", "--out", &request], &domain[..]].concat());
    assert!(next.status.success(), "{}", said(&next));
    let sign = ["identity", "authority", "sign", &request, "--root", &root_file, "--out", &chain];
    assert!(run(&sign).status.success());
    let installed =
        run(&[&["identity", "authority", "install", &chain, "--output", "json"], &domain[..]]
            .concat());
    assert!(installed.status.success(), "{}", said(&installed));
    let until = read(&installed)["intermediateUntilMs"].clone();
    eventually("the registry signs with it", || {
        let now = mesh.did(&["identity", "authority", "show"]);
        (now["intermediateUntilMs"] == until && until != first["intermediateUntilMs"]).then_some(())
    });
    drop(mesh.member(super::PAY_1));
    let again = mesh.again(&[]);
    assert_eq!(again.did(&["identity", "authority", "show"])["intermediateUntilMs"], until);
    let metrics = get(&again.address, "/healthz");
    assert_eq!(metrics.status, 200);
}

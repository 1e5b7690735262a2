//! Proxies whose SVIDs come from a SPIFFE agent.

use std::fs;
use std::path::{Path, PathBuf};

use tamis_e2e::{Backend, RunningProcess, eventually, eventually_or, free_port, tamis};
use tempfile::TempDir;

use super::agent::{Agent, Issued, Issuer};
use super::joined::{Place, Shop, documents, private_keys};
use crate::control::said;

const PAY: &str = "spiffe://shop.example/ns/shop/service/pay";
const CART: &str = "spiffe://shop.example/ns/shop/service/cart";
const GUEST: &str = "spiffe://shop.example/ns/shop/service/guest";
const REGISTRY: &str = "spiffe://shop.example/registry";

/// A folder of documents without a certificate file and without a registry.
struct Folder {
    folder: TempDir,
    backend: Backend,
    pay: Place,
    cart: Place,
    guest: Place,
}

impl Folder {
    fn new() -> Self {
        let (folder, backend) = (TempDir::new().unwrap(), Backend::start());
        let [pay, cart, guest] = ["pay", "cart", "guest"].map(Place::new);
        let nobody = format!("127.0.0.1:{}", free_port());
        let services = [
            pay.document(&backend.address.to_string()),
            cart.document(&nobody),
            guest.document(&nobody),
        ];
        fs::write(folder.path().join("mesh.yaml"), documents(&services.concat())).unwrap();
        let prepared = tamis(folder.path(), &["up", ".", "--prepare"]);
        assert!(prepared.status.success(), "{}", said(&prepared));
        Self { folder, backend, pay, cart, guest }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    fn arguments(&self, place: &Place) -> Vec<String> {
        let node = format!("sidecar:shop/{}/0", place.name);
        let agent = format!("unix://{}", self.socket().display());
        let mut all = ["proxy", "--node", &node, "--documents", ".", "--store", ".tamis/store"]
            .map(str::to_owned)
            .to_vec();
        all.extend(["--cache", ".tamis/cache", "--run-folder", "run"].map(str::to_owned));
        all.extend(["--access-log", "off", "--workload-api", &agent].map(str::to_owned));
        all
    }

    fn starts(&self, place: &Place) -> RunningProcess {
        let all = self.arguments(place);
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        RunningProcess::start(self.folder.path(), &all)
    }
}

fn ready(running: &RunningProcess) {
    running.event("the sidecar serves", |event| event["event"] == "ready");
}

fn reaches(cart: &Place, path: &str) {
    eventually_or("cart reaches pay", || {
        let reply = cart.call(path);
        if reply.status == 200 { Ok(()) } else { Err(format!("{reply:?}")) }
    });
}

/// How often the SVID of a proxy was replaced, and how often that failed.
fn renewals(place: &Place) -> (u64, u64) {
    let identity = place.identity();
    (identity["renewed"].as_u64().unwrap(), identity["failed"].as_u64().unwrap())
}

#[test]
fn sidecars_take_their_svids_from_a_spiffe_agent_and_serve_on_while_it_is_away() {
    let (mesh, issuer) = (Folder::new(), Issuer::new());
    // The agent starts later than a proxy.
    let pay = mesh.starts(&mesh.pay);
    eventually("the proxy waits", || pay.errors().contains("agent.sock").then_some(()));
    let all = || issuer.message(&[CART, PAY, GUEST]);
    let agent = Agent::start(&mesh.socket(), all());
    let running = [pay, mesh.starts(&mesh.cart), mesh.starts(&mesh.guest)];
    running.iter().for_each(ready);
    reaches(&mesh.cart, "/first");
    assert_eq!(mesh.guest.call("/stolen").status, 403, "recognised is not allowed");
    assert_eq!(mesh.backend.last().unwrap().line, "GET /first");
    assert_eq!(mesh.pay.identity()["id"], PAY);
    assert!(mesh.pay.metric(&["tamis_svid_seconds_left"]) > 0.0);

    // The next SVIDs, while requests go on; nothing is lost.
    agent.sends(all());
    eventually("the next SVID", || {
        assert_eq!(mesh.cart.call("/rotated").status, 200);
        (renewals(&mesh.pay).0 == 1 && renewals(&mesh.cart).0 == 1).then_some(())
    });

    // Without the agent they serve on, and say so.
    drop(agent);
    eventually("the outage is noticed", || (renewals(&mesh.pay).1 > 0).then_some(()));
    assert_eq!(mesh.cart.call("/outage").status, 200);
    let agent = Agent::start(&mesh.socket(), all());
    eventually("the agent is back", || (renewals(&mesh.pay).0 == 2).then_some(()));

    // A message without this proxy's SVID changes nothing.
    let failed = renewals(&mesh.pay).1;
    agent.sends(issuer.message(&[CART, GUEST]));
    eventually("it is noticed", || (renewals(&mesh.pay).1 > failed).then_some(()));
    assert_eq!(mesh.cart.call("/kept").status, 200);

    let own = mesh.folder.path().join(".tamis/keys");
    for found in private_keys(mesh.folder.path()) {
        assert!(Path::new(&found).starts_with(&own), "a key in {found}");
    }
}

#[test]
fn a_proxy_that_its_agent_knows_as_somebody_else_ends_with_the_ids_and_the_way_out() {
    let (mesh, issuer) = (Folder::new(), Issuer::new());
    let _agent = Agent::start(&mesh.socket(), issuer.message(&[CART, GUEST]));
    let all = mesh.arguments(&mesh.pay);
    let ends = |change: &dyn Fn(&mut Vec<String>)| {
        let mut all = all.clone();
        change(&mut all);
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let done = tamis(mesh.folder.path(), &all);
        assert!(!done.status.success(), "{}", said(&done));
        said(&done)
    };
    let text = ends(&|_| ());
    for part in [CART, GUEST, PAY, "agent.sock", "register that id"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let text = ends(&|all| drop(std::mem::replace(all.last_mut().unwrap(), "agent.sock".into())));
    assert!(text.contains("unix:///PATH"), "{text}");
}

#[test]
fn a_registry_with_certificates_of_the_same_authority_admits_a_proxy_by_the_svid_of_its_agent() {
    let issuer = Issuer::new();
    let own = TempDir::new().unwrap();
    let file = |name: &str| own.path().join(name).display().to_string();
    let Issued { certificate, key, .. } = issuer.issue(REGISTRY);
    fs::write(file("registry.crt"), certificate.pem()).unwrap();
    fs::write(file("registry.key"), key.serialize_pem()).unwrap();
    fs::write(file("ca.crt"), issuer.pem()).unwrap();
    let files = [file("registry.crt"), file("registry.key"), file("ca.crt")];
    let shop = Shop::with_files([&files[0], &files[1], &files[2]]);
    let socket = own.path().join("agent.sock");
    let _agents = ["pay", "cart"].map(|name| {
        let id = format!("spiffe://shop.example/ns/shop/service/{name}");
        Agent::start(&socket.with_extension(name), issuer.message(&[&id]))
    });
    let nobody = format!("unix://{}", socket.display());
    let text = shop.follows_not(&["--node", "sidecar:shop/pay/0", "--workload-api", &nobody]);
    assert!(text.contains("--director-id") && text.contains("--join"), "{text}");
    let start = |place: &Place| {
        let node = format!("sidecar:shop/{}/0", place.name);
        let agent = format!("unix://{}", socket.with_extension(place.name).display());
        let state = format!("state-{}", place.name);
        let ours = ["--node", &node, "--workload-api", &agent, "--director-id", REGISTRY];
        let running = shop.follows(&ours, &state);
        ready(&running);
        running
    };
    let _running = [start(&shop.pay), start(&shop.cart)];
    shop.reaches("/first");
    eventually("the registry knows that it serves", || {
        let status = shop.mesh.did(&["status"]).to_string();
        status.contains(PAY).then_some(())
    });
}

#[test]
fn a_proxy_that_joined_for_its_documents_uses_the_svid_of_its_agent_in_the_mesh() {
    let (shop, issuer) = (Shop::start(&[]), Issuer::new());
    let socket = shop.mesh.folder.path().join("agent.sock");
    let _agent = Agent::start(&socket, issuer.message(&[PAY, CART]));
    let agent = format!("unix://{}", socket.display());
    let start = |place: &Place| {
        let (node, file) =
            (format!("sidecar:shop/{}/0", place.name), format!("{}.join", place.name));
        shop.token(&node, &file, &[]);
        let ours = ["--join", &file, "--workload-api", &agent];
        let running = shop.follows(&ours, &format!("state-{}", place.name));
        ready(&running);
        running
    };
    let _running = [start(&shop.pay), start(&shop.cart)];
    shop.reaches("/first");
    // The registry's SVIDs end within an hour.
    let left = shop.pay.metric(&["tamis_svid_seconds_left"]);
    assert!(left > 7_200.0, "{left}");
}

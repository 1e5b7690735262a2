//! A mesh without a certificate file: sidecars join, follow the registry and prove themselves to each other.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tamis_e2e::{
    Backend, Relay, Reply, RunningProcess, eventually, eventually_or, exchange, free_port, get,
    request, root, tamis,
};
use tempfile::TempDir;

use super::Mesh;
use super::member::Asked;
use crate::control::{json as read, said};

/// The service that is called.
pub(super) const PAY: &str = "sidecar:shop/pay/0";
/// The caller that may call it.
pub(super) const CART: &str = "sidecar:shop/cart/0";
/// A member that may not.
pub(super) const GUEST: &str = "sidecar:shop/guest/0";

/// The trust domain of these meshes, unless a test says another one.
const DOMAIN: &str = "shop.example";

const HEAD: &str = "kind: TrustPolicy\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: local, namespace: security }\nspec:\n  \
    namespaces: [\"*\"]\n  keys: [{ name: local-dev, publicKeyFile: .tamis/keys/local-dev.pub }]\n  threshold: 1\n";

/// Who may call `pay`, and the filters of this mesh.
const POLICY: &str = "\
kind: AuthorizationPolicy
apiVersion: tamis.dev/v1alpha1
metadata: { name: pay, namespace: shop }
spec:
  targetRefs: [{ kind: Service, name: pay }]
  allow: [{ identities: [spiffe://shop.example/ns/shop/service/cart] }]
---
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: authz, namespace: shop }
spec: { targetRefs: [{ kind: Service, name: pay }], filter: tamis/authz, phase: authz, order: 10 }
---
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: route, namespace: shop }
spec: { targetRefs: [{ kind: Mesh }], filter: tamis/route, phase: traffic, order: 10 }
---
kind: Filter
apiVersion: tamis.dev/v1alpha1
metadata: { name: authz, namespace: tamis }
spec: { world: authorizer, receives: AuthorizationPolicy }
---
kind: Filter
apiVersion: tamis.dev/v1alpha1
metadata: { name: route, namespace: tamis }
spec: { world: route-policy }
---
kind: Grant
apiVersion: tamis.dev/v1alpha1
metadata: { name: route, namespace: security }
spec:
  filter: tamis/route
  request: { readHeaders: [\"*\"], writeHeaders: [\"*\", \":path\", \":authority\"], attributes: [\"*\"] }
  response: { writeHeaders: [\"*\"] }
  imports: { log: {} }
  limits: { time: 1s }
";

/// Where a sidecar listens.
pub(super) struct Place {
    pub(super) name: &'static str,
    pub(super) inbound: String,
    pub(super) outbound: String,
    pub(super) admin: String,
}

/// The registry of a mesh without a certificate file, and its documents.
pub(super) struct Shop {
    pub(super) mesh: Mesh,
    /// Between sidecars and the registry; its address is in the join files.
    pub(super) relay: Relay,
    /// The application of `pay`.
    pub(super) backend: Backend,
    pub(super) pay: Place,
    pub(super) cart: Place,
    pub(super) guest: Place,
}

impl Place {
    pub(super) fn new(name: &'static str) -> Self {
        let free = || format!("127.0.0.1:{}", free_port());
        Self { name, inbound: free(), outbound: free(), admin: free() }
    }

    pub(super) fn document(&self, application: &str) -> String {
        let Self { name, inbound, outbound, admin } = self;
        format!(
            "---\nkind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: shop }}\nspec:\n  \
             ports: [{{ port: 80, protocol: http }}]\n  identity: spiffe://shop.example/ns/shop/service/{name}\n  \
             endpoints:\n    - {{ address: \"{application}\", sidecar: \"{inbound}\", outbound: \"{outbound}\", admin: \"{admin}\" }}\n"
        )
    }

    /// A request of its application to `pay`.
    pub(super) fn call(&self, path: &str) -> Reply {
        self.call_host("pay", path)
    }

    /// A request of its application to a host.
    pub(super) fn call_host(&self, host: &str, path: &str) -> Reply {
        request(&self.outbound, "GET", path, &[("host", host)], b"")
    }

    /// The value of a metric whose line contains all of `parts`.
    pub(super) fn metric(&self, parts: &[&str]) -> f64 {
        let text = get(&self.admin, "/metrics").body;
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let line = lines.find(|line| parts.iter().all(|part| line.contains(part)));
        line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or(0.0)
    }

    /// The identity in its status.
    pub(super) fn identity(&self) -> Value {
        get(&self.admin, "/config").json()["identity"].clone()
    }

    /// Waits until it has a problem with this code.
    pub(super) fn problem(&self, code: &str) -> Value {
        eventually(&format!("{} reports {code}", self.name), || {
            let config = get(&self.admin, "/config");
            let config: Value = serde_json::from_str(&config.body).ok()?;
            let problems = config["problems"].as_array().cloned().unwrap_or_default();
            problems.into_iter().find(|one| one["code"] == code)
        })
    }
}

/// These services, who may call `pay`, and the filters of the mesh.
pub(super) fn documents(services: &str) -> String {
    let grant = fs::read_to_string(root().join("filters/authz/grant.yaml")).unwrap();
    let grant = grant.replace("time: 20ms", "time: 1s");
    format!("{HEAD}{services}---\n{POLICY}---\n{grant}")
}

impl Shop {
    /// Starts the registry of `shop.example`, with everything in force.
    pub(super) fn start(arguments: &[&str]) -> Self {
        Self::of(DOMAIN, arguments)
    }

    /// The same with another trust domain.
    pub(super) fn of(domain: &str, arguments: &[&str]) -> Self {
        let relay = Relay::start();
        let advertised = relay.address().to_owned();
        let ours = ["--trust-domain", domain, "--proxies-advertise", &advertised];
        Self::serving(relay, domain, &[&ours[..], arguments].concat())
    }

    /// The registry of `shop.example` with files: its certificate, its key, and the authority of proxies.
    pub(super) fn with_files([certificate, key, ca]: [&str; 3]) -> Self {
        let files = ["--proxies-certificate", certificate, "--proxies-key", key];
        Self::serving(Relay::start(), DOMAIN, &[&files[..], &["--proxies-ca", ca]].concat())
    }

    fn serving(relay: Relay, domain: &str, arguments: &[&str]) -> Self {
        let backend = Backend::start();
        let [pay, cart, guest] = ["pay", "cart", "guest"].map(Place::new);
        let folder = TempDir::new().unwrap();
        let nobody = format!("127.0.0.1:{}", free_port());
        let services = [
            pay.document(&backend.address.to_string()),
            cart.document(&nobody),
            guest.document(&nobody),
        ];
        let text = documents(&services.concat()).replace(DOMAIN, domain);
        fs::write(folder.path().join("mesh.yaml"), text).unwrap();
        let prepared = tamis(folder.path(), &["up", ".", "--prepare"]);
        assert!(prepared.status.success(), "{}", said(&prepared));
        let mesh = Mesh::serve(folder, arguments);
        relay.to(&[&mesh.proxies]);
        mesh.did(&["apply", "-f", ".", "--confirm"]);
        for name in ["route", "authz"] {
            let start = format!("tamis-{name}-");
            let store = fs::read_dir(mesh.folder.path().join(".tamis/store")).unwrap();
            let mut files = store.map(|entry| entry.unwrap().path());
            let is = |path: &Path| path.extension().is_some_and(|ending| ending == "wasm");
            let named = |path: &Path| path.to_str().is_some_and(|text| text.contains(&start));
            let file = files.find(|path| is(path) && named(path)).unwrap();
            let pushed = mesh.did(&["filter", "push", file.to_str().unwrap()]);
            let release = format!("tamis/{name}@{}", pushed["tag"].as_str().unwrap());
            mesh.did(&["pin", "*", &release, "--confirm"]);
        }
        Self { mesh, relay, backend, pay, cart, guest }
    }

    fn arguments<'a>(relay: &'a Relay, domain: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let ours = ["--trust-domain", domain, "--proxies-advertise", relay.address()];
        [&ours[..], more].concat()
    }

    /// The registry ends and starts again.
    pub(super) fn registry_again(self, arguments: &[&str]) -> Self {
        self.registry_after(arguments, |_| ())
    }

    /// Nobody reaches the registry until something was done; then it ends and starts again.
    pub(super) fn registry_after(self, arguments: &[&str], act: impl FnOnce(&Self)) -> Self {
        self.relay.cut();
        act(&self);
        self.registry_stopped(arguments, Duration::ZERO)
    }

    /// The registry ends, and starts again after `away`.
    pub(super) fn registry_stopped(self, arguments: &[&str], away: Duration) -> Self {
        self.relay.cut();
        let Self { mesh, relay, backend, pay, cart, guest } = self;
        let Mesh { folder, running, .. } = mesh;
        assert!(running.end("-INT").success());
        std::thread::sleep(away);
        let mesh = Mesh::serve(folder, &Self::arguments(&relay, DOMAIN, arguments));
        relay.to(&[&mesh.proxies]);
        Self { mesh, relay, backend, pay, cart, guest }
    }

    /// Makes a join file.
    pub(super) fn token(&self, node: &str, file: &str, more: &[&str]) {
        self.mesh.did(&[&["identity", "token", node, "--out", file], more].concat());
    }

    /// Starts the sidecar of a join file.
    pub(super) fn proxy(&self, file: &str, state: &str) -> RunningProcess {
        let log = format!("{state}.jsonl");
        RunningProcess::start(self.mesh.folder.path(), &self.sidecar(file, state, &log))
    }

    /// The output of a sidecar that refuses to start.
    pub(super) fn refused(&self, file: &str, more: &[&str]) -> String {
        let all = [&self.sidecar(file, "state-refused", "refused.jsonl"), more].concat();
        let done = tamis(self.mesh.folder.path(), &all);
        assert!(!done.status.success(), "{file}: {}", said(&done));
        said(&done)
    }

    /// Starts a sidecar that proves itself to the registry as `ours` say.
    pub(super) fn follows(&self, ours: &[&str], state: &str) -> RunningProcess {
        let log = format!("{state}.jsonl");
        let all = [&["proxy"][..], ours, &self.following(state, &log)].concat();
        RunningProcess::start(self.mesh.folder.path(), &all)
    }

    /// What such a sidecar says that does not start.
    pub(super) fn follows_not(&self, ours: &[&str]) -> String {
        let all =
            [&["proxy"][..], ours, &self.following("state-refused", "refused.jsonl")].concat();
        let done = tamis(self.mesh.folder.path(), &all);
        assert!(!done.status.success(), "{}", said(&done));
        said(&done)
    }

    fn sidecar<'a>(&'a self, file: &'a str, state: &'a str, log: &'a str) -> Vec<&'a str> {
        [&["proxy", "--join", file][..], &self.following(state, log)].concat()
    }

    fn following<'a>(&'a self, state: &'a str, log: &'a str) -> Vec<&'a str> {
        vec![
            "--follow",
            self.relay.address(),
            "--state",
            state,
            "--director-keys",
            "data/director.json",
            "--cache",
            ".tamis/cache",
            "--run-folder",
            "run",
            "--report-seconds",
            "1",
            "--access-log-file",
            log,
        ]
    }

    /// A sidecar that joined, with a new token, and serves.
    pub(super) fn joins(&self, place: &Place) -> RunningProcess {
        let (node, file) =
            (format!("sidecar:shop/{}/0", place.name), format!("{}.join", place.name));
        self.token(&node, &file, &[]);
        let running = self.proxy(&file, &format!("state-{}", place.name));
        running.event("the sidecar serves", |event| event["event"] == "ready");
        running
    }

    /// All three, once `cart` reaches `pay`.
    pub(super) fn joined(&self) -> [RunningProcess; 3] {
        let running = [self.joins(&self.pay), self.joins(&self.cart), self.joins(&self.guest)];
        self.reaches("/first");
        running
    }

    /// Waits until `cart` reaches `pay`.
    pub(super) fn reaches(&self, path: &str) {
        eventually_or("cart reaches pay", || {
            let reply = self.cart.call(path);
            if reply.status == 200 { Ok(()) } else { Err(format!("{reply:?}")) }
        });
    }

    /// Records of the sidecar of `pay`.
    pub(super) fn record(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || {
            let text = fs::read_to_string(self.mesh.folder.path().join("state-pay.jsonl")).ok()?;
            let records = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            records.into_iter().find(|record| is(record))
        })
    }
}

/// Files below a folder that contain a private key.
pub(super) fn private_keys(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(private_keys(&path));
        } else if path.is_file()
            && fs::read(&path).unwrap().windows(11).any(|at| at == b"PRIVATE KEY")
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn sidecars_without_certificate_files_prove_themselves_and_only_the_allowed_identity_gets_through()
{
    let shop = Shop::start(&[]);
    let _running = shop.joined();

    assert_eq!(shop.backend.last().unwrap().line, "GET /first");
    let record = shop.record("the record of cart's call", |one| one["path"] == "/first");
    assert_eq!(record["peer"], "spiffe://shop.example/ns/shop/service/cart");
    let before = shop.backend.count();
    let refused = shop.guest.call("/stolen");
    assert_eq!(refused.status, 403, "{refused:?}");
    let reason = refused.header("x-tamis-reason").unwrap_or_default();
    assert!(reason.starts_with("authz."), "{refused:?}");
    let record = shop.record("the record of guest's call", |one| one["path"] == "/stolen");
    assert_eq!(record["peer"], "spiffe://shop.example/ns/shop/service/guest");
    assert_eq!(shop.backend.count(), before, "a refused request does not reach the application");

    // Clear text never gets in, and is counted with its reason.
    let answer =
        exchange(&shop.pay.inbound, b"GET / HTTP/1.1\r\nhost: pay\r\nconnection: close\r\n\r\n");
    assert!(!String::from_utf8_lossy(&answer).contains("200"), "{answer:?}");
    eventually("the failed handshake is counted", || {
        let count = shop.pay.metric(&["tamis_handshakes_failed_total", "reason=\"plaintext\""]);
        (count >= 1.0).then_some(())
    });

    // Only the registry's keys and the key that signs filters are on a disk.
    let folder = shop.mesh.folder.path();
    for found in private_keys(folder) {
        let ours = [folder.join("data"), folder.join(".tamis/keys")];
        assert!(ours.iter().any(|kept| Path::new(&found).starts_with(kept)), "a key in {found}");
    }
    let now = shop.pay.identity();
    assert_eq!(now["id"], "spiffe://shop.example/ns/shop/service/pay", "{now}");
    reported(&shop);
}

/// Each proxy reports who it is, until when, and its last renewal.
fn reported(shop: &Shop) {
    let first = shop.mesh.identity(PAY);
    let of = |found: &Value, list: &str| {
        let all = found[list].as_array().cloned().unwrap_or_default();
        let own = all.into_iter().find(|one| one["node"] == PAY);
        own.map(|one| one["identity"].clone()).unwrap_or_default()
    };
    for (arguments, list) in [
        (&["status"][..], "proxies"),
        (&["describe", "service", "pay", "-n", "shop"][..], "programmed"),
    ] {
        let found = of(&shop.mesh.did(arguments), list);
        assert_eq!(found["id"], "spiffe://shop.example/ns/shop/service/pay", "{found}");
        assert_eq!(found["expiresMs"], first["expiresMs"], "{found}");
        assert_eq!(found["renewedMs"], Value::Null, "{found}");
    }
    // Others have identities of their own, in their own documents.
    let cart = shop.mesh.did(&["describe", "service", "cart", "-n", "shop"]);
    assert_eq!(of(&cart, "programmed"), Value::Null);
}

#[test]
fn a_join_file_that_admits_nobody_ends_the_proxy_with_the_rule_and_the_way_out() {
    let shop = Shop::start(&[]);
    let folder = shop.mesh.folder.path().to_owned();
    let used = shop.joins(&shop.pay);
    assert!(used.end("-INT").success());
    shop.token(CART, "short.join", &["--ttl", "1s"]);
    shop.token(CART, "cart.join", &[]);
    let change = |name: &str, change: &dyn Fn(&mut Value)| {
        let text = fs::read_to_string(folder.join("cart.join")).unwrap();
        let mut file: Value = serde_json::from_str(&text).unwrap();
        change(&mut file);
        fs::write(folder.join(name), file.to_string()).unwrap();
    };
    change("other.join", &|file| file["node"] = PAY.into());
    let unknown = format!("tamis-join-{}", "0".repeat(64));
    change("unknown.join", &|file| file["token"] = unknown.clone().into());
    change("field.join", &|file| file["nodes"] = 1.into());
    change("impostor.join", &|file| {
        file["registryId"] = "spiffe://shop.example/ns/shop/pay".into();
    });
    fs::write(folder.join("text.join"), "token").unwrap();
    let rows: [(&str, &str, &[&str], &[&str]); 7] = [
        ("used twice", "pay.join", &[], &["join.replayed", "revoke"]),
        ("of another service", "other.join", &[], &["join.other-node", "identity token"]),
        ("unknown", "unknown.join", &[], &["join.unknown", "identity token"]),
        ("not the proxy that was named", "cart.join", &["--node", GUEST], &[CART, GUEST]),
        ("an unknown field", "field.join", &[], &["field.join", "nodes"]),
        ("no join file", "text.join", &[], &["text.join", "not a join file"]),
        ("absent", "absent.join", &[], &["absent.join"]),
    ];
    for (what, file, more, wanted) in rows {
        let errors = shop.refused(file, more);
        for word in wanted {
            assert!(errors.contains(word), "{what}: no {word} in {errors}");
        }
    }
    let short = fs::read_to_string(folder.join("short.join")).unwrap();
    let mut broken = Asked::join(&serde_json::from_str(&short).unwrap());
    broken.body["request"] = "PEM".into();
    eventually("the token expires", || {
        (broken.send(&shop.mesh.proxies, None).1["code"] == "join.expired").then_some(())
    });
    let errors = shop.refused("short.join", &[]);
    assert!(errors.contains("join.expired") && errors.contains("identity token"), "{errors}");
    // A token goes to nobody who does not prove that it is the registry.
    let waiting = shop.proxy("impostor.join", "state-refused");
    eventually("the impostor is noticed", || {
        waiting.errors().contains("spiffe://shop.example/registry").then_some(())
    });
    drop(waiting);
    // All of that left the token of cart as it was.
    let cart = shop.proxy("cart.join", "state-cart");
    cart.event("the sidecar serves", |event| event["event"] == "ready");
}

#[test]
fn a_proxy_that_cannot_start_here_uses_up_no_token() {
    let shop = Shop::start(&[]);
    let folder = shop.mesh.folder.path();
    shop.token(CART, "cart.join", &[]);
    fs::write(folder.join("a-file"), "").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    // An option, its value, and words of the refusal.
    let rows = [
        ("--state", "a-file", "a-file"),
        ("--state", "a-file/state", "a-file"),
        ("--director-keys", "nowhere.json", "nowhere.json"),
        ("--director-keys", "a-file", "a-file"),
        ("--policy-root", "nowhere.json", "nowhere.json"),
        ("--cache", "a-file", "a-file"),
        ("--access-log-file", "a-file/records", "a-file"),
        ("--admin-token-file", "nowhere", "nowhere"),
        ("--admin", &address, &address),
    ];
    for (option, value, words) in rows {
        let mut all = shop.sidecar("cart.join", "state-cart", "cart.jsonl");
        match all.iter().position(|one| *one == option) {
            Some(at) => all[at + 1] = value,
            None => all.extend([option, value]),
        }
        let done = tamis(folder, &all);
        let said = said(&done);
        assert!(!done.status.success() && said.contains(words), "{option} {value}: {said}");
    }
    // What only its plan says is found out after it joined: then it goes on trying.
    let held = std::net::TcpListener::bind(&shop.cart.outbound).unwrap();
    let cart = shop.proxy("cart.join", "state-cart");
    eventually("it says why it does not start", || {
        let said = cart.errors();
        (said.contains(&shop.cart.outbound) && said.contains("it has joined and tries again"))
            .then_some(())
    });
    drop(held);
    cart.event("the sidecar serves", |event| event["event"] == "ready");
    // The plan is in its state folder now, so the next one is told before it joins.
    assert!(cart.end("-INT").success());
    shop.token(CART, "again.join", &[]);
    let held = std::net::TcpListener::bind(&shop.cart.outbound).unwrap();
    let done = tamis(folder, &shop.sidecar("again.join", "state-cart", "cart.jsonl"));
    assert!(!done.status.success() && said(&done).contains(&shop.cart.outbound), "{}", said(&done));
    drop(held);
    let cart = shop.proxy("again.join", "state-cart");
    cart.event("the sidecar serves", |event| event["event"] == "ready");
}

#[test]
fn a_proxy_of_another_identity_than_its_document_or_without_one_opens_nothing() {
    let shop = Shop::start(&[]);
    let folder = shop.mesh.folder.path();
    let _running = shop.joined();
    let document = fs::read_to_string(folder.join("mesh.yaml")).unwrap();
    let other = document.replace("service/pay\n", "service/payments\n");
    assert_ne!(document, other);
    fs::write(folder.join("mesh.yaml"), other).unwrap();
    shop.mesh.did(&["apply", "-f", ".", "--confirm"]);
    let problem = shop.pay.problem("identity.other");
    let text = problem.to_string();
    assert!(text.contains("service/payments") && text.contains("join token"), "{text}");
    eventually("nothing is open any more", || (shop.cart.call("/x").status != 200).then_some(()));
    fs::write(folder.join("mesh.yaml"), document).unwrap();
    shop.mesh.did(&["apply", "-f", ".", "--confirm"]);
    shop.reaches("/again");
}

#[test]
fn a_revoked_sidecar_gets_nothing_of_the_registry_and_is_refused_by_its_peers_once_its_svid_expires()
 {
    let shop = Shop::start(&["--identity-seconds", "10"]);
    let [_pay, cart, guest] = shop.joined();
    let serial = |node: &str| shop.mesh.identity(node)["serial"].clone();
    let before = serial(CART);
    shop.mesh.revoke(CART);
    let problem = shop.cart.problem("identity.renewal");
    assert!(problem["message"].as_str().unwrap().contains("identity.revoked"), "{problem}");
    eventually("its SVID expires", || (shop.cart.identity()["secondsLeft"] == 0).then_some(()));
    assert_eq!(serial(CART), before, "it got no other SVID");
    // A connection that is open stays; a new one shows the expired SVID.
    assert!(cart.end("-INT").success());
    let errors = shop.refused("cart.join", &[]);
    assert!(errors.contains("join.replayed"), "{errors}");
    // A token that was made after the revocation admits it again.
    let _cart = shop.joins(&shop.cart);
    shop.reaches("/readmitted");
    drop(guest);
}

#[test]
fn svids_that_expire_while_the_registry_is_away_are_renewed_when_it_is_back() {
    let seconds = ["--identity-seconds", "10"];
    let shop = Shop::start(&seconds);
    let [_pay, cart, _guest] = shop.joined();
    let shop = shop.registry_after(&seconds, |shop| {
        for place in [&shop.pay, &shop.cart] {
            eventually(&format!("the SVID of {} expires", place.name), || {
                (place.identity()["secondsLeft"] == 0).then_some(())
            });
            let problem = place.problem("identity.renewal");
            assert!(problem["message"].as_str().unwrap().contains("expired at"), "{problem}");
        }
        // The proxies cannot report it, and the registry knows it.
        eventually("the status names what has expired", || {
            let status = shop.mesh.did(&["status"]);
            let proxies = status["proxies"].as_array().cloned().unwrap_or_default();
            let expired = |one: &Value| {
                let problems = one["problems"].as_array().cloned().unwrap_or_default();
                problems.iter().any(|problem| problem["code"] == "identity.renewal")
            };
            (proxies.len() == 3 && proxies.iter().all(expired)).then_some(())
        });
    });
    for place in [&shop.pay, &shop.cart] {
        eventually(&format!("{} renews", place.name), || {
            (place.identity()["secondsLeft"].as_u64() > Some(0)).then_some(())
        });
    }
    eventually("the status has the renewal", || {
        let status = shop.mesh.did(&["status"]);
        let proxies = status["proxies"].as_array().cloned().unwrap_or_default();
        let pay = proxies.into_iter().find(|one| one["node"] == PAY)?;
        (pay["connected"] == true && pay["identity"]["renewedMs"].is_u64()).then_some(())
    });
    // A caller that starts again opens new connections.
    assert!(cart.end("-INT").success());
    let _cart = shop.joins(&shop.cart);
    shop.reaches("/after");
}

#[test]
fn a_registry_and_sidecars_that_start_again_go_on() {
    let seconds = ["--identity-seconds", "20"];
    let shop = Shop::start(&seconds);
    let [pay, cart, _guest] = shop.joined();
    let renewed = |place: &Place| place.metric(&["tamis_svid_renewals_total"]);
    // The registry is away, and the sidecars serve on with what they have.
    let shop = shop.registry_again(&seconds);
    shop.reaches("/after-the-registry");
    let counts = [renewed(&shop.pay), renewed(&shop.cart)];
    eventually("both renew with the registry that started again", || {
        (renewed(&shop.pay) > counts[0] && renewed(&shop.cart) > counts[1]).then_some(())
    });
    shop.reaches("/after-a-renewal");
    // A sidecar starts again with a new token; its peer notices nothing but that.
    assert!(pay.end("-INT").success());
    let errors = shop.refused("pay.join", &[]);
    assert!(errors.contains("join.replayed"), "{errors}");
    let _pay = shop.joins(&shop.pay);
    shop.reaches("/after-the-callee");
    assert!(!cart.end("-KILL").success());
    let _cart = shop.joins(&shop.cart);
    shop.reaches("/after-the-caller");
    let listed = read(&shop.mesh.ask(&["identity", "list"]));
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(3), "{listed}");
}
